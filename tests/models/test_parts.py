"""Parts of PySlowFast's and PyTorchVideo's networks, and freezing them."""

import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_ac.errors import InputError
from slowfast_ac.models.parts import find_classifier, find_parts, freeze, names_in, new_layers

CROSS_ENTROPY = ("MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.ARCH", "slow", "DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4, *CROSS_ENTROPY),
)
MODELS = {
    "SlowFastAC": (),
    "SlowFastAC+detail": ("SCAM.UPSAMPLE", True),
    "SlowFast": CROSS_ENTROPY,
    "ResNet": SLOW,
    "SlowAC": SLOW,
    "PTVSlowFastAC": (),
    "PTVSlowFast": CROSS_ENTROPY,
    "PTVResNet": SLOW,
}
ALL = [
    pytest.param(name, marks=[pytest.mark.checkout] if name.startswith("PTV") else [])
    for name in MODELS
]


@pytest.fixture
def build(build_model, tiny_cfg):
    """Returns a function: name in MODELS and config keys -> upstream's model in training mode."""

    def make(name, *opts):
        torch.manual_seed(0)
        class_name = name.partition("+")[0]
        return build_model(tiny_cfg("MODEL.MODEL_NAME", class_name, *MODELS[name], *opts)).train()

    return make


def new_parameters(model):
    return names_in(model, new_layers(model))


def step(name, model, clips):
    """Gradients of a loss that reaches predictions and maps."""
    preds = model(clips[:1] if MODELS[name] is SLOW else list(clips))
    loss = preds.logsumexp(1).sum()
    if hasattr(preds, "attention"):
        loss = loss + (preds.attention.spatial - preds.attention.temporal).norm()
    loss.backward()
    return preds


