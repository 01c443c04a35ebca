"""Fine-tuning in runs: what is refused before them, and what stays as it was loaded."""

import os
import pickle
import re

import pytest
import torch

from slowfast_ac.models.parts import freeze, names_in, new_layers

PTV = pytest.mark.needs("slowfast/models/ptv_model_builder.py")


@pytest.fixture
def pretrained(training, save, tmp_path):
    """Returns a function: config keys -> a checkpoint of a trained-looking network of 7 classes."""

    def make(*opts, epoch=9):
        _, model, optimizer = training(*opts, "DATA.NUM_FRAMES", 8, seed=1)
        # Statistics of real features: with others, a network that keeps them explodes.
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm3d):
                layer.momentum = 1.0
        fast = torch.randn(4, 3, 8, 64, 64)
        with torch.no_grad():
            model([fast] if "MODEL.ARCH" in opts else [fast[:, :, ::4], fast])
        return save(tmp_path / "pretrained.pyth", model, optimizer, epoch=epoch)

    return make


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("FINETUNE.FREEZE", ["s7"]), r"FINETUNE.FREEZE: 's7' is not a part or module of Slow"),
        (("FINETUNE.FREEZE", ["head"]), r"FINETUNE.FREEZE: 'head' contains the classifier"),
        (("FINETUNE.FREEZE", [1]), r"FINETUNE.FREEZE: \[1\] is not a list of names such as"),
        (("FINETUNE.BACKBONE_LR_FACTOR", 0), r"FINETUNE.BACKBONE_LR_FACTOR: 0.0 is not above 0 .*"),
        (("FINETUNE.BACKBONE_LR_FACTOR", 10), r"FINETUNE.BACKBONE_LR_FACTOR: 10.0 is not above 0"),
        (("RESNET.WIDTH_PER_GROUP", 16), r"pretrained.pyth: does not fit SlowFastAC: s1.pathway0_"),
        (
            ("FINETUNE.FREEZE", ["s1"], "TRAIN.CHECKPOINT_FILE_PATH", ""),
            r"FINETUNE.FREEZE: \['s1'\] would stay random, since TRAIN.CHECKPOINT_FILE_PATH is em",
        ),
        (
            ("MODEL.NUM_CLASSES", 7),
            r"CHECKPOINT_EPOCH_RESET: False continues after epoch 10 of .*SOLVER.MAX_EPOCH is 2: ",
        ),
    ],
)
def test_what_cannot_be_fine_tuned_is_one_line_before_the_run(
    pretrained, refused, tmp_path, opts, message
):
    opts = ("TRAIN.CHECKPOINT_FILE_PATH", pretrained(), *opts)
    error = refused(tmp_path / "output", *opts)
    assert re.search(message, error), error
    assert not (tmp_path / "output").exists()


def test_what_is_frozen_has_to_be_in_the_checkpoint(pretrained, networks, refused, tmp_path):
    path = pretrained(*networks["ResNet"])
    error = refused(
        tmp_path / "output", "TRAIN.CHECKPOINT_FILE_PATH", path, "FINETUNE.FREEZE", ["s1"]
    )
    assert re.search(r"FREEZE: \['s1'\] contains s1.pathway1_stem.conv.weight, ", error)


def test_a_file_that_would_run_code_is_not_loaded(refused, tmp_path):
    witness, path = tmp_path / "witness", tmp_path / "evil.pkl"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": Evil()}}, protocol=2))
    opts = ("TRAIN.CHECKPOINT_FILE_PATH", path, "TRAIN.CHECKPOINT_TYPE", "caffe2")
    assert "evil.pkl" in refused(tmp_path / "output", *opts)
    assert not witness.exists()


@pytest.mark.slow
def test_frozen_bn_keeps_all_running_statistics_in_a_run(
    pretrained, runs, differing, classifier, tmp_path
):
    path = pretrained()
    runs(
        *(tmp_path / "run", "TRAIN.CHECKPOINT_FILE_PATH", path),
        *("MODEL.FROZEN_BN", True, "SOLVER.BASE_LR", 0.001, "AC.NORMALIZE", "l2"),
        *("SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False),
    )
    before = torch.load(path, weights_only=True)["model_state"]
    after = torch.load(tmp_path / "run/checkpoints/checkpoint_epoch_00001.pyth")["model_state"]
    backbone = {name: before[name] for name in set(before) - classifier}
    statistics = {name for name in before if re.search("running|num_batches", name)}
    moved = differing(backbone, after)
    assert statistics and not moved & statistics
    assert len(moved) > 0.5 * len(set(backbone) - statistics)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "frozen"),
    [
        pytest.param("SlowFastAC", ["slow"], id="SlowFastAC, slow"),
        pytest.param("SlowFast", ["s1", "s2.fast"], id="SlowFast, stages"),
        pytest.param("PTVSlowFastAC", ["backbone"], id="PTVSlowFastAC", marks=PTV),
    ],
)
def test_a_killed_fine_tuning_resumes_with_its_frozen_parts_bit_equal(
    networks, pretrained, training, runs, differing, tmp_path, network, frozen
):
    network = networks[network]
    path = pretrained(*network)
    opts = (
        *(*network, "TRAIN.CHECKPOINT_FILE_PATH", path, "FINETUNE.FREEZE", frozen),
        *("FINETUNE.BACKBONE_LR_FACTOR", 0.1, "SOLVER.MAX_EPOCH", 3, "TRAIN.EVAL_PERIOD", 10),
        *("TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.NUM_SPATIAL_CROPS", 1),
    )
    printed = runs.kill(tmp_path / "run", *opts, when=r'"epoch": "2/3".*"iter": "1/')
    assert "Start epoch: 1" in printed
    assert re.search(r"pretrained.pyth: \w+ of 7 classes, the start of \w+", printed)
    assert re.search(r"\nnew +2  \S+\.weight, \.\.\.\n", printed)

    old = path.rename(tmp_path / "not needed any more.pyth")
    printed = runs(tmp_path / "run", *opts)
    assert "Start epoch: 2" in printed and "the start of" not in printed
    assert re.search(r"^test  top-1 ", printed, re.M)

    before = torch.load(old, weights_only=True)["model_state"]
    after = torch.load(tmp_path / "run/checkpoints/checkpoint_epoch_00003.pyth")["model_state"]
    assert before.keys() == after.keys()
    _, twin, _ = training(*network)
    freeze(twin, frozen)
    still = {name for name, p in twin.named_parameters() if not p.requires_grad}
    held = {
        f"{name}.{buffer}"
        for name, module in twin.named_modules()
        for buffer, _ in module.named_buffers(recurse=False)
        if f"{name}.weight" in still
    }
    same_shape = {n: t for n, t in before.items() if t.shape == after[n].shape}
    assert set(before) - set(same_shape) == names_in(twin, new_layers(twin))
    moved = differing(same_shape, after)
    assert held and not moved & (still | held)
    # A channel of so narrow a network may be dead.
    assert len(moved) >= 0.9 * len(set(same_shape) - still - held)
