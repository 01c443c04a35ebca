"""Chooses the class of the maps: the predicted or the true one, or one by name or number."""

import difflib
import os
from collections.abc import Mapping, Sequence

from slowfast_ac.data.lists import Entry
from slowfast_ac.errors import InputError
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.visualization.annotation import Annotation

PREDICTED, TRUE = "predicted", "true"


def parse_class(text: str, classes: Mapping[str, int]) -> int | str:
    """Reads the argument --class.

    Args:
        text: the argument.
        classes: the class map, or an empty one.

    Returns:
        A class number, or one of ``predicted`` and ``true``.

    Raises:
        InputError: for anything else, suggesting the nearest name.
    """
    if text in (PREDICTED, TRUE):
        return text
    if text in classes:
        return classes[text]
    if text.isdecimal():
        return int(text)
    if not classes:
        raise InputError(f"--class: {text!r} is a name; give its class map with --classes")
    near = difflib.get_close_matches(text, [PREDICTED, TRUE, *classes], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see the file given with --classes"
    raise InputError(f"--class: {text!r} is not among the classes; {hint}")


def check_class(choice: int | str, num_classes: int) -> None:
    """Rejects a class number that a network does not have.

    Raises:
        InputError: naming the argument.
    """
    if isinstance(choice, int) and choice >= num_classes:
        raise InputError(f"--class: {choice}, but the network has classes 0 to {num_classes - 1}")


def same_classes(first: TrainedModel, second: TrainedModel) -> bool:
    """Returns whether two networks give their classes the same numbers, as far as is known."""
    if first.num_classes != second.num_classes:
        return False
    return None in (first.classes, second.classes) or first.classes == second.classes


def true_class(
    video: str | os.PathLike, annotation: Annotation | None, entries: Sequence[Entry]
) -> int | None:
    """Returns a video's class from a list, otherwise from its annotation, otherwise None."""
    path = os.path.realpath(video)
    for entry in entries:
        if os.path.realpath(entry.path) == path:
            return entry.label
    return None if annotation is None else annotation.label


def choose_class(choice: int | str, video: str | os.PathLike, true: int | None) -> int | None:
    """Returns the class for one video, from :func:`parse_class`; None for the predicted one.

    Raises:
        InputError: if the true class is wanted but not known.
    """
    if choice == PREDICTED:
        return None
    if isinstance(choice, int):
        return choice
    if true is None:
        raise InputError(
            f"--class true: the class of {video} is not known; give a list that has it with --list"
        )
    return true
