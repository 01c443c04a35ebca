"""Runs a suite. Finished runs are not repeated, and a failed run does not stop the rest."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from fvcore.common.config import CfgNode
from tqdm import tqdm

from slowfast_ac.errors import InputError
from slowfast_ac.experiments.suite import Run
from slowfast_ac.files import write_json

RECORD = "run.json"
# Keys that change no result, and the machines of a job, which only its launcher knows.
IMMATERIAL = (
    *("NUM_SHARDS", "SHARD_ID", "LOG_PERIOD", "LOG_MODEL_INFO"),
    *("DATA_LOADER.NUM_WORKERS", "DATA_LOADER.PIN_MEMORY"),
)


def is_finished(run: Run) -> bool:
    """Returns whether the run has finished.

    Raises:
        InputError: if its folder holds a finished run with other settings.
    """
    path = run.folder / RECORD
    if not path.is_file():
        return False
    record = json.loads(path.read_text())
    if record["status"] != "finished":
        return False
    if record["arguments"] != run.arguments:
        raise InputError(
            f"{run.folder}: holds a finished run of other settings; choose another --output or "
            "delete it"
        )
    return True


def require_same_settings(runs: Sequence[Run], to_continue: Sequence[Run] = ()) -> None:
    """Rejects runs that would be trained differently today.

    A config file, a default, ``--opts`` or PySlowFast itself has changed since.

    Args:
        runs: those with which others are compared; only the finished ones are looked at.
        to_continue: those that are about to run; an unfinished one with a checkpoint would be
            continued under other settings.

    Raises:
        InputError: naming the run's folder and the first key that differs.
    """
    # Imported here, since listing runs needs no PySlowFast.
    from slowfast_ac.pyslowfast.config_file import first_difference, load_config
    from slowfast_ac.pyslowfast.outputs import last_checkpoint

    wanted = {run.name for run in to_continue}
    for run in runs:
        finished = is_finished(run)
        begun = last_checkpoint(run.folder) is not None and _config_file(run).is_file()
        if not (finished or (begun and run.name in wanted)):
            continue
        then = load_run_config(run)
        difference = first_difference(then, load_config(run.cfg, run.all_opts), IMMATERIAL)
        if difference:
            kind = "a finished" if finished else "an unfinished"
            raise InputError(
                f"{run.folder}: holds {kind} run with {difference} now; choose another --output "
                "or delete it"
            )


def load_run_config(run: Run) -> CfgNode:
    """Returns the config that a run was started with, and sets PySlowFast up."""
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.config_file import load_config

    setup()
    return load_config(_config_file(run))


def _config_file(run: Run) -> Path:
    return run.folder / "config.yaml"


def run_all(runs: Sequence[Run], parallel: int = 1) -> list[str]:
    """Runs the unfinished runs, each in its own process, with progress on stderr.

    Args:
        runs: the runs, in order.
        parallel: how many run at a time; they share the cores.

    Returns:
        The names of the runs that failed; ``output.txt`` in their folders has the reasons.

    Raises:
        InputError: if ``parallel`` is less than 1.
    """
    if parallel < 1:
        raise InputError(f"--parallel: {parallel} is less than one run at a time")
    todo = [run for run in runs if not is_finished(run)]
    failed = []
    processes: list[subprocess.Popen] = []
    with (
        tqdm(
            total=len(runs),
            initial=len(runs) - len(todo),
            unit="run",
            file=sys.stderr,
            disable=None,
        ) as bar,
        ThreadPoolExecutor(parallel) as pool,
    ):
        futures = {pool.submit(_execute, run, bar, parallel, processes): run for run in todo}
        try:
            for future in as_completed(futures):
                run = futures[future]
                if not future.result():
                    failed.append(run.name)
                    line = f"failed: {run.name}, see {run.folder / 'output.txt'}"
                    tqdm.write(line, file=sys.stderr)
                elif bar.disable:
                    # Without a bar, as in a log file, this line shows that the suite advances.
                    tqdm.write(f"finished: {run.name}", file=sys.stderr)
                bar.update()
        except BaseException:
            # Ctrl-C: the runs resume from their last checkpoints next time.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            raise
    return failed


def _execute(run: Run, bar: tqdm, parallel: int, processes: list[subprocess.Popen]) -> bool:
    run.folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    # Threads that spin while they wait make a step ten times slower if another program takes one of
    # few cores.
    environment = {"OMP_WAIT_POLICY": "passive"}
    if parallel > 1:
        environment["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // parallel, 1))
    with open(run.folder / "output.txt", "w", buffering=1) as log:
        process = subprocess.Popen(
            run.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, **os.environ},
            preexec_fn=_die_with_suite if sys.platform == "linux" else None,
        )
        processes.append(process)
        tail: deque[str] = deque(maxlen=3)
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            tail.append(line.strip())
            if line.startswith(("epoch ", "test ")):
                bar.set_description(f"{run.name} {line.strip()}")
        # wait() does not return this process's memory.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status = os.waitstatus_to_exitcode(status)
    record = {
        "status": "finished" if status == 0 else "failed",
        "arguments": run.arguments,
        "exit_status": status,
        "last_lines": list(tail),
        "seconds": round(time.monotonic() - begin, 1),
        "peak_resident_mebibytes": usage.ru_maxrss // 1024,
    }
    write_json(run.folder / RECORD, record)
    return status == 0


def _die_with_suite() -> None:
    # Otherwise the run of a killed suite would continue, and write to the same folder as the run
    # that resumes it.
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
