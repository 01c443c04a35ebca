"""The decoder against a decode of the whole video, with upstream's ``decode`` or a stand-in.

Every frame of the videos carries its number as ten bars, black or white. The stand-in has the
contract that upstream's ``decode`` has with its backends, and the wheel's own sampling.
"""

import importlib
import importlib.metadata
import importlib.util
import math
import os
import random
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.decoder import install, install_wheel, is_needed

FPS = {"24": 24, "25": 25, "29.97": Fraction(30000, 1001), "30": 30, "60": 60}
ALL_FRAMES = 100


def numbered(number, height=16):
    bars = [255 * (number >> bit & 1) for bit in range(10)]
    row = np.repeat(np.array(bars, np.uint8), 8)
    return np.broadcast_to(row[None, :, None], (height, 80, 3)).copy()


def numbers(frames):
    frames = np.asarray(frames)
    bars = frames.reshape(len(frames), frames.shape[1], 10, -1, 3).mean((1, 3, 4)) > 127
    return (bars << np.arange(10)).sum(1).tolist()


def encode(path, count=ALL_FRAMES, fps=25, ticks=None, options=None, **codec_options):
    """Writes ``count`` frames by x264, B-frames and one key frame; ``ticks`` are milliseconds."""
    tick = 1 / Fraction(fps) if ticks is None else Fraction(1, 1000)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"g": "250", "bf": "3", **codec_options}
        )
        stream.width, stream.height, stream.pix_fmt = 80, 16, "yuv420p"
        stream.codec_context.time_base = tick
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = number if ticks is None else ticks[number], tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def open_files():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.exists(link)]


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel_decoder():
    """The wheel's decoder module, fresh; it imports nothing of its package."""
    path = importlib.metadata.distribution("slowfast").locate_file("slowfast/datasets/decoder.py")
    return load(path, "wheel_decoder")


def stand_in():
    """Modules with the checkout's contract, both backends broken as there."""
    wheel = wheel_decoder()
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
    return tuple(
        load(upstream.root / f"slowfast/datasets/{name}.py", f"slowfast.datasets.fresh_{name}")
        for name in ("decoder", "video_container")
    )


@pytest.fixture(params=["stand-in", pytest.param("checkout", marks=pytest.mark.checkout)])
def broken(request):
    """The modules decoder and video_container with both backends broken."""
    if request.param == "stand-in":
        return stand_in()
    return request.getfixturevalue("checkout")


@pytest.fixture
def modules(broken):
    install(*broken)
    return broken


def decode(modules, path, backend="pyav", rate=(4,), count=(8,), clip_idx=-1, clips=10, **options):
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
    return [numbers(clip) for clip in frames], times


def expected_clip(start, size, count, fps=25):
    """Frames of one clip: those of the whole video that begin in it, sampled as upstream does."""
    slack = 0.00051 * float(fps)
    first, last = math.ceil(start - slack), math.floor(start + size - 1 + slack)
    inside = np.arange(ALL_FRAMES)[max(first, 0) : last + 1]
    if not len(inside):
        inside = np.array([math.floor(start)])
    picks = torch.linspace(0, size - 1, count).clamp(0, len(inside) - 1).long()
    return inside[picks.numpy()].tolist()


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
@pytest.mark.parametrize("use_offset", [False, True], ids=["spread", "offset"])
@pytest.mark.parametrize("fps", list(FPS))
def test_uniform_clips_are_those_of_a_whole_decode(modules, tmp_path, fps, use_offset, backend):
    path = encode(tmp_path / "v.mp4", fps=FPS[fps])
    # torchvision's decoder resizes; the bars survive it.
    scale = {"max_spatial_scale": 16}
    for rate, count, clips in ((4, 8, 10), (4, 8, 3), (2, 16, 2), (1, 8, 1), (1, 1, 5)):
        size = max(1.0, rate * count / 30 * float(FPS[fps]))
        room = max(ALL_FRAMES - size, 0)
        for index in range(clips):
            if not use_offset:
                start = room * index / clips
            elif clips == 1:
                start = math.floor(room / 2)
            else:
                start = index * math.floor(room / (clips - 1))
            got, times = decode(
                modules,
                path,
                backend,
                (rate,),
                (count,),
                index,
                clips,
                use_offset=use_offset,
                target_fps=30,
                **scale,
            )
            assert times[0, :2] == pytest.approx([start, start + size - 1])
            assert got == [expected_clip(start, size, count, FPS[fps])]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts", "v.h264"])
