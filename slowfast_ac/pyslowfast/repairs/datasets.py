"""Repairs of what upstream's data sets show in a test: one crop, several views, a single view."""

import functools
import importlib
import inspect
from types import SimpleNamespace

from slowfast_ac.data.sampling import segment_places, spaced_places
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair

BOTH = ("checkout", "wheel")


class ViewNumber(int):
    """The number of a view, of which upstream's ``% NUM_SPATIAL_CROPS`` makes the crop.

    Crops are 0 (left), 1 (centre) and 2 (right). Of a single crop the remainder is 0, the left.
    """

    def __mod__(self, crops: int) -> int:
        return 1 if crops == 1 else int(self) % crops


def _classes(*names: str) -> list[type]:
    found = []
    for name in names:
        try:
            module = importlib.import_module(f"slowfast.datasets.{name.lower()}")
        except ImportError:
            continue
        found.append(getattr(module, name))
    return found


def _left_crops(_: Upstream) -> list[type]:
    # The checkout's Kinetics asks whether there are several crops; the others do not.
    return [
        cls
        for cls in _classes("Kinetics", "Ssv2", "Charades")
        if "NUM_SPATIAL_CROPS > 1" not in inspect.getsource(cls.__getitem__)
        and not hasattr(cls._construct_loader, "__wrapped__")
    ]


def _center_crops(upstream: Upstream) -> None:
    for cls in _left_crops(upstream):
        cls._construct_loader = _with_view_numbers(cls._construct_loader)


def _with_view_numbers(construct):
    @functools.wraps(construct)
    def construct_loader(self, *args, **kwargs):
        construct(self, *args, **kwargs)
        self._spatial_temporal_idx = [ViewNumber(n) for n in self._spatial_temporal_idx]

    return construct_loader


def _views_are_identical(_: Upstream) -> bool:
    return any(_sequence(cls, 0, views=2) == _sequence(cls, 1, views=2) for cls in _classes("Ssv2"))


def _spread_views(_: Upstream) -> None:
    for cls in _classes("Ssv2"):
        cls.get_seq_frames = _spread(cls.get_seq_frames)


def _spread(original):
    @functools.wraps(original)
    def get_seq_frames(self, index):
        views = self.cfg.TEST.NUM_ENSEMBLE_VIEWS
        if self.mode != "test" or views == 1:
            return original(self, index)
        view = int(self._spatial_temporal_idx[index]) // self.cfg.TEST.NUM_SPATIAL_CROPS
        length, count = len(self._path_to_videos[index]), self.cfg.DATA.NUM_FRAMES
        return segment_places(length, count, view, views)

    return get_seq_frames


def _one_view_fails(_: Upstream) -> bool:
    for cls in _classes("Charades"):
        try:
            _sequence(cls, 0, views=1)
        except ZeroDivisionError:
            return True
    return False


def _center_one_view(_: Upstream) -> None:
    for cls in _classes("Charades"):
        cls.get_seq_frames = _centered(cls.get_seq_frames)


def _centered(original):
    @functools.wraps(original)
    def get_seq_frames(self, index):
        if self.mode != "test" or self.cfg.TEST.NUM_ENSEMBLE_VIEWS > 1:
            return original(self, index)
        rate, count = self.cfg.DATA.SAMPLING_RATE, self.cfg.DATA.NUM_FRAMES
        return spaced_places(len(self._path_to_videos[index]), count, rate, 0, 1)

    return get_seq_frames


def _sequence(cls: type, view: int, views: int) -> list[int]:
    """Returns the frames that a view of a video of a hundred frames has in a test."""
    dataset = object.__new__(cls)
    dataset.mode = "test"
    dataset.cfg = SimpleNamespace(
        DATA=SimpleNamespace(NUM_FRAMES=4, SAMPLING_RATE=4),
        TEST=SimpleNamespace(NUM_ENSEMBLE_VIEWS=views, NUM_SPATIAL_CROPS=1),
        MULTIGRID=SimpleNamespace(LONG_CYCLE_SAMPLING_RATE=0),
    )
    dataset._path_to_videos, dataset._labels = [range(100)] * views, [range(100)] * views
    dataset._spatial_temporal_idx = list(range(views))
    return list(cls.get_seq_frames(dataset, view))


REPAIRS = (
    Repair(
        "a single crop",
        "of TEST.NUM_SPATIAL_CROPS 1 the crop is the left one instead of the centre",
        BOTH,
        lambda upstream: bool(_left_crops(upstream)),
        _center_crops,
    ),
    Repair(
        "views of Ssv2",
        "the views of TEST.NUM_ENSEMBLE_VIEWS are all the same frames",
        BOTH,
        _views_are_identical,
        _spread_views,
    ),
    Repair(
        "one view of Charades",
        "TEST.NUM_ENSEMBLE_VIEWS 1 ends in ZeroDivisionError; it is now the clip in the middle",
        BOTH,
        _one_view_fails,
        _center_one_view,
    ),
)
