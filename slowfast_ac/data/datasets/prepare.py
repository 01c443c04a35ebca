"""Makes PySlowFast's lists, class map and config from a data set's annotations and videos."""

import contextlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import yaml

from slowfast_ac.data.class_map import CLASS_MAP
from slowfast_ac.data.datasets.resize import ResizeJob, resize_videos
from slowfast_ac.data.datasets.splits import SPLITS, Dataset, Sample
from slowfast_ac.data.lists import Entry, format_list
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_text
from slowfast_ac.journal import KEY, Journal
from slowfast_ac.ranks import ALONE, Rank

SHOWN_CLASSES = 5


@dataclass(frozen=True)
class _Place:
    """Where the listed videos are: ``prefix / names[path]`` for each original ``path``.

    ``unreadable`` maps videos that could not be read to the reason; None if none was opened.
    ``links`` maps the links that have to be made to their targets.
    """

    prefix: Path
    names: dict[str, str]
    unreadable: dict[str, str] | None = None
    notes: list[str] = field(default_factory=list)
    links: dict[Path, Path] = field(default_factory=dict)


def prepare(
    dataset: Dataset,
    output: str | os.PathLike,
    base: str | os.PathLike | None = None,
    resize: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    rank: Rank = ALONE,
) -> str | None:
    """Writes train.csv, val.csv, test.csv, classes.json and a config for a data set.

    Missing and unreadable videos are left out of the lists and named in missing.txt. If paths have
    white space, which the lists cannot contain, the lists name links without it in
    ``videos/links``.

    Args:
        dataset: the listed videos; see :mod:`slowfast_ac.data.datasets.splits`.
        output: the folder to write; it must not be inside the data set's folder.
        base: a config that the new one builds on.
        resize: short side in pixels. The resized videos are written to ``videos/<resize>``;
            existing ones are skipped, unless the original is newer. None uses the originals.
        workers: number of processes that resize; None for one per CPU core of this process.
        overwrite: replaces different lists, class map, config and links of an earlier call, and
            removes its lists of splits that have no video now.
        rank: which of several processes this is; each resizes a part of the videos.

    Returns:
        The report: counts, notes, files and the next commands. None if other processes still have
        videos to resize; the last one writes the lists.

    Raises:
        InputError: if no video is found, two would get the same name, or ``output`` already
            contains different files and ``overwrite`` is false; lists, links and config are then
            unchanged. Also for resized videos of another folder in ``output``, and for several
            processes without ``resize``.
    """
    if rank.world_size > 1 and resize is None:
        raise InputError(f"--resize: without it there is no work for {rank}; run prepare alone")
    root, output = Path(os.path.abspath(dataset.root)), Path(os.path.abspath(output))
    if output.resolve().is_relative_to(root.resolve()):
        raise InputError(f"--output {output}: is inside the videos' folder {root}; choose another")
    if base is not None and not os.path.isfile(base):
        raise InputError(f"--base {base}: there is no such config")
    if resize is not None and resize < 16:
        raise InputError(f"--resize {resize}: give the short side in pixels, such as 256")
    listed = [s for split in dataset.splits.values() for samples in split.values() for s in samples]
    if not listed:
        raise InputError(f"{dataset.name}: the annotations list no video")
    paths = sorted({sample.path for sample in listed if sample.path is not None})
    if not paths:
        raise InputError(
            f"{root}: holds none of the {len(listed)} listed videos, such as {listed[0].name}"
        )

    if resize is not None:
        resized = _resize(root, paths, output / "videos" / str(resize), resize, workers, rank)
        if resized is None:
            return None
        place = resized
    elif any(_clean(path) != path for path in paths):
        place = _links(root, paths, output / "videos" / "links")
    else:
        place = _Place(root, {path: path for path in paths})
    notes = [*dataset.notes, *place.notes]
    files: dict[Path, str] = {}
    gone, table, missing = [], [], []
    files[output / CLASS_MAP] = json.dumps(dataset.classes, indent=2) + "\n"
    for split_name, splits in dataset.splits.items():
        folder = output / split_name
        for split in SPLITS:
            samples, title = splits.get(split, []), str(PurePath(split_name, split))
            there = [sample for sample in samples if sample.path in place.names]
            table.append(_count(title, samples, place))
            missing += [_explain(title, s, place) for s in samples if s.path not in place.names]
            if not there:
                notes.append(f"{title}.csv is not written: no video for it")
                if split in splits:
                    gone.append(folder / f"{split}.csv")
                continue
            entries = (Entry(place.names[s.path], dataset.classes[s.class_name]) for s in there)
            files[folder / f"{split}.csv"] = format_list(entries)
            notes += _classes_without_video(title, dataset.classes, there)
        config = folder / f"{dataset.name}.yaml"
        files[config] = _config_text(config, place.prefix, len(dataset.classes), base)
    _write_all(files, gone, place.links, overwrite)
    missing_file = output / "missing.txt"
    if missing:
        write_text(missing_file, "\n".join(missing) + "\n")
        notes.append(f"missing and unreadable videos: {missing_file}")
    else:
        missing_file.unlink(missing_ok=True)
    return _report(dataset, table, notes, files, place.prefix, base is not None)


