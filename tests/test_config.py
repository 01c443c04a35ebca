"""The keys: defaults, what they reach, and refusals when a model is built."""

import inspect

import pytest
from fvcore.common.config import CfgNode

from slowfast_ac import config
from slowfast_ac.config import add_custom_config, build_scam_head, consistency_settings
from slowfast_ac.errors import InputError
from slowfast_ac.losses import ConsistencySettings
from slowfast_ac.scam_head import MultiScale, SCAMHead

# The table "Choices that the paper leaves open" of projects/attention_consistency/README.md.
DEFAULTS = {
    "AC": {
        "LAMBDA": 1.5,
        "BASE_LOSS": "cross_entropy",
        "CLASSES": "label",
        "TEMPORAL_CAM": "weighted",
        "DETACH_SPATIAL": False,
        "DETACH_CLASSIFIER": False,
        "DISTANCE": "norm",
        "LATERAL": False,
        "NORMALIZE": "l2",
    },
    "SCAM": {
        "ENABLE": True,
        "SCALES": [1.0, 0.5],
        "GRAD": False,
        "FRAME_STRIDE": 2,
        "UPSAMPLE": False,
    },
    "COMPUTE": {"MEMORY_FORMAT": "contiguous", "PRECISION": "default", "COMPILE": False},
    "FINETUNE": {"FREEZE": [], "BACKBONE_LR_FACTOR": 1.0},
}


def plain(node):
    return {key: plain(value) if isinstance(value, dict) else value for key, value in node.items()}


def test_defaults_are_the_documented_reading():
    cfg = CfgNode()
    add_custom_config(cfg)
    assert plain(cfg) == DEFAULTS


def test_keys_and_python_classes_have_the_same_defaults(upstream):
    from slowfast.config.defaults import get_cfg

    cfg = get_cfg()
    cfg.MODEL.LOSS_FUNC = "attention_consistency"
    assert consistency_settings(cfg) == ConsistencySettings()
    assert config.multi_scale(cfg) == MultiScale()
    head, default = build_scam_head(cfg, 1, 1), SCAMHead()
    for name in ("temporal_reduction", "detach_classifier", "detail"):
        assert getattr(head, name) == getattr(default, name), name


def test_other_keys_stay_untouched():
    cfg = CfgNode({"MODEL": CfgNode({"LOSS_FUNC": "cross_entropy"}), "NUM_GPUS": 8})
    add_custom_config(cfg)
    assert plain(cfg) == {"MODEL": {"LOSS_FUNC": "cross_entropy"}, "NUM_GPUS": 8, **DEFAULTS}


def test_adding_twice_keeps_what_was_set():
    cfg = CfgNode()
    add_custom_config(cfg)
    cfg.AC.LAMBDA = 0.25
    add_custom_config(cfg)
    assert cfg.AC.LAMBDA == 0.25


def test_pyslowfast_has_the_keys(upstream):
    from slowfast.config.defaults import get_cfg

    assert {node: plain(get_cfg()[node]) for node in DEFAULTS} == DEFAULTS


def test_every_key_is_explained_above_its_line():
    lines = inspect.getsource(add_custom_config).splitlines()
    keys = [number for number, line in enumerate(lines) if line.strip().startswith("cfg.")]
    assert len(keys) == len(DEFAULTS) + sum(map(len, DEFAULTS.values()))
    for number in keys:
        assert lines[number - 1].strip().startswith("#"), lines[number]


# What the keys reach ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, read",
    [
        ("AC.LAMBDA", 0.2, lambda model: model.settings.lambda_),
        ("AC.BASE_LOSS", "bce_logit", lambda model: model.settings.base_loss),
        ("AC.CLASSES", "label", lambda model: model.settings.classes),
        ("AC.NORMALIZE", "l2", lambda model: model.settings.normalize),
        ("AC.DETACH_SPATIAL", True, lambda model: model.settings.detach_spatial),
        ("AC.DETACH_CLASSIFIER", True, lambda model: model.scam.detach_classifier),
        ("AC.DISTANCE", "mse", lambda model: model.settings.distance),
        ("AC.TEMPORAL_CAM", "average", lambda model: model.scam.temporal_reduction),
        ("SCAM.SCALES", [1.0, 2.0], lambda model: list(model.multi_scale.scales)),
        ("SCAM.GRAD", False, lambda model: model.multi_scale.grad),
        ("SCAM.FRAME_STRIDE", 3, lambda model: model.multi_scale.frame_stride),
        ("SCAM.UPSAMPLE", True, lambda model: model.scam.detail is not None),
    ],
)
def test_each_key_reaches_the_model(build_model, tiny_cfg, key, value, read):
    assert read(build_model(tiny_cfg())) != value
    assert read(build_model(tiny_cfg(key, value))) == value


