"""Pickles that are data load; pickles that are programs do not run."""

import importlib
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from slowfast_ac.checkpoint.unpickle import safe_load
from slowfast_ac.errors import InputError


def dump(folder, data, protocol=None):
    path = folder / "data.pkl"
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_tensors_and_containers_come_back(tmp_path, protocol):
    data = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.eye(3)),
        "scalar": np.float64(0.5),
        "tensor": torch.randn(3, 4),
        "labels": torch.tensor([1, 2]),
        "view": torch.arange(10)[2:8:2],
        "nested": OrderedDict(a=[1, (2.5, None)], b={"c", "d"}),
    }
    loaded = safe_load(dump(tmp_path, data, protocol))
    assert list(loaded) == list(data)
    for key in ("array", "fortran", "scalar"):
        np.testing.assert_array_equal(loaded[key], data[key])
    for key in ("tensor", "labels", "view"):
        assert torch.equal(loaded[key], data[key])
        assert loaded[key].dtype == data[key].dtype
    assert loaded["nested"] == data["nested"]


def test_upstreams_results_file(tmp_path):
    scores, labels = torch.rand(5, 3), torch.tensor([0, 1, 2, 0, 1])
    loaded = safe_load(dump(tmp_path, [scores, labels]))
    assert torch.equal(loaded[0], scores)
    assert torch.equal(loaded[1], labels)


class Program:
    """What a malicious file says on being unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrap", ["bare", "dict", "object array", "storage", "dtype"])
def test_a_program_is_refused_and_not_run(tmp_path, wrap):
    witness = tmp_path / "witness"
    program = Program(os.mkdir, str(witness))
    if wrap == "storage":
        stream = io.BytesIO()
        torch.save(program, stream, _use_new_zipfile_serialization=False)
        program = Program(torch.storage._load_from_bytes, stream.getvalue())
    data = {
        "bare": program,
        "dict": {"blobs": [program]},
        "object array": np.array([program, None], dtype=object),
        "storage": program,
        "dtype": Program(np.dtype, program),
    }[wrap]
    with pytest.raises(InputError, match=r"data.pkl: refused, since it would run") as error:
        safe_load(dump(tmp_path, data))
    if wrap == "storage":
        assert f"run {os.mkdir.__module__}.mkdir inside a tensor; only" in str(error.value)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("os", "system"),
        ("posix", "system"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("numpy", "load"),
        ("numpy.testing._private.utils", "runstring"),
    ],
)
def test_other_callables_are_refused_by_name(module, name):
    stream = io.BytesIO(f"c{module}\n{name}\n.".encode())
    with pytest.raises(InputError, match=f"{module}.{name}"):
        safe_load(stream)


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def dtype(name, state=None):
    """Opcodes of a dtype and, if given, of the state it is made to take."""
    made = b"cnumpy\ndtype\n(" + text(name) + b"\x89\x88tR"
    return made + (b"(K\x03" + state + b"tb" if state else b"")


def array(dtype_opcodes):
    """Opcodes of an array of one element, whose eight bytes are those of a chosen address."""
    made = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    return made + b"(K\x01K\x01\x85" + dtype_opcodes + b"\x89C\x08AAAAAAAAtb"


def number(value):
    return b"J" + value.to_bytes(4, "little", signed=True)


# Flags of zero say "no objects inside", so that numpy would take the eight bytes for a pointer.
NO_FIELDS = text("|") + b"NNN" + number(-1) + number(-1) + b"K\x00"
OBJECT_FIELD = (
    text("|") + b"N" + text("a") + b"\x85}" + text("a") + dtype("O8") + b"K\x00\x86s"
) + b"K\x08K\x01K\x00"


@pytest.mark.parametrize("opcodes", [dtype("O8", NO_FIELDS), dtype("V8", OBJECT_FIELD)])
def test_bytes_are_not_taken_for_pointers(opcodes):
    with pytest.raises(InputError, match="refused, since it would run numpy.dtype"):
        safe_load(io.BytesIO(b"\x80\x03" + array(opcodes) + b"."))


def test_a_dtype_keeps_its_fields_whatever_its_state_says():
    state = OBJECT_FIELD.replace(dtype("O8"), dtype("f8"))
    loaded = safe_load(io.BytesIO(b"\x80\x03" + array(dtype("f8", state)) + b"."))
    assert loaded.dtype.fields is None
    assert loaded.tobytes() == b"AAAAAAAA"


@pytest.mark.parametrize(
    "function", ["torch._utils\n_rebuild_tensor_v2", "numpy._core.numeric\n_frombuffer"]
)
def test_a_pickle_sets_no_attribute_of_a_function(function):
    module, name = function.split("\n")
    target = getattr(importlib.import_module(module), name)
    before = target.__defaults__
    stream = f"c{function}\n(N}}".encode() + text("__defaults__") + b"(K\x01tstb."
    with pytest.raises(InputError, match="refused"):
        safe_load(io.BytesIO(b"\x80\x02" + stream))
    assert target.__defaults__ == before


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"c_codecs\nencode\n(" + text("a") + text("rot13") + b"tR.", "_codecs.encode to rot13"),
        (dtype("f8", NO_FIELDS.replace(b"|", b"x")) + b".", "'x' is not a byte order"),
    ],
)
def test_other_codecs_and_byte_orders_are_refused(stream, message):
    with pytest.raises(InputError, match=message):
        safe_load(io.BytesIO(b"\x80\x02" + stream))


def test_other_byte_orders_and_empty_arrays_come_back(tmp_path):
    big = np.arange(3, dtype=">f4")
    data = [big, big.dtype, big[1], np.zeros((0, 2)), np.array(["ab", "c"]), 1 + 2j, b""]
    loaded = safe_load(dump(tmp_path, data, protocol=2))
    for got, expected in zip(loaded, data, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert loaded[1] == np.dtype(">f4")
    assert np.dtype("f4").isnative


def test_an_array_of_python_2_comes_back():
    data = np.array([1.5, -200.0], dtype=np.float32)
    raw = data.tobytes()
    stream = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNN" + number(-1) + number(-1) + b"K\x00tb\x89U"
        b"" + bytes([len(raw)]) + raw + b"tb."
    )
    np.testing.assert_array_equal(safe_load(io.BytesIO(stream), encoding="latin1"), data)


def test_a_state_dict_pickled_as_it_is_comes_back(tmp_path):
    weights = torch.nn.Linear(2, 3).state_dict()
    loaded = safe_load(dump(tmp_path, weights))
    assert list(loaded) == ["weight", "bias"]
    assert torch.equal(loaded["weight"], weights["weight"])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_file_cut_anywhere_is_called_truncated(tmp_path, protocol):
    path = dump(tmp_path, {"array": np.arange(9.0), "tensor": torch.ones(2)}, protocol)
    data = path.read_bytes()
    for keep in range(0, len(data), 7):
        path.write_bytes(data[:keep])
        with pytest.raises(InputError, match="data.pkl: the pickle is empty or truncated"):
            safe_load(path)


def test_text_is_no_pickle(tmp_path):
    path = tmp_path / "page.pkl"
    path.write_text("<!DOCTYPE html><html>Not found</html>")
    with pytest.raises(InputError, match="page.pkl: not a readable pickle"):
        safe_load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.pkl: there is no such file"):
        safe_load(tmp_path / "nowhere.pkl")
