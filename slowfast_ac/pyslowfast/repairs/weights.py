"""Loads checkpoints with another class count, code base or fusion, and refuses unsuitable ones."""

import functools
import importlib
import inspect
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import BinaryIO

from torch.amp import GradScaler
from torch.optim import Optimizer

from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.checkpoint.unpickle import safe_load, stand_in_for
from slowfast_ac.pyslowfast import initial_weights as initial
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair
from slowfast_ac.pyslowfast.repairs.imports import BOTH

logger = logging.getLogger(__name__)


def _load_what_fits(original: Callable, upstream: Upstream) -> Callable:
    @functools.wraps(original)
    def load_checkpoint(
        path_to_checkpoint, model, data_parallel=True, optimizer=None, *args, **options
    ):
        path, network = path_to_checkpoint, model.module if data_parallel else model
        load = functools.partial(original, path, model, data_parallel, optimizer, *args, **options)
        if options.get("image_init") or initial.is_remote(path):
            return load()
        if options.get("inflation"):
            if not options.get("convert_from_caffe2"):
                initial.require_related(path, network)
            return load()
        patterns = options.get("clear_name_pattern", ())
        # Upstream's function also reshapes transformers' weights. The wheel has no transformers,
        # and its function only loads checkpoints that fit completely.
        if upstream.kind == "checkout" and not initial.is_known(network):
            if not options.get("convert_from_caffe2"):
                initial.require_related(path, network, patterns)
            return load()
        checkpoint = open_checkpoint(path)
        if optimizer is None:
            initial.copy_weights(network, initial.weights_to_test(checkpoint, network))
            return -1
        start = initial.plan_start(
            checkpoint,
            network,
            optimizer,
            # train_net passes it only with TRAIN.CHECKPOINT_FILE_PATH, not when it resumes.
            epoch_reset=options.get("epoch_reset"),
            # Upstream passes the gradients' scaler in this place, or None.
            mixed_precision=bool(args and isinstance(args[0], GradScaler)),
            clear_name_pattern=patterns,
        )
        if not start.weights_only:
            return _go_on(load, optimizer)
        initial.copy_weights(network, start.weights)
        logger.info(
            "%s: %s of %s classes, the start of %s; its epoch and optimizer are not taken\n%s",
            *(path, checkpoint.model, checkpoint.num_classes, type(network).__name__),
            start.report,
        )
        return -1

    return load_checkpoint


def _go_on(load: Callable[[], int], optimizer: Optimizer) -> int:
    """Loads weights, epoch and optimizer, but keeps the config's factors of the learning rates."""
    decays = [group.get("layer_decay") for group in optimizer.param_groups]
    epoch = load()
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        if decay is not None:
            group["layer_decay"] = decay
    return epoch


def _with_todays_arguments(original: Callable) -> Callable:
    @functools.wraps(original)
    def load_checkpoint(*args, epoch_reset=False, clear_name_pattern=(), **options):
        epoch = original(*args, **options)
        return -1 if epoch_reset else epoch

    return load_checkpoint


def _mend(upstream: Upstream) -> None:
    module = importlib.import_module("slowfast.utils.checkpoint")
    original = module.load_checkpoint
    if "epoch_reset" not in inspect.signature(original).parameters:
        original = _with_todays_arguments(original)
    module.load_checkpoint = _load_what_fits(original, upstream)
    # It reads caffe2's files, whose pickles could run code.
    module.pickle = SimpleNamespace(load=_load_safely)


def _load_safely(file: BinaryIO, encoding: str = "ASCII") -> object:
    return safe_load(file, encoding=encoding, stand_in=stand_in_for)


REPAIRS = (
    Repair(
        "checkpoints that do not fit",
        "weights that do not fit silently stay random, even in tests, or stop the wheel; a "
        "classifier's bias is repeated if the class counts divide; weights of caffe2, of "
        "PyTorchVideo, or of a fused SlowFast for one without lateral connections do not load "
        "(#18, #85, #333, #552)",
        BOTH,
        lambda _: True,
        _mend,
    ),
)
