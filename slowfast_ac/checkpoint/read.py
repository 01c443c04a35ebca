"""Reads files of weights of any kind without running code from them."""

import contextlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_ac.checkpoint.sniff import sniff
from slowfast_ac.checkpoint.unpickle import StandIn, legacy_globals, safe_load, stand_in_for
from slowfast_ac.errors import InputError


def read_file(path: Path) -> tuple[str, Mapping[object, object]]:
    """Reads a local file.

    Args:
        path: the file.

    Returns:
        The kind of file, see :func:`~slowfast_ac.checkpoint.sniff.sniff`, and the dict in it. For
        safetensors, the dict has the tensors under ``state_dict`` and the metadata beside them.

    Raises:
        InputError: if the file is missing or damaged, contains no dict, or would run code.
    """
    container = sniff(path)
    data: object
    if container == "safetensors":
        data = _read_safetensors(path)
    elif container == "pickle":
        # Python 2 wrote the old zoo's pickles, hence latin1.
        data = safe_load(path, encoding="latin1", stand_in=stand_in_for)
    else:
        data = _read_torch(path, container)
    if isinstance(data, StandIn) and not data:
        raise _would_run(path, data.name)
    if not isinstance(data, Mapping):
        raise InputError(f"{path}: contains a {type(data).__name__}, but weights must be a dict")
    return container, data


def _read_torch(path: Path, container: str) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        names = _globals(path, container)
        if not names:
            raise _damaged(path, "torch checkpoint") from None
    except (EOFError, RuntimeError):
        raise _damaged(path, "torch checkpoint") from None
    for dicts in (False, True):
        stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
        for name in names:
            is_other = not name.startswith(("numpy.", "builtins."))
            stand_ins.append((stand_in_for(name, dicts=dicts and is_other), name))
        # A stand-in may fail to replace its class; then the other kind is tried.
        with contextlib.suppress(Exception), torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    raise _would_run(path, *names)


def _globals(path: Path, container: str) -> list[str]:
    """Returns the functions and classes in the file that torch refuses to load."""
    if container == "legacy torch pickle":
        with open(path, "rb") as file:
            return legacy_globals(file)
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (pickle.UnpicklingError, EOFError, UnicodeDecodeError):
        return []


def _would_run(path: Path, *names: str) -> InputError:
    return InputError(
        f"{path}: not opened, since it would run {', '.join(names[:3])}; save the weights alone, "
        "torch.save(model.state_dict(), path)"
    )


def _read_safetensors(path: Path) -> dict[str, object]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError(f"{path}: needs safetensors; pip install safetensors") from None
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
            return {**(file.metadata() or {}), "state_dict": tensors}
    except SafetensorError:
        raise _damaged(path, "safetensors file") from None


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: a truncated or damaged {what}, {path.stat().st_size:,} bytes; copy or download "
        "it again"
    )
