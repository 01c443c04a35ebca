"""Writes figures to files, without pyplot and its global state."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from slowfast_ac.files import atomic_path


@contextlib.contextmanager
def saved_figure(path: str | os.PathLike[str], **options: Any) -> Iterator[Figure]:
    """Yields a figure that is written when the block succeeds, whole or not at all.

    A ``$`` is plain text: matplotlib would otherwise typeset class or file names with ``$`` as
    mathematics.

    Args:
        path: the file; its suffix determines the format.
        options: passed to :class:`matplotlib.figure.Figure`. The layout defaults to constrained.
    """
    with rc_context({"text.parse_math": False}):
        figure = Figure(**{"layout": "constrained", "dpi": 120, **options})
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary)
