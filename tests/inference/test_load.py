"""The loader takes files of every kind, naming and config that fit, and refuses the others."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
import yaml
from fvcore.common.file_io import PathManager
from iopath.common.file_io import PathHandler

from slowfast_ac.data.views import CENTER_VIEW
from slowfast_ac.errors import InputError
from slowfast_ac.inference import upstream as upstream_module
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict


def test_pytorchvideos_names_need_the_config(calibrated, videos, tmp_path):
    from slowfast_ac.checkpoint.convert import convert

    _, cfg, path = calibrated()
    weights, _ = convert(torch.load(path)["model_state"], "pyslowfast", "pytorchvideo")
    torch.save({"model_state": weights}, tmp_path / "ptv.pyth")
    with pytest.raises(InputError, match="ptv.pyth: holds no config, .*--cfg"):
        load_model(tmp_path / "ptv.pyth")
    # Only what differs from PySlowFast's defaults, the way people write configs.
    (tmp_path / "base.yaml").write_text("SLOWFAST:\n  ALPHA: 4\nMODEL:\n  NUM_CLASSES: 7\n")
    (tmp_path / "config.yaml").write_text(
        "_BASE_: base.yaml\nDATA:\n  NUM_FRAMES: 8\n  SAMPLING_RATE: 2\n  TRAIN_CROP_SIZE: 64\n"
        "  TEST_CROP_SIZE: 64\nRESNET:\n  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]]\n"
        "  SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [1, 1]]\n"
    )
    model = load_model(tmp_path / "ptv.pyth", config=tmp_path / "config.yaml")
    same = load_model(path, config=tmp_path / "config.yaml")
    assert model.preprocessing.crop_size == 64
    scores = [predict(network, videos[0], CENTER_VIEW)[0].scores for network in (model, same)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_a_config_of_a_few_keys_leaves_the_others_as_they_were(calibrated, tmp_path):
    _, _, path = calibrated()
    whole = load_model(path)
    (tmp_path / "short.yaml").write_text("DATA:\n  TEST_CROP_SIZE: 96\n")
    for config in (tmp_path / "short.yaml", {"DATA": {"TEST_CROP_SIZE": 96}}):
        model = load_model(path, config=config)
        expected = {**whole.preprocessing.to_dict(), "crop_size": 96}
        assert model.preprocessing.to_dict() == expected
        assert model.num_classes == whole.num_classes


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: b"", "an empty file"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"<!doctype html>" + data, "a web page"),
    ],
)
def test_damaged_weights_are_refused(trained, damage, message):
    _, _, checkpoint = trained()
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(InputError, match=f"{checkpoint}: .*{message}"):
        load_model(checkpoint)


def test_weights_that_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state": {"weight": RunsCode()}}, "bad.pyth")
    with pytest.raises(InputError, match="bad.pyth: not opened, since it would run"):
        load_model("bad.pyth")
    (tmp_path / "bad.pt2").write_bytes((tmp_path / "bad.pyth").read_bytes())
    with pytest.raises(InputError, match="bad.pt2: not opened, since a .pt2 file can run any code"):
        load_model("bad.pt2")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name, trust", [("bad.onnx", False), ("bad.pt2", True)])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind"])
def test_damaged_programs_are_refused(tmp_path, name, trust, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: damaged, or no"):
        load_model(tmp_path / name, trust=trust)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SLOWFAST.ALPHA", 3, "SLOWFAST.ALPHA: 3 does not divide DATA.NUM_FRAMES 8"),
        ("SLOWFAST.ALPHA", 16, "SLOWFAST.ALPHA: 16 does not divide DATA.NUM_FRAMES 8"),
        ("MODEL.NUM_CLASSES", 9, "MODEL.NUM_CLASSES: 9, but the weights in .* have 7 classes"),
        ("MODEL.ARCH", "slow", "MODEL.ARCH: the config's is slow, but .* of 2 pathway"),
        ("MODEL.HEAD_ACT", "relu", "MODEL.HEAD_ACT: 'relu' is not one of softmax, sigmoid, none"),
        ("DATA.NUM_FRAMES", "many", "DATA.NUM_FRAMES: 'many' is of another type than 8"),
        ("DATA.NUM_FRAMES", 8.5, "DATA.NUM_FRAMES: 8.5 is of another type than 8"),
        ("DATA.NUM_FRAMES", True, "DATA.NUM_FRAMES: True is of another type than 8"),
        ("DATA.TEST_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE: 32 is smaller than .* 64"),
        ("DATA.MEAN", 0.45, "DATA.MEAN: 0.45 is of another type"),
        ("RESNET.SPATIAL_STRIDES", [[1], [2]], "RESNET.SPATIAL_STRIDES: .* is not a number"),
        ("DETECTION.ENABLE", True, "DETECTION.ENABLE"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(calibrated, key, value, message):
    _, _, path = calibrated()
    data = torch.load(path)
    config = yaml.safe_load(data["cfg"])
    node, name = key.split(".")
    config[node][name] = value
    torch.save({**data, "cfg": yaml.safe_dump(config)}, path)
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_another_number_of_class_names_is_refused(trained, tmp_path):
    _, _, checkpoint = trained()
    (tmp_path / "two.json").write_text('{"a": 0, "b": 1}')
    with pytest.raises(InputError, match="two.json: has 2 classes, but .* has 7"):
        load_model(checkpoint, classes=tmp_path / "two.json")


def save(path, changes=None, **data):
    """Writes a checkpoint again with some keys of its config changed."""
    content = torch.load(path)
    config = yaml.safe_load(content["cfg"])
    for key, value in (changes or {}).items():
        node, name = key.split(".")
        config[node][name] = value
    torch.save({**content, "cfg": yaml.safe_dump(config), **data}, path)
    return path


def write_config(folder, cfg, **changes):
    cfg = cfg.clone()
    cfg.merge_from_list([part for pair in changes.items() for part in pair])
    (folder / "given.yaml").write_text(cfg.dump())
    return folder / "given.yaml"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SLOWFAST.ALPHA", 2),
        ("DATA.NUM_FRAMES", 16),
        ("DATA.SAMPLING_RATE", 3),
        ("DATA.TRAIN_CROP_SIZE", 32),
        ("DATA.MEAN", [0.5, 0.5, 0.5]),
        ("RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [1, 1]]),
        ("RESNET.SPATIAL_DILATIONS", [[1, 1], [1, 1], [1, 1], [2, 2]]),
        ("RESNET.STRIDE_1X1", True),
    ],
)
def test_a_config_that_contradicts_the_files_own_is_refused(trained, tmp_path, key, value):
    cfg, _, path = trained("SlowFastAC")
    given = write_config(tmp_path, cfg, **{key: value})
    with pytest.raises(InputError, match=rf"checkpoint\.pyth: was trained with {key} .* is given"):
        load_model(path, config=given)


def test_what_a_test_may_choose_is_taken_from_the_config_or_the_options(trained, tmp_path):
    cfg, _, path = trained("SlowFastAC")
    given = write_config(tmp_path, cfg, **{"DATA.TEST_CROP_SIZE": 96})
    assert load_model(path, config=given).preprocessing.crop_size == 96
    opts = ["DATA.SAMPLING_RATE", 3]
    assert load_model(path, opts=opts).preprocessing.sampling_rate == 3
    with pytest.raises(InputError, match="was trained with SLOWFAST.ALPHA 4, but 2 is given"):
        load_model(path, opts=["SLOWFAST.ALPHA", 2])


@pytest.mark.parametrize("where", ["inside", "given", "caffe2"])
def test_strides_of_1x1_convolutions_are_the_same_network_wherever_the_config_is(
    trained, noise, scores, tmp_path, where
):
    """Built by PySlowFast, since PyTorchVideo strides elsewhere and the weights do not show it."""
    cfg, model, path = trained("Slow", "RESNET.STRIDE_1X1", True)
    config = None
    if where != "inside":
        config = write_config(tmp_path, cfg)
        torch.save(model.state_dict(), path)
    if where == "caffe2":
        # Renaming is tested elsewhere; here only that the file has no config.
        path.write_bytes(pickle.dumps({"blobs": _caffe2(model.state_dict())}))
    clips = noise(cfg, 2)
    found = load_model(path, config=config).scores([clips])
    torch.testing.assert_close(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)
    plain = {**yaml.safe_load(cfg.dump())}
    plain["RESNET"]["STRIDE_1X1"] = False
    if where == "given":
        other = load_model(path, config=plain).scores([clips])
        assert (other - found).abs().max() > 1e-3, "the key does not matter here"


def _caffe2(state):
    from slowfast_ac.checkpoint.names import find_layout, name_table

    table = name_table(find_layout(state, "pyslowfast"), "pyslowfast", "caffe2")
    return {table[name]: value.numpy() for name, value in state.items() if name in table}


def test_a_network_that_only_pyslowfast_builds_is_refused_without_it(trained, monkeypatch):
    _, _, path = trained("nonlocal")
    monkeypatch.setattr(upstream_module, "is_present", lambda root: False)
    message = (
        rf"^{path}: s3\.pathway0_nonlocal1: PyTorchVideo has no nonlocal blocks; this network "
        "needs PySlowFast: set PYSLOWFAST_ROOT"
    )
    with pytest.raises(InputError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    "opts",
    [
        # The wheel has no such depth.
        pytest.param(("RESNET.DEPTH", 18), marks=pytest.mark.checkout),
        ("RESNET.NUM_GROUPS", 2),
    ],
)
def test_what_pytorchvideo_lacks_is_built_by_pyslowfast(trained, noise, packed, scores, opts):
    kernels = [[2, 2]] * 4 if 18 in opts else [[3, 3], [4, 4], [6, 6], [3, 3]]
    cfg, model, path = trained("SlowFast", *opts, "RESNET.NUM_BLOCK_TEMP_KERNEL", kernels)
    clips = noise(cfg, 2)
    loaded = load_model(path)
    found = loaded.scores(packed(cfg, clips))
    torch.testing.assert_close(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)
    assert type(loaded.network) is type(model)


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "net."])
def test_a_prefix_changes_no_score(trained, noise, packed, scores, prefix):
    cfg, model, path = trained("SlowFast")
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(2)}, "cfg": cfg.dump()}, path)
    clips = noise(cfg, 2)
    found = load_model(path).scores(packed(cfg, clips))
    torch.testing.assert_close(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)


def test_the_weights_of_two_are_chosen_by_name(trained, noise, packed, scores):
    cfg, model, path = trained("SlowFast")
    ema = model.state_dict()
    raw = {name: value + 1 for name, value in ema.items()}
    torch.save({"state_dict": raw, "state_dict_ema": ema, "cfg": cfg.dump()}, path)
    with pytest.raises(InputError, match="2 networks: state_dict, state_dict_ema; choose one"):
        load_model(path)
    clips = noise(cfg, 2)
    found = load_model(path, weights="ema").scores(packed(cfg, clips))
    torch.testing.assert_close(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)


class Store(PathHandler):
    """A remote store for iopath."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["store://"]

    def _get_local_path(self, path, force=False, **kwargs):
        return str(self.folder / path.removeprefix("store://"))


