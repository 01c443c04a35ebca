"""Spans of a video that are classified one by one: the whole video, or sliding windows."""

import math

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.sampling import Span
from slowfast_ac.data.video import VideoReader
from slowfast_ac.errors import InputError

NO_LENGTH = "window: needed in seconds, since this network's clip has no fixed length"


def check_windows(preprocessing: Preprocessing, window: float | None, stride: float | None) -> None:
    """Rejects windows that are shorter than a clip, and lengths that are not positive.

    A stride alone takes windows of one clip, so the clip needs a fixed length.

    Raises:
        InputError: naming the argument.
    """
    # Written so that NaN is refused as well.
    if window is not None and not 0 < window < math.inf:
        raise InputError(f"window: {window:g} s is not positive")
    clip = preprocessing.seconds
    if window is not None and math.isfinite(clip) and not window >= clip - 1e-9:
        raise InputError(
            f"window: {window:g} s is shorter than this network's clip of "
            f"{preprocessing.seconds:.4g} s; leave it out for windows of one clip"
        )
    if stride is not None and not 0 < stride < math.inf:
        raise InputError(f"stride: {stride:g} s is not positive")
    if stride is not None and window is None and not math.isfinite(clip):
        raise InputError(NO_LENGTH)


def video_duration(path: str) -> float:
    """Returns a video's duration in seconds.

    Raises:
        InputError: if it cannot be read.
    """
    with VideoReader(path) as reader:
        return reader.duration


def sliding_spans(duration: float, window: float, stride: float) -> list[Span]:
    """Returns windows every ``stride`` seconds; the last one ends with the video.

    Args:
        duration: of the video, in seconds. A video shorter than a window is one span.
        window: seconds.
        stride: seconds.
    """
    rest = duration - window
    if rest <= 0:
        return [Span(0.0, duration)]
    # A window that would start within a millisecond of the last one is left out.
    count = math.ceil((rest - 1e-3) / stride)
    starts = [number * stride for number in range(max(count, 1))]
    if rest - starts[-1] > 1e-3:
        starts.append(rest)
    return [Span(start, min(start + window, duration)) for start in starts]
