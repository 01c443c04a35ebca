"""Checkpoints are recognised by content: every file here is called x."""

import argparse
import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from fvcore.common.file_io import PathManager
from iopath.common.file_io import PathHandler
from pytorchvideo.models import create_resnet, create_slowfast
from safetensors.torch import save_file

from slowfast_ac.checkpoint.convert import convert_checkpoint
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.cli import inspect as inspect_command
from slowfast_ac.errors import InputError

FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)
SLOW_AC = (*SLOW, "MODEL.MODEL_NAME", "SlowAC")
R101 = ("RESNET.DEPTH", 101)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "x"


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def pyslowfast_dict(model, cfg, epoch=4):
    """What PySlowFast's save_checkpoint writes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return {
        "epoch": epoch,
        "model_state": model.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "cfg": cfg.dump(),
    }


def tiny_ptv_slowfast():
    return create_slowfast(model_num_class=5, stem_dim_outs=(16, 2))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        (FUSED, ("SlowFast", 2, 50, 8, 7, 4)),
        ((), ("SlowFastAC", 2, 50, 8, 7, 4)),
        ((*FUSED, *R101), ("SlowFast", 2, 101, 8, 7, 4)),
        (SLOW, ("ResNet", 1, 50, 8, 7, None)),
        (SLOW_AC, ("SlowAC", 1, 50, 8, 7, None)),
    ],
    ids=["SlowFast", "SlowFastAC", "R101", "Slow", "SlowAC"],
)
def test_pyslowfast_checkpoint(file, build_model, tiny_cfg, opts, expected, zipped):
    cfg = tiny_cfg(*opts)
    model = build_model(cfg)
    torch.save(pyslowfast_dict(model, cfg), file, _use_new_zipfile_serialization=zipped)
    found = open_checkpoint(file)
    assert (found.format, found.naming, found.prefix) == ("pyslowfast", "pyslowfast", "")
    assert found.container == ("torch zip" if zipped else "legacy torch pickle")
    assert expected == (
        *(found.model, found.pathways, found.depth),
        *(found.width, found.num_classes, found.alpha),
    )
    assert found.epoch == 4 and found.problem is None
    assert found.config["RESNET"]["DEPTH"] == cfg.RESNET.DEPTH
    assert found.num_parameters == num_parameters(model)
    assert found.file_size == file.stat().st_size
    assert all(torch.equal(found.state_dict[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("build", "model", "depth"),
    [
        (tiny_ptv_slowfast, "PTVSlowFast", 50),
        (lambda: create_resnet(model_num_class=5, stem_dim_out=16), "PTVResNet", 50),
        (
            lambda: create_resnet(model_num_class=5, stem_dim_out=16, model_depth=152),
            "PTVResNet",
            152,
        ),
    ],
)
def test_pytorchvideo_zoo_file(file, build, model, depth):
    network = build()
    torch.save({"model_state": network.state_dict()}, file)
    found = open_checkpoint(file)
    assert (found.format, found.naming, found.model) == ("pytorchvideo", "pytorchvideo", model)
    assert (found.depth, found.width, found.num_classes) == (depth, 16, 5)
    assert (found.epoch, found.config, found.alpha) == (None, None, None)
    assert found.num_parameters == num_parameters(network)


@pytest.mark.parametrize(
    ("around", "prefix", "format"),
    [
        (lambda state: {"model_state": state, "epoch": 1}, "model.", "pyslowfast"),
        (lambda state: {"state_dict": state, "epoch": 1}, "model.", "state_dict"),
        (lambda state: state, "module.model.", "state_dict"),
        (lambda state: state, "module.", "state_dict"),
        (lambda state: state, "", "state_dict"),
    ],
    ids=["PySlowFast's PTV model", "Lightning", "DDP of it", "DDP", "plain"],
)
def test_wrapped_and_plain_weights(file, around, prefix, format):
    state = tiny_ptv_slowfast().state_dict()
    torch.save(around({prefix + name: tensor for name, tensor in state.items()}), file)
    found = open_checkpoint(file)
    assert (found.format, found.prefix, found.model) == (format, prefix, "PTVSlowFast")
    assert list(found.state_dict) == [prefix + name for name in state]


CAFFE2 = {
    **{f"{t}conv1_w": (4, 3, 1, 7, 7) for t in ("", "t_")},
    **{f"{t}res_conv1_bn_{s}": (4,) for t in ("", "t_") for s in ("s", "b", "rm", "riv")},
    "t_pool1_subsample_w": (4, 4, 5, 1, 1),
    "pred_w": (9, 8),
    "pred_b": (9,),
}


def caffe2_blobs():
    """The old zoo's SlowFast R50: names of its blobs, shapes shrunk."""
    shapes = dict(CAFFE2)
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for t in ("", "t_"):
            for block in range(blocks):
                for branch in ["2a", "2b", "2c"] + ["1"] * (block == 0):
                    layer = f"{t}res{stage}_{block}_branch{branch}"
                    shapes[f"{layer}_w"] = (4, 4, 1, 1, 1)
                    shapes.update({f"{layer}_bn_{s}": (4,) for s in ("s", "b", "rm", "riv")})
        if stage < 5:
            shapes[f"t_res{stage}_{blocks - 1}_branch2c_bn_subsample_w"] = (4, 4, 5, 1, 1)
    laterals = [name.removesuffix("_w") for name in shapes if name.endswith("subsample_w")]
    for layer in laterals:
        shapes.update({f"{layer}_bn_{s}": (4,) for s in ("s", "b", "rm", "riv")})
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_caffe2_pickle(file, protocol):
    blobs = caffe2_blobs()
    solver = {"lr": np.float32(0.1), "model_iter": np.array([7]), "conv1_w_momentum": np.ones(3)}
    file.write_bytes(pickle.dumps({"blobs": {**solver, **blobs}}, protocol=protocol))
    found = open_checkpoint(file)
    assert (found.format, found.container, found.naming) == ("caffe2", "pickle", "caffe2")
    assert (found.model, found.depth, found.width, found.num_classes) == ("SlowFast", 50, 4, 9)
    trainable = [v.size for k, v in blobs.items() if not k.endswith(("_rm", "_riv"))]
    assert found.num_parameters == sum(trainable)
    assert found.state_dict["pred_w"].dtype == torch.float32
    assert found.state_dict["model_iter"].tolist() == [7]


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2, which wrote the old zoo, wrote its str."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)

    def save_str(self, value):
        self.save_bytes(value.encode("latin1"))

    dispatch.update({bytes: save_bytes, str: save_str})


