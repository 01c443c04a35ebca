"""Explains a config in plain numbers: clips, maps, steps, learning rate, views and cost."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from slowfast_ac.config import (
    LOSS_NAME,
    PAPER_LAMBDA,
    PAPER_SIDE,
    add_custom_config,
    equal_lambda,
    map_side,
)
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.launch import tested_views

# PySlowFast's recipe for SlowFast R50 on Kinetics: a rate of 0.1 for 64 clips per step. The linear
# rule scales one with the other: Goyal et al., "Accurate, Large Minibatch SGD", 2017.
RECIPE_RATE, RECIPE_BATCH = 0.1, 64
FAR_OFF = 2.0
NODES = ("AC", "SCAM", "COMPUTE", "FINETUNE")
# PySlowFast's defaults for the keys that are read here, in case it is not installed.
DEFAULTS: dict[str, dict[str, Any]] = {
    "DATA": {
        **{"NUM_FRAMES": 8, "SAMPLING_RATE": 8, "TARGET_FPS": 30},
        **{"TRAIN_CROP_SIZE": 224, "TEST_CROP_SIZE": 256, "MULTI_LABEL": False},
    },
    "MODEL": {
        **{"ARCH": "slowfast", "MODEL_NAME": "SlowFast", "LOSS_FUNC": "cross_entropy"},
        **{"NUM_CLASSES": 400, "MULTI_PATHWAY_ARCH": ["slowfast"]},
    },
    "SLOWFAST": {"ALPHA": 8},
    "SOLVER": {"BASE_LR": 0.1, "MAX_EPOCH": 300, "OPTIMIZING_METHOD": "sgd"},
    "TRAIN": {"BATCH_SIZE": 64, "CHECKPOINT_FILE_PATH": ""},
    "TEST": {"NUM_ENSEMBLE_VIEWS": 10, "NUM_SPATIAL_CROPS": 3},
}


def over_defaults(config: Mapping[str, Any]) -> CfgNode:
    """Returns a config with every key that :func:`explain` reads.

    Args:
        config: a config file's content, including that of its base.

    Raises:
        InputError: for an unknown key of AC, SCAM, COMPUTE or FINETUNE. PySlowFast's own keys are
            not checked here.
    """
    cfg = CfgNode({node: dict(keys) for node, keys in DEFAULTS.items()})
    cfg.NUM_GPUS, cfg.NUM_SHARDS = 1, 1
    add_custom_config(cfg)
    for node, keys in config.items():
        if not isinstance(keys, Mapping):
            cfg[node] = keys
            continue
        for key, value in keys.items():
            if node in NODES and key not in cfg[node]:
                raise InputError(f"{node}.{key}: unknown; known: {', '.join(cfg[node])}")
            cfg.setdefault(node, CfgNode())[key] = value
    return cfg


def explain(
    cfg: CfgNode,
    *,
    videos: int | None = None,
    step_seconds: float | None = None,
    changed: Mapping[str, Any] | None = None,
) -> list[tuple[str, str]]:
    """Returns pairs of a name and a fact.

    Args:
        cfg: a config, see :func:`over_defaults`.
        videos: number of training videos, if known.
        step_seconds: measured time of a training step, if known.
        changed: the keys that the config file itself sets, without those of its base.
    """
    return [
        *_clips(cfg),
        *_maps(cfg),
        *_training(cfg, videos, step_seconds, _base_rate(cfg)),
        *_testing(cfg),
        *_keys(cfg, changed or {}),
    ]


def in_short(cfg: CfgNode) -> list[tuple[str, str]]:
    """Returns the facts to show at the start of a run; see :func:`explain`."""
    facts = [*_clips(cfg), *_maps(cfg)]
    if cfg.TRAIN.get("ENABLE", True):
        # Upstream has completed the config.
        facts += _training(cfg, count_training_videos(cfg), None, cfg.SOLVER.BASE_LR)
    return facts + list(_testing(cfg) if cfg.TEST.get("ENABLE", True) else ())


def count_training_videos(cfg: CfgNode) -> int | None:
    """Returns the number of lines of the training list, or None if there is no list."""
    train = Path(cfg.DATA.get("PATH_TO_DATA_DIR") or ".") / "train.csv"
    if not train.is_file():
        return None
    with open(train, "rb") as file:
        return sum(1 for _ in file)


def cost_by_part(model: nn.Module, clips: Tensor | list[Tensor]) -> dict[str, tuple[int, float]]:
    """Returns the parameters and multiply-adds of each part of the network, for one pass.

    Args:
        model: a SlowFast or Slow network of PySlowFast or PyTorchVideo, in evaluation mode.
        clips: its input.

    Returns:
        Those of ``slow``, ``fast``, ``lateral`` and ``head`` that the network has.
    """
    with torch.no_grad():
        counter = FlopCountAnalysis(model, (clips,))
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        operations = counter.by_module()
    parts: dict[str, tuple[int, float]] = {}
    for name, module in model.named_modules():
        if any(True for _ in module.children()):
            continue
        part = _part(name)
        parameters, multiply_adds = parts.get(part, (0, 0.0))
        parameters += sum(parameter.numel() for parameter in module.parameters())
        parts[part] = parameters, multiply_adds + float(operations.get(name, 0))
    return {part: cost for part, cost in parts.items() if any(cost)}


def _part(name: str) -> str:
    if "_fuse" in name or "multipathway_fusion" in name:
        return "lateral"
    if "pathway1" in name or "multipathway_blocks.1" in name:
        return "fast"
    return "head" if "head" in name or name.endswith(".proj") else "slow"


def _clips(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    frames, rate, fps = cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS
    yield (
        "clip",
        f"{frames * rate / fps:.2f} s: {frames} frames, {rate} apart, at {fps:g} per second",
    )
    if cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH:
        alpha = cfg.SLOWFAST.ALPHA
        slow = f"slow {frames // alpha} frames, {rate * alpha} apart"
        yield "pathways", f"{slow}; fast {frames} frames, {rate} apart (alpha {alpha})"


def _maps(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    if cfg.MODEL.LOSS_FUNC != LOSS_NAME:
        return
    side = map_side(cfg)
    text = f"{side} x {side} at a crop of {cfg.DATA.TRAIN_CROP_SIZE}; AC.LAMBDA {cfg.AC.LAMBDA:g}"
    if side != PAPER_SIDE:
        paper = f"the paper's {PAPER_LAMBDA:g} on {PAPER_SIDE} x {PAPER_SIDE}"
        text += f" (the pull of {paper} is {equal_lambda(cfg):.2g} here)"
    yield "maps", text


def _base_rate(cfg: CfgNode) -> float:
    """Returns the rate of a run of the config, as upstream completes it."""
    scaled = cfg.SOLVER.get("BASE_LR_SCALE_NUM_SHARDS", False)
    return cfg.SOLVER.BASE_LR * (cfg.NUM_SHARDS if scaled else 1)


def _training(
    cfg: CfgNode, videos: int | None, step_seconds: float | None, rate: float
) -> Iterator[tuple[str, str]]:
    batch = cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS
    gpus = cfg.NUM_GPUS * cfg.NUM_SHARDS
    where = f"{batch // gpus} on each of {gpus} GPUs" if gpus else "on the CPU"
    yield "batch", f"{batch} clips per step, {where}"
    if videos is not None:
        steps = videos // batch
        total = steps * cfg.SOLVER.MAX_EPOCH
        text = f"{steps} per epoch, {total:,} in {cfg.SOLVER.MAX_EPOCH} epochs of {videos:,} videos"
        if step_seconds is not None:
            text += f"; {total * step_seconds / 3600:.1f} hours at {step_seconds:g} s per step"
        yield "steps", text
    method = cfg.SOLVER.OPTIMIZING_METHOD
    if method != "sgd":
        yield "learning rate", f"{rate:g} ({method}; the linear rule is for sgd)"
        return
    linear = RECIPE_RATE * batch / RECIPE_BATCH
    text = f"{rate:g}; the linear rule gives {linear:.2g} for this batch"
    factor = max(rate / linear, linear / rate) if rate > 0 else float("inf")
    if factor > FAR_OFF and not cfg.TRAIN.CHECKPOINT_FILE_PATH:
        text += f" - WARNING: {factor:.1f} times off"
    yield "learning rate", text


def _testing(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    crops = cfg.TEST.NUM_SPATIAL_CROPS
    for clips in tested_views(cfg):
        views = f"{clips} clips x {crops} crops of {cfg.DATA.TEST_CROP_SIZE} pixels"
        yield "test", f"{clips * crops} views per video: {views}"


def _keys(cfg: CfgNode, changed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    plain = CfgNode()
    add_custom_config(plain)
    own = [
        f"{node}.{key} {cfg[node][key]}"
        for node in NODES
        for key, default in plain[node].items()
        if cfg[node][key] != default
    ]
    yield "our keys", ", ".join(own) or "all at their defaults"
    said = [
        f"{node}.{key} {value}"
        for node, keys in changed.items()
        if isinstance(keys, Mapping)
        for key, value in keys.items()
    ]
    if said and "_BASE_" in changed:
        yield "changed", f"from {changed['_BASE_']}: {', '.join(said)}"
