"""Makes videos smaller: resizes the short side, keeps the time of every frame, drops the sound."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from slowfast_ac.data.datasets.remarks import Remark, remarks
from slowfast_ac.data.parallel import keep_results
from slowfast_ac.data.picture import convert
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.files import atomic_path
from slowfast_ac.journal import KEY, Journal


@dataclass(frozen=True)
class ResizeJob:
    """One video to resize.

    Args:
        source: the original, which is not changed.
        target: the mp4 to write. If it exists and is not older than the source, nothing is done.
        short_side: target size of the short side in pixels.
    """

    source: str
    target: str
    short_side: int

    def is_done(self) -> bool:
        """Returns whether the target exists and is not older than the source."""
        try:
            return os.path.getmtime(self.target) >= os.path.getmtime(self.source)
        except OSError:
            return False


def resize_videos(
    jobs: Mapping[str, ResizeJob], journal: Journal, workers: int | None = None
) -> None:
    """Resizes this process's videos in parallel, with a progress bar.

    Args:
        jobs: {name: job} of all videos.
        journal: stores for each name the ``remarks`` on the source, or an ``error`` if it cannot be
            read to its end. A video that was resized earlier gets no remarks.
        workers: number of processes; None for one per CPU core of this process.
    """
    todo = {}
    for name in journal.todo(list(jobs)):
        if jobs[name].is_done():
            journal.add({KEY: name, "remarks": []})
        else:
            todo[name] = jobs[name].target
    _remove_left(todo.values())
    for _ in keep_results(_resized, jobs, journal, workers, "resizing"):
        pass


def _resized(job: ResizeJob) -> dict[str, list[Remark]]:
    return {"remarks": resize_video(job)}


def _remove_left(targets: Iterable[str]) -> None:
    """Removes unfinished files of these videos, whose names have eight characters from mkstemp."""
    targets = set(targets)
    for folder in {os.path.dirname(target) for target in targets}:
        for path in Path(folder).glob(".*-????????.mp4"):
            if str(path.with_name(path.name[1 : -len("-????????.mp4")] + ".mp4")) in targets:
                path.unlink(missing_ok=True)


def resize_video(job: ResizeJob) -> list[Remark]:
    """Writes an H.264 mp4 whose short side is at most ``job.short_side``, whole or not at all.

    Frames are upright and keep their times, even if these are not equally spaced. A video that is
    already small keeps its size (minus one pixel where it is odd).

    Returns:
        Remarks on the source.

    Raises:
        InputError: if the source cannot be read to its end.
    """
    target = Path(job.target)
    with VideoReader(job.source) as reader, atomic_path(target) as temporary:
        height, width = reader.shown_size
        with av.open(str(temporary), "w", format="mp4") as output:
            # One thread each, since the processes share the cores.
            options = {"crf": "18", "threads": "1"}
            rate = Fraction(reader.fps).limit_denominator(1_000_000)
            stream = output.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height = fit(width, height, job.short_side)
            stream.pix_fmt = "yuv420p"
            clock = stream.codec_context.time_base = reader.stream.time_base
            aspect = reader.stream.sample_aspect_ratio
            if aspect and aspect != 1:
                turned = width != reader.stream.codec_context.width
                stream.codec_context.sample_aspect_ratio = 1 / aspect if turned else aspect
            time, ticks, num_frames = 0.0, -1, 0
            for time, frame in reader.frames():
                # Two frames at one time, as broken files have, cannot be encoded.
                ticks = max(round(time / clock), ticks + 1)
                small = convert(frame, stream.width, stream.height, "yuv420p", interpolation="AREA")
                small.pts, small.time_base = ticks, clock
                if num_frames == 0:
                    # Otherwise, readers would assume another matrix or range.
                    stream.codec_context.colorspace = small.colorspace
                    stream.codec_context.color_range = small.color_range
                # Otherwise, the encoder would copy the frame types of the source.
                small.pict_type = 0
                output.mux(stream.encode(small))
                num_frames += 1
            for packet in stream.encode():
                if packet.pts == ticks:
                    # No following frame ends the last one, so its duration is set.
                    packet.duration = max(1, round((reader.duration - time) / clock))
                output.mux(packet)
        return remarks(reader, num_frames)


def fit(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Returns width and height, even numbers, with the short side at most ``short_side``.

    The aspect ratio is kept as far as even numbers allow; no side grows.
    """
    scale = short_side / min(width, height)
    return tuple(max(2, min(round(side * scale / 2), side // 2) * 2) for side in (width, height))
