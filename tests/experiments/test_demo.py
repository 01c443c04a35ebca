"""The command ``demo`` on a user's own lists writes every promised file."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
import yaml

from slowfast_ac.errors import InputError
from slowfast_ac.experiments.demo import middle, run_demo


@pytest.mark.slow
def test_demo_leaves_table_curves_maps_and_both_checkpoints(upstream, video_lists, tmp_path):
    output = tmp_path / "demo"
    opts = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0.0", "RESNET.WIDTH_PER_GROUP", "8"]
    opts += ["DATA.SAMPLING_RATE", "1", "TRAIN.BATCH_SIZE", "4", "DATA_LOADER.NUM_WORKERS", "0"]
    opts += ["DATA.TRAIN_JITTER_SCALES", "[64,72]", "LOG_PERIOD", "1"]
    opts += ["DATA.TRAIN_CROP_SIZE", "64", "DATA.TEST_CROP_SIZE", "64"]
    command = [sys.executable, "-m", "slowfast_ac", "demo", "--data", str(video_lists)]
    process = subprocess.run(
        [*command, "--output", str(output), "--seed", "1", "--opts", *opts],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "| `SlowFastAC` | 1 |" in process.stdout
    for name in ("report.md", "report.csv", "report.png", "losses.png", "maps.png"):
        assert (output / name).stat().st_size > 0
    report = json.loads((output / "report.json").read_text())["variants"]
    # The method costs nothing at inference.
    assert report["SlowFastAC"]["params"][0] == report["unfused"]["params"][0]
    assert report["SlowFastAC"]["gflops"][0] == report["unfused"]["gflops"][0]
    intervals = re.findall(r"- `(.*)`: ([\d.]+) % \(([\d.]+) to ([\d.]+)\)", process.stdout)
    assert [name for name, *_ in intervals] == ["unfused", "SlowFastAC"]
    for name, *numbers in intervals:
        top1, low, high = map(float, numbers)
        assert top1 == pytest.approx(report[name]["top1"][0], abs=0.06)
        assert low < top1 < high or {top1} & {low, high}
    assert re.search(r"`SlowFastAC`: .* [+-][\d.]+ points \([+-].* to [+-].*\)", process.stdout)
    for variant in ("unfused", "SlowFastAC"):
        assert {"top1", "step_seconds"} <= set(report[variant])
        config = yaml.safe_load((output / variant / "seed1/config.yaml").read_text())
        assert config["RNG_SEED"] == 1
        path = output / variant / "seed1/checkpoints/checkpoint_epoch_00001.pyth"
        weights = torch.load(path, weights_only=True)["model_state"]
        assert weights["head.projection.bias"].shape == (3,)


def test_data_without_lists_is_refused(upstream, tmp_path):
    with pytest.raises(InputError, match=r"train.csv"):
        run_demo(tmp_path / "demo", data=tmp_path)


@pytest.mark.parametrize(
    ("gains", "position"),
    [([0.3, -0.1, 0.9], 0), ([float("nan"), 3.0, 1.0, 2.0], 3), ([float("nan")] * 2, 0)],
)
def test_the_picture_shows_the_clip_of_the_median_gain(gains, position):
    assert middle(gains) == position


def test_the_output_of_the_run_that_failed_is_named(upstream, video_lists, tmp_path, monkeypatch):
    from slowfast_ac.experiments import demo

    monkeypatch.setattr(demo, "run_all", lambda runs, parallel: ["SlowFastAC:0"])
    path = tmp_path / "SlowFastAC/seed0/output.txt"
    with pytest.raises(InputError, match=f"demo: SlowFastAC:0 failed; see {path}$"):
        run_demo(tmp_path, data=video_lists)
