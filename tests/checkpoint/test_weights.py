"""Weights are found at any depth and under any prefix, whatever other trainers put around them."""

import argparse
import collections
import dataclasses
import datetime
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorchvideo.models import create_slowfast

from slowfast_ac.checkpoint.initial import find_network
from slowfast_ac.checkpoint.open import open_all, open_checkpoint
from slowfast_ac.cli import convert as convert_command
from slowfast_ac.cli import inspect as inspect_command
from slowfast_ac.errors import InputError

CFG = "SLOWFAST:\n  ALPHA: 4\n"


@pytest.fixture(scope="module")
def weights():
    """The weights of a tiny SlowFast of PyTorchVideo."""
    torch.manual_seed(0)
    return create_slowfast(model_num_class=5, stem_dim_outs=(8, 1)).state_dict()


def prefixed(weights, prefix):
    return {prefix + name: value for name, value in weights.items()}


class Munch(dict):
    """A class of dicts whose name does not say so."""


@dataclasses.dataclass
class Settings:
    lr: float = 0.1


WRAPPED = {
    "compiled": lambda w: {"model_state": prefixed(w, "_orig_mod."), "cfg": CFG},
    "DDP and compiled": lambda w: {"model_state": prefixed(w, "module._orig_mod."), "cfg": CFG},
    "averaged": lambda w: {
        "model_state": {"n_averaged": torch.tensor(7), **prefixed(w, "module.")},
        "cfg": CFG,
    },
    "Lightning": lambda w: {"state_dict": prefixed(w, "model.model."), "cfg": CFG},
    "Lightning with a loss": lambda w: {
        "state_dict": {"criterion.weight": torch.ones(3), **prefixed(w, "net.")},
        "cfg": CFG,
    },
    "model_state_dict": lambda w: {"model_state_dict": w, "epoch": 3, "cfg": CFG},
    "model": lambda w: {"model": w, "epoch": 3, "cfg": CFG},
    "nested": lambda w: {"trainer": {"ema": {"shadow": w}}, "cfg": CFG},
    "flat with extras": lambda w: {**w, "epoch": 3, "cfg": CFG},
    "numpy scalar": lambda w: {"model_state": w, "cfg": CFG, "best": np.float64(93.5)},
    "numpy array": lambda w: {"model_state": w, "cfg": CFG, "confusion": np.eye(5)},
    "path": lambda w: {"model_state": w, "cfg": CFG, "folder": Path("runs/x")},
    "path as a key": lambda w: {"model_state": w, "cfg": CFG, "seen": {Path("a"): 1}},
    "defaultdict": lambda w: {
        "model_state": w,
        "cfg": CFG,
        "history": collections.defaultdict(list, {"a": [1]}),
    },
    "deque": lambda w: {"model_state": w, "cfg": CFG, "losses": collections.deque([1.0, 2.0])},
    "namespace": lambda w: {"model_state": w, "cfg": CFG, "args": argparse.Namespace(lr=0.1)},
    "dataclass": lambda w: {"model_state": w, "cfg": CFG, "args": Settings()},
    "date": lambda w: {"model_state": w, "cfg": CFG, "when": datetime.datetime(2026, 1, 2)},
    "dict of another package": lambda w: {"model_state": w, "cfg": CFG, "x": Munch(a=1)},
    "config as a dict": lambda w: {"model_state": w, "cfg": {"SLOWFAST": {"ALPHA": 4}}},
    "the same weights twice": lambda w: {"model": w, "state_dict": dict(w), "cfg": CFG},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", WRAPPED)
def test_whatever_is_around_them_the_weights_are_found(tmp_path, weights, kind, zipped):
    if kind == "deque" and torch.__version__.startswith("2.9."):
        pytest.skip("this torch appends to lists alone")
    path = tmp_path / "x.pyth"
    torch.save(WRAPPED[kind](weights), path, _use_new_zipfile_serialization=zipped)
    found = open_checkpoint(path)
    assert (found.model, found.num_classes, found.alpha) == ("PTVSlowFast", 5, 4)
    own = {name.removeprefix(found.prefix): value for name, value in found.state_dict.items()}
    assert list(own) == list(weights)
    assert all(torch.equal(own[name], value) for name, value in weights.items())


def test_a_config_node_of_fvcore_is_read_without_its_class(tmp_path, weights):
    from fvcore.common.config import CfgNode

    torch.save({"model_state": weights, "cfg": CfgNode({"SLOWFAST": {"ALPHA": 8}})}, tmp_path / "x")
    assert open_checkpoint(tmp_path / "x").config == {"SLOWFAST": {"ALPHA": 8}}


def test_a_plain_pickle_is_read_past_what_is_no_weight(tmp_path, weights):
    data = {"state_dict": weights, "folder": Path("x"), "args": argparse.Namespace(lr=0.1)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(data))
    assert open_checkpoint(tmp_path / "x.pkl").model == "PTVSlowFast"


@pytest.mark.parametrize(
    "data",
    [
        lambda w: {"state_dict": prefixed(w, ""), "state_dict_ema": w},
        lambda w: {"student": w, "teacher": w},
        lambda w: {"state_dict": {**prefixed(w, "model."), **prefixed(w, "ema.module.")}},
        lambda w: {"model_state": {**w, **prefixed(w, "ema.")}},
    ],
    ids=["raw and averaged", "student and teacher", "two prefixes", "one inside the other"],
)
def test_two_networks_are_named_and_one_is_chosen(tmp_path, weights, data, capsys):
    path = tmp_path / "x.pyth"
    content = data(weights)
    # The second one differs from the first in one weight.
    groups = list(content.values())
    last = groups[-1]
    name = [name for name in last if name.endswith("proj.bias")][-1]
    content[list(content)[-1]] = {**last, name: last[name] + 1}
    torch.save(content, path)

    names = [checkpoint.weights for checkpoint in open_all(path)]
    assert len(names) == 2
    with pytest.raises(InputError, match="holds the weights of 2 networks: ") as error:
        open_checkpoint(path)
    assert all(name in str(error.value) for name in names) and "--weights" in str(error.value)
    first, second = (open_checkpoint(path, name) for name in names)
    biases = [
        next(v for n, v in found.state_dict.items() if n.endswith("proj.bias"))
        for found in (first, second)
    ]
    torch.testing.assert_close(biases[0] + 1, biases[1])
    with pytest.raises(InputError, match="--weights: 'nothing' is not one of "):
        open_checkpoint(path, "nothing")

    parser = argparse.ArgumentParser()
    inspect_command.add_arguments(parser)
    inspect_command.main(parser.parse_args([str(path)]))
    text = capsys.readouterr().out
    assert all(f"weights     {name} (choose with --weights)" in text for name in names)
    inspect_command.main(parser.parse_args([str(path), "--json"]))
    assert [found["weights"] for found in json.loads(capsys.readouterr().out)] == names


def test_a_part_of_a_name_chooses_if_one_alone_has_it(tmp_path, weights):
    data = {"state_dict": weights, "state_dict_ema": {n: v + 1 for n, v in weights.items()}}
    torch.save(data, tmp_path / "x")
    assert open_checkpoint(tmp_path / "x", "ema").weights == "state_dict_ema"
    assert open_checkpoint(tmp_path / "x", "state_dict").weights == "state_dict"
    with pytest.raises(InputError, match="'state' is not one of state_dict, state_dict_ema"):
        open_checkpoint(tmp_path / "x", "state")


def test_a_tensor_beside_an_unknown_network_is_not_taken_for_it(tmp_path):
    data = {"best": torch.tensor(0.9), "model": {"patch_embed.proj.weight": torch.ones(2, 3)}}
    torch.save(data, tmp_path / "x")
    assert list(open_checkpoint(tmp_path / "x").state_dict) == ["patch_embed.proj.weight"]


def test_what_is_left_aside_is_named(tmp_path, weights, capsys):
    torch.save(WRAPPED["Lightning with a loss"](weights), tmp_path / "x")
    assert open_checkpoint(tmp_path / "x").aside == ("criterion.weight",)
    parser = argparse.ArgumentParser()
    inspect_command.add_arguments(parser)
    inspect_command.main(parser.parse_args([str(tmp_path / "x")]))
    assert "left aside  criterion.weight\n" in capsys.readouterr().out


def test_a_strange_weight_inside_the_network_is_not_left_aside(tmp_path, weights):
    inside = {**prefixed(weights, "net."), "net.adapter.weight": torch.ones(2)}
    torch.save({"state_dict": inside}, tmp_path / "x")
    found = open_checkpoint(tmp_path / "x")
    assert found.model == "unknown" and found.problem.startswith("adapter.weight: not a weight")


class RunsCode:
    def __reduce__(self):
        return os.makedirs, ("ran",)


class RunsBuiltin:
    def __reduce__(self):
        return eval, ("__import__('os').makedirs('ran')",)


@pytest.mark.parametrize("evil", [RunsCode, RunsBuiltin])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("where", ["beside", "inside"])
def test_nothing_is_run(tmp_path, weights, monkeypatch, evil, zipped, where):
    monkeypatch.chdir(tmp_path)
    state = {**weights, "x": evil()} if where == "inside" else weights
    data = {"model_state": state, "extra": evil()}
    torch.save(data, "x.pyth", _use_new_zipfile_serialization=zipped)
    try:
        assert open_checkpoint("x.pyth").model == "PTVSlowFast"
    except InputError as error:
        assert "would run" in str(error)  # noqa: PT017
    assert not Path("ran").exists()


def test_a_whole_module_is_refused_by_name(tmp_path, weights):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x")
    with pytest.raises(InputError, match="would run torch.nn.modules.linear.Linear"):
        open_checkpoint(tmp_path / "x")
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "x")
    with pytest.raises(InputError, match=r"torch.nn.modules.linear.Linear \(at model\)"):
        open_checkpoint(tmp_path / "x")


@pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
def test_class_names_survive_a_conversion(tmp_path, suffix):
    weights = create_slowfast(model_num_class=2, stem_dim_outs=(8, 1)).state_dict()
    classes = json.dumps({"jump": 0, "run": 1})
    torch.save({"model_state": weights, "classes": classes}, tmp_path / "x.pyth")
    parser = argparse.ArgumentParser()
    convert_command.add_arguments(parser)
    output = tmp_path / f"y{suffix}"
    words = [str(tmp_path / "x.pyth"), str(output), "--to", "pyslowfast"]
    convert_command.main(parser.parse_args(words))
    assert open_checkpoint(output).texts == {"classes": classes}


def test_a_network_around_slowfast_is_no_slowfast(weights):
    """Upstream's contrastive models have one or two of them and layers of their own."""
    assert find_network(prefixed(weights, "model."))[:2] == ("pytorchvideo", "model.")
    alone = prefixed(weights, "backbone.")
    assert find_network({**alone, "predictors.0.weight": torch.ones(1)}) is None
    assert find_network({**alone, **prefixed(weights, "backbone_hist.")}) is None
