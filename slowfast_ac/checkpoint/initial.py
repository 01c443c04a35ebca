"""Finds initial weights for a network in a checkpoint trained on other data."""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.checkpoint.names import Layout, find_layout, is_counter, is_no_weight
from slowfast_ac.checkpoint.prefix import find_networks
from slowfast_ac.checkpoint.report import LoadReport
from slowfast_ac.errors import InputError

_STEM = "s1.pathway{}_stem.conv.weight"
_PATHWAY = re.compile(r"\.pathway([01])_")


def find_network(state_dict: Mapping[str, Tensor]) -> tuple[str, str, Layout] | None:
    """Returns naming, prefix and layout of a SlowFast or Slow network, or None for any other.

    A network that wraps SlowFast or Slow and adds other parts, as for contrastive learning, counts
    as another network.
    """
    networks = find_networks(state_dict)
    if len(networks) != 1:
        return None
    naming, prefix, names = networks[0]
    own = set(names)
    if any(name not in own and not is_no_weight(name, naming) for name in state_dict):
        return None
    try:
        layout = find_layout((name.removeprefix(prefix) for name in names), naming)
    except InputError:
        return None
    return naming, prefix, layout


def initial_weights(
    state_dict: Mapping[str, Tensor],
    target_state: Mapping[str, Tensor],
    classifier: Collection[str],
) -> tuple[dict[str, Tensor], LoadReport]:
    """Selects the weights that fit a network: the whole backbone, and the classifier if it fits.

    Weights of SlowFast and Slow are renamed where the code bases differ, and lateral connections
    that the network lacks are removed. A pathway that the checkpoint lacks is left out. A network
    of the fast pathway alone can exchange weights with SlowFast's fast pathway. For any other
    network, weights with equal names are taken.

    Args:
        state_dict: the checkpoint's weights.
        target_state: the network's ``state_dict()``.
        classifier: names of the network's parameters that depend on the classes. Either all or none
            of them are taken.

    Returns:
        The weights by the network's names, and a report on every weight.

    Raises:
        InputError: naming a weight of the backbone that has another shape or meaning, or saying
            that there is no weight of the backbone.
    """
    weights, report = _translate(state_dict, target_state)
    if _is_fast_alone(weights, target_state) or _is_fast_alone(target_state, weights):
        weights = {_in_other_pathway(name): weight for name, weight in weights.items()}
        report = LoadReport(
            cut=tuple(map(_in_other_pathway, report.cut)),
            new=tuple(map(_in_other_pathway, report.new)),
            unused=report.unused,
        )
    classifier = [name for name in target_state if name in classifier]
    fits = all(
        name in weights and weights[name].shape == target_state[name].shape for name in classifier
    )
    taken = {
        name: weight
        for name, weight in weights.items()
        if name in target_state and (fits or name not in classifier)
    }
    for name, weight in taken.items():
        if weight.shape != target_state[name].shape:
            raise InputError(
                f"{name}: shape {list(weight.shape)}, but {list(target_state[name].shape)} in the "
                "network; only the classifier may differ"
            )
    if not any(name not in classifier and not is_counter(name) for name in taken):
        raise InputError(
            f"none of its weights is in the network: it has {next(iter(state_dict))}, ..., the "
            f"network {next(iter(target_state))}, ..."
        )
    # Converting copies only the tensors that it cuts, so the others still identify their old names.
    first_names = {id(weight): name for name, weight in state_dict.items()}
    left = [first_names.get(id(weights[name])) for name in weights if name not in taken]
    return taken, LoadReport(
        loaded=tuple(name for name in taken if name not in {*report.cut, *report.new}),
        cut=tuple(name for name in report.cut if name in taken),
        new=tuple(name for name in target_state if name in report.new or name not in taken),
        unused=(*report.unused, *filter(None, left)),
    )


def _translate(
    state_dict: Mapping[str, Tensor], target_state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], LoadReport]:
    """Renames weights of SlowFast or Slow to the network's names; removes lateral connections."""
    source, target = find_network(state_dict), find_network(target_state)
    if not (source and target):
        return dict(state_dict), LoadReport()
    source_naming, source_prefix, source_layout = source
    target_naming, prefix, target_layout = target
    if source_layout.blocks != target_layout.blocks:
        raise InputError(
            f"has {list(source_layout.blocks)} blocks in its stages, the network "
            f"{list(target_layout.blocks)}: another depth"
        )
    cut = source_layout.fused and not target_layout.fused
    if (source_naming, source_prefix) == (target_naming, prefix) and not cut:
        # There is nothing to rename, and converting would drop SCAM's own layers.
        return dict(state_dict), LoadReport()
    return convert(state_dict, source_naming, target_naming, branch_independent=cut, prefix=prefix)


def _is_fast_alone(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    """Returns whether the only pathway of ``one`` is the fast pathway of ``two``.

    PySlowFast numbers each network's pathways from 0. The stems distinguish slow from fast.
    """
    slow, fast = _STEM.format(0), _STEM.format(1)
    if slow not in one or fast in one or fast not in two:
        return False
    return one[slow].shape == two[fast].shape


def _in_other_pathway(name: str) -> str:
    return _PATHWAY.sub(lambda match: f".pathway{1 - int(match[1])}_", name, count=1)
