"""A zoo's entries, and the entry points of torch.hub."""

import argparse
import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorchvideo.models import create_resnet, create_slowfast
from torch import nn

from slowfast_ac.checkpoint.convert import convert
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.cli import export as export_command
from slowfast_ac.errors import InputError
from slowfast_ac.inference.entry import parse_accuracy, read_accuracy

ROOT = Path(__file__).resolve().parents[2]
AC = ("DATA.NUM_FRAMES", 8)
FUSED = (*AC, "MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
SLOW = (
    *("MODEL.MODEL_NAME", "ResNet", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.ARCH", "slow"),
    *("DATA.NUM_FRAMES", 4, "DATA.INPUT_CHANNEL_NUM", [3]),
    *("RESNET.SPATIAL_STRIDES", [[1], [2], [2], [2]], "RESNET.SPATIAL_DILATIONS", [[1]] * 4),
    *("RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]),
    *("NONLOCAL.LOCATION", [[[]]] * 4, "NONLOCAL.GROUP", [[1]] * 4),
    *("NONLOCAL.POOL", [[[1, 2, 2]]] * 4),
)


def save(model, cfg, path, naming="pyslowfast"):
    weights = model.state_dict()
    if naming == "pytorchvideo":
        weights, _ = convert(weights, "pyslowfast", "pytorchvideo")
    torch.save({"model_state": weights, "epoch": 3, "cfg": cfg.dump()}, path)


@pytest.fixture
def add(build_model, tiny_cfg, tmp_path):
    """Returns a function: words of the command -> the zoo after `export --zoo` of a SlowFastAC."""
    cfg = tiny_cfg(*AC)
    torch.manual_seed(0)
    save(build_model(cfg), cfg, tmp_path / "checkpoint.pyth")

    def run(*words, name="TINY", format="safetensors"):
        (tmp_path / f"{name}.yaml").write_text(cfg.dump())
        parser = argparse.ArgumentParser()
        export_command.add_arguments(parser)
        files = ["--cfg", tmp_path / f"{name}.yaml", "--checkpoint", tmp_path / "checkpoint.pyth"]
        words = [*files, "--zoo", tmp_path / "zoo", "--format", format, *words]
        export_command.main(parser.parse_args([str(word) for word in words]))
        return tmp_path / "zoo"

    return run


def read_rows(zoo):
    with open(zoo / "index.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("safetensors", ".safetensors"), ("pyslowfast", ".pyth"), ("pytorchvideo", ".pyth")],
)
def test_entry_is_named_after_its_hash_and_opens(add, tmp_path, format, suffix):
    zoo = add("--accuracy", "top1=71.5,top5=90,data=UCF101 split 1", format=format)
    row = read_rows(zoo)["TINY"]
    path = zoo / row["file"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert row["sha256"] == digest and path.name == f"TINY_{digest[:8]}{suffix}"
    assert sorted(file.name for file in zoo.iterdir()) == sorted(
        [path.name, path.with_suffix(".md").name, "index.csv"]
    )
    checkpoint = open_checkpoint(path)
    assert checkpoint.model.removeprefix("PTV") == "SlowFastAC" and checkpoint.num_classes == 7
    original = torch.load(tmp_path / "checkpoint.pyth", weights_only=True)["model_state"]
    if format == "pytorchvideo":
        original, _ = convert(original, "pyslowfast", "pytorchvideo")
    assert all(torch.equal(checkpoint.state_dict[key], value) for key, value in original.items())
    assert (row["top1"], row["top5"], row["data"]) == ("71.5", "90", "UCF101 split 1")
    assert (row["num_frames"], row["alpha"], row["views"]) == ("8", "4", "10x3")


def test_card_says_what_the_row_says(add):
    zoo = add("--accuracy", "top1=71.5,data=UCF101")
    row = read_rows(zoo)["TINY"]
    card = (zoo / row["file"]).with_suffix(".md").read_text()
    for text in (
        "| Model | SlowFastAC, 7 classes |",
        "| Data | UCF101 |",
        "| Accuracy | top1 71.5 % |",
        "| Views | 10 clips x 3 crops |",
        f"| Cost | {row['gflops']} GFLOPs a view, {int(row['parameters']):,} parameters |",
        f"| SHA-256 | {row['sha256']} |",
        f"torch {torch.__version__}, slowfast_ac ",
        "code: Apache-2.0",
        "  LOSS_FUNC: attention_consistency",
    ):
        assert text in card
    weights = open_checkpoint(zoo / row["file"]).state_dict
    statistics = (".running_mean", ".running_var", ".num_batches_tracked")
    count = sum(value.numel() for name, value in weights.items() if not name.endswith(statistics))
    assert int(row["parameters"]) == count


def test_row_of_the_same_name_is_replaced_and_others_stay(add):
    add(name="FIRST")
    add("--accuracy", "top1=1", name="SECOND")
    zoo = add("--accuracy", "top1=2", name="SECOND")
    rows = read_rows(zoo)
    assert list(rows) == ["FIRST", "SECOND"]
    assert (rows["FIRST"]["top1"], rows["SECOND"]["top1"]) == ("", "2")
    # The same weights have the same name, whenever and wherever they are written.
    assert len(list(zoo.glob("SECOND_*.safetensors"))) == 1


def test_changed_or_misnamed_entry_is_refused(add):
    zoo = add()
    path = zoo / read_rows(zoo)["TINY"]["file"]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=rf"{path.name}: changed or damaged: its sha256 starts"):
        open_checkpoint(path)
    # Whatever opens it: in its zoo the name is a promise, elsewhere it may be a date.
    with pytest.raises(InputError, match="changed or damaged"):
        hub("slowfast_ac_r50", pretrained=str(path), num_classes=7)
    (zoo.parent / path.name).write_bytes(path.read_bytes())
    assert open_checkpoint(zoo.parent / path.name).num_classes == 7
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="changed or damaged"):
        open_checkpoint(path)


def test_refused_entry_leaves_the_zoo_as_it_was(add, tmp_path):
    with pytest.raises(InputError, match="--format onnx: an entry of a zoo holds weights"):
        add(format="onnx")
    with pytest.raises(InputError, match="'top2=3' is not one of"):
        add("--accuracy", "top2=3")
    assert not (tmp_path / "zoo").exists()
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"index\.csv: not an index of a zoo"):
        add()
    assert [file.name for file in (tmp_path / "zoo").iterdir()] == ["index.csv"]


@pytest.mark.parametrize("text", ["top1", "top1=", "top1=x", "top1=101", "top1=nan", "a=1", ""])
def test_bad_accuracy_is_named(text):
    with pytest.raises(InputError, match="^--accuracy: "):
        parse_accuracy(text)


def test_accuracy_of_a_run_is_that_of_its_last_test(tmp_path):
    log = tmp_path / "stdout.log"
    with pytest.raises(InputError, match=r"stdout\.log: there is no such log"):
        read_accuracy(tmp_path)
    log.write_text('[INFO] json_stats: {"_type": "val_epoch", "top1_err": 3.0}\n')
    with pytest.raises(InputError, match=r"stdout\.log: no finished test in it"):
        read_accuracy(tmp_path)
    line = '[INFO] json_stats: {"split": "test_final", "top1_acc": "%s", "top5_acc": "91.00"}\n'
    log.write_text(line % "60.00" + line % "71.25")
    assert read_accuracy(tmp_path) == {"top1": "71.25", "top5": "91.00"}


# torch.hub.


def hub(name, **options):
    return torch.hub.load(str(ROOT), name, source="local", **options)


def spread(model):
    """Moves every BatchNorm's numbers away from where they start; the logits spread by about 1."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.5)
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("naming", ["pyslowfast", "pytorchvideo"])
@pytest.mark.parametrize(
    ("name", "opts"),
    [("slowfast_ac_r50", AC), ("slowfast_r50_fused", FUSED), ("slow_r50", SLOW)],
)
def test_hub_network_with_our_weights_gives_upstreams_scores(
    build_model, tiny_cfg, tmp_path, name, opts, naming
):
    from slowfast.datasets.utils import pack_pathway_output

    cfg = tiny_cfg(*opts, "RESNET.WIDTH_PER_GROUP", 64, "MODEL.FC_INIT_STD", 0.02)
    torch.manual_seed(0)
    model = spread(build_model(cfg))
    save(model, cfg, tmp_path / "x.pyth", naming)
    network = hub(name, pretrained=str(tmp_path / "x.pyth"), num_classes=7)
    clip = torch.randn(
        1, 3, cfg.DATA.NUM_FRAMES, 64, 64, generator=torch.Generator().manual_seed(0)
    )
    pathways = [pathway[None] for pathway in pack_pathway_output(cfg, clip[0])]
    inputs = clip if name == "slow_r50" else list(pathways)
    with torch.no_grad():
        expected = model(pathways)
        found = network(inputs).softmax(dim=1)
    assert expected.std() > 0.01, "scores that are all alike prove nothing"
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_hub_refuses_another_network_class_count_or_alpha(build_model, tiny_cfg, tmp_path):
    path = tmp_path / "x.pyth"
    cfg = tiny_cfg(*AC)
    save(build_model(cfg), cfg, path)
    with pytest.raises(InputError, match=r"x\.pyth: num_classes: 400, but .* 7 classes"):
        hub("slowfast_ac_r50", pretrained=str(path), num_classes=400)
    with pytest.raises(InputError, match=r"x\.pyth: was trained with SLOWFAST.ALPHA 4, but 8 is"):
        hub("slowfast_ac_r50", pretrained=str(path), alpha=8)
    with pytest.raises(InputError, match=r"x\.pyth: was trained with DATA.NUM_FRAMES 8, but 16"):
        hub("slowfast_ac_r50", pretrained=str(path), num_frames=16)
    with pytest.raises(InputError, match=r"x\.pyth: holds SlowFastAC, not SlowFast"):
        hub("slowfast_r50_fused", pretrained=str(path))
    with pytest.raises(InputError, match=r"absent: no such file"):
        hub("slow_r50", pretrained=str(tmp_path / "absent"))


@pytest.mark.parametrize("name", ["slowfast_r50_fused", "slow_r50"])
def test_hub_asks_for_the_frames_where_the_file_does_not_say(tmp_path, name):
    """As PyTorchVideo's zoo: SLOW_8x8 and SLOWFAST_8x8, which has a fusion kernel of 7."""
    if name == "slow_r50":
        network = create_resnet(
            model_num_class=7,
            stem_dim_out=8,
            stem_conv_kernel_size=(1, 7, 7),
            head_pool_kernel_size=(8, 7, 7),
            dropout_rate=0,
        )
        inputs = torch.randn(1, 3, 8, 224, 224, generator=torch.Generator().manual_seed(0))
        frames, given = 8, inputs
    else:
        network = create_slowfast(
            model_num_class=7,
            stem_dim_outs=(8, 1),
            head_pool_kernel_sizes=((8, 7, 7), (32, 7, 7)),
            dropout_rate=0,
        )
        fast = torch.randn(1, 3, 32, 224, 224, generator=torch.Generator().manual_seed(0))
        frames, inputs, given = 32, [fast[:, :, ::4], fast], [fast[:, :, ::4], fast]
    spread(network)
    torch.save({"model_state": network.state_dict()}, tmp_path / "zoo.pyth")
    with pytest.raises(InputError, match=r"zoo\.pyth: holds no config, .* give num_frames"):
        hub(name, pretrained=str(tmp_path / "zoo.pyth"))
    found = hub(name, pretrained=str(tmp_path / "zoo.pyth"), num_frames=frames)
    with torch.no_grad():
        expected, logits = network(inputs), found(given)
    assert expected.std() > 0.01, "logits that are all alike prove nothing"
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


def test_hub_needs_no_pyslowfast():
    code = (
        "import sys, torch\n"
        "sys.modules['slowfast'] = None\n"
        f"model = torch.hub.load({str(ROOT)!r}, 'slowfast_ac_r50', source='local', num_classes=3)\n"
        "print(sum(p.numel() for n, p in model.named_parameters() if 'fusion' in n))\n"
        "print(model.eval()(torch.zeros(1, 3, 16, 224, 224)).shape[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.stdout.split() == ["0", "3"], done.stderr
