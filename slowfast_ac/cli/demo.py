"""``slowfast-ac demo``: trains baseline and method on generated clips, in minutes on a CPU."""

import argparse

from slowfast_ac.cli.arguments import add_opts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("--output", default="output/demo", help="folder (default: %(default)s)")
    parser.add_argument("--data", metavar="DIR", help="your train.csv, val.csv and test.csv")
    parser.add_argument("--quick", action="store_true", help="a smoke run that learns nothing")
    parser.add_argument("--seed", type=int, default=0, help="of both models (default: %(default)s)")
    add_opts(parser, "for both models")


def main(args: argparse.Namespace) -> None:
    """Runs the demo and prints its table."""
    from slowfast_ac.experiments.demo import run_demo
    from slowfast_ac.files import check_folder

    check_folder(args.output, "--output")
    report = run_demo(args.output, args.data, args.quick, args.opts, args.seed)
    print(report.read_text())
    print(f"everything is in {report.parent}")