def test_class_names_come_with_the_file_from_a_url_too(trained, classes):
    _, _, path = trained("SlowFastAC", classes=json.dumps(classes))
    PathManager.register_handler(Store(path.parent), allow_override=True)
    assert load_model(path).classes == tuple(classes)
    model = load_model("store://checkpoint.pyth")
    assert (model.classes, model.path) == (tuple(classes), "store://checkpoint.pyth")


def test_the_same_class_names_in_another_order_are_refused(trained, classes):
    _, _, path = trained("SlowFastAC", classes=json.dumps(classes))
    names = list(classes)
    assert (
        load_model(path, classes={n.upper(): i for n, i in classes.items()}).classes[1] == "CLASS 1"
    )
    swapped = {**classes, names[0]: 1, names[1]: 0}
    with pytest.raises(InputError, match="class 0 is 'class 1', but 'class 0' in .*another order"):
        load_model(path, classes=swapped)


def test_a_file_is_read_once(trained, monkeypatch):
    from slowfast_ac.checkpoint import read

    _, _, path = trained("SlowFastAC")
    opened = []
    load = torch.load
    monkeypatch.setattr(read.torch, "load", lambda *a, **k: opened.append(a) or load(*a, **k))
    load_model(path)
    assert len(opened) == 1


@pytest.mark.parametrize(
    "saved",
    [
        list("abcdefg"),
        tuple("abcdefg"),
        {name: label for label, name in enumerate("abcdefg")},
        dict(enumerate("abcdefg")),
        '["a", "b", "c", "d", "e", "f", "g"]',
    ],
)
def test_names_are_found_however_a_checkpoint_has_them(trained, saved):
    path = trained("SlowFastAC", classes=saved)[2]
    assert load_model(path, device="cpu").classes == tuple("abcdefg")


