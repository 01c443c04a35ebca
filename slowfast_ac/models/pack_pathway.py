"""Turns one clip into the two pathways' inputs."""

import torch
from torch import Tensor, nn

from slowfast_ac.errors import InputError


class PackPathway(nn.Module):
    """Turns a clip into ``[slow, fast]``, the input of PyTorchVideo's and PySlowFast's SlowFast.

    The fast pathway sees every frame. The slow one sees T // alpha of them: the first, the last and
    others spread evenly in between, as in PySlowFast's ``pack_pathway_output``.

    Args:
        alpha: fast frames per slow frame, SLOWFAST.ALPHA.

    Raises:
        InputError: if alpha is not a positive integer.
    """

    def __init__(self, alpha: int):
        super().__init__()
        if not isinstance(alpha, int) or alpha < 1:
            raise InputError(f"PackPathway: alpha {alpha!r} is not a positive integer")
        self.alpha = alpha

    def forward(self, clip: Tensor) -> list[Tensor]:
        """Packs a clip.

        Args:
            clip: (C, T, H, W) or (N, C, T, H, W).

        Returns:
            The slow pathway's clip with T // alpha frames, and ``clip`` itself.

        Raises:
            InputError: for a clip of another shape, or with fewer frames than alpha.
        """
        if clip.ndim not in (4, 5):
            raise InputError(
                f"PackPathway: a clip is (C, T, H, W) or (N, C, T, H, W), not {list(clip.shape)}"
            )
        frames = clip.shape[-3]
        if frames < self.alpha:
            raise InputError(
                f"PackPathway: {frames} frames leave the slow pathway none at alpha {self.alpha}"
            )
        slow = torch.linspace(0, frames - 1, frames // self.alpha, device=clip.device).long()
        return [clip.index_select(-3, slow), clip]

    def extra_repr(self) -> str:
        """Returns the settings that ``repr`` shows."""
        return f"alpha={self.alpha}"