def test_random_clips_are_those_of_a_whole_decode(modules, tmp_path, name):
    path = encode(tmp_path / name, g="30")
    random.seed(0)
    starts = set()
    for _ in range(20):
        got, times = decode(modules, path, target_fps=25)
        assert 0 <= times[0, 0] <= ALL_FRAMES - 32
        assert got == [expected_clip(times[0, 0], 32, 8)]
        starts.add(got[0][0])
    assert len(starts) > 10


def test_several_clips_a_video_keep_their_own_frames(modules, tmp_path):
    path = encode(tmp_path / "v.mp4", g="30")
    random.seed(0)
    np.random.seed(0)
    for _ in range(10):
        got, times = decode(modules, path, rate=(2, 2), count=(8, 8), target_fps=25)
        assert got == [expected_clip(start, 16, 8) for start in times[:, 0]]


def test_distances_reach_the_placing_of_clips(modules, tmp_path, monkeypatch):
    path, place, asked = encode(tmp_path / "v.mp4"), modules[0].get_multiple_start_end_idx, {}

    def record(*args, **kwargs):
        asked.update(kwargs)
        return place(*args, **kwargs)

    monkeypatch.setattr(modules[0], "get_multiple_start_end_idx", record)
    decode(modules, path, rate=(1, 1), count=(8, 8), min_delta=2, max_delta=90, use_offset=True)
    assert asked == {"min_delta": 2, "max_delta": 90, "use_offset": True}


@pytest.mark.checkout
@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
def test_clips_of_several_keep_the_distance_asked_for(checkout, tmp_path, backend):
    install(*checkout)
    path = encode(tmp_path / "v.mp4", g="30")
    random.seed(0)
    for _ in range(10):
        _, times = decode(
            checkout, path, backend, (1, 1), (8, 8), target_fps=25, min_delta=5, max_delta=30
        )
        first, second = sorted(times[:, :2].tolist())
        assert 5 <= second[0] - first[1] <= 30


def test_frames_of_a_variable_rate_are_chosen_by_their_times(modules, tmp_path):
    ticks = np.cumsum([0] + [20, 60] * 30 + [100, 20, 20] * 13)
    path = encode(tmp_path / "v.mkv", len(ticks), ticks=ticks.tolist())
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
    size = 4 * 8 / 30 * fps
    for index in range(5):
        got, times = decode(modules, path, clip_idx=index, clips=5)
        start, end = times[0, :2] / fps
        inside = np.flatnonzero((ticks / 1000 >= start - 5.1e-4) & (ticks / 1000 <= end + 5.1e-4))
        picks = torch.linspace(0, size - 1, 8).clamp(0, len(inside) - 1).long()
        assert got == [inside[picks.numpy()].tolist()]


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
@pytest.mark.parametrize("num_frames", [1, 2, 20])
def test_a_video_shorter_than_its_clip_repeats_its_last_frame(
    modules, tmp_path, num_frames, backend
):
    path = encode(tmp_path / "v.mp4", num_frames)
    expected = np.linspace(0, 31, 8).astype(int).clip(0, num_frames - 1).tolist()
    for index in (-1, 0, 2):
        got, _ = decode(modules, path, backend, clip_idx=index, clips=3, target_fps=25)
        assert got == [expected]


def test_a_short_video_is_given_whole(modules, tmp_path):
    path = encode(tmp_path / "v.mp4", 20)
    frames, fps, whole, times = modules[0].torchvision_decode(path, [4, 4], [8, 8], -1, {})
    assert (fps, whole, times) == (25, True, None)
    assert [numbers(video) for video in frames] == [list(range(20))]


@pytest.mark.parametrize("options", [None, {"movflags": "frag_keyframe+empty_moov"}])
def test_only_the_span_is_kept_even_without_a_duration(modules, tmp_path, options):
    path = encode(tmp_path / ("v.mp4" if options else "v.mkv"), options=options, g="10")
    frames, fps, whole, times = modules[0].torchvision_decode(path, [2], [8], 4, {}, 5, 25)
    assert (fps, whole) == (25, False)
    # 100 frames, clips of 16: (100 - 16) * 4 / 5 = 67.2.
    assert times[0, :2] == pytest.approx([67.2, 82.2])
    assert numbers(frames[0]) == list(range(68, 83))


