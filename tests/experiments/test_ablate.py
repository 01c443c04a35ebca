"""Suites: planned, run once, killed and run again, and reported."""

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from slowfast_ac.cli import main
from slowfast_ac.errors import InputError
from slowfast_ac.experiments.ablate import (
    is_finished,
    require_same_settings,
    run_all,
)
from slowfast_ac.experiments.report import write_report
from slowfast_ac.experiments.suite import load_suite, plan
from slowfast_ac.pyslowfast.log import parse_stats

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"


def write_suite(folder, **changes):
    suite = {
        "title": "A test",
        "base": str(CONFIG),
        "baseline": "unfused",
        "seeds": [0, 1],
        "variants": {
            "unfused": {"MODEL.LOSS_FUNC": "cross_entropy"},
            "ac": None,
        },
        "paper": {"unfused": {"top1": 73.5}},
        **changes,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


def options(lists):
    opts = ["DATA.PATH_TO_DATA_DIR", lists, "MODEL.NUM_CLASSES", 3, "DATA.NUM_FRAMES", 8]
    opts += ["DATA.TRAIN_JITTER_SCALES", [64, 72], "SOLVER.MAX_EPOCH", 1, "LOG_PERIOD", 1]
    return [str(opt) for opt in [*opts, "TEST.NUM_ENSEMBLE_VIEWS", 1]]


SUITES = [*(ROOT / "configs/suites").glob("*.yaml"), *(ROOT / "projects").rglob("*_clips.yaml")]


@pytest.mark.parametrize("path", sorted(SUITES), ids=lambda path: path.stem)
def test_every_shipped_suite_names_keys_that_exist(upstream, path):
    from slowfast_ac.pyslowfast.config_file import load_config

    for run in plan(load_suite(path), "output"):
        load_config(run.cfg, run.opts)


def test_variants_are_run_seed_by_seed(tmp_path):
    runs = plan(load_suite(write_suite(tmp_path)), tmp_path / "output", ["A.B", "1"])
    assert [run.name for run in runs] == ["unfused:0", "ac:0", "unfused:1", "ac:1"]
    assert runs[0].opts == ("MODEL.LOSS_FUNC", "cross_entropy", "A.B", "1")
    assert "RNG_SEED 1" in str(runs[3])


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("RNG_SEED", "choose the seeds with --seeds"),
        ("OUTPUT_DIR", "choose the folder of all runs with --output"),
        ("TEST.SAVE_RESULTS_PATH", "the report reads test_results.pkl"),
    ],
)
def test_keys_that_each_run_has_of_its_own_are_refused(tmp_path, key, advice):
    suite = load_suite(write_suite(tmp_path))
    with pytest.raises(InputError, match=f"^--opts: {key}: each run has its own; {advice}"):
        plan(suite, tmp_path, ["LOG_PERIOD", "1", key, "3"])


def test_keys_in_which_variants_differ_are_refused_for_all(tmp_path):
    suite = load_suite(write_suite(tmp_path, common={"AC.LAMBDA": 0.5}))
    with pytest.raises(InputError, match="^--opts: MODEL.LOSS_FUNC: the variants differ in it"):
        plan(suite, tmp_path, ["MODEL.LOSS_FUNC", "cross_entropy"])
    runs = plan(suite, tmp_path, ["AC.LAMBDA", "1.5"])
    assert [run.opts[-2:] for run in runs] == [("AC.LAMBDA", "1.5")] * 4


def test_suites_in_one_folder_share_their_common_runs(tmp_path):
    shared = {
        run
        for name in ("table3", "table5", "reading")
        for run in plan(load_suite(ROOT / f"configs/suites/{name}.yaml", CONFIG), tmp_path)
        if run.variant == "AC+SCAM"
    }
    assert sorted(run.seed for run in shared) == [0, 1, 2]


