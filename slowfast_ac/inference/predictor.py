"""One loader for every file that can be shown videos: weights of any naming, or a program.

Weights are built of PyTorchVideo's parts, so PySlowFast need not be installed.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from slowfast_ac.checkpoint.open import Checkpoint, open_checkpoint
from slowfast_ac.checkpoint.read import read_weights
from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.data.lists import read_class_map
from slowfast_ac.errors import InputError
from slowfast_ac.inference.build import build_classifier
from slowfast_ac.inference.config import inference_config, read_config
from slowfast_ac.inference.optimize import compile_network, optimize_network

METADATA = ("model", "preprocessing", "classes")
# Views that are shown at once. A CPU gains nothing beyond a few; alone, a view is slower there,
# since torch leaves oneDNN for small convolutions of one clip.
VIEWS = {"cpu": 3, "cuda": 15}


@dataclass(frozen=True)
class Predictor:
    """A trained network that can be shown clips.

    Args:
        path: the file.
        scores: the pathways' clips, (N, 3, T, H, W) each, to (N, L) scores on the CPU.
        preprocessing: what it takes.
        num_classes: L.
        classes: name of every class, or None.
        network: the module, BatchNorm folded, in evaluation mode; None for a program.
        views: how many to show at once; each time at least the crops of one clip.
    """

    path: str
    scores: Callable[[list[Tensor]], Tensor]
    preprocessing: Preprocessing
    num_classes: int
    classes: tuple[str, ...] | None
    network: nn.Module | None
    views: int = 1

    def class_name(self, class_id: int) -> str:
        """Returns the class's name, or its number where the name is not known."""
        return self.classes[class_id] if self.classes else str(class_id)


def load_predictor(
    path: str | os.PathLike,
    *,
    config: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
    trust: bool = False,
    precision: str = "float32",
    compile: bool = False,
) -> Predictor:
    """Loads a file for inference, on the GPU if there is one.

    Args:
        path: weights of SlowFast, SlowFastAC, Slow or SlowAC with PySlowFast's, PyTorchVideo's or
            caffe2's names, or a program that ``slowfast-ac export`` wrote, .onnx or .pt2.
        config: PySlowFast's config; by default the one inside the weights.
        classes: class map, ``{"class name": number}``; by default the one inside the file.
        trust: whether to open a .pt2 file, which can run any code.
        precision: of the weights' network, see
            :func:`~slowfast_ac.inference.optimize.optimize_network`; a program has its own.
        compile: whether inductor compiles the network; not for .onnx, which has its own runtime.

    Raises:
        InputError: naming the file or the key and what does not fit.
    """
    path = os.fspath(path)
    suffix = Path(path).suffix
    if suffix not in (".onnx", ".pt2"):
        predictor = _load_weights(path, config, precision, compile)
    elif config is not None:
        raise InputError(f"{path}: a program holds its own settings; leave the config out")
    elif precision != "float32":
        raise InputError(f"{path}: a program's precision is that of its export; leave it out here")
    elif compile and suffix == ".onnx":
        raise InputError(f"{path}: ONNX Runtime does its own optimising; leave --compile out")
    else:
        predictor = _load_program(path, trust, compile)
    if classes is not None:
        names = _class_names(read_class_map(classes))
        if len(names) != predictor.num_classes:
            raise InputError(
                f"{classes}: has {len(names)} classes, but {path} has {predictor.num_classes}"
            )
        predictor = replace(predictor, classes=names)
    return predictor


def _load_weights(
    path: str, config: str | os.PathLike | None, precision: str, compile: bool
) -> Predictor:
    checkpoint = open_checkpoint(path)
    source = path if config is None else os.fspath(config)
    settings = checkpoint.config if config is None else read_config(config)
    if settings is None:
        raise InputError(
            f"{path}: holds no config, and weights do not say what frames they take; give the "
            "config that they were trained with (--cfg)"
        )
    _check_num_classes(checkpoint, settings, source)
    cfg = inference_config(settings, source)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = optimize_network(build_classifier(checkpoint, cfg), precision).to(device)
    run = compile_network(network, device) if compile else network

    @torch.inference_mode()
    def scores(pathways: list[Tensor]) -> Tensor:
        return run([pathway.to(device) for pathway in pathways]).cpu()

    classes = _classes_inside(path, read_weights(Path(path)).extras if Path(path).exists() else {})
    if classes is not None and len(classes) != checkpoint.num_classes:
        raise InputError(
            f"{path}: names {len(classes)} classes, but its weights have {checkpoint.num_classes}"
        )
    preprocessing = Preprocessing.from_config(cfg)
    return Predictor(
        path,
        scores,
        preprocessing,
        checkpoint.num_classes,
        classes,
        network,
        _views(device, compile),
    )