def test_caffe2_pickle_of_python_2_opens(file):
    values = [1.5, -3.7e8]
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump({"blobs": {"conv1_w": np.array(values)}})
    content = buffer.getvalue().replace(b"numpy._core.", b"numpy.core.")
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(content)
    file.write_bytes(content)
    assert open_checkpoint(file).state_dict["conv1_w"].tolist() == values


def test_safetensors_with_and_without_metadata(file):
    state = tiny_ptv_slowfast().state_dict()
    save_file(state, file, metadata={"epoch": "3", "cfg": "SLOWFAST:\n  ALPHA: 8\n"})
    found = open_checkpoint(file)
    assert (found.format, found.model, found.epoch, found.alpha) == (
        *("safetensors", "PTVSlowFast"),
        *(3, 8),
    )
    save_file(state, file)
    assert (open_checkpoint(file).epoch, open_checkpoint(file).config) == (None, None)


def test_other_networks_open_as_unknown_with_the_reason(file):
    torch.save({"model_state": {"patch_embed.proj.weight": torch.ones(2, 3)}}, file)
    found = open_checkpoint(file)
    assert (found.model, found.naming, found.num_parameters) == ("unknown", None, 6)
    state = tiny_ptv_slowfast().state_dict()
    torch.save({**state, "blocks.7.weight": torch.ones(2)}, file)
    found = open_checkpoint(file)
    assert (found.model, found.naming, found.depth) == ("unknown", "pytorchvideo", None)
    assert found.problem.startswith("blocks.7.weight: not a weight of SlowFast or Slow")


def test_a_csn_is_not_taken_for_slow(file):
    """Its names are Slow's, its depthwise kernels are not."""
    from pytorchvideo.models import create_csn

    csn = create_csn(model_num_class=3, stem_dim_out=8, head_pool_kernel_size=(1, 2, 2))
    torch.save({"model_state": csn.state_dict()}, file)
    found = open_checkpoint(file)
    assert found.model == "unknown" and "conv_b.weight: kernel spans" in found.problem
    with pytest.raises(InputError, match="conv_b.weight: kernel spans"):
        convert_checkpoint(found, "pytorchvideo")


def test_a_made_up_block_number_costs_nothing(file):
    state = tiny_ptv_slowfast().state_dict()
    name = "blocks.1.multipathway_blocks.0.res_blocks.999999999999.branch2.conv_a.weight"
    torch.save({**state, name: torch.ones(2)}, file)
    assert open_checkpoint(file).problem.startswith(f"{name}: not a weight")


@pytest.mark.parametrize("cfg", ["!!python/object/apply:os.system ['true']", "a: [", "", 3])
def test_a_config_that_is_no_plain_yaml_is_left_out(file, cfg):
    torch.save({"model_state": {"a": torch.ones(2)}, "cfg": cfg}, file)
    assert open_checkpoint(file).config is None


class RunsCode:
    """Pickles to a call of os.system."""

    def __reduce__(self):
        import os

        return os.system, ("echo this must never run > ran",)


