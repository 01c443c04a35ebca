"""Bad input that no other test gives: an error of one line that names the file or the argument."""

import argparse
import json
import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

from slowfast_ac import VideoDataset
from slowfast_ac.checkpoint.convert import convert_checkpoint, fused_to_branch_independent
from slowfast_ac.checkpoint.open import open_checkpoint
from slowfast_ac.checkpoint.save import save_checkpoint
from slowfast_ac.cli.predict import add_arguments
from slowfast_ac.cli.predict import main as predict_main
from slowfast_ac.data.datasets.check import check_videos
from slowfast_ac.data.datasets.folder import VideoFolder
from slowfast_ac.data.datasets.prepare import prepare
from slowfast_ac.data.datasets.splits import class_folders, hmdb51, kinetics
from slowfast_ac.data.find_videos import find_videos
from slowfast_ac.data.live import LiveReader
from slowfast_ac.data.preprocessing import Preprocessing
from slowfast_ac.errors import InputError
from slowfast_ac.evaluation.classification import result_names
from slowfast_ac.evaluation.compare import load_groups
from slowfast_ac.evaluation.results import read_results
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.model_card import write_card
from slowfast_ac.inference.programs.open import open_onnx
from slowfast_ac.inference.programs.write import write_onnx
from slowfast_ac.ranks import Rank

# A field that is longer than the csv module reads.
HUGE = b"label,youtube_id,time_start,time_end\n" + b"x" * 200_000 + b",b,0,1\n"


@pytest.fixture
def refused(tmp_path):
    """Returns a function: a file's name, what it raises -> checks that the one line names it."""

    def check(name, message, call, *args, **options):
        with pytest.raises(InputError) as error:
            call(*args, **options)
        line = str(error.value)
        assert line.startswith(f"{tmp_path / name}: ") or not name, line
        assert message in line
        assert "\n" not in line

    return check


def test_results_and_class_names(tmp_path, refused):
    path = tmp_path / "test_results.pkl"
    path.write_bytes(pickle.dumps({"scores": [1.0]}))
    refused(path.name, "not a list of scores and labels", read_results, path)
    (tmp_path / "two.json").write_text('{"a": 0, "b": 1}')
    refused("two.json", "2 classes, but the results have 7", result_names, tmp_path / "two.json", 7)


@pytest.mark.parametrize("content", ["[1]", '{"a": 3}', '{"a": "abc"}', "{", "\xff", "3"])
def test_groups_of_classes(tmp_path, refused, content):
    (tmp_path / "groups.json").write_bytes(content.encode("latin-1"))
    message = "not a json of group name -> class names"
    refused("groups.json", message, load_groups, tmp_path / "groups.json")


def test_videos_and_annotations(tmp_path, refused):
    refused("none", "there is no such folder", VideoFolder, tmp_path / "none")
    refused("*.mp4", "matches no file", find_videos, [str(tmp_path / "*.mp4")])
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.mp4").write_bytes(b"no video")
    refused("flat", "videos must be in ROOT/<class>/", class_folders, tmp_path / "flat")
    (tmp_path / "a_test_split1.txt").write_text("a.avi 3\n")
    refused("", "'3' instead of 0, 1 or 2", hmdb51, tmp_path / "flat", tmp_path, [1])
    for content in (b"\xff\xfe\x00", HUGE):
        (tmp_path / "train.csv").write_bytes(content)
        message = "cannot read this annotation"
        refused("train.csv", message, kinetics, tmp_path / "flat", [tmp_path / "train.csv"])


def test_videos_that_cannot_be_resized(tmp_path, refused):
    (tmp_path / "in" / "run").mkdir(parents=True)
    (tmp_path / "in" / "run" / "a.mp4").write_bytes(b"no video")
    message = "none of the 1 videos can be read"
    dataset = class_folders(tmp_path / "in")
    refused("", message, prepare, dataset, tmp_path / "out", resize=64, workers=1)


