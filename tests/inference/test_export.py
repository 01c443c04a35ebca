"""Exported weights are the checkpoint's bits, and the command refuses what does not fit."""

import json
import os
import subprocess
import sys

import onnxruntime
import pytest
import torch
import yaml
from safetensors import safe_open

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference.export import export
from slowfast_ac.inference.load import load_model


@pytest.mark.parametrize("naming", ["pyslowfast", "pytorchvideo"])
@pytest.mark.parametrize(
    "name", [pytest.param("SlowFast", marks=pytest.mark.slow), "SlowFastAC", "Slow"]
)
def test_exported_weights_are_the_same_bits(trained, folder, name, naming, classes):
    cfg, model, path = trained(name)
    native = model.state_dict()
    renamed, _ = convert(native, "pyslowfast", "pytorchvideo")
    torch.save({"model_state": native if naming == "pyslowfast" else renamed}, path)
    network = load_model(path, config=cfg, classes=classes, device="cpu")
    for format, suffix, expected in (
        ("pyslowfast", "pyth", native),
        ("pytorchvideo", "pyth", renamed),
        ("safetensors", "safetensors", native),
    ):
        export(network, format, folder / f"{format}.{suffix}")
        found = open_checkpoint(folder / f"{format}.{suffix}")
        assert set(found.state_dict) == set(expected)
        assert all(torch.equal(found.state_dict[key], value) for key, value in expected.items())
        assert found.config["SLOWFAST"]["ALPHA"] == 4


@pytest.mark.parametrize("format", ["pyslowfast", "safetensors"])
def test_exported_weights_carry_what_goes_with_them_but_no_folders(
    trained, folder, format, classes
):
    cfg, _, checkpoint = trained("SlowFastAC")
    cfg.merge_from_list(["OUTPUT_DIR", "/home/me/secret", "DATA.PATH_PREFIX", "/home/me/videos"])
    network = load_model(checkpoint, config=cfg, classes=classes, device="cpu")
    path = folder / ("x.pyth" if format == "pyslowfast" else "x.safetensors")
    export(network, format, path)
    if format == "pyslowfast":
        extras = torch.load(path, weights_only=True)
    else:
        with safe_open(path, framework="pt") as file:
            extras = file.metadata()
    assert json.loads(extras["preprocessing"]) == Preprocessing.from_config(cfg).to_dict()
    assert json.loads(extras["classes"]) == classes
    assert yaml.safe_load(extras["cfg"])["MODEL"]["NUM_CLASSES"] == 7
    assert int(extras["epoch"]) == 3
    assert b"/home/me" not in path.read_bytes()


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("name", "native"), [("PTVSlowFast", "SlowFast"), ("PTVSlowFastAC", "SlowFastAC")]
)
def test_ptv_models_are_exported_and_become_native_ones(
    trained, build_model, folder, name, native, noise, packed, scores
):
    cfg, model, path = trained(native, "MODEL.MODEL_NAME", name)
    network = load_model(path, config=cfg, device="cpu")
    export(network, "pt2", folder / "x.pt2")
    export(network, "pyslowfast", folder / "x.pyth")
    clips = noise(cfg, 2)
    expected = scores(model, cfg, clips)
    program = torch.export.load(folder / "x.pt2").module()
    torch.testing.assert_close(program(clips), expected, rtol=1e-3, atol=1e-5)
    exported = open_checkpoint(folder / "x.pyth")
    stored = exported.config["MODEL"]["MODEL_NAME"]
    assert stored == name.removeprefix("PTV")
    cfg.MODEL.MODEL_NAME = stored
    copy = build_model(cfg)
    copy.load_state_dict(exported.state_dict)
    torch.testing.assert_close(copy.eval()(packed(cfg, clips)), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "format, message",
    [("onnx", "take pt2 or openvino"), ("safetensors", "weights are exported as")],
)
def test_bfloat16_is_refused_where_it_makes_no_sense(trained, folder, format, message, run_export):
    cfg, _, checkpoint = trained("SlowFastAC")
    words = ["--format", format, "--precision", "bfloat16", "--output", folder / f"x.{format}"]
    with pytest.raises(InputError, match=f"^--precision: bfloat16 .* --format {format}: {message}"):
        run_export(checkpoint, *words)
    assert not list(folder.iterdir())


REFUSED = {
    "classes": (["MODEL.NUM_CLASSES", 5], "MODEL.NUM_CLASSES: 5, but the weights in .* have 7"),
    "alpha": (["SLOWFAST.ALPHA", 2], "was trained with SLOWFAST.ALPHA 4, but 2 is given"),
    "frames": (["DATA.NUM_FRAMES", 16], "was trained with DATA.NUM_FRAMES 8, but 16 is given"),
    "width": (["RESNET.WIDTH_PER_GROUP", 16], "holds 8, .* fit RESNET.WIDTH_PER_GROUP: 16"),
    "depth": (["RESNET.DEPTH", 101], "holds 50, .* fit RESNET.DEPTH: 101"),
    "other network": (
        ["MODEL.MODEL_NAME", "SlowFast"],
        "holds SlowFastAC, which does not fit MODEL.MODEL_NAME: SlowFast",
    ),
    "unknown model": (["MODEL.MODEL_NAME", "SlowFst"], "does not fit MODEL.MODEL_NAME: SlowFst"),
    "detector": (["DETECTION.ENABLE", True], "DETECTION.ENABLE: a detector"),
    "unknown key": (["MODEL.MODEL_NAM", "x"], "unknown config key MODEL.MODEL_NAM; did you mean"),
}


