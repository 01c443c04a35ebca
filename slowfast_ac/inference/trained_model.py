"""A trained network from its config and checkpoint, for measuring and looking at it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.build import build_model
from slowfast_ac.pyslowfast.checks import check_names, check_sizes
from slowfast_ac.pyslowfast.find import find


@dataclass(frozen=True)
class TrainedModel:
    """A network that can be shown videos.

    Args:
        model: in evaluation mode, on the GPU if there is one.
        preprocessing: what it takes.
        checkpoint: the file that its weights are from.
    """

    model: nn.Module
    preprocessing: Preprocessing
    checkpoint: Path


def load_trained(cfg: CfgNode, checkpoint: str | os.PathLike) -> TrainedModel:
    """Builds the config's network with a checkpoint's weights, all of them.

    PySlowFast must be set up.

    Args:
        cfg: the config that the weights were trained with.
        checkpoint: a file with PySlowFast's names.

    Raises:
        InputError: naming the key or the file, if the config cannot be built, or the file is no
            checkpoint or not one of this network.
    """
    check_names(cfg, find())
    check_sizes(cfg)
    opened = open_checkpoint(checkpoint)
    cfg = cfg.clone()
    cfg.NUM_GPUS = 0  # else the checkout wraps the model for several processes
    model = build_model(cfg)
    weights = {name.removeprefix("module."): value for name, value in opened.state_dict.items()}
    problem = _misfit(model.state_dict(), weights)
    if problem:
        raise InputError(
            f"{checkpoint}: does not fit the config, whose model is {model_name(cfg)}: {problem}; "
            "slowfast-ac inspect says what the file holds"
        )
    model.load_state_dict(weights)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return TrainedModel(model, Preprocessing.from_config(cfg), Path(checkpoint))


def model_name(cfg: CfgNode) -> str:
    """Returns the name of the config's model, for either PySlowFast."""
    return cfg.MODEL.MODEL_NAME or cfg.MODEL.ARCH


def distinct_names(configs: Sequence[CfgNode], checkpoints: Sequence[str]) -> list[str]:
    """Returns short names for networks: of their models or, if these are the same, of their files.

    For files, the first folder, or the file name, in which their paths differ.
    """
    names = [model_name(cfg) for cfg in configs]
    if len(set(names)) == len(names):
        return names
    paths = [Path(checkpoint).resolve() for checkpoint in checkpoints]
    common = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(common).parts[0].removesuffix(path.suffix) for path in paths]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def _misfit(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    for names, what in ((missing, "it lacks"), (unknown, "the model has no")):
        if names:
            return f"{what} {names[0]}" + (f" and {len(names) - 1} others" if names[1:] else "")
    for name, value in wanted.items():
        if value.shape != given[name].shape:
            return f"its {name} is {tuple(given[name].shape)}, not {tuple(value.shape)}"
    return ""
