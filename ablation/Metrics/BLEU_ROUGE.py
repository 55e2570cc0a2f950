"""BLEU and ROUGE-1 recall of all answers, as the original project computes them (profile `tie`).

    python ablation/Metrics/BLEU_ROUGE.py
    python ablation/Metrics/BLEU_ROUGE.py --predictions result/demo/prior/predictions.jsonl \
        --references dataset/test_dataset.jsonl

The original's own files are read too: results of `swift infer` and the instruction lines they answer. Unlike there, a
missing answer counts as wrong. All metrics with intervals: test/score_answers.py.
"""

import sys

from _command import run


def main() -> int:
    """Parse, score, print."""
    return run(__doc__, ("bleu", "rouge1"))


if __name__ == "__main__":
    sys.exit(main())
