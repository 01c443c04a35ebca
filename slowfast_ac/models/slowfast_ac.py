"""SlowFastAC: PySlowFast's SlowFast without lateral connections, with maps in training."""

import functools

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.attention import resize
from slowfast_ac.config import build_scam_head, consistency_settings
from slowfast_ac.criterion import find_base_loss
from slowfast_ac.errors import InputError
from slowfast_ac.head import StreamFeatures
from slowfast_ac.models.surgery import captured_inputs, single_pathway, without_fused_channels


class AttentionConsistency(nn.Module):
    """Mixin that attaches attention maps to the predictions of a two-stream network in training.

    ::

        clip ──► slow pathway ──► res5 ──┬──────────► GAP ──┐
          │          ▲                   ▼                  ├─► classifier ─► preds
          └─► x 0.5 ─┘ (same weights)   SCAM ─► S           │                  .attention
                                               W ─► T ◄─┐   │                   = S, T
        clip ──► fast pathway ──► res5 ─────────────────┴──► GAP ──┘

    Predictions are the base network's own. With gradients, in training, and when the criterion is
    attention_consistency they carry ``attention``, the AttentionMaps of slowfast_ac.criterion.

    With AC.LATERAL the lateral connections stay, and every scale runs both pathways.

    The base network gives ``scam`` (a SCAMHead or None), ``lateral`` and the four methods below.
    """

    lateral = False

    # How AC.BASE_LOSS is looked up when the network is built; PySlowFast's own losses come first.
    find_base_loss = staticmethod(find_base_loss)

    def forward(self, x: list[Tensor], bboxes: None = None) -> Tensor:
        """Classifies clips.

        Args:
            x: the pathways' clips, slow (N, 3, T, H, W) and fast (N, 3, alpha T, H, W).
            bboxes: refused; the models are not defined for boxes.

        Returns:
            (N, L) logits in training, scores in evaluation.
        """
        if bboxes is not None:
            raise InputError(f"{type(self).__name__} is not defined for boxes")
        x = list(x)  # both upstreams write into the list they are given
        if not (self.scam is not None and self.training and torch.is_grad_enabled()):
            return super().forward(x)
        slow, fast = x[0], x[-1]
        pooling, last_stage = self.attention_layers()
        with captured_inputs(pooling) as res5, captured_inputs(last_stage) as res4:
            preds = super().forward(x)
        spatial, temporal = res5
        preds.attention = self.scam(
            slow,
            StreamFeatures(spatial, res4[0]),
            temporal,
            self.classifier_weight(),
            functools.partial(self.fused_stream, fast) if self.lateral else self.spatial_stream,
            self,
        )
        return preds

    def fused_stream(self, fast: Tensor, slow: Tensor) -> StreamFeatures:
        """Runs both pathways for the slow one's features.

        Args:
            fast: (N, 3, alpha T, H, W), the fast pathway's clip; resized to the slow one's frames.
            slow: (N, 3, T, h, w), the slow pathway's clip.
        """
        return self.both_pathways([slow, resize(fast, slow.shape[-2:])])

    def check(self, cfg: CfgNode) -> None:
        """Refuses a config before anything is built; see :func:`check_supported`."""
        check_supported(cfg)
        self.find_base_loss(consistency_settings(cfg).base_loss)

    def attention_layers(self) -> tuple[nn.Module, nn.Module]:
        """Returns the layers whose inputs are both streams' res5 and both streams' res4."""
        raise NotImplementedError

    def classifier_weight(self) -> Tensor:
        """Returns the (L, C_s + C_t) weight of the one classifier."""
        raise NotImplementedError

    def spatial_stream(self, clip: Tensor) -> StreamFeatures:
        """Runs the slow pathway alone on a (N, 3, T, H, W) clip."""
        raise NotImplementedError

    def both_pathways(self, x: list[Tensor]) -> StreamFeatures:
        """Runs both pathways with their lateral connections for the slow one's features."""
        raise NotImplementedError


