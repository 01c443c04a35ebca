"""Bad and odd videos in every command that reads videos: each is named in one line or handled."""

import json
import re

import pytest
import torch
import yaml

from slowfast_ac.cli import main
from slowfast_ac.errors import InputError

READABLE = ("good", "one frame", "variable")
REASONS = {
    "corrupt": "Invalid data found when processing input (no video, or cut short)",
    "cut short": "Invalid data found when processing input (no video, or cut short)",
    "empty": "the file is empty",
}


@pytest.fixture
def videos(tmp_path, put, video_bytes):
    """A class folder with a video of each kind."""
    kinds = (*REASONS, *READABLE)
    return {
        kind: put(tmp_path / f"tree/train/jump/{kind.replace(' ', '_')}.mp4", video_bytes[kind])
        for kind in kinds
    }


@pytest.fixture
def network(tmp_path, tiny_cfg, build_model):
    """Config and checkpoint of a tiny network."""
    cfg = tiny_cfg("MODEL.ARCH", "slowfast", "DATA.SAMPLING_RATE", 1)
    torch.manual_seed(0)
    checkpoint, path = tmp_path / "weights.pyth", tmp_path / "config.yaml"
    torch.save({"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}, checkpoint)
    path.write_text(yaml.safe_dump(yaml.safe_load(cfg.dump())))
    return cfg, path, checkpoint


def called(*words):
    return main([str(word) for word in words])


def lines_of(videos):
    return [f"cannot read video {videos[kind]}: {reason}" for kind, reason in REASONS.items()]


def test_prepare_leaves_bad_videos_out_of_the_lists_and_names_them(tmp_path, put, videos):
    put(tmp_path / "tree/val/jump/a.mp4", videos["good"].read_bytes())
    out = tmp_path / "out"
    assert called("prepare", "folder", tmp_path / "tree", "--output", out, "--resize", 16) == 0
    named = [line.split("\t")[2] for line in (out / "missing.txt").read_text().splitlines()]
    assert named == lines_of(videos)
    listed = [line.split()[0] for line in (out / "train.csv").read_text().splitlines()]
    assert listed == [f"train/jump/{kind.replace(' ', '_')}.mp4" for kind in READABLE]


def test_check_data_cleans_bad_videos_out_of_a_list(tmp_path, videos, capsys):
    (tmp_path / "list.csv").write_text("".join(f"{path} 0\n" for path in videos.values()))
    assert called("check-data", tmp_path / "list.csv", "--write-clean", tmp_path / "c.csv") == 1
    out = capsys.readouterr().out
    for number, line in enumerate(lines_of(videos), start=1):
        assert f"line {number}: {line}\n" in out
    assert f"line 6: note: {videos['variable']}: variable frame rate: 33 to 200 ms" in out
    expected = "".join(f"{videos[kind]} 0\n" for kind in READABLE)
    assert (tmp_path / "c.csv").read_text() == expected


@pytest.mark.parametrize("command", ["heatmap", "predict", "features"])
def test_a_bad_video_does_not_keep_the_others_from_the_network(
    command, tmp_path, videos, network, capsys
):
    _, cfg, checkpoint = network
    out = tmp_path / "out"
    words = {
        "heatmap": ["--checkpoint", checkpoint, "--output", out],
        "predict": [checkpoint, "--single-view", "--output", out / "predictions.json"],
        "features": [checkpoint, "--output", out],
    }[command]
    network_first = words[:1] if words[0] == checkpoint else []
    rest = words[len(network_first) :]
    status = called(command, *network_first, *videos.values(), "--cfg", cfg, *rest)
    assert status == 1
    told = re.findall(r"slowfast-ac: (.*)", capsys.readouterr().err)
    assert [line.rstrip() for line in told] == lines_of(videos)
    if command == "predict":
        text = (out / "predictions.json").read_text()
        assert all(str(path) in text for path in videos.values())
    else:
        # The list of all videos that features writes at its end has them too.
        written = {path.name.split(".")[0] for path in out.iterdir() if path.suffix != ".jsonl"}
        assert written == {kind.replace(" ", "_") for kind in READABLE}


def test_a_run_stops_at_a_bad_video_before_it_starts(tmp_path, videos, network):
    from slowfast_ac.pyslowfast.checks import check_data

    cfg = network[0]
    cfg.merge_from_list(["DATA.PATH_TO_DATA_DIR", str(tmp_path), "TRAIN.BATCH_SIZE", 2])
    cfg.merge_from_list(["TRAIN.DATASET", "kinetics", "TEST.DATASET", "kinetics"])

    def listed(*kinds):
        for split in ("train", "val", "test"):
            lines = (f"{videos[kind]} 0\n" for kind in kinds)
            (tmp_path / f"{split}.csv").write_text("".join(lines))

    listed(*READABLE)
    check_data(cfg)
    for kind, line in zip(REASONS, lines_of(videos), strict=True):
        listed(*READABLE, kind)
        with pytest.raises(InputError, match=re.escape(f"train.csv line 4: {line} (1 of 4 ")):
            check_data(cfg)


def test_attention_is_measured_on_odd_videos_and_bad_ones_are_named(tmp_path, videos, network):
    from slowfast_ac.evaluation.attention_quality import attention_quality

    cfg, _, checkpoint = network
    for path in videos.values():
        boxes = {"fps": 30.0, "label": 0, "boxes": [[4, 4, 20, 20]] * 20}
        path.with_suffix(".json").write_text(json.dumps(boxes))

    def measured(*kinds):
        (tmp_path / "test.csv").write_text("".join(f"{videos[kind]} 0\n" for kind in kinds))
        return attention_quality(cfg, checkpoint, tmp_path / "test.csv", progress=False)

    assert measured(*READABLE)["clips"] == 3
    for kind, line in zip(REASONS, lines_of(videos), strict=True):
        with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
            measured("good", kind)


def test_a_report_goes_on_past_a_run_whose_videos_went_bad(tmp_path, videos, network, capsys):
    from slowfast_ac.experiments.report import ATTENTION, measure_attention
    from slowfast_ac.experiments.suite import Run

    cfg, _, checkpoint = network
    boxes = {"fps": 30.0, "boxes": [[4, 4, 20, 20]] * 20}
    runs = []
    for kind in ("corrupt", "good"):
        videos[kind].with_suffix(".json").write_text(json.dumps(boxes))
        folder = tmp_path / f"{kind} run"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints/checkpoint_epoch_00001.pyth").write_bytes(checkpoint.read_bytes())
        (folder / "test.csv").write_text(f"{videos[kind]} 0\n")
        cfg.DATA.PATH_TO_DATA_DIR = str(folder)
        (folder / "config.yaml").write_text(cfg.dump())
        runs.append(Run(kind, 0, folder / "config.yaml", (), folder))
    measure_attention(runs)
    assert [(run.folder / ATTENTION).exists() for run in runs] == [False, True]
    line = f"corrupt:0: attention not measured: {lines_of(videos)[0]}"
    assert line in capsys.readouterr().err
