"""Pickles that cannot run code: arrays, tensors and plain containers only."""

import io
import os
import pickle
from collections import OrderedDict
from typing import BinaryIO

import torch

from slowfast_ac.errors import InputError


def safe_load(file: str | os.PathLike | BinaryIO, encoding: str = "ASCII") -> object:
    """Loads a pickle of numpy arrays, torch tensors and builtin containers.

    Args:
        file: a path or an open binary file.
        encoding: of the strings in a Python 2 pickle; caffe2's need ``latin1``.

    Raises:
        InputError: naming the file, when it is missing, empty, cut short or no pickle, or holds
            anything else, which is named and not run.
    """
    if isinstance(file, (str, os.PathLike)):
        if not os.path.isfile(file):
            raise InputError(f"{file}: there is no such file")
        with open(file, "rb") as opened:
            return safe_load(opened, encoding)
    name = getattr(file, "name", "pickle")
    try:
        return _Unpickler(file, encoding=encoding).load()
    except _Refused as refused:
        raise InputError(
            f"{name}: refused, it wants to run {refused}; only arrays, tensors and plain "
            "containers are loaded"
        ) from None
    except EOFError:
        raise InputError(f"{name}: the pickle is empty or cut short") from None
    except Exception as error:
        # A damaged pickle can raise anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a pickle that can be read: {reason}") from None


class _Refused(Exception):
    pass


def _storage_from_bytes(data: bytes):
    try:
        return torch.load(io.BytesIO(data), weights_only=True)
    except pickle.UnpicklingError as error:
        raise _Refused(f"code inside a tensor ({str(error).splitlines()[0]})") from None


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


_REPLACED = {
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): OrderedDict,
}
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("torch", "Size"),
    ("torch._utils", "_rebuild_tensor_v2"),
    *((module, "set") for module in ("builtins", "__builtin__")),
    *((module, "frozenset") for module in ("builtins", "__builtin__")),
    *((module, "bytearray") for module in ("builtins", "__builtin__")),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _REPLACED:
            return _REPLACED[module, name]
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise _Refused(f"{module}.{name}")
