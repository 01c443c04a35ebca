"""``slowfast-ac explain``: prints what a config means, in plain numbers."""

import argparse

from slowfast_ac.cli.arguments import add_opts, add_pyslowfast


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--videos", type=int, metavar="N", help="training videos (default: lines of the train.csv)"
    )
    parser.add_argument(
        "--step-seconds", type=float, metavar="S", help="time of a training step (`bench train`)"
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="also build the network and count its cost; needs PySlowFast",
    )
    add_pyslowfast(parser)
    add_opts(parser)


def main(args: argparse.Namespace) -> None:
    """Prints a line per fact."""
    from pathlib import Path

    import yaml

    from slowfast_ac.errors import InputError
    from slowfast_ac.experiments.explain import count_training_videos, explain, over_defaults
    from slowfast_ac.pyslowfast import setup
    from slowfast_ac.pyslowfast.config_file import load_config, merge_opts, read_config

    config = read_config(args.config)  # names a missing or malformed file
    note = ""
    try:
        setup(args.pyslowfast)
    except InputError:
        if args.cost:
            raise
        note = "PySlowFast is not installed: its own keys are not checked"
    if note:
        cfg = over_defaults(config)
        merge_opts(cfg, args.opts)
    else:
        # Over the defaults, since the wheel lacks some of the keys.
        cfg = over_defaults(load_config(args.config, args.opts))
    videos = count_training_videos(cfg) if args.videos is None else args.videos
    changed = yaml.safe_load(Path(args.config).read_text(encoding="utf-8"))
    facts = explain(cfg, videos=videos, step_seconds=args.step_seconds, changed=changed)
    facts += _cost(cfg) if args.cost else []
    if note:
        facts.append(("note", note))
    for name, text in facts:
        print(f"{name:15}{text}")


def _cost(cfg) -> list[tuple[str, str]]:
    import torch

    from slowfast_ac.config import FAST
    from slowfast_ac.experiments.explain import cost_by_part
    from slowfast_ac.pyslowfast.build import build_on_cpu

    size = cfg.DATA.TEST_CROP_SIZE
    clip = torch.zeros(1, 3, cfg.DATA.NUM_FRAMES, size, size)
    pathways = [clip]
    if cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH:
        pathways = [clip[:, :, :: cfg.SLOWFAST.ALPHA], clip]
    parts = cost_by_part(build_on_cpu(cfg).eval(), pathways)
    if cfg.MODEL.ARCH == FAST:
        parts = {FAST if name == "slow" else name: cost for name, cost in parts.items()}
    total = tuple(map(sum, zip(*parts.values(), strict=True)))
    return [
        (name, f"{parameters / 1e6:.2f} M parameters, {operations / 1e9:.3f} GFLOPs per view")
        for name, (parameters, operations) in {**parts, "network": total}.items()
    ]
