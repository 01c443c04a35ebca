"""Types for the classes of PySlowFast and PyTorchVideo that the mixins are combined with.

Neither package has type hints, and neither is imported here. A mixin inherits from one of these
classes under a type checker and from ``nn.Module`` at run time. In the method resolution order,
upstream's class comes next, so ``super()`` does find a method, which mypy's safe-super cannot see.
"""

from typing import Any, Protocol

from fvcore.common.config import CfgNode
from torch import Tensor, nn


class Network(Protocol):
    """A PySlowFast network of any class."""

    training: bool

    def _construct_network(self, cfg: CfgNode) -> None:
        """Builds the layers."""

    def forward(self, x: list[Tensor], bboxes: None = None) -> Tensor:
        """Returns (N, L) logits in training, scores in evaluation. May change the list."""


class Stage(Protocol):
    """A stage of a PySlowFast network; maps a list of the pathways' features to the next list."""

    num_pathways: int

    def __call__(self, x: list[Tensor]) -> list[Tensor]:
        """Runs the stage."""
        ...


class PySlowFastNetwork(Network, Protocol):
    """PySlowFast's SlowFast or ResNet: five stages of one or two pathways, and a head.

    Args:
        s1: the stem.
        s5: the last stage; its first block is ``pathway0_res0``.
        s1_fuse: the lateral connection after ``s1`` in a two-pathway network, and so on.
        pathway0_pool: the slow pathway's pooling after ``s2``; ``pathway1_pool`` the fast one's.
        head: pools each pathway; its ``projection`` is the classifier.
    """

    s1: Stage
    s2: Stage
    s3: Stage
    s4: Stage
    s5: Any
    s1_fuse: Stage
    s2_fuse: Stage
    s3_fuse: Stage
    s4_fuse: Stage
    pathway0_pool: nn.Module
    pathway1_pool: nn.Module
    head: Any


class PyTorchVideoNetwork(Protocol):
    """A network that wraps one of ``create_slowfast``.

    Args:
        model: the wrapped network; its ``blocks`` are five stages of two pathways, the pooling and
            the head.
    """

    model: Any
