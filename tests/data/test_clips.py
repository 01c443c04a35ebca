"""Clips agree with those of PySlowFast's own data set, and odd videos are handled."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from slowfast_ac.data.clips import CROPS, read_clip, read_clips, to_pathways
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.sampling import Span
from slowfast_ac.data.video import VideoReader, probe, write_video
from slowfast_ac.errors import InputError

PREPROCESSING = Preprocessing(
    num_frames=8, sampling_rate=4, alpha=4, crop_size=32, mean=(0.45,) * 3, std=(0.225,) * 3
)


def images(count, height=40, width=64):
    """Images whose brightness is their number: 5 grey levels a frame survive H.264."""
    return [np.full((height, width, 3), 5 * number, np.uint8) for number in range(count)]


def numbers(frames):
    return np.rint(frames[..., 1].mean(axis=(1, 2)) / 5).astype(int).tolist()


@pytest.fixture
def video(tmp_path):
    def make(count, fps=30, height=40, width=64, name="clip.mp4"):
        write_video(tmp_path / name, images(count, height, width), fps)
        return tmp_path / name

    return make


def write_at(path, ticks, rate=30, time_base=Fraction(1, 600)):
    """Writes frames at the given ticks, so that the frame rate can vary."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 40, "yuv420p"
        stream.codec_context.time_base = time_base
        for tick, image in zip(ticks, images(len(ticks)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(("count", "height", "width"), [(94, 36, 64), (94, 64, 36), (20, 32, 32)])
@pytest.mark.parametrize("arch", ["slowfast", "slow"])
def test_views_equal_those_of_pyslowfasts_test_data_set(
    upstream, video, tmp_path, count, height, width, arch, whole_clips
):
    from slowfast.config.defaults import get_cfg
    from slowfast.datasets.kinetics import Kinetics

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (count, height // 4, width // 4, 3)).astype(np.uint8)
    path = tmp_path / "noise.mp4"
    write_video(path, noise.repeat(4, axis=1).repeat(4, axis=2), 30)
    (tmp_path / "test.csv").write_text(f"{path} 0\n")
    cfg = get_cfg()
    cfg.merge_from_list(
        ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.ARCH", arch, "SLOWFAST.ALPHA", 4]
        + ["DATA.NUM_FRAMES", 16, "DATA.SAMPLING_RATE", 4, "DATA.TEST_CROP_SIZE", 32]
        + ["DATA.MEAN", [0.4, 0.45, 0.5], "DATA.STD", [0.2, 0.25, 0.3]]
        + ["TEST.NUM_ENSEMBLE_VIEWS", 5, "TEST.NUM_SPATIAL_CROPS", 3]
    )
    if upstream.kind == "checkout":
        # The other backends let the decoder resize the frames.
        cfg.DATA.DECODING_BACKEND = "pyav"
    theirs = Kinetics(cfg, "test")
    preprocessing = Preprocessing.from_config(cfg)
    whole = Span(0.0, probe(path).duration)
    for view, (_, clip) in enumerate(read_clips(path, preprocessing, [whole], 5)):
        ours = to_pathways(clip.frames, preprocessing, *CROPS)
        for number in range(len(CROPS)):
            expected = theirs[3 * view + number][0]
            assert len(ours) == len(expected) == (2 if arch == "slowfast" else 1)
            for pathway, other in zip(ours, expected, strict=True):
                assert torch.equal(pathway[number], other)


@pytest.mark.parametrize("fps", [12, 25, 29.97, 60])
@pytest.mark.parametrize("num_clips", [1, 3])
def test_frames_are_those_of_the_wheels_decoder_at_any_frame_rate(upstream, video, fps, num_clips):
    if upstream.kind != "wheel":
        pytest.skip("the checkout's decoder ends a clip one frame earlier at fractional starts")
    from slowfast.datasets import decoder
    from slowfast.datasets.video_container import get_video_container

    path = video(31, fps=fps)
    whole = Span(0.0, probe(path).duration)
    for number, (_, clip) in enumerate(read_clips(path, PREPROCESSING, [whole], num_clips)):
        expected = decoder.decode(get_video_container(path), 4, 8, number, num_clips, {}, 30)
        assert np.array_equal(clip.frames, expected.numpy())


def test_times_are_those_of_the_frames(video):
    path = video(31, fps=25)
    with VideoReader(path) as reader:
        times = {number: time for number, (time, _) in enumerate(reader.frames())}
    clip = read_clip(path, PREPROCESSING, 0.1)
    assert clip.times.tolist() == [times[number] for number in numbers(clip.frames)]
    assert clip.times[0] == pytest.approx(0.12)


def test_one_pass_over_the_video_serves_all_clips(video, monkeypatch, clips_at):
    path = video(31)
    starts = [0.0, 0.2, 0.2, 0.5]
    single = [read_clip(path, PREPROCESSING, start) for start in starts]
    passes = []
    original = VideoReader._decode

    def decode(*args):
        passes.append(args)
        return original(*args)

    monkeypatch.setattr(VideoReader, "_decode", decode)
    together = clips_at(path, PREPROCESSING, starts)
    assert len(passes) == 1
    for one, other in zip(single, together, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.times, other.times)


def test_without_a_start_the_clip_is_in_the_middle(video):
    path = video(31)
    fast = Preprocessing(8, 2, None, 32, (0.45,) * 3, (0.225,) * 3)
    first = numbers(read_clip(path, fast).frames)
    assert first == numbers(read_clip(path, fast, 8 / 30).frames)
    assert first[0] == 8


def test_the_last_frame_stands_in_for_what_a_short_video_lacks(video):
    assert numbers(read_clip(video(10), PREPROCESSING, 0.0).frames) == [0, 4, 8, 9, 9, 9, 9, 9]


def test_a_video_of_one_frame_is_a_clip_of_that_frame(video):
    path = video(1)
    for start in (None, 0.0):
        clip = read_clip(path, PREPROCESSING, start)
        assert numbers(clip.frames) == [0] * 8
        assert clip.times.tolist() == [0.0] * 8
    views = list(read_clips(path, PREPROCESSING, [Span(0.0, probe(path).duration)], 3))
    assert [clip.times[0] for _, clip in views] == [0.0, 0.0, 0.0]


def test_a_varying_frame_rate_keeps_true_times(tmp_path):
    ticks = [0, 20, 25, 31, 90, 100, 140, 180, 200, 220, 240, 260, 400, 410]
    write_at(tmp_path / "vfr.mp4", ticks)
    clip = read_clip(tmp_path / "vfr.mp4", PREPROCESSING, 0.0)
    assert np.allclose(clip.times, [ticks[number] / 600 for number in numbers(clip.frames)])
    assert (np.diff(clip.times) >= 0).all()


def test_a_clip_of_no_constant_rate_has_what_is_on_the_screen(tmp_path):
    ticks = np.array([120 * n for n in range(10)] + [1200 + 10 * n for n in range(40)])
    write_at(tmp_path / "vfr.mp4", ticks)
    clip = read_clip(tmp_path / "vfr.mp4", PREPROCESSING, 0.0)
    instants = np.linspace(0, 31, 8).astype(int) / 30
    expected = np.searchsorted(ticks / 600, instants + 1e-9, side="right") - 1
    assert numbers(clip.frames) == expected.tolist()
    assert np.allclose(clip.times, ticks[expected] / 600)


@pytest.mark.parametrize("start", [0.0, 2.13, 4.9, 5.0, 12.0, 17.0])
def test_a_slide_is_shown_as_long_as_it_stays(tmp_path, start):
    ticks = [0, 3000, 6000, 9000]
    write_at(tmp_path / "slides.mp4", ticks)
    # The last slide's own length is not written, so it is that of the others.
    clip = read_clip(tmp_path / "slides.mp4", PREPROCESSING, start)
    instants = start + np.linspace(0, 31, 8).astype(int) / 30
    shown = (np.floor(instants * 30 + 1e-6) / 30 // 5).clip(0, 3).astype(int)
    later = (np.ceil(instants * 30 - 1e-6) / 30 // 5).clip(0, 3).astype(int)
    assert all(a <= n <= b for a, n, b in zip(shown, numbers(clip.frames), later, strict=True))


def test_a_start_that_misses_its_frame_by_rounding_takes_it(video):
    path = video(31)
    for number in range(20):
        clip = read_clip(path, PREPROCESSING, np.nextafter(number / 30, 9) + 1e-6)
        assert numbers(clip.frames)[0] == number


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "cannot read video .*bad.mp4"), (b"no video at all" * 99, "cannot read .*bad.mp4")],
)
def test_a_bad_file_is_named(tmp_path, content, match):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=match):
        read_clip(path, PREPROCESSING, 0.0)


def test_a_start_after_the_end_is_named(video):
    with pytest.raises(InputError, match=r"clip.mp4: it has no frame at or after 7 s"):
        read_clip(video(10), PREPROCESSING, 7.0)


def test_spans_come_in_order_of_their_clips_and_with_their_number(video):
    spans = [Span(0.5, 1.0), Span(0.0, 0.3), Span(0.2, 0.9)]
    fast = Preprocessing(4, 2, None, 32, (0.45,) * 3, (0.225,) * 3)
    read = list(read_clips(video(31), fast, spans, 2))
    assert [number for number, _ in read] == [1, 1, 2, 2, 0, 0]
    for number, clip in read:
        assert spans[number].start - 1e-6 <= clip.times[0] < spans[number].end


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(40, 64, (32, 51)), (64, 40, (51, 32)), (32, 33, (32, 33))]
)
def test_without_a_crop_the_whole_frame_stays(height, width, expected):
    slow, fast = to_pathways(np.zeros((8, height, width, 3), np.uint8), PREPROCESSING)
    assert slow.shape == (1, 3, 2, *expected)
    assert fast.shape == (1, 3, 8, *expected)


