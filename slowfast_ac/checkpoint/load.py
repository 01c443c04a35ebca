"""Loads a checkpoint with any naming into a network that is already built."""

from torch import nn

from slowfast_ac.checkpoint.convert import convert, convert_checkpoint
from slowfast_ac.checkpoint.open import Checkpoint
from slowfast_ac.checkpoint.prefix import find_naming
from slowfast_ac.errors import InputError


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Loads all weights that the network needs in evaluation, renamed where it is necessary.

    Args:
        network: SlowFast, SlowFastAC or Slow of either code base; set to evaluation mode.
        checkpoint: what :func:`~slowfast_ac.checkpoint.open.open_checkpoint` returned.

    Raises:
        InputError: naming the file and what does not fit. The network is then unchanged.
    """
    path, target = checkpoint.path, network.state_dict()
    naming, prefix = find_naming(target) or (None, "")
    if naming is None:
        raise InputError(
            f"{path}: the network to load it into, {type(network).__name__}, is no SlowFast or Slow"
        )
    weights, _ = convert_checkpoint(checkpoint, naming)
    try:
        weights, _ = convert(weights, naming, naming, prefix=prefix, target_state=target)
    except InputError as error:
        raise InputError(
            f"{path}: holds {checkpoint.model}, which does not fit {type(network).__name__}: "
            f"{error}"
        ) from None
    # What is missing now works in training only; convert has refused the rest.
    network.load_state_dict(weights, strict=False)
    network.eval()
