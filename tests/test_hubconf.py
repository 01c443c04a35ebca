"""The entry points of torch.hub."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorchvideo.models import create_resnet, create_slowfast
from torch import nn

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
AC = ("DATA.NUM_FRAMES", 8)
FUSED = (*AC, "MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)


def save(model, cfg, path, naming="pyslowfast"):
    weights = model.state_dict()
    if naming == "pytorchvideo":
        weights, _ = convert(weights, "pyslowfast", "pytorchvideo")
    torch.save({"model_state": weights, "epoch": 3, "cfg": cfg.dump()}, path)


def hub(name, **options):
    return torch.hub.load(str(ROOT), name, source="local", **options)


def spread(model):
    """Moves every BatchNorm's numbers away from where they start; the logits spread by about 1."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize(
    "naming", ["pyslowfast", pytest.param("pytorchvideo", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("name", "opts"),
    [
        ("slowfast_ac_r50", AC),
        pytest.param("slowfast_r50_fused", FUSED, marks=pytest.mark.slow),
        pytest.param("slow_r50", SLOW, marks=pytest.mark.slow),
    ],
)
def test_hub_network_with_our_weights_gives_upstreams_scores(
    build_model, tiny_cfg, tmp_path, name, opts, naming
):
    from slowfast.datasets.utils import pack_pathway_output

    cfg = tiny_cfg(*opts, "RESNET.WIDTH_PER_GROUP", 64, "MODEL.FC_INIT_STD", 0.02)
    torch.manual_seed(0)
    model = spread(build_model(cfg))
    save(model, cfg, tmp_path / "x.pyth", naming)
    network = hub(name, pretrained=str(tmp_path / "x.pyth"), num_classes=7)
    clip = torch.randn(
        1, 3, cfg.DATA.NUM_FRAMES, 64, 64, generator=torch.Generator().manual_seed(0)
    )
    pathways = [pathway[None] for pathway in pack_pathway_output(cfg, clip[0])]
    inputs = clip if name == "slow_r50" else list(pathways)
    with torch.no_grad():
        expected = model(pathways)
        found = network(inputs).softmax(dim=1)
    assert expected.std() > 0.01, "scores that are all alike prove nothing"
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_hub_refuses_another_network_class_count_or_alpha(build_model, tiny_cfg, tmp_path):
    path = tmp_path / "x.pyth"
    cfg = tiny_cfg(*AC)
    save(build_model(cfg), cfg, path)
    with pytest.raises(InputError, match=r"x\.pyth: num_classes: 400, but .* 7 classes"):
        hub("slowfast_ac_r50", pretrained=str(path), num_classes=400)
    with pytest.raises(InputError, match=r"x\.pyth: was trained with SLOWFAST.ALPHA 4, but 8 is"):
        hub("slowfast_ac_r50", pretrained=str(path), alpha=8)
    with pytest.raises(InputError, match=r"x\.pyth: was trained with DATA.NUM_FRAMES 8, but 16"):
        hub("slowfast_ac_r50", pretrained=str(path), num_frames=16)
    with pytest.raises(InputError, match=r"x\.pyth: holds SlowFastAC, not SlowFast"):
        hub("slowfast_r50_fused", pretrained=str(path))
    with pytest.raises(InputError, match=r"absent: no such file"):
        hub("slow_r50", pretrained=str(tmp_path / "absent"))


@pytest.mark.parametrize(
    "name", [pytest.param("slowfast_r50_fused", marks=pytest.mark.slow), "slow_r50"]
)
def test_hub_asks_for_the_frames_where_the_file_does_not_say(tmp_path, name):
    """As PyTorchVideo's zoo: SLOW_8x8 and SLOWFAST_8x8, which has a fusion kernel of 7."""
    if name == "slow_r50":
        network = create_resnet(
            model_num_class=7,
            stem_dim_out=8,
            stem_conv_kernel_size=(1, 7, 7),
            head_pool_kernel_size=(8, 7, 7),
            dropout_rate=0,
        )
        inputs = torch.randn(1, 3, 8, 224, 224, generator=torch.Generator().manual_seed(0))
        frames, given = 8, inputs
    else:
        network = create_slowfast(
            model_num_class=7,
            stem_dim_outs=(8, 1),
            head_pool_kernel_sizes=((8, 7, 7), (32, 7, 7)),
            dropout_rate=0,
        )
        fast = torch.randn(1, 3, 32, 224, 224, generator=torch.Generator().manual_seed(0))
        frames, inputs, given = 32, [fast[:, :, ::4], fast], [fast[:, :, ::4], fast]
    spread(network)
    torch.save({"model_state": network.state_dict()}, tmp_path / "zoo.pyth")
    with pytest.raises(InputError, match=r"zoo\.pyth: holds no config, .* give num_frames"):
        hub(name, pretrained=str(tmp_path / "zoo.pyth"))
    found = hub(name, pretrained=str(tmp_path / "zoo.pyth"), num_frames=frames)
    with torch.no_grad():
        expected, logits = network(inputs), found(given)
    assert expected.std() > 0.01, "logits that are all alike prove nothing"
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_hub_needs_no_pyslowfast():
    code = (
        "import sys, torch\n"
        "sys.modules['slowfast'] = None\n"
        f"model = torch.hub.load({str(ROOT)!r}, 'slowfast_ac_r50', source='local', num_classes=3)\n"
        "print(sum(p.numel() for n, p in model.named_parameters() if 'fusion' in n))\n"
        "print(model.eval()(torch.zeros(1, 3, 16, 224, 224)).shape[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.stdout.split() == ["0", "3"], done.stderr
