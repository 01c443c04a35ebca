"""Builds a network for inference from a checkpoint, with PyTorchVideo's parts.

Depth, widths and temporal kernels come from the shapes of the weights; alpha, strides, dilations
and the head's pooling from the config.
"""

import math
from collections.abc import Mapping

from fvcore.common.config import CfgNode
from pytorchvideo.models import create_resnet, create_slowfast
from torch import Tensor, nn

from slowfast_ac.cam import STRIDE
from slowfast_ac.checkpoint.convert import config_obstacle, convert_checkpoint, network_obstacle
from slowfast_ac.checkpoint.names import DEPTHS, Layout, find_layout, name_table
from slowfast_ac.checkpoint.open import Checkpoint
from slowfast_ac.errors import InputError

ACTIVATIONS = {"softmax": nn.Softmax, "sigmoid": nn.Sigmoid, "none": nn.Identity}
STAGES = (1, 2, 3, 4)  # PyTorchVideo's numbers of the stages s2 to s5


class Classifier(nn.Module):
    """A network of PyTorchVideo that takes a list of clips, with one pathway or two.

    Args:
        model: ``create_slowfast``'s or ``create_resnet``'s network, including its activation.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pathways: list[Tensor]) -> Tensor:
        """Returns the (N, L) scores of the pathways' clips, (N, 3, T, H, W) each."""
        # The network overwrites the items of its input list.
        scores: Tensor = self.model(list(pathways) if len(pathways) == 2 else pathways[0])
        return scores


def find_obstacle(checkpoint: Checkpoint, cfg: CfgNode) -> str | None:
    """Returns why a checkpoint's network cannot be built of PyTorchVideo's parts; None if it can.

    Args:
        checkpoint: any.
        cfg: see :func:`~slowfast_ac.inference.config.model_config`.
    """
    if checkpoint.naming is None or checkpoint.problem:
        return checkpoint.problem
    weights = {
        name.removeprefix(checkpoint.prefix): value for name, value in checkpoint.state_dict.items()
    }
    layout = find_layout(weights, checkpoint.naming)
    if checkpoint.naming == "pytorchvideo" and layout.blocks in DEPTHS["pytorchvideo"]:
        return None
    obstacle = config_obstacle(checkpoint, cfg) or network_obstacle(
        weights, layout, checkpoint.naming, "pytorchvideo"
    )
    if obstacle is None and layout.pathways == 1 and cfg.MODEL.ARCH in ("c2d", "i3d"):
        return f"MODEL.ARCH: {cfg.MODEL.ARCH} pools in a place that no weight shows"
    names = name_table(layout, "pyslowfast", checkpoint.naming)
    middle = weights[names["s2.pathway0_res0.branch2.b.weight"]]
    if obstacle is None and middle.shape[0] != middle.shape[1]:
        return "RESNET.NUM_GROUPS: PyTorchVideo's builders have no grouped convolutions"
    return obstacle


def build_classifier(checkpoint: Checkpoint, cfg: CfgNode) -> Classifier:
    """Builds a checkpoint's network, of any code base, in evaluation mode.

    Args:
        checkpoint: weights of SlowFast, SlowFastAC, Slow or SlowAC without an obstacle, see
            :func:`find_obstacle`.
        cfg: see :func:`~slowfast_ac.inference.config.model_config`.

    Raises:
        InputError: naming the file and the weight, for weights of another network.
    """
    weights, _ = convert_checkpoint(checkpoint, "pytorchvideo")
    layout = find_layout(weights, "pytorchvideo")
    # If a clip is larger than the head's pooling window, the scores of its positions are averaged,
    # as in PySlowFast's test. PyTorchVideo's own networks have no activation and average logits.
    build = _build_slowfast if layout.pathways == 2 else _build_slow
    model = build(weights, layout, cfg, ACTIVATIONS[cfg.MODEL.HEAD_ACT])
    for name, value in model.state_dict().items():
        if value.shape != weights[name].shape:
            raise InputError(
                f"{checkpoint.path}: {name} is {list(weights[name].shape)}, but "
                f"{list(value.shape)} in PyTorchVideo's network"
            )
    model.load_state_dict(weights)
    return Classifier(model).eval().requires_grad_(False)


def check_input(checkpoint: Checkpoint, cfg: CfgNode) -> None:
    """Rejects a config whose input does not fit the weights.

    Raises:
        InputError: naming the file and the key.
    """
    path = checkpoint.path
    if cfg.DETECTION.ENABLE:
        raise InputError(
            f"{path}: DETECTION.ENABLE: a detector, which needs boxes beside the clip; only "
            "classifiers are loaded"
        )
    if cfg.MODEL.HEAD_ACT not in ACTIVATIONS:
        raise InputError(
            f"{path}: MODEL.HEAD_ACT: {cfg.MODEL.HEAD_ACT!r} is not one of {', '.join(ACTIVATIONS)}"
        )
    two = cfg.MODEL.ARCH in cfg.MODEL.MULTI_PATHWAY_ARCH
    if checkpoint.pathways is not None and two != (checkpoint.pathways == 2):
        raise InputError(
            f"{path}: MODEL.ARCH: the config's is {cfg.MODEL.ARCH}, but the weights "
            f"are those of {checkpoint.pathways} pathway(s)"
        )
    frames, alpha = cfg.DATA.NUM_FRAMES, cfg.SLOWFAST.ALPHA
    if two and (alpha < 1 or frames < alpha or frames % alpha):
        raise InputError(
            f"{path}: SLOWFAST.ALPHA: {alpha} does not divide DATA.NUM_FRAMES {frames}"
        )
    train, test = cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE
    if not cfg.MULTIGRID.SHORT_CYCLE and math.ceil(test / STRIDE) < train // STRIDE:
        raise InputError(
            f"{path}: DATA.TEST_CROP_SIZE: {test} is smaller than DATA.TRAIN_CROP_SIZE "
            f"{train}, and the head pools windows of that size"
        )


