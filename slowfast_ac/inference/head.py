"""Finds the head of a network of either code base, which turns feature maps into scores."""

from typing import Any

from torch import nn

from slowfast_ac.errors import InputError


def find_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Returns the layer that takes the streams' last feature maps, and the classifier.

    Raises:
        InputError: for a model that has no such layers.
    """
    pooling: Any = getattr(model, "head", None)
    classifier: Any = getattr(pooling, "projection", None)
    # The heads of X3D and of transformers have other layers before the classifier.
    averages = hasattr(pooling, "pathway0_avgpool")
    blocks: Any = getattr(getattr(model, "model", None), "blocks", ())
    if len(blocks) == 7:  # PyTorchVideo's create_slowfast
        pooling, classifier = blocks[5], blocks[6].proj
        averages = True
    elif len(blocks) == 6:  # its create_resnet
        pooling, classifier = blocks[5].pool, blocks[5].proj
        averages = isinstance(pooling, nn.AvgPool3d | nn.AdaptiveAvgPool3d)
    detects = getattr(model, "enable_detection", False) or getattr(model, "detection_mode", False)
    if detects or not averages or not isinstance(classifier, nn.Linear):
        raise InputError(
            f"{type(model).__name__}: maps need a linear classifier on average-pooled features; "
            "use SlowFast, SlowFastAC, ResNet, SlowAC or their PTV variants, without detection"
        )
    return pooling, classifier


def has_maps(model: nn.Module) -> bool:
    """Returns whether :func:`find_head` finds the layers."""
    try:
        find_head(model)
    except InputError:
        return False
    return True