def test_reversed_channels_are_normalised_before_they_are_reversed():
    frames = np.zeros((8, 32, 32, 3), np.uint8)
    frames[..., 0] = 255
    preprocessing = Preprocessing(
        8, 4, None, 32, (0.5, 0.0, 0.0), (0.25, 1.0, 1.0), reverse_input_channel=True
    )
    (clip,) = to_pathways(frames, preprocessing)
    assert clip[0, :, 0, 0, 0].tolist() == [0.0, 0.0, 2.0]


def test_preprocessing_survives_json():
    assert Preprocessing.from_dict(json.loads(json.dumps(PREPROCESSING.to_dict()))) == PREPROCESSING


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"alhpa": 4}, "alhpa is not known"),
        ({"num_frames": 0}, "num_frames 0 is not positive"),
        ({"alpha": 9}, "alpha 9"),
        ({"mean": [0.45]}, "mean .* needs 3 numbers"),
    ],
)
def test_bad_preprocessing_is_named(change, match):
    with pytest.raises(InputError, match=match):
        Preprocessing.from_dict({**PREPROCESSING.to_dict(), **change})


def test_a_missing_field_is_named():
    data = PREPROCESSING.to_dict()
    del data["crop_size"]
    with pytest.raises(InputError, match="crop_size is missing"):
        Preprocessing.from_dict(data)


def test_an_unknown_crop_is_named():
    with pytest.raises(InputError, match="'top' is not one of left, center, right"):
        to_pathways(np.zeros((8, 40, 40, 3), np.uint8), PREPROCESSING, "top")


def test_no_clips_are_refused(video):
    with pytest.raises(InputError, match="number of clips: 0"):
        list(read_clips(video(10), PREPROCESSING, [Span(0.0, 0.3)], 0))
