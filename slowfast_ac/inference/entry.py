"""Entries of a model zoo: weights named after their hash, a card for people, a row of an index.

The name is torch.hub's convention, ``NAME_<first 8 hex digits of the sha256>.SUFFIX``, so that
``torch.hub.load_state_dict_from_url(..., check_hash=True)`` verifies an entry too.
"""

import csv
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import torch

from slowfast_ac.checkpoint.hashed import COLUMNS, INDEX, sha256
from slowfast_ac.errors import InputError
from slowfast_ac.files import write_csv, write_text
from slowfast_ac.inference.export import SUFFIXES, WEIGHT_FORMATS, export, public_config
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.pyslowfast.build import count_gflops
from slowfast_ac.pyslowfast.log import LOG, read_log
from slowfast_ac.version import __version__

ACCURACY_KEYS = ("top1", "top5", "data")


def check_weights(format: str) -> None:
    """Rejects a format that is no weights.

    Raises:
        InputError: naming the formats of a zoo.
    """
    if format not in WEIGHT_FORMATS:
        raise InputError(
            f"--format {format}: an entry of a zoo holds weights: {', '.join(WEIGHT_FORMATS)}"
        )


def write_entry(
    model: TrainedModel,
    folder: str | Path,
    name: str,
    format: str = "safetensors",
    accuracy: Mapping[str, str] | None = None,
) -> Path:
    """Adds a network to a zoo: first its weights, then the card, last the index.

    A row of the same name is replaced; its weights and card stay, since others may refer to them.

    Args:
        model: what to add; weights.
        folder: the zoo's.
        name: the entry's, by custom that of its config file.
        format: one of the formats of weights.
        accuracy: top1 and top5 in percent, and data, as far as they are known.

    Returns:
        The weights' path.

    Raises:
        InputError: for another format, or an index that is not one.
    """
    check_weights(format)
    folder = Path(folder)
    rows = _read_index(folder / INDEX)
    folder.mkdir(parents=True, exist_ok=True)
    suffix = SUFFIXES[format]
    with tempfile.TemporaryDirectory(prefix=".entry-", dir=folder) as temporary:
        weights = Path(temporary) / f"weights{suffix}"
        export(model, format, weights)
        digest = sha256(weights)
        path = folder / f"{name}_{digest[:8]}{suffix}"
        os.replace(weights, path)
    row = _describe(model, name, path, digest, accuracy or {})
    write_text(path.with_suffix(".md"), _card(model, row))
    rows[name] = row
    write_csv(folder / INDEX, COLUMNS, ([row[key] for key in COLUMNS] for row in rows.values()))
    return path


def parse_accuracy(text: str) -> dict[str, str]:
    """Parses ``top1=70.1,top5=89.2,data=UCF101``.

    Raises:
        InputError: naming the part that is wrong.
    """
    accuracy = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in ACCURACY_KEYS or not value:
            raise InputError(
                f"--accuracy: {part!r} is not one of top1=, top5= and data= with a value"
            )
        if key != "data":
            _check_percent(value, f"--accuracy: {key}")
        accuracy[key] = value
    return accuracy


def read_accuracy(run_dir: str | Path) -> dict[str, str]:
    """Reads the last test's top1 and top5 from the log of a run's folder.

    Raises:
        InputError: if there is no log, or no finished test in it.
    """
    tests = [line for line in read_log(run_dir) if line.get("split") == "test_final"]
    if not tests:
        raise InputError(
            f"{Path(run_dir) / LOG}: no finished test in it (a json_stats line with test_final)"
        )
    return {
        key: str(tests[-1][f"{key}_acc"]) for key in ("top1", "top5") if f"{key}_acc" in tests[-1]
    }


def _check_percent(value: str, what: str) -> None:
    try:
        is_percent = 0 <= float(value) <= 100
    except ValueError:
        is_percent = False
    if not is_percent:
        raise InputError(f"{what} {value!r} is not a percentage between 0 and 100")


def _read_index(path: Path) -> dict[str, dict[str, str]]:
    """Returns the rows by name, none for a new zoo."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(f"{path}: not an index of a zoo; its columns must be {','.join(COLUMNS)}")
    return {row["name"]: row for row in rows}


def _describe(
    model: TrainedModel, name: str, path: Path, digest: str, accuracy: Mapping[str, str]
) -> dict[str, str]:
    network, cfg, preprocessing = model.network, model.config, model.preprocessing
    assert network is not None and model.checkpoint is not None  # it was exported
    return {
        "name": name,
        "file": path.name,
        "model": model.name,
        "num_frames": str(preprocessing.num_frames),
        "sampling_rate": str(preprocessing.sampling_rate),
        "alpha": str(preprocessing.alpha or ""),
        "views": f"{cfg.TEST.NUM_ENSEMBLE_VIEWS}x{cfg.TEST.NUM_SPATIAL_CROPS}",
        "num_classes": str(cfg.MODEL.NUM_CLASSES),
        **{key: accuracy.get(key, "") for key in ACCURACY_KEYS},
        "gflops": f"{count_gflops(cfg, network):.1f}",
        "parameters": str(model.checkpoint.num_parameters),
        "date": date.today().isoformat(),
        "sha256": digest,
    }


def _card(model: TrainedModel, row: Mapping[str, str]) -> str:
    preprocessing = model.preprocessing
    clips, crops = row["views"].split("x")
    accuracy = [f"{key} {row[key]} %" for key in ("top1", "top5") if row[key]]
    lines = [
        ("Model", f"{row['model']}, {row['num_classes']} classes"),
        (
            "Clip",
            f"{row['num_frames']} frames, {row['sampling_rate']} apart at "
            f"{preprocessing.target_fps:g} fps"
            + (f", alpha {row['alpha']}" if row["alpha"] else ""),
        ),
        ("Test crop", f"{preprocessing.crop_size} x {preprocessing.crop_size} pixels"),
        ("Views", f"{clips} clips x {crops} crops"),
        ("Data", row["data"] or "not given"),
        ("Accuracy", ", ".join(accuracy) or "not given"),
        ("Cost", f"{row['gflops']} GFLOPs a view, {int(row['parameters']):,} parameters"),
        ("File", f"{row['file']}"),
        ("SHA-256", f"{row['sha256']}"),
        ("Date", row["date"]),
        ("Versions", f"torch {torch.__version__}, slowfast_ac {__version__}"),
        ("Licence", "code: Apache-2.0; weights: see the section below"),
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in lines)
    return (
        f"# {row['name']}\n\n| | |\n|---|---|\n{table}\n\n"
        "## Licence of the weights\n\nNot stated. If you publish this entry, state it here.\n\n"
        f"## Preprocessing\n\n```json\n{json.dumps(preprocessing.to_dict(), indent=2)}\n```\n\n"
        f"## Config\n\n```yaml\n{public_config(model).dump().rstrip()}\n```\n"
    )
