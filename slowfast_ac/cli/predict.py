"""``slowfast-ac predict``: names the actions in videos."""

import argparse

from slowfast_ac.cli.arguments import RenamedFlag

# With fewer views, the conversion for OpenVINO takes longer than it saves (docs/BENCH.md).
FEWEST_VIEWS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_input_arguments(parser)
    add_classes_argument(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes shown (default 5)")
    views = parser.add_mutually_exclusive_group()
    views.add_argument(
        "--views",
        metavar="CLIPSxCROPS",
        help="views to average, with 1 or 3 crops (default 10x3, as in PySlowFast's test; with "
        "--stream a single view)",
    )
    views.add_argument(
        *("--single-view", "--fast"),
        action=RenamedFlag,
        help="one view, the centre crop of the middle clip (--fast is the old name)",
    )
    add_window_arguments(parser)
    parser.add_argument(
        "--stream",
        metavar="SOURCE",
        help="answer while SOURCE runs: a URL (rtsp, http, tcp, ...), a camera such as "
        "/dev/video0, a named pipe, a file, or - for standard input",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the convolutions (default float32); bfloat16 changes scores slightly",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the network first; takes up to a minute and needs a C++ compiler",
    )
    parser.add_argument(
        "--backend",
        choices=("torch", "openvino"),
        help="runtime for weights on a CPU (default: openvino for many views, if it is installed)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="results for programs: .json, .csv, .jsonl or .parquet; run again to continue a "
        "stopped command",
    )
    parser.add_argument(
        "--heatmap", metavar="DIR", help="also draw where the network looks for the best class"
    )
    parser.add_argument(
        "--timeline",
        metavar="DIR",
        help="also draw the scores over time; needs --window or --stride",
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments for the network and the videos."""
    parser.add_argument("checkpoint", help="weights, or a program that `export` wrote")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="video files, folders or globs")
    parser.add_argument(
        "--list", metavar="FILE", help="a list of videos: PySlowFast's, or one path per line"
    )
    parser.add_argument("--cfg", help="config of the weights (default: the one inside the file)")
    parser.add_argument(
        "--trust", action="store_true", help="open a .pt2 file, which can run any code"
    )
    add_weights_argument(parser)


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that chooses one of several networks in a file."""
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="which weights to use if a file has several (raw and averaged); see inspect",
    )


def add_classes_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that names the classes."""
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help='class map: {"name": number}, id2label or a list in JSON, or one name per line',
    )


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of sliding windows."""
    parser.add_argument(
        "--window", type=float, metavar="SECONDS", help="length of a sliding window"
    )
    parser.add_argument(
        "--stride",
        type=float,
        metavar="SECONDS",
        help="time from window to window (default: --window)",
    )


def main(args: argparse.Namespace) -> int:
    """Predicts, prints a table, writes a file; the exit status is 1 if a video is unreadable."""
    import hashlib
    import os
    import sys
    from pathlib import Path

    from tqdm import tqdm

    from slowfast_ac.checkpoint.open import local_path
    from slowfast_ac.cli import predict_stream
    from slowfast_ac.cli.arguments import chosen_videos, finish
    from slowfast_ac.data.find_videos import distinct_stems
    from slowfast_ac.data.views import CENTER_VIEW
    from slowfast_ac.errors import InputError
    from slowfast_ac.files import check_folder, check_suffix, require_other_folder, sha256
    from slowfast_ac.inference.config import network_settings
    from slowfast_ac.inference.predict import predict
    from slowfast_ac.inference.prediction_files import (
        SUFFIXES,
        describe_predictions,
        format_predictions,
        write_predictions,
    )
    from slowfast_ac.inference.windows import check_windows
    from slowfast_ac.journal import Journal
    from slowfast_ac.ranks import this_rank
    from slowfast_ac.visualization.predictions import (
        check_has_maps,
        write_prediction_heatmaps,
    )
    from slowfast_ac.visualization.score_curves import draw_score_curves, leading_classes

    single = args.single_view or (args.stream and not args.views)
    views = CENTER_VIEW if single else parse_views(args.views or "10x3")
    if args.top < 1:
        raise InputError(f"--top: {args.top} is not positive")
    if args.stream:
        predict_stream.check_arguments(args)
        model, _ = _load(args, FEWEST_VIEWS, None)
        predict_stream.print_answers(args, model, views)
        return 0
    if args.timeline and args.window is None and args.stride is None:
        raise InputError("--timeline: give --window or --stride, the times between the scores")
    if args.output:
        check_suffix(args.output, SUFFIXES, "--output")
        check_folder(Path(args.output).parent, "--output")
    for name in ("heatmap", "timeline"):
        if getattr(args, name):
            check_folder(getattr(args, name), f"--{name}")
    rank = this_rank()
    if rank.world_size > 1 and not args.output:
        raise InputError(f"--output: needed, since this is {rank} and each prints its own videos")
    videos = chosen_videos(args)
    count = len(videos) * (views.clips or 1) * views.crops
    model, backend = _load(args, count, rank.device())
    check_windows(model.preprocessing, args.window, args.stride)
    if args.heatmap:
        check_has_maps(model)
        require_other_folder(args.heatmap, videos)
    journal = None
    if args.output:
        settings = {
            "checkpoint": model.path,
            "sha256": sha256(local_path(model.path)),
            "weights": args.weights,
            "classes": model.classes,
            "network": network_settings(model.config),
            "preprocessing": model.preprocessing.to_dict(),
            "views": str(views),
            "window": args.window,
            "stride": args.stride,
            "top": args.top,
            "precision": args.precision,
            "backend": backend,
        }
        if args.heatmap or args.timeline:
            # Drawn with the predictions, so not for videos that are done, and under names that
            # depend on the other videos.
            folders = (args.heatmap, args.timeline)
            settings["drawings"] = [folder and os.path.abspath(folder) for folder in folders]
            settings["drawn videos"] = hashlib.sha256(repr(videos).encode()).hexdigest()
        journal = Journal(args.output, settings, rank)
    windows = args.window is not None or args.stride is not None
    stems = dict(zip(videos, distinct_stems(videos, numbered=windows), strict=True))
    todo = journal.todo(videos) if journal else videos
    if journal and journal.done:
        print(f"{journal.folder}: {len(journal.done)} of {len(videos)} videos are done")
    unread = 0
    progress = tqdm(todo, unit="video", file=sys.stderr, disable=None if len(todo) > 1 else True)
    for video in progress:
        try:
            predictions = predict(model, video, views, window=args.window, stride=args.stride)
            text = format_predictions(model, video, predictions, args.top)
            progress.write(text, file=sys.stdout)
            if args.heatmap:
                for path in write_prediction_heatmaps(
                    args.heatmap, stems[video], video, model, predictions
                ):
                    progress.write(f"wrote {path}", file=sys.stdout)
            if args.timeline:
                picture = Path(args.timeline) / f"{stems[video]}.timeline.png"
                leading = leading_classes(predictions, args.top)
                draw_score_curves(picture, video, model, predictions, leading)
                progress.write(f"wrote {picture}", file=sys.stdout)
            entry = describe_predictions(model, video, predictions, args.top)
        except InputError as error:
            unread += 1
            entry = {"video": video, "error": str(error)}
            progress.write(f"slowfast-ac: {error}", file=sys.stderr)
        if journal:
            journal.add(entry)
    if journal is None:
        return 1 if unread else 0

    def write(entries) -> None:
        write_predictions(args.output, model.path, str(views), entries)

    return finish(journal, videos, write, rank)


def _load(args: argparse.Namespace, views: int, device):
    """Returns the network, and the backend that computes the ``views`` views."""
    from slowfast_ac.inference.load import load_model

    backend = args.backend or _choose_backend(args, views, device)
    model = load_model(
        args.checkpoint,
        config=args.cfg,
        classes=args.classes,
        weights=args.weights,
        device=device,
        trust=args.trust,
        precision=args.precision,
        compile=args.compile,
        backend=backend,
    )
    return model, backend


def _choose_backend(args: argparse.Namespace, views: int, device) -> str:
    """Returns openvino if it is installed and saves more time than its conversion takes."""
    import sys
    from importlib.util import find_spec

    import torch

    from slowfast_ac.inference.load import is_program

    on_cpu = device is None and not torch.cuda.is_available()
    many = views >= FEWEST_VIEWS or args.window or args.stride
    if (
        not (on_cpu and many and find_spec("openvino"))
        or args.compile
        or is_program(args.checkpoint)
    ):
        return "torch"
    print("computed by OpenVINO, which takes seconds to start; see --backend", file=sys.stderr)
    return "openvino"


def parse_views(text: str):
    """Returns the views that ``--views`` names.

    Raises:
        InputError: if it names none.
    """
    import re

    from slowfast_ac.data.views import Views
    from slowfast_ac.errors import InputError

    numbers = re.fullmatch(r"(\d+)x(\d+)", text)
    if not numbers:
        raise InputError(f"--views: {text!r}; give CLIPSxCROPS, such as 10x3 or 4x1")
    return Views(int(numbers[1]), int(numbers[2]))
