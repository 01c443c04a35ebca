"""Repairs that PySlowFast needs before it can be imported."""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
import torch.distributed as dist
from torch import nn

from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair

BOTH = ("checkout", "wheel")


def is_missing(name: str) -> bool:
    """Returns whether the module ``name`` or one of its parent packages cannot be found."""
    if name in sys.modules:
        return False
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:
        return True


def add_module(name: str, path: list[str] | None = None, **members: object) -> ModuleType:
    """Adds a stand-in module to ``sys.modules`` and to its parent package.

    Args:
        name: dotted name; the parent must already be imported.
        path: folders to search for submodules; if given, the module is a package.
        members: attributes of the module.
    """
    module = ModuleType(name, "Stand-in by slowfast_ac.")
    module.__spec__ = ModuleSpec(name, loader=None, is_package=path is not None)
    if path is not None:
        module.__path__ = path
    vars(module).update(members)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), child, module)
    return module


def _add_meta_path(upstream: Upstream) -> None:
    add_module("vision", path=[])
    add_module("vision.fair", path=[])
    add_module("vision.fair.slowfast", path=[str(upstream.root)])


def _add_roi_align(_: Upstream) -> None:
    from torchvision.ops import RoIAlign

    add_module("detectron2", path=[])
    add_module("detectron2.layers", ROIAlign=RoIAlign)


def _add_functional_tensor(_: Upstream) -> None:
    renamed = importlib.import_module("torchvision.transforms._functional_tensor")
    sys.modules["torchvision.transforms.functional_tensor"] = renamed


def _needs_six(upstream: Upstream) -> bool:
    # Until 2021 it always imported torch._six, since then only if torch's minor version is below 8.
    path = upstream.root / "slowfast/datasets/multigrid_helper.py"
    if not is_missing("torch._six") or not path.is_file():
        return False
    spec = importlib.util.spec_from_file_location("slowfast_ac_probe", path)
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except ModuleNotFoundError as error:
        return error.name == "torch._six"
    return False


def _add_six(_: Upstream) -> None:
    add_module("torch._six", int_classes=int, string_classes=str)


def _add_losses(_: Upstream) -> None:
    add_module("pytorchvideo.losses", path=[])
    add_module(
        "pytorchvideo.losses.soft_target_cross_entropy",
        SoftTargetCrossEntropyLoss=SoftTargetCrossEntropyLoss,
    )


def _missing_distributed(_: Upstream) -> list[str]:
    module = importlib.import_module("pytorchvideo.layers.distributed")
    return [name for name in DISTRIBUTED if not hasattr(module, name)]


def _add_distributed(upstream: Upstream) -> None:
    module = importlib.import_module("pytorchvideo.layers.distributed")
    for name in _missing_distributed(upstream):
        setattr(module, name, DISTRIBUTED[name])


class SoftTargetCrossEntropyLoss(nn.Module):
    """Cross entropy with soft or multiple targets, as in PyTorchVideo's main branch.

    Args:
        ignore_index: only for the signature; PySlowFast uses the default, which ignores nothing.
        reduction: ``mean`` or ``none``.
        normalize_targets: if true, each clip's targets are divided by their sum.
    """

    def __init__(
        self, ignore_index: int = -100, reduction: str = "mean", normalize_targets: bool = True
    ):
        super().__init__()
        if ignore_index != -100 or reduction not in ("mean", "none"):
            raise NotImplementedError(f"ignore_index {ignore_index}, reduction {reduction!r}")
        self.reduction = reduction
        self.normalize_targets = normalize_targets

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Computes the loss of (N, L) logits and (N, L) targets or (N,) class indices."""
        if target.ndim == 1:
            target = nn.functional.one_hot(target, input.shape[1])
        target = target.float()
        if self.normalize_targets:
            target = target / (target.sum(dim=1, keepdim=True) + torch.finfo(torch.float32).eps)
        return nn.functional.cross_entropy(input, target, reduction=self.reduction)


_machine_group: list[dist.ProcessGroup] = []


def init_distributed_training(num_gpus: int, shard_id: int) -> None:
    """Creates one process group per machine and stores this machine's.

    Args:
        num_gpus: number of processes per machine.
        shard_id: this machine's number.
    """
    if num_gpus <= 1:
        return
    for machine in range(dist.get_world_size() // num_gpus):
        ranks = range(machine * num_gpus, (machine + 1) * num_gpus)
        group = dist.new_group(list(ranks))
        if machine == shard_id:
            _machine_group[:] = [group]


def get_local_process_group() -> dist.ProcessGroup:
    """Returns this machine's process group."""
    if not _machine_group:
        raise RuntimeError("init_distributed_training was not called")
    return _machine_group[0]


def get_local_size() -> int:
    """Returns the number of processes on this machine."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size(_machine_group[0] if _machine_group else None)


def get_local_rank() -> int:
    """Returns this process's number on this machine."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0
    return dist.get_rank(get_local_process_group())


def cat_all_gather(tensors: torch.Tensor, local: bool = False) -> torch.Tensor:
    """Gathers equally shaped tensors of all processes, or of this machine's, along dimension 0."""
    group = get_local_process_group() if local else None
    gathered = [torch.empty_like(tensors) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, tensors, group=group)
    return torch.cat(gathered)


DISTRIBUTED = {
    function.__name__: function
    for function in (
        cat_all_gather,
        get_local_process_group,
        get_local_rank,
        get_local_size,
        init_distributed_training,
    )
}

REPAIRS = (
    Repair(
        "Meta's import path",
        "tools/ and ava_eval_helper import vision.fair.slowfast, a path inside Meta (#718, #752)",
        ("checkout",),
        lambda _: is_missing("vision.fair.slowfast"),
        _add_meta_path,
    ),
    Repair(
        "ROIAlign",
        "detectron2 is not on PyPI; torchvision's RoIAlign takes the same arguments (#430, #721)",
        BOTH,
        lambda _: is_missing("detectron2"),
        _add_roi_align,
    ),
    Repair(
        "functional_tensor",
        "PyTorchVideo 0.1.5 imports a torchvision module that was renamed (pytorchvideo #258)",
        ("checkout",),
        lambda _: is_missing("torchvision.transforms.functional_tensor"),
        _add_functional_tensor,
    ),
    Repair(
        "torch._six",
        "multigrid_helper imports torch._six, which was removed; today's only for torch 2.0 to 2.7",
        ("checkout",),
        _needs_six,
        _add_six,
    ),
    Repair(
        "PyTorchVideo's losses",
        "PyTorchVideo 0.1.5 lacks soft_target_cross_entropy; only its main branch has it",
        ("checkout",),
        lambda _: is_missing("pytorchvideo.losses.soft_target_cross_entropy"),
        _add_losses,
    ),
    Repair(
        "PyTorchVideo's distributed helpers",
        "PyTorchVideo 0.1.5 lacks cat_all_gather and four others (#545, #636, #663)",
        ("checkout",),
        lambda upstream: bool(_missing_distributed(upstream)),
        _add_distributed,
    ),
)
