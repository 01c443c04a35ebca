"""Keeps what the runs of a suite found, and makes the tables of README.md from it.

    python evidence.py collect runs/kinds evidence/kinds.json.gz   # adds the finished runs
    python evidence.py collect runs/kinds evidence/kinds_on_4.json.gz --clips clips/kinds_4
    python evidence.py tables evidence/kinds.json.gz --baseline unfused [--figure kinds.png]
    python evidence.py gains AC+SCAM 0=evidence/human_0.json.gz 4=evidence/human_4.json.gz

The file holds, for each run: config without paths, seed, validation accuracy, and for each test
clip its label, the scores, the logits of each stream alone and the measures of attention. So the
tables need neither the clips nor the checkpoints. With ``--clips`` it holds what the same networks
say of the test clips of another data set.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.special
import scipy.stats
import yaml

from slowfast_ac.data.synthetic.kinds import MOTIONS
from slowfast_ac.evaluation.streams import StreamLogits
from slowfast_ac.files import atomic_path

# Of one clip: column -> heading. The first three are 0 or 1.
MEASURES = {
    "right": "top-1 %",
    "spatial_right": "spatial stream alone %",
    "temporal_right": "temporal stream alone %",
    "spatial_pointing": "pointing, spatial",
    "temporal_pointing": "pointing, temporal",
    "spatial_energy": "energy, spatial",
    "temporal_energy": "energy, temporal",
    "agreement": "agreement",
}
PERCENT = ("right", "spatial_right", "temporal_right")
REPLICATES = 10_000
# Where on a machine a run was made is nobody's business.
PATHS = ("OUTPUT_DIR", "DATA.PATH_TO_DATA_DIR")


def read(path: str | Path) -> list[dict]:
    """Returns the runs of a file of evidence; none where there is no file yet."""
    if not Path(path).exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["runs"]


def write(path: str | Path, runs: Sequence[Mapping]) -> None:
    """Writes a file of evidence, whole or not at all; equal runs give equal bytes."""
    text = json.dumps({"runs": list(runs)}, separators=(",", ":"))
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def collect(folder: str | Path, path: str | Path, clips: str | Path | None = None) -> int:
    """Adds the finished runs of ``folder/VARIANT/seedN`` that the file does not have.

    Args:
        folder: the --output of ``slowfast-ac ablate``.
        path: the file.
        clips: data set of other test clips than the runs' own, as large as the test's crop.

    Returns:
        The number of runs added.
    """
    runs = read(path)
    known = {(run["variant"], run["seed"]) for run in runs}
    added = 0
    for record in sorted(Path(folder).glob("*/seed*/run.json")):
        about = json.loads(record.read_text())
        name = record.parent.parent.name, int(record.parent.name.removeprefix("seed"))
        if about["status"] != "finished" or name in known:
            continue
        print(f"{name[0]}:{name[1]}", file=sys.stderr)
        runs.append({"variant": name[0], "seed": name[1], "seconds": about["seconds"]})
        runs[-1] |= measure(record.parent, clips)
        write(path, sorted(runs, key=lambda run: (run["seed"], run["variant"])))
        added += 1
    return added


def measure(folder: Path, clips: str | Path | None = None) -> dict:
    """Returns what one finished run found; see the module's docstring."""
    from slowfast_ac.data.lists import list_format, read_list
    from slowfast_ac.evaluation.attention_quality import measure_clip
    from slowfast_ac.evaluation.results import read_results
    from slowfast_ac.evaluation.streams import load_run, split_logits
    from slowfast_ac.inference.head import find_head
    from slowfast_ac.models.surgery import captured_inputs
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.config_file import load_config
    from slowfast_ac.pyslowfast.log import read_log
    from slowfast_ac.visualization.annotation import read_annotation

    setup()
    cfg = load_config(folder / "config.yaml")
    data = Path(clips or cfg.DATA.PATH_TO_DATA_DIR)
    model = load_run(folder)
    network = model.require_network("measure")
    pooling, classifier = find_head(network)
    columns: dict[str, list[float]] = {name: [] for name in MEASURES if "right" not in name}
    logits: dict[str, list[list[float]]] = {"spatial": [], "temporal": []}
    entries = read_list(data / "test.csv", **list_format(cfg))
    for entry in entries:
        # The pass that makes the maps is the one whose features are read.
        with captured_inputs(pooling) as features:
            rows = measure_clip(model, entry, read_annotation(entry.path))
        for row in rows:
            for name in ("pointing", "energy"):
                if (key := f"{row['stream']}_{name}") in columns:
                    columns[key].append(_rounded(row[name]))
        columns["agreement"].append(_rounded(rows[0]["agreement"]))
        for name, own in zip(logits, split_logits(classifier, features), strict=True):
            logits[name].append([_rounded(value) for value in own[0].tolist()])
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name in PATHS:
        *nodes, key = name.split(".")
        node = config
        for part in nodes:
            node = node[part]
        node.pop(key, None)
    bias = classifier.bias.tolist()
    if clips is None:
        scores = read_results(folder).scores
    else:
        scores = scipy.special.softmax(np.sum(list(logits.values()), axis=0) + bias, axis=1)
    errors = [line for line in read_log(folder) if line.get("_type") == "val_epoch"]
    return {
        "validation": round(100 - float(errors[-1]["top1_err"]), 2),
        "config": config,
        "clips": json.loads((data / "dataset.json").read_text()),
        "labels": [entry.label for entry in entries],
        "scores": [[_rounded(value) for value in row] for row in scores.tolist()],
        "spatial_logits": logits["spatial"],
        "temporal_logits": logits["temporal"],
        "bias": [_rounded(value) for value in bias],
        **columns,
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def values(run: Mapping, measure: str) -> np.ndarray:
    """Returns one measure of each test clip, (V,), nan where it is not defined.

    A stream alone: :meth:`slowfast_ac.evaluation.streams.StreamLogits.alone`.
    """
    if measure not in PERCENT:
        return np.array(run[measure], dtype=np.float64)
    return 100.0 * (predicted(run, measure) == np.array(run["labels"]))


def predicted(run: Mapping, measure: str) -> np.ndarray:
    """Returns the class of each test clip, (V,), by the network or by one stream alone."""
    if measure == "right":
        return np.array(run["scores"]).argmax(axis=1)
    parts = (np.array(run[name]) for name in ("spatial_logits", "temporal_logits", "bias"))
    return StreamLogits(*parts).alone(measure.removesuffix("_right")).argmax(axis=1)


def kinds_and_motions(runs: Sequence[Mapping]) -> str:
    """Returns a table of how often kind and motion are right, by the network and by each stream."""
    lines = ["| variant | seed | " + " | ".join(MEASURES[name] for name in PERCENT) + " |"]
    lines += ["|---" * (2 + len(PERCENT)) + "|"]
    for run in sorted(runs, key=lambda run: (run["variant"], run["seed"])):
        cells = [f"`{run['variant']}`", str(run["seed"])]
        labels = np.array(run["labels"])
        for name in PERCENT:
            classes = predicted(run, name)
            kind, motion = (classes // len(MOTIONS), classes % len(MOTIONS))
            shares = (kind == labels // len(MOTIONS)), (motion == labels % len(MOTIONS))
            cells.append("kind {:.1f}, motion {:.1f}".format(*(100 * s.mean() for s in shares)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def matrix(runs: Sequence[Mapping], variant: str, measure: str, seeds: Sequence[int]) -> np.ndarray:
    """Returns a measure by seed and clip, (S, V)."""
    by_seed = {run["seed"]: run for run in runs if run["variant"] == variant}
    return np.stack([values(by_seed[seed], measure) for seed in seeds])


def gained(runs: Sequence[Mapping], variant: str, baseline: str, measure: str) -> np.ndarray | None:
    """Returns a measure minus a baseline's, (S, V), by their shared seeds; None without any."""
    seeds = [
        {run["seed"] for run in runs if run["variant"] == name} for name in (variant, baseline)
    ]
    shared = sorted(seeds[0] & seeds[1])
    if not shared:
        return None
    return matrix(runs, variant, measure, shared) - matrix(runs, baseline, measure, shared)


def signed(measure: str, *differences: float) -> str:
    """Returns differences of a measure as a cell of a table, with a dash for an unknown one."""
    digits = 1 if measure in PERCENT else 2
    return ", ".join(f"{value:+.{digits}f}".replace("+nan", "-") for value in differences)


def span(measure: str, low: float, high: float) -> str:
    """Returns an interval of a difference as a cell of a table."""
    return f"{signed(measure, low)} to {signed(measure, high)}" if np.isfinite(low) else "-"


def interval(difference: np.ndarray, replicates: int | None = None) -> tuple[float, float]:
    """95 % interval of the mean of a (S, V) matrix of paired differences, by a bootstrap.

    Seeds and clips are both drawn again, with replacement: a replicate is the mean over the drawn
    rows and columns. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007.
    """
    rng = np.random.default_rng(0)
    replicates = replicates or REPLICATES
    seeds, clips = difference.shape
    known = ~np.isnan(difference)
    if not known.any():
        return float("nan"), float("nan")
    filled = np.where(known, difference, 0.0)
    # How often each seed and each clip is drawn.
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates)
    columns = rng.multinomial(clips, np.full(clips, 1 / clips), size=replicates)
    means = ((rows @ filled) * columns).sum(axis=1) / ((rows @ known) * columns).sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def seed_interval(difference: np.ndarray) -> tuple[float, float]:
    """95 % interval of the same mean by Student's t over the seeds' means; nan for one seed."""
    means = _mean(difference, axis=1)
    if len(means) < 2 or np.isnan(means).any():
        return float("nan"), float("nan")
    result = scipy.stats.ttest_1samp(means, 0.0).confidence_interval()
    return float(result.low), float(result.high)


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Returns the mean of the defined values, nan where there is none."""
    return np.ma.filled(np.ma.masked_invalid(values).mean(axis=axis), np.nan)


def tables(
    runs: Sequence[Mapping], baseline: str, differences: Sequence[str] = tuple(MEASURES)
) -> str:
    """Returns the tables as markdown: each variant's measures, and its differences to another's.

    Args:
        runs: of a file.
        baseline: the variant that the others are compared with.
        differences: the measures of the second table.
    """
    variants = list(dict.fromkeys(run["variant"] for run in runs))
    variants.sort(key=lambda variant: variant != baseline)
    seeds = {v: sorted(run["seed"] for run in runs if run["variant"] == v) for v in variants}
    lines = ["| variant | seeds | " + " | ".join(MEASURES.values()) + " |"]
    lines += ["|---" * (2 + len(MEASURES)) + "|"]
    for variant in variants:
        cells = [f"`{variant}`", ", ".join(map(str, seeds[variant]))]
        for name in MEASURES:
            by_seed = _mean(matrix(runs, variant, name, seeds[variant]), axis=1)
            digits = 1 if name in PERCENT else 2
            cells.append(f"{by_seed.mean():.{digits}f}")
            if len(by_seed) > 1:
                cells[-1] += f" ± {by_seed.std(ddof=1):.{digits}f}"
        lines.append("| " + " | ".join(cells).replace("nan", "-") + " |")
    lines += ["", f"Difference to `{baseline}` on the same seeds and clips, with 95 % intervals:"]
    lines += ["", "| variant | measure | seed by seed | mean | seeds and clips | seeds (t) |"]
    lines += ["|---" * 6 + "|"]
    for variant in variants[1:]:
        for name in differences:
            difference = gained(runs, variant, baseline, name)
            if difference is None:
                continue
            cells = [
                f"`{variant}`",
                MEASURES[name],
                signed(name, *_mean(difference, axis=1)),
                signed(name, _mean(difference)),
                span(name, *interval(difference)),
                span(name, *seed_interval(difference)),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


# Of a table of gains.
GAINS = ("right", "spatial_pointing", "temporal_pointing", "agreement")


def gains(
    conditions: Mapping[str, Sequence[Mapping]], variant: str, baseline: str
) -> dict[str, dict[str, np.ndarray]]:
    """Returns what a variant gains on a baseline: measure -> condition -> by seed, (S,).

    Args:
        conditions: name -> the runs of a file, with seeds that both variants have.
        variant: the one that gains.
        baseline: the one that it is compared with, on the same seeds and clips.
    """
    return {
        name: {
            condition: _mean(gained(runs, variant, baseline, name), axis=1)
            for condition, runs in conditions.items()
        }
        for name in GAINS
    }


def gains_table(found: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Returns :func:`gains` as markdown, with Student's t over the seeds."""
    lines = ["| measure | clips | seed by seed | mean | 95 %: seeds (t) |", "|---" * 5 + "|"]
    for name, conditions in found.items():
        for condition, by_seed in conditions.items():
            cells = [
                MEASURES[name],
                condition,
                signed(name, *by_seed),
                signed(name, by_seed.mean()),
                span(name, *seed_interval(by_seed[:, None])),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_gains(
    found: Mapping[str, Mapping[str, np.ndarray]], path: str | Path, label: str = ""
) -> None:
    """Draws :func:`gains`, a panel for each measure; ``label`` says what the clips' names are."""
    from slowfast_ac.figures import saved_figure

    with saved_figure(path, figsize=(12, 3.2)) as figure:
        axes = figure.subplots(1, len(found))
        for axis, (name, conditions) in zip(axes, found.items(), strict=True):
            _dots(axis, MEASURES[name], conditions)
            axis.axhline(0, color="gray", linewidth=0.8)
        figure.supxlabel(label, fontsize=10)


def draw(runs: Sequence[Mapping], path: str | Path) -> None:
    """Draws every measure, a panel each."""
    from slowfast_ac.figures import saved_figure

    variants = list(dict.fromkeys(run["variant"] for run in runs))
    with saved_figure(path, figsize=(13, 6)) as figure:
        axes = figure.subplots(2, 4)
        for axis, (name, title) in zip(axes.flat, MEASURES.items(), strict=True):
            means = {
                v: np.array([_mean(values(r, name)) for r in runs if r["variant"] == v])
                for v in variants
            }
            slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor", "fontsize": 8}
            _dots(axis, title, means, **slanted)


def _dots(axis, title: str, columns: Mapping[str, np.ndarray], **labels) -> None:
    """Fills a panel: a dot for each run, a bar at each column's mean."""
    for place, points in enumerate(columns.values()):
        axis.plot([place] * len(points), points, "o", alpha=0.6)
        axis.hlines(points.mean(), place - 0.3, place + 0.3, color="black")
    axis.set_xticks(range(len(columns)), columns, **labels)
    axis.set_title(title, fontsize=10)
    axis.grid(axis="y", alpha=0.3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="add a folder's finished runs to a file")
    collecting.add_argument("runs", help="the --output of slowfast-ac ablate")
    collecting.add_argument("file", help="NAME.json.gz")
    collecting.add_argument("--clips", help="data set of other test clips than the runs' own")
    showing = commands.add_parser("tables", help="print the tables of a file")
    showing.add_argument("file", help="NAME.json.gz")
    showing.add_argument("--baseline", default="unfused")
    showing.add_argument(
        "--differences", nargs="+", choices=list(MEASURES), default=list(MEASURES), help="of these"
    )
    showing.add_argument("--only", nargs="+", metavar="VARIANT", help="these, in this order")
    showing.add_argument("--figure", help="draw a picture, too")
    gaining = commands.add_parser("gains", help="print what a variant gains in several files")
    gaining.add_argument("variant")
    gaining.add_argument("files", nargs="+", metavar="NAME=FILE", help="name of the clips, file")
    gaining.add_argument("--baseline", default="unfused")
    gaining.add_argument("--figure", help="draw a picture, too")
    gaining.add_argument("--label", default="", help="of the picture's x axis: what the names are")
    args = parser.parse_args(arguments)
    if args.command == "collect":
        print(f"{collect(args.runs, args.file, args.clips)} runs added to {args.file}")
        return 0
    if args.command == "gains":
        conditions = {name: read(file) for name, _, file in (w.partition("=") for w in args.files)}
        for name, runs in conditions.items():
            if not {args.variant, args.baseline} <= {run["variant"] for run in runs}:
                print(f"{name}: no runs of {args.variant} and {args.baseline}", file=sys.stderr)
                return 1
        found = gains(conditions, args.variant, args.baseline)
        print(gains_table(found))
        if args.figure:
            draw_gains(found, args.figure, args.label)
        return 0
    runs = read(args.file)
    present = list(dict.fromkeys(run["variant"] for run in runs))
    wanted = list(dict.fromkeys([args.baseline, *(args.only or present)]))
    for variant in wanted:
        if variant not in present:
            print(f"{args.file}: no run of {variant}; it has {', '.join(present)}", file=sys.stderr)
            return 1
    runs = sorted(
        (run for run in runs if run["variant"] in wanted),
        key=lambda run: (wanted.index(run["variant"]), run["seed"]),
    )
    print(tables(runs, args.baseline, args.differences))
    if all(run["clips"].get("family") == "kinds" for run in runs):
        print(kinds_and_motions(runs))
    if args.figure:
        draw(runs, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
