"""Writes the report of a suite: a table (markdown, csv, json) and a picture."""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from slowfast_ac.data.lists import list_format, read_list
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.results import Results, average_precision, read_results
from slowfast_ac.experiments.ablate import RECORD, is_finished, load_run_config
from slowfast_ac.experiments.suite import Run, Suite
from slowfast_ac.figures import saved_figure
from slowfast_ac.files import write_csv, write_json, write_text
from slowfast_ac.pyslowfast.launch import tested_views
from slowfast_ac.pyslowfast.log import clip_accuracy, read_log
from slowfast_ac.pyslowfast.outputs import last_checkpoint

ATTENTION = "attention.json"


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Args:
        key: name in csv and json.
        title: heading in the markdown table.
        digits: after the decimal point.
        paper: key of the paper's figure for the same quantity, if there is one.
        compared: whether the difference from the baseline is shown.
    """

    key: str
    title: str
    digits: int = 1
    paper: str = ""
    compared: bool = True


COLUMNS = (
    Column("top1", "top-1 (video) %", 1, "top1"),
    Column("top5", "top-5 (video) %", 1, "top5"),
    Column("clip_top1", "top-1 (clip) %", 1),
    Column("clip_top5", "top-5 (clip) %", 1),
    Column("map", "mAP (video) %", 1),
    Column("clip_map", "mAP (clip) %", 1),
    Column("views", "views", 0, compared=False),
    Column("params", "params M", 2),
    Column("gflops", "GFLOPs per view", 3, "gflops"),
    Column("step_seconds", "step s", 3),
    Column("memory_mebibytes", "peak MiB", 0),
    Column("spatial_pointing", "pointing game, spatial", 3),
    Column("temporal_pointing", "pointing game, temporal", 3),
    Column("spatial_energy", "energy in box, spatial", 3),
    Column("temporal_energy", "energy in box, temporal", 3),
    Column("agreement", "streams' agreement", 3),
)


def write_report(suite: Suite, runs: Sequence[Run], output: Path, name: str = "report") -> Path:
    """Writes NAME.md, NAME.csv, NAME.json and NAME.png of the finished runs.

    Args:
        suite: the suite.
        runs: its runs; the report names those that have not finished.
        output: folder.
        name: of the files.

    Returns:
        The path of NAME.md.
    """
    rows = {run.name: measure(run) for run in runs if is_finished(run)}
    missing = [run.name for run in runs if run.name not in rows]
    by_seed: dict[str, dict[int, dict[str, float]]] = {variant: {} for variant in suite.variants}
    for run in runs:
        if run.name in rows:
            by_seed[run.variant][run.seed] = rows[run.name]
    table = {variant: summarise(list(found.values())) for variant, found in by_seed.items()}
    gains = {
        variant: differences(found, by_seed[suite.baseline])
        for variant, found in by_seed.items()
        if variant != suite.baseline
    }
    columns = [c for c in COLUMNS if any(c.key in table[variant] for variant in table)]
    write_json(output / f"{name}.json", {"title": suite.title, "runs": rows, "variants": table})
    header = ["variant", "seeds", *(f"{c.key}_{s}" for c in columns for s in ("mean", "deviation"))]
    write_csv(
        output / f"{name}.csv",
        header,
        (
            [variant, cells.get("seeds", 0)]
            + [value for c in columns for value in cells.get(c.key, ("", ""))]
            for variant, cells in table.items()
        ),
    )
    draw(table, columns, output / f"{name}.png")
    path = output / f"{name}.md"
    write_text(path, markdown(suite, table, gains, columns, missing))
    return path


def measure(run: Run) -> dict[str, float]:
    """Reads one finished run's folder.

    Returns:
        Values under those keys of :data:`COLUMNS` that the run has.
    """
    cfg = load_run_config(run)
    values = {
        **_accuracy(read_results(run.folder)),
        # The results are those of the last test.
        "views": tested_views(cfg)[-1] * cfg.TEST.NUM_SPATIAL_CROPS,
        **_size(cfg),
        **_from_log(read_log(run.folder)),
    }
    record = json.loads((run.folder / RECORD).read_text())
    values.setdefault("memory_mebibytes", record["peak_resident_mebibytes"])
    if (run.folder / ATTENTION).is_file():
        values |= json.loads((run.folder / ATTENTION).read_text())
    keys = [column.key for column in COLUMNS]
    return {key: float(values[key]) for key in keys if key in values}


def measure_attention(runs: Sequence[Run]) -> None:
    """Measures the attention of finished runs, once per run, if the target's boxes are known.

    Each run directory gets ``attention.json``, unless the test clips have no boxes or can no longer
    be read. Runs of the latter kind are named on stderr.
    """
    hidden = None if runs else True
    for run in tqdm(runs, desc="attention", unit="run", file=sys.stderr, disable=hidden):
        if (run.folder / ATTENTION).is_file():
            continue
        try:
            measured = _attention(run)
        except InputError as error:
            tqdm.write(f"{run.name}: attention not measured: {error}", file=sys.stderr)
            continue
        if measured:
            write_json(run.folder / ATTENTION, measured)


def _attention(run: Run) -> dict[str, float]:
    from slowfast_ac.evaluation.attention_quality import attention_quality

    cfg = load_run_config(run)
    test_list = Path(cfg.DATA.PATH_TO_DATA_DIR) / "test.csv"
    first = read_list(test_list, **list_format(cfg))[0]
    if not Path(first.path).with_suffix(".json").is_file():
        return {}
    checkpoint = last_checkpoint(run.folder)
    if checkpoint is None:
        raise InputError(f"{run.folder}: has no checkpoint")
    return attention_quality(cfg, checkpoint, test_list, progress=False)


def summarise(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Returns each value's mean and standard deviation over the seeds, and the number of seeds.

    The deviation is None for a single seed.
    """
    if not rows:
        return {}
    cells: dict[str, Any] = {"seeds": len(rows)}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        cells[key] = (statistics.fmean(values), deviation)
    return cells


