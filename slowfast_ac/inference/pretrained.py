"""Shares networks in HuggingFace's form: as a folder, or as a repository of the Hub."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from slowfast_ac.cam import STRIDE
from slowfast_ac.checkpoint.folder import (
    CARD,
    CONFIG,
    HUB,
    MODEL_TYPE,
    WEIGHTS,
    hub_errors,
    import_hub,
    is_folder,
)
from slowfast_ac.checkpoint.load import load_weights
from slowfast_ac.checkpoint.save import save_checkpoint
from slowfast_ac.data.class_map import Classes, to_class_map
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, sha256, write_json
from slowfast_ac.inference.export import converted_weights
from slowfast_ac.inference.load import TrainedModel, load_model
from slowfast_ac.inference.model_card import Accuracy, check_accuracy, write_card
from slowfast_ac.models.builder import SlowFastACNet, create_slowfast_ac

# The values that create_slowfast_ac builds with.
_STRIDES = [[1, 1], [2, 2], [2, 2], [2, 2]]
_DILATIONS = [[1, 1]] * 4
_FAST_STEMS = ("s1.pathway1_stem.conv.weight", "multipathway_blocks.1.conv.weight", "t_conv1_w")


def describe_model(
    network: SlowFastACNet, preprocessing: Preprocessing, classes: Classes | None = None
) -> dict[str, str]:
    """Returns the entries that a checkpoint needs beside the weights for ``load_model``.

    Add them to the dict that you save: ``torch.save({"model_state": network.state_dict(),
    **describe_model(...)}, "checkpoint.pyth")``, or ``checkpoint.update(describe_model(...))`` in
    Lightning's ``on_save_checkpoint``.

    Args:
        network: what ``create_slowfast_ac`` returned.
        preprocessing: of its clips in evaluation.
        classes: names of its classes, see :class:`slowfast_ac.VideoDataset`.

    Returns:
        ``cfg``, a PySlowFast config as YAML, and, if given, ``classes`` as JSON.

    Raises:
        InputError: if the clips or the classes do not fit the network.
    """
    num_classes = network.classifier_weight().shape[0]
    for name, given, own in (
        ("num_frames", preprocessing.num_frames, network.num_frames),
        ("alpha", preprocessing.alpha, network.pack.alpha),
    ):
        if given != own:
            raise InputError(f"preprocessing: {name} is {given}, but the network's is {own}")
    config: dict[str, Any] = preprocessing.to_config()
    config["DATA"]["TRAIN_CROP_SIZE"] = network.crop_size
    config["MODEL"].update(MODEL_NAME="PTVSlowFastAC", NUM_CLASSES=num_classes)
    config["RESNET"] = {"SPATIAL_STRIDES": _STRIDES, "SPATIAL_DILATIONS": _DILATIONS}
    texts = {"cfg": yaml.safe_dump(config)}
    if classes is not None:
        labels = to_class_map(classes)
        if len(labels) != num_classes:
            raise InputError(f"classes: {len(labels)} names, but the network has {num_classes}")
        texts["classes"] = json.dumps(labels)
    return texts


def save_pretrained(
    network: SlowFastACNet | TrainedModel,
    folder: StrPath,
    *,
    preprocessing: Preprocessing | None = None,
    classes: Classes | None = None,
    accuracy: Accuracy | None = None,
) -> Path:
    """Writes a network as a folder: config.json, model.safetensors and README.md, the model card.

    An earlier network in the folder is replaced. Your text in its card is kept. The table of facts
    in it is written again, and accuracies of other weights are removed.

    Args:
        network: what ``create_slowfast_ac`` or ``load_model`` returned.
        folder: the folder, created if it is missing.
        preprocessing: of the clips in evaluation; only for ``create_slowfast_ac``'s network.
        classes: names of the classes; likewise only for ``create_slowfast_ac``'s network.
        accuracy: ``top1`` and ``top5`` in percent and the name of the ``data``, for the card's
            index.

    Raises:
        InputError: if the folder holds something else, or an argument does not fit the network.
    """
    folder = Path(folder)
    check_accuracy(accuracy or {})
    import_hub(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    if (folder / CONFIG).exists() and not is_folder(folder):
        raise InputError(f"{folder}: holds the {CONFIG} of another library; choose another folder")
    if isinstance(network, TrainedModel):
        model = network
        for name, value in (("preprocessing", preprocessing), ("classes", classes)):
            if value is not None:
                raise InputError(f"{name}: the network has its own; give {name} to load_model")
    elif preprocessing is None:
        raise InputError("preprocessing: needed, since the network does not contain it")
    else:
        model = _described(network, preprocessing, classes)
    model.require_network("save_pretrained writes")
    assert model.checkpoint is not None
    own = "pytorchvideo" if model.checkpoint.naming == "pytorchvideo" else "pyslowfast"
    weights, cfg = converted_weights(model, own)
    earlier = json.loads((folder / CONFIG).read_text()) if (folder / CONFIG).exists() else {}
    save_checkpoint(folder / WEIGHTS, weights)
    config = {
        "model_type": MODEL_TYPE,
        "architectures": [model.name],
        "preprocessing": model.preprocessing.to_dict(),
        "config": yaml.safe_load(cfg.dump()),
        "epoch": model.checkpoint.epoch,
        "sha256": sha256(folder / WEIGHTS),
    }
    if model.classes is not None:
        config["id2label"] = dict(enumerate(model.classes))
        config["label2id"] = {name: label for label, name in enumerate(model.classes)}
    write_json(folder / CONFIG, config)
    is_new = earlier.get("sha256") != config["sha256"]
    write_card(folder, model, accuracy or {}, is_new=is_new)
    return folder


def from_pretrained(
    path: StrPath | TrainedModel, *, model_num_class: int | None = None, **options: Any
) -> SlowFastACNet:
    """Builds ``create_slowfast_ac``'s network with trained weights, in evaluation mode.

    Args:
        path: a folder that :func:`save_pretrained` wrote, a repository of the Hub, ``OWNER/NAME``
            or ``hf://OWNER/NAME``, or any file with SlowFastAC's weights and a config; or what
            ``load_model`` returned.
        model_num_class: classes of your own data, for a new classifier; by default the file's.
        **options: arguments of ``create_slowfast_ac`` that the weights do not determine:
            ``dropout_rate``, ``scales``, ``scale_grad``, ``frame_stride``, ``scam``.

    Raises:
        InputError: naming the file, if it holds another network.
    """
    model = path if isinstance(path, TrainedModel) else load_model(_address(path), device="cpu")
    checkpoint, cfg = model.checkpoint, model.config
    if checkpoint is None or checkpoint.model.removeprefix("PTV") != "SlowFastAC":
        found = "a program" if checkpoint is None else checkpoint.model
        raise InputError(f"{model.path}: holds {found}, not SlowFastAC")
    for key, own in (("SPATIAL_STRIDES", _STRIDES), ("SPATIAL_DILATIONS", _DILATIONS)):
        if [list(stage) for stage in cfg.RESNET[key]] not in (own, [stage[:1] for stage in own]):
            raise InputError(
                f"{model.path}: RESNET.{key}: {cfg.RESNET[key]} are not those of "
                f"create_slowfast_ac, {own}"
            )
    if cfg.DATA.TRAIN_CROP_SIZE % STRIDE:
        raise InputError(
            f"{model.path}: DATA.TRAIN_CROP_SIZE: {cfg.DATA.TRAIN_CROP_SIZE} is not a multiple of "
            f"{STRIDE}, as create_slowfast_ac needs; load_model opens it"
        )
    if cfg.MULTIGRID.SHORT_CYCLE:
        raise InputError(
            f"{model.path}: MULTIGRID.SHORT_CYCLE: its head pools whole maps, unlike that of "
            "create_slowfast_ac"
        )
    assert checkpoint.width is not None and checkpoint.depth is not None
    fast = next(v for name, v in checkpoint.state_dict.items() if name.endswith(_FAST_STEMS))
    settled = {
        "model_depth": checkpoint.depth,
        "stem_dim_out": checkpoint.width,
        "slowfast_channel_reduction_ratio": checkpoint.width // fast.shape[0],
        "num_frames": model.preprocessing.num_frames,
        "alpha": model.preprocessing.alpha,
        "crop_size": cfg.DATA.TRAIN_CROP_SIZE,
    }
    for name in settled.keys() & options.keys():
        raise InputError(f"{model.path}: {name} is {settled[name]} in the file; leave it out")
    network = create_slowfast_ac(model_num_class=model.num_classes, **settled, **options)
    load_weights(network, checkpoint)
    if model_num_class not in (None, model.num_classes):
        blocks: Any = network.model.blocks
        blocks[6].proj = nn.Linear(blocks[6].proj.in_features, model_num_class)
    return network


def push_to_hub(
    folder: StrPath, repo_id: str, *, private: bool = False, token: str | None = None
) -> str:
    """Uploads a folder to the Hub, and creates the repository if it does not exist.

    Args:
        folder: what :func:`save_pretrained` wrote.
        repo_id: ``OWNER/NAME``.
        private: whether a new repository is private.
        token: of the Hub; by default the one of ``hf auth login``.

    Returns:
        The address of the commit.

    Raises:
        InputError: if the folder holds no network, or the Hub refuses the upload.
    """
    hub = import_hub(repo_id)
    if not is_folder(Path(folder)):
        raise InputError(f"{folder}: not a network's folder; write one with save_pretrained")
    load_model(folder, device="cpu")  # rejects a folder that nobody could open
    with hub_errors(f"{repo_id}: cannot be uploaded"):
        api = hub.HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS, CARD]
        )
    return str(commit)


def _address(path: StrPath) -> str:
    """Returns the Hub's address if a path is a repository's name and no local path."""
    text = str(path)
    is_name = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@\S+)?", text)
    return HUB + text if is_name and not Path(text).parent.exists() else text


def _described(
    network: SlowFastACNet, preprocessing: Preprocessing, classes: Classes | None
) -> TrainedModel:
    texts = describe_model(network, preprocessing, classes)
    # Through a file, so that nothing is saved that cannot be loaded.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pyth"
        torch.save({"model_state": network.state_dict(), **texts}, path)
        return load_model(path, device="cpu")
