"""Submits runs to Slurm as a job array, with submitit."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath


def submit(
    commands: Sequence[Sequence[str]], folder: StrPath, parameters: Mapping[str, object]
) -> list:
    """Submits one job for each command and returns at once.

    Args:
        commands: arguments of ``slowfast-ac``; they run in the current folder, with this Python.
        folder: gets each job's script and its output, ``JOB_0_log.out`` and ``JOB_0_log.err``.
        parameters: of submitit's ``AutoExecutor.update_parameters``, such as ``slurm_partition``,
            ``timeout_min`` and ``gpus_per_node``; and ``cluster``, ``local`` for this machine.

    Returns:
        submitit's jobs.

    Raises:
        InputError: if there is no Slurm, or for parameters that it does not take.
    """
    import submitit

    settings = dict(parameters)
    cluster = settings.pop("cluster", "slurm")
    try:
        executor = submitit.AutoExecutor(folder=Path(folder), cluster=str(cluster))
        executor.update_parameters(**settings)
        jobs = [
            submitit.helpers.CommandFunction(
                [sys.executable, "-m", "slowfast_ac", *command], cwd=os.getcwd()
            )
            for command in commands
        ]
        return executor.submit_array(jobs)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        # The first line of submitit's message names the key, or what is missing.
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"--submit: {reason} (cluster {cluster})") from error


def parse_parameters(words: Sequence[str]) -> dict[str, object]:
    """Returns KEY=VALUE words as a dict; values are parsed as yaml, so numbers become numbers.

    Raises:
        InputError: naming a word that is not of this form.
    """
    parameters: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InputError(f"--submit: {word!r}; give KEY=VALUE, such as slurm_partition=gpu")
        # yaml would turn a time of Slurm's, such as 12:00:00, into a number.
        try:
            parameters[key] = value if ":" in value else yaml.safe_load(value)
        except yaml.YAMLError:
            parameters[key] = value
    return parameters
