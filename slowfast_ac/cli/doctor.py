"""``slowfast-ac doctor``: prints what is found, repaired and missing."""

import argparse

from slowfast_ac.cli.arguments import add_pyslowfast


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_pyslowfast(parser)
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="also spawn N processes that train one step together on the CPU",
    )


def main(args: argparse.Namespace) -> int:
    """Prints the findings; the exit status is 1 if something is missing."""
    from slowfast_ac.pyslowfast.doctor import diagnose

    diagnosis = diagnose(args.pyslowfast)
    if args.workers and diagnosis.upstream and not diagnosis.problems:
        from slowfast_ac.pyslowfast.workers import check_workers

        difference = check_workers(diagnosis.upstream, args.workers)
        print(f"{args.workers} workers trained one step; parameters differ by {difference:g}")
        if difference:
            diagnosis.problems.append("the workers do not agree")
    for line in diagnosis.lines():
        print(line)
    return 1 if diagnosis.problems else 0
