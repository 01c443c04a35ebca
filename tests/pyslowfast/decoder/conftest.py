"""Videos of numbered frames, and modules for the decoder to mend: upstream's or a stand-in.

Every frame carries its number as ten bars, black or white. The stand-in has the contract that
upstream's ``decode`` has with its backends, and the wheel's own sampling.
"""

import importlib
import importlib.metadata
import importlib.util
import math
import os
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch

from slowfast_ac.pyslowfast.decoder import install

ALL_FRAMES = 100


def _numbered(number, height=16):
    bars = [255 * (number >> bit & 1) for bit in range(10)]
    row = np.repeat(np.array(bars, np.uint8), 8)
    return np.broadcast_to(row[None, :, None], (height, 80, 3)).copy()


def _numbers(frames):
    frames = np.asarray(frames)
    bars = frames.reshape(len(frames), frames.shape[1], 10, -1, 3).mean((1, 3, 4)) > 127
    return (bars << np.arange(10)).sum(1).tolist()


def _encode(path, count=ALL_FRAMES, fps=25, ticks=None, options=None, **codec_options):
    """Writes ``count`` frames by x264, B-frames and one key frame; ``ticks`` are milliseconds."""
    tick = 1 / Fraction(fps) if ticks is None else Fraction(1, 1000)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"g": "250", "bf": "3", **codec_options}
        )
        stream.width, stream.height, stream.pix_fmt = 80, 16, "yuv420p"
        stream.codec_context.time_base = tick
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(_numbered(number), format="rgb24")
            frame.pts, frame.time_base = number if ticks is None else ticks[number], tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _open_files():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.exists(link)]


def _load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _wheel_decoder():
    """The wheel's decoder module, fresh; it imports nothing of its package."""
    path = importlib.metadata.distribution("slowfast").locate_file("slowfast/datasets/decoder.py")
    return _load(path, "wheel_decoder")


