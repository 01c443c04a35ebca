"""Repairs of the views and crops that upstream's data sets show in a test."""

import functools
import importlib
import inspect
from types import SimpleNamespace

from slowfast_ac.data.sampling import segment_places, spaced_places
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream
from slowfast_ac.pyslowfast.repairs import Repair

BOTH = ("checkout", "wheel")


class ViewNumber(int):
    """The number of a view, from which upstream computes the crop as ``% NUM_SPATIAL_CROPS``.

    Crops are 0 (left), 1 (centre) and 2 (right). With a single crop, upstream's remainder is 0, the
    left one; here it is 1.
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
    # The checkout's Kinetics handles a single crop; the others do not.
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


def _with_sequences(name: str) -> list[type]:
    # Until spring 2021, __getitem__ chose the frames itself, so there is no function to replace.
    return [cls for cls in _classes(name) if hasattr(cls, "get_seq_frames")]


def _views_are_identical(_: Upstream) -> bool:
    return any(
        _sequence(cls, 0, views=2) == _sequence(cls, 1, views=2) for cls in _with_sequences("Ssv2")
    )


def _spread_views(_: Upstream) -> None:
    for cls in _with_sequences("Ssv2"):
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
    for cls in _with_sequences("Charades"):
        try:
            _sequence(cls, 0, views=1)
        except ZeroDivisionError:
            return True
    return False


def _center_one_view(_: Upstream) -> None:
    for cls in _with_sequences("Charades"):
        cls.get_seq_frames = _centered(cls.get_seq_frames)


def _centered(original):
    @functools.wraps(original)
    def get_seq_frames(self, index):
        if self.mode != "test" or self.cfg.TEST.NUM_ENSEMBLE_VIEWS > 1:
            return original(self, index)
        rate, count = self.cfg.DATA.SAMPLING_RATE, self.cfg.DATA.NUM_FRAMES
        return spaced_places(len(self._path_to_videos[index]), count, rate, 0, 1)

    return get_seq_frames


def _unnamed(_: Upstream) -> list[type]:
    return [cls for cls in _classes("Kinetics") if not hasattr(cls.__getitem__, "__wrapped__")]


def _name_unreadable(upstream: Upstream) -> None:
    for cls in _unnamed(upstream):
        cls.__getitem__ = _naming(cls.__getitem__)


def _naming(getitem):
    @functools.wraps(getitem)
    def __getitem__(self, index):
        try:
            item = getitem(self, index)
        except RuntimeError as error:
            # Checkouts until 2022 and the wheel raise this; later ones return None.
            if "Failed to fetch video" not in str(error):
                raise
            item = None
        # In a test, the wheel returns another video instead, with its own index.
        if item is None or (self.mode == "test" and item[2] != index):
            # With multigrid's short cycles or repeated augmentation, an index is a tuple.
            while isinstance(index, tuple):
                index = index[0]
            others = "" if self.mode == "test" else ", nor can those drawn in its place"
            raise InputError(
                f"{self._path_to_videos[index]}: cannot be read{others}; slowfast-ac check-data "
                "LIST --write-clean FILE writes a list without such videos"
            )
        return item

    return __getitem__


def _sequence(cls: type, view: int, views: int) -> list[int]:
    """Returns the frames that a test takes for one view of a video with a hundred frames."""
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
        "with TEST.NUM_SPATIAL_CROPS 1, the crop is the left one instead of the centre",
        BOTH,
        lambda upstream: bool(_left_crops(upstream)),
        _center_crops,
    ),
    Repair(
        "views of Ssv2",
        "all views of TEST.NUM_ENSEMBLE_VIEWS have the same frames",
        BOTH,
        _views_are_identical,
        _spread_views,
    ),
    Repair(
        "one view of Charades",
        "TEST.NUM_ENSEMBLE_VIEWS 1 raises ZeroDivisionError; it is now the clip in the middle",
        BOTH,
        _one_view_fails,
        _center_one_view,
    ),
    Repair(
        "videos that cannot be read",
        "a test that meets one, or a training that meets several, fails without naming it",
        BOTH,
        lambda upstream: bool(_unnamed(upstream)),
        _name_unreadable,
    ),
)