def statistics(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("name", ALL)
def test_new_parameters_are_those_that_change_with_the_classes(build, name):
    model, other = build(name), build(name, "MODEL.NUM_CLASSES", 9)
    shapes = {key: p.shape for key, p in other.named_parameters()}
    changed = {key for key, p in model.named_parameters() if p.shape != shapes[key]}
    assert len(changed) == 2
    scam = {key for key in shapes if key.startswith("scam.")}
    assert bool(scam) == (name == "SlowFastAC+detail")
    assert names_in(model, [find_classifier(model)]) == changed
    assert new_parameters(model) == changed | scam


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_of_the_backbone_is_in_one_pathway_of_one_stage(build, name):
    model = build(name)
    parts = find_parts(model)
    backbone = {key for key, _ in model.named_parameters()} - new_parameters(model)
    stages = [part for part in parts if part in ("s1", "s2", "s3", "s4", "s5")]
    pathways = [part for part in parts if part in ("slow", "fast", "lateral")]
    assert len(stages) == 5
    single, fused = MODELS[name] is SLOW, name.endswith("SlowFast")
    assert len(pathways) == (1 if single else 3 if fused else 2)
    for kinds in (stages, pathways, [part for part in parts if "." in part]):
        found = [names_in(model, parts[part]) for part in kinds]
        assert sum(map(len, found)) == len(backbone)
        assert set.union(*found) == backbone
    for part in parts:
        if "." in part:
            stage, pathway = (names_in(model, parts[p]) for p in part.split("."))
            assert names_in(model, parts[part]) == stage & pathway


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("frozen", [["slow"], ["s1", "s2"], ["s5.slow", "s1"], ["backbone"]])
def test_what_is_frozen_gets_no_gradient_and_keeps_its_statistics(build, clips, name, frozen):
    model = build(name)
    parts = find_parts(model)
    backbone = {key for key, _ in model.named_parameters()} - new_parameters(model)
    expected = backbone
    if frozen != ["backbone"]:
        expected = set.union(*(names_in(model, parts[part]) for part in frozen))
    freeze(model, frozen)
    before = statistics(model)
    model.train()
    step(name, model, clips)
    with torch.no_grad():  # as in Precise BN
        model(clips[:1] if MODELS[name] is SLOW else list(clips))
    for key, parameter in model.named_parameters():
        if key in expected:
            assert parameter.grad is None and not parameter.requires_grad, key
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    layers = {key for key, module in model.named_modules() if isinstance(module, _BatchNorm)}
    assert layers
    for layer in layers:
        kept = f"{layer}.weight" in expected
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            key = f"{layer}.{buffer}"
            assert torch.equal(before[key], model.get_buffer(key)) == kept, key


def test_no_graph_is_built_into_a_frozen_slow_pathway_at_any_scale(build, clips):
    model = build("SlowFastAC", "SCAM.SCALES", [1.0, 0.5])
    freeze(model, ["slow"])
    outputs = {"slow": [], "fast": []}
    for pathway, number in (("slow", 0), ("fast", 1)):
        block = getattr(model.s5, f"pathway{number}_res2")
        block.register_forward_hook(lambda *args, to=outputs[pathway]: to.append(args[-1]))
    preds = step("SlowFastAC", model.train(), clips)
    assert len(outputs["slow"]) == 2  # the clip and its half
    assert not any(features.requires_grad for features in outputs["slow"])
    assert outputs["fast"][0].requires_grad
    # The classifier is trained by both maps.
    assert preds.attention.spatial.requires_grad


def test_a_frozen_network_evaluates_and_copies_as_before(build, clips):
    model = build("SlowFastAC").eval()
    expected = model(list(clips))
    freeze(model, ["slow", "s5.fast"])
    twin = copy.deepcopy(model)
    assert torch.equal(model.train().eval()(list(clips)), expected)
    twin.train()
    assert not twin.s5.pathway1_res0.training and twin.s4.pathway1_res0.training
    # Each has layers of its own.
    twin.s5.pathway1_res0.training = None
    assert model.s5.pathway1_res0.training is False


def test_modules_are_frozen_by_their_own_names(build):
    model = build("SlowFast")
    freeze(model, ["s2_fuse", "s3.pathway0_res1.branch2"])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    branch = {name for name, _ in model.named_parameters() if "s3.pathway0_res1.branch2." in name}
    assert frozen == branch | {"s2_fuse.conv_f2s.weight", "s2_fuse.bn.weight", "s2_fuse.bn.bias"}


@pytest.mark.checkout
def test_a_transformers_loose_parameters_belong_to_its_backbone(upstream):
    from pathlib import Path

    from slowfast_ac.pyslowfast.build import build_model
    from slowfast_ac.pyslowfast.config_file import load_config

    path = Path(upstream.root) / "configs/Kinetics/MVIT_B_16x4_CONV.yaml"
    model = build_model(load_config(path, ["NUM_GPUS", 0]))
    assert not find_parts(model)
    freeze(model, ["blocks.0"])
    assert not model.blocks[0].attn.proj.weight.requires_grad and model.cls_token.requires_grad
    freeze(model, ["backbone"])
    assert not model.cls_token.requires_grad
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"head.projection.weight", "head.projection.bias"} == new_parameters(model)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["s9"], "'s9' is not a part or module of SlowFastAC, whose parts are backbone, s1, "),
        (["lateral"], "'lateral' is not a part or module of SlowFastAC"),  # it has none
        (["slow", ""], "'' is not a part"),
        (["head"], "'head' contains the classifier"),
        (["slow", "head.projection"], "'head.projection' contains the classifier"),
    ],
)
def test_what_cannot_be_frozen_is_named_and_nothing_is_frozen(build, names, message):
    model = build("SlowFastAC")
    with pytest.raises(InputError, match=message):
        freeze(model, names)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_network_without_a_known_head_is_refused():
    with pytest.raises(InputError, match="Sequential has no known classifier"):
        new_layers(torch.nn.Sequential(torch.nn.Linear(2, 2)))
