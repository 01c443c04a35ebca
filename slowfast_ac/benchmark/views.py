"""Compares ``slowfast-ac predict`` with 30 views of one video with 30 predictions of one view."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast_ac.benchmark import networks
from slowfast_ac.benchmark.decode import FPS, moving_texture
from slowfast_ac.benchmark.runtimes import without_missing
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.timing import add_times, interleave
from slowfast_ac.data.video import write_video
from slowfast_ac.data.views import CENTER_VIEW, Views
from slowfast_ac.files import atomic_path
from slowfast_ac.inference.load import TrainedModel, load_model
from slowfast_ac.inference.predict import predict

CLIPS, CROPS = 10, 3
VIEWS = Views(CLIPS, CROPS)
# Arguments of load_model; the first model also predicts the single views.
MODELS: dict[str, dict[str, Any]] = {
    "views": {},
    "views_compiled": {"compile": True},
    "views_bfloat16": {"precision": "bfloat16"},
    "views_bfloat16_compiled": {"precision": "bfloat16", "compile": True},
    "views_openvino": {"backend": "openvino"},
    "views_openvino_bfloat16": {"backend": "openvino", "precision": "bfloat16"},
}
BASELINE = "single_views"
NAMES = (BASELINE, *MODELS)


def bench_views(
    cfg: CfgNode, folder: Path, settings: Settings, *, seconds: float
) -> list[dict[str, Any]]:
    """Measures predictions of a video from file to scores, decoding and all.

    Args:
        cfg: config of the network, whose weights are random.
        folder: for the generated video and weights, which are removed at the end.
        settings: at least 1 iteration; ``only`` has names of :data:`NAMES`.
        seconds: of the video, 340 x 256.

    Returns:
        One row per way to predict; ``seconds`` are those of 30 views.
    """
    names = without_missing(networks.choose(NAMES, settings.only), settings.device)
    names = networks.without_uncompilable(names, settings)
    video, weights = folder / "bench_views.mp4", folder / "bench_views.pyth"
    try:
        write_video(video, moving_texture(seconds), FPS, crf=23)
        _write_weights(cfg, weights)
        single = load_model(weights)
        steps: dict[str, Callable[[], object]] = {}
        for name in names:
            if name == BASELINE:
                steps[name] = lambda: _single_views(single, video)
            else:
                model = load_model(weights, **MODELS[name])
                steps[name] = functools.partial(predict, model, video, VIEWS)
        times = interleave(steps, settings)
    finally:
        video.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, "video_seconds": seconds} for name in names
    }
    add_times(rows, times, CLIPS * CROPS)
    return list(rows.values())


def _single_views(model: TrainedModel, video: Path) -> None:
    for _ in range(CLIPS * CROPS):
        predict(model, video, CENTER_VIEW)


def _write_weights(cfg: CfgNode, path: Path) -> None:
    cfg = cfg.clone()
    cfg.NUM_GPUS = 0
    network = networks.build_network(cfg, torch.device("cpu"))
    with atomic_path(path) as temporary:
        torch.save({"model_state": network.state_dict(), "cfg": cfg.dump()}, temporary)
