"""A config's numbers, against cases worked out by hand and upstream's own counters."""

import logging
import sys

import pytest
import torch

from slowfast_ac.cli import main
from slowfast_ac.cli.configs import FOLDER
from slowfast_ac.config import equal_lambda, map_side
from slowfast_ac.errors import InputError
from slowfast_ac.experiments.explain import cost_by_part, explain, over_defaults
from slowfast_ac.losses import AttentionMaps, ConsistencySettings, consistency_term
from slowfast_ac.models.counts import count_multiply_adds, count_parameters


def facts(config, **options):
    return dict(explain(over_defaults(config), **options))


def test_seconds_frames_and_views_by_hand():
    told = facts(
        {
            "DATA": {"NUM_FRAMES": 16, "SAMPLING_RATE": 4, "TARGET_FPS": 30},
            "SLOWFAST": {"ALPHA": 4},
            "TEST": {"NUM_ENSEMBLE_VIEWS": 10, "NUM_SPATIAL_CROPS": 3},
        }
    )
    assert told["clip"].startswith("2.13 s: 16 frames, 4 apart")
    assert told["pathways"].startswith("slow 4 frames, 16 apart; fast 16 frames, 4 apart")
    assert told["test"].startswith("30 views per video")
    assert "maps" not in told


@pytest.mark.parametrize(
    ("batch", "shards", "rate", "linear", "warns"),
    [(64, 1, 0.1, "0.1", False), (8, 1, 0.1, "0.013", True), (64, 4, 0.1, "0.4", True)],
)
def test_the_rate_is_compared_with_the_linear_rule(batch, shards, rate, linear, warns):
    config = {"TRAIN": {"BATCH_SIZE": batch}, "NUM_SHARDS": shards, "SOLVER": {"BASE_LR": rate}}
    text = facts(config)["learning rate"]
    assert f"gives {linear} for this batch" in text
    assert ("WARNING" in text) == warns


def test_a_rate_that_upstream_multiplies_by_the_machines_is_taken_so():
    solver = {"BASE_LR": 0.1, "BASE_LR_SCALE_NUM_SHARDS": True}
    config = {"TRAIN": {"BATCH_SIZE": 64}, "NUM_SHARDS": 8, "SOLVER": solver}
    assert facts(config)["learning rate"] == "0.8; the linear rule gives 0.8 for this batch"


def test_each_test_of_a_series_is_told():
    pairs = explain(over_defaults({"TEST": {"NUM_ENSEMBLE_VIEWS": -1, "NUM_SPATIAL_CROPS": 3}}))
    views = [text.partition(" ")[0] for name, text in pairs if name == "test"]
    # Upstream's series for -1.
    assert views == ["3", "9", "15", "21", "30"]


def test_a_warm_start_or_another_optimizer_is_not_warned_about():
    config = {"TRAIN": {"BATCH_SIZE": 8, "CHECKPOINT_FILE_PATH": "kinetics.pyth"}}
    assert "WARNING" not in facts(config)["learning rate"]
    config = {"TRAIN": {"BATCH_SIZE": 8}, "SOLVER": {"OPTIMIZING_METHOD": "adamw"}}
    assert "WARNING" not in facts(config)["learning rate"]


def test_steps_and_hours_by_hand():
    config = {"TRAIN": {"BATCH_SIZE": 10}, "SOLVER": {"MAX_EPOCH": 20}, "NUM_GPUS": 2}
    told = facts(config, videos=105, step_seconds=18.0)
    assert told["batch"] == "10 clips per step, 5 on each of 2 GPUs"
    assert told["steps"].startswith("10 per epoch, 200 in 20 epochs")
    assert told["steps"].endswith("1.0 hours at 18 s per step")


@pytest.mark.parametrize(
    ("crop", "upsample", "side", "expected"),
    [(224, False, 7, 1.5), (96, False, 3, 0.28), (64, False, 2, 0.12), (224, True, 14, 6.0)],
)
def test_lambda_scales_with_the_positions_of_the_maps(crop, upsample, side, expected):
    cfg = over_defaults({"DATA": {"TRAIN_CROP_SIZE": crop}, "SCAM": {"UPSAMPLE": upsample}})
    assert map_side(cfg) == side
    assert equal_lambda(cfg) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("normalize", "distance"), [("l2", "norm"), ("none", "norm"), ("none", "mse")]
)
def test_the_scaled_lambda_gives_random_maps_of_any_size_the_same_loss(normalize, distance):
    settings = ConsistencySettings(normalize=normalize, distance=distance, classes="all")
    weighted = []
    for crop in (96, 224, 448):
        cfg = over_defaults(
            {
                "DATA": {"TRAIN_CROP_SIZE": crop},
                "AC": {"NORMALIZE": normalize, "DISTANCE": distance},
            }
        )
        torch.manual_seed(0)
        maps = torch.rand(2, 300, 4, map_side(cfg), map_side(cfg))
        term = consistency_term(AttentionMaps(*maps), torch.empty(0), settings)
        weighted.append(equal_lambda(cfg) * float(term))
    assert max(weighted) < 1.15 * min(weighted)


@pytest.mark.parametrize(("crop", "told"), [(64, True), (224, False)])
def test_a_run_with_other_maps_logs_the_lambda_of_the_same_pull(
    tiny_cfg, build_model, caplog, crop, told
):
    sizes = ("DATA.TRAIN_CROP_SIZE", crop, "DATA.TEST_CROP_SIZE", crop)
    cfg = tiny_cfg(*sizes, "AC.NORMALIZE", "l2")
    with caplog.at_level(logging.INFO):
        model = build_model(cfg)
    lines = [record.getMessage() for record in caplog.records if "the pull of" in record.message]
    assert lines == told * [
        "maps of 2 x 2: AC.LAMBDA 1.5; the pull of the paper's 1.5 on 7 x 7 is 0.12 here"
    ]
    if told:  # the maps are of that size
        clips = [torch.zeros(2, 3, frames, crop, crop) for frames in (4, 16)]
        assert model.train()(clips).attention.spatial.shape[2:] == (2, 2)


def test_the_costs_of_the_parts_add_up_to_upstreams_count(tiny_cfg, build_model, clips):
    model = build_model(
        tiny_cfg("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
    )
    parts = cost_by_part(model.eval(), clips)
    assert set(parts) == {"slow", "fast", "lateral", "head"}
    parameters, operations = map(sum, zip(*parts.values(), strict=True))
    assert parameters == count_parameters(model)
    assert operations == pytest.approx(count_multiply_adds(model, clips))
    lateral = sum(
        parameter.numel() for name, parameter in model.named_parameters() if "_fuse" in name
    )
    assert parts["lateral"][0] == lateral


def test_it_works_without_pyslowfast(monkeypatch, capsys):
    def absent(path=None):
        raise InputError("no PySlowFast")

    monkeypatch.setattr(sys.modules["slowfast_ac.pyslowfast"], "setup", absent)
    config = str(FOLDER / "Kinetics/SLOWFASTAC_4x16_R50.yaml")
    assert main(["explain", config, "--videos", "240000", "--opts", "AC.LAMBDA", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert "2.13 s" in shown and "7 x 7" in shown and "AC.LAMBDA 0.5" in shown
    assert "MODEL.MODEL_NAME SlowFastAC" in shown  # what differs from the base
    assert "not checked" in shown
    assert main(["explain", config, "--cost"]) == 2


def test_an_unknown_key_is_named(tmp_path):
    with pytest.raises(InputError, match=r"AC\.LAMDBA: unknown; known: LAMBDA"):
        over_defaults({"AC": {"LAMDBA": 1.0}})
