"""Converts weights between code bases, and a fused SlowFast to a branch-independent one.

Only the names change, so converting there and back gives the same bits. Conversion is strict:
unknown and missing names are errors.
"""

import dataclasses
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from slowfast_ac.checkpoint.names import (
    DEPTHS,
    Layout,
    find_layout,
    is_no_weight,
    name_table,
    parameter_names,
)
from slowfast_ac.checkpoint.open import Checkpoint, open_checkpoint
from slowfast_ac.checkpoint.prefix import find_naming, find_networks
from slowfast_ac.checkpoint.report import LoadReport
from slowfast_ac.config import config_value
from slowfast_ac.errors import InputError

TARGETS = ("pyslowfast", "pytorchvideo")
# Temporal kernels of each pathway: the stem and the first layer of the stages s2 to s5.
KERNELS = {"Slow": [1, 1, 1, 3, 3], "Fast": [5, 3, 3, 3, 3]}


def convert_checkpoint(
    checkpoint: Checkpoint | str | os.PathLike[str],
    target: str,
    *,
    branch_independent: bool = False,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Converts a checkpoint; see :func:`convert`.

    Args:
        checkpoint: a file of weights of any kind, or an open checkpoint.
        target: ``pyslowfast`` or ``pytorchvideo``.
        branch_independent: whether to remove a fused network's lateral connections.

    Returns:
        The weights by their new names, and a report on every weight.

    Raises:
        InputError: naming the file and the key.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    if checkpoint.naming is None:
        raise InputError(f"{checkpoint.path}: cannot be converted: {checkpoint.problem}")
    if checkpoint.problem:
        raise InputError(f"{checkpoint.path}: {checkpoint.problem}")
    if target == "pytorchvideo":
        obstacle = config_obstacle(checkpoint, checkpoint.config)
        if obstacle:
            raise InputError(f"{checkpoint.path}: {obstacle}")
    try:
        return convert(
            checkpoint.state_dict, checkpoint.naming, target, branch_independent=branch_independent
        )
    except InputError as error:
        raise InputError(f"{checkpoint.path}: {error}") from None


def config_obstacle(checkpoint: Checkpoint, config: Mapping[str, object] | None) -> str | None:
    """Returns why PyTorchVideo lacks the network of a PySlowFast config, or None if it has it.

    Covers only reasons that the weights do not show; for the others, see :func:`network_obstacle`.
    """
    if checkpoint.naming == "pytorchvideo":
        return None
    if config_value(config, "DETECTION.ENABLE"):
        return (
            "DETECTION.ENABLE: only classifiers are converted to PyTorchVideo, and this is a "
            "detector"
        )
    if checkpoint.pathways == 1 and config_value(config, "RESNET.STRIDE_1X1"):
        return (
            "RESNET.STRIDE_1X1: PyTorchVideo strides in conv_b, this network in branch2.a; the "
            "same weights would give other results"
        )
    return None


def convert(
    state_dict: Mapping[str, Tensor],
    source: str,
    target: str,
    *,
    branch_independent: bool = False,
    prefix: str = "",
    target_state: Mapping[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Renames the weights of SlowFast, SlowFastAC or Slow.

    Tensors are not copied, except those that are cut. BatchNorm counters that the source lacks
    (caffe2 has none) become zeros.

    Args:
        state_dict: weights with the names of ``source``. Any prefix is dropped, and tensors that
            are not part of the network are left out.
        source: ``pyslowfast``, ``pytorchvideo`` or ``caffe2``.
        target: ``pyslowfast`` or ``pytorchvideo``.
        branch_independent: whether to remove a fused SlowFast's lateral connections; see
            :func:`fused_to_branch_independent`.
        prefix: added to every new name, such as ``model.`` for PySlowFast's PTV models.
        target_state: the target model's ``state_dict()``. If given, names and shapes must match.

    Raises:
        InputError: naming the key, for a name or shape that does not match, or saying why the
            target's code base has no such network.
    """
    if target not in TARGETS:
        raise InputError(f"{target}: not a naming to convert to; use one of {', '.join(TARGETS)}")
    full_names = _full_names(state_dict, source)
    weights = {name: state_dict[full_name] for name, full_name in full_names.items()}
    layout = find_layout(weights, source)
    obstacle = network_obstacle(weights, layout, source, target) if source != target else None
    if obstacle:
        raise InputError(obstacle)
    lateral: set[str | None] = set()
    slow_channels: dict[str, int] = {}
    if branch_independent:
        slow_channels = _slow_channels(weights, layout, source)
        lateral = set(parameter_names(layout.lateral_modules(), source))

    converted: dict[str, Tensor] = {}
    loaded: list[str] = []
    cut: list[str] = []
    new: list[str] = []
    own = set(full_names.values())
    unused = [full_name for full_name in state_dict if full_name not in own]
    table = name_table(layout, source, target)
    for name, tensor in weights.items():
        if name in lateral or is_no_weight(name, source):
            unused.append(full_names[name])
            continue
        new_name = prefix + table[name]
        if name in slow_channels:
            # Both code bases concatenate the slow features first.
            tensor = tensor[:, : slow_channels[name]].clone()
            cut.append(new_name)
        else:
            loaded.append(new_name)
        converted[new_name] = tensor
    if branch_independent:
        layout = dataclasses.replace(layout, fused=False)
    for missing in parameter_names(layout.modules(), target):
        if missing and prefix + missing not in converted:
            converted[prefix + missing] = torch.zeros((), dtype=torch.long)
            new.append(prefix + missing)
    if target_state is not None:
        new += _check_target(converted, target_state, target)
    return converted, LoadReport(tuple(loaded), tuple(cut), tuple(new), tuple(unused))


def fused_to_branch_independent(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], LoadReport]:
    """Removes a fused SlowFast's lateral connections, to get initial weights for SlowFastAC.

    The lateral layers are removed, and the first block of every slow stage (``branch1`` and
    ``branch2.a`` of ``s{2..5}.pathway0_res0``) keeps only the slow pathway's input channels. If the
    lateral channels' weights are zero, the network computes the same as before.

    Args:
        state_dict: weights with PySlowFast's or PyTorchVideo's names, which do not change; a prefix
            is kept.

    Raises:
        InputError: naming the key that does not match, or if there are no lateral connections.
    """
    naming, prefix = find_naming(state_dict) or (None, "")
    if naming not in TARGETS:
        raise InputError(
            "lateral connections are cut from PySlowFast's or PyTorchVideo's names only"
        )
    return convert(state_dict, naming, naming, branch_independent=True, prefix=prefix)


def _full_names(state_dict: Mapping[str, Tensor], naming: str) -> dict[str, str]:
    """Returns the only network's names: {name without its prefix: full name}."""
    found = [network for network in find_networks(state_dict) if network.naming == naming]
    if not found:
        return {name: name for name in state_dict}
    if len(found) > 1:
        prefixes = " and ".join(network.prefix or "no prefix" for network in found)
        raise InputError(f"the weights of {len(found)} networks, under {prefixes}; give one")
    return {name.removeprefix(found[0].prefix): name for name in found[0].names}


def _slow_channels(weights: Mapping[str, Tensor], layout: Layout, naming: str) -> dict[str, int]:
    """Returns the number of slow channels for every convolution that reads lateral channels."""
    if not layout.fused:
        raise InputError("no lateral connections to cut away: already branch-independent, or Slow")
    names = name_table(layout, "pyslowfast", naming)
    channels = {}
    slow = "s1.pathway0_stem.conv.weight"
    for stage, blocks in enumerate(layout.blocks, start=2):
        slow_width = weights[names[slow]].shape[0]
        lateral_width = weights[names[f"s{stage - 1}_fuse.conv_f2s.weight"]].shape[0]
        for layer in ("branch1", "branch2.a"):
            name = names[f"s{stage}.pathway0_res0.{layer}.weight"]
            if weights[name].shape[1] != slow_width + lateral_width:
                raise InputError(
                    f"{name}: takes {weights[name].shape[1]} channels, not the {slow_width} slow "
                    f"and {lateral_width} lateral ones"
                )
            channels[name] = slow_width
        slow = f"s{stage}.pathway0_res{blocks - 1}.branch2.c.weight"
    return channels


def network_obstacle(
    weights: Mapping[str, Tensor], layout: Layout, source: str, target: str
) -> str | None:
    """Returns why the target's code base lacks a network or builds it differently, or None.

    Args:
        weights: the weights, with the names of ``source`` and without a prefix.
        layout: the layout of the network.
        source: ``pyslowfast``, ``pytorchvideo`` or ``caffe2``.
        target: ``pyslowfast`` or ``pytorchvideo``.
    """
    if layout.blocks not in DEPTHS[target]:
        return f"{target} has no depth with {list(layout.blocks)} blocks in s2 to s5"
    if target == "pyslowfast" and source == "caffe2":
        return None  # both are built by PySlowFast
    if layout.nonlocal_blocks:
        stage, pathway, block = layout.nonlocal_blocks[0]
        return f"s{stage}.pathway{pathway}_nonlocal{block}: PyTorchVideo has no nonlocal blocks"
    if layout.pathways == 1:
        names = name_table(layout, "pyslowfast", source)
        first = ["s1.pathway0_stem.conv", *(f"s{s}.pathway0_res0.branch2.a" for s in (2, 3, 4, 5))]
        kernels = [weights[names[f"{layer}.weight"]].shape[2] for layer in first]
        if kernels not in KERNELS.values():
            known = " or ".join(f"{name}, {wanted}" for name, wanted in KERNELS.items())
            return (
                f"temporal kernels {kernels} are not those of {known}; C2D and I3D are not "
                "converted, since they have a pooling layer that the weights do not show"
            )
    return None


def _check_target(
    converted: Mapping[str, Tensor], target_state: Mapping[str, Tensor], target: str
) -> list[str]:
    """Checks names and shapes; returns the target's weights that keep their initialisation."""
    for name, tensor in converted.items():
        if name not in target_state:
            raise InputError(f"{name}: the target model has no such weight")
        if tensor.shape != target_state[name].shape:
            raise InputError(
                f"{name}: shape {list(tensor.shape)}, but {list(target_state[name].shape)} in the "
                "target model"
            )
    new = [name for name in target_state if name not in converted]
    for name in new:
        if not is_no_weight(name, target):
            raise InputError(f"{name}: the target model has it, the checkpoint does not")
    return new
