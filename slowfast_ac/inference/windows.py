"""Spans of a video that get an answer each: the whole of it, or windows that slide over it."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from slowfast_ac.data.clips import Clip, Preprocessing, read_clips, uniform_clip_starts
from slowfast_ac.data.video import VideoReader
from slowfast_ac.errors import InputError


class Span(NamedTuple):
    """A part of a video, in seconds since its start."""

    start: float
    end: float


def check_windows(preprocessing: Preprocessing, window: float | None, stride: float | None) -> None:
    """Refuses windows that no clip fits in, or that do not move on.

    Raises:
        InputError: naming the argument.
    """
    # Written so that NaN is refused as well.
    if window is not None and not window >= preprocessing.seconds - 1e-9:
        raise InputError(
            f"window: {window:g} s is shorter than this network's clip of "
            f"{preprocessing.seconds:.4g} s; leave it out for windows of one clip"
        )
    if stride is not None and not 0 < stride < math.inf:
        raise InputError(f"stride: {stride:g} s is not positive")


def video_duration(path: str) -> float:
    """Returns the seconds of a video.

    Raises:
        InputError: if it cannot be read.
    """
    with VideoReader(path) as reader:
        return reader.duration


def sliding_spans(duration: float, window: float, stride: float) -> list[Span]:
    """Returns windows every ``stride`` seconds; the last one ends with the video.

    Args:
        duration: seconds of the video. One that is shorter than a window is one span.
        window: seconds.
        stride: seconds.
    """
    rest = duration - window
    if rest <= 0:
        return [Span(0.0, duration)]
    # A window that would start within a thousandth of a second of the last one is that one.
    count = math.ceil((rest - 1e-3) / stride)
    starts = [number * stride for number in range(max(count, 1))]
    if rest - starts[-1] > 1e-3:
        starts.append(rest)
    return [Span(start, min(start + window, duration)) for start in starts]


def clip_starts(span: Span, preprocessing: Preprocessing, clips: int | None) -> list[float]:
    """Returns when the clips of a span start.

    Args:
        span: seconds.
        preprocessing: what a clip is.
        clips: how many, spread as upstream's test does; None takes one from the middle.
    """
    length = span.end - span.start
    if clips is None:
        return [span.start + max(length - preprocessing.seconds, 0.0) / 2]
    return [span.start + start for start in uniform_clip_starts(length, preprocessing, clips)]


def read_spans(
    path: str, preprocessing: Preprocessing, spans: Sequence[Span], clips: int | None
) -> Iterator[tuple[int, Clip]]:
    """Yields every span's clips and the span's number, in order of time; decodes the video once.

    Raises:
        InputError: if the video cannot be read.
    """
    jobs = sorted(
        (start, number)
        for number, span in enumerate(spans)
        for start in clip_starts(span, preprocessing, clips)
    )
    clips_read = read_clips(path, preprocessing, [start for start, _ in jobs])
    for (_, number), clip in zip(jobs, clips_read, strict=True):
        yield number, clip
