"""Upstream's training options with the method, through upstream's own loop (docs/OPTIONS.md)."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import simplejson

from slowfast_ac.errors import InputError

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"


def train(lists, output, *opts):
    settings = ["DATA.PATH_TO_DATA_DIR", lists, "OUTPUT_DIR", output, "MODEL.NUM_CLASSES", 3]
    settings += ["DATA.TRAIN_JITTER_SCALES", [64, 72], "LOG_PERIOD", 1, "DATA.NUM_FRAMES", 8]
    settings += ["SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False, "LOG_MODEL_INFO", False, *opts]
    arguments = [sys.executable, "-m", "slowfast_ac", "run", "--cfg", CONFIG, "--opts", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, env=environment, check=False
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    lines = re.findall(r"json_stats: (\{.*\})", (Path(output) / "stdout.log").read_text())
    return [simplejson.loads(line) for line in lines]


@pytest.mark.parametrize(
    "opts",
    [
        pytest.param(("MIXUP.ENABLE", True), id="mixup"),
        pytest.param(
            ("MIXUP.ENABLE", True, "AC.BASE_LOSS", "soft_cross_entropy", "AC.CLASSES", "label"),
            id="mixup, soft loss and classes by label",
        ),
        pytest.param(("TRAIN.MIXED_PRECISION", True), id="mixed precision"),
        pytest.param(("SOLVER.CLIP_GRAD_VAL", 0.1), id="clip gradients by value"),
        pytest.param(("SOLVER.CLIP_GRAD_L2NORM", 1.0), id="clip gradients by norm"),
        pytest.param(("MODEL.FROZEN_BN", True), id="frozen BN"),
        pytest.param(("BN.NORM_TYPE", "sub_batchnorm", "BN.NUM_SPLITS", 2), id="sub-batchnorm"),
        pytest.param(("BN.USE_PRECISE_STATS", False), id="no precise BN"),
        pytest.param(("AUG.ENABLE", True, "AUG.NUM_SAMPLE", 2), id="repeated augmentation"),
        pytest.param(("SOLVER.OPTIMIZING_METHOD", "adamw"), id="adamw"),
        pytest.param(("DATA.DECODING_BACKEND", "pyav"), id="pyav"),
        pytest.param(
            ("MODEL.MODEL_NAME", "PTVSlowFastAC", "MODEL.HEAD_ACT", "softmax"),
            id="PTVSlowFastAC",
            marks=pytest.mark.needs("slowfast/models/ptv_model_builder.py"),
        ),
        pytest.param(("TENSORBOARD.ENABLE", True), id="tensorboard"),
    ],
)
def test_an_option_trains_with_both_terms_logged(
    upstream, video_lists, tmp_path, opts, skip_unknown_keys
):
    from slowfast.models import optimizer

    skip_unknown_keys(opts)
    if opts[-1] == "adamw" and "adamw" not in inspect.getsource(optimizer):
        pytest.skip("this PySlowFast has no adamw")
    stats = train(video_lists, tmp_path, *opts)
    steps = [line for line in stats if line["_type"].startswith("train_iter")]
    assert steps
    for step in steps:
        assert step["loss_0"] > 0
        assert step["loss_1"] > 0
    assert (tmp_path / "checkpoints/checkpoint_epoch_00001.pyth").is_file()


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("MULTIGRID.SHORT_CYCLE", True), "MULTIGRID.SHORT_CYCLE: .* needs 2 GPUs"),
        (("MODEL.DETACH_FINAL_FC", True), "MODEL.DETACH_FINAL_FC: trains the classifier alone"),
        (("CONTRASTIVE.NUM_MLP_LAYERS", 2), "CONTRASTIVE.NUM_MLP_LAYERS: .* set it to 1"),
        (("DATA.DECODING_BACKEND", "torchcodec"), "DATA.DECODING_BACKEND: torchcodec cannot be"),
        (("BN.NORM_TYPE", "sync_batchnorm"), "BN.NORM_TYPE: sync_batchnorm needs PyTorchVideo's"),
        (("NUM_SHARDS", 2), "NUM_SHARDS: 2 machines, but this PySlowFast needs .* on one machine"),
        (("COMPUTE.PRECISION", "bfloat16"), "COMPUTE.PRECISION: bfloat16 does not train on a CPU"),
        (("MODEL.ARCH", "slow"), "MODEL.ARCH: slow has 1 pathways, but .* SlowFastAC has 2"),
        (
            ("MODEL.MODEL_NAME", "SlowAC", "MODEL.LOSS_FUNC", "cross_entropy"),
            "MODEL.ARCH: slowfast has 2 pathways, but MODEL.MODEL_NAME SlowAC has 1",
        ),
        (("MASK.ENABLE", True), "MASK.ENABLE: SlowFastAC has no masked pre-training"),
    ],
)
def test_an_option_that_has_no_meaning_here_is_refused(
    upstream, tiny_cfg, opts, message, skip_unknown_keys
):
    from slowfast_ac.pyslowfast.checks import check_config

    skip_unknown_keys(opts)
    if "torchcodec" in opts and importlib.util.find_spec("torchcodec"):
        pytest.skip("torchcodec is installed")
    layer = importlib.import_module("pytorchvideo.layers.batch_norm").NaiveSyncBatchNorm3d
    if "sync_batchnorm" in opts and "num_sync_devices" in inspect.signature(layer).parameters:
        pytest.skip("this is PyTorchVideo's main branch")
    with pytest.raises(InputError, match=message):
        check_config(tiny_cfg(*opts), upstream)


def test_keys_of_the_method_are_not_checked_for_other_models(upstream, tiny_cfg):
    from slowfast_ac.pyslowfast.checks import check_config

    # Half of this crop is too small for the second scale, which a SlowFast does not have.
    keys = ("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "TEST.ENABLE", False)
    with pytest.raises(InputError, match="SCAM.SCALES"):
        check_config(tiny_cfg(*keys), upstream)
    plain = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
    check_config(tiny_cfg(*keys, *plain), upstream)