def _build_slowfast(
    weights: Mapping[str, Tensor], layout: Layout, cfg: CfgNode, activation: type[nn.Module]
) -> nn.Module:
    width, fast_width = (weights[_stem(pathway)].shape[0] for pathway in (0, 1))
    lateral: dict[str, object] = {
        "slowfast_conv_channel_fusion_ratio": 0,
        "fusion_builder": _no_fusion,
    }
    if layout.fused:
        conv = weights["blocks.0.multipathway_fusion.conv_fast_to_slow.weight"]
        lateral = {
            "slowfast_conv_channel_fusion_ratio": conv.shape[0] // conv.shape[1],
            "slowfast_fusion_conv_kernel_size": tuple(conv.shape[2:]),
            "slowfast_fusion_conv_stride": (cfg.SLOWFAST.ALPHA, 1, 1),
        }
    model: nn.Module = create_slowfast(
        slowfast_channel_reduction_ratio=max(width // fast_width, 1),
        **lateral,
        model_depth=DEPTHS["pytorchvideo"][layout.blocks],
        model_num_class=len(weights["blocks.6.proj.bias"]),
        dropout_rate=0.0,
        stem_dim_outs=(width, fast_width),
        stem_conv_kernel_sizes=[tuple(weights[_stem(pathway)].shape[2:]) for pathway in (0, 1)],
        stage_conv_a_kernel_sizes=[
            _temporal_kernels(weights, layout, f".multipathway_blocks.{pathway}")
            for pathway in (0, 1)
        ],
        stage_conv_b_dilations=[_dilations(cfg, pathway) for pathway in (0, 1)],
        stage_spatial_strides=[_strides(cfg, pathway) for pathway in (0, 1)],
        head_pool=_pool(cfg),
        head_pool_kernel_sizes=(
            _window(cfg, cfg.DATA.NUM_FRAMES // cfg.SLOWFAST.ALPHA),
            _window(cfg, cfg.DATA.NUM_FRAMES),
        ),
        head_activation=activation,
    )
    return model


def _build_slow(
    weights: Mapping[str, Tensor], layout: Layout, cfg: CfgNode, activation: type[nn.Module]
) -> nn.Module:
    stem = weights["blocks.0.conv.weight"]
    model: nn.Module = create_resnet(
        model_depth=DEPTHS["pytorchvideo"][layout.blocks],
        model_num_class=len(weights["blocks.5.proj.bias"]),
        dropout_rate=0.0,
        stem_dim_out=stem.shape[0],
        stem_conv_kernel_size=tuple(stem.shape[2:]),
        stage_conv_a_kernel_size=_temporal_kernels(weights, layout, ""),
        stage_conv_b_dilation=_dilations(cfg, 0),
        stage_spatial_h_stride=_strides(cfg, 0),
        stage_spatial_w_stride=_strides(cfg, 0),
        head_pool=_pool(cfg),
        head_pool_kernel_size=_window(cfg, cfg.DATA.NUM_FRAMES),
        head_activation=activation,
    )
    return model


def _stem(pathway: int) -> str:
    return f"blocks.0.multipathway_blocks.{pathway}.conv.weight"


def _temporal_kernels(
    weights: Mapping[str, Tensor], layout: Layout, inside: str
) -> list[list[tuple[int, ...]]]:
    """Returns the kernel of every block's first convolution, stage by stage."""
    name = "blocks.{}{}.res_blocks.{}.branch2.conv_a.weight"
    return [
        [tuple(weights[name.format(stage, inside, block)].shape[2:]) for block in range(blocks)]
        for stage, blocks in zip(STAGES, layout.blocks, strict=True)
    ]


def _strides(cfg: CfgNode, pathway: int) -> list[int]:
    return [stage[pathway] for stage in _of_pathways(cfg, "SPATIAL_STRIDES", pathway)]


def _dilations(cfg: CfgNode, pathway: int) -> list[tuple[int, int, int]]:
    stages = _of_pathways(cfg, "SPATIAL_DILATIONS", pathway)
    return [(1, stage[pathway], stage[pathway]) for stage in stages]


def _of_pathways(cfg: CfgNode, name: str, pathway: int) -> list[list[int]]:
    stages: list[list[int]] = cfg.RESNET[name]
    if len(stages) != len(STAGES) or not all(
        isinstance(stage, list | tuple)
        and len(stage) > pathway
        and all(isinstance(value, int) and value > 0 for value in stage)
        for stage in stages
    ):
        raise InputError(f"RESNET.{name}: {stages} is not a number for each stage and pathway")
    return stages


def _pool(cfg: CfgNode) -> type[nn.Module]:
    return nn.AdaptiveAvgPool3d if cfg.MULTIGRID.SHORT_CYCLE else nn.AvgPool3d


def _window(cfg: CfgNode, frames: int) -> tuple[int, int, int]:
    side = max(cfg.DATA.TRAIN_CROP_SIZE // STRIDE, 1)
    return frames, side, side


def _no_fusion(fusion_dim_in: int, stage_idx: int) -> nn.Module:
    return nn.Identity()
