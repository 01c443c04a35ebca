"""``slowfast-ac convert``: converts weights to the other code base, or cuts lateral connections."""

import argparse

from slowfast_ac.cli.predict import add_weights_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("input", help="a checkpoint of any kind that `inspect` recognises")
    parser.add_argument("output", help="the file to write: .pyth or .safetensors")
    parser.add_argument("--to", required=True, choices=["pyslowfast", "pytorchvideo"])
    parser.add_argument(
        "--branch-independent",
        action="store_true",
        help="cut the lateral connections of a fused SlowFast, to start SlowFastAC from it",
    )
    add_weights_argument(parser)


def main(args: argparse.Namespace) -> None:
    """Converts and writes the weights, and prints a report on every weight."""
    from slowfast_ac.checkpoint.convert import convert_checkpoint
    from slowfast_ac.checkpoint.open import open_checkpoint
    from slowfast_ac.checkpoint.save import SUFFIXES, save_checkpoint
    from slowfast_ac.files import check_suffix

    check_suffix(args.output, SUFFIXES, "weights")
    checkpoint = open_checkpoint(args.input, args.weights)
    state_dict, report = convert_checkpoint(
        checkpoint, args.to, branch_independent=args.branch_independent
    )
    # Initial weights belong to no epoch: with one, PySlowFast would resume training there.
    epoch = None if args.branch_independent else checkpoint.epoch
    save_checkpoint(
        args.output, state_dict, epoch=epoch, config=checkpoint.config, extras=checkpoint.texts
    )
    print(f"wrote {args.output}")
    print(report)
