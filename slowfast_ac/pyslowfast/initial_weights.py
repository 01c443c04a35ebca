"""Chooses the weights of a checkpoint that a run starts from, continues or tests."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.optim import Optimizer

from slowfast_ac.checkpoint.initial import find_network, initial_weights
from slowfast_ac.checkpoint.names import is_counter, is_no_weight
from slowfast_ac.checkpoint.open import Checkpoint, local_path, open_checkpoint
from slowfast_ac.checkpoint.read import read_file
from slowfast_ac.checkpoint.report import LoadReport
from slowfast_ac.errors import InputError
from slowfast_ac.models.parts import find_classifier, names_in
from slowfast_ac.pyslowfast.build import build_on_cpu
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs.checkpoints import last_whole, require_whole

AFRESH = (
    "to start from its weights alone, give it as TRAIN.CHECKPOINT_FILE_PATH with "
    "TRAIN.CHECKPOINT_EPOCH_RESET True, in another OUTPUT_DIR"
)


@dataclass(frozen=True)
class Start:
    """The parts of a checkpoint that a training uses.

    Args:
        weights: the weights that fit, by the network's names.
        report: a report on every weight.
        weights_only: whether only the weights are taken, and not the epoch and the optimizer.
    """

    weights: Mapping[str, Tensor]
    report: LoadReport
    weights_only: bool


def plan_start(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: Optimizer | None,
    *,
    epoch_reset: bool | None,
    mixed_precision: bool = False,
    clear_name_pattern: Sequence[str] = (),
) -> Start:
    """Plans how a training starts from a checkpoint.

    Args:
        checkpoint: the opened file.
        network: the model, not wrapped for several GPUs.
        optimizer: of the training; None if its groups of parameters are not known yet.
        epoch_reset: TRAIN.CHECKPOINT_EPOCH_RESET for a file that the user gives; if it does not fit
            completely, only its weights are taken. None for the run's own last checkpoint, which
            must fit.
        mixed_precision: TRAIN.MIXED_PRECISION, which continues with the scale of the gradients.
        clear_name_pattern: TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN.

    Raises:
        InputError: naming the file and the mismatch.
    """
    given = clear_names(checkpoint.state_dict, clear_name_pattern)
    weights, report = _match(checkpoint.path, given, network)
    # The optimizer identifies parameters by number, so its state is useless for renamed weights.
    renamed = [name for name in weights if name not in checkpoint.state_dict]
    names = (*report.cut, *report.new, *report.unused, *renamed)
    misfit = next((name for name in names if not is_counter(name)), None)
    if misfit and epoch_reset is None:
        raise InputError(
            f"{checkpoint.path}: cannot be continued: it and {type(network).__name__} do not agree "
            f"on {misfit}; {AFRESH}"
        )
    weights_only = bool(epoch_reset or misfit or checkpoint.epoch is None)
    problem = None
    if not weights_only:
        problem = _optimizer_problem(checkpoint.path, optimizer, mixed_precision)
    if problem and epoch_reset is None:
        raise InputError(f"{checkpoint.path}: cannot be continued: {problem}; {AFRESH}")
    return Start(weights, report, weights_only or problem is not None)


def weights_to_test(checkpoint: Checkpoint, network: nn.Module) -> Mapping[str, Tensor]:
    """Returns the weights for a test, renamed where necessary.

    Raises:
        InputError: naming the file and a weight that would stay random or be cut.
    """
    weights, report = _match(checkpoint.path, checkpoint.state_dict, network)
    for name in (*report.new, *report.cut):
        if not is_counter(name) and not is_no_weight(name, "pyslowfast"):
            raise InputError(
                f"{checkpoint.path}: holds {checkpoint.model} of {checkpoint.num_classes} "
                f"classes, which does not provide {name} of {type(network).__name__}; random "
                "weights are not tested"
            )
    return weights


def require_related(path: str, network: nn.Module, clear_name_pattern: Sequence[str] = ()) -> None:
    """Rejects a checkpoint without any weight of a network that upstream itself loads.

    Raises:
        InputError: naming the file.
    """
    given, own = (
        clear_names(open_checkpoint(path).state_dict, clear_name_pattern),
        network.state_dict(),
    )
    if not given.keys() & own.keys():
        raise InputError(
            f"{path}: does not fit {type(network).__name__}: none of its weights is in the "
            f"network: it has {next(iter(given))}, ..., the network {next(iter(own))}, ..."
        )


def copy_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads weights, also into sub-batchnorm; missing ones keep their values."""
    own = network.state_dict()
    state = {**_plain_state(network), **weights}
    if state.keys() != own.keys():
        state = _checkpoints().normal_to_sub_bn(state, own)
    network.load_state_dict(state)


