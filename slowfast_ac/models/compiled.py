"""Networks whose stages torch.compile turns into a few kernels each, in training too.

The stages alone: what goes on between them (hooks, the maps, a second scale without gradient) is
Python, which it could only interrupt its graphs for.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.models.parts import find_stages

# Programs for one function: stages x (training, Precise BN, test) x pathways and sizes of the clip.
# Beyond torch's own 8, it would go on uncompiled.
_PROGRAMS = 64


def compile_stages(model: nn.Module) -> None:
    """Has the stages of a network compiled, each when it is first called in some mode and size.

    A network without known stages is compiled as a whole. Names of parameters do not change, hooks
    of a stage still run, those of the layers inside may not.

    Args:
        model: changed in place. A copy of it is compiled too.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _PROGRAMS)
    plain_strides(model)
    for module in find_stages(model) or [model]:
        module.forward = types.MethodType(_compiled(type(module).forward), module)


def plain_strides(model: nn.Module) -> None:
    """Makes the convolutions' strides integers: PyTorchVideo's are of numpy.

    torch.compile would take those for tensors.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = tuple(map(int, module.stride))


def check_compiler(device: torch.device) -> None:
    """Compiles one addition.

    Raises:
        InputError: if that fails.
    """
    try:
        torch.compile(lambda value: value + 1)(torch.zeros(8, device=device))
    except Exception as error:  # what is missing, and so the error, depends on device and version
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
        # Upstream counts operations by such a trace.
        run_one = forward if torch.jit.is_tracing() else compiled
        return run_one(self, *args, **kwargs)

    return run
