"""The settings that turn a video into a network's input, read from a PySlowFast config."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields

import numpy as np
import torch
from fvcore.common.config import CfgNode

from slowfast_ac.data.view_keys import DATASETS, ENSEMBLE_METHODS, check_views
from slowfast_ac.errors import InputError


@dataclass(frozen=True)
class Preprocessing:
    """The settings that turn a video into a network's input, named after PySlowFast's keys.

    Args:
        num_frames: frames of a clip, DATA.NUM_FRAMES.
        sampling_rate: distance between two frames of a clip, in frames at ``target_fps``.
        alpha: fast frames per slow frame, SLOWFAST.ALPHA; None for a network of one pathway.
        crop_size: side of a crop in pixels, DATA.TEST_CROP_SIZE; also the frame's short side,
            unless ``single_crop_scale`` applies.
        mean: mean of each channel, DATA.MEAN.
        std: standard deviation of each channel, DATA.STD.
        target_fps: frame rate that ``sampling_rate`` refers to, whatever the video's own rate.
        reverse_input_channel: whether the network takes BGR, DATA.REVERSE_INPUT_CHANNEL.
        single_crop_scale: the frame's short side in pixels if only one crop is taken, the first of
            DATA.TRAIN_JITTER_SCALES; None for ``crop_size``.
        ends_with_span: whether a clip has no frame that begins after its span, as with a checkout's
            decoder; the wheel's takes one more.
        dataset: TEST.DATASET, which determines how frames are chosen; see
            :mod:`slowfast_ac.data.sampling`.
        use_offset_sampling: whether clips are placed from the first frame to the last,
            DATA.USE_OFFSET_SAMPLING.
        resize_while_decoding: whether the decoder already resizes frames to the short side that the
            network sees, as a checkout does with DATA.DECODING_BACKEND torchvision.
        ensemble_method: how the scores of several views are combined: ``sum`` (their mean) or
            ``max``, DATA.ENSEMBLE_METHOD.

    Raises:
        InputError: naming the field, for an impossible value.
    """

    num_frames: int
    sampling_rate: int
    alpha: int | None
    crop_size: int
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
    target_fps: float = 30.0
    reverse_input_channel: bool = False
    single_crop_scale: int | None = None
    ends_with_span: bool = False
    dataset: str = "kinetics"
    use_offset_sampling: bool = False
    resize_while_decoding: bool = False
    ensemble_method: str = "sum"

    def __post_init__(self):
        for name in ("num_frames", "sampling_rate", "crop_size", "target_fps"):
            if not getattr(self, name) > 0:
                raise InputError(f"preprocessing: {name} {getattr(self, name)} is not positive")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise InputError(f"preprocessing: {name} {getattr(self, name)} needs 3 numbers")
        for name, known in (("dataset", DATASETS), ("ensemble_method", ENSEMBLE_METHODS)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"preprocessing: {name} {getattr(self, name)!r} is not one of "
                    f"{', '.join(known)}"
                )
        if self.alpha is not None and not 0 < self.alpha <= self.num_frames:
            raise InputError(
                f"preprocessing: alpha {self.alpha} leaves the slow pathway none of "
                f"{self.num_frames} frames"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Preprocessing":
        """Reads the settings from a PySlowFast config.

        Raises:
            InputError: for a key of the test whose value is not supported; see
                :mod:`slowfast_ac.data.view_keys`.
        """
        check_views(cfg)
        # The wheel has no such key.
        backend = cfg.DATA.get("DECODING_BACKEND")
        dataset = cfg.TEST.get("DATASET", "kinetics").lower()
        is_kinetics = dataset == "kinetics"
        scales = cfg.DATA.get("TRAIN_JITTER_SCALES") if is_kinetics else None
        two_pathways = cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH
        return cls(
            num_frames=cfg.DATA.NUM_FRAMES,
            sampling_rate=cfg.DATA.SAMPLING_RATE,
            alpha=cfg.SLOWFAST.ALPHA if two_pathways else None,
            crop_size=cfg.DATA.TEST_CROP_SIZE,
            mean=tuple(cfg.DATA.MEAN),
            std=tuple(cfg.DATA.STD),
            # The wheel has neither key.
            target_fps=float(cfg.DATA.get("TARGET_FPS", 30)),
            reverse_input_channel=cfg.DATA.get("REVERSE_INPUT_CHANNEL", False),
            single_crop_scale=int(scales[0]) if backend and scales else None,
            ends_with_span=bool(backend),
            dataset=dataset,
            use_offset_sampling=is_kinetics and cfg.DATA.get("USE_OFFSET_SAMPLING", False),
            resize_while_decoding=is_kinetics and backend == "torchvision",
            ensemble_method=cfg.DATA.get("ENSEMBLE_METHOD", "sum"),
        )

    def to_config(self) -> dict[str, dict[str, object]]:
        """Returns the PySlowFast keys from which :meth:`from_config` reads these settings.

        Raises:
            InputError: naming a field that no PySlowFast config can express.
        """
        # The wheel lacks this key and the behaviour that depends on it.
        backend = "pyav" if self.ends_with_span else ""
        data = {
            "NUM_FRAMES": self.num_frames,
            "SAMPLING_RATE": self.sampling_rate,
            "TEST_CROP_SIZE": self.crop_size,
            "MEAN": list(self.mean),
            "STD": list(self.std),
            "TARGET_FPS": self.target_fps,
            "REVERSE_INPUT_CHANNEL": self.reverse_input_channel,
            "USE_OFFSET_SAMPLING": self.use_offset_sampling,
            "ENSEMBLE_METHOD": self.ensemble_method,
        }
        if backend:
            scale = self.single_crop_scale
            data["DECODING_BACKEND"] = "torchvision" if self.resize_while_decoding else backend
            data["TRAIN_JITTER_SCALES"] = [] if scale is None else [scale, scale]
        arch = "slow" if self.alpha is None else "slowfast"
        config = {
            "DATA": data,
            "MODEL": {"ARCH": arch, "MULTI_PATHWAY_ARCH": ["slowfast"]},
            "TEST": {"DATASET": self.dataset},
        }
        if self.alpha is not None:
            config["SLOWFAST"] = {"ALPHA": self.alpha}
        Preprocessing.from_config(CfgNode(config)).require_equal(self.to_dict())
        return config

    def require_equal(self, stated: Mapping) -> None:
        """Rejects stated fields that differ from these, which come from a config.

        Raises:
            InputError: naming the first field that differs.
        """
        own = self.to_dict()
        for name, value in stated.items():
            if own.get(name) != value:
                raise InputError(
                    f"preprocessing: {name} is {value!r}, but {own.get(name)!r} by the config"
                )

    @classmethod
    def from_dict(cls, data: Mapping) -> "Preprocessing":
        """Creates the settings from the result of :meth:`to_dict`.

        Raises:
            InputError: for an unknown or missing field.
        """
        known = {entry.name for entry in fields(cls)}
        # Programs exported by earlier versions lack some fields that have defaults.
        defaults = {e.name: e.default for e in fields(cls) if e.default is not MISSING}
        data = {**defaults, **data}
        for name in sorted(known ^ set(data)):
            problem = "is missing" if name in known else "is not known"
            raise InputError(f"preprocessing: the field {name} {problem}")
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})

    def to_dict(self) -> dict:
        """Returns the fields, for JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @property
    def seconds(self) -> float:
        """Length of a clip; infinite if it always covers its whole span."""
        if self.dataset == "ssv2":
            return math.inf
        return self.num_frames * self.sampling_rate / self.target_fps

    @property
    def is_bgr_first(self) -> bool:
        """Whether the channels are BGR before they are normalised, as OpenCV reads them."""
        return self.dataset != "kinetics"

    def short_side(self, crops: Sequence[str]) -> int:
        """Returns the short side of a frame in pixels for these crops.

        Raises:
            InputError: if a single crop is larger than the frame.
        """
        if tuple(crops) != ("center",) or self.single_crop_scale is None:
            return self.crop_size
        if self.single_crop_scale < self.crop_size:
            raise InputError(
                f"DATA.TRAIN_JITTER_SCALES: {self.single_crop_scale} is less than "
                f"DATA.TEST_CROP_SIZE {self.crop_size}, so a single crop does not fit; take three "
                "crops"
            )
        return self.single_crop_scale

    def slow_frames(self) -> np.ndarray:
        """Returns the slow pathway's frames as indices into the clip; all for a single pathway.

        As in upstream, the first and the last frame are included and the others spread evenly, so
        they are more than alpha frames apart.
        """
        count = self.num_frames // (self.alpha or 1)
        return torch.linspace(0, self.num_frames - 1, count).long().numpy()
