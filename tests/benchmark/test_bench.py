"""Benchmarks count what is there, take turns, and relate every figure to the baseline."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from slowfast_ac.benchmark import counting, decode, networks, results, runtimes, scaling, views
from slowfast_ac.benchmark import infer as bench_infer_module
from slowfast_ac.benchmark.infer import bench_infer
from slowfast_ac.benchmark.settings import Settings
from slowfast_ac.benchmark.timing import interleave, paired_ratios, spread
from slowfast_ac.benchmark.train import bench_train
from slowfast_ac.cam import average_scales
from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.build import build_model

FLOAT = 4
CPU = torch.device("cpu")
COUNTED = Settings(CPU, batch=2, crop=64, iterations=0, warmup=0)
TIMED = Settings(CPU, batch=1, crop=64, iterations=2, warmup=0)


@pytest.fixture(scope="module")
def rows(tiny_cfg):
    """Rows of counted training steps of every network, two clips."""
    return bench_train(tiny_cfg(), COUNTED)


# --------------------------------------------------------------------------------------- timing


def test_contenders_take_turns_and_warm_up_is_not_timed():
    now, order = [0.0], []

    def step(name, seconds):
        def run():
            order.append(name)
            # A slow minute slows all: the third turn takes ten times as long.
            now[0] += seconds * (10 if len(order) > 4 else 1)

        return run

    steps = {"A": step("A", 2.0), "B": step("B", 3.0)}
    seconds = interleave(steps, replace(TIMED, warmup=1), clock=lambda: now[0])
    assert order == ["A", "B"] * 3
    assert seconds == {"A": [2.0, 20.0], "B": [3.0, 30.0]}
    assert paired_ratios(seconds["B"], seconds["A"]) == [1.5, 1.5]


def test_the_device_is_waited_for_within_the_time(monkeypatch):
    now, pending = [0.0], [0.0]

    def launch():
        pending[0] += 5.0

    def synchronize(device):
        now[0] += pending[0]
        pending[0] = 0.0

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    settings = replace(TIMED, device=torch.device("cuda"))
    seconds = interleave({"A": launch}, settings, clock=lambda: now[0])
    assert seconds == {"A": [5.0, 5.0]}


def test_the_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == spread([1.0, 2.0, 3.0, 4.0, 5.0])
    result = spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (result.low, result.median, result.high) == (2.0, 3.0, 4.0)
    single = spread([7.0])
    assert (single.low, single.median, single.high) == (7.0, 7.0, 7.0)


# ------------------------------------------------------------------------------------- networks


def test_every_network_is_counted_against_the_fused_one(rows, tiny_cfg):
    names = [name for name in networks.NETWORKS if not name.endswith("compiled")]
    assert [row["name"] for row in rows] == names
    by_name = {row["name"]: row for row in rows}
    fused = by_name["fused"]
    for row in rows:
        both = row["forward_gflops"] + row["backward_gflops"]
        assert row["gflops"] == pytest.approx(both)
        assert row["gflops_ratio"] == row["gflops"] / fused["gflops"]
        assert row["saved_mebibytes_ratio"] == row["saved_mebibytes"] / fused["saved_mebibytes"]
        assert "seconds" not in row
    model = build_model(networks.network_config(tiny_cfg(), "fused", CPU))
    assert fused["params"] == sum(parameter.numel() for parameter in model.parameters())


def test_the_second_scale_costs_a_quarter_of_the_slow_pathway(rows, tiny_cfg):
    by_name = {row["name"]: row for row in rows}
    second = by_name["ac_scam_grad"]["forward_gflops"] - by_name["ac"]["forward_gflops"]
    model = build_model(networks.network_config(tiny_cfg(), "ac", CPU)).train()
    clip = torch.randn(1, 3, 4, 32, 32)
    expected, _ = counting.count_forward(lambda: model.spatial_stream(clip))
    clips = [torch.randn(1, 3, 4, 64, 64), clip]
    volumes = [model.spatial_stream(own).res5.mean(dim=2) for own in clips]
    laid, _ = counting.count_forward(lambda: average_scales(volumes, [1.0, 0.5]))
    assert second == pytest.approx((expected + laid) / 1e9, rel=1e-9)


def test_without_gradient_the_second_scale_adds_nothing_to_backward(rows):
    by_name = {row["name"]: row for row in rows}
    free, plain, full = (by_name[n] for n in ("ac_scam_all_frames", "ac", "ac_scam_grad"))
    assert free["backward_gflops"] == plain["backward_gflops"] < full["backward_gflops"]
    assert free["saved_mebibytes"] == plain["saved_mebibytes"] < full["saved_mebibytes"]


def test_the_default_method_costs_less_than_the_fused_network(tiny_cfg):
    # Counted on a tiny network; docs/BENCH.md has the same at full width: at most 1.00 and 0.95.
    cfg = tiny_cfg("SCAM.GRAD", False, "SCAM.FRAME_STRIDE", 2)
    fused, method = bench_train(cfg, replace(COUNTED, only=("ac_scam",)))
    assert method["gflops"] < fused["gflops"]
    assert method["saved_mebibytes"] < fused["saved_mebibytes"]


@pytest.mark.slow
def test_scaling_varies_one_axis_at_a_time(tiny_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "AXES", {"batch": (1, 2), "frames": (2, 4), "scales": (1, 3)})
    settings = replace(COUNTED, batch=1)
    rows = scaling.bench_scaling(tiny_cfg(), settings)
    found = {(row["axis"], row["value"], row["name"].split(",")[0]): row for row in rows}
    assert len(found) == len(rows) == 12
    for name in ("fused", "ac_scam"):
        for axis in ("batch", "frames"):
            small = found[axis, min(scaling.AXES[axis]), name]
            large = found[axis, max(scaling.AXES[axis]), name]
            saved = large["saved_mebibytes"] / small["saved_mebibytes"]
            assert saved == pytest.approx(2, rel=0.1)
    assert found["scales", 1, "fused"]["gflops"] == found["scales", 3, "fused"]["gflops"]
    assert found["scales", 1, "ac_scam"]["gflops"] < found["scales", 3, "ac_scam"]["gflops"]
    path = results.write_bench(tmp_path, "Title", {}, rows, scaling.draw_scaling)
    assert "| ac_scam, scales 3 " in path.read_text()
    with pytest.raises(InputError, match="--only: 'crop' is not one of batch, frames, scales"):
        scaling.bench_scaling(tiny_cfg(), replace(settings, only=("crop",)))


def test_at_inference_the_method_costs_what_the_unfused_network_costs(tiny_cfg):
    rows = bench_infer(tiny_cfg(), replace(COUNTED, batch=1, only=("unfused", "ac_scam")))
    fused, unfused, method = rows
    assert method["gflops"] == unfused["gflops"] < fused["gflops"]
    assert method["params"] == unfused["params"]
    assert method["peak_mebibytes"] == unfused["peak_mebibytes"]


@pytest.mark.slow
def test_the_fast_path_does_the_same_work_and_reports_score_differences(tiny_cfg):
    rows = bench_infer(tiny_cfg(), replace(COUNTED, batch=1))
    by_name = {row["name"]: row for row in rows}
    left_out = (*bench_infer_module.COMPILED, *bench_infer_module.RUNTIMES)
    names = bench_infer_module.NAMES
    eager = [name for name in names if name.partition("_")[2] not in left_out]
    assert list(by_name) == eager
    for name, row in by_name.items():
        network = name.split("_")[0] if name not in bench_infer_module.PLAIN else name
        assert row["gflops"] == by_name[network]["gflops"]
        assert row["params"] == by_name[network]["params"]
    assert by_name["unfused"]["score_difference"] == 0.0
    exact = by_name["unfused_channels_last"]["score_difference"]
    assert 0 < exact < 1e-5 < by_name["unfused_bfloat16"]["score_difference"] < 0.1


def test_without_a_compiler_the_compiled_rows_are_left_out(tiny_cfg, monkeypatch, capsys):
    def check(device):
        raise InputError("no compiler")

    monkeypatch.setattr(networks, "check_compiler", check)
    only = ("unfused_folded", "unfused_compiled")
    rows = bench_infer(tiny_cfg(), replace(TIMED, iterations=1, only=only))
    assert [row["name"] for row in rows] == ["fused", "unfused_folded"]
    rows = bench_train(tiny_cfg(), replace(TIMED, iterations=1, only=("ac_scam_compiled",)))
    assert [row["name"] for row in rows] == ["fused"]
    assert capsys.readouterr().err.count("no compiled rows: no compiler") == 2


@pytest.mark.slow
def test_compiled_rows_are_compiled_and_counted_as_the_others(tiny_cfg, monkeypatch):
    from slowfast.models import video_model_builder

    monkeypatch.setitem(video_model_builder._MODEL_STAGE_DEPTH, 50, (1, 1, 1, 1))
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: compile_(function, backend="eager", **how)
    )
    torch._dynamo.reset()
    counters.clear()
    cfg = tiny_cfg("RESNET.NUM_BLOCK_TEMP_KERNEL", [[1, 1]] * 4)
    fused, compiled = bench_train(cfg, replace(TIMED, iterations=1, only=("fused_compiled",)))
    torch._dynamo.reset()
    # Five stages, four lateral connections, and the addition that tries the compiler.
    assert counters["stats"]["unique_graphs"] == 10
    assert compiled["gflops"] == fused["gflops"]
    assert "saved_mebibytes" in fused and "saved_mebibytes" not in compiled


@pytest.mark.slow
def test_the_runtimes_give_upstreams_scores(tiny_cfg):
    for package in ("onnxruntime", "openvino", "nncf"):
        pytest.importorskip(package)
    only = tuple(f"unfused_{how}" for how in bench_infer_module.RUNTIMES)
    rows = bench_infer(tiny_cfg(), replace(TIMED, iterations=1, only=only))
    assert [row["name"] for row in rows] == ["fused", *only]
    difference = {row["name"]: row["score_difference"] for row in rows}
    assert 0 < difference["unfused_onnx"] < 1e-5 and 0 < difference["unfused_openvino"] < 1e-5
    assert difference["unfused_openvino_bfloat16"] < 0.1
    assert 1e-5 < difference["unfused_openvino_int8"] < 0.2
    assert all(row["seconds_ratio"] > 0 for row in rows)


def test_runtimes_that_are_not_installed_are_left_out(monkeypatch, capsys):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "nncf" else object())
    names = ["fused", "unfused_openvino", "unfused_openvino_int8", "fused_bfloat16"]
    assert runtimes.without_missing(names, CPU) == [names[0], names[1], names[3]]
    assert "no unfused_openvino_int8: needs nncf" in capsys.readouterr().err
    assert runtimes.without_missing(names, torch.device("cuda")) == [names[0], names[3]]


@pytest.mark.slow
def test_views_are_timed_against_as_many_single_views(tiny_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(views, "CLIPS", 2)
    monkeypatch.setattr(views, "VIEWS", views.Views(2, 3))
    shown = []
    predict = views.predict
    monkeypatch.setattr(
        views, "predict", lambda *args: shown.append(str(args[2])) or predict(*args)
    )
    cfg = tiny_cfg("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2)
    rows = views.bench_views(
        cfg, tmp_path, replace(TIMED, iterations=1, only=("views",)), seconds=1.0
    )
    assert shown == ["1x1, the middle"] * 6 + ["2x3"]
    assert [row["name"] for row in rows] == ["single_views", "views"]
    assert rows[0]["seconds_ratio"] == 1.0
    assert rows[1]["clips_per_second"] == pytest.approx(6 / rows[1]["seconds"])
    assert not list(tmp_path.iterdir())


def test_timed_rows_have_times_and_paired_ratios(tiny_cfg):
    cfg = tiny_cfg()
    rows = bench_train(cfg, replace(TIMED, only=("unfused",)))
    assert [row["name"] for row in rows] == ["fused", "unfused"]
    assert rows[0]["seconds_ratio"] == 1.0
    for row in rows:
        assert row["clips_per_second"] == pytest.approx(1 / row["seconds"])
        assert row["seconds_ratio_low"] <= row["seconds_ratio"] <= row["seconds_ratio_high"]


def test_all_networks_get_the_same_batch_and_the_slow_one_is_part_of_the_fast_one(tiny_cfg):
    one, two = (networks.random_batch(tiny_cfg(), 2, 32, CPU) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(one.clips, two.clips, strict=True))
    slow, fast = one.clips
    assert slow.shape == (2, 3, 4, 32, 32) and fast.shape == (2, 3, 16, 32, 32)
    assert torch.equal(slow, fast[:, :, [0, 5, 10, 15]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cfg: networks.choose(["a", "b"], ["c"]), "--only: 'c' is not one of a, b"),
        (lambda cfg: networks.find_device("tpu9"), "--device: 'tpu9'"),
        (lambda cfg: networks.find_device("meta"), "neither cpu nor cuda"),
        (
            lambda cfg: networks.network_config(cfg("MODEL.ARCH", "slow"), "ac", CPU),
            r"MODEL\.ARCH: 'slow' does not have two pathways",
        ),
    ],
)
def test_bad_input_is_named(tiny_cfg, call, message):
    with pytest.raises(InputError, match=message):
        call(tiny_cfg)


# --------------------------------------------------------------------------------------- decode


def test_spans_hold_the_same_however_long_the_video_is(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "SPAN", 0.25)
    rows = decode.bench_decode(tmp_path, replace(TIMED, only=("span",)), lengths=[0.5, 1.0])
    held = {(row["name"], row["video_seconds"]): row["held_mebibytes"] for row in rows}
    frame = 340 * 256 * 3 / 2**20
    assert held["whole_video", 0.5] == 15 * frame
    assert held["whole_video", 1.0] == 30 * frame
    for length in (0.5, 1.0):
        assert 7 * frame <= held["span", length] <= 9 * frame
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------- report


def test_the_files_hold_the_rows(tmp_path):
    rows = [
        {"name": "fused", "params": 2e6, "seconds": 0.5, "seconds_low": 0.4, "seconds_high": 0.6},
        {"name": "ac", "params": 1e6, "gflops_ratio": 0.9},
    ]
    path = results.write_bench(tmp_path, "Title", {"batch": 8}, rows)
    text = " ".join(path.read_text().split())
    assert "batch: 8" in text
    assert "| fused | 2.00 | | 500.0 (400.0-600.0) |" in text
    assert "| ac | 1.00 | 0.900 | |" in text
    assert json.loads((tmp_path / "bench.json").read_text())["rows"] == rows
    with open(tmp_path / "bench.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert table[1]["gflops_ratio"] == "0.9" and table[1]["seconds"] == ""
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_machine_is_described():
    machine = results.describe_machine(CPU)
    assert machine["torch"] == torch.__version__
    assert machine["threads"] == torch.get_num_threads()
    assert machine["device"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "--cfg: bench train needs a config"),
        (["decode", "--iterations", "0"], "--iterations: bench decode counts nothing"),
        (["views", "--cfg", "CONFIG", "--lengths", "5", "9"], "--lengths: bench views takes one"),
        (["views", "--cfg", "CONFIG", "--device", "cpu"], "--device: bench views runs where"),
        (["views", "--cfg", "CONFIG", "--crop", "224"], "--crop: bench views takes the config's"),
        (["decode", "--batch", "2"], "--batch: bench decode takes one video at a time"),
        (["loader", "--cfg", "CONFIG", "--only", "run"], "--only: bench loader compares its rows"),
        (["train", "--cfg", "CONFIG", "--lengths", "3"], "--lengths: bench train generates no"),
        (["infer", "--batch", "0"], "--batch: 0 is less than 1"),
        (["decode", "--lengths", "-1"], "--lengths: -1 s is not positive"),
        (["train", "--cfg", "CONFIG", "--crop", "100"], "--crop: 100 is not a multiple"),
        (["infer", "--cfg", "CONFIG", "--crop", "192"], "--crop: 192 is smaller than DATA.TRAIN"),
        (
            ["loader", "--cfg", "CONFIG", "--opts", "TRAIN.BATCH_SIZE", "4"],
            "--opts TRAIN.BATCH_SIZE: choose the clips per step with --batch",
        ),
    ],
)
def test_the_command_refuses_bad_arguments(upstream, tmp_path, arguments, message):
    import argparse

    from slowfast_ac.cli import bench as command

    config = Path(__file__).parents[2] / "configs/Kinetics/Base-SLOWFAST_4x16_R50.yaml"
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    what, *words = [str(config) if value == "CONFIG" else value for value in arguments]
    with pytest.raises(InputError, match=message):
        command.main(parser.parse_args([what, "--output", str(tmp_path / "out"), *words]))
    assert not (tmp_path / "out").exists()
