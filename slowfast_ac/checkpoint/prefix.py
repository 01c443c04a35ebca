"""Finds networks among the names in a file, and the prefix that wrappers add to each name.

DistributedDataParallel adds ``module.``, torch.compile ``_orig_mod.``, a LightningModule the name
of an attribute, and PySlowFast's PTV models ``model.``. One rule covers all of them: a network is
where its stem is, and the text before the stem's name is the prefix.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_STEMS = {
    "s1.pathway0_stem.conv.weight": "pyslowfast",
    "blocks.0.multipathway_blocks.0.conv.weight": "pytorchvideo",
    "blocks.0.conv.weight": "pytorchvideo",
    "conv1_w": "caffe2",
}
# For other networks of the same code bases (X3D, MViT), and weights whose stem is missing.
_START = re.compile(
    r"(?P<prefix>(?:.*?[./])??)"
    r"(?:(?P<pyslowfast>s1\.pathway0_stem\.)|(?P<pytorchvideo>blocks\.0\.)|(?P<caffe2>conv1_))"
)


class Network(NamedTuple):
    """A network found among names.

    Args:
        naming: ``pyslowfast``, ``pytorchvideo`` or ``caffe2``.
        prefix: the prefix of its names, such as ``module.`` or ``model.net.``; usually empty.
        names: all its names, including the prefix.
    """

    naming: str
    prefix: str
    names: tuple[str, ...]


def find_networks(names: Iterable[str]) -> list[Network]:
    """Returns the networks among ``names``, in the order of their stems.

    If several prefixes match a name (those of ``s1...`` and ``ema.s1...``), it belongs to the
    longest one.
    """
    names = list(names)
    namings: dict[str, str] = {}
    for name in names:
        for stem, naming in _STEMS.items():
            prefix = name.removesuffix(stem)
            if prefix != name and (not prefix or prefix[-1] in "./"):
                namings.setdefault(prefix, naming)
                break
    if not namings:
        starts = filter(None, map(_START.match, names))
        namings = {match["prefix"]: str(match.lastgroup) for match in starts}
        # Only the first: equally numbered blocks are parts of one network, not several networks.
        namings = dict(list(namings.items())[:1])
    own: dict[str, list[str]] = {prefix: [] for prefix in namings}
    longest_first = sorted(namings, key=len, reverse=True)
    for name in names:
        for prefix in longest_first:
            if name.startswith(prefix):
                own[prefix].append(name)
                break
    return [Network(naming, prefix, tuple(own[prefix])) for prefix, naming in namings.items()]


def find_naming(names: Iterable[str]) -> tuple[str, str] | None:
    """Returns naming and prefix of the first network among ``names``, or None."""
    networks = find_networks(names)
    return (networks[0].naming, networks[0].prefix) if networks else None
