"""``slowfast-ac features``: writes a network's features of videos, as npy files or a table."""

import argparse

from slowfast_ac.cli.predict import add_input_arguments, add_window_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_input_arguments(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder for the results, or FILE.parquet for one table of all windows",
    )
    parser.add_argument(
        "--stream", choices=["slow", "fast", "both"], default="both", help="default: both"
    )
    parser.add_argument(
        "--maps", action="store_true", help="keep frames and positions (default: average over them)"
    )
    add_window_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Writes each video's features; the exit status is 1 if a video could not be read."""
    import math
    import sys
    from pathlib import Path

    from tqdm import tqdm

    from slowfast_ac.checkpoint.open import local_path
    from slowfast_ac.cli.arguments import chosen_videos, finish
    from slowfast_ac.data.find_videos import distinct_stems
    from slowfast_ac.errors import InputError
    from slowfast_ac.files import (
        check_folder,
        check_suffix,
        require_other_folder,
        sha256,
        write_json_lines,
        write_parquet,
    )
    from slowfast_ac.inference.config import network_settings
    from slowfast_ac.inference.features import (
        check_stream,
        extract_features,
        has_features,
        table_rows,
        write_features,
    )
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.inference.windows import check_windows
    from slowfast_ac.journal import Journal
    from slowfast_ac.ranks import this_rank

    table = Path(args.output).suffix == ".parquet"
    if table:
        check_suffix(args.output, [".parquet"])
        if args.maps:
            raise InputError(f"--maps: {args.output} cannot hold maps; give a folder to --output")
    check_folder(Path(args.output).parent if table else args.output, "--output")
    videos = chosen_videos(args)
    if not table:
        require_other_folder(args.output, videos)
    rank = this_rank()
    model = load_model(
        args.checkpoint,
        config=args.cfg,
        weights=args.weights,
        device=rank.device(),
        trust=args.trust,
    )
    streams = check_stream(model, args.stream)
    check_windows(model.preprocessing, args.window, args.stride)
    # A clip of the whole video has no length of its own.
    clip = model.preprocessing.seconds if math.isfinite(model.preprocessing.seconds) else None
    window = args.window or clip
    settings = {
        "checkpoint": args.checkpoint,
        "sha256": sha256(local_path(model.path)),
        "weights": args.weights,
        "network": network_settings(model.config),
        "preprocessing": model.preprocessing.to_dict(),
        "stream": args.stream,
        "maps": args.maps,
        "window": window,
        "stride": args.stride or window,
    }
    journal = Journal(args.output if table else Path(args.output) / "videos.jsonl", settings, rank)
    # A table is made from the same files, which are then removed.
    folder = journal.folder / "features" if table else Path(args.output)
    stems = dict(zip(videos, distinct_stems(videos), strict=True))
    # Other videos in the list than before can change the names of the files.
    journal.forget(
        lambda entry: (
            "files" in entry
            and entry["video"] in stems
            and not has_features(folder, stems[entry["video"]], entry["video"], settings)
        )
    )
    for video in journal.todo(videos):
        if has_features(folder, stems[video], video, settings):
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
        write_features(folder, stem, video, settings, features)
        journal.add({"video": video, "files": stem})
        shapes = [f"{name} {list(array.shape)}" for name, array in features.streams.items()]
        progress.write(f"{folder}/{stem}: {', '.join(shapes)}", file=sys.stdout)

    def write(entries) -> None:
        if not table:
            named = (
                {**entry, "files": stems[entry["video"]]} if "files" in entry else entry
                for entry in entries
            )
            write_json_lines(journal.output, named)
            return
        columns = {"video": "string", "start": "double", "end": "double"}
        columns |= dict.fromkeys(streams, "list<float>")
        rows = (
            row
            for entry in entries
            if "error" not in entry
            for row in table_rows(folder, stems[entry["video"]])
        )
        write_parquet(journal.output, columns, rows)

    return finish(journal, videos, write, rank)
