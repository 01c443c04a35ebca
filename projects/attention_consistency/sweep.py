"""Trains many variants on the generated clips, held in memory: a quick look before real runs.

Models, criterion, schedule and sizes are those of `slowfast-ac demo`; only PySlowFast's loader and
loop are left out, since decoding the same few clips again costs more than training on them.

    python projects/attention_consistency/sweep.py DATA --output sweep.json --variants unfused ac_l2
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from slowfast_ac.data.lists import read_list
from slowfast_ac.data.synthetic import read_boxes
from slowfast_ac.data.video import read_frames
from slowfast_ac.experiments.demo import CONFIGS
from slowfast_ac.experiments.heatmap import attention_maps
from slowfast_ac.experiments.measures import agreement, area_share, energy_in_box, pointing_game
from slowfast_ac.files import write_json
from slowfast_ac.pyslowfast import setup
from slowfast_ac.pyslowfast.config_file import load_config
from slowfast_ac.pyslowfast.statistics import build_model

UNFUSED = {"MODEL.MODEL_NAME": "SlowFastAC"}
AC = {**UNFUSED, "MODEL.LOSS_FUNC": "attention_consistency"}
SLOW = {
    "MODEL.MODEL_NAME": "ResNet",
    "MODEL.ARCH": "slow",
    "DATA.NUM_FRAMES": 4,
    "DATA.SAMPLING_RATE": 16,
    "DATA.INPUT_CHANNEL_NUM": [3],
    "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3], [4], [6], [3]],
    "RESNET.SPATIAL_STRIDES": [[1], [2], [2], [2]],
    "RESNET.SPATIAL_DILATIONS": [[1]] * 4,
    "NONLOCAL.LOCATION": [[[]]] * 4,
    "NONLOCAL.GROUP": [[1]] * 4,
}
VARIANTS = {
    "fused": {},
    "unfused": UNFUSED,
    "ac_literal": AC,
    "ac_literal_lambda0.1": {**AC, "AC.LAMBDA": 0.1},
    "ac_literal_lambda0.01": {**AC, "AC.LAMBDA": 0.01},
    "ac_average": {**AC, "AC.TEMPORAL_CAM": "average"},
    "ac_random": {**AC, "AC.TEMPORAL_CAM": "random"},
    "ac_mean": {**AC, "AC.CLASSES": "mean"},
    "ac_label": {**AC, "AC.CLASSES": "label"},
    "ac_label_lambda0.1": {**AC, "AC.CLASSES": "label", "AC.LAMBDA": 0.1},
    "ac_label_average": {**AC, "AC.CLASSES": "label", "AC.TEMPORAL_CAM": "average"},
    "ac_l2": {**AC, "AC.NORMALIZE": "l2"},
    "ac_l2_mean": {**AC, "AC.NORMALIZE": "l2", "AC.CLASSES": "mean"},
    "ac_l2_label": {**AC, "AC.NORMALIZE": "l2", "AC.CLASSES": "label"},
    "ac_l2_detached": {**AC, "AC.NORMALIZE": "l2", "AC.DETACH_SPATIAL": True},
    "ac_l2_noSCAM": {**AC, "AC.NORMALIZE": "l2", "SCAM.ENABLE": False},
    "ac_l2_no_gradient": {**AC, "AC.NORMALIZE": "l2", "SCAM.GRAD": False},
    "ac_minmax": {**AC, "AC.NORMALIZE": "minmax"},
    "ac_detached": {**AC, "AC.DETACH_SPATIAL": True},
    "ac_noSCAM": {**AC, "SCAM.ENABLE": False},
    "slow": SLOW,
    "slow_scam": {**SLOW, "MODEL.MODEL_NAME": "SlowAC"},
}


class Clips:
    """A list's clips in memory.

    Args:
        path: PySlowFast list whose videos have boxes beside them.
        device: where the frames live.
    """

    def __init__(self, path: Path, device: torch.device):
        entries = read_list(path)
        frames = [read_frames(entry.path)[0][::4][:16] for entry in entries]
        self.frames = torch.from_numpy(np.stack(frames)).to(device)  # (V, 16, H, W, 3)
        self.labels = torch.tensor([entry.label for entry in entries], device=device)
        self.boxes = np.stack([read_boxes(entry.path)[::4][:16] for entry in entries])

    def batch(self, chosen: torch.Tensor) -> torch.Tensor:
        """Returns normalised clips (N, 3, 16, H, W)."""
        clips = self.frames[chosen].permute(0, 4, 1, 2, 3).float()
        return (clips / 255 - 0.45) / 0.225


def crop(clips: torch.Tensor, cfg, rng: np.random.Generator) -> torch.Tensor:
    """One random short side, crop and flip for a batch, as DATA.TRAIN_* ask for."""
    low, high = cfg.DATA.TRAIN_JITTER_SCALES
    side = cfg.DATA.TRAIN_CROP_SIZE
    short = int(rng.integers(low, high + 1))
    clips = resize_short(clips, short)
    top, left = (int(rng.integers(0, size - side + 1)) for size in clips.shape[-2:])
    clips = clips[..., top : top + side, left : left + side]
    return clips.flip(-1) if rng.random() < 0.5 else clips


def resize_short(clips: torch.Tensor, short: int) -> torch.Tensor:
    """Resizes the frames' short side, bilinearly."""
    height, width = clips.shape[-2:]
    scale = short / min(height, width)
    size = (clips.shape[2], round(height * scale), round(width * scale))
    return F.interpolate(clips, size=size, mode="trilinear", align_corners=False)


