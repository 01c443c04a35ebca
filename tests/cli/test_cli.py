"""The command line answers at once where it has nothing to compute."""

import subprocess
import sys
import warnings

import pytest

import slowfast_ac
from slowfast_ac.cli import COMMANDS, build_parser, main

# Prints the modules that help and errors import beyond those of Python and its start-up.
HELP = f"""
import contextlib, io, sys
before = set(sys.modules)
from slowfast_ac.cli import main
for words in [['--help'], *([name, end] for name in {list(COMMANDS)} for end in ENDS)]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try: main(words)
        except SystemExit as end: assert bool(end.code) == (words[-1] != '--help'), words
found = {{name.partition('.')[0] for name in set(sys.modules) - before}}
print(sorted(found - set(sys.stdlib_module_names) - {{'slowfast_ac'}}))
"""


def test_help_and_wrong_arguments_import_python_alone():
    script = HELP.replace("ENDS", "('--help', '--nonsense')")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_a_wrong_argument_shows_the_commands_own_usage(capsys):
    with pytest.raises(SystemExit):
        main(["inspect", "weights.pyth", "--topk", "2"])
    error = capsys.readouterr().err
    assert error.startswith("usage: slowfast-ac inspect ")
    assert error.endswith("slowfast-ac inspect: error: unrecognized arguments: --topk 2\n")


@pytest.mark.parametrize("words", [[], ["traim"], ["--versoin"], ["--", "inspect"]])
def test_a_wrong_command_is_refused_with_the_right_ones(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "slowfast-ac: error: " in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"slowfast_ac {slowfast_ac.__version__}\n"


def test_a_closed_pipe_ends_the_command_silently():
    command = [sys.executable, "-m", "slowfast_ac", "configs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_pipe_that_broke_elsewhere_is_an_error(monkeypatch):
    from slowfast_ac.cli import inspect

    def lose_a_worker(args):
        raise BrokenPipeError

    monkeypatch.setattr(inspect, "main", lose_a_worker)
    with pytest.raises(BrokenPipeError):
        main(["inspect", "weights.pyth"])


@pytest.mark.parametrize("module", ["sklearn", "cv2"])
def test_a_missing_package_is_one_line_with_its_name_on_pypi(monkeypatch, capsys, module):
    def fail(_):
        raise ModuleNotFoundError(f"No module named '{module}.x'", name=f"{module}.x")

    monkeypatch.setattr("slowfast_ac.cli.compare.main", fail)
    assert main(["compare", "a", "b"]) == 2
    package = {"sklearn": "scikit-learn", "cv2": "opencv-python"}[module]
    assert capsys.readouterr().err == (
        f"slowfast-ac: compare needs the package {package}, which is missing; run: pip install "
        f"{package}\n"
    )


def test_a_module_of_this_package_that_is_missing_is_a_fault_and_shown(monkeypatch):
    def fail(_):
        raise ModuleNotFoundError("No module named 'slowfast_ac.x'", name="slowfast_ac.x")

    monkeypatch.setattr("slowfast_ac.cli.compare.main", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["compare", "a", "b"])


def test_an_old_name_of_a_flag_still_works_and_names_the_new_one():
    parser = build_parser("predict")
    with pytest.warns(FutureWarning, match="--fast is deprecated; use --single-view"):
        args = parser.parse_args(["weights.pyth", "video.mp4", "--fast"])
    assert args.single_view
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parser.parse_args(["weights.pyth", "video.mp4", "--single-view"]).single_view
    assert not parser.parse_args(["weights.pyth", "video.mp4"]).single_view
