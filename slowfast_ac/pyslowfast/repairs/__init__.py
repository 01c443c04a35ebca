"""Repairs that an unedited PySlowFast needs to run on today's packages.

Each repair documents what it fixes and why, tests whether it is needed, and is applied only then.
None overrides a newer package that has the fix, and none edits a file.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from slowfast_ac.pyslowfast.find import Upstream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repair:
    """One thing that is broken, and its mend.

    Args:
        name: short, for the log and for ``slowfast-ac doctor``.
        mends: what is broken and why, one line, with upstream's issue numbers (#).
        kinds: for which PySlowFast it is meant: ``checkout``, ``wheel`` or both.
        needed: tests whether the thing is broken here.
        apply: mends it; called once, and only if needed.
    """

    name: str
    mends: str
    kinds: tuple[str, ...]
    needed: Callable[[Upstream], bool]
    apply: Callable[[Upstream], None]


_applied: dict[str, Repair] = {}
_logged: set[str | None] = set()


def all_repairs() -> tuple[Repair, ...]:
    """Returns every repair in the order of their application: those of imports come first."""
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
        # Whether a file is whole is asked first, so that repair goes around the other.
        *(weights.REPAIRS + checkpoints.REPAIRS),
        *wheel.REPAIRS,
    )


def apply_repairs(upstream: Upstream) -> list[Repair]:
    """Applies what is needed and returns all repairs applied in this process, in order.

    May be called again: what is mended stays as it is.
    """
    for repair in all_repairs():
        if upstream.kind not in repair.kinds or repair.name in _applied:
            continue
        if repair.needed(upstream):
            repair.apply(upstream)
            _applied[repair.name] = repair
    return list(_applied.values())


def log_repairs(output_dir: str | None) -> None:
    """Says in a run's log, which is open by now, what is repaired; once in a process."""
    # Training and test of one process open the same log.
    if output_dir in _logged:
        return
    _logged.add(output_dir)
    logger.info("%d repairs of PySlowFast, see the log or slowfast-ac doctor", len(_applied))
    for repair in _applied.values():
        logger.info("repaired %s: %s", repair.name, repair.mends, extra={"detail": True})
