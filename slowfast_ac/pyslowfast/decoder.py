"""A decoder for PySlowFast, in place of calls that today's torchvision no longer has.

PySlowFast's ``decode`` has a backend choose and decode the span of each clip and then picks the
clip's frames from it. ``torchvision_decode`` here is what ``decode`` calls for that, with the same
arguments and results. Upstream's ``pyav_decode`` takes one clip and returns three values, where
``decode`` has moved on to several clips and four, so the backends pyav and torchcodec go through
``torchvision_decode`` too, and the handle says who decodes:

    DATA.DECODING_BACKEND   handle            decoded by   size of the frames
    torchvision             path (or bytes)   PyAV         short side as DATA's smallest scale
    pyav                    VideoReader       PyAV         as in the file
    torchcodec              TorchCodecVideo   torchcodec   as in the file

Upstream resizes while decoding for torchvision alone, and its transforms rescale in any case.
Which frames a span holds is the timeline's to say: frames at a steady rate, which upstream's
arithmetic of indices needs.
"""

import functools
import inspect
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import torch
from torch import Tensor

from slowfast_ac.data.picture import to_rgb
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.data.torchcodec_video import TorchCodecVideo
from slowfast_ac.errors import InputError

Handle = str | os.PathLike | bytes | av.container.InputContainer | VideoReader | TorchCodecVideo


def read_span(
    reader: VideoReader | TorchCodecVideo,
    indices: Sequence[int] | np.ndarray,
    short_side: int = 0,
) -> Tensor:
    """Decodes frames of a video's timeline.

    Args:
        reader: the video.
        indices: ascending; one that comes again stays on the screen.
        short_side: resize the frames to it, smaller or larger, and keep their aspect; 0: do not.

    Returns:
        The frames (T, H, W, 3), uint8 RGB.

    Raises:
        InputError: if there is no frame.
    """
    distinct, repeats = np.unique(indices, return_inverse=True)
    if isinstance(reader, TorchCodecVideo):
        images = reader.images(distinct.tolist())
    else:
        images = [to_rgb(shown.frame, short_side) for shown in reader.at(distinct.tolist())]
    if not len(images):
        raise InputError(f"cannot read video {reader.name}: no frame can be decoded (cut short?)")
    # A file whose last frames cannot be decoded ends with the one before them.
    last = len(images) - 1
    if len(distinct) == len(indices) == len(images):
        return torch.from_numpy(np.stack(images))
    return torch.from_numpy(np.stack([images[min(at, last)] for at in repeats.tolist()]))


def torchvision_decode(
    decoder: ModuleType,
    video_handle: Handle,
    sampling_rate: Sequence[float],
    num_frames: Sequence[int],
    clip_idx: int,
    video_meta: dict | None,
    num_clips_uniform: int = 10,
    target_fps: float = 30,
    modalities: Sequence[str] = ("visual",),
    max_spatial_scale: int = 0,
    use_offset: bool = False,
    min_delta: float = -math.inf,
    max_delta: float = math.inf,
) -> tuple[list[Tensor], float, bool, np.ndarray | None]:
    """Decodes the spans of a video's clips; upstream's ``torchvision_decode``, but ``decoder``.

    A video that is longer than its clips is decoded only where they are. A shorter one is decoded
    whole, and ``decode`` places the clips. A clip between two frames gets the one on the screen.

    Args:
        decoder: upstream's module, whose ``get_multiple_start_end_idx`` places the clips.
        video_handle: what ``get_video_container`` returned; closed in the end.
        sampling_rate: per clip, frames at ``target_fps`` from one frame of the clip to the next.
        num_frames: per clip, its frames.
        clip_idx: -1 for random clips, or the number of the one among ``num_clips_uniform``.
        video_meta: the video's fps and duration are kept in it for the next call.
        num_clips_uniform: how many clips are spread over the video.
        target_fps: frames per second for which ``sampling_rate`` is meant.
        modalities: upstream passes ("visual",); nothing else is decoded.
        max_spatial_scale: short side of the frames; 0 leaves them as they are.
        use_offset: place uniform clips from the first to the last frame.
        min_delta: frames that must be between two clips.
        max_delta: frames that may be between two clips.

    Returns:
        The frames of each clip's span (T, H, W, 3), uint8 RGB, or of the video as the only one;
        the video's fps; whether the whole video was decoded; and the clips' (start, end, delta) in
        frames (num_clips, 3), None for the whole video.

    Raises:
        InputError: if the video cannot be read; ``decode`` prints the message.
    """
    meta = {} if video_meta is None else video_meta
    with _open(video_handle) as reader:
        # torchcodec resizes nothing, as PyAV by DATA.DECODING_BACKEND pyav.
        timeline = reader.timeline
        fps = timeline.steady_rate(target_fps)
        if timeline.rate:
            fps = meta.setdefault("video_fps", fps)
        duration = min(meta.setdefault("video_duration", timeline.end), timeline.end)
        if fps * duration <= np.dot(sampling_rate, num_frames):
            indices = timeline.shown(range(timeline.count(fps)), fps)
            return [read_span(reader, indices, max_spatial_scale)], fps, True, None
        spans = decoder.get_multiple_start_end_idx(
            fps * duration,
            [
                np.maximum(1.0, rate * count / target_fps * fps)
                for rate, count in zip(sampling_rate, num_frames, strict=True)
            ],
            clip_idx,
            num_clips_uniform,
            min_delta=min_delta,
            max_delta=max_delta,
            use_offset=use_offset,
        )
        clips = []
        for start, end, _ in spans:
            first = timeline.first_number(start / fps, fps)
            last = timeline.last_number(end / fps, fps)
            indices = timeline.shown(range(first, last + 1), fps)
            if not len(indices):
                indices = [timeline.shown_at(start / fps)]
            clips.append(read_span(reader, indices, max_spatial_scale))
        return clips, fps, False, spans