def zip_bytes(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        for member in members:
            archive.writestr(f"archive/{member}", b"")
    return (tmp_path / "zip").read_bytes()


def torch_bytes(tmp_path, data, zipped=True):
    torch.save(data, tmp_path / "torch", _use_new_zipfile_serialization=zipped)
    return (tmp_path / "torch").read_bytes()


def safetensors_bytes(tmp_path):
    save_file({"a": torch.ones(1000)}, tmp_path / "safetensors")
    return (tmp_path / "safetensors").read_bytes()


WEIGHTS = {"model_state": {"a": torch.ones(1000)}}
BAD = {
    "empty": (lambda _: b"", "an empty file"),
    "html": (lambda _: b"\n<!DOCTYPE html><html>404</html>", "a web page saved as weights"),
    "xml": (lambda _: b'<?xml version="1.0"?><Error>AccessDenied</Error>', "a web page saved"),
    "gzip": (lambda _: gzip.compress(b"weights"), "compressed with gzip; unpack it"),
    "text": (lambda _: b"weights", "not a checkpoint; it starts with the bytes b'weights'"),
    "truncated zip": (lambda p: torch_bytes(p, WEIGHTS)[:-60], r"truncated zip, [\d,]+ bytes"),
    "truncated legacy": (
        lambda p: torch_bytes(p, WEIGHTS, zipped=False)[:-60],
        "truncated or damaged torch checkpoint",
    ),
    "truncated legacy head": (
        lambda p: torch_bytes(p, WEIGHTS, zipped=False)[:20],
        "truncated or damaged torch checkpoint",
    ),
    "truncated pickle": (
        lambda _: pickle.dumps({"blobs": {"conv1_w": [1.0] * 99}})[:-60],
        "truncated",
    ),
    "truncated safetensors": (lambda p: safetensors_bytes(p)[:-60], "truncated or damaged safe"),
    "truncated safetensors header": (lambda p: safetensors_bytes(p)[:20], "the header alone takes"),
    "TorchScript": (lambda p: zip_bytes(p, ["data.pkl", "constants.pkl"]), "a TorchScript program"),
    "other zip": (lambda p: zip_bytes(p, ["weights.npy"]), "a zip archive without weights"),
    "no weights": (lambda p: torch_bytes(p, {"a": 1, "b": 2}), r"no weights in it: .* \(a, b\)"),
    "no dict": (lambda p: torch_bytes(p, torch.ones(2)), "contains a Tensor, but weights must"),
    "no tensor": (
        lambda p: torch_bytes(p, {"model_state": {"a": "text"}}),
        r"no weights in it: .* \(model_state\)",
    ),
    "no name": (lambda p: torch_bytes(p, {7: torch.ones(1)}), r"no weights in it: .* \(7\)"),
    "code in zip": (lambda p: torch_bytes(p, RunsCode()), r"would run (posix|nt)\.system"),
    "code in legacy": (
        lambda p: torch_bytes(p, RunsCode(), zipped=False),
        r"would run (posix|nt)\.system",
    ),
    "code in pickle": (lambda _: pickle.dumps(RunsCode(), 2), r"(posix|nt)\.system"),
    "code in protocol 0": (lambda _: pickle.dumps(RunsCode(), 0), r"(posix|nt)\.system"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_file_gets_one_clear_line_and_runs_nothing(file, tmp_path, monkeypatch, kind):
    content, message = BAD[kind]
    file.write_bytes(content(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        open_checkpoint(file)
    assert str(error.value).startswith(f"{file}: ") and "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}: a folder without model.safetensors"):
        open_checkpoint(tmp_path)
    with pytest.raises(InputError, match="absent: no such file$"):
        open_checkpoint(tmp_path / "absent")


class Zoo(PathHandler):
    """A remote store for iopath: file names after zoo://."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["zoo://"]

    def _get_local_path(self, path, force=False, **kwargs):
        local = self.folder / path.removeprefix("zoo://")
        if not local.exists():
            raise FileNotFoundError(path)
        return str(local)


def test_a_url_goes_through_iopath(file, tmp_path):
    PathManager.register_handler(Zoo(tmp_path), allow_override=True)
    torch.save({"model_state": {"a": torch.ones(2)}}, file)
    assert open_checkpoint("zoo://x").path == "zoo://x"
    with pytest.raises(InputError, match="^zoo://y: cannot be downloaded"):
        open_checkpoint("zoo://y")


def run(*argv):
    parser = argparse.ArgumentParser()
    inspect_command.add_arguments(parser)
    inspect_command.main(parser.parse_args([str(arg) for arg in argv]))


def test_command_prints_text_or_json(file, build_model, tiny_cfg, capsys):
    cfg = tiny_cfg(*FUSED)
    model = build_model(cfg)
    torch.save(pyslowfast_dict(model, cfg), file)
    run(file)
    text = capsys.readouterr().out
    assert "model       SlowFast: 2 pathways, depth 50, width 8\n" in text
    assert f"parameters  {num_parameters(model):,}\n" in text
    run(file, "--json")
    summary = json.loads(capsys.readouterr().out)
    assert (summary["model"], summary["epoch"], summary["num_classes"]) == ("SlowFast", 4, 7)
    assert summary["config"]["SLOWFAST"]["ALPHA"] == 4 and "state_dict" not in summary


def test_command_says_what_it_does_not_know(file, capsys):
    torch.save({"model_state": {"module.a": torch.ones(2)}}, file)
    run(file)
    text = capsys.readouterr().out
    assert "model       unknown (the names are not" in text
    assert "epoch       not in the file\n" in text
