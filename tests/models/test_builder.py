"""create_slowfast_ac: PyTorchVideo's network without lateral connections, clips in."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pytorchvideo.models import create_slowfast

from slowfast_ac import PackPathway, create_slowfast_ac
from slowfast_ac.errors import InputError

DOC = Path(__file__).resolve().parents[2] / "docs/PYTORCHVIDEO.md"


@pytest.fixture
def model(plain_network):
    return plain_network()


def test_logits_are_those_of_a_fused_create_slowfast_with_zero_lateral_weights(model, clip):
    fused = create_slowfast(
        model_depth=18,
        model_num_class=7,
        dropout_rate=0.0,
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        stem_dim_outs=(8, 1),
        head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2)),
    )
    weights = fused.state_dict()
    for name, value in model.model.state_dict().items():
        if value.dim() == 5 and value.shape != weights[name].shape:
            lateral = torch.zeros(len(value), weights[name].shape[1] - value.shape[1], 1, 1, 1)
            lateral = lateral.expand(-1, -1, *value.shape[2:])
            value = torch.cat([value, lateral], dim=1)
        weights[name] = value
    fused.load_state_dict(weights)
    model.eval(), fused.eval()
    with torch.no_grad():
        expected = fused([clip[:, :, torch.linspace(0, 7, 2).long()], clip])
        torch.testing.assert_close(model(clip), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_a_clip_and_its_two_pathways_give_the_same(model, clip):
    model.eval()
    pathways = PackPathway(4)(clip)
    with torch.no_grad():
        assert torch.equal(model(clip), model(pathways))
        assert torch.equal(model(clip), model(tuple(pathways)))
    assert [pathway.shape[2] for pathway in pathways] == [2, 8]


def test_the_given_list_keeps_its_clips(model, clip):
    pathways = PackPathway(4)(clip)
    before = list(pathways)
    model(pathways)
    assert all(now is then for now, then in zip(pathways, before, strict=True))


def test_neither_pathway_reaches_the_other(model, clip):
    slow, fast = (pathway.requires_grad_() for pathway in PackPathway(4)(clip.clone()))
    features = []
    model.model.blocks[5].register_forward_pre_hook(lambda _, args: features.extend(args[0]))
    model([slow, fast])
    for own, other, feature in ((slow, fast, features[0]), (fast, slow, features[1])):
        gradients = torch.autograd.grad(
            feature.sum(), [own, other], allow_unused=True, retain_graph=True
        )
        assert gradients[0].abs().sum() > 0
        assert gradients[1] is None


def test_weights_are_named_as_in_pyslowfasts_ptv_models(model):
    names = list(model.state_dict())
    assert names[0] == "model.blocks.0.multipathway_blocks.0.conv.weight"
    assert not [name for name in names if "fusion" in name]


def test_defaults_are_the_papers_r50_with_16_frames():
    model = create_slowfast_ac()
    # Measured by the paper's upstream for R50 without lateral connections.
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 33.07
    assert model.classifier_weight().shape == (400, 2048 + 256)
    pools = [pool.kernel_size for pool in model.model.blocks[5].pool]
    assert pools == [(4, 7, 7), (16, 7, 7)]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda clip: clip[:, :, :6], "the clip has 6 frames, but the network takes 8"),
        (lambda clip: [clip], "1 pathways: give one clip, or two pathways"),
        (lambda clip: [clip, clip], "the slow pathway has 8 frames, but the network takes 2"),
        (lambda clip: [clip[:, :, :2]] * 2, "the fast pathway has 2 frames, but .* takes 8"),
        (lambda clip: clip[0], r"the clip is \[3, 8, 64, 64\], not \(N, 3, 8, H, W\)"),
        (lambda clip: clip.transpose(1, 2), r"the clip is \[2, 8, 3, 64, 64\], not \(N, 3"),
        (lambda clip: clip[..., :48], "frames of 64 x 48, smaller than crop_size 64"),
    ],
)
def test_a_wrong_clip_is_explained(model, clip, change, message):
    with pytest.raises(InputError, match=message):
        model(change(clip))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"alpha": 3}, "alpha 3 does not divide num_frames 8"),
        ({"alpha": 16}, "alpha 16 does not divide num_frames 8"),
        ({"crop_size": 16}, "crop_size 16 is not a multiple of the backbone's stride of 32"),
        ({"crop_size": 112}, "crop_size 112 is not a multiple"),
        ({"model_depth": 34}, "model_depth 34 is not one of 18, 50, 101, 152"),
        ({"slowfast_channel_reduction_ratio": 0}, "slowfast_channel_reduction_ratio 0 is less"),
        ({"stem_dim_out": 12}, "8 does not divide stem_dim_out 12"),
        ({"crop_size": 32}, "^scales: 0.5 of crop_size 32"),
        ({"scales": [0.5]}, r"^scales: \[0.5\] must start with 1.0"),
        ({"frame_stride": 0}, "^frame_stride: 0 is not a whole number"),
    ],
)
def test_a_network_that_cannot_be_is_refused(plain_network, options, message):
    with pytest.raises(InputError, match=message):
        plain_network(**options)


def test_the_documented_training_step_trains_with_both_terms():
    code = re.search(r"```python\n(# Train.*?)```", DOC.read_text(), re.S)[1]
    assert len(code.splitlines()) <= 12
    # The same code at a tiny size.
    arguments = "model_num_class=7, model_depth=18, stem_dim_out=8, num_frames=8, crop_size=64"
    tiny, count = re.subn(r"create_slowfast_ac\([^)]*\)", f"create_slowfast_ac({arguments})", code)
    assert count == 1
    clips = torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3])

    def run(*batches):
        names = {"loader": batches}
        torch.manual_seed(0)
        exec(tiny, names)
        return names

    step = run((clips, labels))
    assert step["loss"] > F.cross_entropy(step["output"].logits, labels)
    before, after = run()["model"], step["model"]
    # The last BatchNorm of a block starts at zero, and before it nothing moves in the first step.
    for name in ("blocks.0.multipathway_blocks.0.conv", "blocks.6.proj"):
        weights = [model.model.get_submodule(name).weight for model in (before, after)]
        assert not torch.equal(*weights), name
        assert weights[1].isfinite().all()
