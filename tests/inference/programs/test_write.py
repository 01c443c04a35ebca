"""Exported programs give the scores of upstream's network on pathways that upstream packs."""

import json

import onnxruntime
import pytest
import torch
from torch import nn

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference import optimize
from slowfast_ac.inference.clip_model import InferenceModel
from slowfast_ac.inference.export import export
from slowfast_ac.inference.load import load_model


def read_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (clip,), (output,) = session.get_inputs(), session.get_outputs()
    assert (clip.name, clip.shape[0], output.name) == ("clip", "batch", "scores")
    operators = {node.op_type for node in onnx_nodes(path)}
    assert "Conv" in operators and "BatchNormalization" not in operators

    def run(clips):
        return torch.from_numpy(session.run(["scores"], {"clip": clips.numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map


def onnx_nodes(path):
    import onnx

    return onnx.load(path).graph.node


def read_pt2(path):
    texts = {"model": "", "preprocessing": "", "classes": ""}
    program = torch.export.load(path, extra_files=texts)
    assert not any("scam" in name or "running" in name for name in program.state_dict)
    return program.module(), texts


READERS = {"onnx": read_onnx, "pt2": read_pt2}
NAMES = ["SlowFastAC", "SlowFast", "Slow"]
QUICK = [*(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[:2]), "Slow"]


@pytest.mark.parametrize("format", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", QUICK)
def test_program_gives_upstreams_scores_at_any_batch_size(
    trained, folder, name, format, classes, noise, scores
):
    extra = ("SCAM.UPSAMPLE", True) if name == "SlowFastAC" else ()
    cfg, model, checkpoint = trained(name, *extra)
    path = folder / f"model.{format}"
    network = load_model(checkpoint, config=cfg, classes=classes, device="cpu")
    report = export(network, format, path)
    assert report.max_difference < 1e-5 and report.latency_ratio > 0
    program, metadata = READERS[format](path)
    for count in (1, 2, 5):
        clips = noise(cfg, count)
        expected = scores(model, cfg, clips)
        torch.testing.assert_close(program(clips), expected, rtol=1e-3, atol=1e-5)
    restored = Preprocessing.from_dict(json.loads(metadata["preprocessing"]))
    assert restored == Preprocessing.from_config(cfg)
    assert json.loads(metadata["classes"]) == classes
    assert metadata["model"] == cfg.MODEL.MODEL_NAME
    assert [file.name for file in folder.iterdir()] == [path.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_program_in_bfloat16_gives_nearly_the_same_scores(
    trained, folder, name, capsys, noise, scores, run_export
):
    cfg, model, checkpoint = trained(name)
    path = folder / "x.pt2"
    run_export(checkpoint, "--format", "pt2", "--precision", "bfloat16", "--output", path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("at most (batches of 1 and 3, allowed 0.02)")
    program, _ = read_pt2(path)
    weights = [weight for weight in program.parameters() if weight.ndim == 5]
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    for count in (1, 5):
        clips = noise(cfg, count)
        expected = scores(model, cfg, clips)
        found = program(clips)
        assert found.dtype == torch.float32
        assert 1e-5 < (found - expected).abs().max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SlowFastAC", "Slow"])
def test_program_of_torch_export_moves_to_another_device(trained, folder, name):
    """To meta, as to a GPU: nothing in it may insist on the CPU."""
    cfg, _, checkpoint = trained(name)
    export(load_model(checkpoint, device="cpu"), "pt2", folder / "x.pt2")
    program = torch.export.load(folder / "x.pt2").module().to("meta")
    size = cfg.DATA.TEST_CROP_SIZE
    found = program(torch.empty(3, 3, cfg.DATA.NUM_FRAMES, size, size, device="meta"))
    assert (found.shape, found.device.type) == ((3, 7), "meta")


@pytest.mark.slow
def test_pytorchvideos_names_in_pyslowfasts_network_give_the_same_program(
    trained, folder, noise, scores
):
    cfg, model, path = trained("SlowFast")
    renamed, _ = convert(model.state_dict(), "pyslowfast", "pytorchvideo")
    torch.save({"model_state": renamed}, path)
    export(load_model(path, config=cfg, device="cpu"), "pt2", folder / "x.pt2")
    clips = noise(cfg, 2)
    program = torch.export.load(folder / "x.pt2").module()
    torch.testing.assert_close(program(clips), scores(model, cfg, clips), rtol=1e-3, atol=1e-5)


def test_program_with_other_scores_is_refused_and_the_old_file_stays(trained, folder, monkeypatch):
    cfg, _, checkpoint = trained("Slow")
    network = load_model(checkpoint, config=cfg, device="cpu")
    path = folder / "x.pt2"
    path.write_text("old")
    monkeypatch.setattr(optimize, "fuse_conv_bn_eval", lambda conv, norm: conv)
    with pytest.raises(InputError, match=r"x\.pt2: not written, since its scores differ .* by "):
        export(network, "pt2", path)
    assert path.read_text() == "old" and len(list(folder.iterdir())) == 1


@pytest.mark.slow
def test_scores_that_are_nan_are_refused(trained, folder):
    cfg, model, checkpoint = trained("Slow")
    model.state_dict()["head.projection.bias"].fill_(float("nan"))
    torch.save({"model_state": model.state_dict()}, checkpoint)
    with pytest.raises(InputError, match="differ from the network's by nan"):
        export(load_model(checkpoint, config=cfg, device="cpu"), "pt2", folder / "x.pt2")
    assert not list(folder.iterdir())


def test_packing_takes_upstreams_frames(tiny_cfg, noise, packed):
    """Alpha 8 of 16 frames: the first and the last."""

    class Sums(nn.Module):
        def forward(self, pathways):
            return torch.stack([pathway.sum(dim=(1, 2, 3, 4)) for pathway in pathways], dim=1)

    cfg = tiny_cfg("SLOWFAST.ALPHA", 8)
    clips = noise(cfg, 2)
    found = InferenceModel(Sums(), Preprocessing.from_config(cfg))(clips)
    assert torch.equal(found, Sums()(packed(cfg, clips)))
