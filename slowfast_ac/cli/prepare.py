"""``slowfast-ac prepare``: writes lists, class map and config from a data set's annotations."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-command per data set."""
    datasets = parser.add_subparsers(dest="dataset", metavar="DATASET", required=True)

    kinetics = _add(datasets, "kinetics", "Kinetics, with its official csv files")
    kinetics.add_argument(
        "--annotations", nargs="+", required=True, metavar="CSV", help="train.csv val.csv ..."
    )
    _add_classes(kinetics)

    ucf101 = _add(datasets, "ucf101", "UCF101, with its official ucfTrainTestlist folder")
    hmdb51 = _add(datasets, "hmdb51", "HMDB51, with its testTrainMulti_7030_splits folder")
    for dataset in (ucf101, hmdb51):
        dataset.add_argument("--annotations", required=True, metavar="FOLDER", help="the splits")
        dataset.add_argument("--split", choices=("1", "2", "3", "all"), default="1")

    folder = _add(datasets, "folder", "a folder per class, or train/ val/ test/ with such folders")
    folder.add_argument("--val-fraction", type=float, default=0.2, metavar="F", help="default 0.2")
    folder.add_argument(
        "--test-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="default 0: test on the validation videos",
    )
    folder.add_argument("--seed", type=int, default=0, help="seed of the split (default 0)")
    _add_classes(folder)


def main(args: argparse.Namespace) -> None:
    """Prepares the data set and prints the report."""
    from slowfast_ac.cli.arguments import tell_unfinished
    from slowfast_ac.data.datasets import splits
    from slowfast_ac.data.datasets.prepare import prepare
    from slowfast_ac.ranks import this_rank

    if args.dataset == "kinetics":
        dataset = splits.kinetics(args.videos, args.annotations, args.classes)
    elif args.dataset == "folder":
        dataset = splits.class_folders(
            args.videos, args.val_fraction, args.test_fraction, args.seed, args.classes
        )
    else:
        read = {"ucf101": splits.ucf101, "hmdb51": splits.hmdb51}[args.dataset]
        numbers = (1, 2, 3) if args.split == "all" else (int(args.split),)
        dataset = read(args.videos, args.annotations, numbers)
    rank = this_rank()
    report = prepare(
        dataset, args.output, args.base, args.resize, args.workers, args.overwrite, rank
    )
    if report is None:
        tell_unfinished(rank, args.output)
    else:
        print(report)


def _add(datasets, name: str, summary: str) -> argparse.ArgumentParser:
    parser = datasets.add_parser(name, help=summary, description=summary)
    parser.add_argument("videos", metavar="VIDEO_DIR", help="folder of the videos; never changed")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for all results")
    parser.add_argument("--base", metavar="CONFIG.yaml", help="config that the new one builds on")
    parser.add_argument(
        "--resize", type=int, metavar="PIXELS", help="re-encode to this short side, such as 256"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: CPU cores)")
    parser.add_argument("--overwrite", action="store_true", help="replace different old results")
    return parser


def _add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", metavar="FILE", help="class map to follow (default: sorted class names)"
    )
