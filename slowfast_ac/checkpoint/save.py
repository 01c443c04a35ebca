"""Writes weights so that PySlowFast, or any reader of safetensors, can load them."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
import yaml
from torch import Tensor

from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, atomic_path, check_suffix

SUFFIXES = (".pyth", ".safetensors")


def save_checkpoint(
    path: StrPath,
    state_dict: Mapping[str, Tensor],
    *,
    epoch: int | None = None,
    config: Mapping[str, object] | None = None,
    extras: Mapping[str, str] | None = None,
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: ``.pyth`` for PySlowFast's dict (model_state, epoch, cfg), ``.safetensors`` for the
            weights with epoch and cfg in the metadata.
        state_dict: the weights.
        epoch: written if given.
        config: written as YAML if given.
        extras: other texts to store beside the weights.

    Raises:
        InputError: for another suffix, or without safetensors.
    """
    check_suffix(path, SUFFIXES, "weights")
    kept: dict[str, object] = dict(extras or {})
    if epoch is not None:
        kept["epoch"] = epoch
    if config is not None:
        kept["cfg"] = yaml.safe_dump(dict(config))
    if Path(path).suffix == ".safetensors" and not find_spec("safetensors"):
        raise InputError(f"{path}: needs safetensors; pip install safetensors")
    with atomic_path(path) as temporary:
        if Path(path).suffix == ".safetensors":
            _save_safetensors(temporary, state_dict, kept)
        else:
            # Given a path, torch would record the temporary name in the file.
            with open(temporary, "wb") as file:
                torch.save({"model_state": dict(state_dict), **kept}, file)


def _save_safetensors(
    path: Path, state_dict: Mapping[str, Tensor], kept: Mapping[str, object]
) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in state_dict.items()}
    metadata = {"format": "pt", **{name: str(value) for name, value in kept.items()}}
    data = save(tensors, metadata)
    # The library does not fix the order of the metadata. Sorting it makes the file, and so its
    # hash, reproducible.
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = metadata
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(memoryview(data)[start:])
