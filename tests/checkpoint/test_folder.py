"""A network's folder, written here by hand: config.json, model.safetensors."""

import hashlib
import json
import sys
import types

import pytest
import torch
import yaml

from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.errors import InputError

save_file = pytest.importorskip("safetensors.torch").save_file


@pytest.fixture
def network(build_model, tiny_cfg):
    torch.manual_seed(0)
    cfg = tiny_cfg("DATA.NUM_FRAMES", 8)
    return build_model(cfg), yaml.safe_load(cfg.dump())


@pytest.fixture
def folder(network, tmp_path):
    """Returns a function: keys of config.json, those that are None left out -> the folder."""
    model, cfg = network

    def write(name="network", **changes):
        path = tmp_path / name
        path.mkdir()
        save_file(model.state_dict(), path / "model.safetensors")
        config = {
            "model_type": "slowfast_ac",
            "config": cfg,
            "id2label": {str(label): f"class {label}" for label in range(7)},
            "sha256": hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest(),
            **changes,
        }
        config = {key: value for key, value in config.items() if value is not None}
        (path / "config.json").write_text(json.dumps(config))
        return path

    return write


def test_a_folder_is_opened_by_its_name_or_that_of_its_weights(folder, network):
    path = folder(epoch=3)
    for given in (path, str(path), path / "model.safetensors"):
        checkpoint = open_checkpoint(given)
        assert checkpoint.path == str(given) and checkpoint.model == "SlowFastAC"
        assert checkpoint.config == network[1] and checkpoint.epoch == 3
        assert json.loads(checkpoint.texts["classes"])["6"] == "class 6"
        for name, value in network[0].state_dict().items():
            assert torch.equal(checkpoint.state_dict[name], value)


def test_weights_that_are_not_those_of_the_config_are_refused(folder):
    path = folder()
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: changed or damaged"):
        open_checkpoint(path)


def test_a_config_without_the_hash_or_the_names_is_taken(folder):
    checkpoint = open_checkpoint(folder(sha256=None, id2label=None))
    assert checkpoint.num_classes == 7 and "classes" not in checkpoint.texts


def test_names_that_are_said_twice_and_not_the_same_are_refused(folder):
    labels = {f"class {label}": label for label in range(7)}
    assert open_checkpoint(folder("same", label2id=labels)).num_classes == 7
    labels["class 0"], labels["class 1"] = 1, 0
    with pytest.raises(InputError, match=r"config\.json: id2label and label2id disagree"):
        open_checkpoint(folder("other", label2id=labels))


def test_the_config_of_another_library_is_none_of_the_weights(folder):
    assert open_checkpoint(folder(model_type="timesformer") / "model.safetensors").config is None


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_config_that_is_none_is_named(folder, text):
    path = folder()
    (path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"config\.json: not a config in JSON"):
        open_checkpoint(path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}: a folder without model.safetensors"):
        open_checkpoint(tmp_path)


# Repositories of the Hub. No test reaches it.


def test_a_repository_needs_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"hf://a/b: needs .*; pip install 'slowfast_ac\[hub\]'"):
        open_checkpoint("hf://a/b")


@pytest.fixture
def hub(monkeypatch):
    """Returns a function: what replaces huggingface_hub's snapshot_download -> None."""

    def install(snapshot_download):
        errors = types.ModuleType("huggingface_hub.errors")
        errors.HfHubHTTPError = errors.HFValidationError = type("HubError", (Exception,), {})
        module = types.ModuleType("huggingface_hub")
        module.snapshot_download, module.errors = snapshot_download, errors
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)

    return install


def test_a_repository_is_its_folder(folder, hub):
    path, asked = folder(), []

    def download(repo_id, revision, allow_patterns):
        asked.append((repo_id, revision, sorted(allow_patterns)))
        return str(path)

    hub(download)
    assert open_checkpoint("hf://me/net").num_classes == 7
    assert open_checkpoint("hf://me/net@v1.0").path == "hf://me/net@v1.0"
    files = ["config.json", "model.safetensors"]
    assert asked == [("me/net", None, files), ("me/net", "v1.0", files)]


def test_what_the_hub_refuses_is_one_line(hub, tmp_path):
    def refuse(*_, **__):
        raise sys.modules["huggingface_hub"].errors.HfHubHTTPError("404\n\nnot found")

    hub(refuse)
    with pytest.raises(InputError, match=r"^hf://me/net: cannot be downloaded: 404 not found$"):
        open_checkpoint("hf://me/net")
    hub(lambda *_, **__: str(tmp_path))
    with pytest.raises(InputError, match=r"^hf://me/net: has no model\.safetensors$"):
        open_checkpoint("hf://me/net")