def is_remote(path: str) -> bool:
    """Returns whether a path is in a remote store that only upstream can open."""
    return "://" in str(path) and not str(path).startswith(("http://", "https://"))


def is_known(network: nn.Module) -> bool:
    """Returns whether the network is a SlowFast or Slow, whose weights have known names."""
    return find_network(_plain_state(network)) is not None


def clear_names(state_dict: Mapping[str, Tensor], patterns: Sequence[str]) -> dict[str, Tensor]:
    """Returns the weights with the first occurrence of every pattern removed from their names."""
    cleared = {}
    for name, weight in state_dict.items():
        for pattern in patterns:
            name = name.replace(pattern, "", 1)
        cleared[name] = weight
    return cleared


def check_start(cfg: CfgNode, upstream: Upstream) -> None:
    """Rejects a model or checkpoint that a training could not start from.

    Raises:
        InputError: naming the file or key and what to do.
    """
    last = last_whole(cfg.OUTPUT_DIR, cfg.get("TASK", "")) if cfg.TRAIN.AUTO_RESUME else None
    if last:
        _check_resume(last, cfg, upstream)
        return
    path, frozen = cfg.TRAIN.CHECKPOINT_FILE_PATH, cfg.FINETUNE.FREEZE
    if not path and frozen:
        raise InputError(
            f"FINETUNE.FREEZE: {frozen} would stay random, since TRAIN.CHECKPOINT_FILE_PATH is "
            "empty; give a checkpoint"
        )
    if not path:
        return
    network = build_on_cpu(cfg)
    inflates = cfg.TRAIN.CHECKPOINT_INFLATE or cfg.TRAIN.get("CHECKPOINT_IN_INIT", False)
    if inflates or is_remote(path):
        return
    require_whole(path)
    patterns = cfg.TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN
    if _is_left_to(upstream, network):
        if cfg.TRAIN.CHECKPOINT_TYPE != "caffe2":
            require_related(path, network, patterns)
        return
    checkpoint = open_checkpoint(path)
    reset = cfg.TRAIN.CHECKPOINT_EPOCH_RESET
    start = plan_start(
        checkpoint,
        network,
        _planned_optimizer(network, cfg),
        epoch_reset=reset,
        mixed_precision=cfg.TRAIN.get("MIXED_PRECISION", False),
        clear_name_pattern=patterns,
    )
    if not start.weights_only and checkpoint.epoch + 1 >= cfg.SOLVER.MAX_EPOCH:
        raise InputError(
            f"TRAIN.CHECKPOINT_EPOCH_RESET: False continues after epoch {checkpoint.epoch + 1} of "
            f"{path}, and SOLVER.MAX_EPOCH is {cfg.SOLVER.MAX_EPOCH}: nothing would be trained; "
            "set it to True to start from its weights"
        )
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad and name in start.report.new:
            raise InputError(
                f"FINETUNE.FREEZE: {frozen} contains {name}, which {path} does not have: it would "
                "stay random"
            )


