"""What is built for PyPI holds what a pip-installed user needs, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names of the wheel's files, built in a copy: setuptools writes beside its source."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    if files == [""]:
        pytest.skip("not a git checkout")
    for name in filter(None, files):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "-w", out, source]  # needs no network
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_every_module_and_config(names):
    package = ROOT / "slowfast_ac"
    wanted = [p for s in ("py", "yaml", "json", "typed") for p in package.rglob(f"*.{s}")]
    missing = {path.relative_to(ROOT).as_posix() for path in wanted} - names
    assert not missing
    assert {"slowfast_ac/py.typed", "slowfast_ac/configs/suites/table3.yaml"} <= names


def test_the_wheel_has_nothing_else(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"slowfast_ac"}
