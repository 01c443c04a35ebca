"""``slowfast-ac heatmap``: draws where a network looks in a video, stream by stream."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from slowfast_ac.cli.arguments import add_opts, add_pyslowfast
from slowfast_ac.cli.predict import add_classes_argument, add_weights_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files")
    parser.add_argument("--checkpoint", required=True, help="any kind that `inspect` recognises")
    parser.add_argument("--cfg", help="config of the weights (default: the one inside the file)")
    add_weights_argument(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--class",
        dest="class_",
        default="predicted",
        metavar="CLASS",
        help="class of the maps: a name, a number, predicted (default) or true",
    )
    add_classes_argument(parser)
    parser.add_argument(
        "--list",
        metavar="CSV",
        help="list with the videos' true classes (default: the json next to each video)",
    )
    parser.add_argument(
        "--against", metavar="CHECKPOINT", help="second network, drawn below the first"
    )
    parser.add_argument(
        "--against-cfg", metavar="CFG", help="its config (default: the one inside the file)"
    )
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        help="sizes of the clip that the spatial map averages, 1.0 first (default: only 1.0)",
    )
    add_pyslowfast(parser, "checkout, for networks that only PySlowFast builds")
    add_opts(parser)


def main(args: argparse.Namespace) -> int:
    """Writes each video's strip, overlay video and maps; the exit status is 1 if one failed."""
    import sys

    from tqdm import tqdm

    from slowfast_ac.data.find_videos import distinct_stems
    from slowfast_ac.data.lists import list_format, read_list
    from slowfast_ac.errors import InputError
    from slowfast_ac.files import check_folder, require_other_folder
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.scam_head import check_scales
    from slowfast_ac.visualization.annotation import read_annotation
    from slowfast_ac.visualization.classes import (
        check_class,
        choose_class,
        parse_class,
        same_classes,
        true_class,
    )
    from slowfast_ac.visualization.files import describe, write_heatmaps
    from slowfast_ac.visualization.heatmap import heatmap

    check_scales(args.scales)
    if args.against_cfg and not args.against:
        raise InputError("--against-cfg: give the network with --against, too")
    check_folder(args.output, "--output")
    require_other_folder(args.output, args.videos)
    files = [(args.checkpoint, args.cfg, args.weights)]
    if args.against:
        files.append((args.against, args.against_cfg, None))
    options = {"opts": args.opts, "classes": args.classes, "pyslowfast": args.pyslowfast}
    models = [
        load_model(path, config=config, weights=weights, **options)
        for path, config, weights in files
    ]
    networks = [model.require_network("draw maps of") for model in models]
    for model in models[1:]:
        if not same_classes(models[0], model):
            raise InputError(
                f"--against: {model.path} has other classes, or the same in another order, than "
                f"{models[0].path}"
            )
    by_number = dict(enumerate(models[0].classes or ()))
    choice = parse_class(args.class_, {name: number for number, name in by_number.items()})
    check_class(choice, models[0].num_classes)
    entries = read_list(args.list, **list_format(models[0].config)) if args.list else []
    names = distinct_names([model.name for model in models], [model.path for model in models])
    sources = {
        name: {"config": config or path, "checkpoint": path, "scales": args.scales}
        for name, (path, config, _) in zip(names, files, strict=True)
    }
    stems = distinct_stems(args.videos)
    failed = False
    progress = tqdm(args.videos, unit="video", file=sys.stderr, disable=None)
    for video, stem in zip(progress, stems, strict=True):
        try:
            annotation = read_annotation(video)
            label = true_class(video, annotation, entries)
            class_id = choose_class(choice, video, label)
            heatmaps = {}
            for name, network, model in zip(names, networks, models, strict=True):
                heatmaps[name] = heatmap(
                    network, video, model.preprocessing, class_id, scales=args.scales
                )
                # The second network shows the same class.
                class_id = heatmaps[name].class_id
        except InputError as error:
            failed = True
            tqdm.write(f"slowfast-ac: {error}", file=sys.stderr)
            continue
        boxes = None
        if annotation is not None:
            boxes = annotation.boxes_at(heatmaps[names[0]].clip.times)
        written = write_heatmaps(
            args.output,
            stem,
            video,
            heatmaps,
            classes=by_number,
            true_class=label,
            boxes=boxes,
            sources=sources,
        )
        tqdm.write(f"{written[0]}: {describe(heatmaps, by_number, label)}")
    return 1 if failed else 0


def distinct_names(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Returns short names for networks: their models' or, if these are the same, their files'.

    A file is named by the first folder, or the file name, in which the paths differ.
    """
    if len(set(names)) == len(names):
        return list(names)
    files = [Path(path).resolve() for path in paths]
    common = os.path.commonpath([file.parent for file in files])
    names = [file.relative_to(common).parts[0].removesuffix(file.suffix) for file in files]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]
