"""The rank of this process among several, from the environment of torchrun or srun."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Rank(NamedTuple):
    """One of several processes that share the work.

    Args:
        number: the process's number, from 0.
        world_size: number of processes on all machines.
        local: the process's number on this machine.
        local_size: number of processes on this machine.
    """

    number: int = 0
    world_size: int = 1
    local: int = 0
    local_size: int = 1

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns this process's part of the work: every ``world_size``-th item."""
        return items[self.number :: self.world_size]

    def device(self) -> str | None:
        """Returns this process's GPU; None leaves the choice to the caller."""
        import torch

        gpus = torch.cuda.device_count() if self.world_size > 1 else 0
        return f"cuda:{self.local % gpus}" if gpus else None

    def cpus(self) -> int:
        """Returns the number of CPU cores that this process may use."""
        cores = os.cpu_count() or 1
        # srun may have bound it to some of them already.
        bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
        return max(1, min(bound, cores // self.local_size))

    def __str__(self) -> str:
        return f"process {self.number + 1} of {self.world_size}"


ALONE = Rank()


def this_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """Returns this process's rank; :data:`ALONE` if neither torchrun nor srun started it."""
    for number, count, local, local_size in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
        # Not SLURM_NTASKS, which sbatch sets even for a script that runs as a single process.
        (
            "SLURM_PROCID",
            "SLURM_STEP_NUM_TASKS",
            "SLURM_LOCALID",
            "SLURM_STEP_TASKS_PER_NODE",
        ),
    ):
        if all(name in environment for name in (number, count, local)):
            # The tasks on each machine, such as "8(x2),4"; the first number is taken.
            here = re.match(r"\d+", environment.get(local_size, "1"))
            return Rank(
                int(environment[number]),
                int(environment[count]),
                int(environment[local]),
                int(here[0]) if here else 1,
            )
    return ALONE
