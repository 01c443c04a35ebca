"""Forward passes that leave BatchNorm's running statistics unchanged."""

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def frozen_running_stats(module: nn.Module) -> Iterator[None]:
    """Within the block, BatchNorm layers normalise as before but keep their running statistics.

    Each further scale is another pass in training mode, and even a pass without gradients would
    update the running statistics. These are used at test time on full-scale clips only, so the
    batch statistics of other scales must not reach them.

    Layers in evaluation mode (PySlowFast's MODEL.FROZEN_BN) still normalise with their running
    statistics. SubBatchNorm3d is covered by the BatchNorm3d layers inside it.

    Args:
        module: the module whose layers keep their statistics.
    """
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [(m.track_running_stats, m.momentum) for m in layers]
    for layer in layers:
        # torch's layers obey the first; PyTorchVideo's NaiveSyncBatchNorm only the second.
        layer.track_running_stats = False
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (track, momentum) in zip(layers, before, strict=True):
            layer.track_running_stats = track
            layer.momentum = momentum
