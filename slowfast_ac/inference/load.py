"""Loads trained weights, or a program made from them, as a network for inference.

Most networks are built from PyTorchVideo's parts and do not need PySlowFast. Those that
PyTorchVideo has no parts for (nonlocal blocks, C2D, I3D, R18, RESNET.STRIDE_1X1, grouped
convolutions, X3D) are built by PySlowFast.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.checkpoint.open import Checkpoint, local_path, open_checkpoint
from slowfast_ac.data.class_map import Classes, class_names, parse_class_map, to_class_map
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath
from slowfast_ac.inference.build import build_classifier, check_input, find_obstacle
from slowfast_ac.inference.config import Config, ModelConfig, model_config
from slowfast_ac.inference.optimize import compile_network, optimize_network
from slowfast_ac.inference.programs.open import PROGRAMS, RUNTIMES, open_program
from slowfast_ac.inference.programs.write import run_by_openvino
from slowfast_ac.inference.upstream import build_with_pyslowfast

logger = logging.getLogger(__name__)
Scores = Callable[[list[Tensor]], Tensor]
# Views per forward pass. A CPU gains nothing beyond a few; a single view is slower there, since
# torch does not use oneDNN for small convolutions of one clip.
VIEWS = {"cpu": 3, "cuda": 15}
BACKENDS = ("torch", "openvino")


@dataclass(frozen=True)
class TrainedModel:
    """A trained network that is ready for inference.

    Args:
        path: the file.
        scores: maps the pathways' clips, (N, 3, T, H, W) each, to (N, L) scores on the CPU.
        preprocessing: how clips are made.
        num_classes: L.
        classes: name of every class, or None.
        network: in evaluation mode, with its BatchNorm layers, called with the list of the
            pathways' clips; None for a program.
        optimized: the copy that ``scores`` runs, with BatchNorm folded; None for a program or
            with OpenVINO.
        config: the keys of PySlowFast that it was built with; empty for a program.
        checkpoint: its weights and the file's metadata; None for a program.
        name: the model's name in PySlowFast.
        views: views per forward pass, but at least the crops of one clip.
        given_config: the part of ``config`` from a file or the user; the rest are defaults.
    """

    path: str
    scores: Scores
    preprocessing: Preprocessing
    num_classes: int
    classes: tuple[str, ...] | None = None
    network: nn.Module | None = None
    optimized: nn.Module | None = None
    config: CfgNode = field(default_factory=CfgNode)
    checkpoint: Checkpoint | None = None
    name: str = ""
    views: int = 1
    given_config: CfgNode = field(default_factory=CfgNode)

    def class_name(self, class_id: int) -> str:
        """Returns the class's name, or its number where the name is not known."""
        return self.classes[class_id] if self.classes else str(class_id)

    def require_network(self, what: str) -> nn.Module:
        """Returns the network.

        Args:
            what: the caller's task, for the message, such as ``draw maps of``.

        Raises:
            InputError: for a program, which returns scores alone.
        """
        if self.network is None:
            raise InputError(f"{self.path}: a program returns scores alone; {what} the weights")
        return self.network

    def require_features(self, what: str) -> nn.Module:
        """Returns the network that ``scores`` runs, to take features from.

        Args:
            what: as for ``require_network``.

        Raises:
            InputError: for a program, or with OpenVINO, which return scores alone.
        """
        self.require_network(what)
        if self.optimized is None:
            raise InputError(
                f"{self.path}: OpenVINO returns scores alone; load it for torch (backend)"
            )
        return self.optimized


