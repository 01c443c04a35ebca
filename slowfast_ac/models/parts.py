"""Finds parts of a network by the names that PySlowFast's users know, and freezes them.

The names are the stages ``s1`` (the stem) to ``s5``, the pathways ``slow`` and ``fast``, the
``lateral`` connections, one pathway of a stage (``s2.fast``) and the ``backbone``. They work for
the networks of both PySlowFast and PyTorchVideo; nothing here imports either.
"""

import types
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from slowfast_ac.errors import InputError

BACKBONE = "backbone"


def find_parts(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Returns the modules of every part but the backbone; empty if the network has no stages.

    A stage's part includes the lateral connection that follows it.
    """
    parts: dict[str, list[nn.Module]] = {}
    for stage, pathway, module in _stages(model):
        if _has_parameters(module):
            for name in (stage, pathway, f"{stage}.{pathway}"):
                parts.setdefault(name, []).append(module)
    return parts


def find_stages(model: nn.Module) -> list[nn.Module]:
    """Returns the modules that the stages consist of; empty if the network has no known stages.

    In PySlowFast these are stages and lateral connections, in PyTorchVideo single pathways of a
    stage and lateral connections.
    """
    found = [
        getattr(model, f"s{number}{suffix}", None)
        for number in range(1, 6)
        for suffix in ("", "_fuse")
    ]
    for block in _blocks(getattr(model, "model", model))[:5]:
        found += getattr(block, "multipathway_blocks", [block])
        found.append(getattr(block, "multipathway_fusion", None))
    return [module for module in found if module is not None and _has_parameters(module)]


def find_classifier(model: nn.Module) -> nn.Module:
    """Returns the layer whose outputs are the class scores.

    Raises:
        InputError: if the network has no known head.
    """
    inner = getattr(model, "model", model)
    candidates = [getattr(model, "detection_head", None), getattr(inner, "head", None)]
    if blocks := _blocks(inner):
        candidates.append(blocks[-1])
    head = next((module for module in candidates if module is not None), None)
    if head is None:
        raise InputError(f"{type(model).__name__} has no known classifier")
    # X3D's head has trained layers before the classifier.
    names = [name for name in ("projection", "proj") if hasattr(head, name)]
    classifier: nn.Module = getattr(head, names[0]) if names else head
    return classifier


def new_layers(model: nn.Module) -> list[nn.Module]:
    """Returns the layers outside the backbone: the classifier, and SCAM's own layers.

    Raises:
        InputError: if the network has no known head.
    """
    scam = getattr(model, "scam", None)
    return [find_classifier(model), *([] if scam is None else [scam])]


def names_in(model: nn.Module, modules: Iterable[nn.Module]) -> set[str]:
    """Returns the network's names for the parameters of some of its modules."""
    ids = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}


def freeze(model: nn.Module, names: Sequence[str]) -> None:
    """Freezes parts of a network that is not yet wrapped for several GPUs.

    Their parameters get no gradient, and they stay in evaluation mode when the network is set to
    training mode, so BatchNorm normalises with its running statistics and does not update them.

    Args:
        model: changed in place.
        names: ``backbone``, names that :func:`find_parts` returns, or names of modules
            (``s4.pathway0_nonlocal1``, ``blocks.0``).

    Raises:
        InputError: for a part that the network does not have, listing those it has, or a part that
            contains the classifier.
    """
    if not names:
        return
    parts, new = find_parts(model), new_layers(model)
    modules = {name: module for name, module in model.named_modules() if name}
    frozen: list[nn.Module] = []
    for name in names:
        if name == BACKBONE:
            found = list(_without(model, new))
        elif name in parts:
            found = parts[name]
        elif name in modules:
            found = [modules[name]]
        else:
            known = [BACKBONE, *(part for part in parts if "." not in part)]
            raise InputError(
                f"{name!r} is not a part or module of {type(model).__name__}, whose parts are "
                f"{', '.join(known)}, s2.slow and so on"
            )
        if any(layer in new for module in found for layer in module.modules()):
            raise InputError(f"{name!r} contains the classifier, which must be trained")
        frozen += found
    for module in frozen:
        module.requires_grad_(False).eval()
        # Overridden in this module only, whatever its class.
        module.train = types.MethodType(  # type: ignore[method-assign]
            _stay_in_evaluation, module
        )
    if BACKBONE in names:
        # Transformers have parameters that belong to no layer.
        trained = names_in(model, new)
        for name, parameter in model.named_parameters():
            if name not in trained:
                parameter.requires_grad_(False)


def _stay_in_evaluation(self: nn.Module, mode: bool = True) -> nn.Module:
    return self


def _stages(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Yields stage, pathway and module for all parts of a network's stages."""
    for number in range(1, 6):
        stage = getattr(model, f"s{number}", None)
        for name, module in stage.named_children() if stage is not None else ():
            yield f"s{number}", "fast" if name.startswith("pathway1") else "slow", module
        lateral = getattr(model, f"s{number}_fuse", None)
        if lateral is not None:
            yield f"s{number}", "lateral", lateral
    for number, block in enumerate(_blocks(getattr(model, "model", model))[:5], start=1):
        pathways = getattr(block, "multipathway_blocks", [block])
        for pathway, module in zip(("slow", "fast"), pathways, strict=False):
            yield f"s{number}", pathway, module
        lateral = getattr(block, "multipathway_fusion", None)
        if lateral is not None:
            yield f"s{number}", "lateral", lateral


def _blocks(network: nn.Module) -> list[nn.Module]:
    """Returns the five stages and the head of a PyTorchVideo network; empty for other networks.

    Blocks without parameters (pooling) are left out. A detector has no head among its blocks, and
    the blocks of a transformer are not stages.
    """
    blocks = [block for block in getattr(network, "blocks", ()) if _has_parameters(block)]
    return blocks if len(blocks) in (5, 6) and not hasattr(network, "head") else []


def _without(module: nn.Module, excluded: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """Yields the largest modules inside ``module`` that contain none of the excluded ones."""
    for child in module.children():
        if not any(layer in excluded for layer in child.modules()):
            yield child
        elif child not in excluded:
            yield from _without(child, excluded)


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
