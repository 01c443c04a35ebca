"""A PySlowFast that cannot work is refused in one line, by doctor and by run alike."""

import os
import subprocess
import sys

import pytest

CODE = {
    "slowfast/__init__.py": "",
    "slowfast/config/__init__.py": "",
    "slowfast/config/defaults.py": "from fvcore.common.config import CfgNode\n_C = CfgNode()\n",
    "slowfast/models/__init__.py": "",
    "tools/train_net.py": "",
    "tools/test_net.py": "",
    "tools/visualization.py": "",
}


@pytest.fixture
def old(tmp_path):
    """A checkout of an age that nobody has tried, which has none of the modules of today."""
    for name, text in CODE.items():
        path = tmp_path / "SlowFast" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "SlowFast"


def slowfast_ac(*args):
    usual = {name: value for name, value in os.environ.items() if name != "PYSLOWFAST_ROOT"}
    command = [sys.executable, "-m", "slowfast_ac", *map(str, args)]
    return subprocess.run(command, env=usual, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("dated", [True, False])
def test_doctor_and_run_name_it_its_age_and_what_to_do(old, dated):
    if dated:
        git = ["git", "-C", str(old), "-c", "user.name=a", "-c", "user.email=a@b"]
        date = {**os.environ, "GIT_COMMITTER_DATE": "2019-11-22T12:00:00Z"}
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Start"]):
            subprocess.run([*git, *command], env=date, check=True)
    doctor = slowfast_ac("doctor", "--pyslowfast", old)
    run = slowfast_ac("run", "--cfg", "nowhere.yaml", "--pyslowfast", old)
    assert (doctor.returncode, run.returncode) == (1, 2)
    (problem,) = [line for line in doctor.stdout.splitlines() if line.startswith("PROBLEM: ")]
    assert run.stderr.splitlines() == ["slowfast-ac: " + problem.removeprefix("PROBLEM: ")]
    age = " of 2019-11-22" if dated else ""
    assert f"{old}: this PySlowFast{age} cannot be used (ModuleNotFoundError" in problem
    assert "use a newer one" in problem
    assert "ready" not in doctor.stdout
