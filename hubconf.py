"""Entry points of torch.hub: ``torch.hub.load(FOLDER, "slowfast_ac_r50", source="local")``.

PySlowFast is not needed. The networks are PyTorchVideo's and return logits. Of a file with weights,
what it says or shows (classes, width, frames, alpha, strides) is taken from it; an argument that
says otherwise is refused.
"""

dependencies = ["torch", "pytorchvideo", "fvcore", "av"]

# Without a file: 4x16, the setting of the paper's Kinetics-400 models.
_CLASSES = 400
_FAST_FRAMES = 16
_SLOW_FRAMES = 4
_ALPHA = 4
_CROP_SIZE = 224
_SIDE = 7
_STRIDES = [[1, 1], [2, 2], [2, 2], [2, 2]]


def slowfast_ac_r50(
    pretrained: str | None = None,
    num_classes: int | None = None,
    alpha: int | None = None,
    num_frames: int | None = None,
):
    """Branch-independent SlowFast R50, with the maps of attention consistency in training.

    Takes a clip (N, 3, num_frames, H, W) or the two pathways' clips.

    Args:
        pretrained: SlowFastAC's weights, see ``slowfast_ac.load_model``.
        num_classes: outputs; by default the file's, or 400.
        alpha: fast frames per slow frame; by default the file's, or 4.
        num_frames: of a clip. Needed for a file without a config; without a file 16.

    Raises:
        slowfast_ac.errors.InputError: naming the file, if it holds another network.
    """
    from slowfast_ac.models.builder import create_slowfast_ac

    if pretrained is None:
        return create_slowfast_ac(
            model_num_class=num_classes or _CLASSES,
            num_frames=num_frames or _FAST_FRAMES,
            alpha=alpha or _ALPHA,
            crop_size=_CROP_SIZE,
        )
    from slowfast_ac.inference.pretrained import from_pretrained

    return from_pretrained(_load("SlowFastAC", pretrained, num_classes, num_frames, alpha))


def slowfast_r50_fused(
    pretrained: str | None = None,
    num_classes: int | None = None,
    alpha: int | None = None,
    num_frames: int | None = None,
):
    """SlowFast R50 with lateral connections, the baseline: PyTorchVideo's ``create_slowfast``.

    Takes the list of the slow and the fast pathway's clips.

    Args:
        pretrained: a file with SlowFast's weights.
        num_classes: see :func:`slowfast_ac_r50`, as the next two.
        alpha: fast frames per slow frame.
        num_frames: of the fast pathway's clip.

    Raises:
        slowfast_ac.errors.InputError: naming the file, if it holds another network.
    """
    if pretrained is not None:
        return _with_logits(_load("SlowFast", pretrained, num_classes, num_frames, alpha))
    from pytorchvideo.models import create_slowfast

    frames, alpha = num_frames or _FAST_FRAMES, alpha or _ALPHA
    return create_slowfast(
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        model_num_class=num_classes or _CLASSES,
        head_pool_kernel_sizes=((frames // alpha, _SIDE, _SIDE), (frames, _SIDE, _SIDE)),
    )


def slow_r50(
    pretrained: str | None = None, num_classes: int | None = None, num_frames: int | None = None
):
    """The slow pathway alone, R50: PyTorchVideo's ``create_resnet``.

    Takes a clip (N, 3, num_frames, H, W).

    Args:
        pretrained: a file with Slow's or SlowAC's weights.
        num_classes: outputs; by default the file's, or 400.
        num_frames: of a clip. Needed for a file without a config; without a file 4.

    Raises:
        slowfast_ac.errors.InputError: naming the file, if it holds another network.
    """
    if pretrained is not None:
        return _with_logits(_load("ResNet", pretrained, num_classes, num_frames, None))
    from pytorchvideo.models import create_resnet

    return create_resnet(
        model_num_class=num_classes or _CLASSES,
        stem_conv_kernel_size=(1, 7, 7),
        head_pool_kernel_size=(num_frames or _SLOW_FRAMES, _SIDE, _SIDE),
    )


def _load(kind, pretrained, num_classes, num_frames, alpha):
    """Loads a file, whose config or the arguments say what its weights do not show."""
    from slowfast_ac.checkpoint.open import open_checkpoint
    from slowfast_ac.errors import InputError
    from slowfast_ac.inference.load import load_model

    checkpoint = open_checkpoint(pretrained)
    found = checkpoint.model.removeprefix("PTV").replace("SlowAC", "ResNet")
    if found != kind:
        raise InputError(
            f"{pretrained}: holds {checkpoint.model}, not {kind}"
            + (f" ({checkpoint.problem})" if checkpoint.problem else "")
        )
    if num_classes not in (None, checkpoint.num_classes):
        raise InputError(
            f"{pretrained}: num_classes: {num_classes}, but the weights have "
            f"{checkpoint.num_classes} classes"
        )
    if checkpoint.config is None:
        if num_frames is None:
            raise InputError(
                f"{pretrained}: holds no config, and weights do not say what frames they take; "
                "give num_frames"
            )
        sizes = {"TRAIN_CROP_SIZE": _CROP_SIZE, "TEST_CROP_SIZE": _CROP_SIZE}
        config = {
            "DATA": {"NUM_FRAMES": num_frames, **sizes},
            "MODEL": {"ARCH": "slow" if checkpoint.pathways == 1 else "slowfast"},
            "RESNET": {"SPATIAL_STRIDES": _STRIDES, "SPATIAL_DILATIONS": [[1, 1]] * 4},
            "SLOWFAST": {"ALPHA": alpha or _ALPHA},
        }
        return load_model(checkpoint, config=config, device="cpu")
    given = {"DATA.NUM_FRAMES": num_frames, "SLOWFAST.ALPHA": alpha}
    opts = [part for item in given.items() if item[1] is not None for part in item]
    return load_model(checkpoint, opts=opts, device="cpu")


def _with_logits(model):
    """Returns PyTorchVideo's network, without the activation of PySlowFast's test."""
    from slowfast_ac.errors import InputError
    from slowfast_ac.inference.build import Classifier

    if not isinstance(model.network, Classifier):
        raise InputError(f"{model.path}: PyTorchVideo has no such network; use load_model")
    network = model.network.model
    network.blocks[-1].activation = None
    return network.requires_grad_(True)
