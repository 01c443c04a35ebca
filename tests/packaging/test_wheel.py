"""What is built for PyPI holds what a pip-installed user needs, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import slowfast_ac

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder of an sdist and of the wheel built from it, in a copy of the source."""
    pytest.importorskip("build")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
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
    command = [sys.executable, "-m", "build", "--no-isolation"]  # needs no network
    subprocess.run([*command, "--outdir", out, source], check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_has_every_module_and_config(wheel):
    package = ROOT / "slowfast_ac"
    wanted = [p for s in ("py", "yaml", "json", "typed") for p in package.rglob(f"*.{s}")]
    names = set(wheel.namelist())
    missing = {path.relative_to(ROOT).as_posix() for path in wanted} - names
    assert not missing
    assert {"slowfast_ac/py.typed", "slowfast_ac/configs/suites/table3.yaml"} <= names


def test_the_wheel_has_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"slowfast_ac"}


def test_the_sdist_has_what_the_wheel_is_built_from_and_no_tests(dist, wheel):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    modules = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert modules | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert not {name for name in names if name.startswith(("tests", "docs", "projects"))}


def test_the_metadata_is_complete(metadata):
    assert metadata["Version"] == slowfast_ac.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"pyslowfast", "zoo", "cpu", "hub", "app", "slurm", "all", "dev"} <= {
        *metadata.get_all("Provides-Extra")
    }


def test_pypi_would_take_both_files(dist):
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_changelog_has_the_version_with_its_date():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith(f"## [{slowfast_ac.__version__}] - 20")]
    assert len(headings) == 1
