"""Predictions are those of PySlowFast's own networks and of its own multi-view test."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from slowfast_ac.checkpoint.unpickle import safe_load
from slowfast_ac.cli import predict as predict_command
from slowfast_ac.data import clips
from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.data.video import VideoReader, read_frames, write_video
from slowfast_ac.errors import InputError
from slowfast_ac.inference import predictor as predictor_module
from slowfast_ac.inference.predict import CENTER_VIEW, Views, predict
from slowfast_ac.inference.predictor import Predictor, load_predictor
from slowfast_ac.inference.windows import sliding_spans

CE = ("MODEL.LOSS_FUNC", "cross_entropy")
MODELS = {
    "SlowFastAC": (),
    "SlowFast": (*CE, "MODEL.MODEL_NAME", "SlowFast", "SLOWFAST.FUSION_KERNEL_SZ", 7),
    "ResNet": (
        *(*CE, "MODEL.MODEL_NAME", "ResNet", "MODEL.ARCH", "slow", "DATA.INPUT_CHANNEL_NUM", [3]),
        *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
        *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
        *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
        *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
    ),
}
DILATED = (
    *("RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [1, 1]]),
    *("RESNET.SPATIAL_DILATIONS", [[1, 1], [1, 1], [1, 1], [2, 2]]),
)
SIGMOID = ("MODEL.HEAD_ACT", "sigmoid")
# The test crop is larger than the training crop, so that the head classifies several places.
SIZES = ("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, "DATA.TEST_CROP_SIZE", 96)
SIZES += ("MODEL.FC_INIT_STD", 0.02)
CLASSES = {f"class {number}": number for number in range(7)}


def write_videos(folder, count, fps):
    """Writes three wide mp4 files of moving stripes, 100 x 80; returns their paths."""
    x, y = np.meshgrid(np.arange(100), np.arange(80))
    paths = []
    for number, slope in enumerate((0.0, 0.7, -1.3)):
        frames = []
        for time in range(count):
            phase = (x + slope * y) / (6 + number) + time * (0.2 + 0.3 * number)
            image = 128 + 100 * np.sin(phase)[..., None] * [1.0, 0.5 + time / 100, -0.4]
            frames.append(image.clip(0, 255).astype(np.uint8))
        write_video(folder / f"video_{number}.mp4", frames, fps)
        paths.append(str(folder / f"video_{number}.mp4"))
    return paths


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three videos of 2 seconds, 25 frames a second."""
    return write_videos(tmp_path_factory.mktemp("videos"), 50, 25)