def test_a_folder_of_classes_is_no_list(tmp_path, refused):
    preprocessing = Preprocessing(num_frames=8, sampling_rate=2, alpha=4, crop_size=64)
    message = "is a folder; prefix and separator are for lists"
    refused(".", message, VideoDataset, tmp_path, preprocessing, separator=",")


def test_standard_input_of_a_terminal(monkeypatch, refused):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    refused("", "it is a terminal; pipe a video into it", LiveReader, "-")


def test_shared_work_needs_a_file(tmp_path, monkeypatch, refused):
    message = "--report: needed, since this is process 2 of 3"
    refused("", message, check_videos, tmp_path / "list.csv", rank=Rank(1, 3))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    args = parser.parse_args(["x.pyth", "x.mp4"])
    refused("", "--output: needed, since this is process 2 of 3", predict_main, args)


def test_packages_that_are_missing(tmp_path, monkeypatch, refused):
    (tmp_path / "x.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for module in ("safetensors", "safetensors.torch", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "x.safetensors"
    refused(path.name, "needs safetensors; pip install safetensors", open_checkpoint, path)
    saved = save_checkpoint, tmp_path / "y.safetensors", {"a": torch.ones(1)}
    refused("y.safetensors", "needs safetensors", *saved)
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]
    refused("x.onnx", "needs onnxruntime", open_onnx, str(tmp_path / "x.onnx"), tmp_path / "x.onnx")
    network = torch.nn.Identity()
    refused("", "needs onnxscript", write_onnx, network, torch.ones(1), tmp_path / "x.onnx", {})


def test_weights_of_another_kind(tmp_path, refused):
    torch.save({"model_state": {"a.weight": torch.ones(3)}}, tmp_path / "x.pyth")
    call = convert_checkpoint, tmp_path / "x.pyth", "pytorchvideo"
    refused("x.pyth", "cannot be converted", *call)
    message = "PySlowFast's or PyTorchVideo's names only"
    refused("", message, fused_to_branch_independent, {"a.weight": torch.ones(3)})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"config": {"MODEL": {"NUM_CLASSES": 7}}}, "holds its own settings; leave the config out"),
        ({"opts": ["MODEL.NUM_CLASSES", 7]}, "holds its own settings; leave the config out"),
        ({"weights": "ema"}, "a program holds one network; leave --weights out"),
    ],
)
def test_programs_have_their_own_settings(tmp_path, refused, options, message):
    (tmp_path / "x.onnx").write_bytes(b"")
    refused("x.onnx", message, load_model, tmp_path / "x.onnx", **options)


@pytest.fixture
def saved(build_model, tiny_cfg, tmp_path):
    """Returns a function: other entries of the file -> a checkpoint of SlowFastAC, 7 classes."""

    def make(*opts, **entries):
        cfg = tiny_cfg("DATA.NUM_FRAMES", 8, *opts)
        data = {"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump(), **entries}
        torch.save(data, tmp_path / "x.pyth")
        return tmp_path / "x.pyth"

    return make


def test_a_checkpoint_and_what_is_given_with_it(saved, refused):
    path = saved(classes=json.dumps({"a": 0, "b": 1}))
    refused("x.pyth", "names 2 classes, but its scores are of 7", load_model, path)
    options = {"config": {"MODEL": 3}}
    refused("", "the given config: MODEL is 3, not a section of keys", load_model, path, **options)


def test_a_card_that_is_no_card(saved, tmp_path, refused):
    pytest.importorskip("huggingface_hub")
    model = load_model(saved(), device="cpu")
    for content in (b"---\na: [1\n---\n", b"\xff\xfe", b"---\n- a\n---\n"):
        (tmp_path / "README.md").write_bytes(content)
        refused("README.md", "not a model card", write_card, tmp_path, model, {})
        assert (tmp_path / "README.md").read_bytes() == content
