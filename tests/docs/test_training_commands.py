"""Commands of the pages that train, measure or export, at tiny sizes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from slowfast_ac.data.video import write_video

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
INSTANT = ROOT / "slowfast_ac/configs/quick_schedules/SLOWFASTAC_4x4_R50_instant_test.yaml"
# The keys that make any config of the Kinetics folder a tiny one for the lists of three classes.
TINY = (
    "RESNET.WIDTH_PER_GROUP 8 DATA.NUM_FRAMES 8 DATA.SAMPLING_RATE 1 DATA.TRAIN_CROP_SIZE 64 "
    "DATA.TEST_CROP_SIZE 64 DATA.TRAIN_JITTER_SCALES [64,72] TRAIN.BATCH_SIZE 4 "
    "TRAIN.EVAL_PERIOD 1 BN.NUM_BATCHES_PRECISE 1 SOLVER.MAX_EPOCH 1 SOLVER.WARMUP_EPOCHS 0.0 "
    "SOLVER.BASE_LR 0.01 MODEL.NUM_CLASSES 3 TEST.BATCH_SIZE 6 TEST.NUM_ENSEMBLE_VIEWS 1 "
    "TEST.NUM_SPATIAL_CROPS 1 DATA_LOADER.NUM_WORKERS 0 NUM_GPUS 0 LOG_PERIOD 1"
)
QUICK = "--iterations 1 --warmup 0 --crop 64"


@pytest.fixture
def lists(video_lists, reader):
    """The lists of three classes, as ``lists`` of the reader's folder."""
    Path("lists").symlink_to(video_lists)


def your_config(path="YOUR_CONFIG.yaml", **data):
    """Writes a config on top of the instant test's, which needs a minute at most."""
    config = {"_BASE_": str(INSTANT), "DATA": {"NUM_FRAMES": 8, **data}, "LOG_PERIOD": 1}
    config["DATA"].setdefault("PATH_TO_DATA_DIR", "lists")
    config |= {"MODEL": {"NUM_CLASSES": 3}, "TEST": {"NUM_ENSEMBLE_VIEWS": 1}}
    config["DATA"]["TRAIN_JITTER_SCALES"] = [64, 72]
    Path(path).write_text(yaml.safe_dump(config))


def test_readme(follow, lists):
    your_config()
    follow("README.md", smaller={"YOUR_CONFIG.yaml": "YOUR_CONFIG.yaml --opts OUTPUT_DIR run"})


