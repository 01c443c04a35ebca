"""Loads a checkpoint with any naming into a network."""

from torch import nn

from slowfast_ac.checkpoint.convert import convert, convert_checkpoint
from slowfast_ac.checkpoint.open import Checkpoint
from slowfast_ac.checkpoint.prefix import find_naming
from slowfast_ac.errors import InputError


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Loads all weights that the network needs in evaluation, renamed where necessary.

    Args:
        network: SlowFast, SlowFastAC or Slow of either code base; set to evaluation mode.
        checkpoint: from :func:`~slowfast_ac.checkpoint.open.open_checkpoint`.

    Raises:
        InputError: naming the file and the mismatch. The network is then unchanged.
    """
    path, target = checkpoint.path, network.state_dict()
    naming, prefix = find_naming(target) or (None, "")
    if naming is None:
        raise InputError(
            f"{path}: cannot be loaded into {type(network).__name__}, which is not SlowFast or Slow"
        )
    weights, _ = convert_checkpoint(checkpoint, naming)
    try:
        weights, _ = convert(weights, naming, naming, prefix=prefix, target_state=target)
    except InputError as error:
        raise InputError(
            f"{path}: holds {checkpoint.model}, which does not fit {type(network).__name__}: "
            f"{error}"
        ) from None
    # Only layers for training are missing now; convert has refused everything else.
    network.load_state_dict(weights, strict=False)
    network.eval()
