"""Reason over stored answers: make a clip's answers agree with each other and with what is known.

    python test/reason_answers.py --reason joint compose
    python test/reason_answers.py --predictions result/test_7b/predictions.jsonl --train dataset/train_dataset.jsonl \
        --reason number shown learnt-rules joint compose --out result/test_7b_reasoned

Works on any predictions in the challenge's format; likelihoods and votes are used where rows have them.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.reasoning.agreement import OPTIONS, reason_file


def main() -> int:
    """Parse, reason, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="; ".join(f"{name}: {words}" for name, words in OPTIONS.items()),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = Path("result/demo/tiny/predictions.jsonl")
    parser.add_argument("--predictions", type=Path, default=default, help="rows with answers")
    words = "what to apply; always in the order listed below"
    parser.add_argument("--reason", nargs="+", choices=OPTIONS, default=["joint", "compose"], help=words)
    parser.add_argument("--train", type=Path, help="answered rows of training subjects, to learn from")
    parser.add_argument("--out", type=Path, default=Path("result/demo/reasoned"), help="folder of predictions.jsonl")
    args = parser.parse_args()
    print(reason_file(args.predictions, args.out, args.reason, args.train))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
