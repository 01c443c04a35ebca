"""The config keys of the nodes AC, SCAM, COMPUTE and FINETUNE, and the settings read from them.

projects/attention_consistency/README.md has the reasons for the defaults.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping

from fvcore.common.config import CfgNode

from slowfast_ac.cam import STRIDE, TEMPORAL_REDUCTIONS, check_choice
from slowfast_ac.errors import InputError
from slowfast_ac.losses import ConsistencySettings
from slowfast_ac.scam_head import MultiScale, SCAMHead

# PySlowFast's keys for files and folders. PATH_LABEL_SEPARATOR is none.
_PATH = re.compile(r"(^|_)(PATH|DIR|DIRS|FILE|FILES|VIDEO|IMDB|PREFIX)(_(?!LABEL_SEP)|$)")
LOSS_NAME = "attention_consistency"
# MODEL.ARCH of a ResNet that consists of SlowFast's fast pathway alone.
FAST = "fast"
# The paper's lambda applies to maps of 7 x 7, from a crop of 224.
PAPER_LAMBDA, PAPER_SIDE = 1.5, 7

MEMORY_FORMATS = ("contiguous", "channels_last")
PRECISIONS = ("default", "float32", "tf32", "bfloat16")


def add_custom_config(cfg: CfgNode) -> None:
    """Adds the nodes AC, SCAM, COMPUTE and FINETUNE with their defaults to a PySlowFast config.

    COMPUTE and FINETUNE work for any model; with their defaults it behaves as upstream's does. A
    config that already has the nodes is not changed.
    """
    if "AC" in cfg:
        return
    # ---------------------------------------------------------------------------------------- #
    # Attention consistency: read when MODEL.LOSS_FUNC is attention_consistency.
    # ---------------------------------------------------------------------------------------- #
    cfg.AC = CfgNode()
    # Factor of the consistency term, lambda of Eq. 4. At least 0; with 0 the term is only measured.
    # Eq. 3 divides by the number of positions in a map, 49 at a crop of 224. For maps of other
    # sizes, scale the factor in proportion to that number, or, if NORMALIZE is not l2, to the
    # maps' side (DISTANCE norm) or not at all (mse). `slowfast-ac explain` prints it.
    cfg.AC.LAMBDA = 1.5
    # The other term: the name of any PySlowFast loss (slowfast/models/losses.py). If
    # DATA.MULTI_LABEL is set, cross_entropy means bce_logit.
    cfg.AC.BASE_LOSS = "cross_entropy"
    # Classes whose maps are compared: all (as Eq. 3 is written) or label (the clip's own class;
    # soft or multiple labels weight their classes).
    cfg.AC.CLASSES = "label"
    # Distance of two maps: norm (Eq. 3, not squared, summed over classes) or mse (mean squared
    # error, also over classes, as in the work that the paper builds on).
    cfg.AC.DISTANCE = "norm"
    # How the fast pathway's frames become one map: weighted (their sum, Eq. 2), average or random
    # (one frame).
    cfg.AC.TEMPORAL_CAM = "weighted"
    # True: the distance trains only the fast pathway. False: both pathways.
    cfg.AC.DETACH_SPATIAL = False
    # True: the maps treat the classifier's weights as constants, so the distance trains only the
    # pathways. False: it trains the classifier too.
    cfg.AC.DETACH_CLASSIFIER = False
    # True: the network keeps its lateral connections. This ablation separates the effect of the
    # loss from that of removing them. The slow pathway then needs the fast one, so every SCAM scale
    # runs both, on all frames.
    cfg.AC.LATERAL = False
    # Normalisation of each map before the distance: none (as Eq. 3 is written), l2 or minmax.
    cfg.AC.NORMALIZE = "l2"

    # ---------------------------------------------------------------------------------------- #
    # SCAM, multi-scale class activation maps of the slow pathway (Eq. 1).
    # ---------------------------------------------------------------------------------------- #
    cfg.SCAM = CfgNode()
    # False: only the map at the scale that is classified ("AC only" in Table 5).
    cfg.SCAM.ENABLE = True
    # Sizes of the clip relative to the classified clip. The first is 1.0, that clip itself.
    cfg.SCAM.SCALES = [1.0, 0.5]
    # True: gradients flow through the scales after the first, at the cost of a training step each.
    cfg.SCAM.GRAD = False
    # The scales after the first see every n-th frame of the slow pathway's clip, since their map is
    # an average over frames. SlowAC uses all frames, since it also classifies with these scales.
    cfg.SCAM.FRAME_STRIDE = 2
    # True: the map's features are res5 at res4's size plus a 1x1x1 projection of res4
    # (Section 3.4), in training only.
    cfg.SCAM.UPSAMPLE = False

    # ---------------------------------------------------------------------------------------- #
    # How a model of any name is computed, in training and at test.
    # ---------------------------------------------------------------------------------------- #
    cfg.COMPUTE = CfgNode()
    # Layout of clips, features and convolution weights: contiguous or channels_last.
    cfg.COMPUTE.MEMORY_FORMAT = "contiguous"
    # default: torch's own choice, which on NVIDIA GPUs since Ampere is TF32 for convolutions and
    # float32 for matrix products. float32: no TF32 anywhere. tf32: TF32 for both. bfloat16:
    # autocast with float32 weights and logits and no loss scaling; not for training on a CPU.
    cfg.COMPUTE.PRECISION = "default"
    # True: torch.compile for the network's stages, in training and at test. The first steps then
    # take far longer than the others.
    cfg.COMPUTE.COMPILE = False

    # ---------------------------------------------------------------------------------------- #
    # How a model of any name is trained from the weights of TRAIN.CHECKPOINT_FILE_PATH.
    # ---------------------------------------------------------------------------------------- #
    cfg.FINETUNE = CfgNode()
    # Parts that keep their loaded weights and BatchNorm statistics: backbone (all but the
    # classifier), stages s1 to s5, slow, fast, lateral, one pathway of a stage (s2.fast), or names
    # of modules. For example ["s1", "s2"].
    cfg.FINETUNE.FREEZE = []
    # Factor of the scheduled learning rate for the backbone; the classifier gets the full rate.
    # Above 0 and at most 1.
    cfg.FINETUNE.BACKBONE_LR_FACTOR = 1.0


def uses_consistency(cfg: CfgNode) -> bool:
    """Returns whether the criterion compares the maps, so that the model has to compute them."""
    return bool(cfg.MODEL.LOSS_FUNC == LOSS_NAME)


def consistency_settings(cfg: CfgNode) -> ConsistencySettings:
    """Returns the criterion's settings.

    Raises:
        InputError: naming the key, its value and the allowed ones.
    """
    base_loss = cfg.AC.BASE_LOSS
    # The default must not train multi-label data with a single-label loss. The wheel has no
    # multi-label data and lacks the key.
    if cfg.DATA.get("MULTI_LABEL", False) and base_loss == "cross_entropy":
        base_loss = "bce_logit"
    with naming_keys(
        lambda_="AC.LAMBDA",
        base_loss="AC.BASE_LOSS",
        classes="AC.CLASSES",
        distance="AC.DISTANCE",
        normalize="AC.NORMALIZE",
    ):
        return ConsistencySettings(
            lambda_=cfg.AC.LAMBDA,
            base_loss=base_loss,
            classes=cfg.AC.CLASSES,
            distance=cfg.AC.DISTANCE,
            normalize=cfg.AC.NORMALIZE,
            detach_spatial=cfg.AC.DETACH_SPATIAL,
        )


def multi_scale(cfg: CfgNode) -> MultiScale:
    """Returns the scales in use: SCAM.SCALES, or only the one that is classified.

    Raises:
        InputError: naming the key, for scales that do not start with 1.0, or that make the training
            crop smaller than the backbone's total stride.
    """
    with naming_keys(scales="SCAM.SCALES", frame_stride="SCAM.FRAME_STRIDE"):
        result = MultiScale(
            scales=cfg.SCAM.SCALES if cfg.SCAM.ENABLE else (1.0,),
            grad=cfg.SCAM.GRAD,
            # With fewer slow frames, the two pathways' frames would no longer match.
            frame_stride=1 if cfg.AC.LATERAL else cfg.SCAM.FRAME_STRIDE,
        )
    smallest = min(result.scales) * cfg.DATA.TRAIN_CROP_SIZE
    if cfg.SCAM.ENABLE and smallest < STRIDE:
        raise InputError(
            f"SCAM.SCALES: {min(result.scales)} of DATA.TRAIN_CROP_SIZE "
            f"{cfg.DATA.TRAIN_CROP_SIZE} is {smallest:g} pixels, less than the {STRIDE} that one "
            "point of the map covers"
        )
    return result


def map_side(cfg: CfgNode) -> int:
    """Returns the side of the compared maps, in positions, at the training crop."""
    side: int = math.ceil(cfg.DATA.TRAIN_CROP_SIZE / STRIDE)
    # With SCAM.UPSAMPLE, the maps have the size of res4's features.
    return 2 * side if cfg.SCAM.UPSAMPLE else side


def equal_lambda(cfg: CfgNode) -> float:
    """Returns the lambda that has the same effect on this config's maps as the paper's on 7 x 7.

    Eq. 3 divides by the number of positions, HW. Maps of norm 1 have distances that do not depend
    on HW. Otherwise, the norm of a difference grows with the root of HW, and the mean squared error
    not at all.
    """
    side = map_side(cfg) / PAPER_SIDE
    if cfg.AC.NORMALIZE == "l2":
        return PAPER_LAMBDA * side**2
    return PAPER_LAMBDA * (side if cfg.AC.DISTANCE == "norm" else 1)


def build_scam_head(cfg: CfgNode, dim_res4: int, dim_res5: int) -> SCAMHead | None:
    """Builds the head, or returns None if the criterion needs no maps.

    Args:
        cfg: a config that has the nodes and passed :func:`check_values`.
        dim_res4: channels of the slow pathway's res4.
        dim_res5: channels of its res5.
    """
    if not uses_consistency(cfg):
        return None
    return SCAMHead(
        temporal_reduction=cfg.AC.TEMPORAL_CAM,
        detach_classifier=cfg.AC.DETACH_CLASSIFIER,
        upsample=(dim_res4, dim_res5) if cfg.SCAM.UPSAMPLE else None,
    )


def check_values(cfg: CfgNode) -> None:
    """Rejects values of AC and SCAM that are unknown or incompatible.

    Raises:
        InputError: naming the key, its value and the allowed ones.
    """
    settings = consistency_settings(cfg)
    multi_scale(cfg)
    check_choice("AC.TEMPORAL_CAM", cfg.AC.TEMPORAL_CAM, TEMPORAL_REDUCTIONS)
    if cfg.SCAM.UPSAMPLE and (settings.detach_spatial or settings.lambda_ == 0):
        # On several GPUs, DistributedDataParallel fails on a parameter without a gradient.
        raise InputError(
            "SCAM.UPSAMPLE: nothing trains its projection with AC.DETACH_SPATIAL True or "
            "AC.LAMBDA 0; set it to False"
        )


@contextlib.contextmanager
def naming_keys(**keys: str) -> Iterator[None]:
    """Within the block, an error about an argument names the config key it was read from instead.

    Args:
        keys: the config key for each argument.
    """
    try:
        yield
    except InputError as error:
        argument, _, reason = str(error).partition(": ")
        if argument not in keys:
            raise
        raise InputError(f"{keys[argument]}: {reason}") from None


def without_paths(config: CfgNode) -> CfgNode:
    """Returns a copy of a config in which the values of all keys that name a path are empty.

    They are private and of no use on another machine.
    """
    copy = config.clone()
    for key, value in copy.items():
        if isinstance(value, CfgNode):
            copy[key] = without_paths(value)
        elif value and isinstance(value, str) and _PATH.search(key):
            copy[key] = ""
    return copy


def config_value(config: Mapping[str, object] | None, key: str) -> object:
    """Returns the value of a key such as ``SLOWFAST.ALPHA`` in a config, or None."""
    value: object = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