def check_tested(cfg: CfgNode, upstream: Upstream) -> None:
    """Rejects a checkpoint that the test of a run could not load.

    Raises:
        InputError: naming the file or key and what to do.
    """
    path = cfg.TEST.CHECKPOINT_FILE_PATH
    if not path and cfg.TRAIN.ENABLE:
        return  # the test uses the weights that the run trains
    path = path or last_whole(cfg.OUTPUT_DIR, cfg.get("TASK", ""))
    path = path or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path:
        raise InputError(
            f"TEST.CHECKPOINT_FILE_PATH: empty, and OUTPUT_DIR {cfg.OUTPUT_DIR} holds no "
            "checkpoint; random weights are not tested"
        )
    if is_remote(path):
        return
    require_whole(path)
    network = build_on_cpu(cfg)
    if not _is_left_to(upstream, network):
        weights_to_test(open_checkpoint(path), network)
    elif "caffe2" not in (cfg.TEST.CHECKPOINT_TYPE, cfg.TRAIN.CHECKPOINT_TYPE):
        require_related(path, network)


def _check_resume(path: str, cfg: CfgNode, upstream: Upstream) -> None:
    network = build_on_cpu(cfg)
    patterns = cfg.TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN
    if _is_left_to(upstream, network):
        require_related(path, network, patterns)
        return
    plan_start(
        open_checkpoint(path),
        network,
        _planned_optimizer(network, cfg),
        epoch_reset=None,
        mixed_precision=cfg.TRAIN.get("MIXED_PRECISION", False),
        clear_name_pattern=patterns,
    )


def _planned_optimizer(network: nn.Module, cfg: CfgNode) -> Optimizer | None:
    """Returns a run's optimizer, for its network on the CPU; None if that would be another one."""
    multigrid = cfg.get("MULTIGRID")
    if cfg.BN.get("NORM_TYPE") == "sub_batchnorm" or (multigrid and multigrid.LONG_CYCLE):
        # Upstream groups the parameters of sub-batchnorm, which a long cycle uses, differently.
        return None
    cfg = cfg.clone()
    # The network is not wrapped.
    cfg.NUM_GPUS = 0
    optimizers = importlib.import_module("slowfast.models.optimizer")
    return optimizers.construct_optimizer(network, cfg)


def _optimizer_problem(path: str, optimizer: Optimizer | None, mixed_precision: bool) -> str | None:
    """Returns why a training cannot go on with the optimizer in a checkpoint, or None if it can."""
    _, saved = read_file(local_path(path))
    state = saved.get("optimizer_state")
    if not isinstance(state, Mapping):
        return "it has no optimizer_state"
    if mixed_precision and "scaler_state" not in saved:
        return "it has no scaler_state, which TRAIN.MIXED_PRECISION needs"
    if optimizer is None:
        return None
    then, now = state["param_groups"], optimizer.param_groups
    if [len(group["params"]) for group in then] != [len(group["params"]) for group in now]:
        return (
            "its optimizer has other groups of parameters, as after a change of FINETUNE or "
            "SOLVER keys"
        )
    if any(_kind(old) != _kind(new) for old, new in zip(then, now, strict=True)):
        return "its optimizer is of another SOLVER.OPTIMIZING_METHOD"
    return None


def _kind(group: Mapping) -> set[str]:
    """Returns the settings by which the groups of SGD and of Adam differ."""
    return {"momentum", "betas"} & group.keys()


def _is_left_to(upstream: Upstream, network: nn.Module) -> bool:
    """Returns whether upstream's own function loads the network; it reshapes transformers."""
    return upstream.kind == "checkout" and not is_known(network)


def _match(
    path: str, state_dict: Mapping[str, Tensor], network: nn.Module
) -> tuple[dict[str, Tensor], LoadReport]:
    try:
        classifier = names_in(network, [find_classifier(network)])
        return initial_weights(state_dict, _plain_state(network), classifier)
    except InputError as error:
        raise InputError(f"{path}: does not fit {type(network).__name__}: {error}") from None


def _plain_state(network: nn.Module) -> Mapping[str, Tensor]:
    """Returns the state as in checkpoints, without sub-batchnorm's split statistics."""
    state = network.state_dict()
    if any(".split_bn." in name for name in state):  # since upstream's function copies every tensor
        return _checkpoints().sub_to_normal_bn(state)
    return state


def _checkpoints():
    return importlib.import_module("slowfast.utils.checkpoint")
