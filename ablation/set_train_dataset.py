"""Write the training side of a fold for an ablation, frozen with its split.

    python ablation/set_train_dataset.py
    python ablation/set_train_dataset.py --protocol loso --fold 3 --train dataset/ablation_train.jsonl

The program is train/set_train_dataset.py with other defaults.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import runpy
import sys
from functools import partial
from pathlib import Path

from megc.command import run_command

if __name__ == "__main__":
    program = runpy.run_path(str(Path(__file__).parents[1] / "train" / "set_train_dataset.py"))
    sides = {"train": None, "test": None} | {"train": Path("dataset/ablation_train.jsonl")}
    sys.exit(run_command(partial(program["main"], **sides, protocol="kfold")))
