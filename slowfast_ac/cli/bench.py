"""``slowfast-ac bench``: what training, inference and decoding cost, side by side."""

import argparse

# What is measured -> the function of slowfast_ac.experiments that does it.
_BENCHES = {
    "train": "bench_train",
    "infer": "bench_infer",
    "scaling": "bench_scaling",
    "decode": "bench_decode",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("what", choices=tuple(_BENCHES), help="what to measure")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--cfg", help="config of two pathways; its networks are compared (not of decode)"
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
        default=[10, 60, 300],
        metavar="SECONDS",
        help="videos to decode (default: 10 60 300)",
    )
    parser.add_argument("--pyslowfast", metavar="PATH", help="checkout (default: PYSLOWFAST_ROOT)")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, the last argument"
    )


def main(args: argparse.Namespace) -> None:
    """Measures, prints the table and writes it."""
    from pathlib import Path

    import torch

    from slowfast_ac.errors import InputError
    from slowfast_ac.experiments.bench import describe_machine, write_bench

    for name, least in (("batch", 1), ("iterations", 0), ("warmup", 0), ("threads", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: {value} is less than {least}")
    if args.threads:
        torch.set_num_threads(args.threads)
    output = Path(args.output)
    if args.what == "decode":
        from slowfast_ac.experiments.bench_decode import bench_decode

        if not args.iterations:
            raise InputError("--iterations: decoding has nothing to count; give at least 1")
        if min(args.lengths) <= 0:
            raise InputError(f"--lengths: {min(args.lengths):g} s is no length")
        settings = describe_machine(torch.device("cpu"))
        rows = bench_decode(
            output,
            lengths=args.lengths,
            iterations=args.iterations,
            warmup=args.warmup,
            only=args.only,
        )
    else:
        settings, rows = _bench_networks(args)
    draw = None
    if args.what == "scaling":
        from slowfast_ac.experiments.bench_scaling import draw_scaling as draw
    path = write_bench(output, f"slowfast-ac bench {args.what}", settings, rows, draw)
    print(path.read_text(encoding="utf-8"))
    print(f"written to {path}")


def _bench_networks(args: argparse.Namespace) -> tuple[dict, list[dict]]:
    import importlib

    from slowfast_ac.errors import InputError
    from slowfast_ac.experiments.bench import describe_machine
    from slowfast_ac.experiments.bench_networks import find_device
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.config_file import load_config
    from slowfast_ac.pyslowfast.fast import check_fast

    if not args.cfg:
        raise InputError(
            f"--cfg: bench {args.what} needs a config, for example "
            "configs/Kinetics/Base-SLOWFAST_4x16_R50.yaml"
        )
    upstream = setup(args.pyslowfast)
    cfg = load_config(args.cfg, args.opts)
    check_fast(cfg)
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
    name = _BENCHES[args.what]
    rows = getattr(importlib.import_module(f"slowfast_ac.experiments.{name}"), name)(
        cfg,
        device=device,
        batch=args.batch,
        crop=crop,
        iterations=args.iterations,
        warmup=args.warmup,
        only=args.only,
    )
    settings = describe_machine(device) | {
        "PySlowFast": f"{upstream.kind} {upstream.version}",
        "config": args.cfg,
        "frames": cfg.DATA.NUM_FRAMES,
        "alpha": cfg.SLOWFAST.ALPHA,
        "batch": args.batch,
        "crop": crop,
        "iterations": args.iterations,
        "memory format": cfg.COMPUTE.MEMORY_FORMAT,
        "precision": cfg.COMPUTE.PRECISION,
    }
    return settings, rows
