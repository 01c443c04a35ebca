"""Loads pickles without running code: arrays, tensors and plain containers; stand-ins otherwise."""

import io
import os
import pickle
import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # Python 2's names, in protocol 2 too
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch

from slowfast_ac.errors import InputError


class StandIn(dict[object, object]):
    """Replaces an object that is not a weight, so that its class is not imported."""

    name = ""

    def __init__(self, *args: object, **options: object):
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass

    __hash__ = object.__hash__  # type: ignore[assignment]  # a path can be a key


class _ListStandIn(list[object]):
    def __init__(self, *args: object):
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _DictStandIn:
    def __new__(cls, *args: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


def stand_in_for(name: str, *, dicts: bool = False) -> type:
    """Returns a class that replaces the class or function ``module.name``.

    torch fills only a few types of dicts and lists, so classes that look like dicts or lists are
    replaced by these.

    Args:
        name: the full name.
        dicts: whether to treat every class as a dict.
    """
    kind: type = StandIn
    last = name.rpartition(".")[2].lower()
    if last == "deque":
        kind = _ListStandIn
    elif dicts or any(part in last for part in ("dict", "cfg", "config")):
        kind = _DictStandIn
    return type(name, (kind,), {"name": name})


def safe_load(
    file: str | os.PathLike[str] | BinaryIO,
    encoding: str = "ASCII",
    stand_in: Callable[[str], type] | None = None,
) -> object:
    """Loads a pickle of numpy arrays, torch tensors and builtin containers.

    Arrays may be of numbers or text; tensors are loaded onto the CPU.

    Args:
        file: a path or an open binary file.
        encoding: encoding of the strings in a Python 2 pickle; caffe2's need ``latin1``.
        stand_in: returns the replacement for any other class; see :func:`stand_in_for`. None
            refuses other classes.

    Raises:
        InputError: naming the file, if it is missing, empty, truncated or not a pickle, or contains
            anything else, which is named and not run.
    """
    if isinstance(file, (str, os.PathLike)):
        if not os.path.isfile(file):
            raise InputError(f"{file}: there is no such file")
        with open(file, "rb") as opened:
            return safe_load(opened, encoding, stand_in)
    name = getattr(file, "name", "pickle")
    try:
        return _Unpickler(_Whole(file), encoding, stand_in).load()
    except _Refused as refused:
        raise InputError(
            f"{name}: refused, since it would run {refused}; only arrays, tensors and plain "
            "containers are loaded"
        ) from None
    except EOFError:
        raise InputError(f"{name}: the pickle is empty or truncated") from None
    except KeyError as error:
        raise InputError(f"{name}: not a readable pickle: opcode {error}") from None
    except Exception as error:
        # A damaged pickle can raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a readable pickle: {reason}") from None


def legacy_globals(file: BinaryIO) -> list[str]:
    """Returns the ``module.name`` of all globals in a legacy torch file, except torch's own."""
    names = set()
    try:
        for _ in range(4):  # magic number, version, machine, content
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    module, _, name = str(argument).partition(" ")
                    module, name = NAME_MAPPING.get((module, name), (module, name))
                    names.add(f"{IMPORT_MAPPING.get(module, module)}.{name}")
    except ValueError:
        return []
    return sorted(name for name in names if not name.startswith(("torch.", "collections.Ordered")))


class _Refused(Exception):
    pass


class _Whole:
    """A stream that raises at its end; otherwise, the unpickler would accept a truncated name."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line


def _storage_from_bytes(data: bytes) -> object:
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        names = legacy_globals(io.BytesIO(data)) or ["code"]
        raise _Refused(f"{', '.join(names)} inside a tensor") from None


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _plain_dtype(name: str, align: bool = False, copy: bool = True) -> np.dtype:
    # Always a copy: its byte order is set in place later, and numpy shares its own dtypes.
    dtype = np.dtype(str(name), copy=True)
    if dtype.kind not in "biufcSU":
        raise _Refused(f"numpy.dtype({dtype.str!r}), which can hold objects")
    return dtype


def _empty_array(subtype: str, shape: tuple[int, ...], dtype: bytes) -> np.ndarray:
    # The state, which follows in the pickle, sets the shape, dtype and data.
    return np.empty(0, np.int8)


_REPLACED = {
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): _plain_dtype,
    # Only an argument of _reconstruct, so a name suffices and nothing can call the class.
    ("numpy", "ndarray"): "numpy.ndarray",
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
}
_ALLOWED = {
    ("torch", "Size"),
    ("torch._utils", "_rebuild_tensor_v2"),
    *(
        (module, name)
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "bytes", "bytearray", "complex")
    ),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


# Python's C unpickler has no hook for BUILD, which sets an object's state. That could set any
# attribute of any function allowed here, or a dtype's fields and flags, which make numpy treat data
# as pointers.
class _Unpickler(pickle._Unpickler):
    stack: list[Any]

    def __init__(self, file: _Whole, encoding: str, stand_in: Callable[[str], type] | None):
        super().__init__(file, encoding=encoding)
        self._stand_in = stand_in

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _REPLACED:
            return _REPLACED[module, name]
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if self._stand_in is not None:
            return self._stand_in(f"{module}.{name}")
        raise _Refused(f"{module}.{name}")

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is np.ndarray:
            target.__setstate__(state)
        elif isinstance(target, np.dtype):
            _set_byte_order(target, state[1])
        elif isinstance(target, StandIn | _ListStandIn):
            pass
        # The state of an OrderedDict is a state_dict's _metadata: module versions, no weights.
        elif type(target) is not OrderedDict:
            raise _Refused(f"__setstate__ of a {type(target).__name__}")

    dispatch = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}  # type: ignore[dict-item]


def _set_byte_order(dtype: np.dtype, order: str) -> None:
    if order not in ("<", ">", "=", "|"):
        raise ValueError(f"{order!r} is not a byte order")
    state = (3, order, None, None, None, dtype.itemsize, dtype.alignment, 0)
    dtype.__setstate__(state)  # type: ignore[attr-defined]
