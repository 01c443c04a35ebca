"""SCAM: a clip's features at several scales, and both streams' maps made from them.

It runs only in training and does not affect the predictions, so inference costs the same as that of
a SlowFast without lateral connections.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slowfast_ac.batchnorm import frozen_running_stats
from slowfast_ac.cam import (
    TEMPORAL_REDUCTIONS,
    check_choice,
    resample,
    resize,
    spatial_cam,
    temporal_cam,
)
from slowfast_ac.errors import InputError
from slowfast_ac.losses import AttentionMaps


class StreamFeatures(NamedTuple):
    """The spatial stream's features of a clip.

    Args:
        res5: (N, C5, T, H, W), its last feature map.
        res4: (N, C4, T, H', W'), the input of its last stage.
        scale: size of the clip relative to the classified clip.
    """

    res5: Tensor
    res4: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class MultiScale:
    """The scales at which the spatial stream sees a clip.

    Args:
        scales: sizes of the clip relative to the classified clip; the first is 1.0, that clip
            itself.
        grad: if true, gradients flow through the scales after the first.
        frame_stride: the scales after the first see every n-th frame.

    Raises:
        InputError: naming the invalid argument.
    """

    scales: Sequence[float] = (1.0, 0.5)
    grad: bool = False
    frame_stride: int = 2

    def __post_init__(self) -> None:
        check_scales(self.scales)
        object.__setattr__(self, "scales", tuple(self.scales))  # a list could change later
        if not isinstance(self.frame_stride, int) or self.frame_stride < 1:
            raise InputError(
                f"frame_stride: {self.frame_stride} is not a whole number of 1 or more"
            )


class SCAMHead(nn.Module):
    """Computes the maps of Eq. 1 and Eq. 2 with the classifier's own weights.

    Args:
        temporal_reduction: how the temporal stream's frames become one map.
        detach_classifier: if true, the maps treat the classifier's weights as constants, so
            comparing them trains only the streams (Guo et al., CVPR 2019).
        upsample: channels (C4, C5) of res4 and res5. If given, the spatial map is made from res5 at
            res4's size plus a 1x1x1 projection of res4 (Section 3.4).

    Raises:
        InputError: naming the argument and the allowed values.
    """

    def __init__(
        self,
        *,
        temporal_reduction: str = "weighted",
        detach_classifier: bool = False,
        upsample: tuple[int, int] | None = None,
    ):
        super().__init__()
        check_choice("temporal_reduction", temporal_reduction, TEMPORAL_REDUCTIONS)
        self.temporal_reduction = temporal_reduction
        self.detach_classifier = detach_classifier
        self.detail = nn.Conv3d(*upsample, kernel_size=1, bias=False) if upsample else None

    def forward(
        self, scales: Sequence[StreamFeatures], temporal: Tensor, weight: Tensor
    ) -> AttentionMaps:
        """Computes the maps of one batch.

        Args:
            scales: the spatial stream's features of the clip, one entry per scale; the first sets
                the size of the maps.
            temporal: (N, C_t, T_t, H, W), res5 of the temporal stream.
            weight: (L, C5 + C_t), the classifier's weight.
        """
        if self.detach_classifier:
            weight = weight.detach()
        spatial_weight, temporal_weight = weight.split(
            [scales[0].res5.shape[1], temporal.shape[1]], dim=1
        )
        volumes = [self._volume(features) for features in scales]
        spatial_map = spatial_cam(volumes, spatial_weight, [features.scale for features in scales])
        temporal_map = temporal_cam(temporal, temporal_weight, self.temporal_reduction)
        temporal_map = _refine(temporal_map, spatial_map.shape[-2:])
        return AttentionMaps(spatial_map, temporal_map)

    def _volume(self, features: StreamFeatures) -> Tensor:
        if self.detail is None:
            return features.res5
        detail: Tensor = self.detail(features.res4)
        return _refine(features.res5, features.res4.shape[-2:]) + detail


def _refine(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Resamples from res5's positions to res4's, twice as dense unless res5 is dilated."""
    return volume if volume.shape[-2:] == tuple(size) else resample(volume, size, 0.5)


def multi_scale_features(
    clip: Tensor,
    features: StreamFeatures,
    multi_scale: MultiScale,
    stream: Callable[[Tensor], StreamFeatures],
    backbone: nn.Module,
) -> list[StreamFeatures]:
    """Computes the features of a clip at every scale, with the same weights.

    Only the first scale's batch statistics reach BatchNorm's running statistics.

    Args:
        clip: (N, 3, T, H, W).
        features: the features of ``clip`` itself, used for every scale of 1.0.
        multi_scale: the scales. A ``frame_stride`` leaves the other features fewer frames.
        stream: runs the spatial stream on a clip.
        backbone: the module whose BatchNorm layers ``stream`` uses.

    Returns:
        One entry per scale.
    """
    result = []
    for scale in multi_scale.scales:
        if scale == 1.0:
            result.append(features)
            continue
        with frozen_running_stats(backbone), torch.set_grad_enabled(multi_scale.grad):
            resized = rescale(thin_out(clip, multi_scale.frame_stride), scale)
            result.append(stream(resized)._replace(scale=scale))
    return result


def thin_out(clip: Tensor, stride: int) -> Tensor:
    """Takes the middle frame of every ``stride`` frames of a (N, C, T, H, W) clip.

    A stride beyond T leaves one frame.
    """
    return clip[:, :, min(stride - 1, clip.shape[2] - 1) // 2 :: stride]


def rescale(clip: Tensor, scale: float) -> Tensor:
    """Resizes the frames of a (N, C, T, H, W) clip bilinearly by ``scale``, rounding their size."""
    return resize(clip, [max(1, round(side * scale)) for side in clip.shape[-2:]])


def check_scales(scales: Sequence[float]) -> None:
    """Rejects scales that do not start with 1.0, the classified clip, or are not positive.

    Raises:
        InputError: naming the argument.
    """
    numbers = isinstance(scales, Sequence) and all(isinstance(s, (int, float)) for s in scales)
    if not (numbers and scales and scales[0] == 1.0 and all(0 < s < math.inf for s in scales)):
        raise InputError(
            f"scales: {scales} must start with 1.0, the clip that is classified, and "
            "hold positive numbers, for example [1.0, 0.5]"
        )
