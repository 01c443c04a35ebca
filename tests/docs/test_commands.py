"""Commands of the pages that need no training print what the pages show, numbers aside."""

import contextlib
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast_ac.cli import build_parser
from slowfast_ac.data.video import write_video

ROOT = Path(__file__).resolve().parents[2]
FUSED = ("MODEL.MODEL_NAME", "SlowFast", "MODEL.LOSS_FUNC", "cross_entropy")
MOTIONS = ("circle", "diagonal", "horizontal", "nod", "pulse", "shake", "vertical")


def film(path, frames=64, size=48):
    """Writes a video of noise that moves, 30 frames a second."""
    noise = np.random.default_rng(len(str(path))).integers(0, 255, (size, 2 * size, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_video(path, [np.roll(noise, number, axis=1)[:, :size] for number in range(frames)], 30)


def flip_a_bit(path="slowfastac_4x16_r50/model.safetensors"):
    content = bytearray(Path(path).read_bytes())
    content[-1] ^= 1
    Path(path).write_bytes(content)


@pytest.mark.slow
def test_checkpoints(follow, save_network, tmp_path):
    pytest.importorskip("onnxscript")
    save_network("checkpoint_epoch_00196.pyth", *FUSED)
    save_network("checkpoint.pyth")
    save_network("x.pyth", *FUSED, names=("state_dict", "state_dict_ema"))
    whole = Path("checkpoint_epoch_00196.pyth").read_bytes()
    Path("cut.pyth").write_bytes(whole[: len(whole) // 2])
    Path("SLOWFAST_8x8_R50.pkl").write_text("<!DOCTYPE html><html><body>403</body></html>")

    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"model_state": Evil()}, "evil.pyth")
    Path("classes.json").write_text(json.dumps({f"class {n}": n for n in range(7)}))
    for name in ("clip.mp4", "video.mp4"):
        film(name, 20)
    Path("runs/k400").mkdir(parents=True)
    stats = {"_type": "test_final", "split": "test_final", "top1_acc": "70.10", "top5_acc": "89.20"}
    Path("runs/k400/stdout.log").write_text(f"json_stats: {json.dumps(stats)}\n")

    follow(
        "docs/CHECKPOINTS.md",
        smaller={
            "create_slowfast(model_num_class=checkpoint.num_classes)": "create_slowfast("
            "model_num_class=7, stem_dim_outs=(8, 1), slowfast_fusion_conv_kernel_size=(5, 1, 1))",
        },
        causes={
            "slowfast-ac: slowfastac_4x16_r50/model.safetensors": "slowfast-ac predict "
            "slowfastac_4x16_r50 video.mp4"
        },
        before={
            "slowfast-ac: slowfastac_4x16_r50/model.safetensors": flip_a_bit,
            "from slowfast_ac import load_model": flip_a_bit,
        },
    )


def test_data(follow, tmp_path):
    names = [f"Class{number:02d}" for number in range(98)] + ["Archery", "Biking", "YoYo"]
    names.sort()
    film("good.avi", 20)
    films = Path("good.avi").read_bytes()
    lines = {"trainlist01.txt": [], "testlist01.txt": []}
    for number, name in enumerate(names, start=1):
        for group, split in (("01", "testlist01.txt"), ("08", "trainlist01.txt")):
            video = f"{name}/v_{name}_g{group}_c01.avi"
            lines[split].append(video if group == "01" else f"{video} {number}")
            if (group, name) not in {("08", "Biking"), ("08", "YoYo")}:
                path = Path("data/UCF-101") / video
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(films)
    lines["classInd.txt"] = [f"{number} {name}" for number, name in enumerate(names, start=1)]
    Path("data/ucfTrainTestlist").mkdir()
    for name, content in lines.items():
        Path("data/ucfTrainTestlist", name).write_text("\n".join(content) + "\n")
    Path("SLOWFASTAC.yaml").write_text("MODEL:\n  MODEL_NAME: SlowFastAC\n")

    rows = {
        "train": [("abseiling", "A" * 11), ("abseiling", "B" * 11), ("zumba", "C" * 11)]
        + [("air drumming", "D" * 11), ("air drumming", "E" * 11)],
        "val": [("abseiling", "F" * 11), ("air drumming", "G" * 11)],
    }
    Path("annotations").mkdir()
    for split, videos in rows.items():
        table = ["label,youtube_id,time_start,time_end,split,is_cc"]
        table += [f'"{name}",{key},10,20,{split},0' for name, key in videos]
        Path(f"annotations/{split}.csv").write_text("\n".join(table))
        for name, key in videos:
            path = Path("k400", split, name, f"{key}_000010_000020.mp4")
            film(path, 20)
            if key == "B" * 11:
                path.write_bytes(path.read_bytes()[:200])
    shutil.rmtree("k400/train/zumba")

    def spoil():
        video = Path("data/UCF-101/Archery/v_Archery_g01_c01.avi")
        video.write_bytes(video.read_bytes()[:100])

    def separated_by_commas():
        film("v/good.mp4", 20)
        Path("commas.csv").write_text("v/good.mp4 1\n" * 15 + "v/good.mp4,1\n")

    follow(
        "docs/DATA.md",
        causes={"line 16: separated by ','": "slowfast-ac check-data commas.csv"},
        before={
            "slowfast-ac check-data": spoil,
            "line 16: separated by ','": separated_by_commas,
        },
    )


@pytest.mark.slow
def test_predict(follow, reader, save_network):
    save_network("checkpoint_epoch_00002.pyth", "DATA.SAMPLING_RATE", 8)
    Path("classes.json").write_text(json.dumps({name: n for n, name in enumerate(MOTIONS)}))
    config = torch.load("checkpoint_epoch_00002.pyth", weights_only=True)["cfg"]
    Path("config.yaml").write_text(config.replace("ALPHA: 4", "ALPHA: 8"))
    film("circle_0000.mp4", 64)
    film("long.mp4", 192)
    Path("broken.mp4").write_bytes(b"nothing")

    def write_windows():
        reader(
            "slowfast-ac predict checkpoint_epoch_00002.pyth long.mp4 --classes classes.json "
            "--single-view --backend torch --window 3 --output windows.csv"
        )

    follow(
        "docs/PREDICT.md",
        causes={
            "slowfast-ac: checkpoint_epoch_00002.pyth: was trained": "slowfast-ac predict "
            "checkpoint_epoch_00002.pyth long.mp4 --cfg config.yaml",
            "video,start,end": "cat windows.csv",
            "slowfast-ac: cannot read video": "slowfast-ac predict checkpoint_epoch_00002.pyth "
            "broken.mp4",
        },
        smaller={"--single-view": "--single-view --backend torch"},
        before={"video,start,end": write_windows},
        masks=[(rf"\b({'|'.join(MOTIONS)})\b", "CLASS")],
    )


def test_app(follow):
    follow("docs/APP.md")


@pytest.mark.slow
def test_heatmap(follow, save_network):
    save_network("checkpoint_epoch_00015.pyth")
    film("clip.mp4", 30)
    Path("broken.mp4").write_bytes(b"nothing")
    follow(
        "docs/HEATMAP.md",
        causes={
            "slowfast-ac: cannot read video": "slowfast-ac heatmap broken.mp4 --checkpoint "
            "checkpoint_epoch_00015.pyth --output others"
        },
    )


def test_pytorchvideo(follow, save_network):
    save_network("SLOWFAST_8x8_R50.pyth", *FUSED)
    # tests/models/test_builder.py runs the page's Python.
    errors = {"slowfast_ac.errors.InputError": "python errors.py"}
    Path("errors.py").write_text(
        "import torch, traceback\n"
        "from slowfast_ac import create_slowfast_ac\n"
        "model = create_slowfast_ac(num_frames=16, alpha=4, crop_size=64, model_depth=18,\n"
        "                           stem_dim_out=8)\n"
        "clip = torch.zeros(1, 3, 8, 64, 64)\n"
        "for wrong in (clip, [clip]):\n"
        "    try: model(wrong)\n"
        "    except ValueError as error: print(*traceback.format_exception_only(error), end='')\n"
    )
    follow("docs/PYTORCHVIDEO.md", causes=errors, code=False)


@pytest.mark.slow
def test_compare(follow, tmp_path):
    import pickle

    rng = np.random.default_rng(0)
    labels = rng.integers(6, size=120)
    names = ("circle", "diagonal", "horizontal", "nod", "shake", "vertical")
    Path("classes.json").write_text(json.dumps({name: n for n, name in enumerate(names)}))
    for name in ("BASELINE", "OTHER", "OUTPUT_DIR"):
        scores = rng.random((120, 6)) + 0.8 * np.eye(6)[labels]
        Path(name).write_bytes(pickle.dumps([torch.tensor(scores), torch.tensor(labels)]))
    follow("docs/COMPARE.md")


@pytest.mark.slow
def test_evidence(follow, tmp_path):
    Path("projects").unlink()
    folder = Path("projects/attention_consistency")
    (folder / "evidence").mkdir(parents=True)
    source = ROOT / folder
    files = ("kinds", "human", "human_0", "human_4")
    for name in ("evidence.py", *(f"evidence/{file}.json.gz" for file in files)):
        (folder / name).write_bytes((source / name).read_bytes())
    for path in source.glob("*.yaml"):
        (folder / path.name).symlink_to(path)
    follow(
        "projects/attention_consistency/README.md",
        smaller={"--output runs/": "--dry-run --output runs/"},
    )


@pytest.mark.slow
def test_earlier_evidence(follow, upstream):
    follow(
        "projects/attention_consistency/EARLIER.md",
        smaller={
            "--output runs/": "--dry-run --output runs/",
            "{'train': 60, 'val': 10, 'test': 40}": "{'train': 1, 'val': 1, 'test': 1}",
        },
    )


def commands_in_prose():
    """Commands with options in the prose and tables of every page."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("projects/*/*.md")]
    for page in sorted(pages):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for command in re.findall(r"`slowfast-ac ([^`]+)`", text):
            yield pytest.param(command.split(), id=f"{page.stem}: {command}")


@pytest.mark.parametrize("words", commands_in_prose())
def test_commands_in_prose_have_options_that_exist(words):
    help_texts = io.StringIO()
    for start in (words[:1], words[:2]):
        with contextlib.redirect_stdout(help_texts), contextlib.suppress(SystemExit):
            build_parser(start[0]).parse_args([*start[1:], "--help"])
    known = set(re.findall(r"--[\w-]+", help_texts.getvalue()))
    assert {word for word in words if word.startswith("--")} <= known


def test_every_page_with_commands_is_followed():
    followed = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("projects/*/*.md")]:
        if re.search(r"^(\$|    )? ?(slowfast-ac|python|make) ", page.read_text(), re.M):
            assert f'"{page.relative_to(ROOT).as_posix()}"' in followed, page
