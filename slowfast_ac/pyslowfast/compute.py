"""Memory format, precision and compilation of any PySlowFast model: the keys of COMPUTE.

All are off by default. None changes the state dict, so checkpoints are compatible across settings.
"""

import types
from collections.abc import Callable

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.config import MEMORY_FORMATS, PRECISIONS
from slowfast_ac.errors import InputError
from slowfast_ac.models.compiled import check_compiler, compile_stages
from slowfast_ac.pyslowfast.built_models import after_build
from slowfast_ac.pyslowfast.find import Upstream

NO_TRAINING = (
    "bfloat16 does not train on a CPU, where the weight gradients of some convolutions come out "
    "wrong; train on a GPU or use default"
)
# The settings of TF32 before a config changed them; None if none has.
_before: tuple[bool, bool] | None = None


def check_compute(cfg: CfgNode) -> None:
    """Rejects values that are unknown or incompatible.

    Raises:
        InputError: naming the key, its value and what to do.
    """
    for key, allowed in (("MEMORY_FORMAT", MEMORY_FORMATS), ("PRECISION", PRECISIONS)):
        value = cfg.COMPUTE[key]
        if value not in allowed:
            raise InputError(f"COMPUTE.{key}: {value!r} is not one of {', '.join(allowed)}")
    # The wheel has neither of the following keys.
    if cfg.COMPUTE.PRECISION == "bfloat16" and cfg.TRAIN.get("MIXED_PRECISION", False):
        raise InputError(
            "COMPUTE.PRECISION: bfloat16 and upstream's TRAIN.MIXED_PRECISION (float16) exclude "
            "each other; set only one of them"
        )
    if (
        cfg.COMPUTE.MEMORY_FORMAT == "channels_last"
        and cfg.BN.get("NORM_TYPE", "") == "sub_batchnorm"
    ):
        raise InputError(
            "COMPUTE.MEMORY_FORMAT: channels_last cannot be combined with BN.NORM_TYPE "
            "sub_batchnorm, whose views need contiguous features; use contiguous"
        )
    if cfg.COMPUTE.COMPILE:
        _check_compile(cfg)


def _check_compile(cfg: CfgNode) -> None:
    if cfg.BN.get("NORM_TYPE", "") == "sync_batchnorm":
        raise InputError(
            "COMPUTE.COMPILE: cannot be combined with BN.NORM_TYPE sync_batchnorm, whose processes "
            "communicate inside the stages; set it to False"
        )
    try:
        check_compiler(torch.device("cuda" if cfg.NUM_GPUS else "cpu"))
    except InputError as error:
        raise InputError(f"COMPUTE.COMPILE: {error}") from None


def apply_compute(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """Applies COMPUTE to a model that is not yet trained or wrapped for several GPUs.

    The precisions float32 and tf32 are settings of the process. The last model built determines
    them: one of another precision restores the process's own settings.

    Args:
        model: any model whose first argument is a list of clips. Changed in place.
        cfg: a config with the node COMPUTE.

    Returns:
        The same model.

    Raises:
        InputError: as :func:`check_compute`; later, when a model in bfloat16 is trained on a CPU.
    """
    check_compute(cfg)
    if cfg.COMPUTE.MEMORY_FORMAT == "channels_last":
        _use_channels_last(model)
    if cfg.COMPUTE.COMPILE:
        compile_stages(model)
    if cfg.COMPUTE.PRECISION == "bfloat16":
        model.forward = types.MethodType(_in_bfloat16(_forward_of(model)), model)
    _set_tf32({"tf32": True, "float32": False}.get(cfg.COMPUTE.PRECISION))
    return model


def _set_tf32(allow: bool | None) -> None:
    """Allows or forbids TF32 in this process; None restores the settings from before."""
    global _before
    if _before is None:
        _before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    convolutions, products = _before if allow is None else (allow, allow)
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products
    if allow is None:
        _before = None


def install_compute(upstream: Upstream) -> None:
    """Applies COMPUTE to every model that PySlowFast builds; a second call has no effect."""
    after_build(upstream, apply_compute)


def _use_channels_last(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    model.register_forward_pre_hook(_convert_clips)


def _convert_clips(_: nn.Module, args: tuple) -> tuple:
    return _each_tensor(_to_channels_last, args)


def _forward_of(model: nn.Module) -> Callable:
    """Returns the model's forward function, in compiled form if the whole model is compiled."""
    return vars(model)["forward"].__func__ if "forward" in vars(model) else type(model).forward


def _in_bfloat16(forward: Callable) -> Callable:
    def run(self: nn.Module, *args: object, **kwargs: object) -> object:
        device = next(self.parameters()).device.type
        if device == "cpu" and self.training and torch.is_grad_enabled():
            raise InputError(f"COMPUTE.PRECISION: {NO_TRAINING}")
        with torch.autocast(device, torch.bfloat16):
            preds = forward(self, *args, **kwargs)
        return _each_tensor(_to_float32, preds)

    return run


def _each_tensor(function: Callable[[Tensor], Tensor], value: object) -> object:
    """Applies ``function`` to a tensor or to those in nested lists and tuples."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_each_tensor(function, item) for item in value)
    return value


def _to_channels_last(clip: Tensor) -> Tensor:
    return clip.contiguous(memory_format=torch.channels_last_3d) if clip.dim() == 5 else clip


def _to_float32(preds: Tensor) -> Tensor:
    if preds.dtype != torch.bfloat16:
        return preds
    result = preds.float()
    if hasattr(preds, "attention"):
        result.attention = preds.attention
    return result
