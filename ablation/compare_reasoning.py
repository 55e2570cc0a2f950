"""What each reasoning option changes: stored predictions scored plain and reasoned over, with paired intervals.

    python ablation/compare_reasoning.py
    python ablation/compare_reasoning.py --predictions result/real_casme2/fold?/predictions.jsonl \
        --references dataset/real_casme2/instructions.jsonl --train checkpoints/real_casme2/fold?/train.jsonl \
        --table result/real_casme2_reasoning.csv

Several prediction files are the folds of one cross-validation: they are pooled, each with its own training side.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path
from typing import get_args

from megc.ablation.settings import REASONING_ARMS
from megc.command import run_command
from megc.problems import Problems
from megc.reasoning.settings import OPTIONS
from megc.scoring.settings import RESAMPLES, ProfileName


def main() -> int:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--predictions",
        nargs="+",
        type=Path,
        default=[Path("result/demo/tiny/predictions.jsonl")],
        help="rows with answers",
    )
    add("--references", nargs="+", type=Path, default=[Path("dataset/test_dataset.jsonl")], help="answered rows")
    words = "answered rows of the training subjects, one file, one for each prediction file, or none"
    add("--train", nargs="*", type=Path, default=[Path("dataset/train_dataset.jsonl")], help=words)
    words = f"options joined by +, of {', '.join(OPTIONS)} (default: each alone, joint+compose, all)"
    add("--reason", nargs="+", metavar="OPTIONS", default=["+".join(arm) for arm in REASONING_ARMS], help=words)
    add("--profile", choices=get_args(ProfileName), default="megc2025", help="how to score")
    add("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples")
    add("--seed", type=int, default=0, help="of the bootstrap")
    add("--table", type=Path, default=Path("result/demo/reasoning.csv"), help="to write")
    args = vars(parser.parse_args())
    from megc.ablation.reasoning_table import Comparison, compare_reasoning  # here: --help is quick

    args["arms"] = tuple(tuple(arm.split("+")) for arm in args.pop("reason"))
    args |= {name: tuple(args[name]) for name in ("predictions", "references", "train")}
    problems = Problems()
    print(compare_reasoning(Comparison(**args), problems))
    problems.report()
    return problems.exit_code()


if __name__ == "__main__":
    sys.exit(run_command(main))
