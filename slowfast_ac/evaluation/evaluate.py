"""Evaluates one test result: accuracy, accuracy by class, calibration and mistakes."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas

from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.classification import (
    averages,
    calibration,
    precision_recall,
    remove_files,
    require_new,
    result_names,
    write_confusion,
    write_table,
)
from slowfast_ac.evaluation.pictures import draw_calibration
from slowfast_ac.evaluation.results import Results, average_precision, read_results
from slowfast_ac.evaluation.significance import wilson
from slowfast_ac.evaluation.source import Source, read_source
from slowfast_ac.evaluation.streams import STREAMS, StreamLogits, load_run, stream_logits
from slowfast_ac.files import write_json, write_text

SHOWN_CLASSES = 5
SHOWN_MISTAKES = 5
# Files that a multi-label test does not have.
SINGLE_LABEL = (
    *("mistakes.csv", "streams.csv"),
    *(f"{stem}.{suffix}" for stem in ("confusion", "calibration") for suffix in ("csv", "png")),
)


def evaluate(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    classes: str | os.PathLike[str] | None = None,
    test_list: str | os.PathLike[str] | None = None,
    streams: bool = False,
    overwrite: bool = False,
) -> str:
    """Evaluates one result and writes everything into a folder.

    Args:
        path: result file (TEST.SAVE_RESULTS_PATH) or run directory.
        output: folder for evaluate.md, evaluate.json, per_class.csv, mistakes.csv, confusion.csv
            and .png, calibration.csv and .png; for a multi-label test only the first three.
        classes: class map; by default classes.json next to the run's lists, otherwise numbers.
        test_list: list of the tested videos; by default the run's own.
        streams: also measure each stream's accuracy and write streams.csv; shows every video to
            the run's last network once more.
        overwrite: replace an earlier evaluation in the folder.

    Returns:
        The text of evaluate.md.

    Raises:
        InputError: naming the file, if it is missing or does not fit the others; for ``streams``
            also if there is no network or it has only one stream.
    """
    output = require_new(output, "evaluate.md", overwrite)
    results = read_results(path)
    source = read_source(path, results, test_list)
    names = result_names(classes or source.classes, results.scores.shape[1])
    videos = source.videos
    by_stream = None
    if streams:
        if videos is None or results.multi_label:
            raise InputError(
                "--streams: needs the tested videos, one label each; "
                + (source.note or f"{path} does not name them, give --list")
            )
        by_stream = stream_logits(load_run(path), videos, progress=True)
    if results.multi_label:
        text, absent = _multi_label(results, names, output), SINGLE_LABEL
    else:
        text = _single_label(results, names, source, by_stream, output)
        absent = () if streams else ("streams.csv",)
    if overwrite:
        remove_files(output, *absent)
    return text


def mistakes(
    results: Results, names: Sequence[str], videos: Sequence[str] | None
) -> pandas.DataFrame:
    """Returns the wrongly classified videos, the most confident mistake first.

    Columns: ``video`` (only its number if the list is not known), ``true``,
    ``predicted``, ``score`` of the predicted class and ``true_score``.
    """
    numbers = np.arange(len(results.labels))
    predicted = results.scores.argmax(axis=1)
    table = pandas.DataFrame(
        {
            "video": list(videos) if videos is not None else numbers,
            "true": [names[label] for label in results.labels],
            "predicted": [names[label] for label in predicted],
            "score": results.scores[numbers, predicted],
            "true_score": results.scores[numbers, results.labels],
        }
    )
    wrong = table[predicted != results.labels]
    return wrong.sort_values("score", ascending=False, kind="stable")


def _single_label(
    results: Results,
    names: Sequence[str],
    source: Source,
    streams: StreamLogits | None,
    output: Path,
) -> str:
    right = results.right()
    summary: dict[str, object] = {"videos": len(right)}
    for best in (1, 5):
        correct = results.right(best)
        low, high = wilson(int(correct.sum()), len(correct))
        summary[f"top{best}"] = float(correct.mean())
        summary[f"top{best}_interval"] = [low, high]
    summary |= {f"clip_{key}": value / 100 for key, value in source.clip_accuracy.items()}
    summary |= {f"{kind}_average": values for kind, values in averages(results).items()}
    sureness, bins = calibration(results)
    summary |= sureness

    table = precision_recall(results)
    table.insert(0, "class", list(names))
    intervals = [
        wilson(int(right[results.labels == label].sum()), int((results.labels == label).sum()))
        for label in range(len(names))
    ]
    table[["recall_low", "recall_high"]] = intervals
    wrong = mistakes(results, names, source.videos)
    write_table(output / "per_class.csv", table)
    write_table(output / "mistakes.csv", wrong)
    write_table(output / "calibration.csv", bins)
    draw_calibration(bins, output / "calibration.png")
    write_confusion(results, names, output / "confusion", "")
    if streams is not None:
        predicted = {"both": streams.both()} | {name: streams.alone(name) for name in STREAMS}
        columns = {name: logits.argmax(axis=1) for name, logits in predicted.items()}
        shares = {name: classes == results.labels for name, classes in columns.items()}
        summary["streams"] = {
            name: {"top1": float(own.mean()), "top1_interval": wilson(int(own.sum()), len(own))}
            for name, own in shares.items()
        }
        named = {name: [names[label] for label in classes] for name, classes in columns.items()}
        true = [names[label] for label in results.labels]
        write_table(
            output / "streams.csv",
            pandas.DataFrame({"video": source.videos, "true": true, **named}),
        )
    write_json(output / "evaluate.json", summary)
    text = _text(summary, table, wrong)
    if source.note:
        text += f"\nThe videos are numbered, not named: {source.note}.\n"
    write_text(output / "evaluate.md", text)
    return text


def _text(summary: dict, table: pandas.DataFrame, wrong: pandas.DataFrame) -> str:
    rows = []
    for best in (1, 5):
        low, high = summary[f"top{best}_interval"]
        clip = summary.get(f"clip_top{best}")
        rows.append(
            {
                "": f"top-{best}",
                "by video %": f"{100 * summary[f'top{best}']:.1f}",
                "95 % interval": f"{100 * low:.1f} to {100 * high:.1f}",
                "by clip %": "-" if clip is None else f"{100 * clip:.1f}",
            }
        )
    macro = summary["macro_average"]
    present = table[table["videos"] > 0].sort_values("recall", kind="stable")
    worst = ", ".join(
        f"{row['class']} {100 * row['recall']:.0f} %"
        for _, row in present.head(SHOWN_CLASSES).iterrows()
    )
    lines = [
        f"# {summary['videos']} videos",
        "",
        pandas.DataFrame(rows).to_markdown(index=False, disable_numparse=True),
        "",
        "By video: scores averaged over the test's views. By clip: the last validation, one clip "
        "per video of the validation list.",
        "",
        f"Macro precision, recall, F1: {100 * macro['precision']:.1f}, "
        f"{100 * macro['recall']:.1f}, {100 * macro['f1']:.1f} %. Expected calibration error "
        f"{summary['expected_calibration_error']:.3f}, log loss {summary['log_loss']:.3f}.",
        f"Lowest recall: {worst}.",
        *_stream_lines(summary.get("streams", {})),
    ]
    if len(wrong):
        lines += ["", f"{len(wrong)} mistakes; the most confident:", ""]
        shown = wrong.head(SHOWN_MISTAKES)
        lines.append(shown.to_markdown(index=False, floatfmt=".2f"))
    return "\n".join(lines) + "\n"


def _stream_lines(streams: dict) -> list[str]:
    if not streams:
        return []
    rows = []
    for name, share in streams.items():
        low, high = share["top1_interval"]
        rows.append(
            {
                "one view of each video": "both streams" if name == "both" else f"{name} alone",
                "top-1 %": f"{100 * share['top1']:.1f}",
                "95 % interval": f"{100 * low:.1f} to {100 * high:.1f}",
            }
        )
    return ["", pandas.DataFrame(rows).to_markdown(index=False, disable_numparse=True)]


def _multi_label(results: Results, names: Sequence[str], output: Path) -> str:
    precision = average_precision(results)
    videos = results.labels.sum(axis=0)
    table = pandas.DataFrame(
        {"class": list(names), "videos": videos, "average_precision": precision}
    )
    summary = {
        "videos": len(results.labels),
        "classes": int((videos > 0).sum()),
        "mean_average_precision": float(np.nanmean(precision)),
    }
    write_table(output / "per_class.csv", table)
    write_json(output / "evaluate.json", summary)
    text = (
        f"# {summary['videos']} videos, several labels each\n\n"
        f"Mean average precision {100 * summary['mean_average_precision']:.2f} over the "
        f"{summary['classes']} classes that have videos.\n"
    )
    write_text(output / "evaluate.md", text)
    return text
