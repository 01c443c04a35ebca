"""Reads frames from a source that may never end: a camera, a network stream, a pipe or a file."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import av
import numpy as np

from slowfast_ac.data.open_video import NO_FILMS, films_of, reason
from slowfast_ac.data.packets import header_rate
from slowfast_ac.data.picture import Orientation, one_size, orientation, upright
from slowfast_ac.data.timeline import Timeline, find_rate
from slowfast_ac.errors import InputError

# Allowed URL schemes. None of them can read a local file, even if a playlist refers to one.
SCHEMES = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
_PLAYLISTS = {"dash", "hls", "rtp", "rtsp", "sap", "sdp"}
# Frames per second. Frames beyond this rate are dropped, so that a broken clock cannot fill the
# memory.
_FASTEST_RATE = 1000


class LiveFrame(NamedTuple):
    """A frame of a live source.

    Args:
        time: seconds since the first frame.
        end: seconds since the first frame at which it ends, by the source's frame rate.
        picture: the frame, upright and of the first frame's size.
    """

    time: float
    end: float
    picture: av.VideoFrame


class LiveReader:
    """The video of a source, read once, as it arrives.

    Times are seconds since the first frame. They keep ascending even if the source restarts its
    clock. Frames are upright and of one size. Frames that cannot be decoded are skipped, since a
    reader may join between two key frames and a network may lose packets.

    Args:
        source: a URL with one of ``SCHEMES``, a camera such as ``/dev/video0`` (Linux), a named
            pipe, a file, or ``-`` for standard input.
        timeout: seconds without data after which reading a URL fails.

    Attributes:
        name: name of the source for messages; a URL without its user and password.
        waits: whether the source waits for its reader, as a pipe does but a camera does not.

    Raises:
        InputError: if the source cannot be read, now or at a later frame.
    """

    def __init__(self, source: str, timeout: float = 30.0) -> None:
        self.name = public_name(source)
        self.waits = not is_live(source)
        self._timeout = timeout
        self._is_pipe = self.waits and not os.path.isfile(source)
        with self._errors_named(), contextlib.ExitStack() as opened:
            self._container = opened.enter_context(_open(source, timeout))
            self._stream = films_of(self._container.streams.video)[0]
            # Stored, since reading them from the stream of a closed container crashes.
            self._rates = self._stream.average_rate, self._stream.guessed_rate
            self._tick = float(self._stream.time_base)
            opened.pop_all()

    def __enter__(self) -> "LiveReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def timeline(self, frames: Sequence[LiveFrame]) -> Timeline:
        """Returns the times of some of the frames, in seconds since the first of them."""
        first = frames[0].time
        times = np.array([frame.time - first for frame in frames])
        rate, tolerance = find_rate(times, self._rates, self._tick)
        return Timeline(times, frames[-1].end - first, rate, self._rates[0], tolerance)

    def frames(self) -> Iterator[LiveFrame]:
        """Yields the frames until the source ends."""
        interval = 1 / float(header_rate(self._stream) or 30)
        context = self._stream.codec_context
        size, turn = (context.width, context.height), Orientation()
        latest, shift = -interval, None
        for frame in self._decode():
            time = latest + interval
            if frame.pts is not None:
                said = float(frame.pts * frame.time_base)
                if shift is None or said + shift <= latest:
                    shift = time - said
                time = said + shift
            if latest < 0:
                turn = orientation(frame)
            elif time - latest < 1 / _FASTEST_RATE:
                continue
            latest = time
            duration = float(frame.duration * frame.time_base) if frame.duration else interval
            with self._errors_named():
                picture = upright(one_size(frame, *size), turn)
            yield LiveFrame(time, time + duration, picture)
        if latest < 0:
            raise InputError(f"cannot read {self.name}: no frame can be decoded")

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            with self._errors_named():
                packet = next(packets, None)
            if packet is None:
                return
            frames: list[av.VideoFrame] = []
            with self._errors_named(), contextlib.suppress(av.error.InvalidDataError):
                frames = packet.decode()
            yield from frames

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            why = reason(error)
            if isinstance(error, av.error.ExitError):
                why = f"no data for {self._timeout:g} s"
            elif isinstance(error, av.error.InvalidDataError) and self._is_pipe:
                # An mp4 file has its index at the end.
                why = "no video that a pipe can carry; send Matroska or MPEG-TS"
            raise InputError(f"cannot read {self.name}: {why}") from error


def _open(source: str, timeout: float) -> av.container.InputContainer:
    films = set(av.formats_available) - NO_FILMS
    if "://" in source:
        scheme = source.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise InputError(f"{scheme}:// is not one of {', '.join(SCHEMES)}")
        options = {
            "protocol_whitelist": ",".join((*SCHEMES, "crypto", "httpproxy", "tls")),
            "format_whitelist": ",".join(sorted(films | _PLAYLISTS)),
            # Over UDP, the default, frames arrive with parts missing.
            "rtsp_transport": "tcp",
        }
        return av.open(source, metadata_errors="ignore", options=options, timeout=timeout)
    if source == "-":
        if sys.stdin.isatty():
            raise InputError("it is a terminal; pipe a video into it")
        file = "pipe:0"
    elif is_live(source):
        return av.open(source, format="v4l2")
    elif os.path.isdir(source):
        raise InputError("is a folder, not a video")
    else:
        file = f"file:{source}"
    options = {"format_whitelist": ",".join(sorted(films))}
    return av.open(file, metadata_errors="ignore", options=options)


def is_live(source: str) -> bool:
    """Returns whether a source does not wait for its reader: a URL or a camera."""
    return "://" in source or (os.path.exists(source) and stat.S_ISCHR(os.stat(source).st_mode))


def public_name(source: str) -> str:
    """Returns the name of a source for messages: a URL without its user and password."""
    if source == "-":
        return "standard input"
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
