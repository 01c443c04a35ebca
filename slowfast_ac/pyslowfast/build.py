"""Parameters and multiply-adds of a config's model, counted as upstream counts them."""

import importlib

import torch
from fvcore.common.config import CfgNode
from fvcore.nn import FlopCountAnalysis
from torch import nn


def build_model(cfg: CfgNode) -> nn.Module:
    """Builds the config's model with whichever PySlowFast is set up."""
    try:
        builder = importlib.import_module("slowfast.models.build")
    except ModuleNotFoundError:
        builder = importlib.import_module("slowfast.models.model_builder")
    return builder.build_model(cfg)


def build_on_cpu(cfg: CfgNode) -> nn.Module:
    """Builds the config's model on the CPU, without what needs a process group."""
    cfg = cfg.clone()
    cfg.NUM_GPUS = 0
    if "NORM_TYPE" in cfg.BN:
        cfg.BN.NORM_TYPE = "batchnorm"
    return build_model(cfg)


def count_parameters(model: nn.Module) -> int:
    """Returns the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_gflops(cfg: CfgNode, model: nn.Module) -> float:
    """Returns the 10^9 multiply-adds of one view at DATA.TEST_CROP_SIZE, in evaluation mode.

    The rule is fvcore's and upstream's: a multiply-add counts once, BatchNorm counts, activations,
    pooling and additions do not.
    """
    shape = (1, 3, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE)
    device = next(model.parameters()).device
    clip = torch.zeros(shape, device=device)
    pathways = [clip]
    if cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH:
        pathways = [clip[:, :, :: cfg.SLOWFAST.ALPHA], clip]
    training = model.training
    model.eval()
    with torch.no_grad():
        counter = FlopCountAnalysis(model, (pathways,))
        # What the rule leaves out, and layers that work in training only.
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        total = counter.total()
    model.train(training)
    return total / 1e9
