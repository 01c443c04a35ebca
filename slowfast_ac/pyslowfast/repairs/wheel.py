"""Repairs of the 2020 wheel and checkouts of its time: current configs, and running on a CPU."""

import importlib

import torch
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair


def _has_no_model_name(_: Upstream) -> bool:
    defaults = importlib.import_module("slowfast.config.defaults")
    return "MODEL_NAME" not in defaults._C.MODEL


def _add_checkout_names(_: Upstream) -> None:
    config = importlib.import_module("slowfast.config.defaults")._C
    # Name of the model; if empty, MODEL.ARCH determines it, as in the wheel.
    config.MODEL.MODEL_NAME = ""
    # Current configs have values such as 34.0, which an int default rejects.
    config.SOLVER.WARMUP_EPOCHS = 0.0
    # Whether only the weights of a given checkpoint are loaded, not its epoch and optimizer.
    config.TRAIN.CHECKPOINT_EPOCH_RESET = False
    # Texts to remove from the names of its weights.
    config.TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN = ()
    # Whether BatchNorm normalises with fixed running statistics in training.
    config.MODEL.FROZEN_BN = False
    # File in OUTPUT_DIR for the test's scores and labels; if empty, none is written.
    config.TEST.SAVE_RESULTS_PATH = ""

    builder = importlib.import_module("slowfast.models.model_builder")
    networks = importlib.import_module("slowfast.models.video_model_builder")
    builder._MODEL_TYPES["SlowFast"] = networks.SlowFastModel
    builder._MODEL_TYPES["ResNet"] = networks.ResNetModel
    builder._MODEL_TYPES["slow"] = networks.ResNetModel
    networks._POOL1["slow"] = networks._POOL1["slowonly"]
    networks._TEMPORAL_KERNEL_BASIS["slow"] = networks._TEMPORAL_KERNEL_BASIS["slowonly"]
    config.MODEL.SINGLE_PATHWAY_ARCH = [*config.MODEL.SINGLE_PATHWAY_ARCH, "slow"]
    builder.build_model = build_model


def build_model(cfg) -> nn.Module:
    """Builds the model of MODEL.MODEL_NAME, or else of MODEL.ARCH, on the GPU or the CPU.

    Raises:
        InputError: for an unknown name, or more than one GPU.
    """
    builder = importlib.import_module("slowfast.models.model_builder")
    name = cfg.MODEL.MODEL_NAME or cfg.MODEL.ARCH
    if name not in builder._MODEL_TYPES:
        raise InputError(
            f"MODEL.MODEL_NAME: {name!r} is not one of {', '.join(builder._MODEL_TYPES)}"
        )
    cfg = cfg.clone()
    # The wheel's head takes its pooling size from this key, the checkout's from the training crop.
    cfg.DATA.CROP_SIZE = cfg.DATA.TRAIN_CROP_SIZE
    return builder._MODEL_TYPES[name](cfg).to(device(cfg))


def device(cfg) -> torch.device:
    """Returns the device for a model of the wheel: the GPU if NUM_GPUS is 1 and there is one."""
    if cfg.NUM_GPUS > 1:
        raise InputError(
            f"NUM_GPUS: {cfg.NUM_GPUS}, but the slowfast wheel supports at most one GPU; use a "
            "checkout of PySlowFast"
        )
    return torch.device("cuda" if cfg.NUM_GPUS and torch.cuda.is_available() else "cpu")


def _rates_are_lost(_: Upstream) -> bool:
    optimizers = importlib.import_module("slowfast.models.optimizer")
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "layer_decay": 0.5}], lr=1.0)
    optimizers.set_lr(optimizer, 1.0)
    return optimizer.param_groups[0]["lr"] == 1.0


def set_lr(optimizer: torch.optim.Optimizer, new_lr: float) -> None:
    """Sets every group's rate to ``new_lr`` times its ``layer_decay``, which defaults to 1."""
    for group in optimizer.param_groups:
        group["lr"] = new_lr * group.get("layer_decay", 1.0)


def _keep_rates(_: Upstream) -> None:
    importlib.import_module("slowfast.models.optimizer").set_lr = set_lr


def _has_no_depth_18(_: Upstream) -> bool:
    return (
        18 not in importlib.import_module("slowfast.models.video_model_builder")._MODEL_STAGE_DEPTH
    )


def _add_depth_18(_: Upstream) -> None:
    networks = importlib.import_module("slowfast.models.video_model_builder")
    # Blocks of res2 to res5, as in the current checkout.
    networks._MODEL_STAGE_DEPTH[18] = (2, 2, 2, 2)


REPAIRS = (
    Repair(
        "depth 18",
        "RESNET.DEPTH supports only 50 and 101",
        ("checkout", "wheel"),
        _has_no_depth_18,
        _add_depth_18,
    ),
    Repair(
        "rates of parameter groups",
        "until 2022, set_lr gave every group the same rate, whatever its layer_decay",
        ("checkout", "wheel"),
        _rates_are_lost,
        _keep_rates,
    ),
    Repair(
        "the checkout's names",
        "the wheel lacks MODEL.MODEL_NAME, MODEL.ARCH slow and other keys of current configs; its "
        "build_model needs a GPU (#39, #103) and ignores DATA.TRAIN_CROP_SIZE",
        ("wheel",),
        _has_no_model_name,
        _add_checkout_names,
    ),
)
