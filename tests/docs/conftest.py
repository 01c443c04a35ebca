"""Reads the commands of a page of the documentation and runs them as a reader would."""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from slowfast_ac.cli import main

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^\s*```(\w*)")
_NUMBER = re.compile(r"(?:(?<![\w.])[+-])?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
# Level and place of a line of a run's log, in the wheel's form and the checkouts'.
_LOG_PREFIX = re.compile(
    r"^\[(?:[A-Z]+: \S+: +\d+\]|\d\d/\d\d [\d:]+\]\[[A-Z]+\] \S+: +\d+): ", re.M
)


@dataclass
class Block:
    """One command and what the page shows of its output, or a block without a command.

    Args:
        words: the command, empty where there is none.
        printed: the lines that the page shows.
        python: whether ``words`` is Python code.
        first: whether it is the first of a fenced block, which starts in the first folder.
    """

    words: str
    printed: list[str] = field(default_factory=list)
    python: bool = False
    first: bool = True

    @property
    def name(self):
        return self.words or self.printed[0]


def read_blocks(path):
    """Returns the blocks of a page in order.

    In a block of bash each line is a command. In one without a language, or of text, a command
    follows a ``$`` and the lines after it are its output. An indented line that starts with
    ``slowfast-ac`` is a command too.
    """
    blocks, language, fresh = [], None, False
    for line in path.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.match(line)
        if fence:
            language, fresh = (fence[1], True) if language is None else (None, False)
        elif language is None:
            if line.startswith("    slowfast-ac "):
                blocks.append(Block(line.strip()))
        elif language == "python":
            if fresh:
                blocks.append(Block("", python=True))
            blocks[-1].words += line + "\n"
            fresh = False
        elif language not in ("", "text", "bash"):
            continue
        elif blocks and not fresh and blocks[-1].words.endswith("\\"):
            blocks[-1].words = blocks[-1].words[:-1] + line.strip()
        elif line.startswith("$ ") or language == "bash":
            blocks.append(Block(line.removeprefix("$ ").strip(), first=fresh))
            fresh = False
        else:
            if fresh:
                blocks.append(Block(""))
            blocks[-1].printed.append(line)
            fresh = False
    return [block for block in blocks if block.words or block.printed]


def masked(text, masks=()):
    """Replaces numbers, runs of blanks and dashes, and what ``masks`` name, by fixed signs."""
    for pattern, replacement in masks:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"-{2,}", "--", _NUMBER.sub("#", text))
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def pattern_of(printed, masks=()):
    """Returns the regular expression of the shown lines: ``...`` is any text, or any lines."""
    parts = []
    for line in masked("\n".join(printed), masks).splitlines():
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(re.escape(line).replace(re.escape("..."), ".*") + r"\n")
    return "".join(parts)


class Reader:
    """Runs commands in a folder; the training commands in processes of their own.

    Args:
        folder: the current directory, whose path is printed as ``/data``.
    """

    def __init__(self, folder):
        self.folder = folder
        self.names = {}

    def __call__(self, words):
        """Runs a command line.

        Returns:
            Its exit status, and what it printed to its output and then to its errors.
        """
        program, *rest = shlex.split(words, comments=True)
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = self._run(program, rest)
        text = output.getvalue() + re.sub(r".*\r", "", errors.getvalue())  # bars of progress
        text = _LOG_PREFIX.sub("", text).replace(os.path.realpath(self.folder), "/data")
        return status, text.replace(str(self.folder), "/data")

    def _run(self, program, words):
        planned = {"--dry-run", "--jobs", "--report"} & {*words}
        if program == "slowfast-ac" and words[0] in ("run", "ablate") and not planned:
            done = subprocess.run(
                [sys.executable, "-m", "slowfast_ac", *words],
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            print(done.stdout + done.stderr)
            return done.returncode
        if program == "slowfast-ac":
            try:
                return main(words)
            except SystemExit as end:
                return end.code
        if program == "python" and words[0] == "-c":
            exec(words[1], {})
            return 0
        if program == "python":
            arguments, sys.argv = sys.argv, words
            try:
                runpy.run_path(words[0], run_name="__main__")
            except SystemExit as end:
                return end.code
            finally:
                sys.argv = arguments
            return 0
        if program == "cat":
            print(Path(words[0]).read_text(encoding="utf-8"), end="")
            return 0
        if program == "cd":
            os.chdir(words[0])
            return 0
        raise AssertionError(f"no way to run {program}: say in NOT_RUN why")

    def python(self, code):
        """Runs Python code in one namespace per page."""
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, "page", "exec"), self.names)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader in an empty folder that has the repository's configs and projects."""
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "projects", "hubconf.py", "slowfast_ac"):
        (tmp_path / name).symlink_to(ROOT / name)
    return Reader(tmp_path)


@pytest.fixture
def save_network(build_model, tiny_cfg):
    """Returns a function: path, config keys and values -> writes a tiny network as upstream does.

    ``names`` are other names for the weights in the file, by default upstream's one.
    """

    def save(path, *opts, names=("model_state",), epoch=195):
        torch.manual_seed(0)
        cfg = tiny_cfg("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, *opts)
        weights = {name: build_model(cfg).state_dict() for name in names}
        torch.save({**weights, "epoch": epoch, "cfg": cfg.dump()}, path)
        return cfg

    return save


# A command, or the first words of one, that no test runs -> the reason.
NOT_RUN = {
    "make demo": "ten minutes; tests/experiments/test_demo.py runs the demo on small lists",
    "make test": "runs these tests",
    "make test-all": "runs these tests",
    "pip install": "installs packages",
    "export": "sets a path of the reader's machine",
    "docker": "needs Docker",
    "ffmpeg": "tests/inference/test_stream_command.py pipes a film",
    "slowfast-ac app": "runs until Ctrl-C; tests/cli/test_app.py opens it in a browser",
    "torchrun": "tests/inference/test_many_videos.py starts the processes",
    "srun": "needs Slurm; tests/inference/test_many_videos.py sets its environment",
    "slowfast-ac ablate configs/suites/table3.yaml --output runs/table3 --submit": "needs Slurm; "
    "tests/experiments/test_submit.py has submitit's executor of this machine",
    "python projects/attention_consistency/clips.py": "generates 5,760 clips",
    "python projects/attention_consistency/human_motion.py": "tests/test_human_motion.py does",
    "slowfast-ac bench loader": "tests/benchmark/test_loader.py",
    "python picture.py": "needs hours of training",
    "python evidence.py collect": "needs hours of training; tests/test_evidence.py collects others",
}
# What is shown and is no output of a command, by its first words.
NO_OUTPUT = {
    "- `unfused`: 81.2 %": "the demo's report after ten minutes",
    "clip ──►": "a drawing",
    "slowfast-ac: runs/table3/AC+SCAM/seed0: holds": "tests/experiments/test_ablate.py has it",
}


@pytest.fixture
def follow(reader):
    """Returns a function that runs a page's commands in order and compares what they print.

    The exit status must be 0, unless the page shows an error or bad lines. Its arguments are:

    - page: its path in the repository.
    - smaller: text of the page's commands and code -> what to run in its place, for tiny sizes.
    - causes: first words of an output that the page shows without a command -> its command.
    - before: first words of a command or output -> a function to call before it.
    - masks: pairs of a regular expression and its replacement, applied to both outputs.
    - code: whether to run the page's Python, too.
    """

    def run(page, smaller=(), causes=(), before=(), masks=(), code=True):
        causes, before, printed = dict(causes), dict(before), ""
        for block in read_blocks(ROOT / page):
            if block.first:
                os.chdir(reader.folder)
            if block.name.startswith((*NOT_RUN, *NO_OUTPUT)) or (block.python and not code):
                continue
            for start in [start for start in before if block.name.startswith(start)]:
                before.pop(start)()
            words = block.words
            for start in [start for start in causes if not words and block.name.startswith(start)]:
                words = causes.pop(start)
            for text, replacement in dict(smaller).items():
                words = words.replace(text, replacement)
            if block.python:
                reader.python(words)
                continue
            if words:
                status, printed = reader(words)
                failed = re.search(r"^(slowfast-ac|line \d+): ", "\n".join(block.printed), re.M)
                assert bool(status) == bool(failed), f"{page}: {words}: {status}\n{printed}"
            pattern = pattern_of(block.printed, masks)
            found = masked(printed, masks) + "\n"
            assert re.search(f"^{pattern}", found, re.M), f"{page}: {block.name}\n{printed}"
        assert not causes and not before, f"{page} no longer has {[*causes, *before]}"

    return run
