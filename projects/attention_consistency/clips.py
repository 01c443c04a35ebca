"""Generates the clips of the evidence, a data set a number of decoys: ``clips.py FOLDER``."""

import sys
from pathlib import Path

from slowfast_ac.data.synthetic.dataset import write_dataset
from slowfast_ac.experiments.demo import CLIPS, LOOK


def main(folder: str) -> None:
    """Writes ``FOLDER/kinds_0``, ``kinds_2`` and ``kinds_4``; those of the demo are ``kinds_2``."""
    for decoys in (0, 2, 4):
        look = {**LOOK, "num_decoys": decoys}
        print(write_dataset(Path(folder) / f"kinds_{decoys}", CLIPS, **look))


if __name__ == "__main__":
    main(*sys.argv[1:])
