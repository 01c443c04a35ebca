"""The evidence's file and statistics: paired by seed and clip, against scipy and by hand."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

PATH = Path(__file__).resolve().parent.parent / "projects/attention_consistency/evidence.py"


@pytest.fixture(scope="module")
def evidence():
    spec = importlib.util.spec_from_file_location("evidence", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.REPLICATES = 100
    return module


def made_up(variant, seed, right, clips=40):
    """A run that is right about the first ``right`` clips; its spatial stream says nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=clips)
    predicted = np.where(np.arange(clips) < right, labels, (labels + 1) % 3)
    temporal = np.eye(3)[predicted]
    measures = {
        f"{stream}_{name}": rng.random(clips).tolist()
        for stream in ("spatial", "temporal")
        for name in ("pointing", "energy")
    }
    return {
        "variant": variant,
        "seed": seed,
        "labels": labels.tolist(),
        "scores": temporal.tolist(),
        "spatial_logits": np.zeros((clips, 3)).tolist(),
        "temporal_logits": temporal.tolist(),
        "bias": [0.0, 0.0, 0.0],
        "clips": {},
        "agreement": [None, *rng.random(clips - 1).tolist()],
        **measures,
    }


@pytest.fixture
def runs():
    return [made_up("unfused", seed, 20 + seed) for seed in range(3)] + [
        made_up("AC", seed, 24 + seed) for seed in range(3)
    ]


def test_accuracies_are_those_of_the_scores_and_of_each_stream(evidence, runs):
    assert evidence.values(runs[1], "right").mean() == pytest.approx(100 * 21 / 40)
    assert evidence.values(runs[1], "temporal_right").mean() == pytest.approx(100 * 21 / 40)
    # The spatial stream says nothing, so that one class is left for all clips.
    share = np.bincount(runs[1]["labels"]).max() / 40
    assert evidence.values(runs[1], "spatial_right").mean() <= 100 * share


def test_what_the_other_stream_says_of_all_clips_is_kept(evidence, runs):
    run = dict(runs[0], spatial_logits=(np.array(runs[0]["temporal_logits"]) / 10).tolist())
    run["temporal_logits"] = [[5.0, 0.0, 0.0]] * 40
    run["spatial_logits"] = (np.array(run["spatial_logits"]) - [5.0, 0.0, 0.0]).tolist()
    assert evidence.values(run, "spatial_right").mean() == pytest.approx(50)


def test_undefined_values_are_left_out(evidence, runs):
    found = evidence.values(runs[0], "agreement")
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()


def test_kind_and_motion_are_told_apart(evidence):
    labels = np.arange(12)
    # The spatial stream knows the kind, four classes each, the temporal one the motion.
    spatial = np.eye(3)[labels // 4].repeat(4, axis=1)
    temporal = np.tile(np.eye(4)[labels % 4], (1, 3))
    run = {"variant": "AC", "seed": 0, "labels": labels.tolist(), "bias": [0.0] * 12}
    run |= {"spatial_logits": spatial.tolist(), "temporal_logits": temporal.tolist()}
    run["scores"] = (spatial + temporal).tolist()
    both, of_spatial, of_temporal = (
        evidence.kinds_and_motions([run]).splitlines()[2].split("|")[3:6]
    )
    assert both.strip() == "kind 100.0, motion 100.0"
    assert of_spatial.strip() == "kind 100.0, motion 25.0"
    assert of_temporal.strip() == "kind 33.3, motion 100.0"


def test_file_is_read_as_it_was_written_and_equal_runs_give_equal_bytes(evidence, runs, tmp_path):
    for name in ("a.json.gz", "b.json.gz"):
        evidence.write(tmp_path / name, runs)
    assert evidence.read(tmp_path / "a.json.gz") == runs
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert evidence.read(tmp_path / "none.json.gz") == []


@pytest.mark.parametrize("shape, axis", [((400, 3), 0), ((3, 400), 1)])
def test_interval_is_the_plain_bootstraps_where_one_side_does_not_vary(evidence, shape, axis):
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 2.0, 400)
    difference = np.broadcast_to(np.expand_dims(values, 1 - axis), shape)
    low, high = evidence.interval(difference, replicates=4000)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_interval_grows_with_both_sources_of_noise(evidence):
    rng = np.random.default_rng(0)
    seeds, clips = rng.normal(size=(20, 1)), rng.normal(size=(1, 100))
    width = [
        np.ptp(evidence.interval(np.broadcast_to(d, (20, 100)), replicates=1000))
        for d in (seeds, clips, seeds + clips)
    ]
    assert width[2] > max(width[:2])


