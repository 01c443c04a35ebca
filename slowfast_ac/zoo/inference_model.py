"""A trained network for deployment: a clip in, scores out, BatchNorm folded away."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.errors import InputError

# A convolution and the BatchNorm that its output goes to, as attributes of one module.
_PAIRS = (
    # PySlowFast: stem, shortcut, bottleneck, lateral connection, nonlocal block.
    ("conv", "bn"),
    ("branch1", "branch1_bn"),
    ("a", "a_bn"),
    ("b", "b_bn"),
    ("c", "c_bn"),
    ("conv_f2s", "bn"),
    ("conv_out", "bn"),
    # PyTorchVideo: stem, shortcut, bottleneck, lateral connection.
    ("conv", "norm"),
    ("branch1_conv", "branch1_norm"),
    ("conv_a", "norm_a"),
    ("conv_b", "norm_b"),
    ("conv_c", "norm_c"),
    ("conv_fast_to_slow", "norm"),
)


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


def fold_batchnorm(network: nn.Module) -> nn.Module:
    """Returns a copy in evaluation mode whose convolutions contain the BatchNorm behind them.

    The copy computes the same but for rounding.

    Raises:
        InputError: naming the BatchNorm layer that follows no convolution known here.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        children = dict(module.named_children())
        for conv, norm in _PAIRS:
            if isinstance(children.get(conv), nn.Conv3d) and isinstance(
                children.get(norm), nn.BatchNorm3d
            ):
                setattr(module, conv, fuse_conv_bn_eval(children[conv], children[norm]))
                setattr(module, norm, nn.Identity())
    for name, module in folded.named_modules():
        if isinstance(module, _BatchNorm):
            raise InputError(
                f"{name}: a BatchNorm layer behind no convolution of SlowFast or Slow; this "
                "network cannot be exported"
            )
    return folded


def build_inference_model(network: nn.Module, preprocessing: Preprocessing) -> InferenceModel:
    """Returns a network for deployment: BatchNorm folded, what only training needs left out.

    Args:
        network: a network of PySlowFast or of this package; it is not changed.
        preprocessing: what it takes.

    Raises:
        InputError: see :func:`fold_batchnorm`.
    """
    folded = fold_batchnorm(network)
    if getattr(folded, "scam", None) is not None:
        folded.scam = None
    return InferenceModel(folded, preprocessing).requires_grad_(False).eval()
