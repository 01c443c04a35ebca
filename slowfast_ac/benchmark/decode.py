"""Compares the repaired decoder with decoding whole videos, for training clips."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_ac.benchmark.networks import choose
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.timing import add_times, interleave
from slowfast_ac.benchmark.train import MEBIBYTE
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.data.torchcodec_video import TorchCodecVideo
from slowfast_ac.data.video import read_frames, write_video
from slowfast_ac.pyslowfast.decoder import read_span

FPS = 30
WIDTH, HEIGHT = 340, 256
# The span of one clip of SlowFast 4x16: 64 frames at 30 a second.
SPAN = 64 / 30


def bench_decode(
    folder: Path, settings: Settings, *, lengths: Sequence[float]
) -> list[dict[str, Any]]:
    """Measures how fast one random clip of a video is decoded, as the video gets longer.

    Args:
        folder: for the generated videos, which are removed at the end.
        settings: at least 1 iteration; ``only`` has names of :func:`decoders`.
        lengths: seconds of the videos.

    Returns:
        One row per video and decoder; ``held_mebibytes`` are the decoded frames that the decoder
        holds at once.
    """
    rows = []
    for length in lengths:
        path = folder / f"bench_{length:g}s.mp4"
        try:
            write_video(path, moving_texture(length), FPS, crf=23)
            rows += _bench_video(path, length, settings)
        finally:
            path.unlink(missing_ok=True)
    return rows


def decoders() -> dict[str, Callable[[Path, float], int]]:
    """Returns the decoders that work here: path and start in seconds -> bytes of frames held.

    The baseline, whole videos, comes first: upstream's decoder for PyAV does this if the container
    does not state the video's length, and torchvision's backend did.
    """
    found: dict[str, Callable[[Path, float], int]] = {"whole_video": _whole_video, "span": _span}
    if importlib.util.find_spec("torchcodec"):
        found["torchcodec"] = _torchcodec
    return found


def _whole_video(path: Path, start: float) -> int:
    frames, times = read_frames(path)
    inside = (times >= start) & (times <= start + SPAN)
    return frames.nbytes if inside.any() else 0


def _span(path: Path, start: float) -> int:
    with VideoReader(path) as reader:
        return _read(reader, start)


def _torchcodec(path: Path, start: float) -> int:
    with TorchCodecVideo(path) as reader:
        return _read(reader, start)


def _read(reader: VideoReader | TorchCodecVideo, start: float) -> int:
    timeline = reader.timeline
    first, last = timeline.first_number(start, FPS), timeline.last_number(start + SPAN, FPS)
    return read_span(reader, timeline.shown(range(first, last + 1), FPS)).nbytes


def _bench_video(path: Path, length: float, settings: Settings) -> list[dict[str, Any]]:
    known = decoders()
    names = choose(list(known), settings.only)
    held = dict.fromkeys(names, 0)
    # Every decoder gets the same start times.
    steps = {name: _Decoding(path, length, known[name], held, name) for name in names}
    seconds = interleave(steps, settings)
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, "video_seconds": length, "held_mebibytes": held[name] / MEBIBYTE}
        for name in names
    }
    add_times(rows, seconds, batch=1)
    return list(rows.values())


class _Decoding:
    """Decodes the next clip of a fixed random sequence, and records the most bytes held."""

    def __init__(
        self,
        path: Path,
        length: float,
        decode: Callable[[Path, float], int],
        held: dict[str, int],
        name: str,
    ):
        self.path = path
        self.latest = max(length - SPAN, 0.0)
        self.decode = decode
        self.held = held
        self.name = name
        self.rng = np.random.default_rng(0)

    def __call__(self) -> None:
        start = self.rng.uniform(0.0, self.latest)
        self.held[self.name] = max(self.held[self.name], self.decode(self.path, start))


def moving_texture(seconds: float) -> Iterator[np.ndarray]:
    """Yields frames (256, 340, 3), uint8: blocks of colour that drift, with a little noise."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (HEIGHT // 16, -(-WIDTH // 20), 3), dtype=np.uint8)
    texture = blocks.repeat(16, axis=0).repeat(20, axis=1)[:, :WIDTH]
    noise = rng.integers(0, 24, texture.shape, dtype=np.uint8)
    for number in range(round(seconds * FPS)):
        moved = np.roll(texture, 2 * number, axis=1) // 2
        yield moved + np.roll(noise, 37 * number, axis=0)
