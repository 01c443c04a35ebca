"""Builds the networks that need PySlowFast, with a checkpoint's weights."""

from collections.abc import Mapping

from torch import Tensor, nn

from slowfast_ac.checkpoint.load import load_weights
from slowfast_ac.checkpoint.open import Checkpoint
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath
from slowfast_ac.inference.config import ModelConfig
from slowfast_ac.pyslowfast import setup
from slowfast_ac.pyslowfast.build import build_on_cpu
from slowfast_ac.pyslowfast.checks import check_depth, check_names, check_sizes
from slowfast_ac.pyslowfast.config_file import over_defaults
from slowfast_ac.pyslowfast.find import INSTALL_HINT, is_present


def build_with_pyslowfast(
    checkpoint: Checkpoint, config: ModelConfig, obstacle: str, root: StrPath | None = None
) -> nn.Module:
    """Builds a config's network with PySlowFast and loads all of a checkpoint's weights.

    Args:
        checkpoint: the weights.
        config: see :func:`~slowfast_ac.inference.config.model_config`.
        obstacle: why PyTorchVideo's parts do not suffice.
        root: a checkout; by default PYSLOWFAST_ROOT or what is importable.

    Returns:
        The network in evaluation mode, on the CPU, called with the list of the pathways' clips.

    Raises:
        InputError: naming the file, if there is no PySlowFast or the weights do not fit.
    """
    if not is_present(root):
        raise InputError(
            f"{checkpoint.path}: {obstacle}; this network needs PySlowFast: {INSTALL_HINT}"
        )
    upstream = setup(root)
    try:
        full = over_defaults(config.given(), checkpoint.path)
    except InputError as error:
        raise InputError(
            f"{error}; this network needs PySlowFast, and the {upstream.kind} was found: if "
            "another one trained it, set PYSLOWFAST_ROOT to that"
        ) from None
    check_names(full, upstream)
    check_sizes(full)
    check_depth(full)
    network = build_on_cpu(full)
    if checkpoint.problem is None:
        load_weights(network, checkpoint)
    else:
        network.load_state_dict(_by_name(checkpoint, network.state_dict()))
    return network.eval().requires_grad_(False)


def _by_name(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of a network that is neither SlowFast nor Slow, under any prefix."""
    first = next(iter(wanted))
    prefixes = [n.removesuffix(first) for n in checkpoint.state_dict if n.endswith(first)]
    prefix = prefixes[0] if prefixes else ""
    given = {
        name.removeprefix(prefix): value
        for name, value in checkpoint.state_dict.items()
        if name.startswith(prefix)
    }
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    for names, what in ((missing, "it lacks"), (unknown, "the config's model has no")):
        if names:
            more = f" and {len(names) - 1} others" if names[1:] else ""
            raise InputError(f"{checkpoint.path}: does not fit its config: {what} {names[0]}{more}")
    for name, value in wanted.items():
        if value.shape != given[name].shape:
            raise InputError(
                f"{checkpoint.path}: does not fit its config: {name} is "
                f"{list(given[name].shape)}, not {list(value.shape)}"
            )
    return given