def test_finetuning(follow, save_network, video_lists):
    save_network("kinetics.pyth", "MODEL.NUM_CLASSES", 6)
    your_config(PATH_TO_DATA_DIR=str(video_lists))
    Path("narrow.yaml").write_text(Path("YOUR_CONFIG.yaml").read_text())
    names = ("Archery", "BaseballPitch", "BodyWeightSquats")
    annotations = Path("data/ucfTrainTestlist")
    annotations.mkdir(parents=True)
    classes = [f"{number} {name}" for number, name in enumerate(names, start=1)]
    (annotations / "classInd.txt").write_text("\n".join(classes) + "\n")
    for split, source in (("train", "train"), ("test", "val")):
        lines = []
        for label, name in enumerate(names):
            for video in sorted(video_lists.glob(f"{source}_{label}_*.mp4")):
                target = Path("data/UCF-101", name, f"v_{name}_{video.name}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(video, target)
                line = f"{name}/{target.stem}.avi"
                lines.append(line if split == "test" else f"{line} {label + 1}")
        (annotations / f"{split}list01.txt").write_text("\n".join(lines) + "\n")
    follow(
        "docs/FINETUNE.md",
        smaller={
            "kinetics.pyth MODEL.NUM_CLASSES 101": "kinetics.pyth MODEL.NUM_CLASSES 3 "
            "OUTPUT_DIR first",
        },
        masks=[(r"(Holm's correction over \d+: ).*", r"\1NAMES")],
    )


def test_suites(follow, lists):
    finished = Path("finished")

    def hide():
        Path("runs").rename(finished)

    def show():
        finished.rename("runs")

    command = "slowfast-ac ablate configs/suites/table3.yaml --output runs/table3"
    follow(
        "docs/ABLATE.md",
        smaller={
            "DATA.PATH_TO_DATA_DIR lists": f"DATA.PATH_TO_DATA_DIR lists {TINY}",
            "runs/table3 --opts": "runs/table3 --seeds 0 --opts",
            "runs/table3 --report": "runs/table3 --seeds 0 --report",
        },
        before={f"{command} --jobs": hide, f"{command} --report": show},
        masks=[(f" {re.escape(TINY)}".replace(r"\[64,72\]", r"'?\[64,72\]'?"), "")],
    )
    assert Path("runs/table3/table3.md").is_file()


def test_bench(follow, lists):
    your_config()
    Path("demo/SlowFastAC/seed0").mkdir(parents=True)
    your_config("demo/SlowFastAC/seed0/config.yaml")
    Path("wide").symlink_to("lists")
    follow(
        "docs/BENCH.md",
        smaller={
            "--batch 8": f"--batch 2 {QUICK} --only ac_scam",
            "--batch 4": f"--batch 2 {QUICK}",
            "--batch 1 --output bench/scaling": f"--batch 2 {QUICK} --only classes "
            "--output bench/scaling",
            "R50.yaml --output bench/views": "R50.yaml --iterations 1 --warmup 0 --lengths 1 "
            "--output bench/views",
            "--output bench/decode": "--output bench/decode --lengths 1 --iterations 1 --warmup 0",
            "COMPUTE.PRECISION bfloat16 COMPUTE.MEMORY_FORMAT channels_last ...": "COMPUTE."
            f"MEMORY_FORMAT channels_last DATA.PATH_TO_DATA_DIR lists OUTPUT_DIR run {TINY}",
        }
        | {
            # bench takes the batch from --batch.
            f"--output bench/{what}": f"--output bench/{what} --opts "
            + re.sub(r"\S+BATCH_SIZE \d+ ", "", TINY)
            for what in ("train", "infer", "scaling", "views")
        }
        | {
            "'[256, 320]' RESNET.WIDTH_PER_GROUP 4": "[64,72]",
            "--iterations 8 --warmup 2 --threads": "--threads",
            # Of the loader every row is measured.
            "--only ac_scam --threads": "--threads",
            "--only ac_scam --output bench/loader": "--output bench/loader",
        },
        masks=[("limited by: the (loader|network)", "limited by: PART")],
    )


def test_questions(follow, save_network, lists):
    save_network("SLOWFAST_4x16_R50.pyth", "MODEL.MODEL_NAME", "SlowFast")
    your_config()
    # The paper's clip, at a tiny size in all else.
    clip = {"DATA.NUM_FRAMES": 16, "DATA.SAMPLING_RATE": 4}
    Path("clip.yaml").write_text(
        yaml.safe_dump({"_BASE_": "YOUR_CONFIG.yaml", "DATA": {k[5:]: v for k, v in clip.items()}})
    )
    follow(
        "docs/FAQ.md",
        causes={"clip ": "slowfast-ac explain clip.yaml"},
        smaller={
            "--output bench/loader": f"--output bench/loader --batch 2 {QUICK}",
            "SLOWFAST_4x16_R50.pyth": "SLOWFAST_4x16_R50.pyth DATA.PATH_TO_DATA_DIR lists "
            f"OUTPUT_DIR run {TINY}",
        },
    )


def test_deployment(follow, save_network, monkeypatch, video_lists):
    for package in ("openvino", "nncf", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    save_network("checkpoint.pyth", "MODEL.NUM_CLASSES", 3)
    Path("classes.json").write_text(json.dumps({"right": 0, "down": 1, "still": 2}))
    shutil.copy(video_lists / "val.csv", "val.csv")
    shutil.copy(video_lists / "val_0_0.mp4", "video.mp4")
    page = (ROOT / "docs/DEPLOY.md").read_text(encoding="utf-8")
    client = re.search(r"```python\n(.*?)```", page, re.S)[1]
    Path("client.py").write_text(client)
    follow("docs/DEPLOY.md", code=False)


def test_training_loops(follow, save_network):
    # tests/test_training_docs.py trains what the commands take.
    for name in ("last.pyth", "last.ckpt"):
        save_network(name)
    frames = np.random.default_rng(0).integers(0, 255, (20, 48, 48, 3), np.uint8)
    write_video("video.mp4", frames, 30)
    follow("docs/TRAINING.md", code=False)
