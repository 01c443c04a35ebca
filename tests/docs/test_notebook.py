"""The notebook runs from its first cell to its last, and is stored without outputs."""

import json
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS = json.loads((ROOT / "docs/quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def test_it_is_stored_without_outputs():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_cell_runs(upstream, tmp_path, monkeypatch):
    """Runs the cells as IPython does, where ``!`` starts a command and ``%pip`` installs."""
    monkeypatch.chdir(tmp_path)
    shown, printed, names = [], "", {}
    display = types.SimpleNamespace(Image=lambda path: shown.append(Path(path).read_bytes()[:8]))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    for cell in CODE:
        lines = "".join(cell["source"]).splitlines()
        commands = [line for line in lines if line.startswith(("!", "%"))]
        exec("\n".join(line for line in lines if line not in commands), names)
        for command in commands:
            if command.startswith("%pip install "):
                continue
            words = shlex.split(re.sub(r"{(\w+)}", lambda m: str(names[m[1]]), command[1:]))
            assert words.pop(0) == "slowfast-ac"
            done = subprocess.run(
                [sys.executable, "-m", "slowfast_ac", *words], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            printed += done.stdout + done.stderr
    assert shown == [b"\x89PNG\r\n\x1a\n"] * 2
    assert "ready:" in printed
    assert re.search(r"\| `SlowFastAC` \| 1 \|", printed)
