"""Changes and inspects a built network of PySlowFast or PyTorchVideo; imports neither."""

import contextlib
import copy
import types
from collections.abc import Iterator
from typing import Any

from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from slowfast_ac.models.upstream import Stage


def without_fused_channels(conv: nn.Conv3d, fused: int) -> nn.Conv3d:
    """Returns a new convolution like ``conv`` with ``fused`` fewer input channels."""
    names = ("kernel_size", "stride", "padding", "dilation")
    geometry: dict[str, Any] = {name: getattr(conv, name) for name in names}
    narrow = nn.Conv3d(
        conv.in_channels - fused, conv.out_channels, **geometry, bias=conv.bias is not None
    )
    # Both upstreams initialise their convolutions like this.
    c2_msra_fill(narrow)
    return narrow


def single_pathway(stage: Stage) -> Stage:
    """Returns PySlowFast's ``stage`` restricted to pathway 0, the slow one.

    It is a shallow copy: the layers are shared, and ``stage`` itself does not change.
    """
    if stage.num_pathways == 1:
        return stage
    view = copy.copy(stage)
    view.num_pathways = 1
    compiled = vars(stage).get("forward")
    if compiled is not None:  # bound to the original stage
        vars(view)["forward"] = types.MethodType(compiled.__func__, view)
    return view


@contextlib.contextmanager
def captured_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block, the yielded list holds the latest input tensors of ``module``."""
    captured: list[Tensor] = []

    def capture(_: nn.Module, args: tuple[Any, ...]) -> None:
        captured[:] = [args[0]] if isinstance(args[0], Tensor) else args[0]

    handle = module.register_forward_pre_hook(capture)
    try:
        yield captured
    finally:
        handle.remove()
