"""The method for PyTorchVideo users: a builder in PyTorchVideo's style, without a config."""

from collections.abc import Callable, Sequence

from pytorchvideo.models import create_slowfast
from torch import Tensor, nn

from slowfast_ac.cam import STRIDE
from slowfast_ac.errors import InputError
from slowfast_ac.losses import AttentionOutput
from slowfast_ac.models.pack_pathway import PackPathway
from slowfast_ac.models.ptv_slowfast_ac import PTVTwoStream
from slowfast_ac.scam_head import MultiScale, SCAMHead

# PyTorchVideo's.
DEPTHS = (18, 50, 101, 152)


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
    scales: Sequence[float] = (1.0, 0.5),
    scale_grad: bool = False,
    frame_stride: int = 2,
    scam: Callable[[], SCAMHead] | None = SCAMHead,
) -> "SlowFastACNet":
    """Builds the paper's network with PyTorchVideo's ``create_slowfast``.

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
        dropout_rate: dropout of the classifier's input features.
        slowfast_channel_reduction_ratio: slow channels per fast channel.
        stem_dim_out: channels of the slow pathway's stem.
        num_frames: frames of a clip; the fast pathway sees all of them.
        alpha: fast frames per slow frame; must divide ``num_frames``.
        crop_size: height and width of a training crop in pixels, a multiple of 32. The head pools
            windows of that size, so it classifies a larger clip at several positions and averages
            the logits.
        scales: sizes at which the slow pathway sees a clip in training, relative to the classified
            clip. The first is 1.0, that clip itself.
        scale_grad: if true, gradients flow through the scales after the first.
        frame_stride: the scales after the first see every n-th of the slow pathway's frames.
        scam: builds the head that makes the attention maps, such as
            ``functools.partial(SCAMHead, temporal_reduction="average")``. None makes no maps.

    Returns:
        A network that returns (N, model_num_class) logits, and in training also the attention maps;
        see :class:`SlowFastACNet`.

    Raises:
        InputError: naming the invalid argument.
    """
    if num_frames < 1 or alpha < 1 or num_frames % alpha:
        raise InputError(f"alpha {alpha} does not divide num_frames {num_frames}")
    if crop_size < STRIDE or crop_size % STRIDE:
        raise InputError(
            f"crop_size {crop_size} is not a multiple of the backbone's stride of {STRIDE}"
        )
    if model_depth not in DEPTHS:
        raise InputError(f"model_depth {model_depth} is not one of {', '.join(map(str, DEPTHS))}")
    if slowfast_channel_reduction_ratio < 1:
        raise InputError(
            f"slowfast_channel_reduction_ratio {slowfast_channel_reduction_ratio} is less than 1"
        )
    if stem_dim_out % slowfast_channel_reduction_ratio:
        raise InputError(
            f"slowfast_channel_reduction_ratio {slowfast_channel_reduction_ratio} does not divide "
            f"stem_dim_out {stem_dim_out}"
        )
    multi_scale = MultiScale(scales, scale_grad, frame_stride)
    if min(scales) * crop_size < STRIDE:
        raise InputError(
            f"scales: {min(scales)} of crop_size {crop_size} is less than the backbone's "
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
    return SlowFastACNet(
        net,
        scam() if scam else None,
        multi_scale,
        num_frames=num_frames,
        alpha=alpha,
        crop_size=crop_size,
    )


class SlowFastACNet(PTVTwoStream):
    """A branch-independent ``create_slowfast`` network that takes a clip or two pathways.

    In training it returns an :class:`~slowfast_ac.losses.AttentionOutput`, ``(logits, attention)``,
    which :class:`slowfast_ac.AttentionConsistencyLoss` takes as it is. Weights are named as in
    PySlowFast's PTVSlowFast models, ``model.blocks...``.

    Args:
        model: the network, without lateral connections.
        scam: makes the attention maps; None makes no maps.
        multi_scale: the scales of the slow pathway's features.
        num_frames: frames of a clip.
        alpha: fast frames per slow frame.
        crop_size: the smallest height and width of a clip.
    """

    def __init__(
        self,
        model: nn.Module,
        scam: SCAMHead | None,
        multi_scale: MultiScale,
        *,
        num_frames: int,
        alpha: int,
        crop_size: int,
    ):
        super().__init__()
        self.model = model
        self.scam = scam
        self.multi_scale = multi_scale
        self.pack = PackPathway(alpha)
        self.num_frames = num_frames
        self.crop_size = crop_size

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor | AttentionOutput:
        """Classifies clips.

        Args:
            x: a clip (N, 3, num_frames, H, W), or the slow and the fast pathway's clips.

        Returns:
            (N, L) logits in evaluation mode, or in any mode if the network has no ``scam``.
            In training mode ``(logits, attention)``, where ``attention`` is None without gradients.

        Raises:
            InputError: for a wrong number of pathways, frames or channels, or too small frames.
        """
        output = self.attend(self.model, self._pathways(x))
        return output if self.training and self.scam is not None else output.logits

    def _pathways(self, x: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
        if isinstance(x, Tensor):
            self._check(x, "the clip", self.num_frames)
            slow_and_fast: list[Tensor] = self.pack(x)
            return slow_and_fast
        if len(x) != 2:
            raise InputError(
                f"{len(x)} pathways: give one clip, or two pathways [slow, fast] as PackPathway "
                "makes them"
            )
        self._check(x[0], "the slow pathway", self.num_frames // self.pack.alpha)
        self._check(x[1], "the fast pathway", self.num_frames)
        return x

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
