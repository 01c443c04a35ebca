"""Reads PySlowFast's log of a run."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import simplejson

from slowfast_ac.errors import InputError

LOG = "stdout.log"
# The last one on a line, since a resumed run continues the line that a kill cut short.
_JSON_STATS = re.compile(r".*json_stats: (\{.*\})")


def parse_stats(text: str) -> dict | None:
    """Returns the content of a ``json_stats`` line of PySlowFast's log, or None for any other line.

    If a complete line follows a truncated one on the same line, the complete one is read.
    """
    match = _JSON_STATS.match(text)
    if not match:
        return None
    try:
        return simplejson.loads(match[1])
    except ValueError:
        return None


def read_log(run: str | os.PathLike) -> list[dict]:
    """Returns the ``json_stats`` lines of a run directory's log, in order.

    If a resumed run repeats steps and epochs of a killed one, only the later lines are returned.
    Truncated lines are left out.

    Args:
        run: OUTPUT_DIR.

    Raises:
        InputError: if there is no log.
    """
    path = Path(run) / LOG
    if not path.is_file():
        raise InputError(f"{path}: there is no such log; is {run} a run's OUTPUT_DIR?")
    lines: dict[object, dict] = {}
    for number, text in enumerate(path.read_text(errors="replace").splitlines()):
        stats = parse_stats(text)
        if stats is None:
            continue
        kind, epoch = stats.get("_type"), stats.get("epoch")
        key = (kind, epoch, stats.get("iter")) if epoch else number
        lines.pop(key, None)
        lines[key] = stats
    return list(lines.values())


def clip_accuracy(log: Sequence[dict]) -> dict[str, float]:
    """Returns the accuracies of a log's last validation (one clip per video), in %.

    The result is empty if there was no validation.
    """
    last: dict = next((line for line in reversed(log) if line.get("_type") == "val_epoch"), {})
    return accuracies(last)


def accuracies(stats: dict) -> dict[str, float]:
    """Returns the accuracies of an epoch's or a test's ``json_stats``, in %.

    Returns:
        ``top1`` and ``top5``, or ``map`` if videos have several labels; empty if the line has no
        accuracy.
    """
    if "map" in stats:
        # In a test, upstream states it in percent and repeats it as top-1 and top-5.
        percent = 1 if stats.get("split") == "test_final" else 100
        return {"map": percent * float(stats["map"])}
    found = {}
    for key in ("top1", "top5"):
        if f"{key}_acc" in stats:
            found[key] = float(stats[f"{key}_acc"])
        elif f"{key}_err" in stats:
            found[key] = 100 - float(stats[f"{key}_err"])
    return found


def accuracy_text(percents: Mapping[str, float]) -> str:
    """Returns accuracies as text, for example ``top-1 78.3 %, top-5 95.0 %``."""
    names = {"map": "mAP", "top1": "top-1", "top5": "top-5"}
    return ", ".join(f"{names[key]} {value:.1f} %" for key, value in percents.items())
