"""Registers the models, the criterion and the config keys with PySlowFast."""

import functools
import importlib

from slowfast_ac.config import FAST, LOSS_NAME, add_custom_config
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.loss_terms import (
    LoggedAttentionConsistencyLoss,
    install_loss_terms,
    loop_takes_terms,
)

_MODELS = {"checkout": "checkout_models", "wheel": "wheel.models"}


def register_into(upstream: Upstream) -> None:
    """Registers everything with ``upstream``, which must be importable. May be called again."""
    add_custom_config(importlib.import_module("slowfast.config.defaults")._C)
    # Imported here, since the models need PySlowFast's classes.
    models = importlib.import_module(f"slowfast_ac.pyslowfast.{_MODELS[upstream.kind]}")
    _register_fast_pathway()
    losses = importlib.import_module("slowfast.models.losses")
    losses._LOSSES[LOSS_NAME] = functools.partial(
        LoggedAttentionConsistencyLoss, takes_terms=loop_takes_terms(upstream)
    )
    install_loss_terms()
    if upstream.kind == "checkout":
        registry = importlib.import_module("slowfast.models.build").MODEL_REGISTRY
        for model in models.MODELS:
            if model.__name__ not in registry:
                registry.register(model)
    else:
        builder = importlib.import_module("slowfast.models.model_builder")
        for model in models.MODELS:
            builder._MODEL_TYPES[model.__name__] = model


def _register_fast_pathway() -> None:
    """Adds MODEL.ARCH fast for ResNet: the fast pathway alone, as slow is the slow one alone."""
    networks = importlib.import_module("slowfast.models.video_model_builder")
    kernels, pooling = networks._TEMPORAL_KERNEL_BASIS, networks._POOL1
    kernels[FAST] = [[fast] for _, fast in kernels["slowfast"]]
    pooling[FAST] = pooling["slowfast"][1:]
    model = importlib.import_module("slowfast.config.defaults")._C.MODEL
    if FAST not in model.SINGLE_PATHWAY_ARCH:
        model.SINGLE_PATHWAY_ARCH = [*model.SINGLE_PATHWAY_ARCH, FAST]
