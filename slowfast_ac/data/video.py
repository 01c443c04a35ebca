"""Probes, reads and writes video files as arrays, with PyAV."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from slowfast_ac.data.picture import to_rgb
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.errors import InputError
from slowfast_ac.files import atomic_path


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video file.

    Attributes:
        path: the file.
        fps: frames per second, on average where they vary.
        num_frames: number of frames according to the header, 0 if it does not state it.
        duration: seconds from the first frame to the end of the last.
        width: width of a frame as shown, in pixels.
        height: height of a frame as shown, in pixels.
    """

    path: str
    fps: float
    num_frames: int
    duration: float
    width: int
    height: int


def probe(path: str | os.PathLike) -> VideoInfo:
    """Reads the header of a video and decodes its first frame.

    Raises:
        InputError: if it cannot be read; the message names the file and the reason.
    """
    with VideoReader(path) as reader:
        first = next(reader.frames(), None)
        if first is None:
            raise InputError(f"cannot read video {reader.name}: no frame can be decoded")
        frame = first[1]
        return VideoInfo(
            path=os.fspath(path),
            fps=reader.fps,
            num_frames=reader.num_frames,
            duration=reader.duration,
            width=frame.width,
            height=frame.height,
        )


def iter_frames(
    path: str | os.PathLike, start: float = 0.0, end: float = math.inf
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the frames with start <= time < end, keeping one in memory at a time.

    Yields:
        Time in seconds since the start of the video, and the frame (H, W, 3), uint8 RGB.

    Raises:
        InputError: if the video cannot be read, at the first or a later frame.
    """
    with VideoReader(path) as reader:
        for time, frame in reader.frames(start, end):
            yield time, to_rgb(frame)


def read_frames(
    path: str | os.PathLike, start: float = 0.0, end: float = math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the frames with start <= time < end.

    Returns:
        The frames (T, H, W, 3), uint8 RGB, and their times (T,), float64 seconds.

    Raises:
        InputError: if the video cannot be read or has no frame in the span.
    """
    pairs = list(iter_frames(path, start, end))
    if not pairs:
        raise InputError(f"cannot read video {os.fspath(path)}: no frame in {start:g} to {end:g} s")
    times, frames = zip(*pairs, strict=True)
    return np.stack(frames), np.array(times)


def write_video(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float, crf: int = 18
) -> None:
    """Writes frames at a constant rate; see :func:`write_timed_video`.

    Args:
        path: the file to write.
        frames: arrays (H, W, 3), uint8 RGB, all of one size.
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51; 18 looks lossless.

    Raises:
        InputError: if there are no frames.
    """
    rate = Fraction(fps).limit_denominator(1001)
    timed = ((float(number / rate), frame) for number, frame in enumerate(frames))
    write_timed_video(path, timed, fps, crf)


def write_timed_video(
    path: str | os.PathLike, frames: Iterable[tuple[float, np.ndarray]], fps: float, crf: int = 18
) -> None:
    """Writes an H.264 mp4 that every player opens (yuv420p), whole or not at all.

    An odd height or width grows by one: the last row or column is repeated.

    Args:
        path: the file to write.
        frames: seconds, ascending from about 0, and arrays (H, W, 3), uint8 RGB, all of one size.
        fps: frames per second, on average where they vary.
        crf: x264's constant rate factor, 0 (lossless) to 51; 18 looks lossless.

    Raises:
        InputError: if there are no frames.
    """
    rate = Fraction(fps).limit_denominator(1001)
    # Equal intervals become whole ticks; other times are rounded by at most 0.05 ms.
    ticks_per_frame = max(1, math.ceil(10_000 / rate))
    with atomic_path(path) as temporary:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = 1 / (rate * ticks_per_frame)
            ticks = -1
            for time, image in frames:
                height, width = image.shape[:2]
                image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if ticks < 0:
                    stream.height, stream.width = image.shape[:2]
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                ticks = max(round(time * rate * ticks_per_frame), ticks + 1)
                frame.pts, frame.time_base = ticks, 1 / (rate * ticks_per_frame)
                container.mux(stream.encode(frame))
            if ticks < 0:
                raise InputError(f"cannot write video {os.fspath(path)}: there are no frames")
            container.mux(stream.encode())
