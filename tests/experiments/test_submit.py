"""Runs are submitted as jobs with submitit's local executor; Slurm itself is not tried."""

import json
import shutil

import pytest

from slowfast_ac.cli import main
from slowfast_ac.errors import InputError
from slowfast_ac.experiments.submit import parse_parameters, submit

submitit = pytest.importorskip("submitit")


def test_values_are_numbers_where_they_look_like_it():
    words = ["slurm_partition=gpu", "timeout_min=720", "slurm_time=12:00:00", "slurm_comment=a=b"]
    assert parse_parameters(words) == {
        **{"slurm_partition": "gpu", "timeout_min": 720},
        **{"slurm_time": "12:00:00", "slurm_comment": "a=b"},
    }
    assert parse_parameters(["slurm_comment=[a"]) == {"slurm_comment": "[a"}
    with pytest.raises(InputError, match="--submit: 'gpu'; give KEY=VALUE"):
        parse_parameters(["gpu"])


@pytest.mark.slow
def test_each_command_is_a_job_and_a_failure_is_reported(tmp_path):
    commands = [["--version"], ["inspect", str(tmp_path / "nothing.pyth")]]
    good, bad = submit(commands, tmp_path / "jobs", {"cluster": "local", "timeout_min": 5})
    assert good.result().startswith("slowfast_ac ")
    assert isinstance(bad.exception(), Exception)
    assert "nothing.pyth" in bad.stderr() + str(bad.exception())
    assert len(list((tmp_path / "jobs").glob("*_log.out"))) == 2


def test_missing_slurm_and_unknown_parameters_give_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match='--submit: Could not detect "srun"'):
        submit([["--version"]], tmp_path / "jobs", {})
    with pytest.raises(InputError, match="--submit: .*partitoin"):
        submit([["--version"]], tmp_path / "jobs", {"cluster": "local", "slurm_partitoin": "a"})
    with pytest.raises(InputError, match="--submit: .*mars"):
        submit([["--version"]], tmp_path / "jobs", {"cluster": "mars"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_submits_what_the_printed_list_says(tmp_path, capsys, monkeypatch):
    jobs = []
    monkeypatch.setattr(
        "slowfast_ac.experiments.submit.submit",
        lambda *args: jobs.extend(submit(*args)) or jobs,
    )
    config = tmp_path / "base.yaml"
    config.write_text("NO_SUCH_KEY: 1\n")
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"base: {config}\nbaseline: a\nseeds: [0, 1]\nvariants: {{a: , b: }}\n")
    finished = tmp_path / "out/a/seed1"
    finished.mkdir(parents=True)
    words = ["ablate", str(suite), "--output", str(tmp_path / "out")]
    opts = ["--opts", "LOG_PERIOD", "3"]
    main([*words, "--jobs", *opts])
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 4

    assert main([*words, "--only", "b:0", "--submit", "cluster=local", "timeout_min=5", *opts]) == 0

    told = capsys.readouterr().out.splitlines()
    (job,) = jobs
    assert told[0] == f"job {job.job_id}: {listed[1]}"
    # The run itself fails: its config has an unknown key.
    assert job.exception() is not None
    folder = tmp_path / "out/b/seed0"
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert "NO_SUCH_KEY" in (folder / "output.txt").read_text()
