"""Entry points of torch.hub: ``torch.hub.load(FOLDER, "slowfast_ac_r50", source="local")``.

PySlowFast is not needed. The networks are PyTorchVideo's R50 and return logits.
"""

dependencies = ["torch", "pytorchvideo", "fvcore"]

# Without a checkpoint to say otherwise: 4x16, the setting of the paper's Kinetics-400 models.
_FAST_FRAMES = 16
_SLOW_FRAMES = 4
_CROP_SIZE = 224
_FUSION_KERNEL_SIZE = 5


def slowfast_ac_r50(pretrained: str | None = None, num_classes: int = 400, alpha: int = 4):
    """Branch-independent SlowFast R50, with the maps of attention consistency in training.

    Takes a clip (N, 3, T, H, W) or the two pathways' clips. T and the crop size are the
    checkpoint's, or 16 and 224.

    Args:
        pretrained: a file with SlowFastAC's weights, under PySlowFast's or PyTorchVideo's names.
        num_classes: outputs.
        alpha: fast frames per slow frame.

    Raises:
        slowfast_ac.errors.InputError: naming the file, if it holds another network.
    """
    from slowfast_ac.models.builder import create_slowfast_ac

    checkpoint = _open(pretrained)
    network = create_slowfast_ac(
        model_num_class=num_classes,
        num_frames=_config(checkpoint, "DATA.NUM_FRAMES", _FAST_FRAMES),
        alpha=alpha,
        crop_size=_config(checkpoint, "DATA.TRAIN_CROP_SIZE", _CROP_SIZE),
    )
    return _load(network, checkpoint, num_classes, alpha)


def slowfast_r50_fused(pretrained: str | None = None, num_classes: int = 400, alpha: int = 4):
    """SlowFast R50 with lateral connections, the baseline: PyTorchVideo's ``create_slowfast``.

    Takes the list of the slow and the fast pathway's clips. T and the crop size are the
    checkpoint's, or 16 and 224.

    Args:
        pretrained: a file with SlowFast's weights, under PySlowFast's or PyTorchVideo's names.
        num_classes: outputs.
        alpha: fast frames per slow frame.

    Raises:
        slowfast_ac.errors.InputError: naming the file, if it holds another network.
    """
    from pytorchvideo.models import create_slowfast

    checkpoint = _open(pretrained)
    frames = _config(checkpoint, "DATA.NUM_FRAMES", _FAST_FRAMES)
    side = _config(checkpoint, "DATA.TRAIN_CROP_SIZE", _CROP_SIZE) // 32
    # 5 in PySlowFast's configs, 7 in PyTorchVideo's zoo, whose files have no config.
    laterals = ("conv_f2s.weight", "conv_fast_to_slow.weight", "subsample_w")
    weights = checkpoint.state_dict if checkpoint else {}
    kernel_sizes = [value.shape[2] for name, value in weights.items() if name.endswith(laterals)]
    kernel_size = kernel_sizes[0] if kernel_sizes else _FUSION_KERNEL_SIZE
    network = create_slowfast(
        slowfast_fusion_conv_kernel_size=(kernel_size, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        model_num_class=num_classes,
        head_pool_kernel_sizes=((frames // alpha, side, side), (frames, side, side)),
    )
    return _load(network, checkpoint, num_classes, alpha)


def slow_r50(pretrained: str | None = None, num_classes: int = 400):
    """The slow pathway alone, R50: PyTorchVideo's ``create_resnet``.

    Takes a clip (N, 3, T, H, W). T and the crop size are the checkpoint's, or 4 and 224.

    Args:
        pretrained: a file with Slow's or SlowAC's weights, under PySlowFast's or PyTorchVideo's
            names.
        num_classes: outputs.

    Raises:
        slowfast_ac.errors.InputError: naming the file, if it holds another network.
    """
    from pytorchvideo.models import create_resnet

    checkpoint = _open(pretrained)
    side = _config(checkpoint, "DATA.TRAIN_CROP_SIZE", _CROP_SIZE) // 32
    network = create_resnet(
        model_num_class=num_classes,
        stem_conv_kernel_size=(1, 7, 7),
        head_pool_kernel_size=(
            _config(checkpoint, "DATA.NUM_FRAMES", _SLOW_FRAMES),
            side,
            side,
        ),
    )
    return _load(network, checkpoint, num_classes, None)


def _open(pretrained):
    from slowfast_ac.checkpoint.open import open_checkpoint

    return None if pretrained is None else open_checkpoint(pretrained)


def _config(checkpoint, key, default):
    """Returns what the checkpoint's config has under a key, or the default."""
    from slowfast_ac.checkpoint.open import config_value

    value = config_value(checkpoint.config, key) if checkpoint else None
    return default if value is None else value


def _load(network, checkpoint, num_classes, alpha):
    from slowfast_ac.checkpoint.load import load_weights

    if checkpoint is not None:
        load_weights(network, checkpoint, num_classes=num_classes, alpha=alpha)
    return network
