"""Pickles that are data load; pickles that are programs do not run."""

import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from slowfast_ac.errors import InputError
from slowfast_ac.unpickle import safe_load


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
    with pytest.raises(InputError, match=r"data.pkl: refused, it wants to run"):
        safe_load(dump(tmp_path, data))
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


@pytest.mark.parametrize("keep", [0, 1, 30, 200])
def test_a_cut_file_is_named(tmp_path, keep):
    path = dump(tmp_path, {"array": np.arange(100.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="data.pkl"):
        safe_load(path)


def test_text_is_no_pickle(tmp_path):
    path = tmp_path / "page.pkl"
    path.write_text("<!DOCTYPE html><html>Not found</html>")
    with pytest.raises(InputError, match="page.pkl: not a pickle"):
        safe_load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.pkl: there is no such file"):
        safe_load(tmp_path / "nowhere.pkl")
