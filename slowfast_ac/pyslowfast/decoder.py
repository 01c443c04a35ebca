"""A decoder for PySlowFast that replaces calls that current torchvision no longer has.

In PySlowFast's ``decode``, a backend chooses and decodes the span of each clip; ``decode`` then
picks the clip's frames from it. ``torchvision_decode`` below replaces the backend of that name,
with the same arguments and results. Upstream's ``pyav_decode`` takes one clip and returns three
values, but ``decode`` now expects several clips and four values. So the backends pyav and
torchcodec also go through ``torchvision_decode``, and the handle determines the decoder:

    DATA.DECODING_BACKEND   handle            decoded by   size of the frames
    torchvision             path (or bytes)   PyAV         short side as DATA's smallest scale
    pyav                    VideoReader       PyAV         as in the file
    torchcodec              TorchCodecVideo   torchcodec   as in the file

As in upstream, only torchvision resizes while decoding; the transforms rescale in any case. The
timeline determines the frames of a span: frames at a steady rate, as upstream's index arithmetic
assumes.
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
        indices: ascending; repeated ones give the same frame.
        short_side: size that the short side is resized to, up or down, keeping the aspect ratio; 0
            keeps the frames' size.

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
    # If the last frames of a file cannot be decoded, the one before them is repeated.
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
    """Decodes the spans of a video's clips: upstream's ``torchvision_decode`` plus ``decoder``.

    A video that is longer than its clips is decoded only where they are. A shorter video is decoded
    as a whole, and ``decode`` places the clips. A clip between two frames gets the one on screen.

    Args:
        decoder: upstream's module, whose ``get_multiple_start_end_idx`` places the clips.
        video_handle: the result of ``get_video_container``; closed in the end.
        sampling_rate: for each clip, frames at ``target_fps`` from one of its frames to the next.
        num_frames: for each clip, its number of frames.
        clip_idx: -1 for random clips, or the number of the clip among ``num_clips_uniform``.
        video_meta: stores the video's fps and duration for the next call.
        num_clips_uniform: number of clips that are spread over the video.
        target_fps: frame rate that ``sampling_rate`` refers to.
        modalities: upstream passes ("visual",); nothing else is decoded.
        max_spatial_scale: short side of the frames; 0 leaves them as they are.
        use_offset: whether to place uniform clips from the first to the last frame.
        min_delta: smallest number of frames between two clips.
        max_delta: largest number of frames between two clips.

    Returns:
        The frames (T, H, W, 3), uint8 RGB, of each clip's span, or of the whole video as the only
        item; the video's fps; whether the whole video was decoded; and the clips' (start, end,
        delta) in frames, (num_clips, 3), or None for the whole video.

    Raises:
        InputError: if the video cannot be read; ``decode`` prints the message.
    """
    meta = {} if video_meta is None else video_meta
    with _open(video_handle) as reader:
        # With torchcodec, frames are not resized, as with DATA.DECODING_BACKEND pyav.
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
    """Returns whether a checkout's ``slowfast.datasets.decoder`` fails on the installed packages.

    Its torchvision backend uses functions that torchvision no longer has, and its pyav backend
    supports only one clip.
    """
    if not hasattr(decoder, "get_multiple_start_end_idx") or _is_installed(decoder):
        return False
    pyav_works = "get_multiple_start_end_idx" in decoder.pyav_decode.__code__.co_names
    return not (pyav_works and hasattr(decoder.io, "_probe_video_from_memory"))


def install(decoder: ModuleType, video_container: ModuleType) -> None:
    """Makes a checkout decode with this module; a second call has no effect.

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
        # The path instead of the bytes: errors can name it, and only what is needed is read.
        return Path(path_to_vid)

    decoder.decode = decode
    decoder.torchvision_decode = functools.partial(torchvision_decode, decoder)
    video_container.get_video_container = get_video_container


def _is_installed(decoder: ModuleType) -> bool:
    return getattr(decoder.torchvision_decode, "func", None) is torchvision_decode


def install_wheel(decoder: ModuleType, video_container: ModuleType | None = None) -> None:
    """Makes the wheel decode with this package's reader; a second call has no effect.

    Args:
        decoder: the wheel's ``slowfast.datasets.decoder``.
        video_container: its ``slowfast.datasets.video_container``, so that any file name works.
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
    """Decodes the span of one clip: the wheel's ``pyav_decode`` plus ``decoder``.

    As in the wheel, one frame more than the span contains is taken, and the span starts at a tick
    of the file's clock. A file without a length in its header is decoded as a whole, and ``decode``
    places the clip.

    Args:
        decoder: the wheel's module, whose ``get_start_end_idx`` places the clip.
        container: the video; closed in the end.
        sampling_rate: frames at ``target_fps`` from one frame of the clip to the next.
        num_frames: the clip's frames.
        clip_idx: -1 for a random clip, or the number of the clip among ``num_clips``.
        num_clips: number of clips that are spread over the video.
        target_fps: frame rate that ``sampling_rate`` refers to.

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
