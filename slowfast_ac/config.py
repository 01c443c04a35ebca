"""The config keys, all under the nodes AC and SCAM, and what is built from them.

Where the paper leaves room, the default and its reason stand in
projects/attention_consistency/README.md.
"""

from fvcore.common.config import CfgNode

from slowfast_ac.criterion import ConsistencySettings
from slowfast_ac.errors import InputError
from slowfast_ac.head import SCAMHead, check_scales

LOSS_NAME = "attention_consistency"


def add_custom_config(cfg: CfgNode) -> None:
    """Adds the nodes AC and SCAM with their defaults to a PySlowFast config.

    A config that has the nodes already is left as it is.
    """
    if "AC" in cfg:
        return
    # ---------------------------------------------------------------------------------------- #
    # Attention consistency: read when MODEL.LOSS_FUNC is attention_consistency.
    # ---------------------------------------------------------------------------------------- #
    cfg.AC = CfgNode()
    # Factor of the consistency term, lambda of Eq. 4. At least 0; 0 measures it only. Eq. 3 divides
    # by the map's positions, 49 at a crop of 224: on maps of other sizes, scale it with them.
    cfg.AC.LAMBDA = 1.5
    # The other term: the name of any loss of PySlowFast (slowfast/models/losses.py). Where
    # DATA.MULTI_LABEL is set, cross_entropy stands for bce_logit.
    cfg.AC.BASE_LOSS = "cross_entropy"
    # Classes whose maps are compared: all (as Eq. 3 is written) or label (the clip's own class;
    # soft or multiple labels weigh theirs).
    cfg.AC.CLASSES = "label"
    # How far two maps are apart: norm (Eq. 3, not squared, summed over classes) or mse (their mean
    # squared error, of all classes too, as in the work that the paper descends from).
    cfg.AC.DISTANCE = "norm"
    # How the fast pathway's frames become one map: weighted (their sum, Eq. 2), average or random
    # (one frame).
    cfg.AC.TEMPORAL_CAM = "weighted"
    # True: the distance moves the fast pathway only. False: both.
    cfg.AC.DETACH_SPATIAL = False
    # True: the maps are made with the classifier's weights as constants, so that the distance moves
    # the pathways only. False: the classifier, too.
    cfg.AC.DETACH_CLASSIFIER = False
    # True: the lateral connections stay, the ablation that tells the loss from their absence. The
    # slow pathway then needs the fast one, so SCAM's scales run both, on all frames.
    cfg.AC.LATERAL = False
    # Normalisation of each map before the distance: none (as Eq. 3 is written), l2 or minmax.
    cfg.AC.NORMALIZE = "l2"

    # ---------------------------------------------------------------------------------------- #
    # SCAM, multi-scale class activation maps of the slow pathway (Eq. 1).
    # ---------------------------------------------------------------------------------------- #
    cfg.SCAM = CfgNode()
    # False: the plain map of the one scale that is classified ("AC only" in Table 5).
    cfg.SCAM.ENABLE = True
    # Sizes of the clip relative to the one that is classified, which is the first: 1.0.
    cfg.SCAM.SCALES = [1.0, 0.5]
    # True: the scales after the first get a gradient, and cost what a training step of them costs.
    cfg.SCAM.GRAD = False
    # The scales after the first see every n-th frame of the slow pathway's clip; their map is an
    # average over frames anyway. SlowAC, which classifies on them, takes all frames.
    cfg.SCAM.FRAME_STRIDE = 2
    # True: the map's features are res5 at res4's size plus a 1x1x1 projection of res4
    # (Section 3.4), in training only.
    cfg.SCAM.UPSAMPLE = False


def uses_consistency(cfg: CfgNode) -> bool:
    """Whether the criterion will compare the maps, so that the model has to make them."""
    return cfg.MODEL.LOSS_FUNC == LOSS_NAME


def consistency_settings(cfg: CfgNode) -> ConsistencySettings:
    """Returns the criterion's settings.

    Raises:
        InputError: naming the key, its value and the allowed ones.
    """
    base_loss = cfg.AC.BASE_LOSS
    # The default must not train multi-label data with a loss for one label. The wheel has no such
    # data and no such key.
    if cfg.DATA.get("MULTI_LABEL", False) and base_loss == "cross_entropy":
        base_loss = "bce_logit"
    return ConsistencySettings(
        lambda_=cfg.AC.LAMBDA,
        base_loss=base_loss,
        classes=cfg.AC.CLASSES,
        distance=cfg.AC.DISTANCE,
        normalize=cfg.AC.NORMALIZE,
        detach_spatial=cfg.AC.DETACH_SPATIAL,
    )


def scam_scales(cfg: CfgNode) -> list[float]:
    """Returns the scales in use: SCAM.SCALES, or the one that is classified.

    Raises:
        InputError: for scales that do not start with 1.0, or so small that nothing of the training
            crop is left after the backbone's total stride of 32.
    """
    if not cfg.SCAM.ENABLE:
        return [1.0]
    check_scales(cfg.SCAM.SCALES)
    scales = list(cfg.SCAM.SCALES)
    smallest = min(scales) * cfg.DATA.TRAIN_CROP_SIZE
    if smallest < 32:
        raise InputError(
            f"SCAM.SCALES: {min(scales)} of DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE} is "
            f"{smallest:g} pixels, less than the 32 that one point of the map covers"
        )
    return scales


def build_scam_head(cfg: CfgNode, dim_res4: int, dim_res5: int) -> SCAMHead | None:
    """Builds the head, or returns None where the criterion does not ask for maps.

    Args:
        cfg: a config with our nodes. Their values are checked in either case.
        dim_res4: channels of the slow pathway's res4.
        dim_res5: channels of its res5.

    Raises:
        InputError: naming the key, its value and the allowed ones.
    """
    settings = consistency_settings(cfg)
    if cfg.SCAM.UPSAMPLE and (settings.detach_spatial or settings.lambda_ == 0):
        # A parameter without gradient would also stop training on several GPUs.
        raise InputError(
            "SCAM.UPSAMPLE: nothing trains its projection with AC.DETACH_SPATIAL True or "
            "AC.LAMBDA 0; set it to False"
        )
    head = SCAMHead(
        scales=scam_scales(cfg),
        grad=cfg.SCAM.GRAD,
        # Fewer slow frames would no longer fit the fast pathway's.
        frame_stride=1 if cfg.AC.LATERAL else cfg.SCAM.FRAME_STRIDE,
        temporal_reduction=cfg.AC.TEMPORAL_CAM,
        detach_classifier=cfg.AC.DETACH_CLASSIFIER,
        settings=settings,
        upsample=(dim_res4, dim_res5) if cfg.SCAM.UPSAMPLE else None,
    )
    return head if uses_consistency(cfg) else None
