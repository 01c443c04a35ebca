"""Clips of a video as PySlowFast's test samples, normalises, resizes and crops them.

Shapes: T frames of H x W pixels as read, h x w as the network sees them.
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast_ac.data.reader import Shown, VideoReader
from slowfast_ac.data.timeline import Timeline
from slowfast_ac.data.view_keys import check_views
from slowfast_ac.errors import InputError

# Upstream's three crops; of an upright video they are the top, the centre and the bottom.
CROPS = ("left", "center", "right")


@dataclass(frozen=True)
class Preprocessing:
    """What turns a video into the input of a network; the names are those of PySlowFast's keys.

    Args:
        num_frames: frames of a clip, DATA.NUM_FRAMES.
        sampling_rate: distance of two of them, in frames at ``target_fps``.
        alpha: SLOWFAST.ALPHA, the fast pathway's frames per frame of the slow one; None for a
            network of one pathway.
        crop_size: pixels of the frame's short side, DATA.TEST_CROP_SIZE.
        mean: of each channel, DATA.MEAN.
        std: of each channel, DATA.STD.
        target_fps: frame rate that ``sampling_rate`` counts in, whatever the video's own is.
        reverse_input_channel: whether the network takes BGR, DATA.REVERSE_INPUT_CHANNEL.
        single_crop_scale: pixels of the frame's short side where one crop is taken, the first of
            DATA.TRAIN_JITTER_SCALES; None for ``crop_size``.
        ends_with_span: whether a clip has no frame that begins after its span, as a checkout's
            decoder has it; the wheel's takes one more.

    Raises:
        InputError: naming the field, for a value that no clip can have.
    """

    num_frames: int
    sampling_rate: int
    alpha: int | None
    crop_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    target_fps: float = 30.0
    reverse_input_channel: bool = False
    single_crop_scale: int | None = None
    ends_with_span: bool = False

    def __post_init__(self):
        for name in ("num_frames", "sampling_rate", "crop_size", "target_fps"):
            if not getattr(self, name) > 0:
                raise InputError(f"preprocessing: {name} {getattr(self, name)} is not positive")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise InputError(f"preprocessing: {name} {getattr(self, name)} needs 3 numbers")
        if self.alpha is not None and not 0 < self.alpha <= self.num_frames:
            raise InputError(
                f"preprocessing: alpha {self.alpha} leaves the slow pathway none of "
                f"{self.num_frames} frames"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Preprocessing":
        """Reads a PySlowFast config.

        Raises:
            InputError: for a key of the test that is not known here; see
                :mod:`slowfast_ac.data.view_keys`.
        """
        check_views(cfg)
        # The wheel has no such key.
        is_checkout = bool(cfg.DATA.get("DECODING_BACKEND"))
        scales = cfg.DATA.get("TRAIN_JITTER_SCALES")
        two_pathways = cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH
        return cls(
            num_frames=cfg.DATA.NUM_FRAMES,
            sampling_rate=cfg.DATA.SAMPLING_RATE,
            alpha=cfg.SLOWFAST.ALPHA if two_pathways else None,
            crop_size=cfg.DATA.TEST_CROP_SIZE,
            mean=tuple(cfg.DATA.MEAN),
            std=tuple(cfg.DATA.STD),
            # The wheel has neither key.
            target_fps=float(cfg.DATA.get("TARGET_FPS", 30)),
            reverse_input_channel=cfg.DATA.get("REVERSE_INPUT_CHANNEL", False),
            single_crop_scale=int(scales[0]) if is_checkout and scales else None,
            ends_with_span=is_checkout,
        )

    @classmethod
    def from_dict(cls, data: Mapping) -> "Preprocessing":
        """Returns what :meth:`to_dict` was called on.

        Raises:
            InputError: for a field too many or too few.
        """
        known = {entry.name for entry in fields(cls)}
        # Programs that were exported earlier lack these.
        data = {"single_crop_scale": None, "ends_with_span": False, **data}
        for name in sorted(known ^ set(data)):
            problem = "is missing" if name in known else "is not known"
            raise InputError(f"preprocessing: the field {name} {problem}")
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})

    def to_dict(self) -> dict:
        """Returns the fields, for JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.num_frames * self.sampling_rate / self.target_fps

    def slow_frames(self) -> np.ndarray:
        """Returns the slow pathway's frames as indices of the clip's, all of them for one pathway.

        Note that upstream takes the first and the last frame and spreads the others evenly, so
        their distance is more than alpha.
        """
        count = self.num_frames // (self.alpha or 1)
        return torch.linspace(0, self.num_frames - 1, count).long().numpy()


