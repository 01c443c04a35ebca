"""``slowfast-ac ablate``: runs a suite and writes its report."""

import argparse
import shlex
from pathlib import Path

from slowfast_ac.cli.arguments import add_opts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("suite", help="suite file, for example configs/suites/table3.yaml")
    parser.add_argument("--output", required=True, help="folder of the runs and reports")
    parser.add_argument("--base", help="config file instead of the suite's own base")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the suite's own")
    parser.add_argument("--only", nargs="+", metavar="VARIANT[:SEED]", help="run only these")
    parser.add_argument(
        "--parallel", type=int, default=1, metavar="N", help="runs at a time (default 1)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--dry-run", action="store_true", help="print the commands of the runs")
    shown.add_argument(
        "--jobs",
        action="store_true",
        help="print one ablate command per unfinished run, for Slurm or several machines",
    )
    shown.add_argument(
        "--submit",
        nargs="*",
        metavar="KEY=VALUE",
        help="submit the unfinished runs to Slurm with submitit and its parameters, such as "
        "slurm_partition=gpu timeout_min=720 gpus_per_node=8",
    )
    shown.add_argument("--report", action="store_true", help="report the finished runs")
    add_opts(parser, "for every run")


def main(args: argparse.Namespace) -> int:
    """Runs the suite; the exit status is 1 if a run failed."""
    from slowfast_ac.experiments.ablate import is_finished, require_same_settings, run_all
    from slowfast_ac.experiments.report import measure_attention, write_report
    from slowfast_ac.experiments.suite import load_suite, plan
    from slowfast_ac.files import check_folder

    suite = load_suite(args.suite, args.base)
    everything = plan(suite, args.output, args.opts, args.seeds)
    runs = plan(suite, args.output, args.opts, args.seeds, args.only)
    if args.dry_run:
        for run in runs:
            print(run)
        return 0
    if args.jobs:
        for run in runs:
            if not is_finished(run):
                print(shlex.join(_job(args, run.name)))
        return 0
    if args.submit is not None:
        return _submit(args, [_job(args, run.name)[1:] for run in runs if not is_finished(run)])
    check_folder(args.output, "--output")
    require_same_settings(everything, () if args.report else runs)
    failed = [] if args.report else run_all(runs, args.parallel)
    # Jobs that share the folder measure only their own runs; --report measures the rest.
    own = everything if args.report else runs
    measure_attention([run for run in own if is_finished(run)])
    # Named after the suite, so that suites with runs in common can share a folder.
    path = write_report(suite, everything, Path(args.output), Path(args.suite).stem)
    print(path.read_text())
    print(f"written to {path}")
    for name in failed:
        print(f"failed: {name}")
    return 1 if failed else 0


def _submit(args: argparse.Namespace, commands: list[list[str]]) -> int:
    from slowfast_ac.experiments.submit import parse_parameters, submit

    if not commands:
        print("every run is finished")
        return 0
    folder = Path(args.output) / "jobs"
    for job, command in zip(
        submit(commands, folder, parse_parameters(args.submit)), commands, strict=True
    ):
        print(f"job {job.job_id}: {shlex.join(['slowfast-ac', *command])}")
    print(f"their output goes to {folder}; afterwards: the same command with --report")
    return 0


def _job(args: argparse.Namespace, name: str) -> list[str]:
    command = ["slowfast-ac", "ablate", args.suite, "--output", args.output, "--only", name]
    if args.base:
        command += ["--base", args.base]
    if args.seeds:
        command += ["--seeds", *map(str, args.seeds)]
    return command + (["--opts", *args.opts] if args.opts else [])
