"""A trained network for deployment: a clip in, scores out."""

import torch
from torch import Tensor, nn

from slowfast_ac.data.preprocessing import Preprocessing


class InferenceModel(nn.Module):
    """Classifies one clip tensor; the pathways are made inside.

    Args:
        network: a network of PySlowFast, called with the list of its pathways' clips.
        preprocessing: alpha and the number of frames, from which the slow pathway's frames follow.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        self.slow_frames: Tensor | None
        two_pathways = preprocessing.alpha is not None
        slow_frames = torch.from_numpy(preprocessing.slow_frames()) if two_pathways else None
        self.register_buffer("slow_frames", slow_frames)

    def forward(self, clip: Tensor) -> Tensor:
        """Returns the (N, L) scores of (N, 3, T, H, W) clips, normalised already."""
        pathways = [clip]
        if self.slow_frames is not None:
            pathways = [clip.index_select(2, self.slow_frames), clip]
        scores: Tensor = self.network(pathways)
        return scores
