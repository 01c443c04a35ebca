"""Predictions are those of PySlowFast's own networks and of its own multi-view test."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from slowfast_ac.checkpoint.unpickle import safe_load
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.video import read_frames
from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.errors import InputError
from slowfast_ac.inference import load as load_module
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict

NAMES = ["SlowFastAC", "SlowFast", "Slow", "nonlocal", "C2D", "I3D"]


DILATED = (
    *("RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [1, 1]]),
    *("RESNET.SPATIAL_DILATIONS", [[1, 1], [1, 1], [1, 1], [2, 2]]),
)


SIGMOID = ("MODEL.HEAD_ACT", "sigmoid")


@pytest.mark.parametrize(
    "opts",
    [*([name] for name in NAMES), DILATED, pytest.param(SIGMOID, marks=pytest.mark.checkout)],
    ids=[*NAMES, "dilated res5", "sigmoid"],
)
def test_scores_are_those_of_pyslowfasts_network(calibrated, opts):
    model, cfg, path = calibrated(*opts)
    clip = torch.randn(2, 3, 8, 96, 96, generator=torch.Generator().manual_seed(0))
    pathways = [clip[:, :, torch.tensor([0, 7])], clip]
    if cfg.MODEL.ARCH != "slowfast":
        pathways = [clip]
    with torch.no_grad():
        expected = model(list(pathways))
    torch.testing.assert_close(load_model(path).scores(pathways), expected)
    assert expected.std(dim=1).min() > 1e-3


@pytest.mark.checkout
def test_scores_are_those_of_pyslowfasts_ptv_network(calibrated):
    model, _, path = calibrated(
        "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.MODEL_NAME", "PTVSlowFast"
    )
    nn.init.normal_(model.model.blocks[6].proj.weight, std=0.5)
    torch.save({**torch.load(path), "model_state": model.state_dict()}, path)
    clip = torch.randn(2, 3, 8, 96, 96, generator=torch.Generator().manual_seed(0))
    pathways = [clip[:, :, torch.tensor([0, 7])], clip]
    with torch.no_grad():
        expected = model(list(pathways))
    torch.testing.assert_close(load_model(path).scores(pathways), expected)
    assert expected.std(dim=1).min() > 1e-3


PYAV = ("DATA.DECODING_BACKEND", "pyav")
HIGHEST = ("DATA.ENSEMBLE_METHOD", "max")
OFFSET = ("DATA.USE_OFFSET_SAMPLING", True)


@pytest.mark.parametrize(
    ("name", "opts"),
    [
        ("SlowFastAC", ()),
        pytest.param("SlowFast", (), marks=pytest.mark.slow),
        pytest.param("SlowFastAC", HIGHEST, marks=pytest.mark.checkout),
        pytest.param("SlowFastAC", PYAV, marks=pytest.mark.checkout),
        pytest.param("SlowFastAC", OFFSET, marks=pytest.mark.checkout),
    ],
    ids=["SlowFastAC", "SlowFast", "max", "pyav", "offset"],
)
def test_scores_of_videos_are_those_of_pyslowfasts_own_test(
    upstream, calibrated, videos, tmp_path, name, opts, write_videos
):
    highest = opts == HIGHEST
    _, cfg, path = calibrated(name, *opts)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    opts = ["DATA.PATH_TO_DATA_DIR", tmp_path, "OUTPUT_DIR", tmp_path / "out", "NUM_GPUS", 0]
    opts += ["TRAIN.ENABLE", False, "TEST.ENABLE", True, "TEST.CHECKPOINT_FILE_PATH", path]
    opts += ["TEST.NUM_ENSEMBLE_VIEWS", 3, "TEST.NUM_SPATIAL_CROPS", 3, "TEST.BATCH_SIZE", 9]
    opts += ["TEST.SAVE_RESULTS_PATH", "test_results.pkl", "DATA_LOADER.NUM_WORKERS", 0]
    if upstream.kind == "checkout":
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

    predictor = load_model(path)
    scores = [predict(predictor, video, Views(3, 3))[0].scores for video in videos]
    np.testing.assert_allclose(np.stack(scores), sums / (1 if highest else 9), atol=1e-5)
    # The views matter, and the videos differ.
    assert np.abs(scores[0] - predict(predictor, videos[0], Views(1, 1))[0].scores).max() > 1e-3
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


@pytest.mark.parametrize(
    "format",
    [
        "pyslowfast",
        pytest.param("pytorchvideo", marks=pytest.mark.slow),
        pytest.param("safetensors", marks=pytest.mark.slow),
        pytest.param("onnx", marks=pytest.mark.slow),
        pytest.param("pt2", marks=pytest.mark.slow),
    ],
)
def test_exported_files_give_the_same_scores_and_know_their_classes(
    calibrated, videos, tmp_path, format, classes
):

    from slowfast_ac.inference.export import SUFFIXES, export

    _, cfg, path = calibrated()
    without = tmp_path / f"without{SUFFIXES[format]}"
    output = tmp_path / f"exported{SUFFIXES[format]}"
    export(load_model(path, classes=classes, device="cpu"), format, output)
    predictor = load_model(output, trust=format == "pt2")
    assert predictor.classes == tuple(classes)
    assert predictor.preprocessing == load_model(path).preprocessing
    scores = [
        predict(network, videos[1], Views(1, 3))[0].scores
        for network in (predictor, load_model(path))
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    (tmp_path / "two.json").write_text('{"a": 0, "b": 1}')
    # Also where the file itself has no names to compare with.
    export(load_model(path, device="cpu"), format, without)
    assert load_model(without, trust=True).classes is None
    with pytest.raises(InputError, match="two.json: has 2 classes, but .* has 7"):
        load_model(without, trust=True, classes=tmp_path / "two.json")


@pytest.mark.slow
def test_bfloat16_and_compiling_change_scores_only_slightly(
    checkpoint, videos, monkeypatch, run_predict
):
    plain = predict(load_model(checkpoint), videos[0], Views(2, 3))[0].scores
    half = load_model(checkpoint, precision="bfloat16")
    scores = predict(half, videos[0], Views(2, 3))[0].scores
    assert 1e-5 < np.abs(scores - plain).max() < 0.02 < plain.std()
    compiled = []
    monkeypatch.setattr(
        load_module,
        "compile_network",
        lambda network, device: compiled.append(network) or network,
    )
    assert (
        run_predict(checkpoint, videos[0], "--compile", "--precision", "bfloat16", "--single-view")
        == 0
    )
    assert compiled[0].model.blocks[0].multipathway_blocks[0].conv.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["SlowFastAC", pytest.param("Slow", marks=pytest.mark.slow)])
def test_heatmaps_of_the_best_class_are_those_of_pyslowfasts_network(
    calibrated, videos, tmp_path, capsys, name, run_predict
):
    from slowfast_ac.visualization.heatmap import heatmap

    model, cfg, path = calibrated(name)
    options = ["--single-view", "--window", "1", "--stride", "1", "--heatmap", tmp_path / "maps"]
    options += ["--backend", "torch"]  # starts at once
    assert run_predict(path, videos[0], *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"wrote {tmp_path / 'maps/video_0-2.mp4'}" in lines
    assert len(list(read_frames(tmp_path / "maps/video_0-2.mp4"))) > 1
    record = json.loads((tmp_path / "maps/video_0-2.json").read_text())
    best = predict(load_model(path), videos[0], CENTER_VIEW, window=1)[1].top(1)[0]
    assert record["class"]["id"] == best
    # The clip of 8 frames, 2 apart at 30 a second, in the middle of the second from 1 to 2.
    expected = heatmap(
        model, videos[0], Preprocessing.from_config(cfg), best, start=1 + (1 - 16 / 30) / 2
    )
    for stream, (maps, times) in expected.streams.items():
        found = np.load(tmp_path / f"maps/video_0-2.{stream}.npy")
        np.testing.assert_allclose(found, maps, atol=1e-4)
        assert record["networks"][path.stem]["streams"][stream]["times"] == times.tolist()
