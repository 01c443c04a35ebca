"""The method for PyTorchVideo users: a builder in its style, without a config."""

from collections.abc import Callable, Sequence

from pytorchvideo.models import create_slowfast
from torch import Tensor, nn

from slowfast_ac.errors import InputError
from slowfast_ac.models.pack_pathway import PackPathway
from slowfast_ac.models.ptv_slowfast_ac import PTVSlowFastAC
from slowfast_ac.scam_head import SCAMHead

# The backbone's total stride: pixels that one point of the last feature map covers.
STRIDE = 32


def create_slowfast_ac(
    *,
    model_num_class: int = 400,
    model_depth: int = 50,
    dropout_rate: float = 0.5,
    slowfast_channel_reduction_ratio: int = 8,
    stem_dim_out: int = 64,
    num_frames: int = 16,
    alpha: int = 4,
    crop_size: int = 224,
    scam: Callable[[], SCAMHead] | None = SCAMHead,
) -> "SlowFastACNet":
    """Builds the paper's network over PyTorchVideo's ``create_slowfast``.

    The defaults are those of the paper's Kinetics-400 model, R50 with 4 slow and 16 fast frames.

    ::

                         clip (N, 3, T, H, W)
                                  ↓
                             PackPathway
                             ↓         ↓
                           Slow       Fast       no lateral connections
                             ↓         ↓
              attention ⭠  res5      res5
              (training)     ↓         ↓
                               Head

    Args:
        model_num_class: number of classes.
        model_depth: 18, 50, 101 or 152.
        dropout_rate: of the features that the classifier gets.
        slowfast_channel_reduction_ratio: the slow pathway's channels per channel of the fast one.
        stem_dim_out: channels of the slow pathway's stem.
        num_frames: frames of a clip, all of which the fast pathway sees.
        alpha: frames of the fast pathway per frame of the slow one; divides ``num_frames``.
        crop_size: pixels of a training crop's side; the head pools windows of that size, so a
            larger clip is classified in several places and the logits are averaged.
        scam: called for the head that makes the attention maps, such as
            ``functools.partial(SCAMHead, scales=(1.0, 0.7))``; None makes none.

    Returns:
        A network that returns (N, model_num_class) logits; see :class:`SlowFastACNet`.

    Raises:
        InputError: naming the argument that cannot be.
    """
    if num_frames < 1 or alpha < 1 or num_frames % alpha:
        raise InputError(f"alpha {alpha} does not divide num_frames {num_frames}")
    if crop_size < STRIDE:
        raise InputError(f"crop_size {crop_size} is less than the backbone's stride of {STRIDE}")
    if stem_dim_out % slowfast_channel_reduction_ratio:
        raise InputError(
            f"slowfast_channel_reduction_ratio {slowfast_channel_reduction_ratio} does not divide "
            f"stem_dim_out {stem_dim_out}"
        )
    head = scam() if scam else None
    if head is not None and min(head.scales) * crop_size < STRIDE:
        raise InputError(
            f"scales: {min(head.scales)} of crop_size {crop_size} is less than the backbone's "
            f"stride of {STRIDE}"
        )
    side = crop_size // STRIDE
    net = create_slowfast(
        slowfast_channel_reduction_ratio=slowfast_channel_reduction_ratio,
        slowfast_conv_channel_fusion_ratio=0,
        fusion_builder=lambda fusion_dim_in, stage_idx: nn.Identity(),
        model_depth=model_depth,
        model_num_class=model_num_class,
        dropout_rate=dropout_rate,
        stem_dim_outs=(stem_dim_out, stem_dim_out // slowfast_channel_reduction_ratio),
        head_pool_kernel_sizes=((num_frames // alpha, side, side), (num_frames, side, side)),
    )
    return SlowFastACNet(net, head, num_frames=num_frames, alpha=alpha, crop_size=crop_size)


class _Classifier(nn.Module):
    """What PTVSlowFastAC is mixed into here: PyTorchVideo's network as it is."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: list[Tensor]) -> Tensor:
        return self.model(x)


class SlowFastACNet(PTVSlowFastAC, _Classifier):
    """A branch-independent ``create_slowfast`` network that takes a clip or two pathways.

    In training, with gradients, its predictions carry ``attention``, which
    :class:`slowfast_ac.AttentionConsistencyLoss` reads. Weights are named as in PySlowFast's
    PTVSlowFast models, ``model.blocks...``.

    Args:
        model: the network, without lateral connections.
        scam: makes the attention maps; None for none.
        num_frames: frames of a clip.
        alpha: frames of the fast pathway per frame of the slow one.
        crop_size: the smallest height and width of a clip.
    """

    def __init__(
        self,
        model: nn.Module,
        scam: SCAMHead | None,
        *,
        num_frames: int,
        alpha: int,
        crop_size: int,
    ):
        super().__init__(model)
        self.scam = scam
        self.pack = PackPathway(alpha)
        self.num_frames = num_frames
        self.crop_size = crop_size

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """Classifies clips.

        Args:
            x: a clip (N, 3, num_frames, H, W), or the slow and the fast pathway's clips.

        Returns:
            (N, L) logits.

        Raises:
            InputError: for another number of pathways, frames or channels, or too small frames.
        """
        if isinstance(x, Tensor):
            self._check(x, "the clip", self.num_frames)
            return super().forward(self.pack(x))
        if len(x) != 2:
            raise InputError(
                f"{len(x)} pathways: give one clip, or two pathways [slow, fast] as PackPathway "
                "makes them"
            )
        self._check(x[0], "the slow pathway", self.num_frames // self.pack.alpha)
        self._check(x[1], "the fast pathway", self.num_frames)
        return super().forward(x)

    def _check(self, clip: Tensor, name: str, frames: int) -> None:
        if clip.ndim != 5 or clip.shape[1] != 3:
            raise InputError(f"{name} is {list(clip.shape)}, not (N, 3, {frames}, H, W)")
        if clip.shape[2] != frames:
            raise InputError(
                f"{name} has {clip.shape[2]} frames, but the network takes {frames} (num_frames "
                f"{self.num_frames}, alpha {self.pack.alpha})"
            )
        if min(clip.shape[3:]) < self.crop_size:
            height, width = clip.shape[3:]
            raise InputError(
                f"{name} has frames of {height} x {width}, smaller than crop_size {self.crop_size}"
            )