def test_common_keys_come_before_the_variants_own(tmp_path):
    common = {"MODEL.LOSS_FUNC": "attention_consistency", "AC.LAMBDA": 0.5}
    suite = load_suite(write_suite(tmp_path, common=common))
    assert suite.variants["ac"] == common
    assert suite.variants["unfused"] == {**common, "MODEL.LOSS_FUNC": "cross_entropy"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "fused"}, "fused is not one of the variants unfused, ac"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml does not exist"),
        ({"runs": {}}, "unknown entry runs"),
        ({"common": ["AC.LAMBDA"]}, "common: .* is not a mapping"),
        ({"base": 3}, "base: 3 is not text"),
        ({"seeds": 3}, "seeds: 3 is not a list"),
        ({"seeds": [0, "1"]}, r"seeds: \[0, '1'\] are not different integers"),
        ({"seeds": [0, 0]}, r"seeds: \[0, 0\] are not different integers"),
        ({"seeds": []}, r"seeds: \[\] are not different integers"),
        ({"variants": ["ac"]}, "variants: .* is not a mapping"),
        ({"variants": {"unfused": 3}}, "variants: unfused: 3 is not a mapping of config keys"),
        ({"variants": {"unfused": {}, "../x": {}}}, "variants: '../x' is no name"),
        ({"variants": {"unfused": {}, 3: {}}}, "variants: 3 is no name"),
        ({"variants": {"unfused": {"RNG_SEED": 3}}}, "RNG_SEED: each run has its own"),
        ({"common": {"OUTPUT_DIR": "x"}}, "OUTPUT_DIR: each run has its own"),
        ({"paper": {"other": {}}}, "other is not one of the variants"),
    ],
)
def test_a_wrong_suite_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_suite(write_suite(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "not yaml, it is not text"),
        (b"a: [1", "not valid yaml: .* line 1"),
        (b"- a\n", "a suite needs the entries base, baseline and variants"),
        (b"base: x.yaml\n", "a suite needs the entries base, baseline and variants"),
        (None, "there is no such suite"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(tmp_path, content, message):
    path = tmp_path / "suite.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: {message}"):
        load_suite(path)


def test_an_unknown_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="--only: ac:7 is not one of"):
        plan(load_suite(write_suite(tmp_path)), tmp_path, only=["ac:7"])


