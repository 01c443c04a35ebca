"""A network as a HuggingFace folder: config.json, model.safetensors and README.md.

config.json has everything but the weights: the PySlowFast config under ``config``, the
``preprocessing``, the class names (``id2label``, ``label2id``) and the ``sha256`` of the weights.
A repository on the Hub is such a folder: ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@TAG``.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slowfast_ac.errors import InputError
from slowfast_ac.files import sha256

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MODEL_TYPE = "slowfast_ac"
HUB = "hf://"


def weights_path(path: Path) -> Path:
    """Returns the weights file of a folder, or any other path unchanged."""
    return path / WEIGHTS if (path / WEIGHTS).is_file() else path


def read_folder(weights: Path) -> dict[object, object] | None:
    """Reads config.json beside a file of weights.

    Args:
        weights: the file.

    Returns:
        The entries ``cfg``, ``classes``, ``preprocessing`` and ``epoch``, as a checkpoint has them
        beside its weights. None if the file is not in a network's folder.

    Raises:
        InputError: if config.json cannot be read or does not belong to these weights.
    """
    path = weights.parent / CONFIG
    if weights.name != WEIGHTS or not is_folder(path.parent):
        return None
    config = _read_json(path)
    if config.get("sha256") not in (None, sha256(weights)):
        raise InputError(
            f"{weights}: changed or damaged: its sha256 is not the one in {CONFIG}; save or "
            "download both again"
        )
    texts = {"cfg": config.get("config"), "epoch": config.get("epoch")}
    texts["classes"] = _class_map(config, path)
    if "preprocessing" in config:
        texts["preprocessing"] = json.dumps(config["preprocessing"])
    return {name: text for name, text in texts.items() if text is not None}


def is_folder(path: Path) -> bool:
    """Returns whether a folder contains a network of this package.

    Raises:
        InputError: if its config.json is not valid JSON.
    """
    config = path / CONFIG
    return config.is_file() and _read_json(config).get("model_type") == MODEL_TYPE


def download(address: str) -> Path:
    """Downloads a repository from the Hub, or finds it in the cache, and returns its folder.

    Args:
        address: ``hf://OWNER/NAME``, optionally followed by ``@`` and a branch, tag or commit.

    Raises:
        InputError: naming the address, if it cannot be downloaded or contains no network.
    """
    hub = import_hub(address)
    name, _, revision = address.removeprefix(HUB).partition("@")
    with hub_errors(f"{address}: cannot be downloaded"):
        folder = hub.snapshot_download(
            name, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]
        )
    if not (Path(folder) / WEIGHTS).is_file():
        raise InputError(f"{address}: has no {WEIGHTS}")
    return Path(folder)


def import_hub(what: object) -> Any:
    """Imports and returns huggingface_hub.

    Raises:
        InputError: saying that ``what`` needs it and how to install it.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(f"{what}: needs huggingface_hub; pip install 'slowfast_ac[hub]'") from None
    return huggingface_hub


@contextlib.contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turns errors of the Hub and the connection to it into one line.

    Args:
        what: the beginning of the line.

    Raises:
        InputError: for errors of the connection, the Hub or a repository's name.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{what}: {' '.join(str(error).split())}") from None


def _read_json(path: Path) -> Mapping[str, object]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a config in JSON: {error}") from None
    if not isinstance(config, Mapping):
        raise InputError(f"{path}: not a config in JSON: it holds a {type(config).__name__}")
    return config


def _class_map(config: Mapping[str, object], path: Path) -> str | None:
    names, labels = config.get("id2label"), config.get("label2id")
    if isinstance(names, Mapping) and isinstance(labels, Mapping):
        pairs = {(str(label), name) for label, name in names.items()}
        if pairs != {(str(label), name) for name, label in labels.items()}:
            raise InputError(f"{path}: id2label and label2id disagree")
    return json.dumps(names or labels) if names or labels else None