class SlowFastAC(AttentionConsistency):
    """Mixin for PySlowFast's SlowFast class, checkout or wheel.

    The network is built by upstream, so every option of it stays, then its lateral connections are
    taken out, unless AC.LATERAL keeps them: ``s{i}_fuse`` becomes an identity and the first block
    of each slow stage takes the slow channels only. Parameter names stay as they are.

    Args:
        cfg: PySlowFast's config with the nodes AC and SCAM.

    Raises:
        InputError: naming the key, for an option that the method is not defined for.
    """

    def _construct_network(self, cfg: CfgNode) -> None:
        self.check(cfg)
        super()._construct_network(cfg)
        self.lateral = cfg.AC.LATERAL
        if not self.lateral:
            remove_lateral_connections(self)
        dim_res4 = self.s5.pathway0_res0.branch1.in_channels
        dim_res5 = self.s5.pathway0_res0.branch1.out_channels
        self.scam = build_scam_head(cfg, dim_res4, dim_res5)

    def attention_layers(self) -> tuple[nn.Module, nn.Module]:
        """Returns the head and the last stage."""
        return self.head, self.s5

    def classifier_weight(self) -> Tensor:
        """Returns the weight of the head's projection."""
        return self.head.projection.weight

    def spatial_stream(self, clip: Tensor) -> StreamFeatures:
        """Runs the slow pathway alone on a (N, 3, T, H, W) clip."""
        return slow_pathway(self, clip)

    def both_pathways(self, x: list[Tensor]) -> StreamFeatures:
        """Runs both pathways with their lateral connections for the slow one's features."""
        x = self.s2_fuse(self.s2(self.s1_fuse(self.s1(list(x)))))
        x = [self.pathway0_pool(x[0]), self.pathway1_pool(x[1])]
        x = self.s4_fuse(self.s4(self.s3_fuse(self.s3(x))))
        res4 = x[0]
        return StreamFeatures(self.s5(x)[0], res4)


def remove_lateral_connections(model: nn.Module) -> None:
    """Takes the lateral connections out of PySlowFast's SlowFast, in place."""
    for number in (1, 2, 3, 4):
        fuse = getattr(model, f"s{number}_fuse")
        first = getattr(model, f"s{number + 1}").pathway0_res0
        fused = fuse.conv_f2s.out_channels
        first.branch1 = without_fused_channels(first.branch1, fused)
        first.branch2.a = without_fused_channels(first.branch2.a, fused)
        setattr(model, f"s{number}_fuse", nn.Identity())


def slow_pathway(model: nn.Module, clip: Tensor) -> StreamFeatures:
    """Runs pathway 0 of PySlowFast's SlowFast or ResNet alone, lateral connections left out."""
    x = single_pathway(model.s2)(single_pathway(model.s1)([clip]))
    x = [model.pathway0_pool(x[0])]
    res4 = single_pathway(model.s4)(single_pathway(model.s3)(x))[0]
    return StreamFeatures(single_pathway(model.s5)([res4])[0], res4)


def check_supported(cfg: CfgNode) -> None:
    """Refuses upstream's options that the method is not defined for.

    Raises:
        InputError: naming the key and what to do.
    """
    name = cfg.MODEL.MODEL_NAME
    if cfg.DETECTION.ENABLE:
        raise InputError(
            f"DETECTION.ENABLE: {name} is not defined for boxes; use MODEL.MODEL_NAME "
            "SlowFast or ResNet for detection"
        )
    # The wheel has none of the following keys.
    if cfg.MODEL.get("DETACH_FINAL_FC", False):
        raise InputError(
            f"MODEL.DETACH_FINAL_FC: trains the classifier alone, and the maps of {name} would "
            "train the pathways all the same; set it to False"
        )
    if cfg.get("CONTRASTIVE") and cfg.CONTRASTIVE.NUM_MLP_LAYERS != 1:
        raise InputError(
            f"CONTRASTIVE.NUM_MLP_LAYERS: {name} takes its maps from a linear classifier; "
            "set it to 1"
        )
    if cfg.get("MASK") and cfg.MASK.ENABLE:
        raise InputError(f"MASK.ENABLE: {name} has no masked pre-training; set it to False")
