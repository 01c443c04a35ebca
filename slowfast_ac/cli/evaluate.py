"""``slowfast-ac evaluate``: evaluates one test result."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("results", help="run directory or result file (TEST.SAVE_RESULTS_PATH)")
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="class map (default: classes.json next to the run's lists)",
    )
    parser.add_argument(
        "--list", metavar="LIST", help="the tested videos, such as test.csv (default: the run's)"
    )
    parser.add_argument(
        "--streams",
        action="store_true",
        help="also measure each stream's accuracy; shows the run's network every test video once",
    )
    parser.add_argument("--output", default="evaluation", help="folder (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation")


def main(args: argparse.Namespace) -> None:
    """Writes the evaluation and prints its summary."""
    from slowfast_ac.evaluation.evaluate import evaluate

    text = evaluate(
        args.results,
        args.output,
        classes=args.classes,
        test_list=args.list,
        streams=args.streams,
        overwrite=args.overwrite,
    )
    print(text)
    print(f"written to {args.output}")
