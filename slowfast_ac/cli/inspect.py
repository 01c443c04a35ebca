"""``slowfast-ac inspect``: prints what a checkpoint is, judged by its content."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("file", help="a checkpoint: PySlowFast, PyTorchVideo, caffe2, safetensors")
    parser.add_argument("--json", action="store_true", help="print JSON, including the config")


def main(args: argparse.Namespace) -> None:
    """Prints what is in the file, network by network."""
    import json

    from slowfast_ac.checkpoint.open import open_all

    checkpoints = open_all(args.file)
    if args.json:
        summaries = [checkpoint.summary() for checkpoint in checkpoints]
        data = summaries[0] if len(summaries) == 1 else summaries
        print(json.dumps(data, indent=2, default=str))
        return
    for checkpoint in checkpoints:
        if checkpoint is not checkpoints[0]:
            print()
        _print(checkpoint, several=len(checkpoints) > 1)


def _print(checkpoint, several: bool) -> None:
    rows: list[tuple[str, object]] = [
        ("file", f"{checkpoint.path}, {checkpoint.file_size:,} bytes")
    ]
    if several:
        rows.append(("weights", f"{checkpoint.weights} (choose with --weights)"))
    rows += [
        ("format", _format(checkpoint)),
        ("naming", _naming(checkpoint)),
        ("model", _model(checkpoint)),
        ("classes", _classes(checkpoint)),
        ("alpha", checkpoint.alpha),
        ("epoch", checkpoint.epoch),
        ("parameters", f"{checkpoint.num_parameters:,}"),
        ("config", "yes" if checkpoint.config else "no"),
    ]
    if checkpoint.aside:
        more = f" and {len(checkpoint.aside) - 1} others" if checkpoint.aside[1:] else ""
        rows.append(("left aside", f"{checkpoint.aside[0]}{more}"))
    for name, value in rows:
        print(f"{name:12}{'not in the file' if value is None else value}")


def _classes(checkpoint) -> object:
    if checkpoint.num_classes is None or "classes" not in checkpoint.texts:
        return checkpoint.num_classes
    return f"{checkpoint.num_classes}, with their names"


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
