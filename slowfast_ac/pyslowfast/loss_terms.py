"""Adds the terms of the loss, loss_0 and loss_1, to logs and TensorBoard.

The current checkout takes a loss as ``(loss, [terms])`` and logs the terms, but not in TensorBoard.
Before September 2022, its loop took only the loss. The wheel's meter does not log the terms either.
"""

import contextlib
import importlib
import inspect
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
from torch import Tensor

from slowfast_ac.config import LOSS_NAME
from slowfast_ac.errors import InputError
from slowfast_ac.losses import (
    BASE_LOSSES,
    AttentionConsistencyLoss,
    AttentionMaps,
    BaseLoss,
    split_output,
)
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs.imports import is_missing

# The terms of the current step. Global, since upstream builds its losses, meters and writers
# separately, so they share no object.
_step: list[float] = []


class LoggedAttentionConsistencyLoss(AttentionConsistencyLoss):
    """The criterion as PySlowFast's loop calls it; meters and TensorBoard show its terms.

    Args:
        reduction: ``mean``, as in PySlowFast.
        takes_terms: whether the loop takes ``(loss, [terms])`` or the loss alone.
    """

    def __init__(self, reduction: str = "mean", *, takes_terms: bool = True):
        super().__init__(reduction, find_base_loss=find_upstream_loss, return_terms=True)
        self.takes_terms = takes_terms

    def forward(
        self, output: Tensor | tuple[Tensor, AttentionMaps | None], labels: Tensor
    ) -> Tensor | tuple[Tensor, list[float]]:
        """Computes the loss, which requires the maps, since the settings come with them.

        Raises:
            InputError: naming the keys to set.
        """
        if split_output(output)[1] is None:
            raise InputError(
                "MODEL.LOSS_FUNC: attention_consistency got predictions without attention maps; "
                "set MODEL.MODEL_NAME to SlowFastAC or PTVSlowFastAC (maps exist in training mode "
                "with gradients only, and are lost where the predictions are copied, as "
                "DistributedDataParallel does with find_unused_parameters)"
            )
        loss, terms = super().forward(output, labels)
        _step[:] = terms
        return (loss, terms) if self.takes_terms else loss


def find_upstream_loss(name: str) -> BaseLoss:
    """Returns PySlowFast's loss with this name, or torch's if it has none.

    Raises:
        InputError: for an unknown name, listing the known ones.
    """
    known = BASE_LOSSES | importlib.import_module("slowfast.models.losses")._LOSSES
    if name not in known:
        names = sorted(set(known) - {LOSS_NAME})
        raise InputError(f"AC.BASE_LOSS: {name!r} is not one of {', '.join(names)}")
    return known[name]


def loop_takes_terms(upstream: Upstream) -> bool:
    """Returns whether the loop takes a loss as ``(loss, [terms])``."""
    return upstream.kind == "wheel" or _meter_takes_terms()


def install_loss_terms() -> None:
    """Makes meters and TensorBoard show the terms; a second call has no effect."""
    meters = importlib.import_module("slowfast.utils.meters")
    if not _meter_takes_terms() and not hasattr(meters.TrainMeter, "with_terms"):
        meters.TrainMeter = _meter_with_terms(meters)
    # If it is missing, a run reports that before it starts.
    if not is_missing("tensorboard") and not is_missing("slowfast.visualization"):
        board = importlib.import_module("slowfast.visualization.tensorboard_vis")
        if not hasattr(board.TensorboardWriter, "with_terms"):
            board.TensorboardWriter = _writer_with_terms(board)


def _meter_takes_terms() -> bool:
    meter = importlib.import_module("slowfast.utils.meters").TrainMeter
    return "multi_loss" in inspect.signature(meter.update_stats).parameters


def _meter_with_terms(meters: ModuleType) -> type:
    class TrainMeter(meters.TrainMeter):
        """Upstream's meter, with the terms of the loss in its lines, as in the current checkout."""

        with_terms = True

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.terms: list[list[float]] = []
            _step.clear()

        def reset(self) -> None:
            super().reset()
            self.terms = []

        def update_stats(self, *args, **kwargs) -> None:
            super().update_stats(*args, **kwargs)
            if _step:
                self.terms.append(list(_step))

        def log_iter_stats(self, *args) -> None:
            with _in_json_stats(_step):
                super().log_iter_stats(*args)

        def log_epoch_stats(self, *args) -> None:
            with _in_json_stats(np.mean(self.terms, axis=0).tolist() if self.terms else []):
                super().log_epoch_stats(*args)

    return TrainMeter


@contextlib.contextmanager
def _in_json_stats(terms: Sequence[float]) -> Iterator[None]:
    logging = importlib.import_module("slowfast.utils.logging")
    original, extra = logging.log_json_stats, _named("loss", terms)
    logging.log_json_stats = lambda stats, *rest: original({**stats, **extra}, *rest)
    try:
        yield
    finally:
        logging.log_json_stats = original


def _named(prefix: str, terms: Sequence[float]) -> dict[str, float]:
    return {f"{prefix}_{number}": term for number, term in enumerate(terms)}


def _writer_with_terms(board: ModuleType) -> type:
    class TensorboardWriter(board.TensorboardWriter):
        """Upstream's writer, with the terms beside the loss."""

        with_terms = True

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            _step.clear()

        def add_scalars(self, data_dict, global_step=None) -> None:
            if "Train/loss" in data_dict:
                data_dict = {**data_dict, **_named("Train/loss", _step)}
            super().add_scalars(data_dict, global_step)

    return TensorboardWriter
