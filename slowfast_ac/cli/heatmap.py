"""``slowfast-ac heatmap``: where a network looks in a video, stream by stream."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files")
    parser.add_argument("--cfg", required=True, help="config that the checkpoint was trained with")
    parser.add_argument("--checkpoint", required=True, help="weights, PySlowFast's .pyth")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--class",
        dest="class_",
        default="predicted",
        metavar="CLASS",
        help="whose maps: a name (with --classes), a number, predicted (default) or true",
    )
    parser.add_argument("--classes", metavar="JSON", help='class map, {"name": number, ...}')
    parser.add_argument(
        "--list",
        metavar="CSV",
        help="list with the videos' true classes; else the json beside a video says it",
    )
    parser.add_argument("--against", metavar="CHECKPOINT", help="second network, drawn beneath")
    parser.add_argument("--against-cfg", metavar="CFG", help="its config (default: --cfg)")
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        help="sizes of the clip that the spatial map averages, 1.0 first (default: 1.0 alone)",
    )
    parser.add_argument("--pyslowfast", metavar="PATH", help="checkout (default: PYSLOWFAST_ROOT)")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, the last argument"
    )


def main(args: argparse.Namespace) -> int:
    """Writes each video's strip, overlay video and raw maps; 1 if one could not be drawn."""
    import sys

    from tqdm import tqdm

    from slowfast_ac.data.find_videos import distinct_stems
    from slowfast_ac.data.lists import read_class_map, read_list
    from slowfast_ac.errors import InputError
    from slowfast_ac.inference.trained_model import distinct_names, load_trained
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.config_file import load_config
    from slowfast_ac.scam_head import check_scales
    from slowfast_ac.visualization.annotation import read_annotation
    from slowfast_ac.visualization.classes import (
        check_class,
        choose_class,
        parse_class,
        true_class,
    )
    from slowfast_ac.visualization.files import describe, write_heatmaps
    from slowfast_ac.visualization.heatmap import heatmap

    setup(args.pyslowfast)
    paths = [args.cfg, args.against_cfg or args.cfg][: 2 if args.against else 1]
    checkpoints = [args.checkpoint, args.against][: len(paths)]
    configs = [load_config(path, args.opts) for path in paths]
    classes = read_class_map(args.classes) if args.classes else {}
    choice = parse_class(args.class_, classes)
    check_class(choice, min(cfg.MODEL.NUM_CLASSES for cfg in configs))
    check_scales(args.scales)
    separator = configs[0].DATA.get("PATH_LABEL_SEPARATOR", " ")
    entries = read_list(args.list, separator, configs[0].DATA.PATH_PREFIX) if args.list else []
    names = distinct_names(configs, checkpoints)
    networks = [load_trained(*pair) for pair in zip(configs, checkpoints, strict=True)]
    sources = {
        name: {"config": path, "checkpoint": checkpoint, "scales": args.scales}
        for name, path, checkpoint in zip(names, paths, checkpoints, strict=True)
    }
    stems = distinct_stems(args.videos)
    failed = False
    for video, stem in zip(tqdm(args.videos, unit="video", file=sys.stderr), stems, strict=True):
        try:
            annotation = read_annotation(video)
            label = true_class(video, annotation, entries)
            class_id = choose_class(choice, video, label)
            heatmaps = {}
            for name, network in zip(names, networks, strict=True):
                heatmaps[name] = heatmap(
                    network.model, video, network.preprocessing, class_id, scales=args.scales
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
        by_number = {number: name for name, number in classes.items()}
        files = write_heatmaps(
            args.output,
            stem,
            video,
            heatmaps,
            classes=by_number,
            true_class=label,
            boxes=boxes,
            sources=sources,
        )
        tqdm.write(f"{files[0]}: {describe(heatmaps, by_number, label)}")
    return 1 if failed else 0