def differences(
    rows: Mapping[int, Mapping[str, float]], baseline: Mapping[int, Mapping[str, float]]
) -> dict[str, float]:
    """Returns each value's mean difference from the baseline over the seeds that both have.

    Args:
        rows: seed -> values of a variant's finished run.
        baseline: the same for the baseline.
    """
    pairs: dict[str, list[float]] = {}
    for seed in rows.keys() & baseline.keys():
        for key in rows[seed].keys() & baseline[seed].keys():
            pairs.setdefault(key, []).append(rows[seed][key] - baseline[seed][key])
    return {key: statistics.fmean(found) for key, found in pairs.items()}


def markdown(
    suite: Suite,
    table: Mapping[str, Mapping],
    gains: Mapping[str, Mapping[str, float]],
    columns: Sequence[Column],
    missing: Sequence[str],
) -> str:
    """Returns the report as text.

    Args:
        suite: the suite.
        table: variant -> :func:`summarise` of its runs.
        gains: variant -> its :func:`differences` from the baseline.
        columns: of the table.
        missing: names of the runs that have not finished.
    """
    lines = [f"# {suite.title}", ""]
    lines += [
        "Mean and standard deviation over the seeds; in brackets the mean difference from "
        f"`{suite.baseline}` over the seeds that both have."
    ]
    if suite.paper:
        lines += ["*Paper:* is the paper's figure on its own data; we did not measure it."]
    lines += ["", "| variant | seeds | " + " | ".join(c.title for c in columns) + " |"]
    lines += ["|---" * (len(columns) + 2) + "|"]
    for variant, cells in table.items():
        row = [f"`{variant}`", str(cells.get("seeds", 0))]
        for column in columns:
            row.append(_cell(column, cells, gains.get(variant, {}), suite.paper.get(variant, {})))
        lines.append("| " + " | ".join(row) + " |")
    if missing:
        lines += ["", "Not finished: " + ", ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def _cell(
    column: Column, cells: Mapping, gains: Mapping[str, float], paper: Mapping[str, float]
) -> str:
    text = "-"
    if column.key in cells:
        mean, deviation = cells[column.key]
        text = f"{mean:.{column.digits}f}"
        if deviation:
            text += f" ± {deviation:.{column.digits}f}"
        if column.compared and column.key in gains:
            text += f" ({gains[column.key]:+.{column.digits}f})"
    if column.paper in paper:
        text += f" *paper: {paper[column.paper]}*"
    return text


def draw(table: dict[str, dict], columns: Sequence[Column], path: Path) -> None:
    """Draws every column but the sizes as points with error bars, one panel per column."""
    shown = [c for c in columns if c.compared and c.key not in ("params",)]
    names = [variant for variant, cells in table.items() if cells]
    if not names:
        return
    wide = min(4, len(shown))
    tall = -(-len(shown) // wide)
    size = (3.4 * wide, 0.35 * len(names) * tall + 1.0 * tall)
    with saved_figure(path, figsize=size) as figure:
        axes = figure.subplots(tall, wide, squeeze=False)
        for axis, column in zip(axes.flat, shown, strict=False):
            for position, name in enumerate(names):
                if column.key in table[name]:
                    mean, deviation = table[name][column.key]
                    axis.errorbar(mean, position, xerr=deviation or 0, fmt="o", capsize=3)
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.set_title(column.title, fontsize=9)
            axis.grid(axis="x", alpha=0.3)
            axis.tick_params(labelsize=8)
        for axis in list(axes.flat)[len(shown) :]:
            axis.axis("off")


def _accuracy(results: Results) -> dict[str, float]:
    if results.multi_label:
        return {"map": 100 * float(np.nanmean(average_precision(results)))}
    return {f"top{best}": 100 * results.right(best).mean() for best in (1, 5)}


def _size(cfg) -> dict[str, float]:
    from slowfast_ac.models.counts import count_parameters
    from slowfast_ac.pyslowfast.build import build_on_cpu, count_gflops

    model = build_on_cpu(cfg)
    return {
        "params": count_parameters(model) / 1e6,
        "gflops": count_gflops(cfg, model),
    }


def _from_log(log: Sequence[dict]) -> dict[str, float]:
    values: dict[str, float] = {}
    # Of the last step of each LOG_PERIOD; a checkout logs dt_net, the wheel time_diff.
    steps = [
        float(line["dt_net"] if "dt_net" in line else line["time_diff"])
        for line in log
        if str(line.get("_type", "")).startswith("train_iter")
    ]
    if steps:
        values["step_seconds"] = statistics.median(steps)
    values |= {f"clip_{name}": value for name, value in clip_accuracy(log).items()}
    memory = [_mebibytes(line) for line in log if "gpu_mem" in line or "mem" in line]
    if memory and max(memory) > 0:
        values["memory_mebibytes"] = max(memory)
    return values


def _mebibytes(line: dict) -> float:
    if "gpu_mem" in line:
        return 1024 * float(str(line["gpu_mem"]).rstrip("G"))
    return float(line["mem"])
