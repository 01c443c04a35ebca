"""The networks that the benchmarks compare, built from one config, and random data for them."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.errors import InputError
from slowfast_ac.models.compiled import check_compiler
from slowfast_ac.pyslowfast.build import build_model

_CONSISTENT = ("MODEL.MODEL_NAME", "SlowFastAC", "MODEL.LOSS_FUNC", "attention_consistency")

_FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
_SCAM = (*_CONSISTENT, "SCAM.ENABLE", True)
_CHANNELS_LAST = ("COMPUTE.MEMORY_FORMAT", "channels_last")
_COMPILED = ("COMPUTE.COMPILE", True)

# Keys and values that make each network of a config with two pathways; the first is the baseline.
# All other keys, such as SCAM's others for ac_scam, are the config's.
NETWORKS: dict[str, tuple[object, ...]] = {
    "fused": _FUSED,
    "unfused": ("MODEL.MODEL_NAME", "SlowFastAC", "MODEL.LOSS_FUNC", "cross_entropy"),
    "ac": (*_CONSISTENT, "SCAM.ENABLE", False),
    "ac_scam": _SCAM,
    "ac_scam_all_frames": (*_SCAM, "SCAM.GRAD", False, "SCAM.FRAME_STRIDE", 1),
    "ac_scam_grad": (*_SCAM, "SCAM.GRAD", True, "SCAM.FRAME_STRIDE", 1),
    "fused_channels_last": (*_FUSED, *_CHANNELS_LAST),
    "ac_scam_channels_last": (*_SCAM, *_CHANNELS_LAST),
    "fused_compiled": (*_FUSED, *_COMPILED),
    "ac_scam_compiled": (*_SCAM, *_COMPILED),
}
BASELINE = "fused"


@dataclass(frozen=True)
class Batch:
    """Random clips and labels.

    Attributes:
        clips: slow (N, 3, T, H, W) and fast (N, 3, alpha T, H, W).
        labels: (N,).
    """

    clips: list[Tensor]
    labels: Tensor


def find_device(name: str | None) -> torch.device:
    """Returns the named device; by default the GPU if there is one, otherwise the CPU.

    Raises:
        InputError: for a device that does not exist.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device: {name!r} cannot be used here ({reason})") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device: {name!r} is neither cpu nor cuda")
    return device


def choose(names: Sequence[str], only: Sequence[str]) -> list[str]:
    """Returns the names to run: all, or the baseline, which comes first, and those in ``only``.

    Raises:
        InputError: naming an unknown name and the known ones.
    """
    check_only(names, only)
    return [name for name in names if not only or name in only or name == names[0]]


def check_only(names: Sequence[str], only: Sequence[str]) -> None:
    """Rejects a name in ``only`` that is not in ``names``.

    Raises:
        InputError: naming it and the known ones.
    """
    for name in only:
        if name not in names:
            raise InputError(f"--only: {name!r} is not one of {', '.join(names)}")


def without_uncompilable(names: Sequence[str], settings: Settings) -> list[str]:
    """Returns the rows that can run: the compiled ones only if they are timed and a compiler works.

    Without a compiler, a line on stderr names the reason.
    """
    others = [name for name in names if not name.endswith("compiled")]
    if not settings.iterations or len(others) == len(names):
        return others
    try:
        check_compiler(settings.device)
    except InputError as error:
        print(f"slowfast-ac: no compiled rows: {error}", file=sys.stderr)
        return others
    return list(names)


def network_config(cfg: CfgNode, name: str, device: torch.device) -> CfgNode:
    """Returns the config of one network of :data:`NETWORKS`.

    Raises:
        InputError: if the config does not have two pathways.
    """
    if cfg.MODEL.ARCH != "slowfast":
        raise InputError(
            f"MODEL.ARCH: {cfg.MODEL.ARCH!r} does not have two pathways; give a SlowFast config, "
            "for example configs/Kinetics/Base-SLOWFAST_4x16_R50.yaml"
        )
    cfg = cfg.clone()
    cfg.merge_from_list(list(NETWORKS[name]))
    cfg.NUM_GPUS = int(device.type == "cuda")
    return cfg


def build_network(cfg: CfgNode, device: torch.device) -> nn.Module:
    """Builds a config's model with upstream's builder, from its seed."""
    torch.manual_seed(cfg.RNG_SEED)
    return build_model(cfg).to(device)


def random_batch(cfg: CfgNode, batch: int, crop: int, device: torch.device) -> Batch:
    """Returns a random batch, the same one for the same sizes."""
    generator = torch.Generator().manual_seed(0)
    frames = cfg.DATA.NUM_FRAMES
    fast = torch.randn(batch, 3, frames, crop, crop, generator=generator)
    slow = fast[:, :, torch.linspace(0, frames - 1, frames // cfg.SLOWFAST.ALPHA).long()]
    labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,), generator=generator)
    return Batch([slow.to(device), fast.to(device)], labels.to(device))


def find_loss(cfg: CfgNode) -> nn.Module:
    """Returns upstream's loss of the config."""
    losses = importlib.import_module("slowfast.models.losses")
    return losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")


def resident_bytes(tensors: Sequence[Tensor]) -> int:
    """Returns the size of the tensors in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
