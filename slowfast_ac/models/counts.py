"""Parameters and operations of a network."""

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Returns the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: nn.Module, clips: Tensor | list[Tensor]) -> float:
    """Returns the multiply-adds of one pass in evaluation mode, without gradients.

    The rule is fvcore's, and so PySlowFast's: a multiply-add counts once, BatchNorm counts,
    activations, pooling and additions do not.

    Args:
        model: the network; it is in its own mode again afterwards.
        clips: its input.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        counter = FlopCountAnalysis(model, (clips,))
        # What the rule leaves out, and layers that work in training only.
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        total = float(counter.total())
    model.train(training)
    return total
