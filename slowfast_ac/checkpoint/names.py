"""The names of SlowFast's and Slow's weights: one table with a column for each code base.

======================================== =========================== ===============================
PySlowFast                               caffe2 (its old zoo)        PyTorchVideo
======================================== =========================== ===============================
``s1.pathway1_stem.conv.weight``         ``t_conv1_w``               ``blocks.0.multipathway_blocks
                                                                     .1.conv.weight``
``s1_fuse.bn.weight``                    ``t_pool1_subsample_bn_s``  ``blocks.0.multipathway_fusion
                                                                     .norm.weight``
``s2.pathway0_res0.branch2.a.weight``    ``res2_0_branch2a_w``       ``blocks.1.multipathway_blocks
                                                                     .0.res_blocks.0.branch2.conv_a
                                                                     .weight``
``head.projection.bias``                 ``pred_b``                  ``blocks.6.proj.bias``
======================================== =========================== ===============================

The table is generated for a layout (pathways, blocks per stage, lateral connections, nonlocal
blocks), which is inferred from the names in a checkpoint. Table and checkpoint must then have
exactly the same names.

Sources: PySlowFast ``models/video_model_builder.py`` and ``utils/c2_model_loading.py``,
PyTorchVideo ``models/slowfast.py`` and ``models/resnet.py``.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from slowfast_ac.errors import InputError

NAMINGS = ("pyslowfast", "pytorchvideo", "caffe2")

# Each code base's name (depth) for a network with these numbers of blocks in s2 to s5.
_CAFFE2_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}
DEPTHS = {
    "caffe2": _CAFFE2_DEPTHS,
    "pyslowfast": {(2, 2, 2, 2): 18, **_CAFFE2_DEPTHS},
    "pytorchvideo": {(1, 1, 1, 1): 18, **_CAFFE2_DEPTHS, (3, 8, 36, 3): 152},
}

_FIRST_LATERAL_NAME = {
    "pyslowfast": "s1_fuse.",
    "pytorchvideo": "blocks.0.multipathway_fusion.",
    "caffe2": "t_pool1_subsample_",
}
# A residual block's position in the network; the group "fast" is empty in the slow pathway. At most
# two digits, so that a malicious name cannot make the table below endless.
_BLOCK = {
    "pyslowfast": re.compile(r"s(?P<stage>\d)\.pathway(?:0|(?P<fast>1))_res(?P<block>\d{1,2})\."),
    "pytorchvideo": re.compile(
        r"blocks\.(?P<stage>\d)\.(?:multipathway_blocks\.(?:0|(?P<fast>1))\.)?"
        r"res_blocks\.(?P<block>\d{1,2})\."
    ),
    "caffe2": re.compile(r"(?P<fast>t_)?res(?P<stage>\d)_(?P<block>\d{1,2})_branch"),
}
_NONLOCAL_BLOCK = {
    "pyslowfast": re.compile(
        r"s(?P<stage>\d)\.pathway(?:0|(?P<fast>1))_nonlocal(?P<block>\d{1,2})\."
    ),
    "caffe2": re.compile(r"(?P<fast>t_)?nonlocal_conv(?P<stage>\d)_(?P<block>\d{1,2})_"),
}
# The optimizer's blobs, which PySlowFast's utils/checkpoint.py skips too.
_CAFFE2_SOLVER = re.compile(r".*momentum|lr|model_iter")
# SCAM's own weights (key SCAM.UPSAMPLE) work in training only.
_TRAINING_ONLY = re.compile(r"(.*\.)?scam\.")

# The parameters of each kind of module: PyTorch's name, caffe2's suffix.
_PARAMETERS: dict[str, dict[str, str | None]] = {
    "conv": {"weight": "w"},
    "affine": {"weight": "w", "bias": "b"},
    "norm": {
        "weight": "s",
        "bias": "b",
        "running_mean": "rm",
        "running_var": "riv",
        "num_batches_tracked": None,
    },
}
_BRANCHES = (
    # kind, caffe2, PySlowFast, PyTorchVideo
    ("conv", "branch1", "branch1", "branch1_conv"),
    ("norm", "branch1_bn", "branch1_bn", "branch1_norm"),
    ("conv", "branch2a", "branch2.a", "branch2.conv_a"),
    ("norm", "branch2a_bn", "branch2.a_bn", "branch2.norm_a"),
    ("conv", "branch2b", "branch2.b", "branch2.conv_b"),
    ("norm", "branch2b_bn", "branch2.b_bn", "branch2.norm_b"),
    ("conv", "branch2c", "branch2.c", "branch2.conv_c"),
    ("norm", "branch2c_bn", "branch2.c_bn", "branch2.norm_c"),
)
_NONLOCAL = (
    ("affine", "theta", "conv_theta"),
    ("affine", "phi", "conv_phi"),
    ("affine", "g", "conv_g"),
    ("affine", "out", "conv_out"),
    ("norm", "bn", "bn"),
)


class Module(NamedTuple):
    """One layer and its three names; ``pytorchvideo`` is None if it lacks the layer."""

    kind: str
    caffe2: str
    pyslowfast: str
    pytorchvideo: str | None


@dataclass(frozen=True)
class Layout:
    """The structure of a network, as far as it determines the names of the weights.

    Args:
        pathways: 1 (Slow, C2D, I3D) or 2 (SlowFast).
        blocks: residual blocks of the stages s2 to s5, the same in every pathway.
        fused: whether there are lateral connections.
        nonlocal_blocks: (stage, pathway, block) of every nonlocal block.
    """

    pathways: int
    blocks: tuple[int, int, int, int]
    fused: bool
    nonlocal_blocks: tuple[tuple[int, int, int], ...] = ()

    def modules(self) -> Iterator[Module]:
        """Yields every layer that has weights."""
        two = self.pathways == 2
        for pathway in range(self.pathways):
            fast = "t_" if pathway else ""
            inside = f".multipathway_blocks.{pathway}" if two else ""
            stem = f"s1.pathway{pathway}_stem"
            yield Module("conv", f"{fast}conv1", f"{stem}.conv", f"blocks.0{inside}.conv")
            yield Module("norm", f"{fast}res_conv1_bn", f"{stem}.bn", f"blocks.0{inside}.norm")
            for stage, depth in enumerate(self.blocks, start=2):
                for block in range(depth):
                    for kind, caffe2, pyslowfast, pytorchvideo in _BRANCHES:
                        # Only the first block of a stage changes the width.
                        if block == 0 or not caffe2.startswith("branch1"):
                            yield Module(
                                kind,
                                f"{fast}res{stage}_{block}_{caffe2}",
                                f"s{stage}.pathway{pathway}_res{block}.{pyslowfast}",
                                f"blocks.{stage - 1}{inside}.res_blocks.{block}.{pytorchvideo}",
                            )
        if self.fused:
            yield from self.lateral_modules()
        for stage, pathway, block in self.nonlocal_blocks:
            fast = "t_" if pathway else ""
            for kind, caffe2, pyslowfast in _NONLOCAL:
                yield Module(
                    kind,
                    f"{fast}nonlocal_conv{stage}_{block}_{caffe2}",
                    f"s{stage}.pathway{pathway}_nonlocal{block}.{pyslowfast}",
                    None,
                )
        yield Module("affine", "pred", "head.projection", f"blocks.{6 if two else 5}.proj")

    def lateral_modules(self) -> Iterator[Module]:
        """Yields the layers of the lateral connections, which follow the stages s1 to s4."""
        for stage in (1, 2, 3, 4):
            last = "pool1" if stage == 1 else f"res{stage}_{self.blocks[stage - 2] - 1}_branch2c_bn"
            lateral = f"blocks.{stage - 1}.multipathway_fusion"
            caffe2 = f"t_{last}_subsample"
            yield Module("conv", caffe2, f"s{stage}_fuse.conv_f2s", f"{lateral}.conv_fast_to_slow")
            yield Module("norm", f"{caffe2}_bn", f"s{stage}_fuse.bn", f"{lateral}.norm")


def parameter_names(modules: Iterable[Module], naming: str) -> list[str | None]:
    """Returns the name of every parameter of ``modules``, or None if ``naming`` has no name for it.

    The lists for two namings correspond item by item.
    """
    names: list[str | None] = []
    for module in modules:
        layer = getattr(module, naming)
        for parameter, caffe2 in _PARAMETERS[module.kind].items():
            suffix = f".{parameter}" if naming != "caffe2" else caffe2 and f"_{caffe2}"
            names.append(layer + suffix if layer and suffix else None)
    return names


def name_table(layout: Layout, source: str, target: str) -> dict[str, str]:
    """Returns the name in ``target`` of every parameter of ``source`` that ``target`` has."""
    modules = list(layout.modules())
    pairs = zip(parameter_names(modules, source), parameter_names(modules, target), strict=True)
    return {old: new for old, new in pairs if old and new}


def is_no_weight(name: str, naming: str) -> bool:
    """Returns whether inference does not need the weight with this name: solver, SCAM."""
    pattern = _CAFFE2_SOLVER if naming == "caffe2" else _TRAINING_ONLY
    return pattern.match(name) is not None


def is_counter(name: str) -> bool:
    """Returns whether the name is that of a BatchNorm counter, which no forward pass needs."""
    return name.endswith(".num_batches_tracked")


def find_layout(names: Iterable[str], naming: str) -> Layout:
    """Returns the layout of the network with these names.

    Args:
        names: every name of the checkpoint, without prefix.
        naming: one of NAMINGS.

    Raises:
        InputError: naming the first key that a SlowFast or Slow network must not have, or lacks.
    """
    names = {name for name in names if not is_no_weight(name, naming)}
    positions = _positions(_BLOCK[naming], names, naming)

    def depth(stage: int) -> int:
        own = [block for s, fast, block in positions if (s, fast) == (stage, 0)]
        return max(own, default=-1) + 1

    blocks = depth(2), depth(3), depth(4), depth(5)
    if 0 in blocks:
        raise InputError(
            f"not SlowFast or Slow: no residual blocks in stage s{blocks.index(0) + 2} "
            "(C2D and I3D of PyTorchVideo have a pooling layer there)"
        )
    layout = Layout(
        pathways=max(fast for _, fast, _ in positions) + 1,
        blocks=blocks,
        fused=any(name.startswith(_FIRST_LATERAL_NAME[naming]) for name in names),
        nonlocal_blocks=_positions(_NONLOCAL_BLOCK[naming], names, naming)
        if naming in _NONLOCAL_BLOCK
        else (),
    )
    known = {name for name in parameter_names(layout.modules(), naming) if name}
    for name in sorted(names - known):
        raise InputError(f"{name}: not a weight of SlowFast or Slow (bottleneck ResNet)")
    # BatchNorm's counter came with torch 0.4.1; older files lack it.
    for name in sorted(name for name in known - names if not is_counter(name)):
        raise InputError(f"{name}: missing, but SlowFast and Slow (bottleneck ResNet) have it")
    return layout


def _positions(
    pattern: re.Pattern[str], names: Iterable[str], naming: str
) -> tuple[tuple[int, int, int], ...]:
    """Returns the sorted (stage, pathway, block) of the names that match."""
    # PyTorchVideo's blocks.1 is PySlowFast's s2 and caffe2's res2.
    offset = 1 if naming == "pytorchvideo" else 0
    return tuple(
        sorted(
            {
                (int(match["stage"]) + offset, int(match["fast"] is not None), int(match["block"]))
                for match in map(pattern.match, names)
                if match
            }
        )
    )
