"""Finds the weights in the content of a file, at any depth and under any prefix."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slowfast_ac.checkpoint.prefix import find_networks
from slowfast_ac.checkpoint.unpickle import StandIn
from slowfast_ac.errors import InputError

# Code bases that store weights under these keys.
_FORMATS = {"model_state": "pyslowfast", "blobs": "caffe2"}
# Keys under which to look for the weights of an unknown network, the likeliest first.
_USUAL_KEYS = (
    *("model_state", "blobs", "state_dict", "model_state_dict", "model", "module", "net"),
    "",
)
_DEPTH = 6


class Weights(NamedTuple):
    """One network's weights in a file.

    Args:
        name: their key: ``model_state``, ``state_dict_ema``, ``model_state.backbone``.
        format: ``pyslowfast``, ``caffe2`` or ``state_dict``.
        naming: ``pyslowfast``, ``pytorchvideo`` or ``caffe2``; None for an unknown network.
        prefix: the prefix of their names.
        state_dict: the tensors, named as in the file.
        aside: names of other tensors in the same dict, which do not belong to the network.
        extras: other entries of the enclosing dicts (epoch, cfg, classes); inner ones win.
    """

    name: str
    format: str
    naming: str | None
    prefix: str
    state_dict: dict[str, Tensor]
    aside: tuple[str, ...]
    extras: Mapping[object, object]


def find_weights(path: str, data: Mapping[object, object]) -> list[Weights]:
    """Returns the weights of every network in a file, without duplicates.

    Args:
        path: the file, for messages.
        data: its content.

    Raises:
        InputError: if there are no tensors.
    """
    unknown: list[tuple[int, Weights]] = []
    found: list[Weights] = []
    for keys, mapping, extras in _mappings(data):
        tensors = {
            name: _as_tensor(value)
            for name, value in mapping.items()
            if isinstance(name, str) and _is_numbers(value)
        }
        if not tensors:
            continue
        last = keys[-1] if keys else ""
        format = _FORMATS.get(last, "state_dict")
        around = {**extras, **{name: mapping[name] for name in mapping if name not in tensors}}
        for network in find_networks(tensors):
            own = {name: tensors[name] for name in network.names}
            name = ".".join(filter(None, (*keys, network.prefix.rstrip("./")))) or "weights"
            aside = tuple(name for name in tensors if name not in own)
            found.append(Weights(name, format, network.naming, network.prefix, own, aside, around))
        if last in _USUAL_KEYS:
            weights = Weights(".".join(keys), format, None, "", tensors, (), around)
            unknown.append((_USUAL_KEYS.index(last), weights))
    if found:
        return _distinct(found)
    if not unknown:
        raise _no_weights(path, data)
    return [min(unknown, key=lambda item: item[0])[1]]


def choose_weights(path: str, found: list[Weights], name: str | None) -> Weights:
    """Returns the weights with the given name, or the only ones.

    Args:
        path: the file, for messages.
        found: the result of :func:`find_weights`.
        name: a name, or a part of a name that is unique.

    Raises:
        InputError: naming the possible choices.
    """
    names = [weights.name for weights in found]
    fits = [w for w in found if name is None or w.name == name]
    if not fits:
        fits = [w for w in found if name is not None and name in w.name]
    if len(fits) == 1:
        return fits[0]
    if name is None:
        raise InputError(
            f"{path}: holds the weights of {len(found)} networks: {', '.join(names)}; choose one "
            "with --weights NAME (in Python weights=; to train from it, convert it first)"
        )
    raise InputError(f"{path}: --weights: {name!r} is not one of {', '.join(names)}")


def _mappings(
    value: object,
    keys: tuple[str, ...] = (),
    extras: Mapping[object, object] | None = None,
) -> Iterator[tuple[tuple[str, ...], Mapping[object, object], Mapping[object, object]]]:
    """Yields every dict inside, innermost first: its keys, itself and the enclosing entries."""
    if len(keys) > _DEPTH:
        return
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _mappings(item, (*keys, str(number)), extras)
    if isinstance(value, Mapping):
        around = {**(extras or {}), **value}
        for key, item in value.items():
            yield from _mappings(item, (*keys, str(key)), around)
        yield keys, value, extras or {}


def _is_numbers(value: object) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufc"
    return isinstance(value, Tensor)


def _as_tensor(value: object) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _distinct(found: list[Weights]) -> list[Weights]:
    """Leaves out weights that are bitwise equal to earlier ones under another key."""
    distinct: list[Weights] = []
    for weights in found:
        if not any(_equal(weights, other) for other in distinct):
            distinct.append(weights)
    return distinct


def _equal(first: Weights, second: Weights) -> bool:
    if first.naming != second.naming or len(first.state_dict) != len(second.state_dict):
        return False
    pairs = zip(first.state_dict.items(), second.state_dict.items(), strict=True)
    return all(
        name.removeprefix(first.prefix) == other_name.removeprefix(second.prefix)
        and value.dtype == other.dtype
        and torch.equal(value, other)
        for (name, value), (other_name, other) in pairs
    )


def _no_weights(path: str, data: Mapping[object, object]) -> InputError:
    for keys, mapping, _ in _mappings(data):
        for key, value in mapping.items():
            if isinstance(value, StandIn) and not value:
                place = ".".join((*keys, str(key)))
                return InputError(
                    f"{path}: no weights in it that can be read without running {value.name} (at "
                    f"{place}); save the weights alone, torch.save(model.state_dict(), path)"
                )
    return InputError(
        f"{path}: no weights in it: no tensors by name among its keys "
        f"({', '.join(map(str, list(data)[:5]))})"
    )
