"""The ``slowfast-ac`` command: one file per subcommand, imported only when it is called.

A subcommand ``some-name`` is the module ``slowfast_ac.cli.some_name`` with two functions:
``add_arguments(parser)`` and ``main(args)``, whose return value, if any, is the exit status.
"""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from slowfast_ac.errors import line_of
from slowfast_ac.version import __version__

COMMANDS = {
    "run": "train and test a config with PySlowFast's own loop",
    "demo": "make a small action data set, train the baseline and the method on it, compare",
    "doctor": "print which PySlowFast is found, what is repaired and what is missing",
    "explain": "print what a config means: seconds, steps, learning rate, maps, cost",
    "configs": "list the configs that come with the package, or copy one",
    "prepare": "turn Kinetics, UCF101, HMDB51 or a folder into lists, a class map and a config",
    "check-data": "decode every video of a list and name the bad lines",
    "ablate": "run a suite of variants and seeds, and write its report",
    "evaluate": "accuracy, classes, calibration and mistakes of one test result",
    "compare": "compare two test results class by class, with tests of significance",
    "heatmap": "draw where a trained network looks, over the frames of a video",
    "inspect": "print what a checkpoint file contains",
    "convert": "rename a checkpoint's weights between PySlowFast, PyTorchVideo and caffe2",
    "export": "write an inference model, weights or a folder for the Hub, checked against eager",
    "predict": "name the actions in videos",
    "app": "serve a local page for trying a network",
    "features": "write a network's pooled features or maps of videos",
    "bench": "measure training, inference and decoding against the fused baseline",
}

# Module -> the package that brings it, where their names differ.
PACKAGES = {"cv2": "opencv-python", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of one command; for None, the parser of all names, without imports."""
    if command:
        summary = COMMANDS[command]
        parser = argparse.ArgumentParser(prog=f"slowfast-ac {command}", description=summary)
        _module(command).add_arguments(parser)
        return parser
    parser = argparse.ArgumentParser(
        prog="slowfast-ac", description="Attention-consistency SlowFast for PySlowFast."
    )
    parser.add_argument("--version", action="version", version=f"slowfast_ac {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Returns:
        The exit status: 0, 2 for bad input, 130 if interrupted, 141 if the reader of its output
        went away, or the subcommand's own.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in COMMANDS:
        # Prints the help, the version or an error, and exits.
        build_parser().parse_args(argv[:1])
    command = argv[0]
    args = build_parser(command).parse_args(argv[1:])
    # PyTorchVideo and PySlowFast cause these at import, whatever the user does.
    warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated")
    warnings.filterwarnings("ignore", message=r".*torch\.cuda\.amp.*deprecated")
    warnings.filterwarnings("ignore", message=r".*_(functional|transforms)_video' module")
    try:
        status = _module(command).main(args) or 0
        sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "slowfast", "slowfast_ac"):
            raise
        package = PACKAGES.get(name, name)
        print(
            f"slowfast-ac: {command} needs the package {package}, which is missing; run: pip "
            f"install {package}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("slowfast-ac: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return 141
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        print(f"slowfast-ac: {line}", file=sys.stderr)
        return 2


def _reader_is_gone() -> bool:
    """Returns whether the program that read the output, such as ``head``, has closed it."""
    try:
        print(flush=True)
    except BrokenPipeError:
        # Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _module(command: str):
    return importlib.import_module(f"slowfast_ac.cli.{command.replace('-', '_')}")
