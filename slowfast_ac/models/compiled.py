"""Compiles the stages of a network with torch.compile, for training too.

Only the stages are compiled: the Python code between them (hooks, the maps, a second scale without
gradient) would break the graphs.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.models.parts import find_stages

# Versions of one function: stages x (training, Precise BN, test) x pathways and sizes of the clip.
# Beyond torch's default limit of 8, it would run uncompiled.
_PROGRAMS = 64


def compile_stages(model: nn.Module) -> None:
    """Compiles the stages of a network, each on its first call in a given mode and size.

    A network without known stages is compiled as a whole. Parameter names do not change. A stage's
    own hooks still run; those of the layers inside it may not.

    Args:
        model: changed in place. Copies of it are compiled too.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _PROGRAMS)
    plain_strides(model)
    for module in find_stages(model) or [model]:
        module.forward = types.MethodType(_compiled(type(module).forward), module)


def plain_strides(model: nn.Module) -> None:
    """Makes the convolutions' strides plain integers.

    PyTorchVideo's are numpy integers, which torch.compile would treat as tensors.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = tuple(map(int, module.stride))


def check_compiler(device: torch.device) -> None:
    """Checks that torch.compile works, by compiling one addition.

    Raises:
        InputError: if it does not.
    """
    try:
        torch.compile(lambda value: value + 1)(torch.zeros(8, device=device))
    except Exception as error:  # its type depends on what is missing, the device and the version
        error = getattr(error, "inner_exception", error)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            "torch.compile does not work here; install a C++ compiler such as g++ (for a GPU "
            f"Triton too) or do without it ({reason})"
        ) from None


def _compiled(forward: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(forward, dynamic=False)

    @functools.wraps(forward)
    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # Upstream traces the network to count its operations.
        run_one = forward if torch.jit.is_tracing() else compiled
        return run_one(self, *args, **kwargs)

    return run
