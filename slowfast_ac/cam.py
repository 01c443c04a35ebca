"""Class activation maps of the two streams and their distance (Eq. 1-3 of the paper).

Xu et al., "Exploiting Attention-Consistency Loss For Spatial-Temporal Stream Action Recognition",
ACM TOMM 18(2s), 2022, https://doi.org/10.1145/3538749

Shapes: N clips, L classes, C channels, T frames, H x W the size of a map. Everything here is
computed at least in float32, even under autocast. Averaging over frames, resizing and projecting to
classes are linear, so they commute: frames and scales are reduced first, and the L x C classifier
is applied to one C x H x W volume per clip.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from slowfast_ac.errors import InputError

# Pixels of the clip per position of a stream's last feature map, in each direction.
STRIDE = 32
TEMPORAL_REDUCTIONS = ("weighted", "average", "random")
NORMALIZATIONS = ("none", "l2", "minmax")
DISTANCES = ("norm", "mse")
_EPS = 1e-6


def spatial_cam(
    features: Sequence[Tensor], weight: Tensor, scales: Sequence[float] = (1.0,)
) -> Tensor:
    """Computes the multi-scale class activation map of the spatial stream, SCAM (Eq. 1).

    The maps are averaged over the clip's frames; the paper does not specify this.

    Args:
        features: last feature map of the spatial stream, one (N, C, T, H, W) tensor for each scale
            of the same clip. The first sets the size of the map; the others are resampled to it.
        weight: (L, C), the spatial stream's columns of the classifier.
        scales: size of each scale's clip relative to the first.

    Returns:
        (N, L, H, W), the average of the maps over the scales.

    Raises:
        InputError: naming the argument, if there are no features, or not one scale for each.
    """
    if not features:
        raise InputError("features: give those of at least one scale")
    if len(scales) != len(features):
        raise InputError(f"scales: {len(scales)} for the features of {len(features)}")
    with _full_precision(weight):
        volume = average_scales([_widen(scale).mean(dim=2) for scale in features], scales)
        return _project(volume, weight)


def temporal_cam(features: Tensor, weight: Tensor, reduction: str = "weighted") -> Tensor:
    """Computes the temporal stream's class activation map at one timestamp (Eq. 2, Section 3.3).

    Args:
        features: (N, C, T, H, W), last feature map of the temporal stream.
        weight: (L, C), the temporal stream's columns of the classifier.
        reduction: how the T frames become one map: ``weighted`` (their sum, Eq. 2), ``average``,
            or ``random`` (one frame, drawn for each clip).

    Returns:
        (N, L, H, W).

    Raises:
        InputError: naming the argument and the allowed values.
    """
    check_choice("reduction", reduction, TEMPORAL_REDUCTIONS)
    with _full_precision(weight):
        if reduction == "random":
            clips = torch.arange(len(features), device=features.device)
            frames = torch.randint(features.shape[2], clips.shape, device=features.device)
            volume = _widen(features[clips, :, frames])
        elif reduction == "average":
            volume = _widen(features).mean(dim=2)
        else:
            volume = _widen(features).sum(dim=2)
        return _project(volume, weight)


def attention_consistency_loss(
    temporal: Tensor,
    spatial: Tensor,
    class_weight: Tensor | None = None,
    distance: str = "norm",
) -> Tensor:
    """Computes the attention-consistency loss (Eq. 3), without its factor lambda.

    The norm over a map is not squared. Where two maps are equal, its gradient is taken to be zero.

    Args:
        temporal: (N, L, H, W), map of the temporal stream.
        spatial: (N, L, H, W), map of the spatial stream.
        class_weight: weight of each class in the sum over classes, broadcastable to (N, L). None
            weights all classes equally.
        distance: ``norm``, as in Eq. 3, or ``mse``, the mean squared error, as in the work that the
            paper builds on: Guo et al., "Visual Attention Consistency Under Image Transforms for
            Multi-Label Image Classification", CVPR 2019.

    Returns:
        A scalar. ``norm``: 1 / (N H W) of the sum over clips and classes of the norms. ``mse``: the
        mean of the squared differences over clips and positions, and over classes unless they are
        weighted. For N = 0, a zero that is still connected to the graph.

    Raises:
        InputError: naming the argument, for maps of different shapes or an unknown distance.
    """
    check_choice("distance", distance, DISTANCES)
    if temporal.shape != spatial.shape:
        raise InputError(
            f"temporal: a map of {tuple(temporal.shape)} has no distance to the spatial one of "
            f"{tuple(spatial.shape)}"
        )
    clips, classes, height, width = spatial.shape
    with _full_precision(spatial):
        difference = _widen(temporal) - _widen(spatial)
        if distance == "mse":
            by_class = difference.square().sum(dim=(2, 3))
            if class_weight is None:
                by_class = by_class / classes
        else:
            # vector_norm's derivative at zero is zero, unlike that of sqrt(sum(square)).
            by_class = torch.linalg.vector_norm(difference, dim=(2, 3))
        if class_weight is not None:
            by_class = by_class * class_weight
        return by_class.sum() / (max(clips, 1) * height * width)


def normalize_map(cam: Tensor, how: str = "none") -> Tensor:
    """Normalises maps before they are compared; the paper does not mention this step.

    Args:
        cam: (N, L, H, W).
        how: ``none``, ``l2`` (each map divided by its norm) or ``minmax`` (each map rescaled to
            [0, 1]). An all-zero map stays zero under l2; a constant map becomes zero under minmax.

    Returns:
        (N, L, H, W).

    Raises:
        InputError: naming the argument and the allowed values.
    """
    check_choice("how", how, NORMALIZATIONS)
    if how == "none":
        return cam
    flat = _widen(cam).flatten(2)
    if how == "l2":
        flat = F.normalize(flat, dim=2, eps=_EPS)
    else:
        low, high = flat.amin(dim=2, keepdim=True), flat.amax(dim=2, keepdim=True)
        flat = (flat - low) / (high - low).clamp_min(_EPS)
    return flat.view_as(cam)


def average_scales(features: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
    """Averages features over scales, each resampled to the first (R of Eq. 1).

    Args:
        features: one (N, C, H, W) or (N, C, T, H, W) tensor per scale.
        scales: size of each scale's clip relative to the first.

    Returns:
        A tensor of the same shape as the first.
    """
    size = features[0].shape[-2:]
    pairs = zip(features, scales, strict=True)
    laid = [resample(volume, size, scale) for volume, scale in pairs]
    return sum(laid[1:], start=laid[0]) / len(laid)


def resample(volume: Tensor, size: Sequence[int], scale: float) -> Tensor:
    """Resamples the maps of a resized clip to the positions of the clip's own map (R of Eq. 1).

    Position j of a map is centred on pixel ``stride * j`` of its input, whatever the input's size.
    So position j of the clip's own map corresponds to position ``scale * j`` of the resized clip's,
    which is interpolated bilinearly and clamped to the last one. At a crop of 224 and a scale of
    0.5, with 7 and 4 positions, this is resizing with aligned corners.

    Args:
        volume: (..., h, w).
        size: (H, W) of the clip's own map.
        scale: size of the resized clip relative to the clip.

    Returns:
        (..., H, W).
    """
    if scale == 1 and tuple(size) == tuple(volume.shape[-2:]):
        return volume
    rows, columns = (
        _reading(cells, positions, scale).to(volume)
        for cells, positions in zip(volume.shape[-2:], size, strict=True)
    )
    return ((volume @ columns.T).transpose(-1, -2) @ rows.T).transpose(-1, -2)


def resize(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes the last two dimensions bilinearly to ``size`` (height, width), frame by frame."""
    if tuple(volume.shape[-2:]) == tuple(size):
        return volume
    frames = volume.flatten(1, -3)
    resized = F.interpolate(frames, size=tuple(size), mode="bilinear", align_corners=False)
    return resized.view(*volume.shape[:-2], *size)


def check_choice(argument: str, value: str, allowed: Sequence[str]) -> None:
    """Rejects a value that is not among the allowed ones.

    Raises:
        InputError: naming the argument, the value and the allowed ones.
    """
    if value not in allowed:
        raise InputError(f"{argument}: {value!r} is not one of {', '.join(allowed)}")


def _reading(cells: int, positions: int, scale: float) -> Tensor:
    """Returns the (positions, cells) interpolation weights of the cells at each position."""
    at = (torch.arange(positions, dtype=torch.float64) * scale).clamp_max(cells - 1)
    return (1 - (at[:, None] - torch.arange(cells)).abs()).clamp_min(0)


def _project(volume: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("nchw,lc->nlhw", volume, _widen(weight))


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _full_precision(tensor: Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)
