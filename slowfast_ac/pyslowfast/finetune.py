"""Frozen parts and a lower backbone learning rate for any PySlowFast model: the keys of FINETUNE.

Both are off by default, and neither changes a state dict. Upstream's own keys do the rest:
TRAIN.CHECKPOINT_FILE_PATH and CHECKPOINT_EPOCH_RESET for the weights, and MODEL.FROZEN_BN.
"""

import functools
import importlib
from collections.abc import Callable

from fvcore.common.config import CfgNode
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from slowfast_ac.errors import InputError
from slowfast_ac.models.parts import freeze, new_layers
from slowfast_ac.pyslowfast.built_models import after_build
from slowfast_ac.pyslowfast.find import Upstream


def check_finetune(cfg: CfgNode) -> None:
    """Rejects values that are invalid for any model.

    Raises:
        InputError: naming the key, its value and what to do.
    """
    names = cfg.FINETUNE.FREEZE
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"FINETUNE.FREEZE: {names} is not a list of names such as ['s1', 's2']")
    if not 0 < cfg.FINETUNE.BACKBONE_LR_FACTOR <= 1:
        raise InputError(
            f"FINETUNE.BACKBONE_LR_FACTOR: {cfg.FINETUNE.BACKBONE_LR_FACTOR} is not above 0 and at "
            "most 1; to keep the backbone as it is, set FINETUNE.FREEZE to ['backbone']"
        )


def apply_freeze(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """Freezes the parts of FINETUNE.FREEZE, see :func:`slowfast_ac.models.parts.freeze`.

    Raises:
        InputError: as :func:`check_finetune`, or for a part that the model does not have.
    """
    check_finetune(cfg)
    try:
        freeze(model, cfg.FINETUNE.FREEZE)
    except InputError as error:
        raise InputError(f"FINETUNE.FREEZE: {error}") from None
    return model


def install_finetune(upstream: Upstream) -> None:
    """Applies FINETUNE to every model and optimizer that PySlowFast builds.

    A second call has no effect.
    """
    after_build(upstream, apply_freeze)
    optimizers = importlib.import_module("slowfast.models.optimizer")
    if not hasattr(optimizers.construct_optimizer, "__wrapped__"):
        optimizers.construct_optimizer = _with_rates(optimizers.construct_optimizer)


def _with_rates(original: Callable) -> Callable:
    @functools.wraps(original)
    def construct_optimizer(model: nn.Module, cfg: CfgNode) -> Optimizer:
        optimizer = original(model, cfg)
        if isinstance(model, DistributedDataParallel):
            model = model.module
        try:
            _divide_groups(optimizer, model, cfg.FINETUNE.BACKBONE_LR_FACTOR)
        except InputError as error:
            raise InputError(f"FINETUNE.BACKBONE_LR_FACTOR: {error}") from None
        return optimizer

    return construct_optimizer


def _divide_groups(optimizer: Optimizer, model: nn.Module, factor: float) -> None:
    """Splits the groups into backbone and new layers, and drops frozen parameters.

    In every step, upstream's set_lr multiplies a group's learning rate by its ``layer_decay``.
    """
    if factor == 1 and all(parameter.requires_grad for parameter in model.parameters()):
        return
    rates = dict.fromkeys(model.parameters(), factor)
    if factor != 1:
        for layer in new_layers(model):
            rates.update(dict.fromkeys(layer.parameters(), 1.0))
    groups = []
    for group in optimizer.param_groups:
        for rate in dict.fromkeys((factor, 1.0)):
            params = [p for p in group["params"] if p.requires_grad and rates[p] == rate]
            if params:
                decay = group.get("layer_decay", 1.0) * rate
                groups.append({**group, "params": params, "layer_decay": decay})
    optimizer.param_groups[:] = groups
