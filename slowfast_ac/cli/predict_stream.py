"""``slowfast-ac predict --stream``: answers while a camera, a pipe or a network stream runs."""

import argparse
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slowfast_ac.data.views import Views
    from slowfast_ac.inference.load import TrainedModel


@dataclass
class Tally:
    """Counts answers in constant memory, since a source may never end; times are in seconds."""

    answers: int = 0
    first: float = 0.0
    last: float = 0.0
    total: float = 0.0
    most: float = 0.0
    skipped: int = 0

    def count(self, time: float, latency: float, skipped: int) -> None:
        """Adds one answer."""
        self.first = self.first if self.answers else time
        self.last = time
        self.answers += 1
        self.total += latency
        self.most = max(self.most, latency)
        self.skipped += skipped

    def __str__(self) -> str:
        """The summary, in one line."""
        text = f"answers: {self.answers}"
        if self.answers > 1:
            rate = (self.answers - 1) / max(self.last - self.first, 1e-9)
            text += f", {rate:.2f} per second"
        mean = self.total / self.answers
        text += f"; latency: {mean:.2f} s on average, {self.most:.2f} s at most"
        if self.skipped:
            text += (
                f"; windows skipped, since the network is slower than the source: {self.skipped}"
            )
        return text


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
    tally = Tally()
    print(f"reading {name}; stop with Ctrl-C", file=sys.stderr)
    try:
        for answer in predict_stream(
            model, args.stream, views, window=args.window, stride=args.stride
        ):
            tally.count(time.monotonic(), answer.latency, answer.skipped)
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
        if tally.answers:
            print(tally, file=sys.stderr)
