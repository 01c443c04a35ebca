"""The rank of this process among several, from the environment of torchrun or srun."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Rank(NamedTuple):
    """One of several processes that do a part of the work each.

    Args:
        number: from 0.
        world_size: how many processes there are, on all machines.
        local: its number on this machine.
    """

    number: int = 0
    world_size: int = 1
    local: int = 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns the part of the work that is this process's: every ``world_size``-th item."""
        return items[self.number :: self.world_size]

    def device(self) -> str | None:
        """Returns the GPU of this process; None leaves the choice to the caller."""
        import torch

        gpus = torch.cuda.device_count() if self.world_size > 1 else 0
        return f"cuda:{self.local % gpus}" if gpus else None

    def __str__(self) -> str:
        return f"process {self.number + 1} of {self.world_size}"


def this_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """Returns this process's rank; one of one if neither torchrun nor srun started it."""
    for number, count, local in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        # srun's own name for the count: sbatch sets SLURM_NTASKS for a script that runs alone.
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ):
        if all(name in environment for name in (number, count, local)):
            return Rank(*(int(environment[name]) for name in (number, count, local)))
    return Rank()
