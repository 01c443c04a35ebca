"""``slowfast-ac doctor``: what it finds, what it says of gaps, and its exit status."""

import importlib.util
import subprocess
import sys

import pytest

from slowfast_ac.cli import main
from slowfast_ac.pyslowfast import doctor


def test_versions_upstream_and_repairs_are_listed(upstream, capsys):
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    for expected in ("torch ", "torchvision ", "av ", f"PySlowFast: {upstream.kind}", "ready:"):
        assert expected in output
    assert "repaired" in output
    assert "PROBLEM" not in output


def test_a_missing_package_is_named_with_its_command(upstream, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else real(name)
    )
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "scikit-learn MISSING" in output
    assert "run: pip install scikit-learn" in output
    assert "without PySlowFast these work" in output


def test_another_package_may_bring_the_module(upstream, capsys, monkeypatch):
    real = doctor.metadata.version

    def version(package):
        if package == "opencv-python":
            raise doctor.metadata.PackageNotFoundError(package)
        return "1.2.3" if package == "opencv-python-headless" else real(package)

    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(
        doctor.metadata, "packages_distributions", lambda: {"cv2": ["opencv-python-headless"]}
    )
    assert main(["doctor"]) == 0
    assert "opencv-python as opencv-python-headless 1.2.3\n" in capsys.readouterr().out


def test_a_wrong_path_is_a_problem(upstream, capsys, tmp_path):
    assert main(["doctor", "--pyslowfast", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert f"{tmp_path} is not a checkout of PySlowFast" in output
    assert "without PySlowFast these work: inspect, convert, export, predict, features" in output


def test_without_one_of_our_own_packages_nothing_is_said_to_work(upstream, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "av" else real(name)
    )
    assert main(["doctor"]) == 1
    assert "these work" not in capsys.readouterr().out


def test_every_required_module_is_one_that_this_python_has():
    for module in doctor.REQUIRED:
        assert importlib.util.find_spec(module), module


@pytest.mark.slow
def test_two_spawned_workers_register_repair_train_and_agree():
    command = [sys.executable, "-m", "slowfast_ac", "doctor", "--workers", "2"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "2 workers trained one step; parameters differ by 0\n" in process.stdout


def test_workers_that_disagree_are_reported(upstream, capsys, monkeypatch):
    monkeypatch.setattr("slowfast_ac.pyslowfast.workers.check_workers", lambda *_: 0.5)
    assert main(["doctor", "--workers", "2"]) == 1
    assert "PROBLEM: the workers do not agree" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["psutil"])
def test_a_run_without_a_package_says_so_in_one_line(missing):
    script = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from slowfast_ac.cli import main\n"
        "sys.exit(main(['run', '--cfg', 'nowhere.yaml', '--pyslowfast', sys.argv[1]]))\n"
    )
    import os

    root = os.environ.get("PYSLOWFAST_ROOT")
    if not root:
        pytest.skip("the wheel imports no psutil")
    process = subprocess.run(
        [sys.executable, "-c", script, root], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "PySlowFast needs the package psutil" in process.stderr.splitlines()[-1]
