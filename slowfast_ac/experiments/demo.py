"""Runs the demo: trains a network without and with the method on a generated data set."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_ac.data.lists import list_format, read_list
from slowfast_ac.data.synthetic.dataset import write_dataset
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.results import read_results
from slowfast_ac.evaluation.significance import difference_interval, wilson
from slowfast_ac.experiments.ablate import load_run_config, require_same_settings, run_all
from slowfast_ac.experiments.report import measure_attention, write_report
from slowfast_ac.experiments.suite import Run, load_suite, plan
from slowfast_ac.figures import saved_figure
from slowfast_ac.files import atomic_path, write_text
from slowfast_ac.pyslowfast.log import read_log

CONFIGS = Path(__file__).parent.parent / "configs/demo"
# The clips of projects/attention_consistency, whose first seed the demo repeats: kind x motion
# among decoys, of the size and length of the network's input.
CLIPS = {"train": 100, "val": 20, "test": 40}
LOOK: dict[str, Any] = {
    **{"size": (96, 96), "num_frames": 8, "fps": 7.5},
    **{"family": "kinds", "num_decoys": 2, "num_distractors": 2},
}
# Test clips, at least if there are so many, of which the picture shows one.
CANDIDATES = 40
# A smoke run: every step is taken, nothing is learnt.
QUICK_CLIPS = {"train": 4, "val": 2, "test": 2}
QUICK_OPTS = (
    *("SOLVER.MAX_EPOCH", "2", "SOLVER.WARMUP_EPOCHS", "0.0", "LOG_PERIOD", "1"),
    *("TRAIN.EVAL_PERIOD", "1", "BN.NUM_BATCHES_PRECISE", "2", "RESNET.WIDTH_PER_GROUP", "8"),
)


def run_demo(
    output: str | os.PathLike,
    data: str | os.PathLike | None = None,
    quick: bool = False,
    opts: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Trains and tests without and with the method and writes one folder of results.

    Args:
        output: folder: ``report.md``, ``report.csv``, ``report.json``, ``report.png``,
            ``losses.png``, ``maps.png`` and a run directory per model.
        data: folder with train.csv, val.csv and test.csv, or None to generate one.
        quick: a smoke run of about a minute that learns nothing.
        opts: config keys and values in turn, for both models.
        seed: RNG_SEED of both models; the clips do not depend on it.

    Returns:
        The path of report.md.

    Raises:
        InputError: for bad data, or if a run failed.
    """
    output = Path(output).resolve()
    if data is None:
        folder = output / ("data_quick" if quick else "data")
        data = write_dataset(folder, QUICK_CLIPS if quick else CLIPS, **LOOK)
    data = Path(data).resolve()
    labels = {entry.label for entry in read_list(data / "train.csv")}
    own = ["DATA.PATH_TO_DATA_DIR", str(data), "MODEL.NUM_CLASSES", str(max(labels) + 1)]
    own += [*(QUICK_OPTS if quick else ()), *opts]
    suite = load_suite(CONFIGS / "suite.yaml")
    runs = plan(suite, output, own, [seed])
    require_same_settings(runs, runs)
    # Small batches leave cores idle: two runs with one thread each beat one run with two.
    failed = run_all(runs, parallel=min(len(runs), os.cpu_count() or 1))
    if failed:
        logs = [str(run.folder / "output.txt") for run in runs if run.name in failed]
        raise InputError(f"demo: {', '.join(failed)} failed; see {', '.join(logs)}")
    measure_attention(runs)
    draw_losses(runs, output / "losses.png")
    draw_maps(runs, data / "test.csv", output / "maps.png")
    report = write_report(suite, runs, output)
    write_text(report, report.read_text() + "\n" + accuracies(runs))
    return report


