"""The criterion: a base loss plus lambda times the attention-consistency loss (Eq. 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from slowfast_ac.cam import (
    DISTANCES,
    NORMALIZATIONS,
    attention_consistency_loss,
    check_choice,
    normalize_map,
)
from slowfast_ac.errors import InputError

CLASSES = ("all", "label")

# Called with reduction="mean", returns a base loss, which is called with (logits, labels).
BaseLoss = Callable[..., Callable[[Tensor, Tensor], Tensor]]

# PySlowFast's names of the losses that torch has, for use without PySlowFast.
BASE_LOSSES: dict[str, BaseLoss] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "soft_cross_entropy": nn.CrossEntropyLoss,
    "bce": nn.BCELoss,
    "bce_logit": nn.BCEWithLogitsLoss,
}


@dataclass(frozen=True)
class ConsistencySettings:
    """How the two streams' maps enter the loss.

    Args:
        lambda_: factor of Eq. 4, at least 0. With 0 the gradient is that of the base loss and the
            distance is only measured.
        base_loss: name of the loss between predictions and labels.
        classes: the classes whose maps are compared: ``all`` or ``label`` (the clip's own class;
            soft or multiple labels weight their classes).
        distance: ``norm`` (Eq. 3) or ``mse`` (mean squared error).
        normalize: normalisation of each map before the distance: ``none``, ``l2`` or ``minmax``.
        detach_spatial: if true, the distance trains only the temporal stream.

    Raises:
        InputError: naming the argument, its value and the allowed ones.
    """

    lambda_: float = 1.5
    base_loss: str = "cross_entropy"
    classes: str = "label"
    distance: str = "norm"
    normalize: str = "l2"
    detach_spatial: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.lambda_, (int, float)) or not 0 <= self.lambda_ < math.inf:
            raise InputError(f"lambda_: {self.lambda_} is not a finite number of at least 0")
        check_choice("classes", self.classes, CLASSES)
        check_choice("distance", self.distance, DISTANCES)
        check_choice("normalize", self.normalize, NORMALIZATIONS)
        if self.base_loss == "attention_consistency":
            raise InputError("base_loss: attention_consistency cannot be its own base loss")


class AttentionMaps(NamedTuple):
    """The two streams' maps of a batch.

    Args:
        spatial: (N, L, H, W), the map of Eq. 1.
        temporal: (N, L, H, W), the map of Eq. 2.
        settings: how to compare them, set by models that are built from a config. They travel with
            the maps, since PySlowFast builds its losses without a config.
    """

    spatial: Tensor
    temporal: Tensor
    settings: ConsistencySettings | None = None


class AttentionOutput(NamedTuple):
    """A network's output in training, similar to that of torchvision's Inception.

    Args:
        logits: (N, L).
        attention: the maps; None when gradients are disabled, since they only serve training.
    """

    logits: Tensor
    attention: AttentionMaps | None


def find_base_loss(name: str) -> BaseLoss:
    """Returns torch's loss class for one of PySlowFast's loss names.

    Raises:
        InputError: for a name without a counterpart in torch.
    """
    check_choice("base_loss", name, sorted(BASE_LOSSES))
    return BASE_LOSSES[name]


class AttentionConsistencyLoss(nn.Module):
    """Base loss + lambda * attention consistency (Eq. 4).

    In validation there are no maps, and the loss is only the base loss.

    Args:
        reduction: only ``mean``.
        settings: how the maps are compared. None uses the settings that come with the maps, or else
            the defaults.
        find_base_loss: maps the name of a base loss to its class; by default, to torch's.
        return_terms: if true, calls return ``(loss, [base loss, consistency])`` with both terms as
            plain floats. The consistency is without its factor lambda, and nan without maps.

    Raises:
        InputError: naming the invalid argument.
    """

    def __init__(
        self,
        reduction: str = "mean",
        *,
        settings: ConsistencySettings | None = None,
        find_base_loss: Callable[[str], BaseLoss] = find_base_loss,
        return_terms: bool = False,
    ):
        super().__init__()
        check_choice("reduction", reduction, ["mean"])
        self.settings = settings
        self.return_terms = return_terms
        self._find_base_loss = find_base_loss
        self._base_losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
        if settings is not None:
            self.base_loss(settings.base_loss)

    def forward(
        self, output: Tensor | tuple[Tensor, AttentionMaps | None], labels: Tensor
    ) -> Tensor | tuple[Tensor, list[float]]:
        """Computes the loss.

        Args:
            output: the network's output, an :class:`AttentionOutput` or (N, L) logits. Logits may
                carry the maps in an attribute ``attention``, as with PySlowFast's loop.
            labels: (N,) class indices, or (N, L) soft or multiple labels if the base loss accepts
                them.

        Raises:
            InputError: if a gradient is needed but there are no maps.
        """
        logits, maps = split_output(output)
        settings = self.settings or (maps.settings if maps else None) or ConsistencySettings()
        base = self.base_loss(settings.base_loss)(logits, labels)
        if maps is None:
            if base.requires_grad:
                raise InputError(
                    "output: logits to learn from, but no attention maps. Give the criterion all "
                    "that the network returns in training mode, and validate in evaluation mode "
                    "under torch.no_grad()"
                )
            return (base, [float(base), math.nan]) if self.return_terms else base
        consistency = consistency_term(maps, labels, settings)
        loss = base + settings.lambda_ * consistency if settings.lambda_ else base
        if self.return_terms:
            return loss, [float(base.detach()), float(consistency.detach())]
        return loss

    def base_loss(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns the base loss with this name; the first call builds it."""
        if name not in self._base_losses:
            self._base_losses[name] = self._find_base_loss(name)(reduction="mean")
        return self._base_losses[name]


def split_output(
    output: Tensor | tuple[Tensor, AttentionMaps | None],
) -> tuple[Tensor, AttentionMaps | None]:
    """Splits a network's output into logits and maps; the maps are None if there are none.

    Raises:
        InputError: if the output is neither logits nor a pair of logits and maps.
    """
    if isinstance(output, Tensor):
        maps = getattr(output, "attention", None)
        return output, maps if isinstance(maps, AttentionMaps) else None
    if len(output) != 2 or not isinstance(output[1], AttentionMaps | None):
        raise InputError("output: neither logits nor (logits, attention)")
    return output


def consistency_term(maps: AttentionMaps, labels: Tensor, settings: ConsistencySettings) -> Tensor:
    """Computes Eq. 3 according to ``settings``, without its factor lambda.

    Args:
        maps: the maps of both streams.
        labels: (N,) or (N, L), read only if ``settings.classes`` is ``label``.
        settings: classes, distance, normalisation and detaching; the other fields are not read.
    """
    temporal, spatial = maps.temporal, maps.spatial
    if settings.detach_spatial:
        spatial = spatial.detach()
    weight = None
    if settings.classes == "label" and labels.ndim == 1:
        # One map per clip: the maps of all other classes are neither normalised nor kept.
        temporal, spatial = _of_label(temporal, labels), _of_label(spatial, labels)
    elif settings.classes == "label":
        weight = labels
    return attention_consistency_loss(
        normalize_map(temporal, settings.normalize),
        normalize_map(spatial, settings.normalize),
        weight,
        settings.distance,
    )


def _of_label(cam: Tensor, labels: Tensor) -> Tensor:
    index = labels.view(-1, 1, 1, 1).expand(-1, 1, *cam.shape[2:])
    return cam.gather(1, index)
