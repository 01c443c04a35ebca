"""SlowFastAC: PySlowFast's SlowFast without lateral connections; computes maps in training."""

import logging
from typing import TYPE_CHECKING

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.config import (
    PAPER_LAMBDA,
    PAPER_SIDE,
    build_scam_head,
    check_values,
    consistency_settings,
    equal_lambda,
    map_side,
    multi_scale,
    naming_keys,
)
from slowfast_ac.errors import InputError
from slowfast_ac.losses import BaseLoss, ConsistencySettings, find_base_loss
from slowfast_ac.models.surgery import single_pathway, without_fused_channels
from slowfast_ac.models.two_stream import TwoStream
from slowfast_ac.models.upstream import Network, PySlowFastNetwork
from slowfast_ac.scam_head import StreamFeatures

logger = logging.getLogger(__name__)

if TYPE_CHECKING:

    class _Network(Network, TwoStream):
        pass

    class _PySlowFastNetwork(PySlowFastNetwork, nn.Module):
        pass

else:
    _Network, _PySlowFastNetwork = TwoStream, nn.Module


class AttentionMixin(_Network):
    """Mixin that attaches attention maps to the predictions of a PySlowFast network in training.

    The predictions are the base network's. In training with gradients, if the criterion is
    attention_consistency, they carry the maps in an attribute ``attention``, an
    :class:`~slowfast_ac.losses.AttentionMaps`, since PySlowFast's loop accepts only a tensor.
    """

    settings: ConsistencySettings

    def forward(self, x: list[Tensor], bboxes: None = None) -> Tensor:
        """Classifies clips.

        Args:
            x: the pathways' clips, slow (N, 3, T, H, W) and fast (N, 3, alpha T, H, W).
            bboxes: must be None; the models are not defined for boxes.

        Returns:
            (N, L) logits in training, scores in evaluation.
        """
        if bboxes is not None:
            raise InputError(f"{type(self).__name__} is not defined for boxes")
        forward = super().forward  # type: ignore[safe-super]
        preds, attention = self.attend(forward, x)
        if attention is not None:
            # Tensors do not define this attribute, but accept it.
            preds.attention = attention._replace(  # type: ignore[attr-defined]
                settings=self.settings
            )
        return preds

    @staticmethod
    def find_base_loss(name: str) -> BaseLoss:
        """Looks up AC.BASE_LOSS in torch; the registered models override this with PySlowFast's."""
        return find_base_loss(name)

    def check(self, cfg: CfgNode) -> None:
        """Rejects a config before anything is built.

        Raises:
            InputError: naming the key; see :func:`check_supported` and
                :func:`~slowfast_ac.config.check_values`.
        """
        check_supported(cfg)
        check_values(cfg)
        with naming_keys(base_loss="AC.BASE_LOSS"):
            self.find_base_loss(consistency_settings(cfg).base_loss)

    def attach(self, cfg: CfgNode, dim_res4: int, dim_res5: int) -> None:
        """Adds the layers and settings for the maps to a built network.

        Args:
            cfg: PySlowFast's config with the nodes AC and SCAM.
            dim_res4: channels of the slow pathway's res4.
            dim_res5: channels of its res5.
        """
        self.settings = consistency_settings(cfg)
        self.multi_scale = multi_scale(cfg)
        self.lateral = cfg.AC.LATERAL
        self.scam = build_scam_head(cfg, dim_res4, dim_res5)
        side = map_side(cfg)
        if self.scam is not None and side != PAPER_SIDE:
            logger.info(
                "maps of %d x %d: AC.LAMBDA %g; the pull of the paper's %g on %d x %d is %.2g here",
                *(side, side, cfg.AC.LAMBDA, PAPER_LAMBDA, PAPER_SIDE, PAPER_SIDE),
                equal_lambda(cfg),
                extra={"detail": True},  # the report at the start of a run already prints it
            )


class SlowFastACMixin(AttentionMixin, _PySlowFastNetwork):
    """Mixin for PySlowFast's SlowFast class, of the checkout or the wheel.

    Upstream builds the network, so all its options work. Unless AC.LATERAL is true, the lateral
    connections are then removed: ``s{i}_fuse`` becomes an identity, and the first block of each
    slow stage takes only the slow channels. Parameter names do not change.

    Args:
        cfg: PySlowFast's config with the nodes AC and SCAM.

    Raises:
        InputError: naming the key, for an option that the method is not defined for.
    """

    def _construct_network(self, cfg: CfgNode) -> None:
        self.check(cfg)
        super()._construct_network(cfg)  # type: ignore[safe-super]
        if not cfg.AC.LATERAL:
            remove_lateral_connections(self)
        first = self.s5.pathway0_res0.branch1
        self.attach(cfg, first.in_channels, first.out_channels)

    def attention_layers(self) -> tuple[nn.Module, nn.Module]:
        """Returns the head and the last stage."""
        return self.head, self.s5

    def classifier_weight(self) -> Tensor:
        """Returns the weight of the head's projection."""
        weight: Tensor = self.head.projection.weight
        return weight

    def spatial_stream(self, clip: Tensor) -> StreamFeatures:
        """Runs the slow pathway alone on a (N, 3, T, H, W) clip."""
        return slow_pathway(self, clip)

    def both_pathways(self, pathways: list[Tensor]) -> StreamFeatures:
        """Runs both pathways with their lateral connections; returns the slow one's features."""
        x = self.s2_fuse(self.s2(self.s1_fuse(self.s1(list(pathways)))))
        x = [self.pathway0_pool(x[0]), self.pathway1_pool(x[1])]
        x = self.s4_fuse(self.s4(self.s3_fuse(self.s3(x))))
        res4 = x[0]
        return StreamFeatures(self.s5(x)[0], res4)


def remove_lateral_connections(network: nn.Module) -> None:
    """Removes the lateral connections of PySlowFast's SlowFast, in place."""
    for number in (1, 2, 3, 4):
        fuse = getattr(network, f"s{number}_fuse")
        first = getattr(network, f"s{number + 1}").pathway0_res0
        fused = fuse.conv_f2s.out_channels
        first.branch1 = without_fused_channels(first.branch1, fused)
        first.branch2.a = without_fused_channels(first.branch2.a, fused)
        setattr(network, f"s{number}_fuse", nn.Identity())


def slow_pathway(network: PySlowFastNetwork, clip: Tensor) -> StreamFeatures:
    """Runs pathway 0 of PySlowFast's SlowFast or ResNet alone, without lateral connections."""
    x = single_pathway(network.s2)(single_pathway(network.s1)([clip]))
    x = [network.pathway0_pool(x[0])]
    res4 = single_pathway(network.s4)(single_pathway(network.s3)(x))[0]
    return StreamFeatures(single_pathway(network.s5)([res4])[0], res4)


def check_supported(cfg: CfgNode) -> None:
    """Rejects upstream options that the method is not defined for.

    Raises:
        InputError: naming the key and what to do.
    """
    name = cfg.MODEL.MODEL_NAME
    if cfg.DETECTION.ENABLE:
        raise InputError(
            f"DETECTION.ENABLE: {name} is not defined for boxes; use MODEL.MODEL_NAME "
            "SlowFast or ResNet for detection"
        )
    # The wheel lacks the following keys.
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
