"""Compares two test results on the same videos, class by class, with tests of significance."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.classification import (
    averages,
    precision_recall,
    remove_files,
    require_new,
    result_names,
    write_confusion,
    write_table,
)
from slowfast_ac.evaluation.pictures import draw_classes
from slowfast_ac.evaluation.results import Results, average_precision, read_results
from slowfast_ac.evaluation.significance import difference_interval, holm, mcnemar, wilson
from slowfast_ac.evaluation.source import read_source
from slowfast_ac.files import write_json, write_text

# The paper's Tables 1 and 2 in Kinetics-400's spelling, where "playing baseball" is two classes.
PAPER_GROUPS = Path(__file__).parent / "groups.json"
# Files that a multi-label comparison does not have.
SINGLE_LABEL = tuple(
    f"confusion_{which}.{suffix}" for which in ("baseline", "other") for suffix in ("csv", "png")
)


def compare(
    baseline: str | os.PathLike,
    other: str | os.PathLike,
    output: str | os.PathLike,
    classes: str | os.PathLike | None = None,
    groups: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
) -> str:
    """Compares two results and writes everything into a folder.

    Args:
        baseline: result file or run directory.
        other: the same for the other network, on the same videos.
        output: folder for compare.md, compare.json, per_class.csv and .png, confusion_*.csv and
            .png.
        classes: class map; without one, classes are called by their numbers.
        groups: json of group name -> class names; by default the paper's two groups.
        overwrite: replace an earlier comparison in the folder.

    Returns:
        The text of compare.md.

    Raises:
        InputError: naming the file, for results of different videos, labels or class counts.
    """
    output = require_new(output, "compare.md", overwrite)
    first, second = read_results(baseline), read_results(other)
    _require_same_videos(first, second, baseline, other)
    names = result_names(classes, first.scores.shape[1])
    if first.multi_label:
        text = _compare_multi_label(first, second, names, output)
        if overwrite:
            remove_files(output, *SINGLE_LABEL)
    else:
        path = groups or PAPER_GROUPS
        chosen = read_groups(path, names, strict=groups is not None)
        absent = {group: absent_members(path, names, group) for group in load_groups(path)}
        text = _compare_single_label(first, second, names, chosen, absent, output)
    write_text(output / "compare.md", text)
    return text


def per_class(baseline: Results, other: Results, names: Sequence[str]) -> list[dict]:
    """Returns a row per class: its videos, both accuracies, their difference, p-values and more.

    ``p_holm`` is McNemar's p-value corrected for the number of classes; ``baseline_low`` to
    ``baseline_high``, and likewise ``other``, is Wilson's interval of the accuracy.
    """
    right = [results.right() for results in (baseline, other)]
    tables = {"baseline": precision_recall(baseline), "other": precision_recall(other)}
    rows = []
    for label, name in enumerate(names):
        chosen = baseline.labels == label
        first, second = right[0][chosen], right[1][chosen]
        row: dict[str, Any] = {"class": name, "videos": int(chosen.sum())}
        if row["videos"]:
            row |= {
                "baseline": float(first.mean()),
                "other": float(second.mean()),
                "difference": float(second.mean() - first.mean()),
                "p": mcnemar(first, second),
            }
            for which, right_ones in (("baseline", first), ("other", second)):
                low, high = wilson(int(right_ones.sum()), len(right_ones))
                row |= {f"{which}_low": low, f"{which}_high": high}
        for which, table in tables.items():
            for measure in ("precision", "recall", "f1"):
                row[f"{which}_{measure}"] = float(table[measure][label])
        rows.append(row)
    present = [row for row in rows if row["videos"]]
    for row, adjusted in zip(present, holm([row["p"] for row in present]), strict=True):
        row["p_holm"] = float(adjusted)
    return rows


def overall(baseline: Results, other: Results, chosen: np.ndarray | None = None) -> dict:
    """Returns top-1 and top-5 of both, the difference with its interval, and McNemar's p-value.

    Args:
        baseline: single-label results.
        other: of the same videos.
        chosen: (V,) bool, the videos to look at; None for all.
    """
    chosen = np.ones(len(baseline.labels), dtype=bool) if chosen is None else chosen
    first, second = (results.right()[chosen] for results in (baseline, other))
    summary: dict[str, Any] = {"videos": int(chosen.sum())}
    for name, results, right in (("baseline", baseline, first), ("other", other, second)):
        low, high = wilson(int(right.sum()), len(right))
        summary[name] = {
            "top1": float(right.mean()),
            "interval": [low, high],
            "top5": float(results.right(5)[chosen].mean()),
        }
    low, high = difference_interval(first, second)
    summary |= {
        "difference": float(second.mean() - first.mean()),
        "interval": [low, high],
        "gained": int((second & ~first).sum()),
        "lost": int((first & ~second).sum()),
        "p": mcnemar(first, second),
    }
    return summary


def read_groups(
    path: str | os.PathLike, names: Sequence[str], strict: bool
) -> dict[str, list[int]]:
    """Reads groups of classes.

    Args:
        path: json of group name -> class names.
        names: the class names, by number.
        strict: if true, an unknown class name is an error. Otherwise it is left out, and so is a
            group without any known class.

    Returns:
        Group name -> class numbers.

    Raises:
        InputError: naming the file.
    """
    groups = load_groups(path)
    numbers = {name.lower(): number for number, name in enumerate(names)}
    result = {}
    for group, members in groups.items():
        absent = absent_members(path, names, group)
        if absent and strict:
            raise InputError(f"{path}: {absent[0]!r} of group {group!r} is not a class of the test")
        present = [numbers[member.lower()] for member in members if member.lower() in numbers]
        if present:
            result[group] = present
    return result


def absent_members(path: str | os.PathLike, names: Sequence[str], group: str) -> list[str]:
    """Returns the members of a group in the file ``path`` that are not classes of the test."""
    known = {name.lower() for name in names}
    return [member for member in load_groups(path)[group] if member.lower() not in known]


def load_groups(path: str | os.PathLike) -> dict[str, list[str]]:
    """Reads a json of group name -> class names.

    Raises:
        InputError: naming the file, if it is something else.
    """
    try:
        groups = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a json of group name -> class names ({error})") from None
    lists = groups.values() if isinstance(groups, dict) else [None]
    if not all(isinstance(members, list) for members in lists):
        raise InputError(f"{path}: not a json of group name -> class names")
    return {name: [str(member) for member in members] for name, members in groups.items()}


def _compare_single_label(
    first: Results,
    second: Results,
    names: list[str],
    groups: dict[str, list[int]],
    absent: dict[str, list[str]],
    output: Path,
) -> str:
    rows = per_class(first, second, names)
    members_of = {name: np.isin(first.labels, members) for name, members in groups.items()}
    present = {name: chosen for name, chosen in members_of.items() if chosen.any()}
    summary = {
        "overall": overall(first, second),
        "groups": {name: overall(first, second, chosen) for name, chosen in present.items()},
        "empty_groups": [name for name in absent if name not in present],
        "absent_members": {group: members for group, members in absent.items() if members},
        "averages": {
            which: averages(results) for which, results in (("baseline", first), ("other", second))
        },
        "classes": rows,
    }
    write_json(output / "compare.json", summary)
    write_table(output / "per_class.csv", pandas.DataFrame(rows))
    for which, results in (("baseline", first), ("other", second)):
        write_confusion(results, names, output / f"confusion_{which}", which)
    members = [number for group in groups.values() for number in group]
    draw_classes(rows, members, output / "per_class.png")
    return _text(summary)


def _compare_multi_label(first: Results, second: Results, names: list[str], output: Path) -> str:
    baseline, other = average_precision(first), average_precision(second)
    rows = []
    for label, name in enumerate(names):
        row: dict[str, Any] = {"class": name, "videos": int(first.labels[:, label].sum())}
        if row["videos"]:
            row["baseline"], row["other"] = float(baseline[label]), float(other[label])
            row["difference"] = row["other"] - row["baseline"]
        rows.append(row)
    present = [row for row in rows if row["videos"]]
    means = {key: float(np.mean([row[key] for row in present])) for key in ("baseline", "other")}
    write_json(output / "compare.json", {"mean_average_precision": means, "classes": rows})
    write_table(output / "per_class.csv", pandas.DataFrame(rows))
    draw_classes(rows, [], output / "per_class.png")
    return (
        f"# Comparison on {len(first.labels)} videos, several labels each\n\n"
        f"Mean average precision {100 * means['baseline']:.2f} (baseline), "
        f"{100 * means['other']:.2f} (other) over {len(present)} classes. The tests of "
        "significance are for one label per video and are left out.\n"
    )


def _text(summary: dict) -> str:
    total = summary["overall"]
    lines = [f"# Comparison on {total['videos']} videos", ""]
    table = pandas.DataFrame(
        {
            "videos": f"{name}, {part['videos']}",
            "baseline top-1 %": f"{100 * part['baseline']['top1']:.1f}",
            "other top-1 %": f"{100 * part['other']['top1']:.1f}",
            "difference": f"{100 * part['difference']:+.1f}",
            "95 % interval": "{:+.1f} to {:+.1f}".format(*(100 * end for end in part["interval"])),
            "p": f"{part['p']:.3g}",
        }
        for name, part in [("all", total), *summary["groups"].items()]
    )
    lines.append(table.to_markdown(index=False, disable_numparse=True))
    verdict = "is more than chance explains" if total["p"] < 0.05 else "may be chance"
    lines += [
        "",
        f"The other network gains {total['gained']} videos and loses {total['lost']}; at the level "
        f"of 0.05 the difference {verdict} (exact McNemar test, p = {total['p']:.3g}). This holds "
        "for these videos and these two trainings; other seeds can differ.",
        "",
        f"Top-5: {100 * total['baseline']['top5']:.1f} and {100 * total['other']['top5']:.1f} %.",
    ]
    for which, means in summary["averages"].items():
        lines.append(
            f"Macro precision, recall, F1 of {which}: "
            + ", ".join(f"{100 * means['macro'][key]:.1f}" for key in ("precision", "recall", "f1"))
            + f"; micro F1 {100 * means['micro']['f1']:.1f}."
        )
    sure = [row for row in summary["classes"] if row.get("p_holm", 1) < 0.05]
    named = ", ".join(f"{row['class']} ({100 * row['difference']:+.1f})" for row in sure)
    tested = sum("p" in row for row in summary["classes"])
    lines += [
        "",
        f"Classes whose change survives Holm's correction over {tested}: {named or 'none'}.",
    ]
    for group in summary["empty_groups"]:
        lines.append(f"No video of this test is in the group {group}.")
    for group, members in summary["absent_members"].items():
        if group in summary["groups"]:
            lines.append(f"Not classes of this test, in the group {group}: {', '.join(members)}.")
    return "\n".join(lines) + "\n"


def _require_same_videos(
    first: Results, second: Results, baseline: str | os.PathLike, other: str | os.PathLike
) -> None:
    if first.scores.shape != second.scores.shape:
        raise InputError(
            f"{other}: {second.scores.shape[0]} videos of {second.scores.shape[1]} classes, but "
            f"{baseline} has {first.scores.shape[0]} of {first.scores.shape[1]}"
        )
    if not np.array_equal(first.labels, second.labels):
        raise InputError(
            f"{other}: its labels differ from those of {baseline}: not the same videos"
        )
    # A run directory names its videos, unless its list has changed since.
    videos = [read_source(path, first).names or () for path in (baseline, other)]
    pair = next((pair for pair in zip(*videos, strict=False) if pair[0] != pair[1]), None)
    if pair:
        raise InputError(
            f"{other}: tested on {pair[1]}, but {baseline} on {pair[0]}; if these are copies of "
            "the same videos, give the result files instead of the folders"
        )
