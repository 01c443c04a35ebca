"""``slowfast-ac app``: serves a local page for trying a network."""

import argparse

from slowfast_ac.cli.predict import add_classes_argument, add_weights_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("checkpoint", help="weights, or a program that `export` wrote")
    parser.add_argument(
        "against", nargs="?", metavar="CHECKPOINT2", help="a second network, beside the first"
    )
    parser.add_argument("--cfg", help="config of the weights (default: the one inside the file)")
    parser.add_argument(
        "--against-cfg", metavar="CFG", help="config of the second (default: the one inside)"
    )
    add_weights_argument(parser)
    add_classes_argument(parser)
    parser.add_argument(
        "--trust", action="store_true", help="open a .pt2 file, which can run any code"
    )
    parser.add_argument(
        "--views",
        default="5x1",
        metavar="CLIPSxCROPS",
        help="views of the whole video to average (default 5x1; 10x3 is PySlowFast's test)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1, which only this machine reaches)",
    )
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860 on)")


def main(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C."""
    import os
    import signal
    import sys
    import tempfile

    # Set before the import, when Gradio reads it. Imported first, since Gradio may be missing.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio  # noqa: F401

    from slowfast_ac.cli.heatmap import distinct_names
    from slowfast_ac.cli.predict import parse_views
    from slowfast_ac.errors import InputError
    from slowfast_ac.inference.load import load_model
    from slowfast_ac.visualization.page import build_page, serve

    if args.against_cfg and not args.against:
        raise InputError("--against-cfg: give the second network, too")
    views = parse_views(args.views)
    files = [(args.checkpoint, args.cfg, args.weights)]
    if args.against:
        files.append((args.against, args.against_cfg, None))
    models = [
        load_model(path, config=config, weights=weights, classes=args.classes, trust=args.trust)
        for path, config, weights in files
    ]
    names = distinct_names([model.name for model in models], [model.path for model in models])
    # So that uploaded files are removed after a kill, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="slowfast-ac-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_page(dict(zip(names, models, strict=True)), folder, views)
        try:
            print(f"{serve(page, args.host, args.port)}  (stop with Ctrl-C)", flush=True)
            page.block_thread()
        except KeyboardInterrupt:
            pass
        finally:
            page.close()
    return 0
