"""What a run prints: a line for people where the log has dozens. The log keeps them all."""

import functools
import importlib
import logging
import re
import sys

import simplejson

from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.log import accuracies, accuracy_text, parse_stats
from slowfast_ac.pyslowfast.repairs import log_repairs

# In seconds. A job of days on a cluster should not print a line per step.
INTERVAL = 10.0
# The config (which is in config.yaml), what nvidia-smi is about to print, and what lines of epochs
# and tests have already.
_HIDDEN = re.compile(
    r"(Train|Test) with config|nvidia-smi$|(Params|Mem|Flops|Activations): |Epoch \d+ takes"
    r"|For epoch \d+, each|Finalized testing|training done|_p\d"
)


class Console(logging.Handler):
    """Prints a run's log: an epoch or a test in one line, and messages without their place.

    On a terminal the line of a step overwrites the one before. Elsewhere, one comes every ten
    seconds at most.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._next = 0.0
        self._passing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record, or nothing."""
        try:
            self._print(record)
        except Exception:
            self.handleError(record)

    def _print(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        stats = parse_stats(text)
        step = False
        if stats is not None:
            step, text = describe(stats)
            if step and record.created < self._next and not sys.stdout.isatty():
                return
            self._next = record.created + INTERVAL
        elif _is_detail(record, text):
            return
        elif record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if not text:
            return
        # Not the stream of when the handler was made: notebooks replace it.
        stream = sys.stdout
        passing = step and stream.isatty()
        start = "\r\x1b[K" if self._passing else ""
        stream.write(f"{start}{text}" if passing else f"{start}{text}\n")
        stream.flush()
        self._passing = passing


def _is_detail(record: logging.LogRecord, text: str) -> bool:
    if getattr(record, "detail", False) or _HIDDEN.match(text):
        return True
    if record.name.startswith("slowfast_ac"):
        return False
    return record.name.startswith("fvcore.nn") or "\n" in text or len(text) > 1000


def print_for_people() -> None:
    """Has the log that upstream has just opened print through :class:`Console`."""
    root = logging.getLogger()
    for handler in root.handlers:
        # Its files are StreamHandlers, too.
        if isinstance(handler, logging.StreamHandler) and handler.stream in (
            sys.stdout,
            sys.__stdout__,
        ):
            root.removeHandler(handler)
            root.addHandler(Console())
            return


def extend_logging(upstream: Upstream) -> None:
    """Has a checkout's logs begin with the repairs and print for people.

    A second call changes nothing.
    """
    module = importlib.import_module("slowfast.utils.logging")
    original = module.setup_logging
    # The wheel's loop opens its log itself.
    if upstream.kind == "wheel" or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def setup_logging(output_dir: str | None = None) -> None:
        original(output_dir)
        print_for_people()
        log_repairs(output_dir)

    module.setup_logging = setup_logging


def describe(stats: dict) -> tuple[bool, str]:
    """Returns whether one of PySlowFast's ``json_stats`` is about a step, and its line.

    The line is empty for a step of a validation.
    """
    kind = stats.get("_type", stats.get("split", "")).rstrip("_")
    # Those of detection are named otherwise, as the test of one.
    epoch = f"epoch {stats.get('epoch', stats.get('cur_epoch'))}"
    step = stats.get("iter", stats.get("cur_iter"))
    if kind == "train_iter":
        return True, f"{epoch}  step {step}  {'  '.join(_numbers(stats))}  {stats['eta']} left"
    if kind == "train_epoch":
        return False, "  ".join([f"{epoch}  training", *_numbers(stats)])
    if kind == "val_epoch":
        return False, f"{epoch}  validation  {accuracy_text(accuracies(stats))}"
    if kind == "test_iter":
        return True, f"test  batch {step}  {stats['eta']} left"
    if kind == "test_final":
        return False, f"test  {accuracy_text(accuracies(stats))}"
    if kind == "val_iter":
        return True, ""
    return False, simplejson.dumps(stats)


def _numbers(stats: dict) -> list[str]:
    """Returns the losses, learning rate and accuracy that a line has."""
    keys = [key for key in sorted(stats) if re.fullmatch(r"loss(_\d+)?|lr", key)]
    accuracy = accuracy_text(accuracies(stats))
    return [f"{key} {float(stats[key]):.4g}" for key in keys] + ([accuracy] if accuracy else [])
