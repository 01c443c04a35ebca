"""Shows where a trained network looks: each stream's class activation map, frame by frame.

The head averages both streams' last feature maps F_s, F_t over frames and positions and applies one
linear classifier W = [W_s, W_t], b. The same classifier, applied to the features of one frame,
shows how much each position of that frame speaks for class l:

    spatial[t]  = sum_c W_s(l, c) F_s,c[t]      averaged over the scales
    temporal[t] = sum_c W_t(l, c) F_t,c[t]      the sum over t is Eq. 2
    both[t]     = spatial[t // alpha] + temporal[t]

``both`` has the temporal stream's frames: each map of the spatial stream is repeated for its
alpha frames of the fast pathway. With one scale, the mean of ``both`` over frames and positions,
plus b, is the logit.

The mean of ``spatial`` over t is Eq. 1.

Shapes: N clips, T_s and T frames of the two streams, h x w the size of a map, L classes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from slowfast_ac.cam import average_scales, resize
from slowfast_ac.data.clips import Clip, read_clip, to_pathways
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference.head import find_head
from slowfast_ac.models.surgery import captured_inputs
from slowfast_ac.scam_head import check_scales, rescale
from slowfast_ac.visualization.placement import place_map


class Maps(NamedTuple):
    """Maps of one class per clip.

    Args:
        spatial: (N, T_s, h, w), of the slow pathway or of a network's only one.
        temporal: (N, T, h', w'), of the fast pathway; None for a network of one pathway.
        both: (N, T, h, w), their sum; ``spatial`` itself for a network of one pathway.
        class_ids: (N,), the classes.
        scores: (N, L), the network's output in evaluation, from the same pass.
    """

    spatial: Tensor
    temporal: Tensor | None
    both: Tensor
    class_ids: Tensor
    scores: Tensor


@torch.no_grad()
def attention_maps(
    model: nn.Module,
    pathways: Sequence[Tensor],
    class_ids: Sequence[int] | Tensor | None = None,
    scales: Sequence[float] = (1.0,),
) -> Maps:
    """Computes the maps defined in the module's docstring, in evaluation mode.

    Args:
        model: SlowFastAC, SlowAC or PTVSlowFastAC, PySlowFast's SlowFast, ResNet, PTVSlowFast or
            PTVResNet, or the ``network`` that load_model returns.
        pathways: the network's input, (N, 3, T, H, W) each; H and W may differ from each other.
        class_ids: N classes; None takes each clip's class with the highest score.
        scales: sizes of the clip relative to ``pathways``, 1.0 first.

    Raises:
        InputError: for invalid scales or classes, or an unsupported model.
    """
    check_scales(scales)
    pooling, classifier = find_head(model)
    with _evaluation(model):
        with captured_inputs(pooling) as features:
            scores = model(list(pathways))
        by_scale = [features]
        for scale in scales[1:]:
            rescaled = [rescale(clip, scale) for clip in pathways]
            by_scale.append(_features(model, pooling, rescaled))
    channels = [stream.shape[1] for stream in features if stream.ndim == 5]
    if not 1 <= len(channels) <= 2 or sum(channels) != classifier.in_features:
        raise InputError(f"{type(model).__name__}: its classifier is not on the last feature maps")
    class_ids = _check_classes(class_ids, scores)
    weights = classifier.weight[class_ids].split(channels, dim=1)
    cams = [_project(streams[0], weights[0]) for streams in by_scale]
    spatial = average_scales(cams, scales)
    if len(channels) == 1:
        return Maps(spatial, None, spatial, class_ids, scores)
    temporal = _project(features[1], weights[1])
    held = torch.from_numpy(held_frames(spatial.shape[1], temporal.shape[1]))
    both = spatial[:, held] + resize(temporal, spatial.shape[-2:])
    return Maps(spatial, temporal, both, class_ids, scores)


class Stream(NamedTuple):
    """One stream's maps of a clip.

    Args:
        maps: (T, h, w), float32.
        times: (T,), times of their frames, seconds since the start of the video.
    """

    maps: np.ndarray
    times: np.ndarray


@dataclass(frozen=True)
class Heatmap:
    """One clip's maps.

    Args:
        clip: all frames of the clip, at the video's own size, and their times.
        streams: ``spatial``, ``temporal`` and ``both``; only ``spatial`` for a network of one
            pathway.
        class_id: class of the maps.
        scores: (L,), the network's scores of this view.
        input_size: height and width of the frames as the network saw them.
    """

    clip: Clip
    streams: dict[str, Stream]
    class_id: int
    scores: np.ndarray
    input_size: tuple[int, int]

    @property
    def score(self) -> float:
        """Score of the class."""
        return float(self.scores[self.class_id])

    @property
    def predicted(self) -> int:
        """Class of the highest score."""
        return int(self.scores.argmax())

    def shown(self, stream: str) -> np.ndarray:
        """Returns a stream's map for every frame of the clip, (T, h, w), by repeating maps."""
        maps = self.streams[stream].maps
        return maps[held_frames(len(maps), len(self.clip.times))]

    def over_frame(self, cam: np.ndarray) -> np.ndarray:
        """Returns one of the maps, (h, w), placed over a frame of the video, (H, W)."""
        return place_map(cam, self.input_size, self.clip.frames.shape[1:3])


