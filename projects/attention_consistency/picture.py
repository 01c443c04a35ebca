"""Draws the picture of README.md: both streams of two networks over one clip.

python picture.py CLIPS WITHOUT.pyth WITH.pyth maps.png
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np

from slowfast_ac import heatmap, load_model
from slowfast_ac.data.lists import read_list
from slowfast_ac.visualization.annotation import read_annotation
from slowfast_ac.visualization.picture import draw_strip

EVIDENCE = Path(__file__).parent / "evidence/kinds.json.gz"
SEED = 3


def typical_clip() -> int:
    """Returns the number of the test clip whose gain in agreement is the median over all clips.

    Chosen by this rule, so that the picture shows neither the best nor the worst clip.
    """
    with gzip.open(EVIDENCE) as file:
        runs = json.load(file)["runs"]
    agreement = {
        run["variant"]: np.array(run["agreement"], float) for run in runs if run["seed"] == SEED
    }
    gain = agreement["AC+SCAM"] - agreement["unfused"]
    return int(np.argsort(gain)[len(gain) // 2])


def main(clips: str, without: str, with_loss: str, output: str) -> None:
    """Draws the frames, and the maps of the true class of both streams of both networks."""
    entry = read_list(Path(clips) / "test.csv")[typical_clip()]
    heatmaps = {}
    for name, path in (("without the loss", without), ("with the loss", with_loss)):
        model = load_model(path, device="cpu")
        heatmaps[name] = heatmap(model.network, entry.path, model.preprocessing, entry.label)
        del heatmaps[name].streams["both"]
    boxes = read_annotation(entry.path).boxes_at(heatmaps[name].clip.times)
    draw_strip(output, heatmaps, f"{Path(entry.path).name}, seed {SEED}", boxes)


if __name__ == "__main__":
    main(*sys.argv[1:])
