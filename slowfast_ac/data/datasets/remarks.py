"""Remarks on a readable video: oddities that affect training but are not visible in its header."""

from typing import NamedTuple

import numpy as np

from slowfast_ac.data.reader import VideoReader

# DATA.TARGET_FPS, the rate that DATA.NUM_FRAMES and DATA.SAMPLING_RATE refer to.
TARGET_FPS = 30


class Remark(NamedTuple):
    """One remark.

    Args:
        kind: ``frame rate``, ``header``, ``times``, ``size``, ``cover``, ``pixels`` or ``frames``.
        reason: a sentence.
    """

    kind: str
    reason: str


def remarks(reader: VideoReader, num_decoded: int) -> list[Remark]:
    """Returns the remarks on a video.

    Args:
        reader: a video that was decoded to its end.
        num_decoded: number of frames that were decoded.
    """
    found = [*_of_times(reader), *_of_pictures(reader)]
    count = len(reader.timeline.times)
    if num_decoded < count:
        reason = (
            f"{count - num_decoded} of {count} frames cannot be decoded; the one before is repeated"
        )
        found.append(Remark("frames", reason))
    return found


def _of_times(reader: VideoReader) -> list[Remark]:
    found, timeline = [], reader.timeline
    steps = np.diff(timeline.times)
    if len(steps):
        shortest, longest = float(steps.min()), float(steps.max())
        average = float(timeline.times[-1]) / len(steps)
        # A millisecond clock, such as webm's, rounds equal intervals to unequal ones.
        if len(steps) > 1 and longest - shortest > max(0.0015, 0.1 * average):
            reason = (
                f"variable frame rate: {shortest * 1000:.0f} to {longest * 1000:.0f} ms between "
                "frames; clips take the frame on screen "
            )
            rate = timeline.steady_rate(TARGET_FPS)
            found.append(Remark("frame rate", reason + f"{rate:.4g} times a second"))
        stays = np.append(steps, timeline.end - timeline.times[-1])
        if stays.max() > max(1.0, 10 * float(np.median(steps))):
            at = float(timeline.times[int(stays.argmax())])
            reason = f"times jump: the frame at {at:.2f} s stays for {stays.max():.2f} s"
            found.append(Remark("times", reason))
        still = int((steps <= 0).sum())
        if still:
            found.append(Remark("times", f"{still} frames do not advance and are never shown"))
    if timeline.jumps:
        reason = (
            f"times go backwards {timeline.jumps} times, as in joined files; the parts are read "
            f"one after the other, {timeline.end:.2f} s in all"
        )
        found.append(Remark("times", reason))
    said = timeline.header_rate
    # With few frames, the length of the last one makes a difference.
    slack = max(0.1, 2 / len(timeline.times))
    if said and len(steps) and abs(float(said) / timeline.fps - 1) > slack:
        reason = (
            f"wrong rate in the header: {float(said):.4g} frames per second, but they come at "
            f"{timeline.fps:.4g}"
        )
        found.append(Remark("header", reason))
    if reader.stream.start_time is None:
        reason = f"it has no timestamps; {timeline.fps:.4g} frames per second are assumed"
        found.append(Remark("times", reason))
    ticks = reader.stream.duration
    said = float(ticks * reader.stream.time_base) if ticks else timeline.end
    if abs(said - timeline.end) > max(0.1 * timeline.end, 2 / timeline.fps):
        reason = f"wrong length in the header: {said:.2f} s instead of {timeline.end:.2f} s"
        found.append(Remark("header", reason))
    return found


def _of_pictures(reader: VideoReader) -> list[Remark]:
    found = []
    height, width = reader.shown_size
    if len(reader.stored_sizes) > 1:
        sizes = ", ".join(f"{w} x {h}" for w, h in sorted(reader.stored_sizes))
        reason = f"its size changes ({sizes}); every frame is stretched to {width} x {height}"
        found.append(Remark("size", reason))
    if reader.picture_first:
        reason = f"a picture comes first; the film, stream {reader.stream.index}, is read"
        found.append(Remark("cover", reason))
    aspect = reader.stream.sample_aspect_ratio
    if aspect and aspect != 1:
        reason = (
            f"pixels are not square ({aspect.numerator}:{aspect.denominator}); the whole picture "
            f"is used as it is stored, {width} x {height}"
        )
        found.append(Remark("pixels", reason))
    return found
