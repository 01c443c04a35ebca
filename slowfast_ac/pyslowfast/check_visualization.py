"""Checks the settings of upstream's visualisation and demo, which run only after the training."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
from fvcore.common.config import CfgNode
from torch import nn

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.build import build_on_cpu
from slowfast_ac.pyslowfast.outputs import absolute, results_file
from slowfast_ac.pyslowfast.repairs.visualization import NEEDS_DETECTOR, has_detector


def check_visualization(cfg: CfgNode) -> None:
    """Rejects a visualisation or demo whose inputs are missing or invalid.

    Raises:
        InputError: naming the key, its value and what to do.
    """
    if "TENSORBOARD" not in cfg:  # the wheel
        return
    if cfg.TENSORBOARD.ENABLE:
        _check_board(cfg)
    if cfg.DEMO.ENABLE:
        _check_demo(cfg)


def shows_something(cfg: CfgNode) -> bool:
    """Returns whether a run ends with upstream's visualisation or demo, which load a checkpoint."""
    if "TENSORBOARD" not in cfg:
        return False
    board = cfg.TENSORBOARD
    draws = board.MODEL_VIS.ENABLE or board.WRONG_PRED_VIS.ENABLE
    return bool(cfg.DEMO.ENABLE or (board.ENABLE and draws))


def _check_board(cfg: CfgNode) -> None:
    board = cfg.TENSORBOARD
    draws = board.MODEL_VIS.ENABLE or board.WRONG_PRED_VIS.ENABLE
    if draws and not board.CLASS_NAMES_PATH:
        raise InputError(
            "TENSORBOARD.CLASS_NAMES_PATH: empty, but MODEL_VIS and WRONG_PRED_VIS write class "
            'names; give a JSON file {"name": number}'
        )
    if board.CLASS_NAMES_PATH:
        check_class_names(
            "TENSORBOARD.CLASS_NAMES_PATH", board.CLASS_NAMES_PATH, cfg.MODEL.NUM_CLASSES
        )
    for key, path in _texts(board):
        _require_file(f"TENSORBOARD.{key}", path)
    if draws and board.PREDICTIONS_PATH and Path(board.PREDICTIONS_PATH) != results_file(cfg):
        _require_file("TENSORBOARD.PREDICTIONS_PATH", board.PREDICTIONS_PATH)
    if board.MODEL_VIS.ENABLE:
        _check_layers(cfg)


def _texts(board: CfgNode) -> Iterator[tuple[str, str]]:
    keys = ["CATEGORIES_PATH", "CONFUSION_MATRIX.SUBSET_PATH"]
    keys += ["HISTOGRAM.SUBSET_PATH"] * board.HISTOGRAM.ENABLE
    keys += ["WRONG_PRED_VIS.SUBSET_PATH"] * board.WRONG_PRED_VIS.ENABLE
    for key in keys:
        *node, name = key.split(".")
        path = board[node[0]][name] if node else board[name]
        if path:
            yield key, path


def _check_layers(cfg: CfgNode) -> None:
    """Checks that the layers to draw exist, and that their number is what upstream expects."""
    model_vis = cfg.TENSORBOARD.MODEL_VIS
    names = [("LAYER_LIST", layer.split()[0]) for layer in model_vis.LAYER_LIST]
    if model_vis.GRAD_CAM.ENABLE:
        layers = model_vis.GRAD_CAM.LAYER_LIST
        pathways = 2 if cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH else 1
        if cfg.DETECTION.ENABLE:
            raise InputError(
                "TENSORBOARD.MODEL_VIS.GRAD_CAM.ENABLE: upstream has no Grad-CAM for detection; "
                "set it to False"
            )
        if len(layers) != pathways:
            raise InputError(
                f"TENSORBOARD.MODEL_VIS.GRAD_CAM.LAYER_LIST: {list(layers)}, but it takes one "
                f"layer for each of the {pathways} pathways of MODEL.ARCH {cfg.MODEL.ARCH}, for "
                "example s5/pathway0_res2; or set GRAD_CAM.ENABLE to False"
            )
        names += [("GRAD_CAM.LAYER_LIST", layer) for layer in layers]
    if not names:
        return
    network = build_on_cpu(cfg)
    for key, name in names:
        if not _has_layer(network, name):
            near = ", ".join(child for child, _ in network.named_children())
            raise InputError(
                f"TENSORBOARD.MODEL_VIS.{key}: {name} is not a layer of {type(network).__name__}; "
                f"its layers, with sublayers after a /: {near}"
            )