def test_disabled_scam_leaves_the_scale_that_is_classified(build_model, tiny_cfg):
    assert build_model(tiny_cfg("SCAM.ENABLE", False)).multi_scale.scales == (1.0,)


def test_no_head_without_the_criterion(build_model, tiny_cfg):
    # A head without use would leave parameters without gradient.
    cfg = tiny_cfg("MODEL.LOSS_FUNC", "cross_entropy", "SCAM.UPSAMPLE", True)
    assert build_model(cfg).scam is None


@pytest.mark.checkout
@pytest.mark.parametrize(
    "several, given, used",
    [
        (True, "cross_entropy", "bce_logit"),
        (True, "soft_cross_entropy", "soft_cross_entropy"),
        (False, "cross_entropy", "cross_entropy"),
    ],
)
def test_clips_of_several_labels_are_not_trained_with_cross_entropy(
    build_model, tiny_cfg, several, given, used
):
    cfg = tiny_cfg("DATA.MULTI_LABEL", several, "AC.BASE_LOSS", given)
    assert build_model(cfg).settings.base_loss == used


# Refusals ---------------------------------------------------------------------------------------

NUMBER = "must start with 1.0"

WRONG = [
    ("AC.LAMBDA", -1.0, "at least 0"),
    ("AC.LAMBDA", float("nan"), "at least 0"),
    ("AC.BASE_LOSS", "attention_consistency", "its own base loss"),
    ("AC.CLASSES", "labels", "all, label"),
    ("AC.DISTANCE", "l2", "norm, mse"),
    ("AC.TEMPORAL_CAM", "sum", "weighted, average, random"),
    ("AC.NORMALIZE", "softmax", "none, l2, minmax"),
    ("SCAM.SCALES", [], NUMBER),
    ("SCAM.SCALES", [0.5, 1.0], NUMBER),
    ("SCAM.SCALES", [1.0, 0.0], NUMBER),
    ("SCAM.SCALES", [1.0, -0.5], NUMBER),
    ("SCAM.SCALES", [1.0, 0.49], "31.36 pixels"),
    ("AC.LAMBDA", float("inf"), "at least 0"),
    ("AC.LAMBDA", None, "at least 0"),
    ("AC.BASE_LOSS", "crossentropy", "cross_entropy"),
    ("SCAM.SCALES", [1.0, float("nan")], NUMBER),
    ("SCAM.SCALES", [1.0, float("inf")], NUMBER),
    ("SCAM.SCALES", [1.0, "half"], NUMBER),
    ("SCAM.SCALES", None, NUMBER),
    ("SCAM.FRAME_STRIDE", 0, "whole number of 1 or more"),
]


@pytest.mark.parametrize("loss", ["attention_consistency", "cross_entropy"])
@pytest.mark.parametrize("key, value, allowed", WRONG)
def test_wrong_values_are_refused_when_the_model_is_built(
    build_model, tiny_cfg, key, value, allowed, loss
):
    with pytest.raises(InputError) as error:
        build_model(tiny_cfg("MODEL.LOSS_FUNC", loss, key, value))
    assert str(error.value).startswith(f"{key}: ")
    assert allowed in str(error.value)


def test_scales_are_not_read_while_scam_is_disabled(build_model, tiny_cfg):
    cfg = tiny_cfg("SCAM.ENABLE", False, "SCAM.SCALES", [0.5])
    assert config.multi_scale(cfg).scales == (1.0,)


@pytest.mark.parametrize("crop, smallest", [(64, 0.5), (224, 0.15), (256, 0.125)])
def test_smallest_scale_must_leave_one_point_of_the_map(tiny_cfg, crop, smallest):
    cfg = tiny_cfg("DATA.TRAIN_CROP_SIZE", crop, "SCAM.SCALES", [1.0, smallest])
    assert config.multi_scale(cfg).scales == (1.0, smallest)
    cfg.SCAM.SCALES = [1.0, smallest * 0.9]
    with pytest.raises(InputError, match=f"SCAM.SCALES: .* of DATA.TRAIN_CROP_SIZE {crop}"):
        config.multi_scale(cfg)


def test_a_config_without_paths_keeps_all_else():
    from fvcore.common.config import CfgNode

    from slowfast_ac.config import without_paths

    data = {"PATH_TO_DATA_DIR": "/home/a", "PATH_PREFIX": "/home/b", "PATH_LABEL_SEPARATOR": ","}
    cfg = CfgNode({"OUTPUT_DIR": "/home/c", "DATA": {**data, "NUM_FRAMES": 8}})
    empty = {"PATH_TO_DATA_DIR": "", "PATH_PREFIX": ""}
    assert without_paths(cfg) == {"OUTPUT_DIR": "", "DATA": {**data, **empty, "NUM_FRAMES": 8}}
    assert cfg.OUTPUT_DIR == "/home/c"
