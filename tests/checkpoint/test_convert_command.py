"""``slowfast-ac convert``: whole files, and what is refused."""

import argparse

import pytest
import torch

from slowfast_ac.checkpoint.convert import convert_checkpoint
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.cli import convert as convert_command
from slowfast_ac.errors import InputError


def save(path, model, cfg, epoch=4):
    torch.save(
        {
            "epoch": epoch,
            "model_state": model.state_dict(),
            "optimizer_state": {},
            "cfg": cfg.dump(),
        },
        path,
    )
    return path


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("Slow", "RESNET.STRIDE_1X1", True), r"x\.pyth: RESNET\.STRIDE_1X1: PyTorchVideo strides"),
        (("SlowFast", "DETECTION.ENABLE", True), r"x\.pyth: DETECTION\.ENABLE: only classifiers"),
    ],
)
def test_what_only_the_config_shows_is_refused(
    tmp_path, pyslowfast_model, network_cfg, opts, message
):
    path = save(tmp_path / "x.pyth", pyslowfast_model(*opts[:-2]), network_cfg(*opts))
    with pytest.raises(InputError, match=message):
        convert_checkpoint(open_checkpoint(path), "pytorchvideo")


def run(*argv):
    parser = argparse.ArgumentParser()
    convert_command.add_arguments(parser)
    convert_command.main(parser.parse_args([str(arg) for arg in argv]))


@pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
def test_command_writes_a_file_that_opens_as_the_same_network(
    tmp_path, pyslowfast_model, network_cfg, capsys, suffix
):
    model = pyslowfast_model("SlowFast")
    source = save(tmp_path / "in.pyth", model, network_cfg("SlowFast"))
    there, back = tmp_path / f"there{suffix}", tmp_path / f"back{suffix}"
    run(source, there, "--to", "pytorchvideo")
    run(there, back, "--to", "pyslowfast")
    printed = capsys.readouterr().out
    assert f"wrote {there}\nloaded" in printed and len(printed.splitlines()) == 10

    original, converted, again = map(open_checkpoint, (source, there, back))
    assert converted.model == "PTVSlowFast" and converted.naming == "pytorchvideo"
    assert (again.epoch, again.config, again.alpha) == (4, original.config, 4)
    model.load_state_dict(again.state_dict, strict=True)
    assert again.state_dict.keys() == original.state_dict.keys()
    assert all(torch.equal(again.state_dict[k], v) for k, v in original.state_dict.items())


def test_command_cuts_and_writes_what_pyslowfast_starts_from_at_epoch_zero(
    tmp_path, pyslowfast_model, network_cfg, assert_equal_states
):
    from slowfast.utils.checkpoint import load_checkpoint

    source = save(tmp_path / "in.pyth", pyslowfast_model("SlowFast"), network_cfg("SlowFast"))
    run(source, tmp_path / "out.pyth", "--to", "pyslowfast", "--branch-independent")
    cut = open_checkpoint(tmp_path / "out.pyth")
    assert (cut.model, cut.epoch) == ("SlowFastAC", None)
    model = pyslowfast_model()
    assert load_checkpoint(str(tmp_path / "out.pyth"), model, data_parallel=False) == -1
    assert_equal_states(cut.state_dict, model.state_dict())


@pytest.mark.parametrize(
    ("output", "extra", "message"),
    [
        ("out.pkl", [], r"out\.pkl: the suffix must be one of \.pyth, \.safetensors"),
        ("out.pyth", ["--branch-independent"], r"in\.pyth: no lateral connections"),
    ],
)
def test_command_that_fails_writes_nothing(
    tmp_path, pyslowfast_model, tiny_cfg, output, extra, message
):
    source = save(tmp_path / "in.pyth", pyslowfast_model(), tiny_cfg())
    with pytest.raises(InputError, match=message):
        run(source, tmp_path / output, "--to", "pyslowfast", *extra)
    assert list(tmp_path.iterdir()) == [source]
