"""Reads the video in a file by time."""

import contextlib
import itertools
import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import av

from slowfast_ac.data.open_video import (
    choose_film,
    open_container,
    reason,
    regular_file,
    rewind,
)
from slowfast_ac.data.packets import Origin, read_timeline
from slowfast_ac.data.picture import Orientation, one_size, orientation, upright
from slowfast_ac.data.timeline import Timeline
from slowfast_ac.errors import InputError

_KEPT_TIMELINES = 64


class Shown(NamedTuple):
    """A requested frame.

    Args:
        index: its index in the timeline.
        time: seconds at which it begins. If the requested frame cannot be decoded, the one before
            stays on screen and its earlier time is given.
        frame: the frame, upright and of the video's size.
    """

    index: int
    time: float
    frame: av.VideoFrame


class VideoReader:
    """The video in a file, read by time, any number of times.

    Times are seconds since the first frame, whatever its timestamp is. The first video stream that
    is not a cover picture is read. Frames are upright and of one size.

    Args:
        source: a path, a binary file or an open PyAV container; the reader closes it.
        threads: whether to decode with several threads.

    Attributes:
        name: the file's name, for messages.
        picture_first: whether a cover picture comes before the video stream.
        stored_sizes: width and height in pixels of the frames decoded so far, as they are stored.

    Raises:
        InputError: if it is not a readable video, now or at a later frame.
    """

    def __init__(
        self,
        source: str | os.PathLike | BinaryIO | av.container.InputContainer,
        threads: bool = False,
    ) -> None:
        self._source, self._threads = source, threads
        self._file: tuple | None = None
        self._container = self._stream = None
        if isinstance(source, av.container.InputContainer):
            self.name = source.name or "<bytes>"
            if os.path.isfile(self.name):
                self._file = regular_file(self.name)
        elif isinstance(source, str | os.PathLike):
            self.name = os.fspath(source)
            self._file = regular_file(self.name)
        else:
            self.name = "<bytes>"
        self.stored_sizes: set[tuple[int, int]] = set()
        self._known: tuple[Timeline, Origin] | None = None
        self._turn: Orientation | None = None
        try:
            with self._errors_named():
                self._open()
        except InputError:
            self.close()
            raise
        context = self._stream.codec_context
        self._size = context.width, context.height

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; otherwise, PyAV keeps its memory until garbage collection."""
        if self._container is not None:
            self._container.close()
        # PyAV reads freed memory if the rate of a closed file's stream is accessed.
        self._container = self._stream = None

    @property
    def timeline(self) -> Timeline:
        """The times at which the frames are shown. The first access reads the file."""
        return self._read_timeline()[0]

    @property
    def fps(self) -> float:
        """Frames per second, on average where they vary."""
        return self.timeline.fps

    @property
    def num_frames(self) -> int:
        """Number of frames according to the header, 0 if it does not state it."""
        return self.stream.frames

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.timeline.end

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""
        first = next(self.at([0]), None)
        if first is None:
            raise InputError(f"cannot read video {self.name}: no frame can be decoded")
        return first.frame.height, first.frame.width

    @property
    def stream(self) -> av.VideoStream:
        """The video stream; valid until frames are read again."""
        if self._stream is None:
            raise ValueError(f"{self.name} is closed")
        return self._stream

    def frames(
        self, start: float = 0.0, end: float = math.inf
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields (time, frame) for start <= time < end, in presentation order.

        Decoding begins at the last key frame before ``start`` and stops at ``end``.

        Args:
            start: seconds.
            end: seconds.
        """
        for time, frame in self._decode_from(start):
            if time >= end:
                return
            if time >= start:
                yield time, self._picture(frame)

    def at(self, indices: Sequence[int]) -> Iterator[Shown]:
        """Yields frames of the timeline in one pass; stops early if the video does.

        A frame that cannot be decoded is replaced by the one before it.

        Args:
            indices: ascending.
        """
        if not len(indices):
            return
        timeline = self.timeline
        times, slack = timeline.times, timeline.tolerance if timeline.rate else 1e-6
        wanted = iter(indices)
        index = next(wanted, None)
        shown = None
        for time, frame in self._decode_from(times[index]):
            while index is not None and times[index] < time - slack:
                # The frame before or, at the beginning, the first decoded one.
                yield self._shown(index, *(shown or (time, frame)))
                index = next(wanted, None)
            while index is not None and times[index] <= time + slack:
                yield self._shown(index, time, frame)
                index = next(wanted, None)
            if index is None:
                return
            shown = time, frame

    def _shown(self, index: int, time: float, frame: av.VideoFrame) -> Shown:
        return Shown(index, time, self._picture(frame))

    def _picture(self, frame: av.VideoFrame) -> av.VideoFrame:
        with self._errors_named():
            if self._turn is None:
                # Read once, since reading it takes a tenth of the decoding time.
                self._turn = orientation(frame)
            return upright(one_size(frame, *self._size), self._turn)

    def _read_timeline(self) -> tuple[Timeline, Origin]:
        if self._known is None and self._file in _timelines:
            self._known = _timelines[self._file]
        if self._known is None:
            size = self._file[1] if self._file else None
            stream = self.stream
            with self._errors_named():
                self._known = read_timeline(self._container, stream, size)
            if self._file:
                _timelines[self._file] = self._known
                while len(_timelines) > _KEPT_TIMELINES:
                    _timelines.popitem(last=False)
        return self._known

    def _open(self) -> None:
        if hasattr(self._source, "seek") and self._container is not None:
            self._source.seek(0)
        self.close()
        self._container = open_container(self._source)
        videos = self._container.streams.video
        self._stream = choose_film(self._container, videos)
        self.picture_first = videos[0].index != self._stream.index
        if self._threads:
            self._stream.thread_type = "AUTO"

    def _decode_from(self, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields (time, frame), beginning with a frame at or before ``start`` if there is one."""
        _, origin = self._read_timeline()
        back = 0.0
        while True:
            target = max(start - back, 0.0) if origin.is_seekable else 0.0
            decoded = self._decode(target)
            first = next(decoded, None)
            # Seeking follows the decoding order, or a guess, and can go past the frame.
            if target == 0.0 or (first is not None and first[0] <= start):
                break
            back = 2 * back + 1
        if first is not None:
            yield first
            yield from decoded

    def _decode(self, target: float) -> Iterator[tuple[float, av.VideoFrame]]:
        timeline, origin = self._read_timeline()
        time_base, interval = self.stream.time_base, 1 / timeline.fps
        with self._errors_named():
            self._seek(target, origin)
        time, part, latest = -interval, 0, -math.inf
        frames = self._container.decode(self._stream)
        for number in itertools.count():
            with self._errors_named():
                frame = next(frames, None)
            if frame is None:
                return
            self.stored_sizes.add((frame.width, frame.height))
            if not origin.is_timed and number < len(timeline.times):
                time = float(timeline.times[number])
            elif not origin.is_timed or frame.pts is None:
                time += interval
            else:
                part += len(origin.parts) > 1 and frame.pts < latest
                latest = frame.pts
                ticks = origin.ticks(frame.pts, part)
                time = ticks * time_base.numerator / time_base.denominator
            yield time, frame

    def _seek(self, target: float, origin: Origin) -> None:
        first, place = origin.parts[0]
        ticks = int(target / self._stream.time_base) - place
        can_open = not isinstance(self._source, av.container.InputContainer)
        try:
            if target > 0 and ticks > 0:
                self._container.seek(first + ticks, stream=self._stream)
            elif origin.untimed and can_open:
                self._open()
            else:
                rewind(self._container, self._stream, origin.is_timed)
        except av.error.FFmpegError:
            # A file without an index, or a damaged one, is read from its beginning.
            if not can_open:
                raise
            self._open()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        # PyAV raises more than its own errors: IndexError, ValueError, MemoryError, ...
        try:
            yield
        except Exception as error:
            raise InputError(f"cannot read video {self.name}: {reason(error)}") from error


_timelines: OrderedDict[tuple, tuple[Timeline, Origin]] = OrderedDict()