def load_model(
    path: StrPath | Checkpoint,
    *,
    config: Config | None = None,
    opts: Sequence[object] = (),
    classes: Classes | None = None,
    weights: str | None = None,
    device: str | torch.device | None = None,
    precision: str = "float32",
    compile: bool = False,
    backend: str = "torch",
    trust: bool = False,
    pyslowfast: StrPath | None = None,
) -> TrainedModel:
    """Loads a trained network from a file, a folder or a URL.

    Args:
        path: weights of any kind that ``slowfast-ac inspect`` knows, the folder or repository of a
            network (``FOLDER``, ``hf://OWNER/NAME``), or a program that ``slowfast-ac export``
            wrote, .onnx, .xml or .pt2; or an opened checkpoint.
        config: PySlowFast's config; by default the one in the file.
        opts: keys of the config and their values in turn, which override it.
        classes: names of the classes, in order, or a class map or a file of either, see
            :func:`~slowfast_ac.data.class_map.read_class_map`; by default those in the file.
        weights: which weights to load if the file has those of several networks.
        device: of the network; by default the GPU if there is one. A program runs on the CPU.
        precision: of the weights' network, see
            :func:`~slowfast_ac.inference.optimize.optimize_network`; a program has its own.
        compile: whether inductor compiles the network; not with another runtime (.onnx, .xml,
            OpenVINO).
        backend: ``torch`` or ``openvino``, for weights; a program has its own. OpenVINO runs on
            CPUs, takes seconds to convert the network, and returns scores alone.
        trust: whether to open a .pt2 file, which can run any code.
        pyslowfast: a checkout of PySlowFast for the networks that need it; by default
            PYSLOWFAST_ROOT or what is importable.

    Raises:
        InputError: naming the file or the key and what does not fit.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend: {backend!r} is not one of {', '.join(BACKENDS)}")
    if backend == "openvino" and compile:
        raise InputError("--compile: OpenVINO does its own optimising; leave it out")
    if isinstance(path, Checkpoint):
        checkpoint: Checkpoint | None = path
        path = path.path
    else:
        path = os.fspath(path)
        checkpoint = None if is_program(path) else open_checkpoint(path, weights)
    if checkpoint is not None:
        settings = model_config(checkpoint, config, opts)
        model = _from_weights(checkpoint, settings, device, precision, compile, backend, pyslowfast)
        if config is None and not opts:
            _check_preprocessing(model, checkpoint)
    elif config is not None or opts:
        raise InputError(f"{path}: a program holds its own settings; leave the config out")
    elif weights is not None:
        raise InputError(f"{path}: a program holds one network; leave --weights out")
    elif precision != "float32":
        raise InputError(f"{path}: a program's precision is that of its export; leave it out here")
    elif backend != "torch":
        raise InputError(f"{path}: a program has its own runtime; leave --backend out")
    elif compile and _suffix(path) in RUNTIMES:
        runtime = RUNTIMES[_suffix(path)]
        raise InputError(f"{path}: {runtime} does its own optimising; leave --compile out")
    else:
        model = _from_program(path, trust, compile)
    return model if classes is None else _with_classes(model, classes)


def is_program(path: str) -> bool:
    """Returns whether a file or URL is a program, not weights."""
    return _suffix(path) in PROGRAMS


def _suffix(path: str) -> str:
    return Path(path.partition("?")[0] if "://" in path else path).suffix


def _from_weights(
    checkpoint: Checkpoint,
    settings: ModelConfig,
    device: str | torch.device | None,
    precision: str,
    compile: bool,
    backend: str,
    pyslowfast: StrPath | None,
) -> TrainedModel:
    cfg = settings.cfg
    check_input(checkpoint, cfg)
    if checkpoint.aside:
        first, *others = checkpoint.aside
        more = f" and {len(others)} others" if others else ""
        logger.warning("%s: not of the network: %s%s", checkpoint.path, first, more)
    obstacle = find_obstacle(checkpoint, cfg)
    network: nn.Module
    if obstacle is None:
        network = build_classifier(checkpoint, cfg)
    else:
        network = build_with_pyslowfast(checkpoint, settings, obstacle, pyslowfast)
    if device is None:
        device = "cuda" if torch.cuda.is_available() and backend == "torch" else "cpu"
    device = torch.device(device)
    if backend == "openvino" and device.type != "cpu":
        raise InputError(f"device: {device}: OpenVINO runs on the CPU here; take the backend torch")
    network.to(device)
    preprocessing = Preprocessing.from_config(cfg)
    optimized: nn.Module | None = None
    if backend == "openvino":
        scores = _of_clips(run_by_openvino(network, preprocessing, precision))
    else:
        try:
            optimized = optimize_network(network, precision)
        except InputError:
            if checkpoint.problem is None or precision != "float32":
                raise
            optimized = network  # X3D and others have layers that are not folded
        scores = _on_device(compile_network(optimized, device) if compile else optimized, device)
    num_classes = checkpoint.num_classes or cfg.MODEL.NUM_CLASSES
    return TrainedModel(
        checkpoint.path,
        scores,
        preprocessing,
        num_classes,
        _classes_inside(checkpoint.path, checkpoint.texts, num_classes),
        network,
        optimized,
        cfg,
        checkpoint,
        cfg.MODEL.MODEL_NAME or cfg.MODEL.ARCH,
        _views(device, compile),
        settings.given(),
    )


def _from_program(path: str, trust: bool, compile: bool) -> TrainedModel:
    program = open_program(path, local_path(path), trust)
    preprocessing, run = program.preprocessing, program.run
    scores = _of_clips(run)
    size = preprocessing.crop_size
    num_classes = scores([torch.zeros(1, 3, preprocessing.num_frames, size, size)]).shape[1]
    cpu = torch.device("cpu")
    if compile and isinstance(run, nn.Module):
        # After the call above, or its batch of one would be compiled too.
        scores = _of_clips(compile_network(run, cpu))
    return TrainedModel(
        path,
        scores,
        preprocessing,
        num_classes,
        _classes_inside(path, program.metadata, num_classes),
        name=program.metadata.get("model", ""),
        views=_views(cpu, compile),
    )


def _on_device(run: Callable[..., Tensor], device: torch.device) -> Scores:
    @torch.inference_mode()
    def scores(pathways: list[Tensor]) -> Tensor:
        return run([pathway.to(device) for pathway in pathways]).cpu()

    return scores


def _of_clips(run: Callable[[Tensor], Tensor]) -> Scores:
    @torch.inference_mode()
    def scores(pathways: list[Tensor]) -> Tensor:
        # A program packs the pathways itself, from the clip with all frames.
        return run(pathways[-1])

    return scores


def _views(device: torch.device, compile: bool) -> int:
    # Each new batch size is compiled again, which does not pay off on a CPU.
    return 1 if compile and device.type == "cpu" else VIEWS.get(device.type, 1)


def _classes_inside(
    path: str, texts: Mapping[str, str], num_classes: int
) -> tuple[str, ...] | None:
    if not texts.get("classes"):
        return None
    names = class_names(parse_class_map(texts["classes"], f"{path}: classes"))
    if len(names) != num_classes:
        raise InputError(f"{path}: names {len(names)} classes, but its scores are of {num_classes}")
    return names


def _check_preprocessing(model: TrainedModel, checkpoint: Checkpoint) -> None:
    """Rejects a file whose config and preprocessing disagree, as after an edit by hand."""
    if "preprocessing" in checkpoint.texts:
        try:
            model.preprocessing.require_equal(json.loads(checkpoint.texts["preprocessing"]))
        except InputError as error:
            raise InputError(f"{checkpoint.path}: {error}") from None


def _with_classes(model: TrainedModel, classes: Classes) -> TrainedModel:
    source = os.fspath(classes) if isinstance(classes, str | os.PathLike) else "the class map"
    names = class_names(to_class_map(classes))
    if len(names) != model.num_classes:
        raise InputError(
            f"{source}: has {len(names)} classes, but {model.path} has {model.num_classes}"
        )
    if model.classes and names != model.classes and sorted(names) == sorted(model.classes):
        first = next(i for i, name in enumerate(names) if name != model.classes[i])
        raise InputError(
            f"{source}: class {first} is {names[first]!r}, but {model.classes[first]!r} in "
            f"{model.path}: the same names in another order"
        )
    return replace(model, classes=names)