class Clip(NamedTuple):
    """The frames of a clip.

    Args:
        frames: (T, H, W, 3), uint8 RGB, as large as the video.
        times: (T,), seconds since the start of the video, float64.
    """

    frames: np.ndarray
    times: np.ndarray


def read_clip(
    path: str | os.PathLike, preprocessing: Preprocessing, start: float | None = None
) -> Clip:
    """Reads one clip.

    Args:
        path: the video.
        preprocessing: what a clip is.
        start: seconds; None takes the clip in the middle of the video.

    Raises:
        InputError: if the video cannot be read or ends before ``start``.
    """
    if start is None:
        with VideoReader(path) as reader:
            start = max(reader.duration - preprocessing.seconds, 0.0) / 2
    return next(read_clips(path, preprocessing, [start]))


def uniform_clip_starts(
    duration: float, preprocessing: Preprocessing, num_clips: int
) -> list[float]:
    """Returns when the clips of upstream's test start: evenly from 0, none at the video's end.

    Args:
        duration: seconds of the video.
        preprocessing: what a clip is.
        num_clips: TEST.NUM_ENSEMBLE_VIEWS.

    Raises:
        InputError: if ``num_clips`` is not positive.
    """
    if num_clips < 1:
        raise InputError(f"number of clips: {num_clips} is not positive")
    delta = max(duration - preprocessing.seconds, 0.0)
    return [delta * number / num_clips for number in range(num_clips)]


def read_clips(
    path: str | os.PathLike, preprocessing: Preprocessing, starts: Sequence[float]
) -> Iterator[Clip]:
    """Yields clips of one video, which is decoded once.

    Upstream's rule: the clip's length in frames of this video may be fractional; the frames are
    spread evenly over it, counted from the first frame that begins at the start or later, and
    rounded down. Where the video ends sooner, its last frame is repeated. A video of no constant
    rate is counted at ``target_fps``, by what is on the screen.

    Args:
        path: the video.
        preprocessing: what a clip is.
        starts: seconds, ascending.

    Raises:
        InputError: if the video cannot be read or ends before a start.
    """
    if list(starts) != sorted(starts):
        raise ValueError(f"starts {list(starts)} are not ascending")
    with VideoReader(path) as reader:
        timeline = reader.timeline
        windows = deque()
        for start in starts:
            if start >= timeline.end:
                raise _ends_before(reader.name, start)
            windows.append(_Window(start, _indices(timeline, preprocessing, start)))
        indices = sorted({index for window in windows for index in window.indices})
        for shown in reader.at(indices):
            for window in windows:
                window.offer(shown)
            while windows and shown.index >= windows[0].indices[-1]:
                yield windows.popleft().clip()
        for window in windows:
            # The file has fewer frames than its header or its packets promised.
            if not window.taken:
                raise _ends_before(reader.name, window.start)
            yield window.clip()


def _indices(timeline: Timeline, preprocessing: Preprocessing, start: float) -> list[int]:
    rate = timeline.steady_rate(preprocessing.target_fps)
    count = preprocessing.num_frames
    size = max(preprocessing.seconds * rate, 1.0)
    # In float32, as upstream rounds.
    positions = torch.linspace(0, size - 1, count).long().numpy()
    first = timeline.first_number(start, rate)
    numbers = first + positions
    if preprocessing.ends_with_span:
        if rate * timeline.end <= count * preprocessing.sampling_rate:
            # Upstream decodes a short video whole and rounds places in it instead.
            begin = start * rate
            places = torch.linspace(begin, begin + size - 1, count)
            numbers = places.clamp(0, timeline.count(rate) - 1).long().numpy()
        else:
            last = timeline.last_number(start + (size - 1) / rate, rate)
            if last < first:
                return [timeline.shown_at(start)] * count
            numbers = numbers.clip(max=last)
    return timeline.shown(numbers, rate).tolist()


