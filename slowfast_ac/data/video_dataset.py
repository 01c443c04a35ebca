"""Labelled videos as a map-style torch data set, for your own training loop."""

import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from slowfast_ac.data.class_map import Classes, class_names, to_class_map
from slowfast_ac.data.clips import read_clip, read_clips, to_pathways
from slowfast_ac.data.datasets.folder import VideoFolder
from slowfast_ac.data.datasets.splits import SPLIT_OF, class_labels
from slowfast_ac.data.lists import read_list
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.data.reader import VideoReader
from slowfast_ac.data.sampling import Span
from slowfast_ac.data.views import Views
from slowfast_ac.errors import InputError

logger = logging.getLogger(__name__)
ON_ERROR = ("raise", "skip")
# PySlowFast's DATA.TRAIN_JITTER_SCALES for its DATA.TRAIN_CROP_SIZE.
_SCALES, _CROP_SIZE = (256, 320), 224


class VideoDataset(Dataset):
    """Labelled videos; each item is the network's input for one video and its label.

    The input is a list of the slow and the fast pathway's clips, or of the only pathway's clip,
    (3, T, h, w) each. torch's own ``DataLoader`` can batch it.

    In evaluation, it is the same as in ``slowfast-ac predict`` and in PySlowFast's test. In
    training, a clip starts at a random time of the video, as in PySlowFast, and is scaled, cropped
    and mirrored at random. These draws depend only on ``seed``, the epoch (:meth:`set_epoch`) and
    the index, not on the number of workers.

    Args:
        videos: a PySlowFast list of ``path label`` lines, or a folder ``ROOT/<class>/...``.
        preprocessing: how a video becomes the network's input.
        train: whether the clips are for training.
        classes: class names in the order of the labels, a class map, or a file with either. By
            default, the labels of a folder follow its sorted sub-folders, and a list has no class
            names. Give a validation folder the classes of the training folder.
        prefix: prefix of the list's paths, DATA.PATH_PREFIX.
        separator: separator of the list's paths and labels, DATA.PATH_LABEL_SEPARATOR.
        clips: in evaluation, TEST.NUM_ENSEMBLE_VIEWS; None takes one from the middle of the video.
        crops: in evaluation, TEST.NUM_SPATIAL_CROPS, 1 or 3. With ``clips`` or 3 crops, an item has
            all views of its video, (clips x crops, 3, T, h, w), with the crops of a clip together.
        crop_size: side of a training crop in pixels; by default that of ``preprocessing``.
        jitter_scales: bounds in pixels of the random short side that a training crop is cut from;
            by default PySlowFast's 256 and 320 for crops of 224, and in proportion for others.
        transform: in training, replaces scaling, cropping and mirroring. Called with a clip
            (T, 3, H, W), uint8 RGB; returns such a clip. Transforms of torchvision v2 draw from
            torch's generator, which is seeded for each clip.
        seed: seed of the training clips.
        on_error: for a broken video in training: ``raise``, or ``skip`` to log a warning and take
            the next one.

    Attributes:
        paths: the videos.
        labels: their labels.
        classes: class names in the order of the labels, or None.

    Raises:
        InputError: for a bad list, folder or argument, naming it.
    """

    def __init__(
        self,
        videos: str | os.PathLike,
        preprocessing: Preprocessing,
        *,
        train: bool = False,
        classes: Classes | None = None,
        prefix: str = "",
        separator: str = " ",
        clips: int | None = None,
        crops: int = 1,
        crop_size: int | None = None,
        jitter_scales: tuple[int, int] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        on_error: str = "raise",
    ) -> None:
        if on_error not in ON_ERROR:
            raise InputError(f"on_error: {on_error!r} is not one of {', '.join(ON_ERROR)}")
        if train and preprocessing.dataset != "kinetics":
            raise InputError(
                f"train: TEST.DATASET {preprocessing.dataset} is supported in evaluation only; "
                "train with PySlowFast itself"
            )
        self.paths, self.labels, self.classes = _find(videos, classes, prefix, separator)
        self.preprocessing, self.train, self.seed = preprocessing, train, seed
        self.views = Views(clips, crops)
        self.on_error = on_error
        crop_size = crop_size or preprocessing.crop_size
        self.transform = transform or train_transform(crop_size, jitter_scales)
        # Frames are read at their full size; the transform resizes them.
        self._training = replace(preprocessing, crop_size=crop_size, resize_while_decoding=False)
        # Shared, so that persistent workers see the new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch for which training clips are drawn. Call it before each epoch.

        Args:
            epoch: from 0.
        """
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        """Returns the input and the label of a video.

        Raises:
            InputError: if the video cannot be read, naming it.
        """
        index = range(len(self))[index]
        if not self.train:
            return self._evaluation_views(self.paths[index]), self.labels[index]
        for shift in range(len(self)):
            place = (index + shift) % len(self)
            try:
                return self._training_clip(place), self.labels[place]
            except InputError as error:
                if self.on_error == "raise" or shift == len(self) - 1:
                    raise
                logger.warning("%s; the next video takes its place", error)
        raise AssertionError  # a list and a folder hold at least one video

    def _evaluation_views(self, path: str) -> list[Tensor]:
        preprocessing, crops = self.preprocessing, self.views.crop_names
        whole = Span(0.0, _duration(path))
        clips = read_clips(path, preprocessing, [whole], self.views.clips, crops)
        views = [to_pathways(clip.frames, preprocessing, *crops) for _, clip in clips]
        pathways = [torch.cat(clips) for clips in zip(*views, strict=True)]
        is_single = self.views.clips is None and self.views.crops == 1
        return [pathway[0] for pathway in pathways] if is_single else pathways

    def _training_clip(self, index: int) -> list[Tensor]:
        path, preprocessing = self.paths[index], self._training
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would also seed the GPUs.
            torch.default_generator.manual_seed(_seed(self.seed, int(self._epoch), index))
            room = max(_duration(path) - preprocessing.seconds, 0.0)
            frames = read_clip(path, preprocessing, torch.rand(()).item() * room).frames
            clip = self.transform(torch.from_numpy(frames).permute(0, 3, 1, 2))
        frames = clip.permute(0, 2, 3, 1).contiguous().numpy()
        return [pathway[0] for pathway in to_pathways(frames, preprocessing)]


def train_transform(crop_size: int, jitter_scales: tuple[int, int] | None = None) -> v2.Transform:
    """Returns PySlowFast's training transform: random short side, random crop, random mirroring.

    Args:
        crop_size: see :class:`VideoDataset`.
        jitter_scales: see :class:`VideoDataset`.

    Raises:
        InputError: for scales from which no crop can be cut.
    """
    low, high = jitter_scales or (round(scale * crop_size / _CROP_SIZE) for scale in _SCALES)
    if not crop_size <= low <= high:
        raise InputError(
            f"jitter_scales: {low} to {high} is not ascending from crop_size {crop_size} up"
        )
    return v2.Compose(
        [
            # Without antialiasing, as in PySlowFast and in evaluation.
            v2.RandomShortestSize(list(range(low, high + 1)), antialias=False),
            v2.RandomCrop(crop_size),
            v2.RandomHorizontalFlip(),
        ]
    )


class _Videos(NamedTuple):
    paths: list[str]
    labels: list[int]
    classes: tuple[str, ...] | None


def _find(
    videos: str | os.PathLike, classes: Classes | None, prefix: str, separator: str
) -> _Videos:
    if os.path.isdir(videos):
        if prefix or separator != " ":
            raise InputError(f"{videos}: is a folder; prefix and separator are for lists")
        return _in_folder(videos, classes)
    names = None if classes is None else class_names(to_class_map(classes))
    entries = read_list(videos, separator, prefix, len(names) if names else None)
    return _Videos([entry.path for entry in entries], [entry.label for entry in entries], names)


def _in_folder(root: str | os.PathLike, classes: Classes | None) -> _Videos:
    folder = VideoFolder(root)
    parts = [PurePath(path).parts for path in folder.paths]
    stray = [path for path, names in zip(folder.paths, parts, strict=True) if len(names) < 2]
    if stray:
        raise InputError(f"{Path(root) / stray[0]}: is in no class folder of {root}")
    found = Counter(names[0] for names in parts)
    if all(name.lower() in SPLIT_OF for name in found):
        raise InputError(f"{root}: holds the folders {', '.join(sorted(found))}; give one of them")
    labels = class_labels(found, classes)
    return _Videos(
        [str(Path(root) / path) for path in folder.paths],
        [labels[names[0]] for names in parts],
        class_names(labels),
    )


def _duration(path: str) -> float:
    with VideoReader(path) as reader:
        return reader.duration


def _seed(*numbers: int) -> int:
    """Returns a seed for torch that is very unlikely to result from other numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
