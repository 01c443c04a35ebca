"""A trained network for deployment: a clip in, scores out."""

import torch
from torch import Tensor, nn

from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.zoo.fast_network import build_fast_network


class InferenceModel(nn.Module):
    """Classifies one clip tensor; the pathways are made inside.

    Args:
        network: a network of PySlowFast, called with the list of its pathways' clips.
        preprocessing: alpha and the number of frames, from which the slow pathway's frames follow.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        two_pathways = preprocessing.alpha is not None
        slow_frames = torch.from_numpy(preprocessing.slow_frames()) if two_pathways else None
        self.register_buffer("slow_frames", slow_frames)

    def forward(self, clip: Tensor) -> Tensor:
        """Returns the (N, L) scores of (N, 3, T, H, W) clips, normalised already."""
        if self.slow_frames is None:
            return self.network([clip])
        return self.network([clip.index_select(2, self.slow_frames), clip])


def build_inference_model(
    network: nn.Module, preprocessing: Preprocessing, precision: str = "float32"
) -> InferenceModel:
    """Returns a network for deployment on the fast path.

    Args:
        network: a network of PySlowFast or of this package; it is not changed.
        preprocessing: what it takes.
        precision: see :func:`~slowfast_ac.zoo.fast_network.build_fast_network`.

    Raises:
        InputError: see there.
    """
    return InferenceModel(build_fast_network(network, precision), preprocessing).eval()
