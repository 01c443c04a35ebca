"""Exported files give the scores of upstream's network on pathways that upstream packs."""

import argparse
import json
import os
import subprocess
import sys

import onnxruntime
import pytest
import torch
import yaml
from pytorchvideo.models import create_resnet, create_slowfast
from safetensors import safe_open
from torch import nn

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.cli import export as export_command
from slowfast_ac.data.clips import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.inference import optimize
from slowfast_ac.inference.clip_model import InferenceModel
from slowfast_ac.inference.export import export
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.optimize import fold_batchnorm, optimize_network
from slowfast_ac.pyslowfast.build import count_gflops

FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy", "DATA.NUM_FRAMES", 8)
AC = ("DATA.NUM_FRAMES", 8)
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)
NONLOCAL = (*SLOW, "NONLOCAL.LOCATION", [[[]], [[1, 3]], [[0]], [[]]])
SIGMOID = (*FUSED, "MODEL.HEAD_ACT", "sigmoid")
# Several places for the head's pooling window, which takes 64 x 64 pixels.
LARGE_CROP = (*AC, "DATA.TEST_CROP_SIZE", 96)
CLASSES = {f"class {number}": number for number in range(7)}


def randomised(model, clips, seed=0):
    """Gives every number, BatchNorm's statistics too, a value of its own; the logits spread by 1.

    Scores that are all alike, or 0 and 1, would agree whatever the network does.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(seed + 7)
        elif tensor.dim() > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * tensor[0].numel() ** -0.5)
        else:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    (linear,) = (module for module in model.modules() if isinstance(module, nn.Linear))
    outputs = []
    handle = linear.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        model.eval()(clips)
        handle.remove()
        linear.weight /= outputs[0].std()
        linear.bias /= outputs[0].std()
    return model


def noise(cfg, count, seed=5):
    generator = torch.Generator().manual_seed(seed)
    size = cfg.DATA.TEST_CROP_SIZE
    return torch.randn(count, 3, cfg.DATA.NUM_FRAMES, size, size, generator=generator)


def packed(cfg, clips):
    """Upstream's pathways of a batch."""
    from slowfast.datasets.utils import pack_pathway_output

    pathways = zip(*(pack_pathway_output(cfg, clip) for clip in clips), strict=True)
    return [torch.stack(clips) for clips in pathways]


@torch.no_grad()
def scores(model, cfg, clips):
    found = model(packed(cfg, clips))
    assert found.std(dim=1).min() > 0.01, "scores that are all alike prove nothing"
    return found


@pytest.fixture
def trained(build_model, tiny_cfg, tmp_path):
    """Returns a function: config keys and values -> config, network, and its checkpoint's path."""

    def make(*opts, **saved):
        cfg = tiny_cfg(*opts)
        model = randomised(build_model(cfg), packed(cfg, noise(cfg, 2)))
        path = tmp_path / "in" / "checkpoint.pyth"
        path.parent.mkdir(exist_ok=True)
        data = {"model_state": model.state_dict(), "epoch": 3, "cfg": cfg.dump()}
        torch.save({**data, **saved}, path)
        return cfg, model, path

    return make


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    return path


NETWORKS = {
    "SlowFast": FUSED,
    "SlowFastAC": AC,
    "SlowFastAC at a large crop": LARGE_CROP,
    "Slow": SLOW,
    "nonlocal": NONLOCAL,
}


@pytest.mark.parametrize(
    "opts",
    # The wheel has no such key.
    [*NETWORKS.values(), pytest.param(SIGMOID, marks=pytest.mark.checkout)],
    ids=[*NETWORKS, "sigmoid"],
)
def test_folded_network_gives_the_scores_without_batchnorm(trained, opts):
    cfg, model, _ = trained(*opts)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = InferenceModel(optimize_network(model), Preprocessing.from_config(cfg))
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    clips = noise(cfg, 3)
    torch.testing.assert_close(folded(clips), scores(model, cfg, clips), rtol=1e-4, atol=1e-6)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def ptv_slowfast():
    return create_slowfast(
        model_num_class=7,
        stem_dim_outs=(8, 1),
        head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2)),
    )