@pytest.fixture
def trained(build_model, tiny_cfg, tmp_path):
    """Returns a function: config keys and values -> PySlowFast's network, its config and .pyth."""

    def make(*opts):
        cfg = tiny_cfg(*SIZES, *opts)
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        # BatchNorm's statistics of smooth clips, without which scores are 0 and 1.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = None
        noise = torch.randn(4, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
        clip = nn.functional.interpolate(noise, size=(8, 64, 64), mode="trilinear")
        with torch.no_grad():
            model.train()([clip] if cfg.MODEL.ARCH == "slow" else [clip[:, :, ::4][:, :, :2], clip])
        model.eval()
        path = tmp_path / "checkpoint_epoch_00001.pyth"
        torch.save({"epoch": 0, "model_state": model.state_dict(), "cfg": cfg.dump()}, path)
        return model, cfg, path

    return make


@pytest.mark.parametrize(
    "opts",
    [*MODELS.values(), DILATED, pytest.param(SIGMOID, marks=pytest.mark.checkout)],
    ids=[*MODELS, "dilated res5", "sigmoid"],
)
def test_scores_are_those_of_pyslowfasts_network(trained, opts):
    model, cfg, path = trained(*opts)
    clip = torch.randn(2, 3, 8, 96, 96, generator=torch.Generator().manual_seed(0))
    pathways = [clip[:, :, torch.tensor([0, 7])], clip]
    if cfg.MODEL.ARCH == "slow":
        pathways = [clip]
    with torch.no_grad():
        expected = model(list(pathways))
    torch.testing.assert_close(load_predictor(path).scores(pathways), expected)
    assert expected.std(dim=1).min() > 1e-3


@pytest.mark.checkout
def test_scores_are_those_of_pyslowfasts_ptv_network(trained):
    model, _, path = trained(*CE, "MODEL.MODEL_NAME", "PTVSlowFast")
    nn.init.normal_(model.model.blocks[6].proj.weight, std=0.5)
    torch.save({**torch.load(path), "model_state": model.state_dict()}, path)
    clip = torch.randn(2, 3, 8, 96, 96, generator=torch.Generator().manual_seed(0))
    pathways = [clip[:, :, torch.tensor([0, 7])], clip]
    with torch.no_grad():
        expected = model(list(pathways))
    torch.testing.assert_close(load_predictor(path).scores(pathways), expected)
    assert expected.std(dim=1).min() > 1e-3


@pytest.mark.parametrize("name", ["SlowFastAC", "SlowFast"])
def test_scores_of_videos_are_those_of_pyslowfasts_own_test(
    upstream, trained, videos, tmp_path, name
):
    _, cfg, path = trained(*MODELS[name])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    opts = ["DATA.PATH_TO_DATA_DIR", tmp_path, "OUTPUT_DIR", tmp_path / "out", "NUM_GPUS", 0]
    opts += ["TRAIN.ENABLE", False, "TEST.ENABLE", True, "TEST.CHECKPOINT_FILE_PATH", path]
    opts += ["TEST.NUM_ENSEMBLE_VIEWS", 3, "TEST.NUM_SPATIAL_CROPS", 3, "TEST.BATCH_SIZE", 9]
    opts += ["TEST.SAVE_RESULTS_PATH", "test_results.pkl", "DATA_LOADER.NUM_WORKERS", 0]
    if upstream.kind == "checkout":
        # The other backends let the decoder resize the frames.
        opts += ["DATA.DECODING_BACKEND", "pyav"]
        # Where clips begin or end between two frames, it samples other frames than the wheel does;
        # of 64 frames at 30 a second, these do not.
        videos = write_videos(tmp_path, 64, 30)
    lists = "".join(f"{video} {label}\n" for label, video in enumerate(videos))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text(lists)
    command = ["run", "--cfg", tmp_path / "config.yaml", "--opts", *opts]
    process = subprocess.run(
        [sys.executable, "-m", "slowfast_ac", *map(str, command)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    sums, _ = safe_load(tmp_path / "out/test_results.pkl")

    predictor = load_predictor(path)
    scores = [predict(predictor, video, Views(3, 3))[0].scores for video in videos]
    np.testing.assert_allclose(np.stack(scores), sums / 9, atol=1e-5)
    # The views matter, and the videos differ.
    assert np.abs(scores[0] - predict(predictor, videos[0], Views(1, 1))[0].scores).max() > 1e-3
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


def brightness(**changes):
    """A predictor whose two scores are the mean of the clip and its number of pixels."""
    settings = {"num_frames": 4, "sampling_rate": 5, "alpha": 2, "crop_size": 16}
    preprocessing = Preprocessing(
        **{**settings, **changes}, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), target_fps=25
    )

    def scores(pathways):
        clip = pathways[-1]
        return torch.stack([clip.mean(dim=(1, 2, 3, 4)), torch.ones(len(clip))], dim=1)

    return Predictor("stub", scores, preprocessing, 2, ("bright", "one"), None)


@pytest.fixture(scope="module")
def fading(tmp_path_factory):
    """A video of 8 seconds that grows brighter by 1 / 255 a frame, 25 frames a second."""
    path = tmp_path_factory.mktemp("fading") / "fading.mp4"
    write_video(path, (np.full((32, 48, 3), 20 + time, np.uint8) for time in range(200)), 25)
    return str(path)


def expected_brightness(*times):
    return np.mean([20 + 25 * time for time in times]) / 255


def test_windows_see_the_frames_of_their_time(fading):
    predictions = predict(brightness(), fading, CENTER_VIEW, window=2.0, stride=1.5)
    assert [(p.start, p.end) for p in predictions] == [
        *((0.0, 2.0), (1.5, 3.5), (3.0, 5.0), (4.5, 6.5), (6.0, 8.0)),
    ]
    for prediction in predictions:
        # The clip of 0.8 s in the middle: its first and last frame are 19 frames apart.
        first = prediction.start + 0.6
        expected = expected_brightness(first, first + 19 / 25)
        assert prediction.scores[0] == pytest.approx(expected, abs=1.5 / 255)
        assert prediction.scores[1] == 1.0


def test_several_clips_of_overlapping_windows_stay_apart(fading):
    predictions = predict(brightness(), fading, Views(2, 3), window=3.0, stride=1.0)
    assert len(predictions) == 6
    for prediction in predictions:
        # Two clips, at the start and half of what a clip leaves of the window.
        times = [prediction.start, prediction.start + 1.1]
        expected = expected_brightness(*times, *(time + 19 / 25 for time in times))
        assert prediction.scores[0] == pytest.approx(expected, abs=1.5 / 255)


def test_the_single_view_is_the_middle_of_the_video(fading):
    [prediction] = predict(brightness(), fading, CENTER_VIEW)
    assert (prediction.start, prediction.end) == (0.0, 8.0)
    expected = expected_brightness(3.6, 3.6 + 19 / 25)
    assert prediction.scores[0] == pytest.approx(expected, abs=1.5 / 255)


def test_stride_alone_means_windows_of_one_clip(fading):
    predictions = predict(brightness(), fading, CENTER_VIEW, stride=3.0)
    assert [p.start for p in predictions] == pytest.approx([0.0, 3.0, 6.0, 7.2])
    assert all(p.end - p.start == pytest.approx(0.8) for p in predictions)


@pytest.mark.parametrize(
    "duration, window, stride, starts",
    [
        (10, 2, 2, [0, 2, 4, 6, 8]),
        (10, 3, 3, [0, 3, 6, 7]),
        (10, 4, 1.5, [0, 1.5, 3, 4.5, 6]),
        (10, 9, 20, [0, 1]),
        (2, 2, 1, [0]),
        (1, 2, 1, [0]),
        (0.3, 0.1, 0.1, [0, 0.1, 0.2]),
    ],
)
def test_windows_cover_the_video_and_the_last_ends_with_it(duration, window, stride, starts):
    spans = sliding_spans(duration, window, stride)
    assert [span.start for span in spans] == pytest.approx(starts)
    assert spans[-1].end == pytest.approx(duration)


def test_a_video_is_decoded_once_for_all_views(fading, monkeypatch):
    decoded = []
    decode = VideoReader._decode

    def counted(self, target):
        for time, frame in decode(self, target):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(VideoReader, "_decode", counted)
    predict(brightness(), fading, Views(10, 3), window=2.0, stride=0.5)
    assert len(decoded) == len(set(decoded)) <= 200


def test_frames_are_normalised_and_resized_once_for_all_crops(fading, monkeypatch):
    resized = []
    resize = clips.resize_short_side
    monkeypatch.setattr(
        clips, "resize_short_side", lambda *args: resized.append(args) or resize(*args)
    )
    predict(brightness(), fading, Views(4, 3))
    assert len(resized) == 4


@pytest.mark.parametrize("views, crops, sizes", [(1, 3, [3] * 10), (7, 3, [6] * 5), (8, 1, [8, 2])])
def test_views_are_shown_in_batches_and_scores_stay_the_same(fading, views, crops, sizes):
    predictor, shown = brightness(), []

    def scores(pathways):
        shown.append(len(pathways[0]))
        return predictor.scores(pathways)

    [prediction] = predict(replace(predictor, scores=scores, views=views), fading, Views(10, crops))
    assert shown == sizes
    [expected] = predict(predictor, fading, Views(10, crops))
    np.testing.assert_allclose(prediction.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize(
    "windows, message",
    [
        ({"window": 0.5}, "window: 0.5 s is shorter than this network's clip of 0.8 s"),
        ({"window": float("nan")}, "window: nan s is shorter"),
        ({"window": 2.0, "stride": 0.0}, "stride: 0 s is not positive"),
        ({"stride": float("nan")}, "stride: nan s is not positive"),
    ],
)
def test_windows_that_cannot_be_are_refused(fading, windows, message):
    with pytest.raises(InputError, match=message):
        predict(brightness(), fading, **windows)


def run(*words):
    import argparse

    parser = argparse.ArgumentParser()
    predict_command.add_arguments(parser)
    return predict_command.main(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def checkpoint(trained):
    return trained()[2]


@pytest.fixture
def class_map(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(CLASSES))
    return path


def test_the_command_prints_and_writes_the_best_classes(
    checkpoint, class_map, videos, tmp_path, capsys
):
    options = ["--classes", class_map, "--top", 2, "--views", "2x1", "--output"]
    assert run(checkpoint, *videos[:2], *options, tmp_path / "out.json") == 0
    text = capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["views"] == "2x1"
    assert [entry["video"] for entry in written["videos"]] == videos[:2]
    predictor = load_predictor(checkpoint)
    for entry in written["videos"]:
        scores = predict(predictor, entry["video"], Views(2, 1))[0].scores
        [span] = entry["predictions"]
        assert (span["start"], span["end"]) == (0.0, 2.0)
        best = np.argsort(scores)[::-1][:2]
        assert [top["class_id"] for top in span["top"]] == best.tolist()
        for rank, top in enumerate(span["top"], start=1):
            assert top["class"] == f"class {top['class_id']}"
            assert top["rank"] == rank
            assert top["score"] == pytest.approx(scores[top["class_id"]])
            assert f"{top['score']:.4f}  {top['class']}" in text


def test_a_bad_file_is_reported_and_the_rest_goes_on(checkpoint, videos, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"no video")
    shutil.copy(videos[0], folder / "whole.mp4")
    output = tmp_path / "out.csv"
    assert run(checkpoint, folder, tmp_path / "none.mp4", "--fast", "--output", output) == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("slowfast-ac:")]
    assert len(errors) == 2
    assert "broken.mp4" in errors[0] and "none.mp4" in errors[1]
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == [str(folder / "whole.mp4")] * 5
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert run(checkpoint, folder, "--fast", "--output", tmp_path / "out.json") == 1
    errors = [v for v in json.loads((tmp_path / "out.json").read_text())["videos"] if "error" in v]
    assert [os.path.basename(entry["video"]) for entry in errors] == ["broken.mp4"]


def test_globs_and_folders_name_videos(checkpoint, videos, capsys):
    folder = os.path.dirname(videos[0])
    for argument in (folder, os.path.join(folder, "video_*.mp4")):
        assert run(checkpoint, argument, "--fast", "--top", 1) == 0
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if line in videos] == videos


def test_windows_of_the_command_have_times(checkpoint, videos, tmp_path, capsys):
    output = tmp_path / "out.csv"
    options = ["--window", 1, "--stride", 0.5, "--fast", "--top", 1, "--output", output]
    assert run(checkpoint, videos[0], *options) == 0
    with open(output, newline="") as file:
        times = [(float(row["start"]), float(row["end"])) for row in csv.DictReader(file)]
    assert times == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert "0.50 - 1.50 s" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["SlowFastAC", "ResNet"])
def test_heatmaps_of_the_best_class_are_those_of_pyslowfasts_network(
    trained, videos, tmp_path, capsys, name
):
    from slowfast_ac.visualization.heatmap import heatmap

    model, cfg, path = trained(*MODELS[name])
    options = ["--fast", "--window", "1", "--stride", "1", "--heatmap", tmp_path / "maps"]
    assert run(path, videos[0], *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"wrote {tmp_path / 'maps/video_0-2.mp4'}" in lines
    assert len(list(read_frames(tmp_path / "maps/video_0-2.mp4"))) > 1
    record = json.loads((tmp_path / "maps/video_0-2.json").read_text())
    best = predict(load_predictor(path), videos[0], CENTER_VIEW, window=1)[1].top(1)[0]
    assert record["class"]["id"] == best
    # The clip of 8 frames, 2 apart at 30 a second, in the middle of the second from 1 to 2.
    expected = heatmap(
        model, videos[0], Preprocessing.from_config(cfg), best, start=1 + (1 - 16 / 30) / 2
    )
    for stream, (maps, times) in expected.streams.items():
        found = np.load(tmp_path / f"maps/video_0-2.{stream}.npy")
        np.testing.assert_allclose(found, maps, atol=1e-4)
        assert record["networks"][path.stem]["streams"][stream]["times"] == times.tolist()


def test_a_program_has_no_heatmaps(trained, videos, tmp_path):
    from slowfast_ac.inference.export import export
    from slowfast_ac.inference.network import load_network

    _, cfg, path = trained()
    export(load_network(cfg, path), "onnx", tmp_path / "x.onnx")
    with pytest.raises(InputError, match=r"x\.onnx: a program returns scores alone"):
        run(tmp_path / "x.onnx", videos[0], "--fast", "--heatmap", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_the_command_needs_no_pyslowfast(checkpoint, videos):
    code = "import sys; sys.modules['slowfast'] = None\n"
    code += "from slowfast_ac.cli.predict import add_arguments, main\nimport argparse\n"
    code += "parser = argparse.ArgumentParser(); add_arguments(parser)\n"
    code += "sys.exit(main(parser.parse_args(sys.argv[1:])))"
    environment = {key: v for key, v in os.environ.items() if key != "PYSLOWFAST_ROOT"}
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(checkpoint), videos[0], "--fast"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0] == videos[0]


def test_pytorchvideos_names_need_the_config(trained, videos, tmp_path):
    from slowfast_ac.checkpoint.convert import convert

    _, cfg, path = trained()
    weights, _ = convert(torch.load(path)["model_state"], "pyslowfast", "pytorchvideo")
    torch.save({"model_state": weights}, tmp_path / "ptv.pyth")
    with pytest.raises(InputError, match="ptv.pyth: holds no config, .*--cfg"):
        load_predictor(tmp_path / "ptv.pyth")
    # Only what differs from PySlowFast's defaults, the way people write configs.
    (tmp_path / "base.yaml").write_text("SLOWFAST:\n  ALPHA: 4\nMODEL:\n  NUM_CLASSES: 7\n")
    (tmp_path / "config.yaml").write_text(
        "_BASE_: base.yaml\nDATA:\n  NUM_FRAMES: 8\n  SAMPLING_RATE: 2\n  TRAIN_CROP_SIZE: 64\n"
        "  TEST_CROP_SIZE: 64\nRESNET:\n  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]]\n"
        "  SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [1, 1]]\n"
    )
    predictor = load_predictor(tmp_path / "ptv.pyth", config=tmp_path / "config.yaml")
    same = load_predictor(path, config=tmp_path / "config.yaml")
    assert predictor.preprocessing.crop_size == 64
    scores = [predict(network, videos[0], CENTER_VIEW)[0].scores for network in (predictor, same)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


@pytest.mark.parametrize("format", ["pyslowfast", "pytorchvideo", "safetensors", "onnx", "pt2"])
def test_exported_files_give_the_same_scores_and_know_their_classes(
    trained, videos, tmp_path, format
):
    from slowfast_ac.inference.export import SUFFIXES, export
    from slowfast_ac.inference.network import load_network

    _, cfg, path = trained()
    without = tmp_path / f"without{SUFFIXES[format]}"
    output = tmp_path / f"exported{SUFFIXES[format]}"
    export(load_network(cfg, path, CLASSES), format, output)
    predictor = load_predictor(output, trust=format == "pt2")
    assert predictor.classes == tuple(CLASSES)
    assert predictor.preprocessing == load_predictor(path).preprocessing
    scores = [
        predict(network, videos[1], Views(1, 3))[0].scores
        for network in (predictor, load_predictor(path))
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    (tmp_path / "two.json").write_text('{"a": 0, "b": 1}')
    # Also where the file itself has no names to compare with.
    export(load_network(cfg, path), format, without)
    assert load_predictor(without, trust=True).classes is None
    with pytest.raises(InputError, match="two.json: has 2 classes, but .* has 7"):
        load_predictor(without, trust=True, classes=tmp_path / "two.json")


def test_bfloat16_and_compiling_change_scores_but_little(checkpoint, videos, monkeypatch):
    plain = predict(load_predictor(checkpoint), videos[0], Views(2, 3))[0].scores
    half = load_predictor(checkpoint, precision="bfloat16")
    scores = predict(half, videos[0], Views(2, 3))[0].scores
    assert 1e-5 < np.abs(scores - plain).max() < 0.02 < plain.std()
    compiled = []
    monkeypatch.setattr(
        predictor_module,
        "compile_network",
        lambda network, device: compiled.append(network) or network,
    )
    assert run(checkpoint, videos[0], "--compile", "--precision", "bfloat16", "--fast") == 0
    assert compiled[0].model.blocks[0].multipathway_blocks[0].conv.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("x.onnx", ["--precision", "bfloat16"], "x.onnx: a program's precision is that of its exp"),
        ("x.pt2", ["--precision", "bfloat16"], "x.pt2: a program's precision is that of its exp"),
        ("x.onnx", ["--compile"], "x.onnx: ONNX Runtime does its own optimising; leave --compile"),
    ],
)
def test_options_that_a_program_has_no_use_for_are_refused(videos, name, options, message):
    with pytest.raises(InputError, match=message):
        run(name, videos[0], *options)


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: b"", "an empty file"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"<!doctype html>" + data, "a web page"),
    ],
)
def test_damaged_weights_are_refused(checkpoint, damage, message):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(InputError, match=f"{checkpoint}: .*{message}"):
        load_predictor(checkpoint)


