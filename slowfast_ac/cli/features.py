"""``slowfast-ac features``: a trained network's features of videos, as npy files."""

import argparse

from slowfast_ac.cli.predict import add_input_arguments, add_window_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_input_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--stream", choices=["slow", "fast", "both"], default="both", help="default: both"
    )
    parser.add_argument(
        "--maps", action="store_true", help="keep frames and positions; default: their average"
    )
    add_window_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Writes each video's features and their times; 1 if a video could not be read."""
    import sys
    from pathlib import Path

    from tqdm import tqdm

    from slowfast_ac.checkpoint.open import local_path
    from slowfast_ac.cli.arguments import chosen_videos, finish
    from slowfast_ac.data.find_videos import distinct_stems
    from slowfast_ac.errors import InputError
    from slowfast_ac.files import sha256, write_json_lines
    from slowfast_ac.inference.features import (
        check_stream,
        extract_features,
        has_features,
        write_features,
    )
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.inference.windows import check_windows
    from slowfast_ac.journal import Journal
    from slowfast_ac.ranks import this_rank

    videos = chosen_videos(args)
    rank = this_rank()
    model = load_model(
        args.checkpoint,
        config=args.cfg,
        weights=args.weights,
        device=rank.device(),
        trust=args.trust,
    )
    check_stream(model, args.stream)
    check_windows(model.preprocessing, args.window, args.stride)
    settings = {
        "checkpoint": args.checkpoint,
        "sha256": sha256(local_path(model.path)),
        "weights": args.weights,
        "preprocessing": model.preprocessing.to_dict(),
        "stream": args.stream,
        "maps": args.maps,
        "window": args.window,
        "stride": args.stride,
    }
    journal = Journal(Path(args.output) / "videos.jsonl", settings, rank)
    stems = dict(zip(videos, distinct_stems(videos), strict=True))
    for video in journal.todo(videos):
        if has_features(args.output, stems[video], video, settings):
            journal.add({"video": video, "files": stems[video]})
    todo = journal.todo(videos)
    if journal.done:
        print(f"{args.output}: {len(journal.done)} of {len(videos)} videos are done")
    progress = tqdm(todo, unit="video", file=sys.stderr, disable=None if len(todo) > 1 else True)
    for video in progress:
        stem = stems[video]
        try:
            features = extract_features(
                model,
                video,
                stream=args.stream,
                maps=args.maps,
                window=args.window,
                stride=args.stride,
            )
        except InputError as error:
            journal.add({"video": video, "error": str(error)})
            progress.write(f"slowfast-ac: {error}", file=sys.stderr)
            continue
        write_features(args.output, stem, video, settings, features)
        journal.add({"video": video, "files": stem})
        shapes = [f"{name} {list(array.shape)}" for name, array in features.streams.items()]
        progress.write(f"{args.output}/{stem}: {', '.join(shapes)}", file=sys.stdout)
    return finish(journal, videos, lambda rows: write_json_lines(journal.output, rows), rank)
