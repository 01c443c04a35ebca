"""Reads PySlowFast's log of a run."""

import os
import re
from collections.abc import Sequence
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

    Returns:
        ``top1`` and ``top5``, or ``map`` where a video has several labels; nothing without a
        validation.
    """
    last: dict = next((line for line in reversed(log) if line.get("_type") == "val_epoch"), {})
    values = {
        rank: 100 - float(last[f"{rank}_err"]) for rank in ("top1", "top5") if f"{rank}_err" in last
    }
    return values | ({"map": 100 * float(last["map"])} if "map" in last else {})