def ptv_slow():
    return create_resnet(model_num_class=7, stem_dim_out=8, head_pool_kernel_size=(8, 2, 2))


@pytest.mark.parametrize("build", [ptv_slowfast, ptv_slow])
def test_pytorchvideos_networks_fold_as_well(build):
    clip = torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))

    def inputs():
        # PyTorchVideo writes into the list it is given.
        return [clip[:, :, [0, 7]], clip] if build is ptv_slowfast else clip

    model = randomised(build(), inputs())
    folded = fold_batchnorm(model)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(inputs()), model(inputs()), rtol=1e-3, atol=1e-5)


def test_batchnorm_behind_no_convolution_is_named():
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm3d(3))
    with pytest.raises(InputError, match="^1: a BatchNorm layer behind no convolution"):
        fold_batchnorm(network)


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


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("name", ["SlowFast", "SlowFastAC", "Slow"])
def test_program_gives_upstreams_scores_at_any_batch_size(trained, folder, name, format):
    extra = ("SCAM.UPSAMPLE", True) if name == "SlowFastAC" else ()
    cfg, model, checkpoint = trained(*NETWORKS[name], *extra)
    path = folder / f"model.{format}"
    network = load_model(checkpoint, config=cfg, classes=CLASSES, device="cpu")
    report = export(network, format, path)
    assert report.max_difference < 1e-5 and report.latency_ratio > 0
    program, metadata = READERS[format](path)
    for count in (1, 2, 5):
        clips = noise(cfg, count)
        expected = scores(model, cfg, clips)
        torch.testing.assert_close(program(clips), expected, rtol=1e-3, atol=1e-5)
    restored = Preprocessing.from_dict(json.loads(metadata["preprocessing"]))
    assert restored == Preprocessing.from_config(cfg)
    assert json.loads(metadata["classes"]) == CLASSES
    assert metadata["model"] == cfg.MODEL.MODEL_NAME
    assert [file.name for file in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("naming", ["pyslowfast", "pytorchvideo"])
@pytest.mark.parametrize("name", ["SlowFast", "SlowFastAC", "Slow"])
def test_exported_weights_are_the_same_bits(trained, folder, name, naming):
    cfg, model, path = trained(*NETWORKS[name])
    native = model.state_dict()
    renamed, _ = convert(native, "pyslowfast", "pytorchvideo")
    torch.save({"model_state": native if naming == "pyslowfast" else renamed}, path)
    network = load_model(path, config=cfg, classes=CLASSES, device="cpu")
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
def test_exported_weights_carry_what_goes_with_them_but_no_folders(trained, folder, format):
    cfg, _, checkpoint = trained(*AC)
    cfg.merge_from_list(["OUTPUT_DIR", "/home/me/secret", "DATA.PATH_PREFIX", "/home/me/videos"])
    network = load_model(checkpoint, config=cfg, classes=CLASSES, device="cpu")
    path = folder / ("x.pyth" if format == "pyslowfast" else "x.safetensors")
    export(network, format, path)
    if format == "pyslowfast":
        extras = torch.load(path, weights_only=True)
    else:
        with safe_open(path, framework="pt") as file:
            extras = file.metadata()
    assert json.loads(extras["preprocessing"]) == Preprocessing.from_config(cfg).to_dict()
    assert json.loads(extras["classes"]) == CLASSES
    assert yaml.safe_load(extras["cfg"])["MODEL"]["NUM_CLASSES"] == 7
    assert int(extras["epoch"]) == 3
    assert b"/home/me" not in path.read_bytes()


@pytest.mark.parametrize("name", ["SlowFast", "SlowFastAC", "Slow"])
def test_program_in_bfloat16_gives_nearly_the_same_scores(trained, folder, name, capsys):
    cfg, model, checkpoint = trained(*NETWORKS[name])
    path = folder / "x.pt2"
    run(cfg, checkpoint, "--format", "pt2", "--precision", "bfloat16", "--output", path)
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


@pytest.mark.parametrize(
    "format, message",
    [("onnx", "ONNX Runtime has no conv.*; take pt2"), ("safetensors", "weights are exported as")],
)
def test_bfloat16_is_refused_where_it_makes_no_sense(trained, folder, format, message):
    cfg, _, checkpoint = trained(*AC)
    words = ["--format", format, "--precision", "bfloat16", "--output", folder / f"x.{format}"]
    with pytest.raises(InputError, match=f"^--precision: bfloat16 .* --format {format}: {message}"):
        run(cfg, checkpoint, *words)
    assert not list(folder.iterdir())


def test_pytorchvideos_names_in_pyslowfasts_network_give_the_same_program(trained, folder):
    cfg, model, path = trained(*FUSED)
    renamed, _ = convert(model.state_dict(), "pyslowfast", "pytorchvideo")
    torch.save({"model_state": renamed}, path)
    export(load_model(path, config=cfg, device="cpu"), "pt2", folder / "x.pt2")
    clips = noise(cfg, 2)
    program = torch.export.load(folder / "x.pt2").module()
    torch.testing.assert_close(program(clips), scores(model, cfg, clips), rtol=1e-3, atol=1e-5)


@pytest.mark.checkout
@pytest.mark.parametrize(("name", "native"), [("PTVSlowFast", FUSED), ("PTVSlowFastAC", AC)])
def test_ptv_models_are_exported_and_become_native_ones(trained, build_model, folder, name, native):
    cfg, model, path = trained(*native, "MODEL.MODEL_NAME", name)
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


@pytest.mark.checkout
@pytest.mark.parametrize("kind", ["sync_batchnorm", "sub_batchnorm"])
def test_batchnorm_of_several_devices_is_exported_as_upstream_saves_it(trained, kind):
    cfg, model, path = trained(*AC)
    cfg.merge_from_list(["BN.NORM_TYPE", kind, "BN.NUM_SPLITS", 2])
    network = load_model(path, config=cfg, device="cpu")
    folded = InferenceModel(optimize_network(network.network), network.preprocessing)
    clips = noise(cfg, 2)
    torch.testing.assert_close(folded(clips), scores(model, cfg, clips), rtol=1e-4, atol=1e-6)


# What must not be written.


def test_program_with_other_scores_is_refused_and_the_old_file_stays(trained, folder, monkeypatch):
    cfg, _, checkpoint = trained(*FUSED)
    network = load_model(checkpoint, config=cfg, device="cpu")
    path = folder / "x.pt2"
    path.write_text("old")
    monkeypatch.setattr(optimize, "fuse_conv_bn_eval", lambda conv, norm: conv)
    with pytest.raises(InputError, match=r"x\.pt2: not written, since its scores differ .* by "):
        export(network, "pt2", path)
    assert path.read_text() == "old" and len(list(folder.iterdir())) == 1


def test_scores_that_are_nan_are_refused(trained, folder):
    cfg, model, checkpoint = trained(*FUSED)
    model.state_dict()["head.projection.bias"].fill_(float("nan"))
    torch.save({"model_state": model.state_dict()}, checkpoint)
    with pytest.raises(InputError, match="differ from the network's by nan"):
        export(load_model(checkpoint, config=cfg, device="cpu"), "pt2", folder / "x.pt2")
    assert not list(folder.iterdir())


def run(cfg, checkpoint, *words):
    path = checkpoint.parent / "TINY.yaml"
    path.write_text(cfg.dump())
    parser = argparse.ArgumentParser()
    export_command.add_arguments(parser)
    words = ["--cfg", path, "--checkpoint", checkpoint, *words]
    return export_command.main(parser.parse_args([str(word) for word in words]))


REFUSED = {
    "classes": (["--opts", "MODEL.NUM_CLASSES", 5], "was trained on 7 classes, .* has 5"),
    "alpha": (["--opts", "SLOWFAST.ALPHA", 2], "was trained with alpha 4, .* has 2"),
    "width": (["--opts", "RESNET.WIDTH_PER_GROUP", 16], r"shape \[8, 3, 1, 7, 7\], but \[16"),
    "other network": (
        ["--opts", "MODEL.MODEL_NAME", "SlowFast"],
        "holds SlowFastAC, which does not fit SlowFast",
    ),
    "detector": (["--opts", "DETECTION.ENABLE", True], "DETECTION.ENABLE: only classifiers"),
    "unknown model": (["--opts", "MODEL.MODEL_NAME", "SlowFst"], "'SlowFst' is not known"),
}


@pytest.mark.parametrize("format", ["pyslowfast", "onnx"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_gets_one_line_and_no_file(trained, folder, kind, format):
    words, message = REFUSED[kind]
    cfg, _, checkpoint = trained(*AC, "MODEL.LOSS_FUNC", "cross_entropy")
    suffix = {"pyslowfast": "pyth", "onnx": "onnx"}[format]
    output = folder / "new" / f"x.{suffix}"
    with pytest.raises(InputError, match=message) as error:
        run(cfg, checkpoint, "--format", format, "--output", output, *words)
    assert "\n" not in str(error.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("format", ["safetensors", "pt2"])
def test_truncated_checkpoint_is_refused(trained, folder, format):
    cfg, _, checkpoint = trained(*AC)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"checkpoint\.pyth: truncated zip"):
        run(cfg, checkpoint, "--format", format, "--output", folder / f"x.{format}")
    assert not list(folder.iterdir())


def test_class_map_and_suffix_must_fit(trained, folder):
    cfg, _, checkpoint = trained(*AC)
    (folder / "classes.json").write_text('{"a": 0, "b": 1}')
    words = ["--format", "pt2", "--output", folder / "x.pt2"]
    with pytest.raises(InputError, match="MODEL.NUM_CLASSES: 7, but the class map names 2"):
        run(cfg, checkpoint, *words, "--classes", folder / "classes.json")
    with pytest.raises(InputError, match=r"x\.pth: the suffix of --format onnx is \.onnx"):
        run(cfg, checkpoint, "--format", "onnx", "--output", folder / "x.pth")
    with pytest.raises(InputError, match="--accuracy and --run-dir are for .* give --zoo"):
        run(cfg, checkpoint, *words, "--accuracy", "top1=3")
    assert [file.name for file in folder.iterdir()] == ["classes.json"]


def test_command_says_what_it_measured(trained, folder, capsys):
    cfg, _, checkpoint = trained(*AC)
    path = folder / "x.pt2"
    run(cfg, checkpoint, "--format", "pt2", "--output", path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"wrote {path}, {path.stat().st_size:,} bytes"
    assert lines[1].startswith("scores differ from eager PyTorch by ")
    assert lines[1].endswith("at most (batches of 1 and 3, allowed 0.0001)")
    assert lines[2].startswith("latency ") and "of eager PyTorch" in lines[2]


def test_packing_takes_upstreams_frames(tiny_cfg):
    """Alpha 8 of 16 frames: the first and the last."""

    class Sums(nn.Module):
        def forward(self, pathways):
            return torch.stack([pathway.sum(dim=(1, 2, 3, 4)) for pathway in pathways], dim=1)

    cfg = tiny_cfg("SLOWFAST.ALPHA", 8)
    clips = noise(cfg, 2)
    found = InferenceModel(Sums(), Preprocessing.from_config(cfg))(clips)
    assert torch.equal(found, Sums()(packed(cfg, clips)))


@pytest.mark.parametrize("name", ["SlowFast", "SlowFastAC", "Slow"])
def test_network_built_without_pyslowfast_gives_its_scores(trained, name):
    cfg, model, checkpoint = trained(*NETWORKS[name])
    path = checkpoint.parent / "config.yaml"
    path.write_text(cfg.dump())
    network = load_network_alone(load_config_alone(path), checkpoint, CLASSES)
    clips = noise(cfg, 2)
    found = InferenceModel(optimize_network(network.network), network.preprocessing)(clips)
    torch.testing.assert_close(found, scores(model, cfg, clips), rtol=1e-3, atol=1e-5)
    assert network.name == cfg.MODEL.MODEL_NAME
    with_it = load_model(checkpoint, config=cfg, classes=CLASSES, device="cpu")
    assert count_gflops(cfg, network.model) == count_gflops(cfg, with_it.model)


def export_alone(cfg, checkpoint, *words):
    """Runs the command where there is no PySlowFast; returns its exit status and last words."""
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


def test_command_needs_no_pyslowfast(trained, folder):
    cfg, model, checkpoint = trained(*FUSED)
    opts = ["--opts", "DATA.PATH_TO_DATA_DIR", "/home/me"]
    words = ["--format", "onnx", "--output", folder / "x.onnx", *opts]
    status, text = export_alone(cfg, checkpoint, *words)
    assert status == 0 and text.startswith("wrote "), text
    clips = noise(cfg, 2)
    torch.testing.assert_close(
        read_onnx(folder / "x.onnx")[0](clips), scores(model, cfg, clips), rtol=1e-3, atol=1e-5
    )
    status, text = export_alone(
        cfg, checkpoint, "--format", "safetensors", "--zoo", folder / "zoo", *opts
    )
    assert status == 0, text
    (card,) = (folder / "zoo").glob("TINY_*.md")
    assert "| Model | SlowFast, 7 classes |" in card.read_text()
    assert "/home/me" not in card.read_text()
    found = open_checkpoint(card.with_suffix(".safetensors"))
    assert found.config["RESNET"] == yaml.safe_load(cfg.dump())["RESNET"]
    assert all(
        torch.equal(found.state_dict[key], value) for key, value in model.state_dict().items()
    )


REFUSED_ALONE = {
    "classes": REFUSED["classes"],
    "alpha": REFUSED["alpha"],
    "width": (["RESNET.WIDTH_PER_GROUP", 16], "holds 8, .* fit RESNET.WIDTH_PER_GROUP: 16"),
    "other network": (
        ["MODEL.MODEL_NAME", "SlowFast"],
        "holds SlowFastAC, which does not fit MODEL.MODEL_NAME: SlowFast",
    ),
    "detector": REFUSED["detector"],
    "unknown key": (["MODEL.MODEL_NAM", "x"], "unknown config key MODEL.MODEL_NAM; did you mean"),
}


@pytest.mark.parametrize("kind", REFUSED_ALONE)
def test_without_pyslowfast_the_same_is_refused(trained, kind):
    words, message = REFUSED_ALONE[kind]
    cfg, _, checkpoint = trained(*AC, "MODEL.LOSS_FUNC", "cross_entropy")
    path = checkpoint.parent / "TINY.yaml"
    path.write_text(cfg.dump())
    opts = [str(word) for word in words if word != "--opts"]
    with pytest.raises(InputError, match=message):
        load_network_alone(load_config_alone(path, opts), checkpoint)


def test_config_of_the_wheel_means_what_the_weights_are(trained):
    cfg, _, checkpoint = trained(*AC)
    plain = yaml.safe_load(cfg.dump())
    del plain["MODEL"]["MODEL_NAME"], plain["TEST"]
    path = checkpoint.parent / "TINY.yaml"
    path.write_text(yaml.safe_dump({**plain, "TEST": None}))
    network = load_network_alone(load_config_alone(path), checkpoint)
    assert network.name == "SlowFastAC"
    assert network.config.TEST.NUM_ENSEMBLE_VIEWS == 10