def test_dry_run_and_jobs_print_commands(tmp_path, capsys):
    suite = str(write_suite(tmp_path))
    assert main(["ablate", suite, "--output", str(tmp_path / "o"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("slowfast-ac run --cfg ") for line in lines)
    assert main(["ablate", suite, "--output", str(tmp_path / "o"), "--jobs"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("--only ac:0")


def finished(run):
    """Makes a run's folder look as if it had run."""
    from slowfast_ac.pyslowfast.config_file import load_config

    run.folder.mkdir(parents=True)
    record = {"status": "finished", "arguments": run.arguments, "peak_resident_mebibytes": 7}
    (run.folder / "run.json").write_text(json.dumps(record))
    (run.folder / "config.yaml").write_text(load_config(run.cfg, run.all_opts).dump())


def test_finished_runs_with_other_settings_are_refused(upstream, tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(f"_BASE_: {CONFIG}\nSOLVER:\n  MAX_EPOCH: 3\n")
    runs = plan(load_suite(write_suite(tmp_path, seeds=[0]), base), tmp_path / "output")
    finished(runs[0])
    require_same_settings(runs)

    base.write_text(f"_BASE_: {CONFIG}\nSOLVER:\n  MAX_EPOCH: 4\n")
    with pytest.raises(InputError, match="seed0: .* with SOLVER.MAX_EPOCH 3, but 4 now; choose"):
        require_same_settings(runs)


def test_an_unfinished_run_is_not_continued_under_other_settings(upstream, tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(f"_BASE_: {CONFIG}\nSOLVER:\n  MAX_EPOCH: 3\n")
    runs = plan(load_suite(write_suite(tmp_path, seeds=[0]), base), tmp_path / "output")
    finished(runs[0])
    (runs[0].folder / "run.json").unlink()
    base.write_text(f"_BASE_: {CONFIG}\nSOLVER:\n  MAX_EPOCH: 4\n")
    # Without a checkpoint it starts from scratch.
    require_same_settings(runs, runs)

    (runs[0].folder / "checkpoints").mkdir()
    (runs[0].folder / "checkpoints/checkpoint_epoch_00001.pyth").touch()
    with pytest.raises(InputError, match="an unfinished run with SOLVER.MAX_EPOCH 3, but 4 now"):
        require_same_settings(runs, runs)
    # It is not continued by other jobs or for a report.
    require_same_settings(runs, runs[1:])
    immaterial = "NUM_SHARDS: 2\nDATA_LOADER:\n  NUM_WORKERS: 5\n"
    base.write_text(f"_BASE_: {CONFIG}\n{immaterial}SOLVER:\n  MAX_EPOCH: 3\n")
    require_same_settings(runs, runs)


def test_a_seed_that_is_given_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="--seeds: 0 1 0 are not different seeds"):
        plan(load_suite(write_suite(tmp_path)), tmp_path, seeds=[0, 1, 0])


@pytest.mark.parametrize("figures", [75.6, None, {"accuracy": 75.6}])
def test_figures_of_the_paper_that_are_none_are_refused(tmp_path, figures):
    with pytest.raises(InputError, match=r"suite.yaml: paper: ac: .* is not a mapping of gflops"):
        load_suite(write_suite(tmp_path, paper={"ac": figures}))


def test_differences_are_over_the_seeds_that_both_have(tmp_path, monkeypatch):
    from slowfast_ac.experiments import report

    top1 = {"unfused:0": 80, "unfused:1": 90, "unfused:2": 100, "ac:0": 82}
    monkeypatch.setattr(report, "is_finished", lambda run: run.name in top1)
    monkeypatch.setattr(report, "measure", lambda run: {"top1": float(top1[run.name])})
    suite = load_suite(write_suite(tmp_path, seeds=[0, 1, 2], paper={}))
    text = write_report(suite, plan(suite, tmp_path), tmp_path).read_text()
    assert "| `unfused` | 3 | 90.0 ± 10.0 |" in text
    # Not 82 minus the mean of all three seeds.
    assert "| `ac` | 1 | 82.0 (+2.0) |" in text
    assert "Not finished: ac:1, ac:2." in text
    # One seed has no deviation.
    assert json.loads((tmp_path / "report.json").read_text())["variants"]["ac"]["top1"] == [
        82,
        None,
    ]
    assert "\nac,1,82.0,\n" in (tmp_path / "report.csv").read_text().replace("\r", "")


def test_an_output_that_is_a_file_is_refused_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["ablate", str(write_suite(tmp_path)), "--output", str(tmp_path / "file")]
    assert main(words) == 2
    assert "--output: " in capsys.readouterr().err


def test_a_default_that_changed_since_a_run_is_named(upstream, tmp_path, capsys):
    suite, output = str(write_suite(tmp_path, seeds=[0])), tmp_path / "output"
    run = plan(load_suite(suite), output)[0]
    finished(run)
    path = run.folder / "config.yaml"
    text = path.read_text()
    assert "FRAME_STRIDE: 2" in text
    path.write_text(text.replace("FRAME_STRIDE: 2", "FRAME_STRIDE: 3"))
    assert main(["ablate", suite, "--output", str(output)]) == 2
    assert "a finished run with SCAM.FRAME_STRIDE 3, but 2 now" in capsys.readouterr().err


def test_a_multi_label_run_is_reported_by_its_mean_average_precision(upstream, tmp_path):
    suite = load_suite(write_suite(tmp_path, seeds=[0]))
    runs = plan(suite, tmp_path / "output")
    scores = torch.tensor([[0.9, 0.8], [0.1, 0.7], [0.5, 0.2], [0.4, 0.1]])
    labels = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]])
    for run in runs:
        finished(run)
        (run.folder / "test_results.pkl").write_bytes(pickle.dumps([scores, labels]))
        (run.folder / "stdout.log").write_text('json_stats: {"_type": "val_epoch", "map": 0.25}\n')
    text = write_report(suite, runs, tmp_path).read_text()
    cells = json.loads((tmp_path / "report.json").read_text())["variants"]["ac"]
    # Right first and third of four for class 0, second and third for class 1.
    assert cells["map"][0] == pytest.approx(100 * ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2)
    assert cells["clip_map"][0] == 25
    assert "mAP (video) %" in text
    assert "top-1" not in text


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        (["--only", "ac:1"], ["ac:1"]),
        ([], ["unfused:0", "ac:0", "unfused:1", "ac:1"]),
        (["--only", "ac:1", "--report"], ["unfused:0", "ac:0", "unfused:1", "ac:1"]),
    ],
)
def test_jobs_that_share_a_folder_measure_only_their_own_runs(
    tmp_path, monkeypatch, words, measured
):
    from slowfast_ac.experiments import ablate, report

    names, page = [], tmp_path / "suite.md"
    page.write_text("")
    monkeypatch.setattr(ablate, "is_finished", lambda run: True)
    monkeypatch.setattr(ablate, "run_all", lambda runs, parallel: [])
    monkeypatch.setattr(ablate, "require_same_settings", lambda *_: None)
    monkeypatch.setattr(
        report, "measure_attention", lambda runs: names.extend(r.name for r in runs)
    )
    monkeypatch.setattr(report, "write_report", lambda *_: page)
    assert main(["ablate", str(write_suite(tmp_path)), "--output", str(tmp_path), *words]) == 0
    assert names == measured


