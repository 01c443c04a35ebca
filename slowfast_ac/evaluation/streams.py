"""Splits the logits into a spatial part, a temporal part and a bias, to test each stream alone."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath
from slowfast_ac.inference.head import find_head
from slowfast_ac.inference.load import TrainedModel, load_model
from slowfast_ac.inference.predict import predict
from slowfast_ac.models.surgery import captured_inputs
from slowfast_ac.pyslowfast.outputs import last_checkpoint

STREAMS = ("spatial", "temporal")


@dataclass(frozen=True)
class StreamLogits:
    """Parts of the logits of V clips and L classes.

    Args:
        spatial: (V, L), the slow pathway's part.
        temporal: (V, L), the fast pathway's part.
        bias: (L,), the classifier's.
    """

    spatial: np.ndarray
    temporal: np.ndarray
    bias: np.ndarray

    def both(self) -> np.ndarray:
        """Returns the network's logits, (V, L)."""
        return self.spatial + self.temporal + self.bias

    def alone(self, stream: str) -> np.ndarray:
        """Returns the logits of one stream alone, (V, L).

        The other stream's part is replaced by its mean over all clips. Without that mean, the
        logits would favour some classes in every clip.

        Args:
            stream: ``spatial`` or ``temporal``.
        """
        own, other = self.spatial, self.temporal
        if stream == "temporal":
            own, other = other, own
        return own + other.mean(axis=0) + self.bias


def split_logits(classifier: nn.Linear, features: Sequence[Tensor]) -> list[Tensor]:
    """Returns each stream's part of the logits, without the bias, (N, L).

    Args:
        classifier: of both streams' averaged features, the slow pathway's first.
        features: each stream's res5, (N, C, T, h, w).
    """
    weights = classifier.weight.detach().split([volume.shape[1] for volume in features], dim=1)
    return [
        volume.mean(dim=(2, 3, 4)).to(weight) @ weight.T
        for volume, weight in zip(features, weights, strict=True)
    ]


def stream_logits(
    model: TrainedModel, videos: Sequence[str], progress: bool = False
) -> StreamLogits:
    """Returns the parts of a network's logits for the centre crop of each video's middle clip.

    Args:
        model: a network of two pathways with one classifier; weights, not a program.
        videos: paths.
        progress: show it on stderr, in a terminal.

    Raises:
        InputError: if the network has one pathway, or a video cannot be read.
    """
    network = model.require_features("take streams of")
    if model.preprocessing.alpha is None:
        raise InputError(f"{model.path}: its streams cannot be told apart, since it has only one")
    pooling, classifier = find_head(network)
    parts: list[list[Tensor]] = []
    hidden = None if progress else True
    for video in tqdm(videos, unit="video", file=sys.stderr, disable=hidden):
        with captured_inputs(pooling) as features, torch.no_grad():
            predict(model, video, CENTER_VIEW)
            parts.append([part[0].float().cpu() for part in split_logits(classifier, features)])
    spatial, temporal = (torch.stack(rows).numpy() for rows in zip(*parts, strict=True))
    return StreamLogits(spatial, temporal, classifier.bias.detach().float().cpu().numpy())


def load_run(folder: StrPath) -> TrainedModel:
    """Returns the last network that a run saved.

    Raises:
        InputError: if the folder is not that of a run, or the run saved no network.
    """
    config = Path(folder) / "config.yaml"
    checkpoint = last_checkpoint(folder)
    if not config.is_file() or checkpoint is None:
        raise InputError(
            f"{folder}: not the folder of a run with config.yaml and checkpoints/, which are "
            "needed to measure the streams"
        )
    return load_model(checkpoint, config=config)
