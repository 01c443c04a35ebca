"""Chooses the frames of a clip as PySlowFast's test data sets do.

TEST.DATASET    frames of a clip
kinetics        evenly over NUM_FRAMES x SAMPLING_RATE frames at TARGET_FPS
charades        every SAMPLING_RATE-th frame of the file, whatever its rate
ssv2            one from each of NUM_FRAMES equal segments of the whole video

Several clips of a video are spread over it. In PySlowFast, Charades and Ssv2 read folders of
frames; here, they read the frames of the video.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.timeline import Timeline


class Span(NamedTuple):
    """A part of a video, in seconds since its start."""

    start: float
    end: float


def clip_frames(
    timeline: Timeline, preprocessing: Preprocessing, span: Span, clips: int | None
) -> list[list[int]]:
    """Returns the frames of a span's clips as indices of the timeline, ascending.

    Args:
        timeline: the video's timeline.
        preprocessing: defines a clip.
        span: the part of the video that the clips are from.
        clips: number of clips, TEST.NUM_ENSEMBLE_VIEWS; None takes one from the middle.
    """
    rate = timeline.steady_rate(preprocessing.target_fps)
    if preprocessing.dataset == "kinetics":
        starts = _starts(span, preprocessing, rate, clips)
        return [_frames_from(timeline, preprocessing, start) for start in starts]
    first = timeline.first_number(span.start, rate)
    stop = min(timeline.first_number(span.end, rate), timeline.count(rate))
    length = stop - first
    if length < 1:
        return [[timeline.shown_at(span.start)] * preprocessing.num_frames] * (clips or 1)
    count, distance = preprocessing.num_frames, preprocessing.sampling_rate
    views = clips or 1
    if preprocessing.dataset == "ssv2":
        places = [segment_places(length, count, view, views) for view in range(views)]
    else:
        places = [spaced_places(length, count, distance, view, views) for view in range(views)]
    return [timeline.shown([first + place for place in row], rate).tolist() for row in places]


def segment_places(length: int, num_frames: int, view: int, views: int) -> list[int]:
    """Returns Ssv2's frames, one from each of ``num_frames`` segments of a video.

    For a single view, it is the middle frame of the segment. Upstream takes that frame for every
    view; here, the views' frames are spread evenly over the segment.

    Args:
        length: frames of the video.
        num_frames: frames of the clip.
        view: which of the views, from 0.
        views: how many there are.
    """
    segment = float(length - 1) / num_frames
    borders = [round(segment * number) for number in range(num_frames + 1)]
    return [
        start + (end - start) * (2 * view + 1) // (2 * views)
        for start, end in zip(borders[:-1], borders[1:], strict=True)
    ]


def spaced_places(
    length: int, num_frames: int, sampling_rate: int, view: int, views: int
) -> list[int]:
    """Returns Charades' frames, every ``sampling_rate``-th frame of a video.

    Views are placed from the first frame to the last; a single view, for which upstream divides by
    zero, is in the middle. Positions after the end take the last frame.

    Args:
        length: frames of the video.
        num_frames: frames of the clip.
        sampling_rate: DATA.SAMPLING_RATE.
        view: which of the views, from 0.
        views: how many there are.
    """
    room = max(length - (num_frames - 1) * sampling_rate - 1, 0)
    start = round(room / (views - 1) * view) if views > 1 else room // 2
    return [min(start + number * sampling_rate, length - 1) for number in range(num_frames)]


def _starts(
    span: Span, preprocessing: Preprocessing, rate: float, clips: int | None
) -> Sequence[float]:
    """Returns the start times of Kinetics' clips: evenly from the span's start, none at its end.

    With DATA.USE_OFFSET_SAMPLING, the last clip ends with the span, and starts are whole frames.
    """
    room = max(span.end - span.start - preprocessing.seconds, 0.0)
    if clips is None:
        return [span.start + room / 2]
    if not preprocessing.use_offset_sampling:
        return [span.start + room * number / clips for number in range(clips)]
    size = max(preprocessing.seconds * rate, 1.0)
    frames = max(rate * (span.end - span.start) - size, 0.0)
    if clips == 1:
        return [span.start + math.floor(frames / 2) / rate]
    step = math.floor(frames / (clips - 1)) / rate
    return [span.start + number * step for number in range(clips)]


def _frames_from(timeline: Timeline, preprocessing: Preprocessing, start: float) -> list[int]:
    """Returns the frames of the Kinetics clip that starts at a given time.

    Upstream's rule: the clip's length in frames of this video may be fractional. The frames are
    spread evenly over it, counted from the first frame that begins at or after the start, and
    rounded down. If the video ends earlier, its last frame is repeated. In a video without a
    constant rate, the frames on screen at ``target_fps`` are counted.
    """
    rate = timeline.steady_rate(preprocessing.target_fps)
    count = preprocessing.num_frames
    size = max(preprocessing.seconds * rate, 1.0)
    # In float32, as upstream rounds.
    positions = torch.linspace(0, size - 1, count).long().numpy()
    first = timeline.first_number(start, rate)
    numbers = first + positions
    if preprocessing.ends_with_span:
        if rate * timeline.end <= count * preprocessing.sampling_rate:
            # Upstream decodes a short video as a whole and rounds positions in it instead.
            begin = start * rate
            places = torch.linspace(begin, begin + size - 1, count)
            numbers = places.clamp(0, timeline.count(rate) - 1).long().numpy()
        else:
            last = timeline.last_number(start + (size - 1) / rate, rate)
            if last < first:
                return [timeline.shown_at(start)] * count
            numbers = numbers.clip(max=last)
    return timeline.shown(numbers, rate).tolist()