@pytest.mark.parametrize("format", ["pyslowfast", "onnx"])
@pytest.mark.parametrize("kind", REFUSED)
def test_bad_arguments_give_one_line_and_no_file(trained, folder, kind, format, run_export):
    words, message = REFUSED[kind]
    cfg, _, checkpoint = trained("SlowFastAC", "MODEL.LOSS_FUNC", "cross_entropy")
    suffix = {"pyslowfast": "pyth", "onnx": "onnx"}[format]
    output = folder / "new" / f"x.{suffix}"
    with pytest.raises(InputError, match=message) as error:
        run_export(checkpoint, "--format", format, "--output", output, "--opts", *words)
    assert "\n" not in str(error.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("format", ["safetensors", "pt2"])
def test_truncated_checkpoint_is_refused(trained, folder, format, run_export):
    cfg, _, checkpoint = trained("SlowFastAC")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"checkpoint\.pyth: truncated zip"):
        run_export(checkpoint, "--format", format, "--output", folder / f"x.{format}")
    assert not list(folder.iterdir())


def test_class_map_and_suffix_must_fit(trained, folder, run_export):
    cfg, _, checkpoint = trained("SlowFastAC")
    (folder / "classes.json").write_text('{"a": 0, "b": 1}')
    words = ["--format", "pt2", "--output", folder / "x.pt2"]
    with pytest.raises(InputError, match="classes.json: has 2 classes, but .* has 7"):
        run_export(checkpoint, *words, "--classes", folder / "classes.json")
    with pytest.raises(InputError, match=r"x\.pth: the suffix of --format onnx must be \.onnx"):
        run_export(checkpoint, "--format", "onnx", "--output", folder / "x.pth")
    with pytest.raises(InputError, match="--accuracy and --run-dir are for the card"):
        run_export(checkpoint, *words, "--accuracy", "top1=3")
    assert [file.name for file in folder.iterdir()] == ["classes.json"]


@pytest.mark.slow
def test_command_says_what_it_measured(trained, folder, capsys, run_export):
    cfg, _, checkpoint = trained("SlowFastAC")
    path = folder / "x.pt2"
    run_export(checkpoint, "--format", "pt2", "--output", path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"wrote {path}, {path.stat().st_size:,} bytes"
    assert lines[1].startswith("scores differ from eager PyTorch by ")
    assert lines[1].endswith("at most (batches of 1 and 3, allowed 0.0001)")
    assert lines[2].startswith("latency ") and "of eager PyTorch" in lines[2]


def test_no_config_is_needed_but_a_wrong_one_is_named(trained, folder, run_export):
    _, _, checkpoint = trained("SlowFastAC")
    run_export(checkpoint, "--format", "safetensors", "--output", folder / "x.safetensors")
    assert open_checkpoint(folder / "x.safetensors").alpha == 4
    words = ["--format", "safetensors", "--output", folder / "y.safetensors", "--cfg", checkpoint]
    with pytest.raises(InputError, match=r"checkpoint\.pyth: not a yaml config") as error:
        run_export(checkpoint, *words)
    assert "\n" not in str(error.value)


def export_alone(cfg, checkpoint, *words):
    """Runs the command without PySlowFast; returns its exit status and the end of its output."""
    path = checkpoint.parent / "TINY.yaml"
    path.write_text(cfg.dump())
    code = (
        "import sys; sys.modules['slowfast'] = None\n"
        "import slowfast_ac.pyslowfast\n"
        "sys.modules['slowfast_ac.pyslowfast.find']._importable_roots = list\n"
        "from slowfast_ac.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["export", "--cfg", path, "--checkpoint", checkpoint, *words]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYSLOWFAST_ROOT": "", "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.mark.slow
def test_command_needs_no_pyslowfast(trained, folder, noise, scores):
    cfg, model, checkpoint = trained("SlowFast")
    opts = ["--opts", "DATA.PATH_TO_DATA_DIR", "/home/me"]
    words = ["--format", "onnx", "--output", folder / "x.onnx", *opts]
    status, text = export_alone(cfg, checkpoint, *words)
    assert status == 0 and text.startswith("wrote "), text
    clips = noise(cfg, 2)
    session = onnxruntime.InferenceSession(folder / "x.onnx", providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(["scores"], {"clip": clips.numpy()})[0])
    torch.testing.assert_close(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)
    words = ["--format", "safetensors", "--output", folder / "x.safetensors", *opts]
    status, text = export_alone(cfg, checkpoint, *words)
    assert status == 0, text
    found = open_checkpoint(folder / "x.safetensors")
    assert found.config["DATA"]["PATH_TO_DATA_DIR"] == ""
    assert found.config["RESNET"] == yaml.safe_load(cfg.dump())["RESNET"]
    assert all(
        torch.equal(found.state_dict[key], value) for key, value in model.state_dict().items()
    )


def test_a_config_of_the_wheel_leaves_the_model_to_the_weights(trained):
    cfg, _, checkpoint = trained("SlowFastAC")
    plain = yaml.safe_load(cfg.dump())
    del plain["MODEL"]["MODEL_NAME"], plain["TEST"]
    path = checkpoint.parent / "TINY.yaml"
    path.write_text(yaml.safe_dump({**plain, "TEST": None}))
    network = load_model(checkpoint, config=path)
    assert network.name == "SlowFastAC"
    assert network.config.TEST.NUM_ENSEMBLE_VIEWS == 10
