"""The criterion: a base loss plus lambda times the attention-consistency loss (Eq. 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from slowfast_ac.cam import (
    DISTANCES,
    NORMALIZATIONS,
    attention_consistency,
    normalize_map,
)
from slowfast_ac.errors import InputError

CLASSES = ("all", "label")

# The losses PySlowFast names, as far as torch has them, for use without PySlowFast.
BASE_LOSSES: dict[str, Callable] = {
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
        base_loss: name of the loss that the predictions and labels get.
        classes: which classes' maps are compared: ``all`` or ``label`` (the clip's own class; soft
            or multiple labels weigh theirs).
        distance: ``norm`` (Eq. 3) or ``mse`` (mean squared error).
        normalize: normalisation of each map before the distance: ``none``, ``l2`` or ``minmax``.
        detach_spatial: if true, the distance moves the temporal stream only.
    """

    lambda_: float = 1.5
    base_loss: str = "cross_entropy"
    classes: str = "label"
    distance: str = "norm"
    normalize: str = "l2"
    detach_spatial: bool = False

    def __post_init__(self):
        if not isinstance(self.lambda_, (int, float)) or not 0 <= self.lambda_ < math.inf:
            raise InputError(f"AC.LAMBDA: {self.lambda_} is not a finite number of at least 0")
        for key, value, allowed in (
            ("AC.CLASSES", self.classes, CLASSES),
            ("AC.DISTANCE", self.distance, DISTANCES),
            ("AC.NORMALIZE", self.normalize, NORMALIZATIONS),
        ):
            if value not in allowed:
                raise InputError(f"{key}: {value!r} is not one of {', '.join(allowed)}")
        if self.base_loss == "attention_consistency":
            raise InputError("AC.BASE_LOSS: attention_consistency cannot be its own base loss")


@dataclass(frozen=True)
class AttentionMaps:
    """What predictions carry in training as ``preds.attention``.

    Args:
        spatial: (N, L, H, W), the map of Eq. 1.
        temporal: (N, L, H, W), the map of Eq. 2.
        settings: how the model was told to compare them. They travel with the maps, since
            PySlowFast builds its losses without a config.
    """

    spatial: Tensor
    temporal: Tensor
    settings: ConsistencySettings = ConsistencySettings()


class AttentionConsistencyLoss(nn.Module):
    """Base loss + lambda * attention consistency (Eq. 4), called ``(preds, labels)``.

    Args:
        reduction: ``mean``, the one that PySlowFast asks for.
        settings: overrides the settings that the predictions carry.
        base_losses: maps the name of a base loss to its class, which is called with
            ``reduction="mean"``. PySlowFast's own dictionary when it is registered there.
        return_terms: if true, calls return ``(loss, [base loss, consistency])``, the two terms as
            plain floats, consistency before its factor lambda. PySlowFast's checkout logs such a
            list as loss_0 and loss_1.
    """

    def __init__(
        self,
        reduction: str = "mean",
        *,
        settings: ConsistencySettings | None = None,
        base_losses: Callable[[str], Callable] | None = None,
        return_terms: bool = False,
    ):
        super().__init__()
        if reduction != "mean":
            raise InputError(f"AttentionConsistencyLoss: reduction {reduction!r} is not 'mean'")
        self.settings = settings
        self.base_losses = base_losses or find_base_loss
        self.return_terms = return_terms

    def forward(self, preds: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, list[float]]:
        """Computes the loss.

        Args:
            preds: (N, L) logits with the attribute ``attention``, an :class:`AttentionMaps`.
            labels: (N,) class indices, or (N, L) soft or multiple labels where the base loss takes
                them.

        Raises:
            InputError: when the predictions carry no maps.
        """
        maps = getattr(preds, "attention", None)
        if not isinstance(maps, AttentionMaps):
            raise InputError(
                "attention_consistency got predictions without attention maps: set "
                "MODEL.MODEL_NAME to SlowFastAC or PTVSlowFastAC and MODEL.LOSS_FUNC to "
                "attention_consistency (maps exist in training mode with gradients only, and are "
                "lost where the predictions are copied, as DistributedDataParallel does with "
                "find_unused_parameters)"
            )
        settings = self.settings or maps.settings
        base = self.base_losses(settings.base_loss)(reduction="mean")(preds, labels)
        consistency = consistency_term(maps, labels, settings)
        loss = base + settings.lambda_ * consistency if settings.lambda_ else base
        if self.return_terms:
            return loss, [float(base.detach()), float(consistency.detach())]
        return loss


def consistency_term(maps: AttentionMaps, labels: Tensor, settings: ConsistencySettings) -> Tensor:
    """Eq. 3 under ``settings``, without its factor lambda.

    Args:
        maps: the maps of both streams.
        labels: (N,) or (N, L), read only where ``settings.classes`` is ``label``.
        settings: classes, distance, normalisation and detaching; the other fields are not read.
    """
    temporal, spatial = maps.temporal, maps.spatial
    if settings.detach_spatial:
        spatial = spatial.detach()
    weight = None
    if settings.classes == "label" and labels.ndim == 1:
        # One map a clip: of thousands of classes none of the others is normalised and kept.
        temporal, spatial = _of_label(temporal, labels), _of_label(spatial, labels)
    elif settings.classes == "label":
        weight = labels
    return attention_consistency(
        normalize_map(temporal, settings.normalize),
        normalize_map(spatial, settings.normalize),
        weight,
        settings.distance,
    )


def _of_label(cam: Tensor, labels: Tensor) -> Tensor:
    index = labels.view(-1, 1, 1, 1).expand(-1, 1, *cam.shape[2:])
    return cam.gather(1, index)


def find_base_loss(name: str) -> Callable:
    """Returns torch's loss class for one of PySlowFast's loss names.

    Raises:
        InputError: for a name that torch has no counterpart of.
    """
    if name not in BASE_LOSSES:
        raise InputError(f"AC.BASE_LOSS: {name!r} is not one of {', '.join(sorted(BASE_LOSSES))}")
    return BASE_LOSSES[name]
