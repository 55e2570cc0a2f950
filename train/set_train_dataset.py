"""Split the instructions by subject and write the training and the test side.

    python train/set_train_dataset.py
    python train/set_train_dataset.py --instructions dataset/CASME2/instructions.jsonl dataset/SAMM/instructions.jsonl
    python train/set_train_dataset.py --protocol kfold --folds 5 --fold 2

Several files are put together. The split is frozen beside each side as `<name>.split.json`.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.splits import PROTOCOLS, write_sides


def main(**defaults: object) -> int:
    """Parse, split, print. `defaults` replace those of the flags (the scripts in ablation/ have their own)."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--instructions", type=Path, nargs="+", default=[Path("dataset/demo/instructions.jsonl")])
    parser.add_argument("--train", type=Path, default=Path("dataset/train_dataset.jsonl"))
    parser.add_argument("--test", type=Path, default=Path("dataset/test_dataset.jsonl"))
    parser.add_argument("--protocol", choices=PROTOCOLS, default="holdout")
    parser.add_argument("--folds", type=int, default=5, help="number of folds of kfold")
    parser.add_argument("--fold", type=int, default=0, help="which fold to write, from 0")
    parser.add_argument("--test-fraction", type=float, default=0.25, help="share of subjects that holdout keeps")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of subjects")
    parser.set_defaults(**defaults)
    args = parser.parse_args()
    options = {"folds": args.folds, "test_fraction": args.test_fraction, "seed": args.seed}
    print(write_sides(args.instructions, args.train, args.test, args.protocol, args.fold, **options))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