def test_interval_leaves_undefined_values_out(evidence):
    difference = np.full((3, 20), 2.0)
    difference[0, :5] = np.nan
    assert evidence.interval(difference, replicates=50) == (2.0, 2.0)


def test_interval_over_seeds_is_students(evidence):
    difference = np.random.default_rng(0).normal(size=(5, 30))
    means = difference.mean(axis=1)
    half = scipy.stats.t.ppf(0.975, 4) * means.std(ddof=1) / np.sqrt(5)
    expected = means.mean() - half, means.mean() + half
    assert evidence.seed_interval(difference) == pytest.approx(expected)


def test_tables_pair_the_seeds(evidence, runs):
    text = evidence.tables(runs[:5], "unfused")
    assert "| `unfused` | 0, 1, 2 | 52.5 ± 2.5 |" in text
    # The method has seeds 0 and 1 only, and is right about 4 of 40 clips more in each.
    assert "| `AC` | top-1 % | +10.0, +10.0 | +10.0 |" in text


def test_command_prints_tables_and_refuses_an_unknown_baseline(evidence, runs, tmp_path, capsys):
    path = tmp_path / "runs.json.gz"
    evidence.write(path, runs)
    assert evidence.main(["tables", str(path), "--figure", str(tmp_path / "f.png")]) == 0
    assert "`AC`" in capsys.readouterr().out
    assert (tmp_path / "f.png").stat().st_size > 1000
    assert evidence.main(["tables", str(path), "--baseline", "fused"]) == 1
    assert "no run of fused; it has " in capsys.readouterr().err


def test_command_shows_the_variants_asked_for_in_their_order(evidence, runs, tmp_path, capsys):
    path = tmp_path / "runs.json.gz"
    more = [{**run, "variant": "other"} for run in runs if run["variant"] == "AC"]
    evidence.write(path, [*runs, *more])
    assert evidence.main(["tables", str(path), "--only", "other", "AC"]) == 0
    first = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [line.split("`")[1] for line in first[2:]] == ["unfused", "other", "AC"]
    assert evidence.main(["tables", str(path), "--baseline", "other", "--only", "other"]) == 0
    assert "unfused" not in capsys.readouterr().out


def test_unfinished_and_known_runs_are_not_collected(evidence, runs, tmp_path):
    path = tmp_path / "runs.json.gz"
    evidence.write(path, runs)
    for variant, status in (("unfused", "finished"), ("new", "failed")):
        folder = tmp_path / "runs" / variant / "seed0"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"status": status, "seconds": 1}))
    assert evidence.collect(tmp_path / "runs", path) == 0
    assert evidence.read(path) == runs


def test_differences_are_of_the_measures_asked_for(evidence, runs):
    rows = evidence.tables(runs, "unfused", ["right"]).splitlines()
    assert [row.split(" | ")[1] for row in rows if row.startswith("| `AC`")] == [
        "0, 1, 2",
        "top-1 %",
    ]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_measure_that_is_defined_for_no_clip_is_a_dash(evidence, runs):
    empty = {"agreement": [None] * len(runs[0]["agreement"])}
    changed = [run | empty if run["variant"] == "AC" else run for run in runs]
    rows = evidence.tables(changed, "unfused", ["agreement"]).splitlines()
    first, *_, last = [row for row in rows if row.startswith("| `AC`")]
    assert first.endswith(" - |") and last.endswith("| - | - | - |") and "nan" not in first + last


def test_gains_are_paired_by_seed_in_each_file(evidence, runs, tmp_path, capsys):
    few, many = tmp_path / "few.json.gz", tmp_path / "many.json.gz"
    evidence.write(few, runs)
    # One seed has no counterpart.
    evidence.write(many, [made_up("unfused", 1, 10), made_up("AC", 0, 9), made_up("AC", 1, 30)])
    figure = tmp_path / "gains.svg"
    words = ["gains", "AC", f"0={few}", f"4={many}", "--figure", str(figure), "--label", "decoys"]
    assert evidence.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[2] == "| top-1 % | 0 | +10.0, +10.0, +10.0 | +10.0 | +10.0 to +10.0 |"
    assert printed[3] == "| top-1 % | 4 | +50.0 | +50.0 | - |"
    assert "<!-- decoys -->" in figure.read_text()

    gains = evidence.gains({"0": runs}, "AC", "unfused")["agreement"]["0"]
    by_seed = [
        np.nanmean(np.array(new["agreement"][1:]) - np.array(old["agreement"][1:]))
        for old, new in zip(runs[:3], runs[3:], strict=True)
    ]
    np.testing.assert_allclose(gains, by_seed)

    assert evidence.main(["gains", "AC", f"0={tmp_path / 'none.json.gz'}"]) == 1
    assert capsys.readouterr().err == "0: no runs of AC and unfused\n"
