"""MODEL.ARCH fast: SlowFast's fast pathway alone, in training, inference and its commands."""

import argparse

import pytest
import torch

from slowfast_ac.checkpoint.initial import initial_weights
from slowfast_ac.cli import explain as explain_command
from slowfast_ac.errors import InputError
from slowfast_ac.inference import load
from slowfast_ac.inference.features import check_stream
from slowfast_ac.models.surgery import captured_inputs

# Of the tiny SlowFast, whose pathways have 8 channels and 1.
FAST = ("MODEL.ARCH", "fast", "DATA.NUM_FRAMES", 8, "RESNET.WIDTH_PER_GROUP", 1)
CLASSIFIER = {"head.projection.weight", "head.projection.bias"}


@pytest.fixture
def networks(trained):
    """Returns a function: name of a network of two pathways -> it, and the fast one alone."""
    return lambda name: (trained(name)[1], trained("Slow", *FAST)[1])


@pytest.mark.parametrize("name", ["SlowFastAC", "SlowFast"])
def test_its_features_are_those_of_the_fast_pathway(networks, noise, trained, name):
    two, alone = networks(name)
    weights, report = initial_weights(two.state_dict(), alone.state_dict(), CLASSIFIER)
    assert set(report.new) == CLASSIFIER and not report.cut
    alone.load_state_dict(weights, strict=False)
    cfg, *_ = trained(name)
    clip = noise(cfg, 2)
    with torch.no_grad(), captured_inputs(two.head) as both, captured_inputs(alone.head) as own:
        two.eval()([clip[:, :, ::4], clip])
        alone.eval()([clip])
    assert own[0].std() > 0
    torch.testing.assert_close(own[0], both[1])


def test_its_weights_start_the_fast_pathway_of_two(networks):
    two, alone = networks("SlowFastAC")
    weights, report = initial_weights(alone.state_dict(), two.state_dict(), CLASSIFIER)
    fast = {name for name in two.state_dict() if ".pathway1_" in name}
    assert set(weights) == fast and set(report.unused) == CLASSIFIER
    for name, weight in weights.items():
        assert torch.equal(weight, alone.state_dict()[name.replace("pathway1", "pathway0")])


def test_the_slow_pathway_stays_the_slow_one(trained):
    two, slow = trained("SlowFastAC")[1], trained("Slow")[1]
    weights, _ = initial_weights(two.state_dict(), slow.state_dict(), CLASSIFIER)
    for name, weight in weights.items():
        assert torch.equal(weight, two.state_dict()[name])


def test_it_answers_without_pyslowfast(trained, noise, scores, monkeypatch):
    cfg, network, path = trained("Slow", *FAST)

    def build(*args):
        raise AssertionError("built by PySlowFast")

    monkeypatch.setattr(load, "build_with_pyslowfast", build)
    model = load.load_model(path)
    clips = noise(cfg, 2)
    torch.testing.assert_close(model.scores([clips]), scores(network, cfg, clips))
    assert model.preprocessing.alpha is None
    assert check_stream(model, "both") == check_stream(model, "fast") == ("fast",)
    with pytest.raises(InputError, match="one pathway has no slow stream"):
        check_stream(model, "slow")


def test_explain_counts_it_as_the_fast_pathway(upstream, capsys):
    parser = argparse.ArgumentParser()
    explain_command.add_arguments(parser)
    config = "slowfast_ac/configs/Kinetics/FAST_16x4_R50.yaml"
    explain_command.main(parser.parse_args([config, "--cost"]))
    printed = capsys.readouterr().out
    assert "16 frames, 4 apart" in printed
    assert "\nfast " in printed and "\nslow " not in printed
