"""Loading a checkpoint, whatever its naming, into a network that is built already."""

from torch import nn

from slowfast_ac.checkpoint.convert import convert, convert_checkpoint
from slowfast_ac.checkpoint.names import find_naming
from slowfast_ac.checkpoint.open import Checkpoint
from slowfast_ac.errors import InputError


def load_weights(
    network: nn.Module, checkpoint: Checkpoint, *, num_classes: int, alpha: int | None = None
) -> None:
    """Loads all weights that the network needs in evaluation, renamed where it is necessary.

    Args:
        network: SlowFast, SlowFastAC or Slow of either code base; set to evaluation mode.
        checkpoint: what :func:`~slowfast_ac.checkpoint.open.open_checkpoint` returned.
        num_classes: the network's.
        alpha: the network's, None for one pathway; compared if the checkpoint knows its own.

    Raises:
        InputError: naming the file and what does not fit; the network is as before then.
    """
    path, target = checkpoint.path, network.state_dict()
    naming, prefix = find_naming(target) or (None, "")
    if naming is None:
        raise InputError(
            f"{path}: the network to load it into, {type(network).__name__}, is no SlowFast or Slow"
        )
    check_trained_for(checkpoint, num_classes=num_classes, alpha=alpha)
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


def check_trained_for(checkpoint: Checkpoint, *, num_classes: int, alpha: int | None) -> None:
    """Refuses a checkpoint of another class count or alpha, as far as it knows its own.

    Args:
        checkpoint: what is to be loaded.
        num_classes: the network's.
        alpha: the network's, None for one pathway.

    Raises:
        InputError: naming the file and the key.
    """
    if checkpoint.num_classes not in (None, num_classes):
        raise InputError(
            f"{checkpoint.path}: was trained on {checkpoint.num_classes} classes, but the network "
            f"has {num_classes} (MODEL.NUM_CLASSES)"
        )
    if alpha is not None and checkpoint.alpha not in (None, alpha):
        raise InputError(
            f"{checkpoint.path}: was trained with alpha {checkpoint.alpha}, but the network has "
            f"{alpha} (SLOWFAST.ALPHA)"
        )
