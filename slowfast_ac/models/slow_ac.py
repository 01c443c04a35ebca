"""SlowAC: only the slow pathway, with SCAM, "Slow (SCAM only)" of the paper's Table 5."""

import dataclasses
from typing import TYPE_CHECKING

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.cam import average_scales
from slowfast_ac.config import multi_scale, uses_consistency
from slowfast_ac.errors import InputError
from slowfast_ac.models.slowfast_ac import check_supported, slow_pathway
from slowfast_ac.models.upstream import PySlowFastNetwork
from slowfast_ac.scam_head import StreamFeatures, multi_scale_features

if TYPE_CHECKING:

    class _PySlowFastNetwork(PySlowFastNetwork, nn.Module):
        pass

else:
    _PySlowFastNetwork = nn.Module


class SlowACMixin(_PySlowFastNetwork):
    """Mixin for PySlowFast's ResNet class that classifies features of several scales.

    Without a second stream there is nothing to compare, and the paper does not specify what SCAM
    does then. Our interpretation: in training, the classifier sees the features averaged over the
    scales (the volume that Eq. 1 projects); at test time, it sees one scale.

    Args:
        cfg: PySlowFast's config with the nodes AC and SCAM.

    Raises:
        InputError: naming the key, for an option that the model is not defined for.
    """

    def _construct_network(self, cfg: CfgNode) -> None:
        check_supported(cfg)
        if uses_consistency(cfg):
            raise InputError(
                "MODEL.LOSS_FUNC: SlowAC has one stream, so no attention consistency; use "
                "cross_entropy, or MODEL.MODEL_NAME SlowFastAC"
            )
        if cfg.SCAM.UPSAMPLE:
            raise InputError(
                "SCAM.UPSAMPLE: SlowAC classifies on SCAM's features and has no separate path "
                "for the maps; set it to False"
            )
        # The classifier sees all frames, at every scale.
        self.multi_scale = dataclasses.replace(multi_scale(cfg), frame_stride=1)
        super()._construct_network(cfg)  # type: ignore[safe-super]

    def forward(self, x: list[Tensor], bboxes: None = None) -> Tensor:
        """Classifies clips.

        Args:
            x: the one pathway's clip in a list, (N, 3, T, H, W).
            bboxes: must be None; the model is not defined for boxes.

        Returns:
            (N, L) logits in training, scores in evaluation.
        """
        if bboxes is not None:
            raise InputError("SlowAC is not defined for boxes")
        # Without gradients (Precise BN, evaluation) one scale is enough: only the first affects
        # BatchNorm's running statistics.
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(list(x))  # type: ignore[safe-super]
        scales = multi_scale_features(
            x[0],
            self.spatial_stream(x[0]),
            self.multi_scale,
            self.spatial_stream,
            backbone=self,
        )
        res5 = [features.res5 for features in scales]
        logits: Tensor = self.head([average_scales(res5, self.multi_scale.scales)])
        return logits

    def spatial_stream(self, clip: Tensor) -> StreamFeatures:
        """Runs the backbone on a (N, 3, T, H, W) clip."""
        return slow_pathway(self, clip)
