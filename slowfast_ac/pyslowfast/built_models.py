"""Applies functions to every model that PySlowFast builds."""

import functools
import importlib
from collections.abc import Callable

from fvcore.common.config import CfgNode
from torch import nn

from slowfast_ac.pyslowfast.find import Upstream

Apply = Callable[[nn.Module, CfgNode], nn.Module]


def after_build(upstream: Upstream, apply: Apply) -> None:
    """Applies a function to every model that PySlowFast builds from now on.

    A second call with the same function has no effect.

    Args:
        upstream: the PySlowFast that is set up.
        apply: takes a model that is not yet trained or wrapped for several GPUs, and its config,
            and returns the model.
    """
    if upstream.kind == "checkout":
        # Not build_model: tools/ import it by name, and it wraps the model for several GPUs, which
        # fixes the gradient buckets to the memory layout of the weights at that time.
        owner, name = importlib.import_module("slowfast.models.build").MODEL_REGISTRY, "get"
        wrap = _getting_builders
    else:
        owner, name = importlib.import_module("slowfast.models.model_builder"), "build_model"
        wrap = _building
    current = getattr(owner, name)
    applied = getattr(current, "applied", ())
    if apply not in applied:
        wrapped = wrap(current, apply)
        wrapped.applied = (*applied, apply)
        setattr(owner, name, wrapped)


def _getting_builders(get: Callable, apply: Apply) -> Callable:
    @functools.wraps(get)
    def get_and_apply(name: str) -> Callable:
        return _building(get(name), apply)

    return get_and_apply


def _building(build: Callable, apply: Apply) -> Callable:
    @functools.wraps(build, updated=())
    def build_and_apply(cfg: CfgNode) -> nn.Module:
        return apply(build(cfg), cfg)

    return build_and_apply
