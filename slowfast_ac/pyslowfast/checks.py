"""Validates the input before a run, so that mistakes are found early."""

import difflib
import importlib
import inspect
import os

import torch
from fvcore.common.config import CfgNode

from slowfast_ac.cam import STRIDE
from slowfast_ac.config import FAST, LOSS_NAME, check_values, consistency_settings
from slowfast_ac.data.lists import check_list, list_format, read_list
from slowfast_ac.errors import InputError
from slowfast_ac.models.slowfast_ac import check_supported
from slowfast_ac.pyslowfast.check_visualization import shows_something
from slowfast_ac.pyslowfast.compute import NO_TRAINING, check_compute
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.finetune import check_finetune
from slowfast_ac.pyslowfast.initial_weights import check_start, check_tested
from slowfast_ac.pyslowfast.loss_terms import find_upstream_loss

OUR_MODELS = ("SlowFastAC", "PTVSlowFastAC", "SlowAC")
PATHWAYS = {
    **dict.fromkeys(("SlowFast", "PTVSlowFast", "SlowFastAC", "PTVSlowFastAC"), 2),
    **dict.fromkeys(("ResNet", "PTVResNet", "SlowAC"), 1),
}
# The data sets that read `path label` lists, in the checkout and the wheel.
LIST_DATASETS = ("kinetics", "ptvkinetics")


def check_config(cfg: CfgNode, upstream: Upstream) -> None:
    """Rejects a config that cannot run.

    Raises:
        InputError: naming the key, its value and what to do.
    """
    check_names(cfg, upstream)
    find_upstream_loss(consistency_settings(cfg).base_loss)
    check_compute(cfg)
    check_finetune(cfg)
    check_sizes(cfg)
    check_depth(cfg)
    check_devices(cfg, upstream)
    check_packages(cfg)
    if cfg.TEST.ENABLE or shows_something(cfg):
        check_tested(cfg, upstream)
    if cfg.TRAIN.ENABLE:
        check_start(cfg, upstream)


