"""Reads PySlowFast's log of a run."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import simplejson

from slowfast_ac.errors import InputError

LOG = "stdout.log"
# The last one on a line: a resumed run goes on writing where the killed one stopped.
_JSON_STATS = re.compile(r".*json_stats: (\{.*\})")


def parse_stats(text: str) -> dict | None:
    """Returns the content of a ``json_stats`` line of PySlowFast's log, or None for any other line.

    A whole line that a kill glued to a cut one is read; a cut line is any other line.
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

    A killed run leaves steps and epochs that the next one does again; the later ones count. A line
    that was cut short is left out.

    Args:
        run: OUTPUT_DIR.

    Raises:
        InputError: when there is no log.
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
    """Returns the accuracies of the last validation of a log, one clip per video, in %.

    They are empty without a validation.
    """
    last: dict = next((line for line in reversed(log) if line.get("_type") == "val_epoch"), {})
    return accuracies(last)


def accuracies(stats: dict) -> dict[str, float]:
    """Returns the accuracies of an epoch's or a test's ``json_stats``, in %.

    Returns:
        ``top1`` and ``top5``, or ``map`` where a video has several labels; nothing where the line
        has none.
    """
    if "map" in stats:
        # Upstream repeats it as top-1 and top-5 of a test, which is in percent.
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
    """Returns accuracies as a text, for example ``top-1 78.3 %, top-5 95.0 %``."""
    names = {"map": "mAP", "top1": "top-1", "top5": "top-5"}
    return ", ".join(f"{names[key]} {value:.1f} %" for key, value in percents.items())