def test_a_path_its_bytes_and_its_container_give_the_same(modules, tmp_path):
    path = encode(tmp_path / "v.mp4")
    spans = [
        modules[0].torchvision_decode(handle, [2], [8], 1, {}, 5)[0][0]
        for handle in (path, path.read_bytes(), av.open(str(path)))
    ]
    assert torch.equal(spans[0], spans[1]) and torch.equal(spans[0], spans[2])


@pytest.mark.parametrize("size", [(80, 16), (16, 80), (50, 36)])
@pytest.mark.parametrize("scale", [8, 24])
def test_only_torchvision_resizes_to_the_short_side(modules, tmp_path, size, scale):
    width, height = size
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        image = np.full((height, width, 3), 90, np.uint8)
        for _ in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    shapes = {}
    for backend in ("pyav", "torchvision"):
        handle = modules[1].get_video_container(str(path), False, backend)
        clips, _, _ = modules[0].decode(
            handle, [1], [8], video_meta={}, backend=backend, max_spatial_scale=scale
        )
        shapes[backend] = tuple(clips[0].shape)
        assert (clips[0].float() - 90).abs().max() <= 4
    factor = scale / min(size)
    assert shapes["pyav"] == (8, height, width, 3)
    assert shapes["torchvision"] == (8, round(height * factor), round(width * factor), 3)


def test_the_duration_is_kept_for_the_next_call(modules, tmp_path):
    path, meta = encode(tmp_path / "v.mkv"), {}
    decode(modules, path, clip_idx=0, video_meta=meta)
    assert meta == {"video_fps": 25.0, "video_duration": 4.0}
    # A duration that is kept is not looked up again: half of it moves the clips.
    meta["video_duration"] = 2.0
    _, times = decode(modules, path, clip_idx=1, clips=2, video_meta=meta, target_fps=25)
    assert times[0, 0] == (50 - 32) / 2