def check_names(cfg: CfgNode, upstream: Upstream) -> None:
    """Checks that the model and the loss are known and fit each other."""
    if upstream.kind == "checkout":
        models = [name for name, _ in _import("slowfast.models.build").MODEL_REGISTRY]
        name = cfg.MODEL.MODEL_NAME
    else:
        models = list(_import("slowfast.models.model_builder")._MODEL_TYPES)
        name = cfg.MODEL.MODEL_NAME or cfg.MODEL.ARCH
    losses = list(_import("slowfast.models.losses")._LOSSES)
    for key, value, known in (
        ("MODEL.MODEL_NAME", name, models),
        ("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC, losses),
    ):
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise InputError(f"{key}: {value!r} is not known to this PySlowFast; {hint}")
    if cfg.MODEL.LOSS_FUNC == LOSS_NAME and name not in ("SlowFastAC", "PTVSlowFastAC"):
        raise InputError(
            f"MODEL.LOSS_FUNC: {LOSS_NAME} needs the attention maps of MODEL.MODEL_NAME "
            f"SlowFastAC or PTVSlowFastAC, not {name}"
        )
    two = cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH
    if name in PATHWAYS and PATHWAYS[name] != 1 + two:
        raise InputError(
            f"MODEL.ARCH: {cfg.MODEL.ARCH} has {1 + two} pathways, but MODEL.MODEL_NAME {name} has "
            f"{PATHWAYS[name]}; build on a config of that model"
        )
    if name in OUR_MODELS:
        check_values(cfg)
        check_supported(cfg)


def check_sizes(cfg: CfgNode) -> None:
    """Checks that stages, crops and frames fit the pathways and strides, as upstream assumes."""
    two_pathways = cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH
    for key in ("NUM_BLOCK_TEMP_KERNEL", "SPATIAL_STRIDES", "SPATIAL_DILATIONS"):
        # PySlowFast's own defaults have one, although the default MODEL.ARCH slowfast needs two.
        if two_pathways and any(len(stage) < 2 for stage in cfg.RESNET[key]):
            raise InputError(
                f"RESNET.{key}: {cfg.RESNET[key]} is for one pathway, but MODEL.ARCH "
                f"{cfg.MODEL.ARCH} has two; build on a config of the model (_BASE_: MODEL.yaml)"
            )
    if two_pathways and cfg.DATA.NUM_FRAMES % cfg.SLOWFAST.ALPHA:
        raise InputError(
            f"DATA.NUM_FRAMES: {cfg.DATA.NUM_FRAMES} frames do not divide by SLOWFAST.ALPHA "
            f"{cfg.SLOWFAST.ALPHA}"
        )
    short_cycle = cfg.get("MULTIGRID") and cfg.MULTIGRID.SHORT_CYCLE
    if (
        cfg.DETECTION.ENABLE
        or short_cycle
        or cfg.MODEL.ARCH not in ("slowfast", "slow", "slowonly", FAST)
    ):
        return
    for name, crop in (("TRAIN", cfg.DATA.TRAIN_CROP_SIZE), ("TEST", cfg.DATA.TEST_CROP_SIZE)):
        if crop % STRIDE:
            raise InputError(
                f"DATA.{name}_CROP_SIZE: {crop} is not a multiple of the network's stride of "
                f"{STRIDE}; try {max(1, round(crop / STRIDE)) * STRIDE}"
            )
    if cfg.DATA.TEST_CROP_SIZE < cfg.DATA.TRAIN_CROP_SIZE:
        raise InputError(
            f"DATA.TEST_CROP_SIZE: {cfg.DATA.TEST_CROP_SIZE} is smaller than "
            f"DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}, for which the head pools"
        )


def check_depth(cfg: CfgNode) -> None:
    """Checks RESNET.DEPTH, and that no stage has more temporal kernels than blocks."""
    if cfg.MODEL.MODEL_NAME not in ("SlowFast", "ResNet", "SlowFastAC", "SlowAC"):
        return
    known = _import("slowfast.models.video_model_builder")._MODEL_STAGE_DEPTH
    if cfg.RESNET.DEPTH not in known:
        raise InputError(
            f"RESNET.DEPTH: {cfg.RESNET.DEPTH} is not one of this PySlowFast's: "
            f"{', '.join(map(str, known))}"
        )
    kernels, blocks = cfg.RESNET.NUM_BLOCK_TEMP_KERNEL, known[cfg.RESNET.DEPTH]
    if any(max(stage) > most for stage, most in zip(kernels, blocks, strict=False)):
        raise InputError(
            f"RESNET.NUM_BLOCK_TEMP_KERNEL: {kernels} exceeds the {', '.join(map(str, blocks))} "
            f"blocks of RESNET.DEPTH {cfg.RESNET.DEPTH}"
        )


def check_devices(cfg: CfgNode, upstream: Upstream) -> None:
    """Checks NUM_GPUS against the machine and the batch sizes."""
    present = torch.cuda.device_count()
    multigrid = cfg.get("MULTIGRID")
    if multigrid and (multigrid.SHORT_CYCLE or multigrid.LONG_CYCLE):
        if cfg.NUM_GPUS < 2:
            raise InputError(
                "MULTIGRID.SHORT_CYCLE: upstream's sampler for it needs 2 GPUs or more, NUM_GPUS "
                f"is {cfg.NUM_GPUS}; switch both cycles off"
            )
        if not multigrid.SHORT_CYCLE:
            raise InputError(
                "MULTIGRID.LONG_CYCLE: upstream's schedule for it needs MULTIGRID.SHORT_CYCLE too"
            )
    if upstream.kind == "wheel" and cfg.NUM_GPUS > 1:
        raise InputError(
            f"NUM_GPUS: {cfg.NUM_GPUS}, but the slowfast wheel supports at most one GPU; use a "
            "checkout of PySlowFast, or add --opts NUM_GPUS 1"
        )
    if present < cfg.NUM_GPUS and not (upstream.kind == "wheel" and cfg.NUM_GPUS == 1):
        raise InputError(
            f"NUM_GPUS: {cfg.NUM_GPUS}, but this machine has {present}; add "
            f"--opts NUM_GPUS {present}"
        )
    if cfg.NUM_SHARDS > 1 and (cfg.NUM_GPUS < 2 or upstream.kind == "wheel"):
        least = "only one machine" if upstream.kind == "wheel" else "2 GPUs or more on each machine"
        raise InputError(
            f"NUM_SHARDS: {cfg.NUM_SHARDS} machines, but this PySlowFast needs {least} "
            f"(NUM_GPUS is {cfg.NUM_GPUS}): each would train a network of its own in the same "
            "OUTPUT_DIR; start it on one machine"
        )
    on_gpu = cfg.NUM_GPUS and present
    if cfg.TRAIN.ENABLE and cfg.COMPUTE.PRECISION == "bfloat16" and not on_gpu:
        raise InputError(f"COMPUTE.PRECISION: {NO_TRAINING}")
    for key in ("TRAIN", "TEST"):
        if cfg[key].BATCH_SIZE % max(cfg.NUM_GPUS, 1):
            raise InputError(
                f"{key}.BATCH_SIZE: {cfg[key].BATCH_SIZE} does not divide by NUM_GPUS "
                f"{cfg.NUM_GPUS}"
            )


def check_packages(cfg: CfgNode) -> None:
    """Checks that the installed packages support the options in use."""
    if cfg.BN.get("NORM_TYPE") == "sync_batchnorm":
        layer = _import("pytorchvideo.layers.batch_norm").NaiveSyncBatchNorm3d
        if "num_sync_devices" not in inspect.signature(layer).parameters:
            raise InputError(
                "BN.NORM_TYPE: sync_batchnorm needs PyTorchVideo's main branch; run: pip install "
                "git+https://github.com/facebookresearch/pytorchvideo"
            )
    if cfg.DATA.get("DECODING_BACKEND") == "torchcodec":
        # Otherwise, a run would log this for every video and continue with the next.
        try:
            _import("torchcodec.decoders")
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                "DATA.DECODING_BACKEND: torchcodec cannot be imported; run: pip install "
                f"torchcodec, and install FFmpeg, or choose pyav ({reason})"
            ) from None


def check_data(cfg: CfgNode, open_videos: bool = True) -> None:
    """Checks the lists of a run, and that a sample of their videos can be opened.

    Args:
        cfg: the run's config.
        open_videos: if false, only the lists are read.

    Raises:
        InputError: naming the list and line, or the video and the reason.
    """
    splits = []
    if cfg.TRAIN.ENABLE and cfg.TRAIN.DATASET in LIST_DATASETS:
        splits += ["train", "val"]
    if cfg.TEST.ENABLE and cfg.TEST.DATASET in LIST_DATASETS:
        splits.append("test")
    for split in splits:
        path = os.path.join(cfg.DATA.PATH_TO_DATA_DIR, f"{split}.csv")
        check = check_list if open_videos else read_list
        entries = check(path, **list_format(cfg), num_classes=cfg.MODEL.NUM_CLASSES)
        if split == "train" and len(entries) < cfg.TRAIN.BATCH_SIZE:
            raise InputError(
                f"TRAIN.BATCH_SIZE: {cfg.TRAIN.BATCH_SIZE} exceeds the {len(entries)} videos of "
                f"{path}, and incomplete batches are dropped: no step would be taken"
            )


def _import(name: str):
    return importlib.import_module(name)
