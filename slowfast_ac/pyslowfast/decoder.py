"""A decoder for PySlowFast, in place of calls that today's torchvision no longer has.

PySlowFast's ``decode`` has a backend choose and decode the span of each clip and then picks the
clip's frames from it. ``torchvision_decode`` here is what ``decode`` calls for that, with the same
arguments and results. Upstream's ``pyav_decode`` takes one clip and returns three values, where
``decode`` has moved on to several clips and four, so the backends pyav and torchcodec go through
``torchvision_decode`` too, and the handle says who decodes:

    DATA.DECODING_BACKEND   handle            decoded by   size of the frames
    torchvision             path (or bytes)   PyAV         short side as DATA's smallest scale
    pyav                    PyAV container    PyAV         as in the file
    torchcodec              TorchCodecClips   torchcodec   as in the file

Upstream resizes while decoding for torchvision alone, and its transforms rescale in any case.
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
from av.video.reformatter import VideoReformatter
from torch import Tensor

from slowfast_ac.data.video import VideoReader
from slowfast_ac.errors import InputError

# Seconds that a frame may begin outside of a span: containers round its time to ticks of their
# clock. This is half a tick of Matroska's, the coarsest in use, and a little for the arithmetic.
TIME_TOLERANCE = 0.00051


class PyAVClips(VideoReader):
    """Spans of a video, decoded by PyAV.

    Args:
        source: a path, the bytes of a file or an open PyAV container; closed in the end.
        short_side: resize the frames to it, smaller or larger, and keep their aspect; 0: do not.
    """

    def __init__(
        self, source: str | os.PathLike | bytes | av.container.InputContainer, short_side: int = 0
    ) -> None:
        super().__init__(io.BytesIO(source) if isinstance(source, bytes) else source)
        self.short_side = short_side
        # One for all frames: a new one costs more than the conversion of a small frame.
        self._reformatter = VideoReformatter()

    def read(self, start: float, end: float) -> tuple[float, Tensor]:
        """Decodes the frames with start <= time <= end or, if none, the one shown at ``start``.

        Returns:
            Seconds of the first frame, and the frames (T, H, W, 3), uint8 RGB.

        Raises:
            InputError: if there is no frame.
        """
        start, end = start - TIME_TOLERANCE, end + TIME_TOLERANCE
        times, frames = [], []
        for time, frame in self.frames(start, end, with_shown=True):
            times.append(time)
            frames.append(self._to_rgb(frame))
        if not frames:
            raise InputError(f"cannot read video {self.name}: no frame can be decoded")
        first = int(len(times) > 1 and times[0] < start)
        return times[first], torch.from_numpy(np.stack(frames[first:]))

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        width, height = frame.width, frame.height
        if self.short_side:
            scale = self.short_side / min(width, height)
            width, height = round(width * scale), round(height * scale)
        # The filter that torchvision's decoder resized with.
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA")
        return rgb.to_ndarray()


class TorchCodecClips:
    """Spans of a video, decoded by torchcodec.

    Args:
        path: the file.

    Raises:
        InputError: if torchcodec does not work here or cannot read the file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                "DATA.DECODING_BACKEND: torchcodec needs the package torchcodec and FFmpeg's "
                f"libraries: run pip install torchcodec, or choose pyav ({reason})"
            ) from error
        self.name = os.fspath(path)
        try:
            self._decoder = VideoDecoder(self.name, dimension_order="NHWC")
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"cannot read video {self.name}: {str(error).splitlines()[0]}"
            ) from error
        metadata = self._decoder.metadata
        self.fps = metadata.average_fps
        self._begin, self._end = metadata.begin_stream_seconds, metadata.end_stream_seconds

    def __enter__(self) -> "TorchCodecClips":
        return self

    def __exit__(self, *exception: object) -> None:
        del self._decoder

    @property
    def duration(self) -> float:
        """Seconds of video; torchcodec has read all packets to know it."""
        return self._end - self._begin

    def measure(self) -> float:
        """Returns ``duration``, which is measured already."""
        return self.duration

    def read(self, start: float, end: float) -> tuple[float, Tensor]:
        """Decodes a span; see :meth:`PyAVClips.read`."""
        start, end = start - TIME_TOLERANCE, end + TIME_TOLERANCE
        try:
            # torchcodec begins with the frame shown at the start.
            batch = self._decoder.get_frames_played_in_range(
                min(max(self._begin + start, self._begin), self._end - TIME_TOLERANCE),
                min(self._begin + end, self._end),
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(
                f"cannot read video {self.name}: {str(error).splitlines()[0]}"
            ) from error
        times = (batch.pts_seconds - self._begin).tolist()
        first = int(len(times) > 1 and times[0] < start)
        return times[first], batch.data[first:]


def torchvision_decode(
    decoder: ModuleType,
    video_handle: Path | bytes | av.container.InputContainer | TorchCodecClips,
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
    with _open(video_handle, max_spatial_scale) as reader:
        fps = meta.setdefault("video_fps", reader.fps)
        if "video_duration" not in meta:
            meta["video_duration"] = reader.duration
        clip_sizes = [
            np.maximum(1.0, rate * count / target_fps * fps)
            for rate, count in zip(sampling_rate, num_frames, strict=True)
        ]
        while fps * meta["video_duration"] > np.dot(sampling_rate, num_frames):
            spans = decoder.get_multiple_start_end_idx(
                fps * meta["video_duration"],
                clip_sizes,
                clip_idx,
                num_clips_uniform,
                min_delta=min_delta,
                max_delta=max_delta,
                use_offset=use_offset,
            )
            clips = [reader.read(start / fps, end / fps) for start, end, _ in spans]
            # A frame much before its clip may mean that the file ends before its header says.
            if any(
                time < span[0] / fps - 2 / fps for span, (time, _) in zip(spans, clips, strict=True)
            ):
                measured = reader.measure()
                if measured < meta["video_duration"] - 1 / fps:
                    meta["video_duration"] = measured
                    continue
            return [frames for _, frames in clips], fps, False, spans
        return [reader.read(0.0, math.inf)[1]], fps, True, None


def _open(video_handle, short_side: int) -> PyAVClips | TorchCodecClips:
    if isinstance(video_handle, TorchCodecClips):
        return video_handle
    return PyAVClips(video_handle, short_side)


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
        if backend == "torchcodec":
            return TorchCodecClips(path_to_vid)
        if backend == "torchvision":
            # The path and not the bytes: errors can name it, and nothing is read in vain.
            with open(path_to_vid, "rb"):
                return Path(path_to_vid)
        return upstream_container(path_to_vid, multi_thread_decode, backend)

    decoder.decode = decode
    decoder.torchvision_decode = functools.partial(torchvision_decode, decoder)
    video_container.get_video_container = get_video_container


def _is_installed(decoder: ModuleType) -> bool:
    return getattr(decoder.torchvision_decode, "func", None) is torchvision_decode


def install_wheel(decoder: ModuleType) -> None:
    """Has the wheel's ``pyav_decode`` say which video fails and why; a second call changes nothing.

    Args:
        decoder: the wheel's ``slowfast.datasets.decoder``, whose ``decode`` prints the message.
    """
    upstream = decoder.pyav_decode
    if hasattr(upstream, "__wrapped__"):
        return

    @functools.wraps(upstream)
    def pyav_decode(container, *args, **kwargs):
        name, streams = container.name, container.streams.video
        try:
            return upstream(container, *args, **kwargs)
        except Exception as error:
            if not streams:
                reason = "it has no video stream"
            elif isinstance(error, ZeroDivisionError):
                reason = "its header does not say how many frames it has; rewrite it as mp4"
            elif "need at least one array to stack" in str(error):
                reason = "no frame in the clip's span; it may be cut short"
            else:
                reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise InputError(f"cannot read video {name}: {reason}") from error
        finally:
            container.close()

    decoder.pyav_decode = pyav_decode
