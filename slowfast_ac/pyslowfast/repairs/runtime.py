"""Repairs of functions that PySlowFast defines or calls, once it can be imported."""

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType

import torch
from PIL import Image, ImageOps
from torch import Tensor

from slowfast_ac.pyslowfast import decoder
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair
from slowfast_ac.pyslowfast.repairs.imports import BOTH, is_missing


def topks_correct(preds: Tensor, labels: Tensor, ks: Sequence[int]) -> list[Tensor]:
    """Counts the clips whose label is among their k best classes; k may exceed the class count.

    Args:
        preds: (N, L).
        labels: (N,).
        ks: for example (1, 5).

    Returns:
        One scalar per k.
    """
    best = preds.topk(min(max(ks), preds.shape[1]), dim=1).indices
    hits = best == labels.view(-1, 1)
    return [hits[:, :k].float().sum() for k in ks]


def _topk_fails(_: Upstream) -> bool:
    metrics = importlib.import_module("slowfast.utils.metrics")
    try:
        metrics.topks_correct(torch.eye(2), torch.arange(2), (1, 5))
    except RuntimeError:
        return True
    return False


def _mend_topk(_: Upstream) -> None:
    importlib.import_module("slowfast.utils.metrics").topks_correct = topks_correct


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Works like Pillow's posterize, but also for 0 bits, which give black."""
    return image.point(lambda _: 0) if bits == 0 else ImageOps.posterize(image, bits)


def _posterize_fails(_: Upstream) -> bool:
    if is_missing("slowfast.datasets.rand_augment"):  # older than August 2021
        return False
    try:
        ImageOps.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError:
        return True
    return False


def _mend_posterize(_: Upstream) -> None:
    # A copy of the module only for upstream's file, since other code may rely on the error.
    mended = ModuleType("PIL.ImageOps")
    vars(mended).update({**vars(ImageOps), "posterize": posterize})
    importlib.import_module("slowfast.datasets.rand_augment").ImageOps = mended


def _no_cuda(_: Upstream) -> bool:
    return not torch.cuda.is_available()


def _skip_synchronize(_: Upstream) -> None:
    # Without a GPU it always raises, so no code relies on it.
    torch.cuda.synchronize = lambda device=None: None


def _decoder_fails(_: Upstream) -> bool:
    return decoder.is_needed(importlib.import_module("slowfast.datasets.decoder"))


def _mend_decoder(_: Upstream) -> None:
    decoder.install(
        importlib.import_module("slowfast.datasets.decoder"),
        importlib.import_module("slowfast.datasets.video_container"),
    )


def _read_by_time(_: Upstream) -> None:
    decoder.install_wheel(
        importlib.import_module("slowfast.datasets.decoder"),
        importlib.import_module("slowfast.datasets.video_container"),
    )


def _clipping_returns_nothing(_: Upstream) -> bool:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    return torch.nn.utils.clip_grad_value_([parameter], 1.0) is None


def _return_norm(_: Upstream) -> None:
    original = torch.nn.utils.clip_grad_value_

    @functools.wraps(original)
    def clip_grad_value_(parameters, clip_value, *args, **kwargs):
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.tensor(0.0)
        original(parameters, clip_value, *args, **kwargs)
        return norm

    torch.nn.utils.clip_grad_value_ = clip_grad_value_


def _crop_fails(_: Upstream) -> bool:
    transform = importlib.import_module("slowfast.datasets.transform")
    return not isinstance(transform.random_crop(torch.zeros(1, 1, 4, 4), 4), tuple)


def _mend_crop(_: Upstream) -> None:
    transform = importlib.import_module("slowfast.datasets.transform")
    original = transform.random_crop

    def random_crop(images, size, boxes=None):
        result = original(images, size, boxes)
        return result if isinstance(result, tuple) else (result, boxes)

    transform.random_crop = random_crop


REPAIRS = (
    Repair(
        "decoder",
        "torchvision has no video functions any more, and the pyav backend was never updated for "
        "several clips per video (#181, #558, #563, #579)",
        ("checkout",),
        _decoder_fails,
        _mend_decoder,
    ),
    Repair(
        "names of unreadable videos",
        "a video that cannot be decoded is silently replaced by another, and frames are counted at "
        "the header's rate (#160, #206)",
        ("wheel",),
        lambda _: True,
        _read_by_time,
    ),
    Repair(
        "top-5 of few classes",
        "top-k accuracies fail with fewer than 5 classes (#316, #326, #628)",
        BOTH,
        _topk_fails,
        _mend_topk,
    ),
    Repair(
        "RandAugment",
        "AUG.AA_TYPE sometimes posterizes to 0 bits, which current Pillow rejects",
        ("checkout",),
        _posterize_fails,
        _mend_posterize,
    ),
    Repair(
        "SOLVER.CLIP_GRAD_VAL",
        "train_net logs a norm that torch's clip_grad_value_ does not return",
        ("checkout",),
        _clipping_returns_nothing,
        _return_norm,
    ),
    Repair(
        "synchronisation without a GPU",
        "train_net calls torch.cuda.synchronize() after every step",
        ("checkout",),
        _no_cuda,
        _skip_synchronize,
    ),
    Repair(
        "crops of the frame's own size",
        "random_crop returns one value instead of two if there is nothing to crop",
        BOTH,
        _crop_fails,
        _mend_crop,
    ),
)