def accuracies(runs: Sequence[Run]) -> str:
    """Returns each run's top-1 and its difference from the first one's, with 95 % intervals.

    The intervals keep readers from taking noise for a loss or gain. Empty for multi-label clips.
    """
    results = {run.variant: read_results(run.folder) for run in runs}
    if any(result.multi_label for result in results.values()):
        return ""
    baseline = results[runs[0].variant].right()
    lines = [f"Top-1 of {len(baseline)} test clips with 95 % intervals of these clips:", ""]
    for variant, result in results.items():
        right = result.right()
        low, high = wilson(right.sum(), len(right))
        line = f"- `{variant}`: {100 * right.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        if variant != runs[0].variant:
            low, high = (100 * end for end in difference_interval(baseline, right))
            difference = 100 * (right.mean() - baseline.mean())
            line += f", {difference:+.1f} points ({low:+.1f} to {high:+.1f})"
        lines.append(line)
    lines += [
        "",
        "Another seed moves them further: on the demo's own clips, seeds 0 to 3 differed by -12.7 "
        "to +4.0 points. Over five seeds with one epoch more, top-1 did not differ: see "
        "projects/attention_consistency.",
    ]
    return "\n".join(lines) + "\n"


def draw_losses(runs: Sequence[Run], path: Path) -> None:
    """Draws the terms of each run's loss, and its training error, epoch by epoch."""
    titles = ("cross entropy", "attention consistency (before lambda)", "training top-1 error, %")
    with saved_figure(path, figsize=(12, 3.6)) as figure:
        axes = figure.subplots(1, 3)
        for run in runs:
            epochs = [line for line in read_log(run.folder) if line.get("_type") == "train_epoch"]
            # A run without consistency logs one loss and no terms.
            base = [float(line.get("loss_0", line["loss"])) for line in epochs]
            consistency = [float(line["loss_1"]) for line in epochs if "loss_1" in line]
            error = [float(line["top1_err"]) for line in epochs]
            for axis, values in zip(axes, (base, consistency, error), strict=True):
                axis.plot(range(1, len(values) + 1), values, marker=".", label=run.variant)
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
        axes[1].set_yscale("log")
        axes[0].legend(fontsize=8)


def middle(values: Sequence[float]) -> int:
    """Returns the position of the median of the defined values."""
    # nan is sorted last.
    return int(np.argsort(values)[np.isfinite(values).sum() // 2])


def draw_maps(runs: Sequence[Run], test_list: Path, path: Path) -> None:
    """Draws each run's maps of both streams over one test clip, for its true class.

    Of :data:`CANDIDATES` clips spread over the list, it is the one whose streams' agreement gains
    the median from the first run to the last, so neither the best nor the worst.
    """
    from slowfast_ac.evaluation.attention_quality import streams_agreement
    from slowfast_ac.evaluation.streams import load_run
    from slowfast_ac.visualization.annotation import read_annotation
    from slowfast_ac.visualization.heatmap import heatmap
    from slowfast_ac.visualization.picture import draw_strip

    cfg = load_run_config(runs[0])
    entries = read_list(test_list, **list_format(cfg))
    entries = entries[:: max(1, len(entries) // CANDIDATES)]
    models = {run.variant: load_run(run.folder) for run in runs}

    def maps_of(entry):
        return {
            name: heatmap(
                model.require_network("draw maps of"), entry.path, model.preprocessing, entry.label
            )
            for name, model in models.items()
        }

    gains = []
    for entry in entries:
        agreements = [streams_agreement(result) for result in maps_of(entry).values()]
        gains.append(agreements[-1] - agreements[0])
    entry = entries[middle(gains)]
    heatmaps = maps_of(entry)
    for result in heatmaps.values():
        result.streams.pop("both", None)
    annotation = read_annotation(entry.path)
    times = next(iter(heatmaps.values())).clip.times
    scores = ", ".join(f"{name} {result.score:.2f}" for name, result in heatmaps.items())
    title = f"{Path(entry.path).name}: maps of its true class (score: {scores})"
    with atomic_path(path) as temporary:
        draw_strip(
            temporary, heatmaps, title, None if annotation is None else annotation.boxes_at(times)
        )
