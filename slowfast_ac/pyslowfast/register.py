"""Registration of the models, the criterion and the keys in PySlowFast."""

import importlib

from torch import Tensor

from slowfast_ac.config import LOSS_NAME, add_custom_config
from slowfast_ac.errors import InputError
from slowfast_ac.losses import (
    BASE_LOSSES,
    AttentionConsistencyLoss,
    AttentionMaps,
    BaseLoss,
    split_output,
)
from slowfast_ac.pyslowfast.find import Upstream

_MODELS = {"checkout": "checkout_models", "wheel": "wheel.models"}


def register_into(upstream: Upstream) -> None:
    """Puts everything into ``upstream``, which is importable by now. May be called twice."""
    add_custom_config(importlib.import_module("slowfast.config.defaults")._C)
    # Importing them needs PySlowFast's classes, so this cannot stand at the top.
    models = importlib.import_module(f"slowfast_ac.pyslowfast.{_MODELS[upstream.kind]}")
    losses = importlib.import_module("slowfast.models.losses")
    losses._LOSSES[LOSS_NAME] = LoggedAttentionConsistencyLoss
    if upstream.kind == "checkout":
        registry = importlib.import_module("slowfast.models.build").MODEL_REGISTRY
        for model in models.MODELS:
            if model.__name__ not in registry:
                registry.register(model)
    else:
        builder = importlib.import_module("slowfast.models.model_builder")
        for model in models.MODELS:
            builder._MODEL_TYPES[model.__name__] = model


class LoggedAttentionConsistencyLoss(AttentionConsistencyLoss):
    """The criterion as PySlowFast's loop calls it: ``(loss, terms)``, which it logs as loss_0, 1.

    Args:
        reduction: ``mean``, the one that PySlowFast asks for.
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction, find_base_loss=find_upstream_loss, return_terms=True)

    def forward(
        self, output: Tensor | tuple[Tensor, AttentionMaps | None], labels: Tensor
    ) -> Tensor | tuple[Tensor, list[float]]:
        """Computes the loss, which needs the maps: the settings come with them.

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
        return super().forward(output, labels)


def find_upstream_loss(name: str) -> BaseLoss:
    """Returns PySlowFast's loss of that name, or torch's where the wheel has none.

    Raises:
        InputError: for an unknown name, with the known ones.
    """
    known = BASE_LOSSES | importlib.import_module("slowfast.models.losses")._LOSSES
    if name not in known:
        names = sorted(set(known) - {LOSS_NAME})
        raise InputError(f"AC.BASE_LOSS: {name!r} is not one of {', '.join(names)}")
    return known[name]
