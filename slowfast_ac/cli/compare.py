"""``slowfast-ac compare``: compares two test results, class by class."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("baseline", help="result file (TEST.SAVE_RESULTS_PATH) or run directory")
    parser.add_argument("other", help="the same, for the other network and the same videos")
    parser.add_argument("--classes", metavar="JSON", help="class map, name -> number")
    parser.add_argument(
        "--groups", metavar="JSON", help="group -> class names (default: the paper's two groups)"
    )
    parser.add_argument("--output", default="comparison", help="folder (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier comparison")


def main(args: argparse.Namespace) -> None:
    """Writes the comparison and prints its summary."""
    from slowfast_ac.evaluation.compare import compare

    text = compare(
        args.baseline,
        args.other,
        args.output,
        args.classes,
        args.groups,
        overwrite=args.overwrite,
    )
    print(text)
    print(f"written to {args.output}")