def _open(handle: Handle) -> VideoReader | TorchCodecVideo:
    if isinstance(handle, VideoReader | TorchCodecVideo):
        return handle
    return VideoReader(io.BytesIO(handle) if isinstance(handle, bytes) else handle)


def is_needed(decoder: ModuleType) -> bool:
    """Tells whether a checkout's ``slowfast.datasets.decoder`` fails on the installed packages.

    Its torchvision backend calls what torchvision no longer has; its pyav backend is for one clip.
    """
    if not hasattr(decoder, "get_multiple_start_end_idx") or _is_installed(decoder):
        return False
    pyav_works = "get_multiple_start_end_idx" in decoder.pyav_decode.__code__.co_names
    return not (pyav_works and hasattr(decoder.io, "_probe_video_from_memory"))


def install(decoder: ModuleType, video_container: ModuleType) -> None:
    """Has a checkout decode by this module; a second call changes nothing.

    Args:
        decoder: ``slowfast.datasets.decoder``.
        video_container: ``slowfast.datasets.video_container``.
    """
    if _is_installed(decoder):
        return
    upstream_decode = decoder.decode
    upstream_container = video_container.get_video_container
    signature = inspect.signature(upstream_decode)

    @functools.wraps(upstream_decode)
    def decode(*args, **kwargs):
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        if call.arguments["backend"] in ("pyav", "torchcodec"):
            call.arguments.update(backend="torchvision", max_spatial_scale=0)
        return upstream_decode(*call.args, **call.kwargs)

    @functools.wraps(upstream_container)
    def get_video_container(path_to_vid, multi_thread_decode=False, backend="pyav"):
        if backend not in ("torchvision", "pyav", "torchcodec"):
            return upstream_container(path_to_vid, multi_thread_decode, backend)
        with open(path_to_vid, "rb"):
            pass
        if backend == "torchcodec":
            return TorchCodecVideo(path_to_vid)
        if backend == "pyav":
            return VideoReader(path_to_vid, threads=multi_thread_decode)
        # The path and not the bytes: errors can name it, and nothing is read in vain.
        return Path(path_to_vid)

    decoder.decode = decode
    decoder.torchvision_decode = functools.partial(torchvision_decode, decoder)
    video_container.get_video_container = get_video_container


def _is_installed(decoder: ModuleType) -> bool:
    return getattr(decoder.torchvision_decode, "func", None) is torchvision_decode


def install_wheel(decoder: ModuleType, video_container: ModuleType | None = None) -> None:
    """Has the wheel decode by this package's reader; a second call changes nothing.

    Args:
        decoder: the wheel's ``slowfast.datasets.decoder``.
        video_container: its ``slowfast.datasets.video_container``, to open files of any name.
    """
    if getattr(decoder.pyav_decode, "func", None) is wheel_decode:
        return
    decoder.pyav_decode = functools.partial(wheel_decode, decoder)
    if video_container is not None:
        video_container.get_video_container = _open_for_wheel


def _open_for_wheel(path_to_vid, multi_thread_decode=False) -> VideoReader:
    return VideoReader(path_to_vid, threads=multi_thread_decode)


def wheel_decode(
    decoder: ModuleType,
    container: Handle,
    sampling_rate: float,
    num_frames: int,
    clip_idx: int,
    num_clips: int = 10,
    target_fps: float = 30,
) -> tuple[Tensor, float, bool]:
    """Decodes the span of one clip; the wheel's ``pyav_decode``, but ``decoder``.

    The wheel takes one frame more than the span holds, and starts the span at a tick of the file's
    clock. A file whose header gives no length it decodes whole, and ``decode`` places the clip.

    Args:
        decoder: the wheel's module, whose ``get_start_end_idx`` places the clip.
        container: the video; closed in the end.
        sampling_rate: frames at ``target_fps`` from one frame of the clip to the next.
        num_frames: the clip's frames.
        clip_idx: -1 for a random clip, or the number of the one among ``num_clips``.
        num_clips: how many clips are spread over the video.
        target_fps: frames per second for which ``sampling_rate`` is meant.

    Returns:
        The frames (T, H, W, 3), uint8 RGB; the video's fps; whether the whole video was decoded.

    Raises:
        InputError: if the video cannot be read; ``decode`` prints the message.
    """
    with _open(container) as reader:
        timeline, stream = reader.timeline, reader.stream
        fps = timeline.steady_rate(target_fps)
        count = timeline.count(fps)
        if timeline.rate and stream.duration is None:
            return read_span(reader, timeline.shown(range(count), fps)), fps, True
        start, end = decoder.get_start_end_idx(
            count, sampling_rate * num_frames / target_fps * fps, clip_idx, num_clips
        )
        ticks_per_frame = 1 / (fps * float(stream.time_base))
        begin, finish = (
            int(index * ticks_per_frame) * float(stream.time_base) for index in (start, end)
        )
        first = timeline.first_number(begin, fps, 1e-6)
        last = max(timeline.last_number(finish, fps, 1e-6) + 1, first)
        indices = timeline.shown(range(first, last + 1), fps)
        return read_span(reader, indices), fps, False
