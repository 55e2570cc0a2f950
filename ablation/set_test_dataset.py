"""Write the test side of a fold for an ablation, frozen with its split.

python ablation/set_test_dataset.py
python ablation/set_test_dataset.py --protocol loso --fold 3 --out dataset/ablation/test.jsonl
"""

import argparse
import sys
from pathlib import Path

from megc.problems import DataError
from megc.vqa.splits import PROTOCOLS, write_sides


def main() -> int:
    """Parse, split, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--instructions", type=Path, nargs="+", default=[Path("dataset/demo/instructions.jsonl")])
    parser.add_argument("--out", type=Path, default=Path("dataset/ablation_test.jsonl"))
    parser.add_argument("--protocol", choices=PROTOCOLS, default="kfold")
    parser.add_argument("--folds", type=int, default=5, help="number of folds of kfold")
    parser.add_argument("--fold", type=int, default=0, help="which fold to write, from 0")
    parser.add_argument("--test-fraction", type=float, default=0.25, help="share of subjects that holdout keeps")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of subjects")
    args = parser.parse_args()
    side = {"train": None, "test": None} | {"test": args.out}
    options = {"folds": args.folds, "test_fraction": args.test_fraction, "seed": args.seed}
    try:
        print(write_sides(args.instructions, **side, protocol=args.protocol, fold=args.fold, **options))
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
