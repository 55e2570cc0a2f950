"""Fuse a model's answers with the flow probe's evidence: one answer from both, by log-linear weights.

    python test/answer_baselines.py --evidence dataset/evidence.jsonl
    python test/fuse_answers.py --predictions result/demo/tiny/predictions.jsonl --out result/demo/fused
    python test/fuse_answers.py --predictions result/demo/tiny/predictions.jsonl --out result/demo/fused \
        --fit result/validation/predictions.jsonl

Answers with `choices` (log-likelihoods of the allowed answers) fuse best; without them votes, or the one answer, stand
for the model. --fit takes predictions for training clips by a model that did not train on their subjects: the weights
are fitted on them, never on the test. Score the fused answers with test/score_answers.py.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.reasoning.fusion import fuse_files


def main() -> int:
    """Parse, fuse, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--predictions", type=Path, default=Path("result/demo/tiny/predictions.jsonl"), help="the model's answers")
    add("--evidence", type=Path, default=Path("dataset/evidence.jsonl"), help="of answer_baselines.py --evidence")
    add("--train", type=Path, default=Path("dataset/train_dataset.jsonl"), help="answered, for frequencies and truth")
    add("--fit", type=Path, help="held-out predictions of training subjects (None: equal weights)")
    add("--fit-evidence", type=Path, help="evidence of the clips of --fit (None: the training part of --evidence)")
    add("--out", type=Path, default=Path("result/demo/fused"), help="folder of predictions.jsonl and run.json")
    args = parser.parse_args()
    print(fuse_files(**vars(args)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
