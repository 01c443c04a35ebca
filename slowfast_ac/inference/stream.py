"""Classifies a live source while it runs, in a window that rolls over its frames."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from slowfast_ac.data.clips import clips_of_frames
from slowfast_ac.data.live import LiveFrame, LiveReader
from slowfast_ac.data.sampling import Span
from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.errors import InputError
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction, span_scores
from slowfast_ac.inference.windows import NO_LENGTH, check_windows

# Tolerance in seconds for comparing times.
_SLACK = 1e-3


class Window(NamedTuple):
    """A span of the source, and its frames, beginning with the one on screen at its start."""

    span: Span
    frames: list[LiveFrame]


@dataclass(frozen=True)
class Answer:
    """The prediction of a window of a live source.

    Args:
        prediction: its times are seconds since the source's first frame.
        latency: seconds from the decoding of the window's last frame to the scores.
        skipped: windows skipped since the previous answer because the network was too slow.
    """

    prediction: Prediction
    latency: float
    skipped: int


def rolling_windows(frames: Iterable[LiveFrame], window: float, stride: float) -> Iterator[Window]:
    """Yields each window as soon as it ends; holds the frames of one window.

    The windows are those of :func:`~slowfast_ac.inference.windows.sliding_spans`, so the last one
    ends with the source. Windows without frames, such as while a camera was off, are left out.

    Args:
        frames: in ascending order of time, from 0.
        window: seconds.
        stride: seconds from window to window.
    """
    kept: deque[LiveFrame] = deque()
    number = 0
    for frame in frames:
        before = kept[-1].time if kept else 0.0
        kept.append(frame)
        while number * stride + window <= frame.time + _SLACK:
            start = number * stride
            if start > before:
                number = math.floor((frame.time + _SLACK - window) / stride) + 1
                break
            yield Window(Span(start, start + window), list(kept))
            number += 1
        while len(kept) > 1 and kept[1].time <= frame.time - window:
            kept.popleft()
    if not kept:
        return
    end = kept[-1].end
    rest = end - window
    while number * stride < rest - _SLACK:
        yield Window(Span(number * stride, number * stride + window), list(kept))
        number += 1
    if number == 0 or rest - (number - 1) * stride > _SLACK:
        yield Window(Span(max(rest, 0.0), end), list(kept))


def predict_stream(
    model: TrainedModel,
    source: str,
    views: Views = CENTER_VIEW,
    *,
    window: float | None = None,
    stride: float | None = None,
    timeout: float = 30.0,
) -> Iterator[Answer]:
    """Yields an answer for each window of a live source, until it ends.

    A pipe or a file waits for the network, so every window gets an answer, the same as from
    :func:`~slowfast_ac.inference.predict.predict`. A camera or a URL does not wait, and the network
    takes the latest window. At most three windows of frames are in memory.

    Args:
        model: the network.
        source: see :class:`~slowfast_ac.data.live.LiveReader`.
        views: of a window; by default the centre crop of the clip in its middle.
        window: seconds; by default a clip's length.
        stride: seconds from window to window; by default ``window``.
        timeout: seconds without data after which a URL is given up.

    Raises:
        InputError: if the source cannot be read, after the answers up to then, or for invalid
            windows.
    """
    check_windows(model.preprocessing, window, stride)
    window = window or model.preprocessing.seconds
    if math.isinf(window):
        raise InputError(NO_LENGTH)
    reading = _Reading(source, timeout, window, stride or window)
    try:
        while (item := reading.next()) is not None:
            reader, (span, frames), ready, skipped = item
            first = frames[0].time
            clips = clips_of_frames(
                [frame.picture for frame in frames],
                reader.timeline(frames),
                model.preprocessing,
                Span(span.start - first, span.end - first),
                views.clips,
                views.crop_names,
            )
            [scores] = span_scores(model, ((0, clip) for clip in clips), views)
            latency = time.monotonic() - ready
            yield Answer(Prediction(span.start, span.end, scores), latency, skipped)
    finally:
        reading.stop()


class _Ready(NamedTuple):
    reader: LiveReader
    window: Window
    time: float
    skipped: int = 0


class _Reading:
    """Reads a source in a thread, since a blocked read cannot be interrupted.

    The thread fills one window and holds at most one other that is ready.
    """

    def __init__(self, source: str, timeout: float, window: float, stride: float) -> None:
        self._arguments = source, timeout, window, stride
        self._changed = threading.Condition()
        self._ready: _Ready | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        # A daemon: a source that sends nothing must not keep the process alive.
        threading.Thread(target=self._read, name=source, daemon=True).start()

    def next(self) -> _Ready | None:
        """Waits for a window; None at the end of the source."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready is not None or self._ended)
            ready, self._ready = self._ready, None
            self._changed.notify_all()
        if ready is None and self._error is not None:
            raise self._error
        return ready

    def stop(self) -> None:
        """Ends the thread at its next frame."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _read(self) -> None:
        source, timeout, window, stride = self._arguments
        try:
            with LiveReader(source, timeout) as reader:
                frames = takewhile(lambda _: not self._stopped, reader.frames())
                for item in rolling_windows(frames, window, stride):
                    self._offer(_Ready(reader, item, time.monotonic()))
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _offer(self, ready: _Ready) -> None:
        with self._changed:
            if ready.reader.waits:
                self._changed.wait_for(lambda: self._ready is None or self._stopped)
            elif self._ready is not None:
                ready = ready._replace(skipped=self._ready.skipped + 1)
            self._ready = ready
            self._changed.notify_all()
