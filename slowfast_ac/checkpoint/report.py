"""A report on every weight of a checkpoint that was converted or loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """The names of weights, grouped by what happened to them.

    Args:
        loaded: copied unchanged; names in the target.
        cut: copied without their lateral input channels; names in the target.
        new: not in the checkpoint, so zero (BatchNorm counters) or as the target initialised them;
            names in the target.
        unused: not copied; names in the checkpoint.
    """

    loaded: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Returns a table with one line per group: the number of weights and the first name."""
        lines = []
        for kind in ("loaded", "cut", "new", "unused"):
            names = getattr(self, kind)
            shown = names[0] + (", ..." if len(names) > 1 else "") if names else ""
            lines.append(f"{kind:8}{len(names):6}  {shown}".rstrip())
        return "\n".join(lines)
