"""A report of what happened to every weight when a checkpoint was converted or loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """The names of a checkpoint's weights, grouped by what happened to them.

    Args:
        loaded: copied unchanged; names of the target.
        cut: copied without their lateral input channels; names of the target.
        new: not in the checkpoint: zero counters of BatchNorm, or left to the target's
            initialisation; names of the target.
        unused: not copied; names of the checkpoint.
    """

    loaded: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Returns a table of one line per kind: how many, and the first name."""
        lines = []
        for kind in ("loaded", "cut", "new", "unused"):
            names = getattr(self, kind)
            shown = names[0] + (", ..." if len(names) > 1 else "") if names else ""
            lines.append(f"{kind:8}{len(names):6}  {shown}".rstrip())
        return "\n".join(lines)
