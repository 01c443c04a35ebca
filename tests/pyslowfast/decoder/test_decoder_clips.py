"""The clips of ``decode`` against a decode of the whole video."""

import math
import random
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from slowfast_ac.pyslowfast.decoder import install

FPS = {"24": 24, "25": 25, "29.97": Fraction(30000, 1001), "30": 30, "60": 60}
ALL_FRAMES = 100


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
@pytest.mark.parametrize("use_offset", [False, True], ids=["spread", "offset"])
@pytest.mark.parametrize("fps", list(FPS))
def test_uniform_clips_are_those_of_a_whole_decode(
    modules, tmp_path, fps, use_offset, backend, encode, decode, expected_clip
):
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
def test_random_clips_are_those_of_a_whole_decode(
    modules, tmp_path, name, encode, decode, expected_clip
):
    path = encode(tmp_path / name, g="30")
    random.seed(0)
    starts = set()
    for _ in range(20):
        got, times = decode(modules, path, target_fps=25)
        assert 0 <= times[0, 0] <= ALL_FRAMES - 32
        assert got == [expected_clip(times[0, 0], 32, 8)]
        starts.add(got[0][0])
    assert len(starts) > 10


def test_several_clips_a_video_keep_their_own_frames(
    modules, tmp_path, encode, decode, expected_clip
):
    path = encode(tmp_path / "v.mp4", g="30")
    random.seed(0)
    np.random.seed(0)
    for _ in range(10):
        got, times = decode(modules, path, rate=(2, 2), count=(8, 8), target_fps=25)
        assert got == [expected_clip(start, 16, 8) for start in times[:, 0]]


def test_distances_reach_the_placing_of_clips(modules, tmp_path, monkeypatch, encode, decode):
    path, place, asked = encode(tmp_path / "v.mp4"), modules[0].get_multiple_start_end_idx, {}

    def record(*args, **kwargs):
        asked.update(kwargs)
        return place(*args, **kwargs)

    monkeypatch.setattr(modules[0], "get_multiple_start_end_idx", record)
    decode(modules, path, rate=(1, 1), count=(8, 8), min_delta=2, max_delta=90, use_offset=True)
    assert asked == {"min_delta": 2, "max_delta": 90, "use_offset": True}


@pytest.mark.checkout
@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
def test_clips_of_several_keep_the_distance_asked_for(checkout, tmp_path, backend, encode, decode):
    install(*checkout)
    path = encode(tmp_path / "v.mp4", g="30")
    random.seed(0)
    for _ in range(10):
        _, times = decode(
            checkout, path, backend, (1, 1), (8, 8), target_fps=25, min_delta=5, max_delta=30
        )
        first, second = sorted(times[:, :2].tolist())
        assert 5 <= second[0] - first[1] <= 30


def test_frames_of_a_variable_rate_are_what_is_on_the_screen(modules, tmp_path, encode, decode):
    ticks = np.cumsum([0] + [20, 60] * 30 + [100, 20, 20] * 13)
    path = encode(tmp_path / "v.mkv", len(ticks), ticks=ticks.tolist())
    for index in range(5):
        got, times = decode(modules, path, clip_idx=index, clips=5)
        start, end = times[0, :2]
        assert end - start == pytest.approx(31)
        # At 30 frames a second, which DATA.SAMPLING_RATE counts in.
        instants = (math.ceil(start - 0.0153) + torch.linspace(0, 31, 8).long().numpy()) / 30
        last = math.floor(end + 0.0153) / 30
        expected = np.searchsorted(ticks / 1000, np.minimum(instants, last) + 5.1e-4, "right") - 1
        assert got == [expected.tolist()]


@pytest.mark.parametrize("backend", ["pyav", "torchvision"])
@pytest.mark.parametrize("num_frames", [1, 2, 20])
def test_a_video_shorter_than_its_clip_repeats_its_last_frame(
    modules, tmp_path, num_frames, backend, encode, decode
):
    path = encode(tmp_path / "v.mp4", num_frames)
    expected = np.linspace(0, 31, 8).astype(int).clip(0, num_frames - 1).tolist()
    for index in (-1, 0, 2):
        got, _ = decode(modules, path, backend, clip_idx=index, clips=3, target_fps=25)
        assert got == [expected]


def test_a_short_video_is_given_whole(modules, tmp_path, encode, numbers):
    path = encode(tmp_path / "v.mp4", 20)
    frames, fps, whole, times = modules[0].torchvision_decode(path, [4, 4], [8, 8], -1, {})
    assert (fps, whole, times) == (25, True, None)
    assert [numbers(video) for video in frames] == [list(range(20))]


@pytest.mark.parametrize("options", [None, {"movflags": "frag_keyframe+empty_moov"}])
def test_only_the_span_is_kept_even_without_a_duration(modules, tmp_path, options, encode, numbers):
    path = encode(tmp_path / ("v.mp4" if options else "v.mkv"), options=options, g="10")
    frames, fps, whole, times = modules[0].torchvision_decode(path, [2], [8], 4, {}, 5, 25)
    assert (fps, whole) == (25, False)
    # 100 frames, clips of 16: (100 - 16) * 4 / 5 = 67.2.
    assert times[0, :2] == pytest.approx([67.2, 82.2])
    assert numbers(frames[0]) == list(range(68, 83))


def test_a_path_its_bytes_and_its_container_give_the_same(modules, tmp_path, encode):
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


def test_the_duration_is_kept_for_the_next_call(modules, tmp_path, encode, decode):
    path, meta = encode(tmp_path / "v.mkv"), {}
    decode(modules, path, clip_idx=0, video_meta=meta)
    assert meta == {"video_fps": 25.0, "video_duration": 4.0}
    # A duration that is kept is not looked up again: half of it moves the clips.
    meta["video_duration"] = 2.0
    _, times = decode(modules, path, clip_idx=1, clips=2, video_meta=meta, target_fps=25)
    assert times[0, 0] == (50 - 32) / 2


def test_a_file_that_ends_before_its_header_says_is_sampled_where_it_has_frames(
    modules, tmp_path, encode, decode, expected_clip
):
    path = encode(tmp_path / "v.mp4")
    meta = {"video_fps": 25.0, "video_duration": 40.0}
    got, times = decode(modules, path, clip_idx=8, clips=10, video_meta=meta, target_fps=25)
    start = (100 - 32) * 8 / 10
    assert times[0, 0] == pytest.approx(start)
    assert got == [expected_clip(start, 32, 8)]
