"""Upstream's three arguments from the command line, torchrun and Slurm."""

import os

import pytest

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.cluster import Machines, machines

ALONE = Machines(0, 1, "tcp://localhost:9999")

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "LOCAL_WORLD_SIZE": "1",
    "GROUP_RANK": "2",
    "GROUP_WORLD_SIZE": "3",
    "MASTER_ADDR": "node-a",
    "MASTER_PORT": "29500",
}

SLURM = {
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
}


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A function that puts a shell script on PATH as ``scontrol``."""

    def install(script):
        program = tmp_path / "scontrol"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return install


def expand(scontrol):
    scontrol('[ "$*" = "show hostnames gpu[07-08]" ] && printf "gpu07\\ngpu08\\n"')


def test_one_machine_without_a_launcher():
    assert machines(environment={}) == ALONE


def test_command_line_alone():
    given = machines(1, 4, "tcp://node-b:1234", environment={})
    assert given == Machines(1, 4, "tcp://node-b:1234")


def test_torchrun():
    # torchrun's store keeps its own port.
    assert machines(environment=TORCHRUN) == Machines(2, 3, "tcp://node-a:29501")


def test_torchrun_with_several_processes_a_machine_is_refused():
    with pytest.raises(InputError, match="torchrun: start it with --nproc_per_node 1"):
        machines(environment={**TORCHRUN, "LOCAL_WORLD_SIZE": "8"})


def test_slurm_meets_at_the_first_host(scontrol):
    expand(scontrol)
    assert machines(environment=SLURM) == Machines(1, 2, "tcp://gpu07:14710")


def test_slurm_jobs_on_the_same_machines_get_ports_of_their_own(scontrol):
    expand(scontrol)
    ports = set()
    for job in range(4711, 4731):
        address = machines(environment={**SLURM, "SLURM_JOB_ID": str(job)}).init_method
        ports.add(int(address.rpartition(":")[2]))
    assert len(ports) == 20
    assert all(1024 < port < 32768 for port in ports)  # above, the kernel lends ports itself


@pytest.mark.parametrize("tasks", ["1", "4", "16"])
def test_slurm_with_another_number_of_tasks_than_machines_is_refused(scontrol, tasks):
    expand(scontrol)
    with pytest.raises(InputError, match="srun: start it with --ntasks-per-node 1"):
        machines(environment={**SLURM, "SLURM_NTASKS": tasks})


def test_slurm_with_one_task_a_machine(scontrol):
    expand(scontrol)
    assert machines(environment={**SLURM, "SLURM_NTASKS": "2"}).num_shards == 2


def test_slurm_job_of_one_machine_needs_nothing():
    one = {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}
    assert machines(environment=one) == ALONE


@pytest.mark.parametrize("environment", [TORCHRUN, SLURM], ids=["torchrun", "slurm"])
def test_shards_given_by_hand_win_over_a_launcher(environment):
    given = machines(0, 2, environment={**environment, "LOCAL_WORLD_SIZE": "8"})
    assert given == Machines(0, 2, "tcp://localhost:9999")


def test_address_given_by_hand_keeps_the_launchers_numbers():
    given = machines(init_method="file:///shared/meeting", environment=TORCHRUN)
    assert given == Machines(2, 3, "file:///shared/meeting")


def test_torchrun_started_by_srun_is_torchruns():
    assert machines(environment={**SLURM, **TORCHRUN}) == Machines(2, 3, "tcp://node-a:29501")


def test_variables_of_the_process_are_read_by_default(monkeypatch):
    for name in [*TORCHRUN, *SLURM]:
        monkeypatch.delenv(name, raising=False)
    assert machines() == ALONE
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert machines().shard_id == 2


@pytest.mark.parametrize("script", [None, "echo 'Invalid job id' >&2; exit 1"])
def test_scontrol_that_is_missing_or_fails_is_one_clear_line(
    scontrol, monkeypatch, tmp_path, script
):
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        scontrol(script)
    with pytest.raises(InputError, match="--init_method"):
        machines(environment=SLURM)
