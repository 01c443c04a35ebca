"""The views of a video, or of a part of it, whose scores are combined."""

from dataclasses import dataclass

from slowfast_ac.data.clips import CROPS
from slowfast_ac.errors import InputError


@dataclass(frozen=True)
class Views:
    """The views of a span whose scores are combined: every crop of every clip.

    Args:
        clips: clips spread evenly over the span, TEST.NUM_ENSEMBLE_VIEWS; None takes one from its
            middle.
        crops: 3 (left, centre, right) or 1 (centre), TEST.NUM_SPATIAL_CROPS.

    Raises:
        InputError: for other numbers.
    """

    clips: int | None = 10
    crops: int = 3

    def __post_init__(self) -> None:
        if self.clips is not None and self.clips < 1:
            raise InputError(f"views: {self.clips} clips; give at least 1")
        if self.crops not in (1, 3):
            raise InputError(f"views: {self.crops} crops; give 1 (the centre) or 3")

    def __str__(self) -> str:
        return "1x1, the middle" if self.clips is None else f"{self.clips}x{self.crops}"

    @property
    def crop_names(self) -> tuple[str, ...]:
        """Names of the crops in slowfast_ac.data.clips."""
        return CROPS if self.crops == 3 else ("center",)


CENTER_VIEW = Views(None, 1)
