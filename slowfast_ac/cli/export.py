"""``slowfast-ac export``: writes a trained network as a file or a folder for others."""

import argparse

from slowfast_ac.cli.arguments import add_opts, add_pyslowfast
from slowfast_ac.cli.predict import add_classes_argument, add_weights_argument

FORMATS = ("pyslowfast", "pytorchvideo", "safetensors", "huggingface", "onnx", "pt2", "openvino")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("--checkpoint", required=True, help="any kind that `inspect` recognises")
    parser.add_argument("--cfg", help="config of the weights (default: the one inside the file)")
    add_weights_argument(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="weights (first three), a folder for HuggingFace's Hub, or a program from clips to "
        "scores, with BatchNorm folded",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="of a program's convolutions: bfloat16 in pt2 and openvino, int8 in openvino",
    )
    parser.add_argument(
        "--calibrate",
        metavar="LIST_OR_FOLDER",
        help="for int8, videos like those to predict later: a list as for predict, or a folder",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="the file to write; for huggingface a folder",
    )
    add_classes_argument(parser)
    parser.add_argument(
        "--accuracy", metavar="KEY=VALUE,...", help="for the card: top1=70.1,top5=89.2,data=UCF101"
    )
    parser.add_argument(
        "--run-dir", metavar="DIR", help="for the card: top1 and top5 of the run in this folder"
    )
    add_pyslowfast(parser, "checkout, for networks that only PySlowFast builds")
    add_opts(parser)


def main(args: argparse.Namespace) -> None:
    """Writes the file or the folder, and prints what was measured."""
    from pathlib import Path

    import torch

    from slowfast_ac.errors import InputError
    from slowfast_ac.inference.export import check_format, check_precision, export
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.inference.model_card import check_accuracy, parse_accuracy, read_accuracy
    from slowfast_ac.inference.pretrained import save_pretrained
    from slowfast_ac.inference.programs.quantize import quantize
    from slowfast_ac.inference.programs.write import BATCH_SIZES, TIMED_PAIRS, TOLERANCE

    # The cheap checks come before the network is built.
    check_precision(args.format, args.precision)
    if (args.precision == "int8") != bool(args.calibrate):
        raise InputError("--calibrate: give a list or a folder with int8, and only with int8")
    videos = _calibration_videos(args.calibrate) if args.calibrate else []
    if args.format != "huggingface":
        check_format(args.format, args.output)
        if args.accuracy or args.run_dir:
            raise InputError("--accuracy and --run-dir are for the card of --format huggingface")
    accuracy = {
        **(read_accuracy(args.run_dir) if args.run_dir else {}),
        **(parse_accuracy(args.accuracy) if args.accuracy else {}),
    }
    check_accuracy(accuracy)
    model = load_model(
        args.checkpoint,
        config=args.cfg,
        opts=args.opts,
        classes=args.classes,
        weights=args.weights,
        device="cpu",
        pyslowfast=args.pyslowfast,
    )
    if args.format == "huggingface":
        folder = save_pretrained(model, args.output, accuracy=accuracy)
        print(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
        return
    quantized = quantize(model, videos) if videos else None
    if quantized is not None:
        print(_describe_quantized(quantized))
    report = export(model, args.format, args.output, args.precision, quantized)
    print(f"wrote {args.output}, {_size(Path(args.output)):,} bytes")
    if report is not None:
        reference = "the network's in int8" if quantized else "eager PyTorch"
        sizes = " and ".join(map(str, BATCH_SIZES))
        print(
            f"scores differ from {reference} by {report.max_difference:.1e} at most (batches of "
            f"{sizes}, allowed {TOLERANCE[args.precision]:g})"
        )
        print(
            f"latency {report.latency_ratio:.2f} of eager PyTorch (1 clip, CPU, "
            f"{torch.get_num_threads()} threads, median of {TIMED_PAIRS} pairs)"
        )


def _calibration_videos(path: str) -> list[str]:
    import os

    from slowfast_ac.data.find_videos import find_videos, read_video_list

    return find_videos([path]) if os.path.isdir(path) else read_video_list(path)


def _describe_quantized(quantized) -> str:
    others = "other" if quantized.held_out else "the same"
    return (
        f"int8, calibrated on {quantized.calibrated} videos; on {quantized.compared} {others} "
        f"videos (one view each) {quantized.changed} answers changed; scores moved by "
        f"{quantized.mean_difference:.2g} (mean of each video's largest), "
        f"{quantized.max_difference:.2g} at most"
    )


def _size(path) -> int:
    from slowfast_ac.inference.programs.openvino import WEIGHTS

    beside = path.with_suffix(WEIGHTS)
    return path.stat().st_size + (beside.stat().st_size if path.suffix == ".xml" else 0)