def _ends_before(name: str, start: float) -> InputError:
    return InputError(
        f"cannot read video {name}: it has no frame at or after {start:g} s (cut short?)"
    )


def to_pathways(frames: np.ndarray, preprocessing: Preprocessing, *crops: str) -> list[Tensor]:
    """Turns a clip's frames into the network's input, as upstream's test does.

    The frames are normalised and resized once for all crops.

    Args:
        frames: (T, H, W, 3), uint8 RGB.
        preprocessing: how.
        crops: N of :data:`CROPS`, squares of ``crop_size``; without any, the whole frame, its short
            side ``crop_size``, and N is 1. Of frames for the centre alone the short side is
            ``single_crop_scale``.

    Returns:
        The slow and the fast pathway's clips, or the one pathway's, (N, 3, T, h, w) each.
    """
    clip = torch.from_numpy(frames).float() / 255.0
    clip = (clip - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    scale = preprocessing.crop_size
    if crops == ("center",) and preprocessing.single_crop_scale is not None:
        scale = preprocessing.single_crop_scale
        if scale < preprocessing.crop_size:
            raise InputError(
                f"DATA.TRAIN_JITTER_SCALES: {scale} is less than DATA.TEST_CROP_SIZE "
                f"{preprocessing.crop_size}, so a frame holds no single crop; take three crops"
            )
    clip = resize_short_side(clip.permute(3, 0, 1, 2), scale)
    if preprocessing.reverse_input_channel:
        clip = clip.flip(0)
    views = [uniform_crop(clip, preprocessing.crop_size, crop) for crop in crops] or [clip]
    batch = torch.stack(views).contiguous()
    if preprocessing.alpha is None:
        return [batch]
    return [batch[:, :, preprocessing.slow_frames()], batch]


def resize_short_side(clip: Tensor, size: int) -> Tensor:
    """Resizes a (3, T, H, W) clip bilinearly so that its short side is ``size``."""
    height, width = clip.shape[-2:]
    if min(height, width) == size:
        return clip
    if width < height:
        resized = (math.floor(height / width * size), size)
    else:
        resized = (size, math.floor(width / height * size))
    return F.interpolate(clip, size=resized, mode="bilinear", align_corners=False)


def uniform_crop(clip: Tensor, size: int, crop: str) -> Tensor:
    """Cuts one of upstream's three squares of ``size`` out of a (3, T, H, W) clip.

    Raises:
        InputError: for a crop that is none of :data:`CROPS`.
    """
    if crop not in CROPS:
        raise InputError(f"crop {crop!r} is not one of {', '.join(CROPS)}")
    height, width = clip.shape[-2:]
    top, left = math.ceil((height - size) / 2), math.ceil((width - size) / 2)
    if height > width:
        top = {"left": 0, "center": top, "right": height - size}[crop]
    else:
        left = {"left": 0, "center": left, "right": width - size}[crop]
    return clip[..., top : top + size, left : left + size]


@dataclass
class _Window:
    """Takes the frames of one clip out of a stream of frames.

    Args:
        start: seconds.
        indices: the frames of the clip, by their place in the timeline; ascending.
    """

    start: float
    indices: Sequence[int]
    taken: dict[int, Shown] = field(default_factory=dict)

    def offer(self, shown: Shown) -> None:
        if self.indices[0] <= shown.index <= self.indices[-1] and shown.index in self.indices:
            self.taken[shown.index] = shown

    def clip(self) -> Clip:
        last = max(self.taken)
        shown = [self.taken[min(index, last)] for index in self.indices]
        images = {index: to_rgb(shown.frame) for index, shown in self.taken.items()}
        frames = np.stack([images[min(index, last)] for index in self.indices])
        return Clip(frames, np.array([one.time for one in shown]))


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Returns the pixels of a frame, (H, W, 3), uint8."""
    return frame.to_ndarray(format="rgb24")
