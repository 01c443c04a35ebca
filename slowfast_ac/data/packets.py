"""Reads a video's timeline from its packets, or its index if that suffices, without decoding."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from slowfast_ac.data.open_video import rewind
from slowfast_ac.data.timeline import Timeline, find_rate
from slowfast_ac.errors import InputError

# Number of frames from which reading the index is cheaper than reading the file.
_LONG = 100
# Number of frames within which an encoder may change the order.
_REORDERED = 32


@dataclass(frozen=True)
class Origin:
    """Where the parts of a file begin, in the file's own times and in those of the video.

    A file whose times go backwards, such as two joined files, has several parts that follow one
    another.

    Args:
        parts: (first time in the file, start in the video) of each part, in ticks.
        untimed: number of frames at the beginning without a time, such as those with negative times
            in Matroska. They can be read only right after the file is opened.
        is_timed: whether packets have presentation times. A raw stream has none, and those of AVI
            do not say where a B-frame belongs.
    """

    parts: list[tuple[int, int]]
    untimed: int = 0
    is_timed: bool = True

    @property
    def is_seekable(self) -> bool:
        """Returns whether one can seek by time; otherwise, frames are counted from the first."""
        return self.is_timed and len(self.parts) == 1

    def ticks(self, pts: int, part: int = 0) -> int:
        """Converts a time in the file to ticks from the beginning of the video."""
        first, place = self.parts[min(part, len(self.parts) - 1)]
        return pts - first + place


def header_rate(stream: av.VideoStream) -> Fraction | None:
    """Returns the frame rate in the file's header, or FFmpeg's guess from its first frames."""
    return stream.average_rate or stream.guessed_rate


def read_timeline(
    container: av.container.InputContainer, stream: av.VideoStream, size: int | None
) -> tuple[Timeline, Origin]:
    """Reads the times at which a video's frames are shown.

    Args:
        container: at its beginning. Its position afterwards is undefined.
        stream: the video stream to read.
        size: size of the file in bytes, or None if unknown.

    Returns:
        The timeline, and its origin in the file's own times.

    Raises:
        InputError: saying what is wrong with the file, without its name.
    """
    rate = header_rate(stream)
    interval = 1 / rate if rate else Fraction(1, 30)
    found = _from_index(container, stream, size)
    if found is None:
        if stream.frames >= _LONG:
            rewind(container, stream)
        found = _from_packets(container, stream, interval)
    origin, times, end = found
    if not len(times):
        raise InputError("no frame can be decoded")
    still = int((np.diff(times) <= 0).sum())
    if still > len(times) / 2 or 0 < still == len(times) - 1:
        raise InputError(f"{still} of its {len(times)} frames begin at the same time as another")
    hints = (stream.average_rate, stream.guessed_rate)
    steady, tolerance = find_rate(times, hints, float(stream.time_base))
    if end <= times[-1]:
        end = float(times[-1]) + (1 / float(steady) if steady else float(interval))
    ticks = stream.duration or 0
    said = float(ticks * stream.time_base) if origin.is_timed else 0.0
    # The header's duration is roughly from the first frame to the end of the last.
    if said > 0 and abs(said - end) <= 1.5 / (float(steady) if steady else 30):
        end = max(said, float(times[-1]) + 1e-6)
    return Timeline(times, end, steady, rate, tolerance, len(origin.parts) - 1), origin


def _from_index(container, stream: av.VideoStream, size: int | None):
    # MP4 and AVI list all frames in decoding order. If they are equally spaced in that order, they
    # are so in presentation order too, except perhaps the last ones, so only those are read.
    count = stream.frames
    if count < _LONG or len(stream.index_entries) != count or _hides_order(stream):
        return None
    entries = list(stream.index_entries)
    steps = np.diff([entry.timestamp for entry in entries])
    step, start = int(steps[0]), stream.start_time or 0
    if step <= 0 or (steps != step).any() or any(entry.is_discard for entry in entries):
        return None
    is_cut = size is not None and max(entry.pos + entry.size for entry in entries) > size
    if is_cut or min(entry.size for entry in entries) == 0:
        return None
    container.seek(entries[-_REORDERED].timestamp, stream=stream)
    tail = [packet.pts for packet in container.demux(stream) if packet.size]
    if None in tail or not tail or (np.diff(sorted(tail)) != step).any():
        return None
    if max(tail) != start + (count - 1) * step:
        return None
    times = _seconds(np.arange(count) * step, stream.time_base)
    return Origin([(start, 0)]), times, float(count * step * stream.time_base)


def _from_packets(container, stream, interval: Fraction):
    packets = [
        (packet.pts, packet.dts, packet.duration or 0)
        for packet in container.demux(stream)
        # Empty chunks in AVI, and frames that an edit list cuts off, are never shown.
        if packet.size and not packet.is_discard and not _is_hidden(stream, packet)
    ]
    is_timed = not _hides_order(stream) and any(pts is not None for pts, _, _ in packets)
    if not is_timed and all(dts is None for _, dts, _ in packets):
        # A tick of a raw stream's clock may not divide a frame's duration.
        times = np.arange(len(packets)) * float(interval)
        return Origin([(0, 0)], is_timed=False), times, float(len(packets) * interval)
    step = max(1, round(interval / stream.time_base))
    parts, ticks, end, untimed = [], [], 0, 0
    for part in _parts(packets, is_timed, step):
        known = [(pts, duration or step) for pts, duration in part if pts is not None]
        if not parts:
            untimed = len(part) - len(known)
            ticks = [number * step for number in range(untimed)]
            end = untimed * step
        if known:
            begin, place = min(known)[0], end
            parts.append((begin, place))
            ticks += sorted(pts - begin + place for pts, _ in known)
            end = max(pts + duration - begin + place for pts, duration in known)
    origin = Origin(parts or [(0, 0)], untimed if is_timed else 0, is_timed)
    return origin, _seconds(np.array(ticks), stream.time_base), float(end * stream.time_base)


def _parts(
    packets: list[tuple[int | None, int | None, int]], is_timed: bool, step: int
) -> Iterator[list[tuple[int | None, int]]]:
    part, latest, last = [], None, None
    for pts, dts, duration in packets:
        time = pts if is_timed and pts is not None else dts
        if time is None and last is not None:
            time = last + step
        last = time
        if dts is not None:
            if latest is not None and dts < latest and part:
                yield part
                part = []
            latest = dts
        part.append((time, duration))
    if part:
        yield part


def _hides_order(stream: av.VideoStream) -> bool:
    return stream.container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _is_hidden(stream: av.VideoStream, packet: av.Packet) -> bool:
    # VP8 has reference frames that are never shown; a bit of the first byte marks shown ones.
    return stream.codec_context.name in ("vp8", "libvpx") and not bytes(packet)[0] >> 4 & 1


def _seconds(ticks: np.ndarray, time_base: Fraction) -> np.ndarray:
    return ticks * time_base.numerator / time_base.denominator
