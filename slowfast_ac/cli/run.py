"""``slowfast-ac run``: upstream's ``tools/run_net.py``, with the same arguments."""

import argparse

from slowfast_ac.cli.arguments import add_opts, add_pyslowfast


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds upstream's arguments, --pyslowfast and --no-open-videos."""
    parser.add_argument("--cfg", dest="cfg_files", nargs="+", required=True, help="config files")
    parser.add_argument("--shard_id", type=int, help="number of this machine, from 0")
    parser.add_argument("--num_shards", type=int, help="number of machines")
    parser.add_argument(
        "--init_method", help="address where processes meet, tcp://HOST:PORT or file://PATH"
    )
    add_pyslowfast(parser)
    parser.add_argument(
        "--no-open-videos",
        action="store_true",
        help="do not open a sample of the listed videos before the run",
    )
    add_opts(parser)


def main(args: argparse.Namespace) -> None:
    """Runs the configs and prints where their results are."""
    from slowfast_ac.evaluation.run_summary import summarize
    from slowfast_ac.experiments.explain import in_short, over_defaults
    from slowfast_ac.pyslowfast.cluster import machines
    from slowfast_ac.pyslowfast.launch import run, tested_views
    from slowfast_ac.pyslowfast.outputs import results_file

    def announce(cfg) -> None:
        for name, text in in_short(over_defaults(cfg)):
            print(f"{name:15}{text}", flush=True)

    shards = machines(args.shard_id, args.num_shards, args.init_method)
    finished = run(
        args.cfg_files,
        args.opts,
        shard_id=shards.shard_id,
        num_shards=shards.num_shards,
        init_method=shards.init_method,
        pyslowfast=args.pyslowfast,
        open_videos=not args.no_open_videos,
        announce=announce,
    )
    for cfg in finished:
        # The first machine keeps the log.
        if cfg.SHARD_ID or "://" in cfg.OUTPUT_DIR:
            continue
        for line in summarize(
            cfg.OUTPUT_DIR,
            trained=cfg.TRAIN.ENABLE,
            views=tested_views(cfg),
            crops=cfg.TEST.NUM_SPATIAL_CROPS,
            results=results_file(cfg),
        ):
            print(line)
