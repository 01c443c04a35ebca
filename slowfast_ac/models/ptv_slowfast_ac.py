"""The method on top of PyTorchVideo's SlowFast."""

from typing import TYPE_CHECKING, Any

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.models.slowfast_ac import AttentionMixin
from slowfast_ac.models.surgery import without_fused_channels
from slowfast_ac.models.two_stream import TwoStream
from slowfast_ac.models.upstream import PyTorchVideoNetwork
from slowfast_ac.scam_head import StreamFeatures

if TYPE_CHECKING:

    class _PyTorchVideoNetwork(PyTorchVideoNetwork, TwoStream):
        pass

else:
    _PyTorchVideoNetwork = TwoStream


class PTVTwoStream(_PyTorchVideoNetwork):
    """The two streams of a network that wraps one of ``create_slowfast`` as ``model``."""

    def attention_layers(self) -> tuple[nn.Module, nn.Module]:
        """Returns the pooling layer and the last stage."""
        return self.model.blocks[5], self.model.blocks[4]

    def classifier_weight(self) -> Tensor:
        """Returns the weight of the head's projection."""
        weight: Tensor = self.model.blocks[6].proj.weight
        return weight

    def spatial_stream(self, clip: Tensor) -> StreamFeatures:
        """Runs the slow pathway alone on a (N, 3, T, H, W) clip."""
        return slow_pathway(self.model, clip)

    def both_pathways(self, pathways: list[Tensor]) -> StreamFeatures:
        """Runs both pathways with their lateral connections; returns the slow one's features."""
        x = list(pathways)
        for block in self.model.blocks[:4]:
            x = block(x)
        res4 = x[0]
        return StreamFeatures(self.model.blocks[4](x)[0], res4)


class PTVSlowFastACMixin(PTVTwoStream, AttentionMixin):
    """Mixin for PySlowFast's PTVSlowFast, which builds PyTorchVideo's ``create_slowfast``.

    Args:
        cfg: PySlowFast's config with the nodes AC and SCAM.

    Raises:
        InputError: naming the key, for an option that the method is not defined for.
    """

    def _construct_network(self, cfg: CfgNode) -> None:
        self.check(cfg)
        super()._construct_network(cfg)  # type: ignore[safe-super]
        if not cfg.AC.LATERAL:
            remove_lateral_connections(self.model)
        first = self.model.blocks[4].multipathway_blocks[0].res_blocks[0].branch1_conv
        self.attach(cfg, first.in_channels, first.out_channels)


def slow_pathway(model: Any, clip: Tensor) -> StreamFeatures:
    """Runs pathway 0 of a ``create_slowfast`` network alone, without lateral connections."""
    x = clip
    for block in model.blocks[:4]:
        x = block.multipathway_blocks[0](x)
    return StreamFeatures(model.blocks[4].multipathway_blocks[0](x), x)


def remove_lateral_connections(model: Any) -> None:
    """Removes the lateral connections of a ``create_slowfast`` network, in place.

    The first block of each slow stage loses the fused input channels; names stay as they are.
    """
    for block, following in zip(model.blocks[:4], model.blocks[1:5], strict=True):
        fused = block.multipathway_fusion.conv_fast_to_slow.out_channels
        first = following.multipathway_blocks[0].res_blocks[0]
        first.branch1_conv = without_fused_channels(first.branch1_conv, fused)
        first.branch2.conv_a = without_fused_channels(first.branch2.conv_a, fused)
        block.multipathway_fusion = nn.Identity()