def _has_layer(network: nn.Module, name: str) -> bool:
    return bool(name) and name.replace("/", ".") in dict(network.named_modules())


def _check_demo(cfg: CfgNode) -> None:
    demo = cfg.DEMO
    if cfg.DETECTION.ENABLE and not demo.PREDS_BOXES and not has_detector():
        raise InputError(
            f"DEMO.ENABLE: with DETECTION.ENABLE it {NEEDS_DETECTOR}, or give boxes as "
            "DEMO.PREDS_BOXES"
        )
    if not demo.LABEL_FILE_PATH:
        raise InputError(
            "DEMO.LABEL_FILE_PATH: empty, but the demo writes class names; give a JSON file "
            '{"name": number}'
        )
    check_class_names("DEMO.LABEL_FILE_PATH", demo.LABEL_FILE_PATH, cfg.MODEL.NUM_CLASSES)
    for key in ("PREDS_BOXES", "GT_BOXES"):
        if cfg.DETECTION.ENABLE and demo[key]:
            _require_file(f"DEMO.{key}", demo[key])
    if demo.WEBCAM < 0:
        _check_input(demo.INPUT_VIDEO)
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not demo.OUTPUT_FILE and sys.platform == "linux" and not shown:
        raise InputError(
            "DEMO.OUTPUT_FILE: empty, and there is no display to show the video on; give a file"
        )
    length = cfg.DATA.NUM_FRAMES * cfg.DATA.SAMPLING_RATE
    if length // 2 < demo.BUFFER_SIZE:
        raise InputError(
            f"DEMO.BUFFER_SIZE: {demo.BUFFER_SIZE} exceeds half of the clip's {length} frames "
            "(DATA.NUM_FRAMES x DATA.SAMPLING_RATE)"
        )


def _check_input(video: str) -> None:
    if not video:
        raise InputError("DEMO.INPUT_VIDEO: empty, and DEMO.WEBCAM is -1; give one of them")
    path = Path(absolute(video))
    if "://" not in video and not path.exists():
        raise InputError(f"DEMO.INPUT_VIDEO: {video}: there is no such video")
    # A folder of pictures is only for precomputed boxes.
    if not path.is_dir() and not cv2.VideoCapture(absolute(video)).isOpened():
        raise InputError(f"DEMO.INPUT_VIDEO: {video}: OpenCV cannot open it")


def check_class_names(key: str, path: str, num_classes: int) -> None:
    """Rejects a file that is not a JSON object of class names and numbers, or lacks a class.

    Args:
        key: the config key that names the file.
        path: the file.
        num_classes: MODEL.NUM_CLASSES.

    Raises:
        InputError: naming the key and the file.
    """
    _require_file(key, path)
    if "://" in path:
        return
    try:
        names = json.loads(Path(path).read_text(encoding="utf-8"))
        numbers = set(names.values())
        missing = next((n for n in range(num_classes) if n not in numbers), None)
    except (ValueError, AttributeError, TypeError):
        raise InputError(f'{key}: {path} is not a JSON file {{"name": number}}') from None
    if missing is not None:
        raise InputError(f"{key}: {path} has no name for class {missing} of {num_classes} classes")


def _require_file(key: str, path: str) -> None:
    if "://" not in path and not Path(path).is_file():
        raise InputError(f"{key}: {path}: there is no such file")
