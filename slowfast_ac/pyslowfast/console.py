"""Prints a short, readable form of a run's log; the log file keeps every line."""

import contextlib
import functools
import importlib
import logging
import re
import sys
from collections.abc import Iterator

import simplejson

from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.log import accuracies, accuracy_text, parse_stats
from slowfast_ac.pyslowfast.repairs import log_repairs

# Seconds between the lines of steps, so that a long job on a cluster does not print one per step.
INTERVAL = 10.0
# Messages to hide: the config (which is in config.yaml), the line before nvidia-smi's output, and
# those that repeat the lines of epochs and tests.
_HIDDEN = re.compile(
    r"(Train|Test) with config|nvidia-smi$|(Params|Mem|Flops|Activations): |Epoch \d+ takes"
    r"|For epoch \d+, each|Finalized testing|training done|_p\d"
)
# Other launchers print upstream's log as it is.
_for_people = False


class Console(logging.Handler):
    """Prints a run's log: one line for each epoch or test, and messages without their source.

    On a terminal, the line of a step overwrites the previous one. Elsewhere, it is printed at most
    every ten seconds.
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
        # Looked up for each record, since notebooks replace sys.stdout.
        stream = sys.stdout
        passing = step and stream.isatty()
        start = "\r\x1b[K" if self._passing else ""
        stream.write(f"{start}{text}" if passing else f"{start}{text}\n")
        stream.flush()
        self._passing = passing


def _is_detail(record: logging.LogRecord, text: str) -> bool:
    if getattr(record, "detail", False) or _HIDDEN.match(text):
        return True
    if record.name.startswith("fvcore.nn"):
        return True
    if record.name.startswith("slowfast_ac") or record.levelno >= logging.WARNING:
        return False
    return "\n" in text or len(text) > 1000


@contextlib.contextmanager
def for_people() -> Iterator[None]:
    """Has the logs that open inside the block print through :class:`Console`."""
    global _for_people
    before, _for_people = _for_people, True
    try:
        yield
    finally:
        _for_people = before


def log_opened(output_dir: str | None) -> None:
    """Adds the repairs to the log that upstream has just opened, and sets how it prints."""
    root = logging.getLogger()
    for handler in list(root.handlers) if _for_people else []:
        # Its files are StreamHandlers, too.
        if isinstance(handler, logging.StreamHandler) and handler.stream in (
            sys.stdout,
            sys.__stdout__,
        ):
            root.removeHandler(handler)
            root.addHandler(Console())
    log_repairs(output_dir)


def extend_logging(upstream: Upstream) -> None:
    """Has :func:`log_opened` called for every log of a checkout; a second call changes nothing."""
    module = importlib.import_module("slowfast.utils.logging")
    original = module.setup_logging
    # The wheel's loop opens its log itself.
    if upstream.kind == "wheel" or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def setup_logging(output_dir: str | None = None) -> None:
        original(output_dir)
        log_opened(output_dir)

    module.setup_logging = setup_logging


def describe(stats: dict) -> tuple[bool, str]:
    """Returns whether PySlowFast's ``json_stats`` are those of a step, and the line to print.

    The line is empty for a validation step.
    """
    kind = stats.get("_type", stats.get("split", "")).rstrip("_")
    # Detection uses other names for the epoch and the step.
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
    """Returns the losses, learning rate and accuracies to print."""
    keys = [key for key in sorted(stats) if re.fullmatch(r"loss(_\d+)?|lr", key)]
    accuracy = accuracy_text(accuracies(stats))
    return [f"{key} {float(stats[key]):.4g}" for key in keys] + ([accuracy] if accuracy else [])