def heatmap(
    model: nn.Module,
    path: str | os.PathLike,
    preprocessing: Preprocessing,
    class_id: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    scales: Sequence[float] = (1.0,),
) -> Heatmap:
    """Computes the maps of a video's clip. The network sees the whole frame, not a crop.

    Args:
        model: see :func:`attention_maps`.
        path: the video.
        preprocessing: the settings of the training, ``Preprocessing.from_config(cfg)``.
        class_id: class of the maps; None takes the class with the highest score.
        start: in seconds; None takes the clip in the middle of the video.
        end: in seconds; the clip is in the middle between ``start`` and ``end``. With None the
            clip starts at ``start``.
        scales: see :func:`attention_maps`.

    Raises:
        InputError: if the video cannot be read; see also :func:`attention_maps`.
    """
    clip = read_clip(path, preprocessing, start, end)
    device = next(model.parameters()).device
    pathways = [pathway.to(device) for pathway in to_pathways(clip.frames, preprocessing)]
    if preprocessing.resize_while_decoding:
        # The pictures have the size of the video.
        whole = replace(preprocessing, resize_while_decoding=False)
        clip = read_clip(path, whole, start, end)
    maps = attention_maps(model, pathways, None if class_id is None else [class_id], scales)
    streams = {"spatial": _stream(maps.spatial, clip.times[preprocessing.slow_frames()])}
    if maps.temporal is not None:
        streams["temporal"] = _stream(maps.temporal, clip.times)
        streams["both"] = _stream(maps.both, clip.times)
    scores = maps.scores[0].cpu().numpy()
    height, width = pathways[0].shape[-2:]
    return Heatmap(clip, streams, int(maps.class_ids[0]), scores, (height, width))


def held_frames(count: int, onto: int) -> np.ndarray:
    """Returns for each of ``onto`` frames the number of its map, if ``count`` are held evenly."""
    return np.arange(onto) * count // onto


class _Reached(Exception):
    pass


def _features(model: nn.Module, layer: nn.Module, pathways: list[Tensor]) -> list[Tensor]:
    """Runs the model up to ``layer``, since the pooling after it needs maps of the full size."""

    def stop(*_):
        raise _Reached

    with captured_inputs(layer) as features:
        handle = layer.register_forward_pre_hook(stop)
        try:
            model(pathways)
        except _Reached:
            return features
        finally:
            handle.remove()
    raise AssertionError(f"{type(model).__name__} did not run its {type(layer).__name__}")


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _check_classes(class_ids: Sequence[int] | Tensor | None, scores: Tensor) -> Tensor:
    if class_ids is None:
        return scores.argmax(dim=1)
    class_ids = torch.as_tensor(class_ids, device=scores.device)
    last = scores.shape[1] - 1
    for class_id in class_ids.tolist():
        if not 0 <= class_id <= last:
            raise InputError(f"class {class_id}: the network has classes 0 to {last}")
    return class_ids


def _project(features: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("ncthw,nc->nthw", features, weight)


def _stream(maps: Tensor, times: np.ndarray) -> Stream:
    return Stream(maps[0].cpu().numpy(), times[held_frames(len(times), maps.shape[1])])
