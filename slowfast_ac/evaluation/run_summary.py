"""Summarizes a finished run in a few lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from slowfast_ac.pyslowfast.log import LOG, accuracies, accuracy_text, clip_accuracy, read_log
from slowfast_ac.pyslowfast.outputs import last_checkpoint


def summarize(
    output: str | Path, *, trained: bool, views: Sequence[int], crops: int, results: Path | None
) -> Iterator[str]:
    """Yields the lines of the summary.

    Args:
        output: OUTPUT_DIR.
        trained: whether the run trained.
        views: the temporal views of each of its tests, in their order.
        crops: the spatial crops of each view.
        results: the file of the tests' scores, if any.
    """
    output = Path(output)
    yield f"finished: {output}"
    checkpoint = last_checkpoint(output)
    if trained and checkpoint:
        yield f"  checkpoints     {checkpoint.parent} (the last: {checkpoint.name})"
    yield f"  log             {output / LOG}"
    if views and results:
        note = f" (of {views[-1]} views, the last test)" if len(views) > 1 else ""
        yield f"  test's scores   {results}{note}"
    lines = read_log(output)
    if trained:
        yield from _by_clip(lines)
    tests = [line for line in lines if line.get("split") == "test_final"]
    for count, line in zip(views, tests[len(tests) - len(views) :], strict=False):
        clips = f"{_number(count, 'view')} x {_number(crops, 'crop')}"
        yield f"  by video        {accuracy_text(accuracies(line))} (test: {clips} of each video)"


def _by_clip(lines: Sequence[dict]) -> Iterator[str]:
    last: dict = next((line for line in reversed(lines) if line.get("_type") == "val_epoch"), {})
    if "epoch" not in last:  # no validation, or detection's, which measures boxes
        return
    # Upstream logs the validation of a finished training as one more epoch.
    epoch = min(int(number) for number in last["epoch"].split("/"))
    accuracy = accuracy_text(clip_accuracy(lines))
    where = f"validation after epoch {epoch}: one clip of each video"
    yield f"  by clip         {accuracy} ({where})"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
