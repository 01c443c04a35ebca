"""Quantizes a network to int8 for OpenVINO, with NNCF, and measures how its answers change.

Post-training quantization: clips of videos calibrate the range of each layer, nothing is trained.
"""

import contextlib
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slowfast_ac.data.clips import read_clips, to_pathways
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.sampling import Span
from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import predict
from slowfast_ac.inference.programs.openvino import (
    compile_model,
    keep_signal_stack,
    require,
    without_telemetry,
)
from slowfast_ac.inference.programs.write import to_openvino
from slowfast_ac.inference.windows import video_duration

# Fewer videos give several clips each; of more than MOST_VIDEOS, only some are used.
FEWEST_CLIPS, MOST_VIDEOS = 100, 300
# With fewer videos, calibration and comparison both take all of them.
FEWEST_HALVED = 20


@dataclass(frozen=True)
class Quantized:
    """A network in int8, compared with float32 on one view of each video.

    Args:
        model: OpenVINO's ``Model``.
        calibrated: number of calibration videos.
        compared: number of compared videos.
        held_out: whether the compared videos took no part in the calibration.
        changed: number of compared videos with a different best class.
        mean_difference: largest change of a score in a video, averaged over the compared videos.
        max_difference: largest change of any score.
    """

    model: Any
    calibrated: int
    compared: int
    held_out: bool
    changed: int
    mean_difference: float
    max_difference: float


def quantize(model: TrainedModel, videos: Sequence[StrPath]) -> Quantized:
    """Quantizes a network for OpenVINO.

    With 20 videos or more, every second one calibrates and the others are compared.

    Args:
        model: weights, on the CPU.
        videos: of the kind that the network will see; at most 600 are read.

    Raises:
        InputError: if OpenVINO, NNCF or videos are missing, a video cannot be read, or a score is
            not a number.
    """
    network = model.require_network("quantize")
    if not videos:
        raise InputError("int8: needs videos to calibrate on (--calibrate)")
    require("nncf", "int8")
    halves = len(videos) >= FEWEST_HALVED
    calibration, comparison = (videos[::2], videos[1::2]) if halves else (videos, videos)
    calibration, comparison = _thinned(calibration), _thinned(comparison)
    clips = _Clips(calibration, model.preprocessing)
    converted = to_openvino(network, model.preprocessing)
    quantized = quantize_program(converted, clips, len(clips))
    run = compile_model(quantized, "int8")
    ours = replace(model, scores=lambda pathways: run(pathways[-1]))
    differences, changed = [], 0
    for video in comparison:
        old, new = (predict(each, video, CENTER_VIEW)[0] for each in (model, ours))
        differences.append(float(np.abs(old.scores - new.scores).max()))
        changed += old.top(1) != new.top(1)
    if not math.isfinite(sum(differences)):
        raise InputError(f"{model.path}: int8: scores are not finite on some of these videos")
    mean, highest = sum(differences) / len(differences), max(differences)
    return Quantized(quantized, len(calibration), len(comparison), halves, changed, mean, highest)


def quantize_program(model: Any, clips: Iterable[np.ndarray], count: int) -> Any:
    """Returns OpenVINO's ``Model`` in int8.

    Args:
        model: OpenVINO's ``Model``.
        clips: (1, 3, T, H, W) each, normalised; read once or more.
        count: how many there are.
    """
    nncf = require("nncf", "int8")
    nncf.set_log_level(logging.ERROR)
    # Otherwise sums overflow on CPUs without VNNI, and the scores depend on the CPU.
    safe = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    # NNCF's progress bars go to stdout.
    redirected = contextlib.redirect_stdout(sys.stderr)
    with without_telemetry(), keep_signal_stack(), redirected:
        return nncf.quantize(
            model, nncf.Dataset(clips), subset_size=count, advanced_parameters=safe
        )


class _Clips:
    """Clips of videos, read at each iteration, since many do not fit in memory."""

    def __init__(self, videos: Sequence[StrPath], preprocessing: Preprocessing) -> None:
        self.videos, self.preprocessing = videos, preprocessing
        self.per_video = math.ceil(FEWEST_CLIPS / len(videos))

    def __len__(self) -> int:
        return len(self.videos) * self.per_video

    def __iter__(self) -> Iterator[np.ndarray]:
        crops = ("center",)
        for video in self.videos:
            span = Span(0.0, video_duration(str(video)))
            for _, clip in read_clips(video, self.preprocessing, [span], self.per_video, crops):
                yield to_pathways(clip.frames, self.preprocessing, *crops)[-1].numpy()


def _thinned(videos: Sequence[StrPath]) -> list[StrPath]:
    step = math.ceil(len(videos) / MOST_VIDEOS)
    return list(videos[::step])
