"""Generates the clips of the evidence: ``python clips.py FOLDER``."""

import sys
from pathlib import Path

from slowfast_ac.data.synthetic.dataset import write_dataset

SIZE = {"size": (96, 96), "num_frames": 8, "fps": 7.5, "workers": 1}
CLIPS = {"train": 100, "val": 20, "test": 40}


def main(folder: str) -> None:
    """Writes one data set a number of decoys."""
    for decoys in (2,):
        path = Path(folder) / f"kinds_{decoys}"
        write_dataset(path, CLIPS, num_distractors=2, family="kinds", num_decoys=decoys, **SIZE)
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
