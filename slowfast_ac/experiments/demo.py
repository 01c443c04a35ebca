"""The demo: a generated action data set, the fused baseline and the method trained on it."""

import os
from collections.abc import Sequence
from pathlib import Path

from slowfast_ac.data.lists import read_list
from slowfast_ac.data.synthetic.dataset import write_dataset
from slowfast_ac.errors import InputError
from slowfast_ac.experiments.ablate import load_run_config, require_same_settings, run_all
from slowfast_ac.experiments.report import (
    checkpoint_of,
    measure_attention,
    write_report,
)
from slowfast_ac.experiments.suite import Run, load_suite, plan
from slowfast_ac.figures import saved_figure
from slowfast_ac.files import atomic_path
from slowfast_ac.pyslowfast.log import read_log

CONFIGS = Path(__file__).parent.parent / "configs/demo"
CLIPS = {"train": 40, "val": 10, "test": 20}
# A smoke run: everything happens, nothing is learnt.
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
) -> Path:
    """Trains and tests baseline and method and writes one folder of results.

    Args:
        output: folder: ``report.md``, ``report.csv``, ``report.json``, ``report.png``,
            ``losses.png``, ``maps.png`` and a run directory per model.
        data: folder with train.csv, val.csv and test.csv, or None to generate one.
        quick: a smoke run of about a minute that learns nothing.
        opts: config keys and values in turn, for both models.

    Returns:
        The path of report.md.

    Raises:
        InputError: for bad data, or when a run failed.
    """
    output = Path(output).resolve()
    if data is None:
        folder = output / ("data_quick" if quick else "data")
        data = write_dataset(folder, QUICK_CLIPS if quick else CLIPS)
    data = Path(data).resolve()
    labels = {entry.label for entry in read_list(data / "train.csv")}
    own = ["DATA.PATH_TO_DATA_DIR", str(data), "MODEL.NUM_CLASSES", str(max(labels) + 1)]
    own += [*(QUICK_OPTS if quick else ()), *opts]
    suite = load_suite(CONFIGS / "suite.yaml")
    runs = plan(suite, output, own)
    require_same_settings(runs)
    failed = run_all(runs)
    if failed:
        raise InputError(f"demo: {', '.join(failed)} failed; see {runs[0].folder}/output.txt")
    measure_attention(runs)
    draw_losses(runs, output / "losses.png")
    draw_maps(runs, data / "test.csv", output / "maps.png")
    return write_report(suite, runs, output)


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


def draw_maps(runs: Sequence[Run], test_list: Path, path: Path) -> None:
    """Draws each run's maps of both streams over the first test clip, for its true class."""
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.visualization.annotation import read_annotation
    from slowfast_ac.visualization.heatmap import heatmap
    from slowfast_ac.visualization.picture import draw_strip

    cfg = load_run_config(runs[0])
    entry = read_list(test_list, prefix=cfg.DATA.PATH_PREFIX)[0]
    heatmaps = {}
    for run in runs:
        model = load_model(checkpoint_of(run), config=load_run_config(run))
        network = model.require_network("draw maps of")
        heatmaps[run.variant] = heatmap(network, entry.path, model.preprocessing, entry.label)
    annotation = read_annotation(entry.path)
    times = next(iter(heatmaps.values())).clip.times
    scores = ", ".join(f"{name} {result.score:.2f}" for name, result in heatmaps.items())
    title = f"{Path(entry.path).name}: maps of its true class (score: {scores})"
    with atomic_path(path) as temporary:
        draw_strip(
            temporary, heatmaps, title, None if annotation is None else annotation.boxes_at(times)
        )