def _stand_in():
    """Modules with the checkout's contract, both backends broken as there."""
    wheel = _wheel_decoder()
    decoder, video_container = ModuleType("decoder"), ModuleType("video_container")

    def get_multiple_start_end_idx(
        video_size, clip_sizes, clip_idx, num_clips_uniform, min_delta, max_delta, use_offset
    ):
        rows = []
        for size in clip_sizes:
            start, end = wheel.get_start_end_idx(video_size, size, clip_idx, num_clips_uniform)
            if use_offset and clip_idx >= 0:
                room = max(video_size - size, 0)
                start = room // 2
                if num_clips_uniform > 1:
                    start = clip_idx * (room // (num_clips_uniform - 1))
            rows.append((start, start + size - 1, 0.0))
        return np.sort(np.array(rows), axis=0)

    def decode(
        container,
        sampling_rate,
        num_frames,
        clip_idx=-1,
        num_clips_uniform=10,
        video_meta=None,
        target_fps=30,
        backend="pyav",
        max_spatial_scale=0,
        use_offset=False,
        min_delta=-math.inf,
        max_delta=math.inf,
    ):
        try:
            if backend == "pyav":
                decoder.pyav_decode(container, sampling_rate, num_frames, clip_idx)
            spans, fps, whole, times = decoder.torchvision_decode(
                container,
                sampling_rate,
                num_frames,
                clip_idx,
                video_meta,
                num_clips_uniform,
                target_fps,
                ("visual",),
                max_spatial_scale,
                use_offset=use_offset,
                min_delta=min_delta,
                max_delta=max_delta,
            )
        except Exception as error:
            print(f"Failed to decode by {backend} with exception: {error}")
            return None, None, None
        sizes = [
            max(1.0, r * n / target_fps * fps)
            for r, n in zip(sampling_rate, num_frames, strict=True)
        ]
        if whole:
            times = get_multiple_start_end_idx(
                len(spans[0]),
                sizes,
                clip_idx,
                num_clips_uniform,
                min_delta,
                max_delta,
                use_offset,
            )
            spans = spans * len(num_frames)
        clips = []
        for span, count, size, time in zip(spans, num_frames, sizes, times, strict=True):
            start, end = time[:2] if whole else (0, size - 1)
            clips.append(wheel.temporal_sampling(span, start, end, count))
        return clips, times, [None] * len(clips)

    def pyav_decode(container, sampling_rate, num_frames, clip_idx):
        return sampling_rate * (num_frames - 1)

    def broken_torchvision_decode(video_handle, *args, **kwargs):
        return decoder.io._probe_video_from_memory(video_handle)

    def get_video_container(path_to_vid, multi_thread_decode=False, backend="pyav"):
        if backend == "pyav":
            return av.open(path_to_vid)
        if backend == "torchvision":
            return Path(path_to_vid).read_bytes()
        raise NotImplementedError(f"Unknown backend {backend}")

    decoder.io = SimpleNamespace()
    decoder.get_multiple_start_end_idx = get_multiple_start_end_idx
    decoder.decode, decoder.pyav_decode = decode, pyav_decode
    decoder.torchvision_decode = broken_torchvision_decode
    video_container.get_video_container = get_video_container
    return decoder, video_container


@pytest.fixture
def checkout(upstream):
    """The checkout's modules as upstream wrote them, apart from those in use."""
    importlib.import_module("slowfast.datasets")
    source = (upstream.root / "slowfast/datasets/decoder.py").read_text()
    if "get_multiple_start_end_idx" not in source:
        pytest.skip("this checkout's decoder takes one clip per call: see test_older.py")
    return tuple(
        _load(upstream.root / f"slowfast/datasets/{name}.py", f"slowfast.datasets.fresh_{name}")
        for name in ("decoder", "video_container")
    )


@pytest.fixture(params=["stand-in", pytest.param("checkout", marks=pytest.mark.checkout)])
def broken(request):
    """The modules decoder and video_container with both backends broken."""
    if request.param == "stand-in":
        return _stand_in()
    return request.getfixturevalue("checkout")


@pytest.fixture
def modules(broken):
    install(*broken)
    return broken


def _decode(modules, path, backend="pyav", rate=(4,), count=(8,), clip_idx=-1, clips=10, **options):
    """Returns the numbers of each clip's frames and upstream's (start, end, delta) of the clips."""
    decoder, video_container = modules
    handle = video_container.get_video_container(str(path), False, backend)
    frames, times, _ = decoder.decode(
        handle,
        list(rate),
        list(count),
        clip_idx,
        clips,
        video_meta=options.pop("video_meta", {}),
        backend=backend,
        **options,
    )
    assert frames is not None
    return [_numbers(clip) for clip in frames], times


def _expected_clip(start, size, count, fps=25):
    """Frames of one clip: those of the whole video that begin in it, sampled as upstream does."""
    slack = 0.00051 * float(fps)
    first, last = math.ceil(start - slack), math.floor(start + size - 1 + slack)
    inside = np.arange(ALL_FRAMES)[max(first, 0) : last + 1]
    if not len(inside):
        inside = np.array([math.floor(start)])
    picks = torch.linspace(0, size - 1, count).clamp(0, len(inside) - 1).long()
    return inside[picks.numpy()].tolist()


@pytest.fixture(scope="session")
def encode():
    """Returns :func:`_encode`."""
    return _encode


@pytest.fixture(scope="session")
def open_files():
    """Returns :func:`_open_files`."""
    return _open_files


@pytest.fixture(scope="session")
def wheel_decoder():
    """Returns :func:`_wheel_decoder`."""
    return _wheel_decoder


@pytest.fixture(scope="session")
def decode():
    """Returns :func:`_decode`."""
    return _decode


@pytest.fixture(scope="session")
def expected_clip():
    """Returns :func:`_expected_clip`."""
    return _expected_clip


@pytest.fixture(scope="session")
def numbers():
    """Returns :func:`_numbers`."""
    return _numbers
