"""Reading weights out of whatever file holds them, without running code."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slowfast_ac.checkpoint.sniff import sniff
from slowfast_ac.checkpoint.unpickle import safe_load
from slowfast_ac.errors import InputError

# Where the weights lie in the dict of a file, and who puts them there.
WEIGHT_KEYS = {"model_state": "pyslowfast", "blobs": "caffe2", "state_dict": "state_dict"}


class Contents(NamedTuple):
    """What a file holds.

    Args:
        container: the kind of file, see :func:`~slowfast_ac.checkpoint.sniff.sniff`.
        format: ``pyslowfast``, ``caffe2``, ``safetensors`` or ``state_dict``.
        weights: every tensor by its name.
        extras: what stands beside the weights: epoch, cfg.
    """

    container: str
    format: str
    weights: dict[str, Tensor]
    extras: Mapping


def read_weights(path: Path) -> Contents:
    """Reads a local file.

    Raises:
        InputError: the file is missing or damaged, holds no weights, or wants to run code.
    """
    container = sniff(path)
    if container == "safetensors":
        return Contents(container, "safetensors", *_read_safetensors(path))
    # Python 2 wrote the old zoo's pickles, hence latin1.
    data = safe_load(path, encoding="latin1") if container == "pickle" else _read_torch(path)
    if not isinstance(data, Mapping):
        raise InputError(f"{path}: holds a {type(data).__name__} where weights are a dict")
    for key, format in WEIGHT_KEYS.items():
        if isinstance(data.get(key), Mapping):
            weights = {name: _as_tensor(path, name, value) for name, value in data[key].items()}
            return Contents(container, format, weights, data)
    if data and all(isinstance(value, Tensor) for value in data.values()):
        weights = {name: _as_tensor(path, name, value) for name, value in data.items()}
        return Contents(container, "state_dict", weights, {})
    raise InputError(
        f"{path}: no weights in it: neither {' nor '.join(WEIGHT_KEYS)} is among its keys "
        f"({', '.join(map(str, list(data)[:5]))})"
    )


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise InputError(
                f"{path}: not opened, since it would run {found[1]}; save the weights alone, "
                "torch.save(model.state_dict(), path)"
            ) from None
        raise _damaged(path, "torch checkpoint") from None
    except (EOFError, RuntimeError):
        raise _damaged(path, "torch checkpoint") from None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError(f"{path}: needs safetensors; pip install safetensors") from None
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError:
        raise _damaged(path, "safetensors file") from None


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: a truncated or damaged {what}, {path.stat().st_size:,} bytes; copy or download "
        "it again"
    )


def _as_tensor(path: Path, name: object, value: object) -> Tensor:
    if not isinstance(name, str):
        raise InputError(f"{path}: {name!r} is no name for a weight")
    if isinstance(value, Tensor):
        return value
    try:
        return torch.from_numpy(np.array(value))
    except TypeError:
        raise InputError(f"{path}: {name} is a {type(value).__name__}, not a tensor") from None
