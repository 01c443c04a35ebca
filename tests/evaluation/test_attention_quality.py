"""Attention is measured against the box of the frame that each map belongs to."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import pearsonr, sem

from slowfast_ac.data.lists import Entry, write_list
from slowfast_ac.data.video import write_video
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation import attention_quality as module
from slowfast_ac.evaluation.attention_quality import attention_quality, measure_clip, summarise
from slowfast_ac.visualization.heatmap import Clip, Heatmap, Stream

WIDTH, HEIGHT, FRAMES, FPS = 64, 48, 20, 10.0


def write_clip(path, boxes, label=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * FRAMES, FPS)
    data = {"fps": FPS, "width": WIDTH, "height": HEIGHT, "label": label, "class": "c"}
    path.with_suffix(".json").write_text(json.dumps(data | {"boxes": boxes}))
    return Entry(str(path), label)


@pytest.fixture
def looking_right(monkeypatch):
    """Gives every clip maps that light the right third of the upper half, 16 of 20 frames."""
    times = np.arange(2, 18) / FPS
    maps = np.zeros((16, 2, 3), np.float32)
    maps[:, 0, 2] = 2.0
    spatial = Stream(maps[:4], times[[0, 5, 10, 15]])

    def result(model, path, preprocessing, class_id, scales):
        streams = {"spatial": spatial, "temporal": Stream(maps, times)}
        clip = Clip(np.zeros((16, HEIGHT, WIDTH, 3), np.uint8), times)
        return Heatmap(clip, streams, class_id, np.eye(7, dtype=np.float32)[2], (64, 96))

    monkeypatch.setattr(module, "heatmap", result)


class Model:
    preprocessing = None

    @staticmethod
    def require_network(what):
        return None


def test_each_map_meets_the_box_of_its_own_time(tmp_path, looking_right):
    # The target is everywhere until 1.0 s, then where the maps do not point.
    boxes = [[0, 0, WIDTH, HEIGHT]] * 10 + [[0, 24, 21, 48]] * 10
    entry = write_clip(tmp_path / "a.mp4", boxes)
    annotation = module.read_annotation(entry.path)
    spatial, temporal = measure_clip(Model, entry, annotation)
    assert spatial["pointing"] == 2 / 4  # at 0.2, 0.7, 1.2 and 1.7 s
    assert temporal["pointing"] == 8 / 16
    assert spatial["energy"] == pytest.approx(0.5, abs=0.02)
    assert spatial["chance"] == pytest.approx((1 + 21 * 24 / (WIDTH * HEIGHT)) / 2)
    assert spatial["agreement"] == pytest.approx(1.0)
    assert (spatial["label"], spatial["predicted"], spatial["score"]) == (3, 2, 0.0)


def test_agreement_is_that_of_the_maps_which_the_loss_compares(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    spatial, temporal = rng.normal(size=(4, 2, 3)), rng.normal(size=(16, 2, 3))
    times = np.arange(16) / FPS

    def result(*_, **__):
        streams = {"spatial": Stream(spatial, times[::4]), "temporal": Stream(temporal, times)}
        clip = Clip(np.zeros((16, HEIGHT, WIDTH, 3), np.uint8), times)
        return Heatmap(clip, streams, 0, np.ones(7), (64, 96))

    monkeypatch.setattr(module, "heatmap", result)
    entry = write_clip(tmp_path / "a.mp4", [[0, 0, 9, 9]])
    rows = measure_clip(Model, entry, module.read_annotation(entry.path))
    expected = pearsonr(spatial.mean(axis=0).ravel(), temporal.sum(axis=0).ravel()).statistic
    assert rows[0]["agreement"] == pytest.approx(expected)


def row(stream, pointing, energy, agreement=0.5):
    data = {"path": "", "label": 0, "predicted": 0, "score": 0.5, "chance": 0.1}
    own = {"stream": stream, "pointing": pointing, "energy": energy, "agreement": agreement}
    return data | own


def test_the_summary_has_means_and_standard_errors_over_clips():
    pointing = [0.0, 0.25, 1.0]
    rows = []
    for value in pointing:
        rows += [row("spatial", value, value / 2, 2 * value), row("temporal", 1 - value, np.nan)]
    summary = summarise(rows)
    assert summary["clips"] == 3
    assert summary["spatial_pointing"] == pytest.approx(np.mean(pointing))
    assert summary["spatial_pointing_error"] == pytest.approx(sem(pointing))
    assert summary["temporal_pointing"] == pytest.approx(1 - np.mean(pointing))
    assert summary["agreement"] == pytest.approx(2 * np.mean(pointing))
    assert summary["agreement_error"] == pytest.approx(2 * sem(pointing))
    assert "temporal_energy" not in summary
    assert not any(np.isnan(value) for value in summary.values())


def test_one_clip_has_no_standard_error():
    assert "spatial_pointing_error" not in summarise([row("spatial", 0.5, 0.5)])


@pytest.fixture
def trained(tmp_path, tiny_cfg, build_model):
    cfg = tiny_cfg("MODEL.ARCH", "slowfast", "DATA.SAMPLING_RATE", 1)
    torch.manual_seed(0)
    checkpoint = tmp_path / "weights.pyth"
    torch.save({"model_state": build_model(cfg).state_dict()}, checkpoint)
    return cfg, checkpoint


def test_a_checkpoint_is_measured_on_the_clips_that_have_boxes(tmp_path, trained):
    cfg, checkpoint = trained
    boxes = [[10, 10, 40, 40]] * FRAMES
    entries = [write_clip(tmp_path / f"{n}.mp4", boxes, label=n) for n in range(3)]
    (tmp_path / "1.json").unlink()
    write_list(tmp_path / "test.csv", entries)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(cfg.dump())))
    list_path = tmp_path / "test.csv"
    summary = attention_quality(
        path, checkpoint, list_path, output=tmp_path / "out", progress=False
    )
    assert summary["clips"] == 2
    keys = {"spatial_pointing", "temporal_pointing", "both_pointing", "agreement"}
    assert keys <= set(summary)
    assert summary["spatial_chance"] == pytest.approx(30 * 30 / (WIDTH * HEIGHT))
    assert summary == attention_quality(cfg, checkpoint, list_path, progress=False)
    assert json.loads((tmp_path / "out" / "attention_quality.json").read_text()) == summary
    with open(tmp_path / "out" / "attention_quality.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["stream"] for r in rows] == ["spatial", "temporal", "both"] * 2
    assert {r["path"] for r in rows} == {entries[0].path, entries[2].path}
    pointing = [float(r["pointing"]) for r in rows if r["stream"] == "spatial"]
    assert np.mean(pointing) == pytest.approx(summary["spatial_pointing"])


def test_the_measured_maps_are_those_of_the_true_class(tmp_path, trained, monkeypatch):
    cfg, checkpoint = trained
    entries = [write_clip(tmp_path / f"{n}.mp4", [[0, 0, 9, 9]], label=n) for n in range(3)]
    write_list(tmp_path / "test.csv", entries)
    classes = []
    original = module.heatmap

    def heatmap(*args, **options):
        result = original(*args, **options)
        classes.append(result.class_id)
        return result

    monkeypatch.setattr(module, "heatmap", heatmap)
    attention_quality(cfg, checkpoint, tmp_path / "test.csv", progress=False)
    assert classes == [0, 1, 2]


def test_a_list_without_boxes_is_named(tmp_path, trained):
    cfg, checkpoint = trained
    entry = write_clip(tmp_path / "a.mp4", [[0, 0, 9, 9]])
    (tmp_path / "a.json").unlink()
    write_list(tmp_path / "test.csv", [entry])
    with pytest.raises(InputError, match=r"test.csv: none of its videos has a json with boxes"):
        attention_quality(cfg, checkpoint, tmp_path / "test.csv", progress=False)
