"""Repairs of upstream's visualisation and demo, which import more packages than they need."""

import importlib
import io
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch.utils.data import DataLoader

from slowfast_ac.checkpoint.unpickle import safe_load
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair
from slowfast_ac.pyslowfast.repairs.imports import add_module, is_missing
from slowfast_ac.pyslowfast.supported import mend_tool

NEEDS_DETECTOR = (
    "needs detectron2's detector of people, which is not on PyPI; install detectron2 from "
    "github.com/facebookresearch/detectron2"
)


class Canvas:
    """A picture to draw on in pixels, like detectron2's ``VisImage``.

    Args:
        image: (H, W, 3), uint8 RGB.
    """

    def __init__(self, image: np.ndarray):
        self.height, self.width = image.shape[:2]
        self.scale = 1.0
        figure = Figure(figsize=(self.width / 100, self.height / 100), dpi=100, frameon=False)
        self._canvas = FigureCanvasAgg(figure)
        self.ax = figure.add_axes((0, 0, 1, 1))
        self.ax.axis("off")
        self.ax.imshow(image, extent=(0, self.width, self.height, 0), interpolation="nearest")

    def get_image(self) -> np.ndarray:
        """Returns the picture including the drawings, (H, W, 3), uint8 RGB."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


class Visualizer:
    """The part of detectron2's ``Visualizer`` that upstream builds on.

    Args:
        img_rgb: (H, W, 3), RGB of 0 to 255.
        metadata: not read.
    """

    def __init__(self, img_rgb: np.ndarray, metadata: object = None):
        self.img = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        self.output = Canvas(self.img)
        self._default_font_size = max(np.sqrt(self.output.height * self.output.width) // 90, 10)

    def draw_box(self, box_coord, alpha=0.5, edge_color="g", line_style="-") -> Canvas:
        """Draws a box of (left, top, right, bottom)."""
        left, top, right, bottom = (float(number) for number in box_coord)
        line = {"edgecolor": edge_color, "linestyle": line_style, "alpha": alpha, "linewidth": 2}
        box = Rectangle((left, top), right - left, bottom - top, fill=False, **line)
        self.output.ax.add_patch(box)
        return self.output


def _refuse(*args: object, **kwargs: object) -> None:
    raise InputError(f"DEMO.ENABLE: with DETECTION.ENABLE it {NEEDS_DETECTOR}")


def _add_drawing(_: Upstream) -> None:
    if is_missing("detectron2"):
        add_module("detectron2", path=[])
    add_module("detectron2.utils", path=[])
    add_module("detectron2.utils.visualizer", Visualizer=Visualizer)
    add_module("detectron2.model_zoo", get_config_file=_refuse)
    add_module("detectron2.config", get_cfg=_refuse)
    add_module("detectron2.engine", DefaultPredictor=_refuse)


def has_detector() -> bool:
    """Returns whether detectron2 itself is installed."""
    return not is_missing("detectron2.engine") and (
        importlib.import_module("detectron2.engine").DefaultPredictor is not _refuse
    )


def _lacks_movies(_: Upstream) -> bool:
    if is_missing("tensorboard") or not is_missing("moviepy.editor"):
        return False
    return importlib.import_module("torch.utils.tensorboard.summary").make_video is not make_video


def make_video(tensor: np.ndarray, fps: float) -> object:
    """Returns frames as a GIF in the form that TensorBoard stores.

    Args:
        tensor: (T, H, W, C), uint8.
        fps: frames per second.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    first, *rest = (Image.fromarray(frame.squeeze()) for frame in tensor)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    _, height, width, colours = tensor.shape
    return Summary.Image(
        height=height, width=width, colorspace=colours, encoded_image_string=file.getvalue()
    )


def _add_movies(_: Upstream) -> None:
    importlib.import_module("torch.utils.tensorboard.summary").make_video = make_video


class _FourParts:
    """Batches of a loader without the clips' times, which were added in June 2022."""

    def __init__(self, loader: DataLoader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple]:
        for inputs, labels, index, *_, meta in self.loader:
            yield inputs, labels, index, meta


def _takes_four_of_five(upstream: Upstream) -> bool:
    visualization, train = (
        (upstream.root / "tools" / name).read_text(encoding="utf-8", errors="replace")
        for name in ("visualization.py", "train_net.py")
    )
    return "inputs, labels, _, meta in" in visualization and "index, time, meta" in train


def _give_four(_: Upstream) -> None:
    mend_tool("visualization", _give_four_to)


def _give_four_to(tool: ModuleType) -> None:
    original = tool.loader.construct_loader
    tool.loader = SimpleNamespace(
        construct_loader=lambda *args, **options: _FourParts(original(*args, **options))
    )


def _unpickles(upstream: Upstream) -> bool:
    path = upstream.root / "tools/visualization.py"
    return "pickle.load(" in path.read_text(encoding="utf-8", errors="replace")


def _load_safely(_: Upstream) -> None:
    safe = SimpleNamespace(load=lambda file, **_: safe_load(file.name))
    mend_tool("visualization", lambda tool: setattr(tool, "pickle", safe))


REPAIRS = (
    Repair(
        "drawing without detectron2",
        "MODEL_VIS, WRONG_PRED_VIS and DEMO draw with detectron2, although only the detector of a "
        "demo needs it (#86)",
        ("checkout",),
        lambda _: is_missing("detectron2.utils"),
        _add_drawing,
    ),
    Repair(
        "videos in TensorBoard",
        "add_video skips them without moviepy, and with moviepy 2",
        ("checkout",),
        _lacks_movies,
        _add_movies,
    ),
    Repair(
        "batches of visualization.py",
        "it expects four parts in a batch, but a batch has had five since June 2022",
        ("checkout",),
        _takes_four_of_five,
        _give_four,
    ),
    Repair(
        "TENSORBOARD.PREDICTIONS_PATH",
        "the file is unpickled, so it can run code",
        ("checkout",),
        _unpickles,
        _load_safely,
    ),
)