@pytest.mark.slow
def test_a_killed_suite_continues_where_it_stopped(
    upstream, video_lists, tmp_path, session_members
):
    output = tmp_path / "output"
    suite = write_suite(tmp_path, seeds=[0])
    command = [sys.executable, "-m", "slowfast_ac", "ablate", str(suite), "--output", str(output)]
    command += ["--opts", *options(video_lists), "SOLVER.MAX_EPOCH", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE
    )
    first = output / "unfused/seed0/run.json"
    cut = output / "ac/seed0"
    checkpoint = cut / "checkpoints/checkpoint_epoch_00001.pyth"
    deadline = time.monotonic() + 200
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    # The suite alone: its run must not go on and write beside the one that resumes it.
    process.kill()
    process.wait()
    while session_members(process.pid):
        time.sleep(0.02)
    assert not (cut / "test_results.pkl").exists()
    assert json.loads(first.read_text())["status"] == "finished"
    finished_at = first.stat().st_mtime_ns

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert first.stat().st_mtime_ns == finished_at, "a finished run was run again"
    log = map(parse_stats, (cut / "stdout.log").read_text().splitlines())
    epochs = [line["epoch"] for line in log if line and line.get("_type") == "train_epoch"]
    assert epochs == ["1/2", "2/2"], "the cut run did not resume"
    report = json.loads((output / "suite.json").read_text())
    for variant in ("unfused", "ac"):
        cells = report["variants"][variant]
        assert cells["seeds"] == 1
        assert 0 <= cells["top1"][0] <= 100
        assert 0 <= cells["clip_top1"][0] <= 100
        assert cells["top5"][0] == cells["clip_top5"][0] == 100  # three classes
    text = (output / "suite.md").read_text()
    assert "*paper: 73.5*" in text
    for name in ("suite.csv", "suite.png"):
        assert (output / name).stat().st_size > 0

    # One failed run neither stops the others nor is taken for finished.
    other = [*command[:-1], "1", "NO.SUCH_KEY", "1"]
    other[other.index(str(output))] = str(tmp_path / "failing")
    failing = subprocess.run(other, env=environment, capture_output=True, text=True, check=False)
    assert failing.returncode == 1
    assert "failed: unfused:0" in failing.stdout
    assert "failed: ac:0" in failing.stdout
    assert "Not finished: unfused:0, ac:0." in failing.stdout


MEET = "import os, sys, time; open(sys.argv[1], 'w').close()\n"
MEET += "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
MEET += "print(os.environ['OMP_NUM_THREADS'])"


def test_parallel_runs_share_the_cores_and_a_failed_one_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    scripts = {"a": [MEET, here, there], "b": [MEET, there, here], "c": ["raise SystemExit(3)"]}
    runs = [
        SimpleNamespace(
            name=name,
            folder=tmp_path / name,
            command=[sys.executable, "-c", *words],
            arguments=[name],
        )
        for name, words in scripts.items()
    ]
    assert run_all(runs, parallel=2) == ["c"]
    assert [is_finished(run) for run in runs] == [True, True, False]
    assert [(run.folder / "output.txt").read_text() for run in runs[:2]] == ["3\n", "3\n"]
    with pytest.raises(InputError, match="--parallel: 0 is less than one run at a time"):
        run_all(runs, parallel=0)
