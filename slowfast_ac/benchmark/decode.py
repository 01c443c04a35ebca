"""Decoding clips for training: the repaired decoder against decoding whole videos."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from slowfast_ac.benchmark.networks import choose
from slowfast_ac.benchmark.timing import interleave, paired_ratios, spread
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
    folder: Path,
    *,
    lengths: Sequence[float],
    iterations: int,
    warmup: int,
    only: Sequence[str] | None = None,
) -> list[dict[str, object]]:
    """Measures how fast one random clip of a video is decoded, as the video gets longer.

    Args:
        folder: for the generated videos, which are removed.
        lengths: seconds of the videos.
        iterations: clips a decoder and video that are timed, at least 1.
        warmup: clips before that.
        only: names of :func:`decoders`; the first runs in any case.

    Returns:
        One row a video and decoder; ``held_mebibytes`` are the decoded frames that the decoder
        holds at once.
    """
    rows = []
    for length in lengths:
        path = folder / f"bench_{length:g}s.mp4"
        try:
            write_video(path, moving_texture(length), FPS, crf=23)
            rows += _bench_video(path, length, iterations, warmup, only)
        finally:
            path.unlink(missing_ok=True)
    return rows


def decoders() -> dict[str, Callable[[Path, float], int]]:
    """Returns the decoders that work here: path and start in seconds -> bytes of frames held.

    Whole videos come first, as the baseline: what upstream's decoder for PyAV does where the
    container does not say the video's length, and torchvision's did for its backend.
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


def _bench_video(
    path: Path, length: float, iterations: int, warmup: int, only: Sequence[str] | None
) -> list[dict[str, object]]:
    known = decoders()
    names = choose(list(known), only)
    held = dict.fromkeys(names, 0)
    # Every decoder gets the same starts.
    steps = {name: _Decoding(path, length, known[name], held, name) for name in names}
    seconds = interleave(steps, iterations, warmup)
    baseline = seconds[names[0]]
    rows = []
    for name in names:
        time, ratio = spread(seconds[name]), spread(paired_ratios(seconds[name], baseline))
        rows.append(
            {
                "name": name,
                "video_seconds": length,
                "seconds": time.median,
                "seconds_low": time.low,
                "seconds_high": time.high,
                "clips_per_second": 1 / time.median,
                "seconds_ratio": ratio.median,
                "seconds_ratio_low": ratio.low,
                "seconds_ratio_high": ratio.high,
                "held_mebibytes": held[name] / MEBIBYTE,
            }
        )
    return rows


class _Decoding:
    """Decodes the next clip of a fixed sequence of random ones, and notes the most bytes held."""

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
