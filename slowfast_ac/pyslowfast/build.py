"""Builds a config's model, and counts its multiply-adds as upstream does."""

import importlib

import torch
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_ac.models.counts import count_multiply_adds


def build_model(cfg: CfgNode) -> nn.Module:
    """Builds the config's model with the PySlowFast that is set up."""
    try:
        builder = importlib.import_module("slowfast.models.build")
    except ModuleNotFoundError:
        builder = importlib.import_module("slowfast.models.model_builder")
    return builder.build_model(cfg)


def build_on_cpu(cfg: CfgNode) -> nn.Module:
    """Builds the config's model on the CPU, so that it needs no process group or compiler.

    It computes in the process's own precision.
    """
    cfg = cfg.clone()
    cfg.NUM_GPUS = 0
    cfg.COMPUTE.COMPILE, cfg.COMPUTE.PRECISION = False, "default"
    if "NORM_TYPE" in cfg.BN:  # not in the wheel
        # The other types differ in training alone, and upstream saves them all as this type.
        cfg.BN.NORM_TYPE = "batchnorm"
    return build_model(cfg)


def count_gflops(cfg: CfgNode, model: nn.Module) -> float:
    """Returns the 10^9 multiply-adds of one view at DATA.TEST_CROP_SIZE, in evaluation mode."""
    shape = (1, 3, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE)
    clip = torch.zeros(shape, device=next(model.parameters()).device)
    pathways = [clip]
    if cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH:
        pathways = [clip[:, :, :: cfg.SLOWFAST.ALPHA], clip]
    return count_multiply_adds(model, pathways) / 1e9