def _views(device: torch.device, compile: bool) -> int:
    # Every other size of a batch is compiled anew, which a CPU would not earn back.
    return 1 if compile and device.type == "cpu" else VIEWS[device.type]


def _check_num_classes(checkpoint: Checkpoint, settings: Mapping, source: str) -> None:
    model = settings.get("MODEL")
    wanted = model.get("NUM_CLASSES") if isinstance(model, Mapping) else None
    if wanted is not None and checkpoint.num_classes not in (None, wanted):
        raise InputError(
            f"{source}: MODEL.NUM_CLASSES: {wanted}, but the weights in {checkpoint.path} have "
            f"{checkpoint.num_classes} classes"
        )


def _load_program(path: str, trust: bool, compile: bool) -> Predictor:
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    cpu = torch.device("cpu")
    if Path(path).suffix == ".onnx":
        run, metadata = _open_onnx(path)
    else:
        run, metadata = _open_pt2(path, trust)
    if not metadata.get("preprocessing"):
        raise InputError(
            f"{path}: does not say what frames it takes; write it with slowfast-ac export"
        )
    try:
        preprocessing = Preprocessing.from_dict(_parse(path, "preprocessing", metadata))
    except TypeError as error:
        raise InputError(f"{path}: preprocessing: {error}") from None
    classes = _classes_inside(path, metadata)

    @torch.inference_mode()
    def scores(pathways: list[Tensor]) -> Tensor:
        # The program packs the pathways itself, from the clip with all frames.
        return run(pathways[-1])

    size = preprocessing.crop_size
    num_classes = scores([torch.zeros(1, 3, preprocessing.num_frames, size, size)]).shape[1]
    if classes is not None and len(classes) != num_classes:
        raise InputError(f"{path}: names {len(classes)} classes, but it has {num_classes} scores")
    if compile:
        # Not before the clip above, whose batch of one would be compiled too.
        run = compile_network(run, cpu)
    return Predictor(path, scores, preprocessing, num_classes, classes, None, _views(cpu, compile))


def _open_onnx(path: str) -> tuple[Callable[[Tensor], Tensor], Mapping[str, str]]:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError:
        raise InputError(f"{path}: needs onnxruntime; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.InvalidArgument):
        raise InputError(f"{path}: damaged, or no ONNX program; copy it again") from None
    name = session.get_inputs()[0].name

    def run(clip: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: clip.numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map


def _open_pt2(path: str, trust: bool) -> tuple[Callable[[Tensor], Tensor], Mapping[str, str]]:
    if not trust:
        raise InputError(
            f"{path}: not opened, since a .pt2 file can run any code; if you made it or trust who "
            "did, say so (--trust); .onnx and .safetensors need no trust"
        )
    metadata = dict.fromkeys(METADATA, "")
    try:
        program = torch.export.load(path, extra_files=metadata)
    except Exception as error:  # torch names no class for what a damaged archive raises
        raise InputError(
            f"{path}: damaged, or no program of torch.export: {str(error).splitlines()[0]}"
        ) from None
    return program.module(), metadata


def _classes_inside(path: str, metadata: Mapping) -> tuple[str, ...] | None:
    if not isinstance(metadata.get("classes"), str) or not metadata["classes"]:
        return None
    classes = _parse(path, "classes", metadata)
    if sorted(map(str, classes.values())) != sorted(map(str, range(len(classes)))):
        raise InputError(f"{path}: classes: numbers must be 0 to {len(classes) - 1}, each once")
    return _class_names(classes)


def _parse(path: str, key: str, metadata: Mapping[str, str]) -> dict:
    try:
        value = json.loads(metadata[key])
    except ValueError as error:
        raise InputError(f"{path}: {key}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: {key}: a {type(value).__name__}, not an object")
    return value


def _class_names(classes: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(classes, key=classes.get))