@pytest.mark.parametrize("saved", [80, ["a", 3], {"a": "b"}, {"a": 0, 1: "b"}])
def test_malformed_class_names_are_ignored(trained, saved):
    assert load_model(trained("SlowFastAC", classes=saved)[2], device="cpu").classes is None


@pytest.mark.parametrize("classes", [list("abcdefg"), dict(enumerate("abcdefg")), tuple("abcdefg")])
def test_names_may_be_given_as_they_are(trained, classes):
    path = trained("SlowFastAC")[2]
    assert load_model(path, classes=classes, device="cpu").classes == tuple("abcdefg")
    with pytest.raises(InputError, match="the class map: has 2 classes, but"):
        load_model(path, classes=["a", "b"], device="cpu")


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("SlowFastAC", 50),
        ("SlowFastAC", 18),  # built by PySlowFast
        pytest.param("PTVSlowFastAC", 50, marks=pytest.mark.checkout),
    ],
)
def test_a_network_with_lateral_connections_and_the_loss_loads(trained, noise, scores, name, depth):
    blocks = [[2, 2]] * 4 if depth == 18 else [[3, 3], [4, 4], [6, 6], [3, 3]]
    cfg, model, path = trained(
        *("MODEL.MODEL_NAME", name, "AC.LATERAL", True),
        *("MODEL.LOSS_FUNC", "attention_consistency"),
        *("RESNET.DEPTH", depth, "RESNET.NUM_BLOCK_TEMP_KERNEL", blocks),
    )
    clips = noise(cfg, 2)
    expected = scores(model.eval(), cfg, clips)
    loaded = load_model(path, device="cpu")
    pathways = [clips[:, :, loaded.preprocessing.slow_frames()], clips]
    np.testing.assert_allclose(loaded.scores(pathways), expected, atol=1e-5)
