"""A two-stream network that computes attention maps in training."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from slowfast_ac.cam import resize
from slowfast_ac.losses import AttentionOutput
from slowfast_ac.models.surgery import captured_inputs
from slowfast_ac.scam_head import MultiScale, SCAMHead, StreamFeatures, multi_scale_features


class TwoStream(nn.Module):
    """Adds the attention maps to a slow and a fast pathway with one classifier.

    ::

        clip ──► slow pathway ──► res5 ──┬──────────► GAP ──┐
          │          ▲                   ▼                  ├─► classifier ─► logits
          └─► x 0.5 ─┘ (same weights)   SCAM ─► S           │
                                               W ─► T ◄─┐   │   attention = S, T
        clip ──► fast pathway ──► res5 ─────────────────┴──► GAP ──┘

    Args:
        scam: makes the maps from the features; None makes no maps.
        multi_scale: the scales of the slow pathway's features.
        lateral: whether the network keeps its lateral connections, so that every scale runs both
            pathways.
    """

    scam: SCAMHead | None
    multi_scale: MultiScale
    lateral: bool = False

    def attend(
        self, classify: Callable[[list[Tensor]], Tensor], pathways: Sequence[Tensor]
    ) -> AttentionOutput:
        """Classifies clips and, in training with gradients, makes their maps.

        Args:
            classify: the network's own forward pass.
            pathways: the pathways' clips, slow (N, 3, T, H, W) and fast (N, 3, alpha T, H, W).
        """
        pathways = list(pathways)  # both upstreams modify the list that they are given
        if not (self.scam is not None and self.training and torch.is_grad_enabled()):
            return AttentionOutput(classify(pathways), None)
        pooling, last_stage = self.attention_layers()
        with captured_inputs(pooling) as res5, captured_inputs(last_stage) as res4:
            logits = classify(list(pathways))
        slow, fast = pathways
        spatial, temporal = res5
        scales = multi_scale_features(
            slow,
            StreamFeatures(spatial, res4[0]),
            self.multi_scale,
            functools.partial(self.fused_stream, fast) if self.lateral else self.spatial_stream,
            backbone=self,
        )
        return AttentionOutput(logits, self.scam(scales, temporal, self.classifier_weight()))

    def fused_stream(self, fast: Tensor, slow: Tensor) -> StreamFeatures:
        """Runs both pathways and returns the slow one's features.

        Args:
            fast: (N, 3, alpha T, H, W), the fast pathway's clip; resized to h x w.
            slow: (N, 3, T, h, w), the slow pathway's clip.
        """
        return self.both_pathways([slow, resize(fast, slow.shape[-2:])])

    def attention_layers(self) -> tuple[nn.Module, nn.Module]:
        """Returns the layers whose inputs are both streams' res5 and both streams' res4."""
        raise NotImplementedError

    def classifier_weight(self) -> Tensor:
        """Returns the (L, C_s + C_t) weight of the classifier."""
        raise NotImplementedError

    def spatial_stream(self, clip: Tensor) -> StreamFeatures:
        """Runs the slow pathway alone on a (N, 3, T, H, W) clip."""
        raise NotImplementedError

    def both_pathways(self, pathways: list[Tensor]) -> StreamFeatures:
        """Runs both pathways with their lateral connections; returns the slow one's features."""
        raise NotImplementedError
