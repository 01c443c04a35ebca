"""Makes a trained network faster: folded BatchNorm, memory layout, precision, compilation.

Nothing here is specific to the method: SlowFast, SlowFastAC and Slow of PySlowFast and
PyTorchVideo gain alike.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slowfast_ac.errors import InputError
from slowfast_ac.models.compiled import check_compiler, plain_strides

PRECISIONS = ("float32", "bfloat16")
# Attributes of a module: a convolution, and the BatchNorm after it.
_PAIRS = (
    # PySlowFast: stem, shortcut, bottleneck, lateral connection, nonlocal block.
    ("conv", "bn"),
    ("branch1", "branch1_bn"),
    ("a", "a_bn"),
    ("b", "b_bn"),
    ("c", "c_bn"),
    ("conv_f2s", "bn"),
    ("conv_out", "bn"),
    # PyTorchVideo: stem, shortcut, bottleneck, lateral connection.
    ("conv", "norm"),
    ("branch1_conv", "branch1_norm"),
    ("conv_a", "norm_a"),
    ("conv_b", "norm_b"),
    ("conv_c", "norm_c"),
    ("conv_fast_to_slow", "norm"),
)


def optimize_network(
    network: nn.Module, precision: str = "float32", *, channels_last: bool = True
) -> nn.Module:
    """Returns a copy for inference, called like the network and with the same submodules.

    Args:
        network: a network of PySlowFast, or a
            :class:`~slowfast_ac.inference.build.Classifier`, called with the list of its pathways'
            clips, float32.
        precision: of the convolutions' weights and features, ``float32`` or ``bfloat16``. From the
            head's pooling on everything is float32, scores included.
        channels_last: whether weights and features have the channels last in memory.

    Raises:
        InputError: for another precision; see also :func:`fold_batchnorm`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    optimized = fold_batchnorm(network).requires_grad_(False)
    if getattr(optimized, "scam", None) is not None:
        setattr(optimized, "scam", None)  # noqa: B010  # runs in training only
    plain_strides(optimized)
    dtype = getattr(torch, precision)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    for module in optimized.modules():
        if isinstance(module, nn.Conv3d):
            module.to(dtype).to(memory_format=layout)
        elif isinstance(module, nn.AvgPool3d | nn.AdaptiveAvgPool3d):
            # The CPU has no average pooling in bfloat16.
            module.register_forward_pre_hook(_to_float32)

    def convert(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        pathways = [clip.to(dtype, memory_format=layout) for clip in args[0]]
        return (pathways, *args[1:])

    optimized.register_forward_pre_hook(convert)
    return optimized


def fold_batchnorm(network: nn.Module) -> nn.Module:
    """Returns a copy in evaluation mode whose convolutions contain the BatchNorm after them.

    The copy computes the same up to rounding.

    Raises:
        InputError: naming a BatchNorm layer that follows no known convolution.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        children = dict(module.named_children())
        for conv, norm in _PAIRS:
            first, second = children.get(conv), children.get(norm)
            if isinstance(first, nn.Conv3d) and isinstance(second, nn.BatchNorm3d):
                setattr(module, conv, fuse_conv_bn_eval(first, second))
                setattr(module, norm, nn.Identity())
    for name, module in folded.named_modules():
        if isinstance(module, _BatchNorm):
            raise InputError(
                f"{name}: a BatchNorm layer that follows no convolution of SlowFast or Slow; this "
                "network cannot be exported"
            )
    return folded


def compile_network(network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """Returns the network compiled by inductor, its weights frozen; the first call compiles.

    Args:
        network: a result of :func:`optimize_network`, or a program of ``torch.export``.
        device: the network's device.

    Raises:
        InputError: if there is no working compiler.
    """
    check_compiler(device)
    options: dict[str, str | int | bool | Callable[..., Any]] = {"freezing": True}
    if device.type == "cuda":
        # A fast card waits for the CPU between small kernels; a recorded graph does not.
        options["triton.cudagraphs"] = True
    return torch.compile(network, options=options)


def _to_float32(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in args)
