"""Features are the input of the head in PySlowFast's own network, at the written times."""

import argparse
import json
import re
import shutil

import numpy as np
import pytest
import torch

from slowfast_ac.cli import features as features_command
from slowfast_ac.data.clips import read_clips, to_pathways
from slowfast_ac.data.video import write_video
from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.inference import features as features_module
from slowfast_ac.inference.features import extract_features
from slowfast_ac.inference.features import write_features as write
from slowfast_ac.inference.load import TrainedModel, load_model
from slowfast_ac.inference.predict import predict

SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "slow", "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4, "MODEL.LOSS_FUNC", "cross_entropy"),
)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 2.4 s, 72 frames of 96 x 80 at 30 a second; a bar moves over noise."""
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 160, (1, 80, 96, 3), dtype=np.uint8), 72, axis=0)
    for time, frame in enumerate(frames):
        frame[:, time : time + 20] = 255
    path = tmp_path_factory.mktemp("features") / "bar.mp4"
    write_video(path, frames, 30)
    return str(path)


@pytest.fixture
def trained(build_model, tiny_cfg, tmp_path):
    """Returns a function: config keys and values -> PySlowFast's network and its checkpoint."""

    def make(*opts):
        # A clip of 8 x 3 frames is 0.8 s.
        cfg = tiny_cfg("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 3, *opts)
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        path = tmp_path / "trained.pyth"
        torch.save({"model_state": model.state_dict(), "cfg": cfg.dump()}, path)
        return model, path

    return make


@pytest.mark.parametrize("opts", [(), SLOW], ids=["SlowFastAC", "Slow"])
def test_maps_are_the_input_of_pyslowfasts_head(trained, video, opts):
    model, path = trained(*opts)
    predictor = load_model(path)
    features = extract_features(predictor, video, maps=True)
    assert features.windows == [pytest.approx(pair) for pair in ((0, 0.8), (0.8, 1.6), (1.6, 2.4))]
    names = ["slow"] if opts else ["slow", "fast"]
    assert list(features.streams) == names
    for number, window in enumerate(features.windows):
        ((_, clip),) = read_clips(video, predictor.preprocessing, [window], crops=["center"])
        np.testing.assert_array_equal(features.frames[number], clip.times)
        inputs = []
        handle = model.head.register_forward_pre_hook(
            lambda _, args, inputs=inputs: inputs.extend(args[0])
        )
        with torch.no_grad():
            model(to_pathways(clip.frames, predictor.preprocessing, "center"))
        handle.remove()
        for name, expected in zip(names, inputs, strict=True):
            scale = expected.abs().max()
            ours = torch.from_numpy(features.streams[name][number])
            torch.testing.assert_close(ours / scale, expected[0] / scale, rtol=1e-3, atol=1e-5)
    assert not np.allclose(features.streams["slow"][0], features.streams["slow"][1])


def test_averages_are_those_of_the_maps(trained, video):
    predictor = load_model(trained()[1])
    maps = extract_features(predictor, video, maps=True, stride=0.5).streams
    averages = extract_features(predictor, video, stride=0.5).streams
    for name, channels, frames in (("slow", 256, 2), ("fast", 32, 8)):
        assert maps[name].shape == (5, channels, frames, 2, 2)
        np.testing.assert_allclose(averages[name], maps[name].mean(axis=(2, 3, 4)), rtol=1e-4)
        assert averages[name].dtype == np.float32


def test_classifying_the_averages_gives_the_scores(trained, video):
    model, path = trained()
    predictor = load_model(path)
    features = extract_features(predictor, video)
    streams = features.streams
    pooled = torch.from_numpy(np.concatenate([streams["slow"], streams["fast"]], axis=1))
    with torch.no_grad():
        scores = model.head.projection(pooled).softmax(dim=1)
    ((_, clip),) = read_clips(
        video, predictor.preprocessing, [features.windows[0]], crops=["center"]
    )
    expected = predictor.scores(to_pathways(clip.frames, predictor.preprocessing, "center"))
    torch.testing.assert_close(scores[:1], expected, rtol=1e-3, atol=1e-5)


def test_the_clip_is_in_the_middle_of_its_window(trained, video):
    features = extract_features(load_model(trained()[1]), video, window=2.0, stride=0.4)
    assert [(w.start, w.end) for w in features.windows] == [
        pytest.approx(pair) for pair in ((0.0, 2.0), (0.4, 2.4))
    ]
    np.testing.assert_allclose(features.frames[:, 0], [0.6, 1.0], atol=1e-3)


def run(*words):
    parser = argparse.ArgumentParser()
    features_command.add_arguments(parser)
    return features_command.main(parser.parse_args([str(word) for word in words]))


def test_the_command_writes_arrays_and_their_times(trained, video, tmp_path, capsys):
    _, path = trained()
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    output = tmp_path / "out"
    assert run(path, bad, video, "--output", output) == 1
    captured = capsys.readouterr()
    assert "bad.mp4" in captured.err
    assert captured.out == f"{output}/bar: slow [3, 256], fast [3, 32]\n"
    assert sorted(p.name for p in output.iterdir()) == [
        *("bar.fast.npy", "bar.json", "bar.slow.npy", "videos.jsonl")
    ]
    expected = extract_features(load_model(path), video)
    for name in ("slow", "fast"):
        array = np.load(output / f"bar.{name}.npy", allow_pickle=False)
        np.testing.assert_array_equal(array, expected.streams[name])
    written = json.loads((output / "bar.json").read_text())
    assert written["video"] == video
    assert written["streams"] == {"slow": [3, 256], "fast": [3, 32]}
    assert written["slow_frames"] == [0, 7]
    assert [(w["start"], w["end"]) for w in written["windows"]] == expected.windows
    assert [w["frames"] for w in written["windows"]] == expected.frames.tolist()


def test_the_json_says_where_actionformer_places_the_rows(trained, video, tmp_path):
    assert run(trained()[1], video, "--output", tmp_path, "--window", "1", "--stride", "0.4") == 0
    written = json.loads((tmp_path / "bar.json").read_text())
    assert written["axes"] == ["window", "channel"]
    assert len(written["windows"]) == len(np.load(tmp_path / "bar.slow.npy")) == 5
    # Its data sets' rule: row t is at (t feat_stride + num_frames / 2) / fps.
    fps = 30
    feat_stride, num_frames = written["stride"] * fps, written["window"] * fps
    assert written["offset"] == pytest.approx(num_frames / 2 / fps)
    for row, window in enumerate(written["windows"][:-1]):
        middle = (window["frames"][0] + window["frames"][-1] + 1 / fps) / 2
        assert (row * feat_stride + num_frames / 2) / fps == pytest.approx(middle, abs=1.5 / fps)
    # The last one ends with the video.
    assert written["windows"][-1]["end"] == pytest.approx(2.4)
    assert run(trained()[1], video, "--output", tmp_path / "own") == 0
    written = json.loads((tmp_path / "own/bar.json").read_text())
    assert written["stride"] == written["window"] == pytest.approx(0.8)
    assert written["offset"] == pytest.approx(0.4)


def test_one_stream_alone_is_written(trained, video, tmp_path):
    assert run(trained()[1], video, "--output", tmp_path / "out", "--stream", "fast") == 0
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["bar.fast.npy", "bar.json", "videos.jsonl"]


def test_missing_streams_are_refused(trained, video, tmp_path):
    predictor = load_model(trained(*SLOW)[1])
    with pytest.raises(InputError, match="one pathway has no fast stream"):
        extract_features(predictor, video, stream="fast")
    with pytest.raises(InputError, match="stream: 'both2' is not one of slow, fast, both"):
        extract_features(predictor, video, stream="both2")
    program = TrainedModel("x.onnx", predictor.scores, predictor.preprocessing, 7)
    with pytest.raises(InputError, match="x.onnx: a program returns scores alone"):
        extract_features(program, video)


def test_a_new_video_of_the_same_name_does_not_replace_one_that_is_done(
    trained, video, tmp_path, monkeypatch
):
    _, path = trained()
    folder, output = tmp_path / "videos", tmp_path / "out"
    (folder / "b").mkdir(parents=True)
    shutil.copy(video, folder / "b/clip.mp4")
    shutil.copy(video, folder / "c.mp4")

    def stop(*args):
        raise KeyboardInterrupt

    # Stopped after the first video.
    monkeypatch.setattr(features_module, "write_features", lambda *args: write(*args) and stop())
    with pytest.raises(KeyboardInterrupt):
        run(path, folder, "--output", output)
    monkeypatch.undo()
    assert json.loads((output / "clip.json").read_text())["video"].endswith("b/clip.mp4")
    (folder / "a").mkdir()
    shutil.copy(video, folder / "a/clip.mp4")
    assert run(path, folder, "--output", output) == 0
    rows = [json.loads(line) for line in (output / "videos.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["files"] for row in rows}) == 3
    for row in rows:
        assert json.loads((output / f"{row['files']}.json").read_text())["video"] == row["video"]


def test_features_of_other_settings_of_the_network_are_not_taken(trained, video, tmp_path, capsys):
    _, path = trained()
    saved = torch.load(path, weights_only=True)
    config = tmp_path / "config.yaml"
    torch.save({"model_state": saved["model_state"]}, path)
    arrays = []
    for dilation in (1, 2):
        text = re.sub(
            r"(SPATIAL_DILATIONS:)[^A-Z]*",
            f"\\1 [[1, 1], [1, 1], [1, 1], [{dilation}, {dilation}]]\n  ",
            saved["cfg"],
        )
        config.write_text(text)
        assert run(path, video, "--cfg", config, "--output", tmp_path / "out") == 0
        arrays.append(np.load(tmp_path / "out/bar.slow.npy"))
    assert "are done" not in capsys.readouterr().out
    assert np.abs(arrays[0] - arrays[1]).max() > 1e-3


def test_a_stride_alone_needs_clips_of_a_fixed_length(trained, video, tmp_path):
    _, path = trained("TEST.DATASET", "ssv2")
    with pytest.raises(InputError, match="window: needed in seconds, since this network's clip"):
        run(path, video, "--output", tmp_path / "out", "--stride", 1)
    assert predict(load_model(path), video, CENTER_VIEW, window=1.0, stride=1.0)
    with pytest.raises(InputError, match="window: needed in seconds"):
        predict(load_model(path), video, CENTER_VIEW, stride=1.0)


def test_a_video_that_was_replaced_is_done_again(trained, video, tmp_path, capsys):
    _, path = trained()
    copy = tmp_path / "clip.mp4"
    shutil.copy(video, copy)
    arrays = []
    for number in range(3):
        assert run(path, copy, "--output", tmp_path / "out") == 0
        arrays.append(np.load(tmp_path / "out/clip.slow.npy"))
        assert ("are done" in capsys.readouterr().out) == (number == 1)
        if number == 1:
            write_video(
                copy, np.random.default_rng(1).integers(0, 255, (40, 80, 96, 3), np.uint8), 30
            )
    assert np.array_equal(arrays[0], arrays[1]) and arrays[1].shape != arrays[2].shape


def test_the_annotations_of_the_videos_are_not_replaced(trained, video, tmp_path):
    _, path = trained()
    shutil.copy(video, tmp_path / "clip.mp4")
    (tmp_path / "clip.json").write_text("boxes")
    with pytest.raises(InputError, match="contains .*clip.mp4, and the results could replace"):
        run(path, tmp_path / "clip.mp4", "--output", tmp_path)
    assert (tmp_path / "clip.json").read_text() == "boxes"
