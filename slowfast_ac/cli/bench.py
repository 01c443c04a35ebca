"""``slowfast-ac bench``: what training, inference and decoding cost, side by side."""

import argparse

# What compares networks -> the function of slowfast_ac.benchmark that does it.
_NETWORKS = {"train": "bench_train", "infer": "bench_infer", "scaling": "bench_scaling"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("what", choices=(*_NETWORKS, "views", "decode"), help="what to measure")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--cfg", help="config; its networks are compared, or predict (not of decode)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    parser.add_argument("--batch", type=int, default=8, help="clips a step (default: 8)")
    parser.add_argument("--crop", type=int, help="side of a clip (default: the config's)")
    parser.add_argument(
        "--iterations",
        type=int,
        default=20,
        help="timed rounds (default: 20); 0 counts operations and bytes and times nothing",
    )
    parser.add_argument("--warmup", type=int, default=3, help="rounds before (default: 3)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="these rows and the first; of scaling, these axes",
    )
    parser.add_argument("--threads", type=int, help="of torch on a CPU (default: torch's own)")
    parser.add_argument(
        "--lengths",
        type=float,
        nargs="+",
        metavar="SECONDS",
        help="videos to decode (default: 10 60 300), or the one to predict (views, default: 10)",
    )
    parser.add_argument("--pyslowfast", metavar="PATH", help="checkout (default: PYSLOWFAST_ROOT)")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, the last argument"
    )


def main(args: argparse.Namespace) -> None:
    """Measures, prints the table and writes it."""
    from pathlib import Path

    import torch

    from slowfast_ac.benchmark.results import write_bench
    from slowfast_ac.errors import InputError

    for name, least in (("batch", 1), ("iterations", 0), ("warmup", 0), ("threads", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: {value} is less than {least}")
    if args.threads:
        torch.set_num_threads(args.threads)
    output = Path(args.output)
    if args.what in ("views", "decode") and not args.iterations:
        raise InputError(f"--iterations: bench {args.what} counts nothing; give at least 1")
    measure = {"decode": _bench_decode, "views": _bench_views}.get(args.what, _bench_networks)
    settings, rows = measure(args, output)
    draw = None
    if args.what == "scaling":
        from slowfast_ac.benchmark.scaling import draw_scaling as draw
    path = write_bench(output, f"slowfast-ac bench {args.what}", settings, rows, draw)
    print(path.read_text(encoding="utf-8"))
    print(f"written to {path}")


def _bench_decode(args: argparse.Namespace, output) -> tuple[dict, list[dict]]:
    import torch

    from slowfast_ac.benchmark.decode import bench_decode
    from slowfast_ac.benchmark.results import describe_machine

    rows = bench_decode(
        output,
        lengths=_lengths(args, [10, 60, 300]),
        iterations=args.iterations,
        warmup=args.warmup,
        only=args.only,
    )
    return describe_machine(torch.device("cpu")), rows


def _bench_views(args: argparse.Namespace, output) -> tuple[dict, list[dict]]:
    from slowfast_ac.benchmark.networks import find_device
    from slowfast_ac.benchmark.results import describe_machine
    from slowfast_ac.benchmark.views import VIEWS, bench_views
    from slowfast_ac.errors import InputError

    lengths = _lengths(args, [10])
    if len(lengths) > 1:
        raise InputError(f"--lengths: bench views takes one video, not {len(lengths)}")
    if args.device:
        raise InputError("--device: bench views runs where predict does; leave it out")
    cfg, settings = _load(args)
    rows = bench_views(
        cfg,
        output,
        seconds=lengths[0],
        iterations=args.iterations,
        warmup=args.warmup,
        only=args.only,
    )
    settings |= {"crop": cfg.DATA.TEST_CROP_SIZE, "views": str(VIEWS)}
    return describe_machine(find_device(None)) | settings, rows


def _bench_networks(args: argparse.Namespace, output) -> tuple[dict, list[dict]]:
    import importlib

    from slowfast_ac.benchmark.networks import find_device
    from slowfast_ac.benchmark.results import describe_machine
    from slowfast_ac.errors import InputError

    cfg, settings = _load(args)
    device = find_device(args.device)
    training = args.what != "infer"
    crop = args.crop or (cfg.DATA.TRAIN_CROP_SIZE if training else cfg.DATA.TEST_CROP_SIZE)
    if crop % 32:
        raise InputError(f"--crop: {crop} is not a multiple of the network's stride of 32")
    if not training and crop < cfg.DATA.TRAIN_CROP_SIZE:
        raise InputError(
            f"--crop: {crop} is smaller than DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}, "
            "whose pooling the head has"
        )
    name = _NETWORKS[args.what]
    rows = getattr(importlib.import_module(f"slowfast_ac.benchmark.{args.what}"), name)(
        cfg,
        device=device,
        batch=args.batch,
        crop=crop,
        iterations=args.iterations,
        warmup=args.warmup,
        only=args.only,
    )
    settings |= {
        "batch": args.batch,
        "crop": crop,
        "memory format": cfg.COMPUTE.MEMORY_FORMAT,
        "precision": cfg.COMPUTE.PRECISION,
    }
    return describe_machine(device) | settings, rows


def _load(args: argparse.Namespace):
    from slowfast_ac.errors import InputError
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.compute import check_compute
    from slowfast_ac.pyslowfast.config_file import load_config

    if not args.cfg:
        raise InputError(
            f"--cfg: bench {args.what} needs a config, for example "
            "configs/Kinetics/Base-SLOWFAST_4x16_R50.yaml"
        )
    upstream = setup(args.pyslowfast)
    cfg = load_config(args.cfg, args.opts)
    check_compute(cfg)
    settings = {
        "PySlowFast": f"{upstream.kind} {upstream.version}",
        "config": args.cfg,
        "frames": cfg.DATA.NUM_FRAMES,
        "alpha": cfg.SLOWFAST.ALPHA,
        "iterations": args.iterations,
    }
    return cfg, settings


def _lengths(args: argparse.Namespace, default: list[float]) -> list[float]:
    from slowfast_ac.errors import InputError

    lengths = args.lengths or default
    if min(lengths) <= 0:
        raise InputError(f"--lengths: {min(lengths):g} s is no length")
    return lengths