def test_weights_that_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state": {"weight": RunsCode()}}, "bad.pyth")
    with pytest.raises(InputError, match="bad.pyth: not opened, since it would run"):
        load_predictor("bad.pyth")
    (tmp_path / "bad.pt2").write_bytes((tmp_path / "bad.pyth").read_bytes())
    with pytest.raises(InputError, match="bad.pt2: not opened, since a .pt2 file can run any code"):
        load_predictor("bad.pt2")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name, trust", [("bad.onnx", False), ("bad.pt2", True)])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind"])
def test_damaged_programs_are_refused(tmp_path, name, trust, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: damaged, or no"):
        load_predictor(tmp_path / name, trust=trust)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SLOWFAST.ALPHA", 3, "SLOWFAST.ALPHA: 3 does not divide DATA.NUM_FRAMES 8"),
        ("SLOWFAST.ALPHA", 16, "SLOWFAST.ALPHA: 16 does not divide DATA.NUM_FRAMES 8"),
        ("MODEL.NUM_CLASSES", 9, "MODEL.NUM_CLASSES: 9, but the weights in .* have 7 classes"),
        ("MODEL.ARCH", "slow", "MODEL.ARCH: the config's is slow, but .* of 2 pathway"),
        ("MODEL.HEAD_ACT", "relu", "MODEL.HEAD_ACT: 'relu' is not one of softmax, sigmoid, none"),
        ("DATA.NUM_FRAMES", "many", "DATA.NUM_FRAMES: 'many' is of another type than 8"),
        ("DATA.NUM_FRAMES", 8.5, "DATA.NUM_FRAMES: 8.5 is of another type than 8"),
        ("DATA.NUM_FRAMES", True, "DATA.NUM_FRAMES: True is of another type than 8"),
        ("DATA.TEST_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE: 32 is smaller than .* 64"),
        ("DATA.MEAN", 0.45, "DATA.MEAN: 0.45 is of another type"),
        ("RESNET.SPATIAL_STRIDES", [[1], [2]], "RESNET.SPATIAL_STRIDES: .* is not a number"),
        ("DETECTION.ENABLE", True, "DETECTION.ENABLE"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(trained, key, value, message):
    import yaml

    _, _, path = trained()
    data = torch.load(path)
    config = yaml.safe_load(data["cfg"])
    node, name = key.split(".")
    config[node][name] = value
    torch.save({**data, "cfg": yaml.safe_dump(config)}, path)
    with pytest.raises(InputError, match=message):
        load_predictor(path)


def test_another_number_of_class_names_is_refused(checkpoint, tmp_path):
    (tmp_path / "two.json").write_text('{"a": 0, "b": 1}')
    with pytest.raises(InputError, match="two.json: has 2 classes, but .* has 7"):
        load_predictor(checkpoint, classes=tmp_path / "two.json")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--views", "10"], "--views: '10'; give CLIPSxCROPS"),
        (["--views", "4x2"], "2 crops; give 1 .* or 3"),
        (["--views", "0x3"], "0 clips; give at least 1"),
        (["--top", 0], "--top: 0 is not positive"),
        (["--output", "out.txt"], "out.txt: the suffix must be one of .json, .csv"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(words, message):
    with pytest.raises(InputError, match=message):
        run("none.pyth", "none.mp4", *words)
