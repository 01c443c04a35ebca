"""Writes the model card, README.md of a network's folder, with accuracies for the Hub's index."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from slowfast_ac.checkpoint.folder import CARD, import_hub
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath, atomic_path
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.pyslowfast.build import count_gflops
from slowfast_ac.pyslowfast.log import LOG, accuracies, read_log

Accuracy = Mapping[str, str | float]
ACCURACY_KEYS = ("top1", "top5", "data")
TASK = "video-classification"
# Around the table of facts, which is written again for another network.
_START, _END = "<!-- facts, written by slowfast_ac -->", "<!-- end of the facts -->"
_USE = """```bash
slowfast-ac predict FOLDER video.mp4
```

```python
from slowfast_ac import from_pretrained, load_model

model = load_model("FOLDER")  # to predict: model.scores, model.preprocessing, model.classes
network = from_pretrained("FOLDER")  # to train: a torch module, for SlowFastAC only
```"""


def write_card(
    folder: Path, model: TrainedModel, accuracy: Accuracy, *, is_new: bool = True
) -> None:
    """Writes the card. In an existing card only the table of facts and the accuracies change.

    Args:
        folder: the network's folder.
        model: the network that the card describes.
        accuracy: see :func:`check_accuracy`.
        is_new: whether the weights are other ones than those that an existing card describes. Its
            accuracies are then removed.

    Raises:
        InputError: if huggingface_hub is missing, or the card cannot be read.
    """
    hub = import_hub(folder)
    path = folder / CARD
    if path.exists():
        try:
            card = hub.ModelCard.load(path)
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            line = " ".join(str(error).split())
            raise InputError(f"{path}: not a model card: {line}") from None
        before, start, rest = card.text.partition(_START)
        _, end, after = rest.partition(_END)
        if end:
            card.text = f"{before}{start}\n{_facts(model)}\n{end}{after}"
        if is_new:
            card.data.eval_results = card.data.model_name = None
    else:
        data = hub.ModelCardData(
            library_name="slowfast_ac", pipeline_tag=TASK, tags=["slowfast", "video"]
        )
        card = hub.ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(folder.name, model)}")
    if accuracy:
        name = str(accuracy["data"])
        card.data.model_name = folder.name
        card.data.eval_results = [
            hub.EvalResult(
                task_type=TASK,
                dataset_type=name.lower().replace(" ", "-"),
                dataset_name=name,
                metric_type="accuracy",
                metric_name=f"{key}, percent",
                metric_value=float(accuracy[key]),
            )
            for key in ("top1", "top5")
            if key in accuracy
        ]
    with atomic_path(path) as temporary:
        card.save(temporary)


def check_accuracy(accuracy: Accuracy) -> None:
    """Rejects values that are not accuracies, and accuracies without the name of their data.

    Args:
        accuracy: empty, or ``data`` and at least one of ``top1`` and ``top5``, in percent.

    Raises:
        InputError: naming what is missing or wrong.
    """
    for key, value in accuracy.items():
        if key not in ACCURACY_KEYS or value == "":
            raise InputError(f"accuracy: {key}={value} is not one of top1=, top5= and data=")
        if key != "data":
            _check_percent(value, f"accuracy: {key}")
    if accuracy and not ("data" in accuracy and len(accuracy) > 1):
        raise InputError("accuracy: give the data too, and top1 or top5: top1=70.1,data=UCF101")


def parse_accuracy(text: str) -> dict[str, str]:
    """Parses ``top1=70.1,top5=89.2,data=UCF101``; see :func:`check_accuracy`."""
    pairs = [part.partition("=") for part in text.split(",")]
    return {key: value for key, _, value in pairs}


def read_accuracy(run_dir: StrPath) -> dict[str, str]:
    """Reads the last test's top1 and top5 from the log of a run's folder.

    Raises:
        InputError: if there is no log, or no finished test in it.
    """
    tests = [line for line in read_log(run_dir) if line.get("split") == "test_final"]
    if not tests:
        raise InputError(
            f"{Path(run_dir) / LOG}: no finished test in it (a json_stats line with test_final)"
        )
    found = accuracies(tests[-1])
    if "map" in found:
        raise InputError(
            f"{Path(run_dir) / LOG}: the test's videos have several labels, so it has no top-1 or "
            "top-5; leave the accuracy out"
        )
    return {key: f"{value:.2f}" for key, value in found.items()}


def _check_percent(value: str | float, what: str) -> None:
    try:
        is_percent = 0 <= float(value) <= 100
    except ValueError:
        is_percent = False
    if not is_percent:
        raise InputError(f"{what} {value!r} is not a percentage between 0 and 100")


def _facts(model: TrainedModel) -> str:
    assert model.network is not None and model.checkpoint is not None
    test, preprocessing = model.config.TEST, model.preprocessing
    alpha = f", alpha {preprocessing.alpha}" if preprocessing.alpha else ""
    rows = {
        "Model": f"{model.name}, {model.num_classes} classes",
        "Clip": f"{preprocessing.num_frames} frames, {preprocessing.sampling_rate} apart at "
        f"{preprocessing.target_fps:g} fps{alpha}",
        "Test crop": f"{preprocessing.crop_size} x {preprocessing.crop_size} pixels",
        "Views": f"{test.NUM_ENSEMBLE_VIEWS} clips x {test.NUM_SPATIAL_CROPS} crops",
        "Cost": f"{count_gflops(model.config, model.network):.1f} GFLOPs per view, "
        f"{model.checkpoint.num_parameters:,} parameters",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {value} |" for k, value in rows.items())])


def _body(name: str, model: TrainedModel) -> str:
    return (
        f"# {name}\n\n{_START}\n{_facts(model)}\n{_END}\n\n{_USE}\n\n"
        "The licence of the weights is not stated: state it here and as `license:` above.\n"
    )
