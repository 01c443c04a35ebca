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

    from tqdm import tqdm

    from slowfast_ac.data.find_videos import distinct_stems, find_videos
    from slowfast_ac.errors import InputError
    from slowfast_ac.inference.features import check_stream, extract_features, write_features
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.inference.windows import check_windows

    videos = find_videos(args.videos)
    model = load_model(args.checkpoint, config=args.cfg, weights=args.weights, trust=args.trust)
    check_stream(model, args.stream)
    check_windows(model.preprocessing, args.window, args.stride)
    failed = False
    progress = tqdm(videos, unit="video", file=sys.stderr, disable=len(videos) == 1)
    for video, stem in zip(progress, distinct_stems(videos), strict=True):
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
            failed = True
            progress.write(f"slowfast-ac: {error}", file=sys.stderr)
            continue
        write_features(args.output, stem, video, args.checkpoint, features)
        shapes = [f"{name} {list(array.shape)}" for name, array in features.streams.items()]
        progress.write(f"{args.output}/{stem}: {', '.join(shapes)}", file=sys.stdout)
    return 1 if failed else 0
