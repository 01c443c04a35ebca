"""``slowfast-ac inspect``: what a checkpoint is, from its content."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("file", help="a checkpoint: PySlowFast, PyTorchVideo, caffe2, safetensors")
    parser.add_argument("--json", action="store_true", help="print JSON, the config included")


def main(args: argparse.Namespace) -> None:
    """Prints what is in the file."""
    import json

    from slowfast_ac.checkpoint.open import open_checkpoint

    checkpoint = open_checkpoint(args.file)
    if args.json:
        print(json.dumps(checkpoint.summary(), indent=2, default=str))
        return
    rows = [
        ("file", f"{checkpoint.path}, {checkpoint.file_size:,} bytes"),
        ("format", _format(checkpoint)),
        ("naming", _naming(checkpoint)),
        ("model", _model(checkpoint)),
        ("classes", checkpoint.num_classes),
        ("alpha", checkpoint.alpha),
        ("epoch", checkpoint.epoch),
        ("parameters", f"{checkpoint.num_parameters:,}"),
        ("config", "yes" if checkpoint.config else "no"),
    ]
    for name, value in rows:
        print(f"{name:12}{'not in the file' if value is None else value}")


def _format(checkpoint) -> str:
    if checkpoint.format == checkpoint.container:
        return checkpoint.format
    return f"{checkpoint.format} ({checkpoint.container})"


def _naming(checkpoint) -> str:
    naming = checkpoint.naming or "unknown"
    return f"{naming}, with the prefix {checkpoint.prefix}" if checkpoint.prefix else naming


def _model(checkpoint) -> str:
    if checkpoint.problem:
        return f"unknown ({checkpoint.problem})"
    return (
        f"{checkpoint.model}: {checkpoint.pathways} pathway{'s'[: checkpoint.pathways - 1]}, depth "
        f"{checkpoint.depth}, width {checkpoint.width}"
    )
