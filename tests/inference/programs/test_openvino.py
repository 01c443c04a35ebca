"""Programs of OpenVINO give upstream's scores and are two files that belong together."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference.export import export
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.predict import predict

openvino = pytest.importorskip("openvino")
NAMES = {'a "quoted" name': 0, "Ärger & <so>": 1, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6}


@pytest.fixture(scope="module")
def exported():
    """The files of each network and precision, which takes seconds to export."""
    return {}


@pytest.fixture
def program(trained, folder, exported):
    """Returns a function: network, precision -> config, upstream's network and the .xml file."""

    def make(name="SlowFastAC", precision="float32"):
        cfg, model, checkpoint = trained(name)  # the same weights each time
        if (name, precision) not in exported:
            network = load_model(checkpoint, classes=NAMES, device="cpu")
            export(network, "openvino", folder / "x.xml", precision)
            exported[name, precision] = {p.name: p.read_bytes() for p in folder.iterdir()}
        for file, content in exported[name, precision].items():
            (folder / file).write_bytes(content)
        return cfg, model, folder / "x.xml"

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SlowFastAC", "SlowFast", "Slow"])
def test_plain_openvino_gives_upstreams_scores_at_any_batch_size(program, name, noise, scores):
    cfg, model, path = program(name)
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.bin", "x.xml"]
    read = openvino.Core().read_model(path)
    operations = {operation.get_type_name() for operation in read.get_ops()}
    assert "Convolution" in operations and "BatchNormInference" not in operations
    size = cfg.DATA.TEST_CROP_SIZE
    assert str(read.input("clip").partial_shape) == f"[?,3,{cfg.DATA.NUM_FRAMES},{size},{size}]"
    compiled = openvino.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 2, 5):
        clips = noise(cfg, count)
        found = compiled({"clip": clips.numpy()})["scores"]
        np.testing.assert_allclose(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_file_has_the_metadata_of_the_other_programs(program):
    cfg, _, path = program()
    texts = openvino.Core().read_model(path).get_rt_info(["slowfast_ac"]).value
    restored = Preprocessing.from_dict(json.loads(texts["preprocessing"]))
    assert restored == Preprocessing.from_config(cfg)
    assert json.loads(texts["classes"]) == NAMES
    assert (texts["model"], texts["precision"]) == ("SlowFastAC", "float32")


@pytest.mark.slow
def test_predict_and_load_model_open_it(calibrated, videos, tmp_path):
    _, _, checkpoint = calibrated()
    weights = load_model(checkpoint, classes=NAMES, device="cpu")
    export(weights, "openvino", tmp_path / "x.xml")
    program = load_model(tmp_path / "x.xml")
    assert program.classes == tuple(NAMES) and program.name == "SlowFastAC"
    expected, found = (predict(each, videos[0])[0].scores for each in (weights, program))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.01
    with pytest.raises(InputError, match=r"x\.xml: a program returns scores alone"):
        program.require_network("take features from")
    with pytest.raises(InputError, match=r"x\.xml: OpenVINO does its own optimising"):
        load_model(tmp_path / "x.xml", compile=True)


@pytest.mark.slow
def test_bfloat16_is_set_when_the_file_is_opened(program, monkeypatch, noise, scores):
    cfg, model, path = program(precision="bfloat16")
    asked = []
    real = openvino.Core.compile_model

    def compile_model(core, network, device, options):
        asked.append(options["INFERENCE_PRECISION_HINT"])
        return real(core, network, device, options)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    opened = load_model(path)
    assert asked == ["bf16"]
    clips = noise(cfg, 2)
    assert (opened.scores([clips]) - scores(model, cfg, clips)).abs().max() < 0.02


DAMAGE = {
    "no weights": (lambda xml, bin: bin.unlink(), "is one half of a program; put x.bin beside it"),
    "cut weights": (lambda xml, bin: bin.write_bytes(bin.read_bytes()[:-100]), "copy both"),
    "one bit": (
        lambda xml, bin: bin.write_bytes(b"x" + bin.read_bytes()[1:]),
        "x.bin is damaged or another program's",
    ),
    "cut": (lambda xml, bin: xml.write_bytes(xml.read_bytes()[:5000]), "damaged, or not an Open"),
    "empty": (lambda xml, bin: xml.write_bytes(b""), "damaged, or not an Open"),
}


@pytest.mark.slow
def test_half_a_program_is_refused(program, tmp_path):
    _, _, whole = program()
    for kind, (harm, message) in DAMAGE.items():
        path = shutil.copytree(whole.parent, tmp_path / kind) / "x.xml"
        harm(path, path.with_suffix(".bin"))
        with pytest.raises(InputError, match=rf"^{path}: .*{message}") as error:
            load_model(path)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_kill_between_the_two_files_leaves_no_program_that_opens(program, monkeypatch):
    """The new weights are in place, the old program still names the old ones."""
    _, model, path = program()
    before = path.read_bytes()
    real = os.replace

    def replace(source, target):
        if Path(target).suffix == ".xml":
            raise KeyboardInterrupt
        real(source, target)

    with torch.no_grad():
        next(model.parameters()).add_(1)
    monkeypatch.setattr(os, "replace", replace)
    checkpoint = path.parent.parent / "in" / "checkpoint.pyth"
    saved = torch.load(checkpoint)
    torch.save({**saved, "model_state": model.state_dict()}, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        export(load_model(checkpoint, device="cpu"), "openvino", path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.bin", "x.xml"]
    with pytest.raises(InputError, match=r"x\.bin is damaged or another program's"):
        load_model(path)


@pytest.mark.slow
def test_a_program_with_other_scores_is_refused_and_both_old_files_stay(program, monkeypatch):
    from slowfast_ac.inference import optimize

    _, _, path = program()
    before = [path.read_bytes(), path.with_suffix(".bin").read_bytes()]
    checkpoint = path.parent.parent / "in" / "checkpoint.pyth"
    monkeypatch.setattr(optimize, "fuse_conv_bn_eval", lambda conv, norm: conv)
    network = load_model(checkpoint, device="cpu")
    with pytest.raises(InputError, match=r"x\.xml: not written, since its scores differ"):
        export(network, "openvino", path)
    assert [path.read_bytes(), path.with_suffix(".bin").read_bytes()] == before
    assert len(list(path.parent.iterdir())) == 2


def test_another_ir_is_refused(tmp_path):
    from openvino import opset13 as opset

    value = opset.parameter([1], np.float32)
    openvino.save_model(openvino.Model([opset.relu(value)], [value]), tmp_path / "x.xml")
    with pytest.raises(InputError, match=r"x\.xml: does not state what frames it takes"):
        load_model(tmp_path / "x.xml")


@pytest.mark.slow
def test_openvino_and_nncf_report_nothing_to_their_makers(trained, folder, tmp_path):
    """OpenVINO keeps an identifier in the home of users whose conversions it reports."""
    _, _, checkpoint = trained()
    (tmp_path / "home").mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD")}
    words = ["--checkpoint", checkpoint, "--format", "openvino", "--output", folder / "x.xml"]
    subprocess.run(
        [sys.executable, "-m", "slowfast_ac", "export", *map(str, words)],
        env={**environment, "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    assert (folder / "x.xml").exists()
    assert not list((tmp_path / "home").rglob("*intel*"))


SIGNAL = """
import signal, sys
import torch
from slowfast_ac.inference.programs.openvino import compile_model, convert

class Network(torch.nn.Module):
    def forward(self, clips):
        return clips.mean(dim=(2, 3, 4))

signal.signal(signal.SIGUSR1, lambda *_: print("alive"))
model = convert(Network(), torch.zeros(2, 3, 2, 8, 8))
first, second = compile_model(model, "float32"), compile_model(model, "float32")
assert first(torch.ones(1, 3, 2, 8, 8)).tolist() == [[1.0, 1.0, 1.0]]
del first
del second
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="has no alternate signal stack")
def test_a_signal_after_two_networks_are_freed_does_not_crash():
    done = subprocess.run([sys.executable, "-c", SIGNAL], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
