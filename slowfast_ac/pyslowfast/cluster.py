"""Finds upstream's arguments for several machines: command line, torchrun or Slurm."""

import os
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from slowfast_ac.errors import InputError

PORT = 9999


class Machines(NamedTuple):
    """Upstream's arguments for several machines.

    Args:
        shard_id: number of this machine, from 0.
        num_shards: number of machines.
        init_method: address at which their processes meet.
    """

    shard_id: int
    num_shards: int
    init_method: str


ALONE = Machines(0, 1, f"tcp://localhost:{PORT}")


def machines(
    shard_id: int | None = None,
    num_shards: int | None = None,
    init_method: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Machines:
    """Returns the arguments; missing ones come from torchrun's or Slurm's variables.

    PySlowFast spawns one process per GPU itself, so a launcher must start one task per machine.

    Args:
        shard_id: given on the command line, or None.
        num_shards: likewise.
        init_method: likewise.
        environment: the variables to read.

    Raises:
        InputError: if only one of the first two is given, or the launcher started several tasks per
            machine.
    """
    if (shard_id is None) != (num_shards is None):
        raise InputError("--shard_id and --num_shards: give both, or none")
    found = ALONE
    if shard_id is None:
        if "TORCHELASTIC_RUN_ID" in environment:
            found = _from_torchrun(environment)
        elif "SLURM_NODEID" in environment:
            found = _from_slurm(environment)
    return Machines(
        found.shard_id if shard_id is None else shard_id,
        found.num_shards if num_shards is None else num_shards,
        found.init_method if init_method is None else init_method,
    )


def _from_torchrun(environment: Mapping[str, str]) -> Machines:
    if environment["LOCAL_WORLD_SIZE"] != "1":
        raise InputError(
            "torchrun: start it with --nproc_per_node 1; PySlowFast spawns NUM_GPUS workers itself"
        )
    # torchrun's own store listens on MASTER_PORT.
    port = int(environment["MASTER_PORT"]) + 1
    address = f"tcp://{environment['MASTER_ADDR']}:{port}"
    return Machines(int(environment["GROUP_RANK"]), int(environment["GROUP_WORLD_SIZE"]), address)


def _from_slurm(environment: Mapping[str, str]) -> Machines:
    # An srun step may use fewer machines than its job.
    nodes = environment.get("SLURM_STEP_NUM_NODES") or environment.get("SLURM_NNODES", "1")
    if _starts_several_tasks_a_machine(environment, nodes):
        raise InputError(
            "srun: start it with --ntasks-per-node 1; PySlowFast spawns NUM_GPUS workers itself"
        )
    if nodes == "1":
        return ALONE
    listed = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
    command = ["scontrol", "show", "hostnames", listed]
    try:
        hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise InputError(
            f"scontrol cannot name the job's machines ({reason}); give --shard_id, --num_shards "
            "and --init_method tcp://FIRST_MACHINE:PORT"
        ) from None
    # Jobs that share a machine must not share the port.
    port = PORT + int(environment["SLURM_JOB_ID"]) % 10000
    return Machines(int(environment["SLURM_NODEID"]), int(nodes), f"tcp://{hosts[0]}:{port}")


def _starts_several_tasks_a_machine(environment: Mapping[str, str], nodes: str) -> bool:
    if "SLURM_STEP_NUM_TASKS" in environment:
        return environment["SLURM_STEP_NUM_TASKS"] != nodes
    # Without a step, this is a batch script, which runs once whatever number of tasks it requests.
    if nodes == "1":
        return int(environment.get("SLURM_PROCID", 0)) > 0
    return environment.get("SLURM_NTASKS", nodes) != nodes