def pathways(clips: torch.Tensor, cfg) -> list[torch.Tensor]:
    """The network's inputs of (N, 3, 16, H, W) clips."""
    slow = clips[:, :, torch.linspace(0, 15, 4).long()]
    return [slow] if cfg.MODEL.ARCH == "slow" else [slow, clips]


def train(cfg, clips: Clips, seed: int, device: torch.device) -> tuple[torch.nn.Module, list]:
    """Trains with the demo's schedule; returns the model and (base loss, consistency) an epoch."""
    import slowfast.models.losses as losses
    import slowfast.models.optimizer as optim

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build_model(cfg).to(device)
    optimizer = optim.construct_optimizer(model, cfg)
    criterion = losses.get_loss_func(cfg.MODEL.LOSS_FUNC)(reduction="mean")
    size, history = cfg.TRAIN.BATCH_SIZE, []
    for epoch in range(cfg.SOLVER.MAX_EPOCH):
        model.train()
        order = torch.from_numpy(rng.permutation(len(clips.labels))).to(device)
        steps, terms = len(order) // size, []
        for step in range(steps):
            chosen = order[step * size : (step + 1) * size]
            optim.set_lr(optimizer, optim.get_epoch_lr(epoch + step / steps, cfg))
            preds = model(pathways(crop(clips.batch(chosen), cfg, rng), cfg))
            loss = criterion(preds, clips.labels[chosen])
            loss, logged = loss if isinstance(loss, tuple) else (loss, [loss.item(), 0.0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            terms.append(logged)
        history.append(np.mean(terms, axis=0).tolist())
    return model, history


@torch.no_grad()
def test(cfg, model: torch.nn.Module, clips: Clips) -> dict[str, float]:
    """Returns top-1 over three crops, and where both streams look."""
    model.eval()
    side = cfg.DATA.TEST_CROP_SIZE
    right, rows = 0, []
    for start in range(0, len(clips.labels), 20):
        chosen = torch.arange(start, min(start + 20, len(clips.labels)), device=clips.labels.device)
        batch = resize_short(clips.batch(chosen), side)
        spare = batch.shape[-1] - side
        views = [batch[..., left : left + side] for left in (0, spare // 2, spare)]
        scores = sum(model(pathways(view, cfg)) for view in views)
        right += (scores.argmax(dim=1) == clips.labels[chosen]).sum().item()
        maps = attention_maps(model, pathways(batch, cfg), clips.labels[chosen])
        frame = (clips.frames.shape[3], clips.frames.shape[2])
        for number, clip in enumerate(chosen.tolist()):
            row = {}
            for name, stream in (("spatial", maps.spatial), ("temporal", maps.temporal)):
                if stream is None:
                    continue
                cams = stream[number].cpu().numpy()
                boxes = clips.boxes[clip][np.linspace(0, 15, len(cams)).astype(int)]
                pairs = list(zip(cams, boxes, strict=True))
                row[f"{name}_pointing"] = np.mean([pointing_game(c, b, frame) for c, b in pairs])
                row[f"{name}_energy"] = np.nanmean([energy_in_box(c, b, frame) for c, b in pairs])
                row["chance"] = np.mean([area_share(b, frame) for _, b in pairs])
            if maps.temporal is not None:
                both = (maps.spatial[number].mean(0), maps.temporal[number].mean(0))
                row["agreement"] = agreement(*(cam.cpu().numpy() for cam in both))
            rows.append(row)
    means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
    return {"top1": 100 * right / len(clips.labels), **means}


def main() -> None:
    """Trains every variant with every seed and writes the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the generated clips' lists")
    parser.add_argument("--output", type=Path, required=True, help="json")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--opts", nargs="*", default=[], help="KEY VALUE pairs for every variant")
    args = parser.parse_args()

    setup()
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = {split: Clips(args.data / f"{split}.csv", device) for split in ("train", "test")}
    results = []
    for seed in args.seeds:
        for name in args.variants:
            own = [str(part) for pair in VARIANTS[name].items() for part in pair]
            cfg = load_config(CONFIGS / "demo.yaml", [*own, *args.opts])
            begin = time.monotonic()
            try:
                model, history = train(cfg, data["train"], seed, device)
                measured = test(cfg, model, data["test"])
            except RuntimeError as error:  # a loss that exploded ends one run, not the sweep
                measured, history = {"top1": math.nan, "error": str(error)[:200]}, []
            seconds = round(time.monotonic() - begin, 1)
            results.append(
                {"variant": name, "seed": seed, "seconds": seconds, "history": history, **measured}
            )
            write_json(args.output, results)
            brief = {k: round(v, 3) for k, v in measured.items() if isinstance(v, float)}
            print(name, seed, seconds, brief, json.dumps(history[-1:]), flush=True)


if __name__ == "__main__":
    main()