def test_a_file_that_ends_before_its_header_says_is_sampled_where_it_has_frames(modules, tmp_path):
    path = encode(tmp_path / "v.mp4")
    meta = {"video_fps": 25.0, "video_duration": 40.0}
    got, times = decode(modules, path, clip_idx=8, clips=10, video_meta=meta, target_fps=25)
    assert meta["video_duration"] == 4.0
    start = (100 - 32) * 8 / 10
    assert times[0, 0] == pytest.approx(start)
    assert got == [expected_clip(start, 32, 8)]


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
def test_what_upstream_prints_names_the_video_and_the_reason(modules, tmp_path, capsys, backend):
    path = encode(tmp_path / "damaged.mp4", options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        start = min(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    path.write_bytes(path.read_bytes()[:start] + bytes(2000))
    handle = modules[1].get_video_container(str(path), False, backend)
    result = modules[0].decode(handle, [4], [8], video_meta={}, backend=backend)
    assert result == (None, None, None)
    assert f"cannot read video {path}: Invalid data found" in capsys.readouterr().out


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
def test_a_text_file_is_named_by_either_step(modules, tmp_path, capsys, backend):
    path = tmp_path / "text.mp4"
    path.write_text("not a video\n" * 100)
    try:
        handle = modules[1].get_video_container(str(path), False, backend)
    except Exception as error:
        assert "Invalid data found" in str(error) and str(path) in str(error)
        return
    assert modules[0].decode(handle, [4], [8], video_meta={}, backend=backend)[0] is None
    assert f"cannot read video {path}: Invalid data found" in capsys.readouterr().out


def test_a_missing_file_fails_where_upstream_expects_it(modules, tmp_path):
    for backend in ("pyav", "torchvision"):
        with pytest.raises(FileNotFoundError, match="none.mp4"):
            modules[1].get_video_container(str(tmp_path / "none.mp4"), False, backend)


def test_no_file_stays_open(modules, tmp_path):
    path = encode(tmp_path / "v.mp4")
    for backend in ("pyav", "torchvision"):
        handle = modules[1].get_video_container(str(path), False, backend)
        clips, _, _ = modules[0].decode(handle, [1], [8], video_meta={}, backend=backend)
        assert len(clips[0]) == 8
        assert str(path) not in open_files()


def test_the_repair_is_needed_until_it_is_installed_and_once_is_enough(broken):
    decoder, video_container = broken
    assert is_needed(decoder)
    install(decoder, video_container)
    assert not is_needed(decoder)
    mended = decoder.decode, decoder.torchvision_decode, video_container.get_video_container
    install(decoder, video_container)
    again = decoder.decode, decoder.torchvision_decode, video_container.get_video_container
    assert all(first is second for first, second in zip(mended, again, strict=True))


def test_the_repair_is_not_needed_where_both_backends_work_or_for_the_wheel(broken):
    decoder, _ = broken
    decoder.io = SimpleNamespace(_probe_video_from_memory=len)
    assert is_needed(decoder)
    decoder.pyav_decode = lambda *args: decoder.get_multiple_start_end_idx(*args)
    assert not is_needed(decoder)
    decoder.io = SimpleNamespace()
    assert is_needed(decoder)
    assert not is_needed(wheel_decoder())


def test_torchcodec_that_is_missing_is_named_with_its_key_and_command(
    modules, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    path = encode(tmp_path / "v.mp4", 2)
    with pytest.raises(
        InputError, match="DATA.DECODING_BACKEND: torchcodec .* pip install torchcodec"
    ):
        modules[1].get_video_container(str(path), False, "torchcodec")


def test_other_backends_stay_unknown(modules, tmp_path):
    with pytest.raises(NotImplementedError, match="decord"):
        modules[1].get_video_container(str(tmp_path / "v.mp4"), False, "decord")


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
@pytest.mark.parametrize("fps", ["25", "29.97"])
def test_torchcodec_gives_the_frames_of_pyav(modules, tmp_path, fps, name):
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError):
        pytest.skip("needs torchcodec and FFmpeg")
    path = encode(tmp_path / name, fps=FPS[fps])
    for rate, count, clips in ((4, 8, 5), (1, 1, 3), (1, 8, 4), (16, 16, 2)):
        for index in range(clips):
            pyav, torchcodec = (
                decode(modules, path, backend, (rate,), (count,), index, clips)
                for backend in ("pyav", "torchcodec")
            )
            assert pyav[0] == torchcodec[0]
            # torchcodec counts a video's fps, a header may round it.
            np.testing.assert_allclose(pyav[1], torchcodec[1], rtol=1e-3)


def test_the_wheel_decodes_the_same_frames_as_before(tmp_path):
    path = encode(tmp_path / "v.mp4")
    plain, wrapped = wheel_decoder(), wheel_decoder()
    install_wheel(wrapped)
    install_wheel(wrapped)
    assert wrapped.pyav_decode.__wrapped__.__name__ == "pyav_decode"
    assert not hasattr(wrapped.pyav_decode.__wrapped__, "__wrapped__")
    for index in range(3):
        clips = [
            module.decode(av.open(str(path)), 4, 8, index, 3, target_fps=25)
            for module in (plain, wrapped)
        ]
        assert torch.equal(*clips)


@pytest.mark.parametrize(
    "name, index, reason",
    [
        ("audio.wav", 0, "it has no video stream"),
        ("v.ts", 0, "its header does not say how many frames it has"),
        ("late.mp4", 9, "no frame in the clip's span"),
        ("damaged.mp4", 0, "Invalid data found"),
    ],
)
def test_the_wheel_names_the_video_and_the_reason(tmp_path, capsys, name, index, reason):
    path = tmp_path / name
    if name == "audio.wav":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    elif name == "damaged.mp4":
        encode(path, options={"movflags": "faststart"})
        with av.open(str(path)) as container:
            start = min(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
        path.write_bytes(path.read_bytes()[:start] + bytes(2000))
    elif name == "late.mp4":
        # Fewer frames than the header says: the last ones are cut off.
        encode(path, options={"movflags": "faststart"}, g="1", bf="0")
        with av.open(str(path)) as container:
            positions = [packet.pos for packet in container.demux(video=0) if packet.pos]
        path.write_bytes(path.read_bytes()[: positions[20]])
    else:
        encode(path)
    module = wheel_decoder()
    install_wheel(module)
    container = av.open(str(path))
    assert module.decode(container, 1, 4, index, 10, target_fps=25) is None
    printed = capsys.readouterr().out
    assert f"cannot read video {path}: {reason}" in printed
    assert str(path) not in open_files()
