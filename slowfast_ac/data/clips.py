"""Reads clips and samples, normalises, resizes and crops them as PySlowFast's test does.

Shapes: T frames of H x W pixels as read, h x w as the network sees them.
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slowfast_ac.data.picture import to_rgb
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.data.sampling import Span, clip_frames
from slowfast_ac.data.timeline import Timeline
from slowfast_ac.errors import InputError

# Upstream's three crops; of a portrait video they are the top, the centre and the bottom.
CROPS = ("left", "center", "right")


class Clip(NamedTuple):
    """The frames of a clip.

    Args:
        frames: (T, H, W, 3), uint8 RGB, as decoded.
        times: (T,), seconds since the start of the video, float64.
    """

    frames: np.ndarray
    times: np.ndarray


def read_clip(
    path: str | os.PathLike,
    preprocessing: Preprocessing,
    start: float | None = None,
    end: float | None = None,
) -> Clip:
    """Reads one clip of the whole frame.

    Args:
        path: the video.
        preprocessing: defines a clip.
        start: seconds; None takes the clip in the middle of the video.
        end: seconds; the clip is in the middle of ``start`` to ``end``. None takes the clip that
            begins at ``start``.

    Raises:
        InputError: if the video cannot be read or ends before ``start``.
    """
    if start is None or (end is None and math.isinf(preprocessing.seconds)):
        with VideoReader(path) as reader:
            start, end = start or 0.0, reader.duration
    elif end is None:
        end = start + preprocessing.seconds
    ((_, clip),) = read_clips(path, preprocessing, [Span(start, end)])
    return clip


def read_clips(
    path: str | os.PathLike,
    preprocessing: Preprocessing,
    spans: Sequence[Span],
    clips: int | None = None,
    crops: Sequence[str] = (),
) -> Iterator[tuple[int, Clip]]:
    """Yields the clips of several spans of a video, which is decoded once.

    Args:
        path: the video.
        preprocessing: defines a clip; see :mod:`slowfast_ac.data.sampling` for the rules.
        spans: parts of the video.
        clips: clips per span, TEST.NUM_ENSEMBLE_VIEWS; None takes one from the middle.
        crops: crops that the frames are for, see :func:`to_pathways`. Where the preprocessing
            resizes while decoding, they determine the size of the frames.

    Yields:
        The number of the span and the clip, in the order of the clips' first frames.

    Raises:
        InputError: if the video cannot be read or ends before a span.
    """
    if clips is not None and clips < 1:
        raise InputError(f"number of clips: {clips} is not positive")
    resize = preprocessing.resize_while_decoding
    short_side = preprocessing.short_side(crops) if resize else 0
    with VideoReader(path) as reader:
        windows = []
        for number, span in enumerate(spans):
            if span.start >= reader.timeline.end:
                raise _ends_before(reader.name, span.start)
            for places in clip_frames(reader.timeline, preprocessing, span, clips):
                windows.append(_Window(number, span.start, places))
        # The sort is stable, so a span's clips stay in order.
        waiting = deque(sorted(windows, key=lambda window: window.indices[0]))
        indices = sorted({index for window in windows for index in window.indices})
        for shown in reader.at(indices):
            # Converted immediately, so that the decoder can reuse the frame's memory.
            pixels = to_rgb(shown.frame, short_side)
            for window in waiting:
                window.offer(shown.index, shown.time, pixels)
            while waiting and shown.index >= waiting[0].indices[-1]:
                window = waiting.popleft()
                yield window.span, window.clip()
        for window in waiting:
            # The file has fewer frames than its header or packets indicate.
            if not window.taken:
                raise _ends_before(reader.name, window.start)
            yield window.span, window.clip()


def clips_of_frames(
    frames: Sequence[av.VideoFrame],
    timeline: Timeline,
    preprocessing: Preprocessing,
    span: Span,
    clips: int | None = None,
    crops: Sequence[str] = (),
) -> Iterator[Clip]:
    """Yields the clips of a span as :func:`read_clips` does, from frames already decoded.

    Args:
        frames: all frames of the timeline.
        timeline: the times at which they are shown.
        preprocessing: see :func:`read_clips`, also for ``clips`` and ``crops``.
        span: part of the timeline.
        clips: number of clips.
        crops: crops that the frames are for.
    """
    short_side = preprocessing.short_side(crops) if preprocessing.resize_while_decoding else 0
    for places in clip_frames(timeline, preprocessing, span, clips):
        images = {place: to_rgb(frames[place], short_side) for place in set(places)}
        yield Clip(np.stack([images[place] for place in places]), timeline.times[places])


def _ends_before(name: str, start: float) -> InputError:
    return InputError(
        f"cannot read video {name}: it has no frame at or after {start:g} s (cut short?)"
    )


def to_pathways(frames: np.ndarray, preprocessing: Preprocessing, *crops: str) -> list[Tensor]:
    """Turns a clip's frames into the network's input, as upstream's test does.

    The frames are normalised and resized once for all crops.

    Args:
        frames: (T, H, W, 3), uint8 RGB.
        preprocessing: the settings.
        crops: N of :data:`CROPS`, squares of ``crop_size``. Without any, N is 1 and the whole frame
            is used, with its short side resized to ``crop_size``. For the centre crop alone, the
            short side is ``single_crop_scale``.

    Returns:
        The slow and the fast pathway's clips, or that of the only pathway, (N, 3, T, h, w) each.
    """
    scale = preprocessing.short_side(crops)
    clip = torch.from_numpy(frames).float() / 255.0
    if preprocessing.is_bgr_first:
        clip = clip.flip(-1)
    clip = (clip - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
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
        InputError: for a crop that is not in :data:`CROPS`.
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
    """Collects the frames of one clip from a stream of frames.

    Args:
        span: number of the clip's span.
        start: start of the span, seconds.
        indices: the clip's frames as indices of the timeline, ascending.
    """

    span: int
    start: float
    indices: Sequence[int]
    taken: dict[int, tuple[float, np.ndarray]] = field(default_factory=dict)

    def offer(self, index: int, time: float, pixels: np.ndarray) -> None:
        if self.indices[0] <= index <= self.indices[-1] and index in self.indices:
            self.taken[index] = time, pixels

    def clip(self) -> Clip:
        last = max(self.taken)
        times, frames = zip(*(self.taken[min(index, last)] for index in self.indices), strict=True)
        return Clip(np.stack(frames), np.array(times))
