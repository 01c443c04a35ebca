"""Networks are shared in HuggingFace's form, with safetensors and huggingface_hub."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml

from slowfast_ac import (
    PackPathway,
    Preprocessing,
    create_slowfast_ac,
    describe_model,
    from_pretrained,
    load_model,
    push_to_hub,
    save_pretrained,
)
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.inference.predict import predict

SIZES = {"num_frames": 8, "alpha": 4, "crop_size": 64}
NAMES = ("run", "jump", "wave")
PREPROCESSING = Preprocessing(sampling_rate=2, mean=(0.4, 0.45, 0.5), **SIZES)


@pytest.fixture
def network(randomised):
    model = create_slowfast_ac(model_num_class=3, model_depth=18, stem_dim_out=8, **SIZES)
    return randomised(model, torch.randn(2, 3, 8, 64, 64, generator=torch.manual_seed(0)))


@pytest.fixture
def hub():
    return pytest.importorskip("huggingface_hub")


@pytest.fixture
def saved(network, hub, tmp_path):
    return save_pretrained(
        network, tmp_path / "net", preprocessing=PREPROCESSING, classes=list(NAMES)
    )


@torch.no_grad()
def probabilities(network, clip):
    return network.eval()(clip).softmax(1)


CLIP = torch.randn(2, 3, 8, 64, 64, generator=torch.manual_seed(3))


# The entries that a checkpoint needs beside the weights.


def test_a_described_checkpoint_answers_as_its_network(network, tmp_path):
    texts = describe_model(network, PREPROCESSING, NAMES)
    torch.save({"state_dict": network.state_dict(), **texts}, tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt", device="cpu")
    assert model.preprocessing == PREPROCESSING and model.classes == NAMES
    expected = probabilities(network, CLIP)
    assert expected.std() > 0.05
    torch.testing.assert_close(model.scores(PackPathway(4)(CLIP)), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"ends_with_span": True, "single_crop_scale": 80},
        {"ends_with_span": True, "single_crop_scale": 80, "resize_while_decoding": True},
        {"ends_with_span": True},
        {"dataset": "ssv2", "ensemble_method": "max", "reverse_input_channel": True},
        {"use_offset_sampling": True, "target_fps": 25.0, "crop_size": 96},
    ],
)
def test_every_preprocessing_comes_back(network, tmp_path, changes):
    preprocessing = Preprocessing.from_dict({**PREPROCESSING.to_dict(), **changes})
    texts = describe_model(network, preprocessing)
    torch.save({"state_dict": network.state_dict(), **texts}, tmp_path / "last.ckpt")
    assert load_model(tmp_path / "last.ckpt", device="cpu").preprocessing == preprocessing


def test_preprocessing_that_no_config_can_express_is_refused():
    for changes in ({"single_crop_scale": 80}, {"resize_while_decoding": True}):
        preprocessing = Preprocessing.from_dict({**PREPROCESSING.to_dict(), **changes})
        with pytest.raises(InputError, match=f"preprocessing: {next(iter(changes))} is"):
            preprocessing.to_config()


@pytest.mark.parametrize(
    ("preprocessing", "classes", "message"),
    [
        (Preprocessing(16, 2, 4, 64), None, "num_frames is 16, but the network's is 8"),
        (Preprocessing(8, 2, 2, 64), None, "alpha is 2, but the network's is 4"),
        (PREPROCESSING, ["a", "b"], "classes: 2 names, but the network has 3"),
    ],
)
def test_clips_and_classes_of_another_network_are_refused(network, preprocessing, classes, message):
    with pytest.raises(InputError, match=message):
        describe_model(network, preprocessing, classes)


# The folder.


def test_the_folder_holds_what_huggingface_looks_for(saved, network):
    from safetensors.torch import load_file

    assert sorted(path.name for path in saved.iterdir()) == [
        *("README.md", "config.json", "model.safetensors")
    ]
    config = json.loads((saved / "config.json").read_text())
    assert config["id2label"] == {"0": "run", "1": "jump", "2": "wave"}
    assert config["label2id"] == {"run": 0, "jump": 1, "wave": 2}
    assert config["preprocessing"] == PREPROCESSING.to_dict()
    weights = load_file(saved / "model.safetensors")
    for name, value in network.model.state_dict().items():
        assert torch.equal(weights[name], value)


def test_the_folder_answers_as_its_network(saved, network, videos):
    model = load_model(saved, device="cpu")
    assert model.classes == NAMES and model.preprocessing == PREPROCESSING
    torch.testing.assert_close(model.scores(PackPathway(4)(CLIP)), probabilities(network, CLIP))
    assert len(predict(model, videos[0], CENTER_VIEW)[0].top(3)) == 3


def test_a_network_comes_back_to_be_trained_on(saved, network):
    again = from_pretrained(saved)
    assert not again.training
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    logits, attention = again.train()(CLIP)
    logits.sum().backward()
    assert attention.spatial.shape == (2, 3, 2, 2)
    assert all(parameter.grad is not None for parameter in again.parameters())


def test_a_network_of_other_classes_keeps_all_but_its_classifier(saved, network):
    again = from_pretrained(saved, model_num_class=5, scales=(1.0,), dropout_rate=0.0)
    assert again(CLIP).shape == (2, 5) and again.multi_scale.scales == (1.0,)
    states = network.state_dict(), again.state_dict()
    differing = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert differing == {"model.blocks.6.proj.weight", "model.blocks.6.proj.bias"}
    with pytest.raises(InputError, match="net: alpha is 4 in the file; leave it out"):
        from_pretrained(saved, alpha=8)


@pytest.mark.parametrize(
    "kind",
    [
        "SlowFastAC",
        pytest.param("SlowFast", marks=pytest.mark.slow),
        pytest.param("Slow", marks=pytest.mark.slow),
    ],
)
def test_networks_of_pyslowfast_are_saved_too(
    kind, trained, noise, packed, scores, classes, hub, tmp_path, run_export, capsys
):
    cfg, model, path = trained(kind)
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    run_export(
        path,
        *("--format", "huggingface", "--output", tmp_path / "hf"),
        *("--classes", tmp_path / "classes.json", "--accuracy", "top1=71.5,data=UCF101"),
    )
    assert "hf: README.md, config.json, model.safetensors" in capsys.readouterr().out
    found = load_model(tmp_path / "hf", device="cpu")
    assert found.class_name(6) == "class 6" and found.preprocessing.alpha == (
        None if kind == "Slow" else 4
    )
    clips = noise(cfg, 2)
    torch.testing.assert_close(
        found.scores(packed(cfg, clips)), scores(model, cfg, clips), rtol=1e-3, atol=1e-5
    )
    assert str(tmp_path) not in (tmp_path / "hf/config.json").read_text()
    if kind == "SlowFastAC":
        assert from_pretrained(tmp_path / "hf")(clips).shape == (2, 7)
    else:
        with pytest.raises(InputError, match="hf: holds .*, not SlowFastAC"):
            from_pretrained(tmp_path / "hf")


def test_predict_opens_a_folder(saved, videos, run_predict, capsys, tmp_path):
    assert not run_predict(saved, videos[0], "--single-view", "--output", tmp_path / "out.json")
    assert any(name in capsys.readouterr().out for name in NAMES)
    [entry] = json.loads((tmp_path / "out.json").read_text())["videos"]
    expected = predict(load_model(saved, device="cpu"), videos[0], CENTER_VIEW)[0].scores
    assert np.isclose(entry["predictions"][0]["top"][0]["score"], expected.max(), atol=1e-4)


def test_a_folder_that_was_edited_by_hand_is_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    config["preprocessing"]["sampling_rate"] = 8
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="net: preprocessing: sampling_rate is 8, but 2 by"):
        load_model(saved)


def test_saving_again_replaces_the_network_and_keeps_the_card(saved, network):
    (saved / "README.md").write_text((saved / "README.md").read_text() + "My words.\n")
    with torch.no_grad():
        network.model.blocks[6].proj.bias += 1
    save_pretrained(network, saved, preprocessing=PREPROCESSING)
    model = load_model(saved, device="cpu")
    assert model.classes is None and (saved / "README.md").read_text().endswith("My words.\n")
    torch.testing.assert_close(model.scores(PackPathway(4)(CLIP)), probabilities(network, CLIP))


def test_what_cannot_be_saved_leaves_the_folder_as_it_was(network, hub, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="holds the config.json of another library"):
        save_pretrained(network, tmp_path, preprocessing=PREPROCESSING)
    with pytest.raises(InputError, match="^preprocessing: needed"):
        save_pretrained(network, tmp_path / "new")
    with pytest.raises(InputError, match="^accuracy: give the data too"):
        save_pretrained(network, tmp_path / "new", accuracy={"top1": 70})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file; give a folder"):
        save_pretrained(network, tmp_path / "file", preprocessing=PREPROCESSING)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"new: needs .*; pip install 'slowfast_ac\[hub\]'"):
        save_pretrained(network, tmp_path / "new", preprocessing=PREPROCESSING)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "file"]


# The Hub, which no test reaches.


def test_a_folder_is_pushed_as_it_is(saved, hub, monkeypatch):
    (saved / "notes.txt").write_text("mine")
    calls = []

    def create_repo(self, repo_id, **options):
        calls.append((repo_id, options))

    def upload_folder(self, *, repo_id, folder_path, allow_patterns):
        calls.append((repo_id, sorted(allow_patterns)))
        assert folder_path == saved
        return "https://example.org/commit"

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)
    assert push_to_hub(saved, "me/net", private=True) == "https://example.org/commit"
    assert calls == [
        ("me/net", {"private": True, "exist_ok": True}),
        ("me/net", ["README.md", "config.json", "model.safetensors"]),
    ]


def test_a_folder_without_a_network_is_not_pushed(saved, tmp_path):
    with pytest.raises(InputError, match="not a network's folder"):
        push_to_hub(tmp_path, "me/net")
    weights = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(weights[:-1] + b"\x00")
    with pytest.raises(InputError, match="changed or damaged"):
        push_to_hub(saved, "me/net")


def test_the_name_of_a_repository_is_looked_up(saved, hub, monkeypatch, network):
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: {"me/net": str(saved)}[name])
    again = from_pretrained("me/net")
    torch.testing.assert_close(probabilities(again, CLIP), probabilities(network, CLIP))
    assert load_model("hf://me/net", device="cpu").classes == NAMES
    assert open_checkpoint("hf://me/net").num_classes == 3
    monkeypatch.chdir(saved.parent)
    with pytest.raises(InputError, match=r"^net/absent: no such file"):
        from_pretrained("net/absent")


def test_what_the_network_has_of_its_own_is_not_ignored(saved, tmp_path):
    model = load_model(saved)
    for options in ({"classes": list(NAMES)}, {"preprocessing": PREPROCESSING}):
        (name,) = options
        with pytest.raises(InputError, match=f"^{name}: the network has its own; .* load_model"):
            save_pretrained(model, tmp_path / "again", **options)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["RESNET.SPATIAL_DILATIONS", "[[1, 1], [1, 1], [1, 1], [2, 2]]"], "SPATIAL_DILATIONS"),
        (["MULTIGRID.SHORT_CYCLE", "True"], "MULTIGRID.SHORT_CYCLE: its head pools whole maps"),
        (["DATA.TRAIN_CROP_SIZE", "48"], "TRAIN_CROP_SIZE: 48 is not a multiple of 32"),
    ],
)
def test_a_network_that_create_slowfast_ac_cannot_build_is_refused(
    network, tmp_path, opts, message
):
    key, value = opts
    texts = describe_model(network, PREPROCESSING)
    config = yaml.safe_load(texts["cfg"])
    node, name = key.split(".")
    config.setdefault(node, {})[name] = yaml.safe_load(value)
    path = tmp_path / "net.pyth"
    torch.save({"model_state": network.state_dict(), "cfg": yaml.safe_dump(config)}, path)
    with pytest.raises(InputError, match=f"net.pyth: .*{message}"):
        from_pretrained(path)


@pytest.mark.slow
def test_no_path_of_the_machine_is_shared(calibrated, hub, tmp_path):
    _, cfg, path = calibrated()
    cfg = cfg.clone()
    secret = "/home/alice/data"
    changed = []
    for node, keys in cfg.items():
        for key, value in keys.items() if isinstance(keys, dict) else ():
            named = any(part in key for part in ("PATH", "DIR", "FILE"))
            if isinstance(value, str) and named and key != "PATH_LABEL_SEPARATOR":
                cfg[node][key] = secret
                changed.append(f"{node}.{key}")
    cfg.OUTPUT_DIR = secret
    assert len(changed) > 5
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "cfg": cfg.dump()}, path)
    folder = save_pretrained(load_model(path), tmp_path / "net")
    assert secret not in (folder / "config.json").read_text()
    # What inference reads stays.
    assert load_model(folder).preprocessing == load_model(path).preprocessing
