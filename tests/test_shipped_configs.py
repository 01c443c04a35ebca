"""Every yaml file of the repository loads, fits its PySlowFast, builds and takes a step."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from fvcore.nn.flop_count import flop_count

from slowfast_ac.experiments.suite import load_suite, plan
from slowfast_ac.pyslowfast.checks import check_names, check_sizes
from slowfast_ac.pyslowfast.config_file import load_config

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path for folder in ("configs", "projects") for path in (ROOT / folder).rglob("*.yaml")
)
SUITES = [path for path in FILES if re.search("^variants:", path.read_text(), re.MULTILINE)]
CONFIGS = [path for path in FILES if path not in SUITES]
# In the repository's own folder of configs, so that a moved folder does not pass silently.
KINETICS = ROOT / "configs/Kinetics"

SHRUNKEN = [
    *["NUM_GPUS", 0, "RESNET.WIDTH_PER_GROUP", 8],
    *["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64],
]


def name(path):
    return str(path.relative_to(ROOT))


def variants():
    for path in SUITES:
        for run in plan(load_suite(path), "runs", seeds=[0]):
            yield pytest.param(run, id=f"{name(path)}:{run.variant}")


def clips(cfg):
    """Two random clips as the config's loader would give them."""
    generator = torch.Generator().manual_seed(0)
    side = cfg.DATA.TRAIN_CROP_SIZE
    fast = torch.randn(2, 3, cfg.DATA.NUM_FRAMES, side, side, generator=generator)
    if cfg.MODEL.ARCH in cfg.MODEL.SINGLE_PATHWAY_ARCH:
        return [fast]
    frames = torch.linspace(0, fast.shape[2] - 1, fast.shape[2] // cfg.SLOWFAST.ALPHA).long()
    return [fast[:, :, frames], fast]


def test_the_configs_are_found():
    assert len(CONFIGS) >= 16
    assert len(SUITES) >= 8


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_config_loads_builds_and_takes_a_step(path, upstream, build_model):
    from slowfast.models.losses import get_loss_func

    whole = load_config(path)
    check_names(whole, upstream)
    check_sizes(whole)
    cfg = load_config(path, SHRUNKEN)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    preds = model(clips(cfg))
    assert preds.shape == (2, cfg.MODEL.NUM_CLASSES)
    loss = get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")(preds, torch.tensor([0, 1]))
    loss = loss[0] if isinstance(loss, tuple) else loss
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    model.eval()
    with torch.no_grad():
        scores = model(clips(cfg))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("run", variants())
def test_variant_of_a_suite_loads_and_builds(run, upstream, build_model):
    whole = load_config(run.cfg, run.opts)
    check_names(whole, upstream)
    check_sizes(whole)
    cfg = load_config(run.cfg, [*run.opts, *SHRUNKEN])
    assert build_model(cfg).head.projection.out_features == cfg.MODEL.NUM_CLASSES


@pytest.mark.parametrize("path", SUITES, ids=name)
def test_variants_of_a_suite_differ(path, upstream):
    runs = plan(load_suite(path), "runs", seeds=[0])
    dumps = [load_config(run.cfg, run.opts).dump() for run in runs]
    assert len(set(dumps)) == len(dumps) > 1


@pytest.mark.parametrize(
    "suite, variant, config",
    [
        ("table3", "fused", "SLOWFAST_4x16_R50"),
        ("table3", "unfused", "SLOWFAST_4x16_R50_unfused"),
        ("table3", "AC+SCAM", "SLOWFASTAC_4x16_R50"),
        ("table5", "slow", "SLOW_4x16_R50"),
        ("table5", "slow+SCAM", "SLOWAC_4x16_R50"),
        ("table5", "AC", "SLOWFASTAC_4x16_R50_noSCAM"),
        ("table5", "AC+SCAM", "SLOWFASTAC_4x16_R50"),
        ("pathways", "slow", "SLOW_4x16_R50"),
        ("pathways", "fast", "FAST_16x4_R50"),
    ],
)
def test_rows_of_the_papers_tables_are_the_single_configs(upstream, suite, variant, config):
    runs = plan(load_suite(ROOT / f"configs/suites/{suite}.yaml"), "runs", seeds=[0])
    run = next(run for run in runs if run.variant == variant)
    assert load_config(run.cfg, run.opts) == load_config(KINETICS / f"{config}.yaml")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_command_in_the_header_is_of_this_file(path, upstream):
    commands = re.findall(r"^# (slowfast-ac (?:run|ablate) .*)$", path.read_text(), re.MULTILINE)
    is_base = path.name.startswith("Base-") or "demo" in path.parts
    assert len(commands) == (0 if is_base else 1)
    for command in commands:
        words = shlex.split(command)
        assert name(path) in words
        keys = words[words.index("--opts") + 1 :: 2]
        for key in keys:
            node = load_config(KINETICS / "SLOWFAST_4x16_R50.yaml")
            for part in key.split("."):
                assert part in node, key
                node = node[part]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_says_first_what_it_is(path):
    first = path.read_text().splitlines()[0]
    assert re.match(r"# \S.{10,}\.$", first) or first.startswith("title: ")


# Claims of single files -------------------------------------------------------------------------


def test_the_literal_config_is_the_method_as_written(upstream):
    cfg = load_config(KINETICS / "SLOWFASTAC_4x16_R50_literal.yaml")
    assert (cfg.MODEL.MODEL_NAME, cfg.MODEL.LOSS_FUNC) == ("SlowFastAC", "attention_consistency")
    assert (cfg.SLOWFAST.ALPHA, cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE) == (4, 16, 4)
    assert (cfg.AC.LAMBDA, cfg.AC.CLASSES, cfg.AC.TEMPORAL_CAM) == (1.5, "all", "weighted")
    assert (cfg.AC.NORMALIZE, cfg.AC.DETACH_SPATIAL) == ("none", False)
    assert (cfg.AC.DISTANCE, cfg.AC.DETACH_CLASSIFIER) == ("norm", False)
    assert cfg.SCAM.ENABLE and len(cfg.SCAM.SCALES) == 2
    assert cfg.SCAM.GRAD and cfg.SCAM.FRAME_STRIDE == 1
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS) == (10, 3)


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.parent == KINETICS], ids=name)
def test_slow_pathway_sees_4_frames_16_apart(path, upstream):
    cfg = load_config(path)
    alpha = 1 if cfg.MODEL.ARCH == "slow" else cfg.SLOWFAST.ALPHA
    frames, rate = cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE
    assert (frames, rate) == (4 * alpha, 16 // alpha)


@pytest.mark.checkout
def test_alpha_8_baseline_is_upstreams_config(upstream):
    theirs = load_config(
        Path(os.environ["PYSLOWFAST_ROOT"]) / "configs/Kinetics/SLOWFAST_4x16_R50.yaml"
    )
    theirs.TEST.SAVE_RESULTS_PATH = "test_results.pkl"  # the scores that our reports read
    assert load_config(KINETICS / "SLOWFAST_4x16_R50_alpha8.yaml") == theirs


def test_ucf101_splits_write_to_folders_of_their_own(upstream):
    folders = {
        load_config(ROOT / f"configs/UCF101/SLOWFASTAC_4x16_R50_split{split}.yaml").OUTPUT_DIR
        for split in (1, 2, 3)
    }
    assert len(folders) == 3


# Sizes at full width ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config, parameters, gflops",
    [
        ("SLOWFASTAC_4x16_R50", 33.07e6, 30.886),
        pytest.param("SLOWFASTAC_4x16_R50_alpha8", 33.07e6, 34.394, marks=pytest.mark.slow),
        pytest.param("SLOWFAST_4x16_R50", 34.48e6, 32.831, marks=pytest.mark.slow),
        pytest.param("SLOWFAST_4x16_R50_alpha8", 34.48e6, 36.338, marks=pytest.mark.slow),
    ],
)
def test_parameters_and_multiply_adds_of_one_view(
    upstream, build_model, config, parameters, gflops
):
    # As upstream's misc.get_model_stats counts them: fvcore, evaluation mode, one 256 crop.
    cfg = load_config(KINETICS / f"{config}.yaml", ["NUM_GPUS", 0])
    model = build_model(cfg).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, abs=5000)
    assert cfg.DATA.TEST_CROP_SIZE == 256
    fast = torch.zeros(1, 3, cfg.DATA.NUM_FRAMES, 256, 256)
    with torch.no_grad():
        counts, _ = flop_count(model, ([fast[:, :, :: cfg.SLOWFAST.ALPHA], fast],))
    assert sum(counts.values()) == pytest.approx(gflops, abs=5e-4)