def _clean(path: str) -> str:
    # PySlowFast splits a line at white space and a file at any line break.
    return "".join(c if c.isprintable() and not c.isspace() else "_" for c in path)


def _without_spaces(paths: Iterable[str], suffix: str | None = None) -> dict[str, str]:
    names, taken = {}, {}
    for path in paths:
        name = _clean(path)
        if suffix is not None:
            name = os.path.splitext(name)[0] + suffix
        if name in taken:
            raise InputError(f"{path} and {taken[name]} would both become {name}; rename one")
        names[path], taken[name] = name, path
    return names


def _resize(
    root: Path, paths: list[str], prefix: Path, short_side: int, workers: int | None, rank: Rank
) -> _Place | None:
    names = _without_spaces(paths, suffix=".mp4")
    jobs = {p: ResizeJob(str(root / p), str(prefix / names[p]), short_side) for p in paths}
    _require_origin(prefix, root)
    unreadable: dict[str, str] = {}
    notes = [f"videos with a short side of at most {short_side} pixels: {prefix}"]
    merged = False

    def merge(entries: Iterator[dict]) -> None:
        nonlocal merged
        merged = True
        remarks = []
        for entry in entries:
            if "error" in entry:
                unreadable[entry[KEY]] = entry["error"]
            elif not os.path.exists(jobs[entry[KEY]].target):
                raise InputError(
                    f"{jobs[entry[KEY]].target}: was written and is gone; delete {journal.folder} "
                    "and run again"
                )
            else:
                remarks += [f"{entry[KEY]}\t{reason}" for _, reason in entry["remarks"]]
        if remarks:
            file = prefix.parent / "notes.txt"
            write_text(file, "\n".join(remarks) + "\n")
            notes.append(f"{len(remarks)} remarks on the originals, such as variable rates: {file}")

    with contextlib.closing(Journal(prefix, {"videos": str(root)}, rank)) as journal:
        resize_videos(jobs, journal, workers)
        journal.finish(paths, merge)
    if not merged:
        return None
    if len(unreadable) == len(paths):
        raise InputError(f"none of the {len(paths)} videos can be read; {unreadable[paths[0]]}")
    names = {path: name for path, name in names.items() if path not in unreadable}
    return _Place(prefix, names, unreadable, notes)


def _require_origin(prefix: Path, root: Path) -> None:
    """Rejects resized videos of another folder, whose names may be the same; else notes this one.

    Raises:
        InputError: naming both folders.
    """
    file = prefix.with_suffix(".origin")
    if not file.exists():
        write_text(file, f"{root}\n")
    origin = file.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n")
    if origin != str(root):
        raise InputError(
            f"{prefix}: holds resized videos of {origin}, not of {root}; choose another --output, "
            f"or correct {file} if the folder was only moved"
        )


def _links(root: Path, paths: list[str], prefix: Path) -> _Place:
    names = _without_spaces(paths)
    note = f"paths have spaces, so the lists name links to the videos: {prefix}"
    links = {prefix / name: root / path for path, name in names.items()}
    return _Place(prefix, names, notes=[note], links=links)


