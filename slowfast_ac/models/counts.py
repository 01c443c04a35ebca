"""Counts a network's parameters and operations."""

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Returns the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: nn.Module, clips: Tensor | list[Tensor]) -> float:
    """Returns the multiply-adds of one pass in evaluation mode, without gradients.

    They are counted as in fvcore, and so in PySlowFast: a multiply-add is one operation, BatchNorm
    is included, activations, pooling and additions are not.

    Args:
        model: the network; its mode is restored afterwards.
        clips: its input.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        counter = FlopCountAnalysis(model, (clips,))
        # Uncounted operations, and layers that only run in training, are expected.
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        total = float(counter.total())
    model.train(training)
    return total
