"""Repairs that an unedited PySlowFast needs to run on current packages.

Each repair documents what it fixes and why, and is applied only if its test finds that it is
needed. None overrides a newer package that has the fix, and none edits a file.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from slowfast_ac.pyslowfast.find import Upstream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repair:
    """A defect and its repair.

    Args:
        name: short name for the log and for ``slowfast-ac doctor``.
        mends: description of the defect and its cause, with upstream's issue numbers (#).
        kinds: the kinds of PySlowFast that may need it: ``checkout``, ``wheel`` or both.
        needed: returns whether the defect is present.
        apply: repairs it; called once, and only if needed.
    """

    name: str
    mends: str
    kinds: tuple[str, ...]
    needed: Callable[[Upstream], bool]
    apply: Callable[[Upstream], None]


_applied: dict[str, Repair] = {}
_logged: set[str | None] = set()


def all_repairs() -> tuple[Repair, ...]:
    """Returns all repairs in the order in which to apply them; those of imports come first."""
    from slowfast_ac.pyslowfast.repairs import (
        checkpoints,
        datasets,
        imports,
        older,
        runtime,
        visualization,
        weights,
        wheel,
    )

    return (
        *(imports.REPAIRS + visualization.REPAIRS),
        *(runtime.REPAIRS + older.REPAIRS + datasets.REPAIRS),
        # The check for truncated files must run first, so its repair wraps that of the weights.
        *(weights.REPAIRS + checkpoints.REPAIRS),
        *wheel.REPAIRS,
    )


def apply_repairs(upstream: Upstream) -> list[Repair]:
    """Applies the repairs that are needed; returns all those applied in this process, in order.

    May be called again; each repair is applied once.
    """
    for repair in all_repairs():
        if upstream.kind not in repair.kinds or repair.name in _applied:
            continue
        if repair.needed(upstream):
            repair.apply(upstream)
            _applied[repair.name] = repair
    return list(_applied.values())


def log_repairs(output_dir: str | None) -> None:
    """Logs the applied repairs, once per log and process. The log must be open."""
    # Training and test of a process open the same log.
    if output_dir in _logged:
        return
    _logged.add(output_dir)
    logger.info("%d repairs of PySlowFast, see the log or slowfast-ac doctor", len(_applied))
    for repair in _applied.values():
        logger.info("repaired %s: %s", repair.name, repair.mends, extra={"detail": True})