def _count(title: str, samples: list[Sample], place: _Place) -> tuple:
    missing = sum(sample.path is None for sample in samples)
    broken = "-"  # not opened
    if place.unreadable is not None:
        broken = sum(sample.path in place.unreadable for sample in samples)
    return title, len(samples), len(samples) - missing, missing, broken


def _explain(title: str, sample: Sample, place: _Place) -> str:
    reason = (place.unreadable or {}).get(sample.path, "not found")
    return f"{title}\t{sample.name}\t{reason}"


def _classes_without_video(title: str, classes: dict[str, int], samples: list[Sample]) -> list[str]:
    present = Counter(sample.class_name for sample in samples)
    absent = [name for name in classes if not present[name]]
    if not absent:
        return []
    shown = ", ".join(absent[:SHOWN_CLASSES]) + (", ..." if len(absent) > SHOWN_CLASSES else "")
    return [f"{title}: {len(absent)} of {len(classes)} classes have no video: {shown}"]


def _config_text(
    config: Path, prefix: Path, num_classes: int, base: str | os.PathLike | None
) -> str:
    keys = {
        "DATA": {"PATH_TO_DATA_DIR": str(config.parent), "PATH_PREFIX": str(prefix)},
        "MODEL": {"NUM_CLASSES": num_classes},
    }
    header = f"# Written by slowfast-ac prepare. Train and test with:\n#   {_run_command(config)}\n"
    if base is None:
        header += "# Choose a model first: add a line _BASE_: /path/to/MODEL.yaml\n"
    else:
        keys = {"_BASE_": os.path.abspath(base), **keys}
    return header + yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=10_000)


def _run_command(config: Path) -> str:
    return f"slowfast-ac run --cfg {shlex.quote(str(config))}"


def _write_all(
    files: dict[Path, str], gone: list[Path], links: dict[Path, Path], overwrite: bool
) -> None:
    """Writes the files and links and removes the lists ``gone``, or changes nothing at all."""
    new_links = {link: to for link, to in links.items() if not _leads_to(link, to)}
    different = [path for path, text in files.items() if path.exists() and _read(path) != text]
    different += [link for link in new_links if os.path.lexists(link)]
    if different:
        # If nothing else has changed, another program has written these lists.
        different += [path for path in gone if path.exists()]
    if different and not overwrite:
        raise InputError(
            f"{different[0]}: exists with other content ({len(different)} such files); nothing is "
            "changed, add --overwrite to replace them or choose another --output"
        )
    for link, to in new_links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(to)
    for path, text in files.items():
        write_text(path, text)
    for path in gone if different else ():
        path.unlink(missing_ok=True)


def _leads_to(link: Path, target: Path) -> bool:
    return link.is_symlink() and os.readlink(link) == str(target)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _report(
    dataset: Dataset,
    table: list[tuple],
    notes: list[str],
    files: dict[Path, str],
    prefix: Path,
    has_base: bool,
) -> str:
    width = max(len("split"), *(len(row[0]) for row in table))
    lines = [f"{dataset.name}: {len(dataset.classes)} classes"]
    for row in (("split", "listed", "found", "missing", "unreadable"), *table):
        lines.append(f"{row[0]:<{width}}" + "".join(f"{cell:>12}" for cell in row[1:]))
    lines += [f"note: {note}" for note in notes]
    lines += [f"wrote {path}" for path in files]
    config = next(path for path in files if path.suffix == ".yaml")
    lists = [path for path in files if path.suffix == ".csv"]
    lines += [
        f"check the videos: slowfast-ac check-data {shlex.quote(str(lists[0]))} "
        f"--prefix {shlex.quote(str(prefix))} --num-classes {len(dataset.classes)}",
    ]
    if not has_base:
        lines.append(f"choose a model:   add a line _BASE_: /path/to/MODEL.yaml to {config}")
    lines.append(f"train and test:   {_run_command(config)}")
    return "\n".join(lines)
