"""PYSLOWFAST_ROOTS: one process of pytest for each checkout, and one for the wheel."""

import os
import subprocess
import sys

import pytest

WHERE = """
import os
def test_where():
    assert os.environ["PYSLOWFAST_ROOT"] != {bad!r}
"""


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["nowhere", "/b"])
def test_each_root_has_a_process_of_its_own_and_one_failure_is_enough(request, tmp_path, bad):
    conftest = request.config.rootpath / "tests/conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text())
    (tmp_path / "test_where.py").write_text(WHERE.format(bad=bad))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    needs\n    checkout\n")
    environment = {**os.environ, "PYSLOWFAST_ROOTS": os.pathsep.join(["/a", "/b"])}
    command = [sys.executable, "-m", "pytest", "-q", str(tmp_path)]
    process = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == (bad == "/b")
    end = process.stdout.splitlines()[-3:]
    b = "FAILED" if bad == "/b" else "passed"
    assert end == ["passed  the wheel", "passed  /a", f"{b}  /b"]
