"""``slowfast-ac bench``: the cost of training, its data, inference and decoding, side by side."""

import argparse

from slowfast_ac.cli.arguments import add_opts, add_pyslowfast

WHAT = ("train", "loader", "infer", "scaling", "views", "decode")
NO_VIDEO = {"lengths": "generates no video"}
# Options that a measurement does not have, and why.
UNUSED = {
    "views": {
        "device": "runs where predict does",
        "batch": "takes one video",
        "crop": "takes the config's crop",
    },
    "decode": {
        "device": "runs on the CPU",
        "batch": "takes one video at a time",
        "crop": "returns whole frames",
    },
    "loader": {"only": "compares its rows, so it needs all", **NO_VIDEO},
    **dict.fromkeys(("train", "infer", "scaling"), NO_VIDEO),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("what", choices=WHAT, help="what to measure")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--cfg", help="config of the networks to measure (not used by decode)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda if there is one)")
    parser.add_argument("--batch", type=int, help="clips per step (default: 8)")
    parser.add_argument("--crop", type=int, help="clip height and width (default: the config's)")
    parser.add_argument(
        "--iterations",
        type=int,
        default=20,
        help="timed rounds (default: 20); 0 counts operations and bytes but times nothing",
    )
    parser.add_argument(
        "--warmup", type=int, default=3, help="untimed rounds before them (default: 3)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="only these rows and the first; for scaling, only these axes",
    )
    parser.add_argument(
        "--threads", type=int, help="torch's threads on a CPU (default: torch's own)"
    )
    parser.add_argument(
        "--lengths",
        type=float,
        nargs="+",
        metavar="SECONDS",
        help="lengths of the videos for decode (default: 10 60 300) or for views (default: 10)",
    )
    add_pyslowfast(parser)
    add_opts(parser)


def main(args: argparse.Namespace) -> None:
    """Measures, prints the table and writes it."""
    from pathlib import Path

    import torch

    from slowfast_ac.benchmark.loader import draw_loader
    from slowfast_ac.benchmark.results import describe_machine, draw_ratios, write_bench
    from slowfast_ac.benchmark.scaling import draw_scaling

    _check(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    output = Path(args.output)
    measures = {"decode": _decode, "views": _views, "loader": _loader}
    device, about, rows = measures.get(args.what, _networks)(args, output)
    draw = {"scaling": draw_scaling, "loader": draw_loader}.get(args.what, draw_ratios)
    about = describe_machine(device) | about
    path = write_bench(output, f"slowfast-ac bench {args.what}", about, rows, draw)
    print(path.read_text(encoding="utf-8"))
    print(f"written to {path}")


def _check(args: argparse.Namespace) -> None:
    from slowfast_ac.errors import InputError
    from slowfast_ac.files import check_folder

    for name, reason in UNUSED.get(args.what, {}).items():
        if getattr(args, name) is not None:
            raise InputError(f"--{name}: bench {args.what} {reason}; leave it out")
    args.batch = 8 if args.batch is None else args.batch
    check_folder(args.output, "--output")
    for name, least in (("batch", 1), ("iterations", 0), ("warmup", 0), ("threads", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: {value} is less than {least}")
    if args.what in ("views", "decode", "loader") and not args.iterations:
        raise InputError(f"--iterations: bench {args.what} counts nothing; give at least 1")
    args.lengths = args.lengths or ([10, 60, 300] if args.what == "decode" else [10])
    if min(args.lengths) <= 0:
        raise InputError(f"--lengths: {min(args.lengths):g} s is not positive")
    if args.what == "views" and len(args.lengths) > 1:
        raise InputError(f"--lengths: bench views takes one video, not {len(args.lengths)}")
    for key in ("TRAIN.BATCH_SIZE", "TEST.BATCH_SIZE"):
        if key in args.opts[::2]:
            raise InputError(f"--opts {key}: choose the clips per step with --batch")
    if args.what != "decode" and not args.cfg:
        raise InputError(
            f"--cfg: bench {args.what} needs a config, for example "
            "configs/Kinetics/Base-SLOWFAST_4x16_R50.yaml"
        )


def _settings(args: argparse.Namespace, device, crop: int):
    from slowfast_ac.benchmark.settings import Settings

    return Settings(
        device, args.batch, crop, args.iterations, args.warmup, only=tuple(args.only or ())
    )


def _decode(args: argparse.Namespace, output):
    import torch

    from slowfast_ac.benchmark.decode import bench_decode

    device = torch.device("cpu")
    rows = bench_decode(output, _settings(args, device, 0), lengths=args.lengths)
    return device, {}, rows


def _views(args: argparse.Namespace, output):
    from slowfast_ac.benchmark.networks import find_device
    from slowfast_ac.benchmark.views import VIEWS, bench_views

    cfg, about = _load(args)
    device, crop = find_device(None), cfg.DATA.TEST_CROP_SIZE
    rows = bench_views(cfg, output, _settings(args, device, crop), seconds=args.lengths[0])
    return device, about | {"crop": crop, "views": str(VIEWS)}, rows


def _loader(args: argparse.Namespace, output):
    from slowfast_ac.benchmark.loader import bench_loader, verdict
    from slowfast_ac.benchmark.networks import find_device
    from slowfast_ac.pyslowfast.checks import check_data

    cfg, about = _load(args)
    cfg.merge_from_list(["TRAIN.BATCH_SIZE", args.batch, "TEST.ENABLE", False])
    if args.crop:
        cfg.DATA.TRAIN_CROP_SIZE = args.crop
    check_data(cfg)
    device = find_device(args.device)
    rows = bench_loader(cfg, _settings(args, device, cfg.DATA.TRAIN_CROP_SIZE))
    about |= {"batch": args.batch, "crop": cfg.DATA.TRAIN_CROP_SIZE, "times": "of one clip"}
    return device, about | verdict(rows, cfg.DATA_LOADER.NUM_WORKERS), rows


def _networks(args: argparse.Namespace, output):
    import importlib

    from slowfast_ac.benchmark.networks import find_device
    from slowfast_ac.cam import STRIDE
    from slowfast_ac.errors import InputError

    cfg, about = _load(args)
    device = find_device(args.device)
    training = args.what != "infer"
    crop = args.crop or (cfg.DATA.TRAIN_CROP_SIZE if training else cfg.DATA.TEST_CROP_SIZE)
    if crop % STRIDE:
        raise InputError(f"--crop: {crop} is not a multiple of the network's stride of {STRIDE}")
    if not training and crop < cfg.DATA.TRAIN_CROP_SIZE:
        raise InputError(
            f"--crop: {crop} is smaller than DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}, "
            "and the head pools windows of that size"
        )
    module = importlib.import_module(f"slowfast_ac.benchmark.{args.what}")
    rows = getattr(module, f"bench_{args.what}")(cfg, _settings(args, device, crop))
    about |= {
        "batch": args.batch,
        "crop": crop,
        "memory format": cfg.COMPUTE.MEMORY_FORMAT,
        "precision": cfg.COMPUTE.PRECISION,
    }
    return device, about, rows


def _load(args: argparse.Namespace):
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.compute import check_compute
    from slowfast_ac.pyslowfast.config_file import load_config

    upstream = setup(args.pyslowfast)
    cfg = load_config(args.cfg, args.opts)
    check_compute(cfg)
    about = {
        "PySlowFast": f"{upstream.kind} {upstream.version}",
        "config": args.cfg,
        "frames": cfg.DATA.NUM_FRAMES,
        "alpha": cfg.SLOWFAST.ALPHA,
        "iterations": args.iterations,
    }
    return cfg, about
