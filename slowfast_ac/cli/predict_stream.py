"""``slowfast-ac predict --stream``: answers while a camera, a pipe or a network stream runs."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slowfast_ac.data.views import Views
    from slowfast_ac.inference.load import TrainedModel


def check_arguments(args: argparse.Namespace) -> None:
    """Rejects arguments that only make sense for files.

    Raises:
        InputError: naming the argument.
    """
    import os

    from slowfast_ac.errors import InputError
    from slowfast_ac.files import check_suffix
    from slowfast_ac.ranks import this_rank

    for name in ("videos", "list", "heatmap", "timeline"):
        if getattr(args, name):
            what = "VIDEO" if name == "videos" else f"--{name}"
            raise InputError(f"{what}: not with --stream; give one of the two")
    if this_rank().world_size > 1:
        raise InputError("--stream: one process reads it; start it without torchrun or srun")
    if args.output:
        check_suffix(args.output, [".jsonl"], "--output of a stream")
        if os.path.exists(args.output):
            raise InputError(f"{args.output}: exists; give the stream's answers a new file")


def print_answers(args: argparse.Namespace, model: "TrainedModel", views: "Views") -> None:
    """Prints and writes answers as they come, until the source ends or Ctrl-C."""
    from slowfast_ac.data.live import public_name
    from slowfast_ac.files import append_json_line
    from slowfast_ac.inference.prediction_files import describe_predictions, format_predictions
    from slowfast_ac.inference.stream import predict_stream

    name = public_name(args.stream)
    times, latencies, skipped = [], [], 0
    print(f"reading {name}; stop with Ctrl-C", file=sys.stderr)
    try:
        for answer in predict_stream(
            model, args.stream, views, window=args.window, stride=args.stride
        ):
            times.append(time.monotonic())
            latencies.append(answer.latency)
            skipped += answer.skipped
            if args.output:
                entry = describe_predictions(model, name, [answer.prediction], args.top)
                append_json_line(args.output, {**entry, "latency": answer.latency})
            _, first, *others = format_predictions(
                model, name, [answer.prediction], args.top
            ).splitlines()
            first += f"  ({answer.latency:.2f} s later)"
            print("\n".join([first, *others]), flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        if times:
            print(_summary(times, latencies, skipped), file=sys.stderr)


def _summary(times: list[float], latencies: list[float], skipped: int) -> str:
    count = len(times)
    text = f"answers: {count}"
    if count > 1:
        text += f", {(count - 1) / max(times[-1] - times[0], 1e-9):.2f} per second"
    text += f"; latency: {sum(latencies) / count:.2f} s on average, {max(latencies):.2f} s at most"
    if skipped:
        text += f"; windows skipped, since the network is slower than the source: {skipped}"
    return text
