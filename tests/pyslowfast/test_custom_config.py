"""The one-line alternative: our function in custom_config.py, and upstream's own launcher."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout


@pytest.fixture
def edited(upstream, tmp_path):
    """A copy of the checkout with the one line, and with the other where it needs that too."""
    root = tmp_path / "SlowFast"
    shutil.copytree(upstream.root, root, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    (root / "slowfast/config/custom_config.py").write_text(
        "from slowfast_ac import add_custom_config\n"
    )
    tool = root / "tools/run_net.py"
    text = tool.read_text()
    # Before June 2021 it imports the networks before the config.
    if "config.defaults" not in text:
        tool.write_text("import slowfast_ac; slowfast_ac.register()\n" + text)
    return root


def test_upstreams_own_launcher_trains_and_tests(upstream, runs, edited, tmp_path):
    _, _, config, opts, *settings = runs.arguments(
        tmp_path / "out", "SOLVER.MAX_EPOCH", 1, "TEST.NUM_ENSEMBLE_VIEWS", 1
    )
    if '"--opts"' not in (edited / "slowfast/utils/parser.py").read_text():
        opts = None
    command = [sys.executable, "tools/run_net.py", "--cfg", config, *filter(None, [opts])]
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(edited)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    del environment["PYSLOWFAST_ROOT"]
    process = subprocess.run(
        [*command, *settings],
        cwd=edited,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-3000:]
    assert '"loss_1"' in process.stdout
    assert '"split": "test_final"' in process.stdout
    assert "repaired Meta's import path" in process.stdout
