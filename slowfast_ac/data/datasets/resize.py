"""Making videos smaller: the short side to a given size, every frame at its own time, no sound."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from glob import escape
from pathlib import Path

import av

from slowfast_ac.data.parallel import map_processes
from slowfast_ac.data.video import VideoReader, probe
from slowfast_ac.errors import InputError
from slowfast_ac.files import atomic_path


@dataclass(frozen=True)
class ResizeJob:
    """One video to resize.

    Args:
        source: the original, which is only read.
        target: the mp4 to write. Where it exists already, it is whole, and nothing is done.
        short_side: pixels.
    """

    source: str
    target: str
    short_side: int


def resize_videos(jobs: Sequence[ResizeJob], workers: int | None = None) -> dict[str, InputError]:
    """Resizes videos in parallel, with a progress bar; what an earlier call finished is skipped.

    Args:
        jobs: the videos.
        workers: processes; None for one per CPU core.

    Returns:
        For every source that cannot be read to its end, why; the others are done.
    """
    todo = [job for job in jobs if not os.path.exists(job.target)]
    results = map_processes(resize_video, todo, workers, "resizing")
    failed = zip(todo, results, strict=True)
    return {job.source: error for job, error in failed if isinstance(error, InputError)}


def resize_video(job: ResizeJob) -> None:
    """Writes an H.264 mp4 whose short side is at most ``job.short_side``, whole or not at all.

    Frames keep their times, also where these are not equally spaced. A video that is small already
    keeps its size (less a pixel where that is odd).

    Raises:
        InputError: when the source cannot be read to its end.
    """
    target = Path(job.target)
    # What a killed run left of this very video: mkstemp adds eight characters.
    for rest in target.parent.glob(f".{escape(target.stem)}-????????{target.suffix}"):
        rest.unlink(missing_ok=True)
    info = probe(job.source)
    with VideoReader(job.source) as reader, atomic_path(target) as temporary:
        with av.open(str(temporary), "w", format="mp4") as output:
            rate = Fraction(info.fps).limit_denominator(1_000_000)
            # One thread each, since the processes share the cores.
            options = {"crf": "18", "threads": "1"}
            stream = output.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height = fit(info.width, info.height, job.short_side)
            stream.pix_fmt = "yuv420p"
            ticks = -1
            for time, frame in reader.frames():
                if ticks < 0:
                    clock = stream.codec_context.time_base = frame.time_base
                # Two frames at one time, as broken files have, cannot be encoded.
                ticks = max(round(time / clock), ticks + 1)
                small = frame.reformat(stream.width, stream.height, "yuv420p", interpolation="AREA")
                small.pts, small.time_base = ticks, clock
                # Or the encoder would copy the key frames of the source.
                small.pict_type = 0
                output.mux(stream.encode(small))
            output.mux(stream.encode())


def fit(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Returns width and height, even numbers, with the short side at most ``short_side``.

    The aspect ratio is kept as far as even numbers allow; nothing grows.
    """
    scale = short_side / min(width, height)
    return tuple(max(2, min(round(side * scale / 2), side // 2) * 2) for side in (width, height))
