"""Video files: probe, read by time and write, with PyAV."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from slowfast_ac.errors import InputError
from slowfast_ac.files import atomic_path


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        path: the file.
        fps: average frames per second.
        num_frames: number of frames, 0 where the header does not say.
        duration: seconds from the first frame to the end of the last.
        width: of a decoded frame, in pixels.
        height: of a decoded frame, in pixels.
    """

    path: str
    fps: float
    num_frames: int
    duration: float
    width: int
    height: int


class VideoReader:
    """The first video stream of a file, read by time, any number of times.

    Times are seconds since the start of the stream, whatever its first timestamp is. Rotation
    metadata is ignored, as PySlowFast does.

    Args:
        source: a path, a binary file or an open PyAV container; the reader closes it.

    Raises:
        InputError: if it is no readable video, now or while it is read.
    """

    def __init__(self, source: str | os.PathLike | BinaryIO | av.container.InputContainer) -> None:
        if isinstance(source, av.container.InputContainer):
            self.name = source.name or "<bytes>"
            self._container = source
        else:
            self.name = os.fspath(source) if isinstance(source, str | os.PathLike) else "<bytes>"
            if os.path.isfile(self.name) and os.path.getsize(self.name) == 0:
                raise InputError(f"cannot read video {self.name}: the file is empty")
            with self._errors_named():
                # A title in an old encoding should not make a video unreadable.
                self._container = av.open(
                    self.name if isinstance(source, os.PathLike) else source,
                    metadata_errors="ignore",
                )
        if not self._container.streams.video:
            self.close()
            raise InputError(f"cannot read video {self.name}: it has no video stream")
        self._stream = self._container.streams.video[0]
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate:
            self.close()
            raise InputError(f"cannot read video {self.name}: its frame rate is unknown")
        self._frame_time = 1 / Fraction(rate)
        # A raw stream has no timestamps, and AVI has none that say where a B-frame belongs.
        self._has_timestamps = self._stream.start_time is not None and not (
            self._container.format.name == "avi" and self._stream.codec_context.has_b_frames
        )

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; left open, PyAV keeps its memory until garbage is collected."""
        self._container.close()

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return float(1 / self._frame_time)

    @property
    def num_frames(self) -> int:
        """Number of frames, 0 where the header does not say."""
        return self._stream.frames

    @property
    def duration(self) -> float:
        """Seconds of video by the header or, where it does not say, by :meth:`measure`."""
        ticks = self._stream.duration or 0
        return float(ticks * self._stream.time_base) if ticks > 0 else self.measure()

    def measure(self) -> float:
        """Returns the seconds of video that are there: reads all packets, decodes none."""
        end = Fraction(0)
        with self._errors_named():
            self._seek(0.0)
            for packet in self._container.demux(self._stream):
                if not packet.size:
                    continue
                if self._has_timestamps and packet.pts is not None:
                    length = (packet.duration or 0) * packet.time_base or self._frame_time
                    end = max(end, self._time(packet.pts) + length)
                else:
                    end += self._frame_time
        return float(end)

    def frames(
        self, start: float = 0.0, end: float = math.inf, with_shown: bool = False
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields (time, frame) for start <= time < end, in the order of presentation.

        Decoding begins at the last key frame before ``start`` and stops at ``end``.

        Args:
            start: seconds.
            end: seconds.
            with_shown: yield first the frame that is already on the screen at ``start``, that is
                the last one before it, unless a frame begins at ``start``.
        """
        shown = None
        with self._errors_named():
            for time, frame in self._decode_from(start):
                if time < start:
                    shown = time, frame
                    continue
                if shown and with_shown and time > start:
                    yield shown
                shown = None
                if time >= end:
                    return
                yield time, frame
            if shown and with_shown:
                yield shown

    def _decode_from(self, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields (time, frame) from a frame at or before ``start`` on, where there is one."""
        back = 0.0
        while True:
            target = max(start - back, 0.0) if self._has_timestamps else 0.0
            self._seek(target)
            decoded = self._decode()
            first = next(decoded, None)
            # Seeking goes by the order of decoding, or by a guess, and can miss the frame.
            if target == 0.0 or (first is not None and first[0] <= start):
                break
            back = 2 * back + 1
        if first is not None:
            yield first
            yield from decoded

    def _seek(self, seconds: float) -> None:
        start = self._stream.start_time
        if start is None:
            self._container.seek(0, stream=self._stream, unsupported_byte_offset=True)
        elif seconds == 0.0:
            # MPEG-TS skips its first key frame when asked for the exact start.
            self._container.seek(min(start, 0), stream=self._stream)
        else:
            self._container.seek(start + int(seconds / self._stream.time_base), stream=self._stream)

    def _decode(self) -> Iterator[tuple[float, av.VideoFrame]]:
        time = -self._frame_time
        for frame in self._container.decode(self._stream):
            if self._has_timestamps and frame.pts is not None:
                time = self._time(frame.pts)
            else:
                time += self._frame_time
            yield float(time), frame

    def _time(self, pts: int) -> Fraction:
        return (pts - self._stream.start_time) * self._stream.time_base

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except av.error.InvalidDataError as error:
            raise InputError(
                f"cannot read video {self.name}: {error.strerror} (no video, or cut short)"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"cannot read video {self.name}: {error.strerror}") from error


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
    """Yields the frames with start <= time < end, holding one at a time.

    Yields:
        Time in seconds since the start of the video, and the frame (H, W, 3), uint8 RGB.

    Raises:
        InputError: if the video cannot be read, when the first or a later frame is asked for.
    """
    with VideoReader(path) as reader:
        for time, frame in reader.frames(start, end):
            yield time, frame.to_ndarray(format="rgb24")


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
    # Equal intervals are whole ticks, others at most a twentieth of a millisecond off.
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
