"""Reads suites of runs: a base config, named variants of it, and seeds."""

import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from slowfast_ac.errors import InputError

# The entries of a file.
KINDS = {
    **dict.fromkeys(("title", "base", "baseline"), str),
    **dict.fromkeys(("common", "variants", "paper"), dict),
    "seeds": list,
}
PAPER_FIGURES = {"top1", "top5", "gflops"}
# Keys that a suite sets for each of its runs, and what to do instead.
OF_EACH_RUN = {
    "RNG_SEED": "choose the seeds with --seeds or the suite's entry seeds (demo: --seed)",
    "OUTPUT_DIR": "choose the folder of all runs with --output",
    "TEST.SAVE_RESULTS_PATH": "the report reads test_results.pkl",
}


@dataclass(frozen=True)
class Suite:
    """The variants that are compared, and their settings.

    Args:
        title: one line for the report.
        base: the config file that every variant starts from.
        variants: name -> config keys and values that differ from the base: those under ``common``
            in the file, then the variant's own.
        baseline: the variant that the others are compared with.
        seeds: values of RNG_SEED.
        paper: name of a variant -> its figures in the paper (top1, top5, gflops), if it has any.
    """

    title: str
    base: Path
    variants: dict[str, dict[str, object]]
    baseline: str
    seeds: tuple[int, ...] = (0,)
    paper: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training and test.

    Args:
        variant: its name in the suite.
        seed: RNG_SEED.
        cfg: config file.
        opts: keys and values in turn.
        folder: OUTPUT_DIR.
    """

    variant: str
    seed: int
    cfg: Path
    opts: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """The run's name, ``variant:seed``."""
        return f"{self.variant}:{self.seed}"

    @property
    def all_opts(self) -> list[str]:
        """``opts``, then the run's own keys and values."""
        own = ["RNG_SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]
        # The report reads the scores from this file.
        own += ["TEST.SAVE_RESULTS_PATH", "test_results.pkl"]
        return [*self.opts, *own]

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``slowfast-ac``."""
        return ["run", "--cfg", str(self.cfg), "--opts", *self.all_opts]

    @property
    def command(self) -> list[str]:
        """The command, for this Python."""
        return [sys.executable, "-m", "slowfast_ac", *self.arguments]

    def __str__(self) -> str:
        return shlex.join(["slowfast-ac", *self.arguments])


def load_suite(path: str | Path, base: str | Path | None = None) -> Suite:
    """Reads a suite's yaml file.

    Args:
        path: the file; its ``base`` is relative to it.
        base: replaces the file's ``base``.

    Raises:
        InputError: naming the file and the entry.
    """
    path = Path(path)
    data = _read(path)
    common = data.get("common") or {}
    variants = {name: {} if opts is None else opts for name, opts in data["variants"].items()}
    for name, opts in variants.items():
        # It names a folder, and VARIANT:SEED names a run.
        if not isinstance(name, str) or not re.fullmatch(r"[^\s/:.][^\s/:]*", name):
            raise InputError(
                f"{path}: variants: {name!r} is no name: take text without spaces, slashes, colons "
                "and a leading dot"
            )
        if not isinstance(opts, dict):
            raise InputError(
                f"{path}: variants: {name}: {opts!r} is not a mapping of config keys to values"
            )
    for opts in (common, *variants.values()):
        _require_shared(f"{path}: ", opts)
    for entry in (data["baseline"], *data.get("paper", {})):
        if entry not in variants:
            raise InputError(f"{path}: {entry} is not one of the variants {', '.join(variants)}")
    for variant, figures in data.get("paper", {}).items():
        if not isinstance(figures, dict) or not set(figures) <= PAPER_FIGURES:
            raise InputError(
                f"{path}: paper: {variant}: {figures!r} is not a mapping of "
                f"{', '.join(sorted(PAPER_FIGURES))} to numbers"
            )
    seeds = data.get("seeds", [0])
    if not seeds or any(type(seed) is not int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise InputError(f"{path}: seeds: {seeds} are not different integers")
    suite = Suite(
        title=data.get("title", path.stem),
        base=(path.parent / data["base"]).resolve(),
        variants={name: {**common, **opts} for name, opts in variants.items()},
        baseline=data["baseline"],
        seeds=tuple(seeds),
        paper=data.get("paper", {}),
    )
    if base is not None:
        suite = replace(suite, base=Path(base).resolve())
    if not suite.base.is_file():
        raise InputError(f"{path}: base {suite.base} does not exist")
    return suite


def _read(path: Path) -> dict[str, Any]:
    """Returns the entries of a suite's file, each of its kind."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such suite")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{path}: not yaml, it is not text") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid yaml: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not {"base", "baseline", "variants"} <= set(data):
        raise InputError(f"{path}: a suite needs the entries base, baseline and variants")
    for entry, value in data.items():
        if entry not in KINDS:
            raise InputError(f"{path}: unknown entry {entry}; known: {', '.join(sorted(KINDS))}")
        if not isinstance(value, KINDS[entry]) and (entry, value) != ("common", None):
            wanted = {str: "text", list: "a list", dict: "a mapping"}[KINDS[entry]]
            raise InputError(f"{path}: {entry}: {value!r} is not {wanted}")
    return data


def _require_shared(source: str, keys: Iterable[str]) -> None:
    for key in keys:
        if key in OF_EACH_RUN:
            raise InputError(f"{source}{key}: each run has its own; {OF_EACH_RUN[key]}")


def plan(
    suite: Suite,
    output: str | Path,
    opts: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    only: Sequence[str] | None = None,
) -> list[Run]:
    """Lists the runs, seed by seed, so that variants can be compared even after an early stop.

    Args:
        suite: the suite.
        output: folder; each run gets ``output/variant/seedN``.
        opts: keys and values for every run, after the variant's own.
        seeds: replace the suite's; all different.
        only: names of variants, or ``variant:seed``, to keep.

    Raises:
        InputError: for a seed that is given twice, an unknown name in ``only``, or a key in
            ``opts`` that each run has of its own or that the variants differ in.
    """
    _require_shared("--opts: ", opts[::2])
    for key in opts[::2]:
        first, *others = (overrides.get(key) for overrides in suite.variants.values())
        if any(other != first for other in others):
            raise InputError(f"--opts: {key}: the variants differ in it; change it in the suite")
    seeds = suite.seeds if seeds is None else seeds
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds: {' '.join(map(str, seeds))} are not different seeds")
    runs = []
    for seed in seeds:
        for variant, overrides in suite.variants.items():
            own = [str(part) for pair in overrides.items() for part in pair]
            folder = Path(output).resolve() / variant / f"seed{seed}"
            runs.append(Run(variant, seed, suite.base, (*own, *opts), folder))
    if only is None:
        return runs
    names = {run.variant for run in runs} | {run.name for run in runs}
    for name in only:
        if name not in names:
            raise InputError(f"--only: {name} is not one of {', '.join(sorted(names))}")
    return [run for run in runs if run.variant in only or run.name in only]
