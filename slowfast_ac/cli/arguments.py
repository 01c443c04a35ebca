"""Arguments that several commands have."""

import argparse


def add_pyslowfast(parser: argparse.ArgumentParser, purpose: str = "checkout") -> None:
    """Adds ``--pyslowfast``."""
    parser.add_argument(
        "--pyslowfast", metavar="PATH", help=f"{purpose} (default: PYSLOWFAST_ROOT)"
    )


def add_opts(parser: argparse.ArgumentParser, purpose: str = "the last argument") -> None:
    """Adds ``--opts``, config keys and their values in turn, which takes all that follows."""
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help=f"KEY VALUE pairs, {purpose}"
    )
