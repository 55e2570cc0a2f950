"""Tell the model in the prompt what the flow probe believes: training and test file with a sentence of evidence.

    python test/answer_baselines.py --evidence dataset/evidence.jsonl
    python data_process/add_evidence.py
    python train.py --train_file dataset/train_evidence.jsonl --output_dir checkpoints/tiny-evidence
    python test/generate_answers.py --model checkpoints/tiny-evidence --questions dataset/test_evidence.jsonl \
        --out result/demo/tiny-evidence

The sentence stands in the part of the prompt that a clip's questions share, directly before `Question:`. The new
files have a prompt hash of their own and lie beside the old ones.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.vqa.evidence_prompt import add_evidence


def main() -> int:
    """Parse, rewrite both files, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--train", type=Path, default=Path("dataset/train_dataset.jsonl"), help="instructions to train on")
    add("--test", type=Path, default=Path("dataset/test_dataset.jsonl"), help="instructions to answer")
    add("--evidence", type=Path, default=Path("dataset/evidence.jsonl"), help="of answer_baselines.py --evidence")
    add("--out-train", type=Path, default=Path("dataset/train_evidence.jsonl"))
    add("--out-test", type=Path, default=Path("dataset/test_evidence.jsonl"))
    args = parser.parse_args()
    print(add_evidence(args.train, args.evidence, "train", args.out_train))
    print(add_evidence(args.test, args.evidence, "test", args.out_test))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
