"""Answer questions without a language model: by the training answers' priors, or by a linear probe of the flow.

    python test/answer_baselines.py
    python test/answer_baselines.py --baseline flow-probe --out result/demo/flow-probe/predictions.jsonl
    python test/answer_baselines.py --baseline flow-probe --features picture --leave-one-subject-out \
        --test dataset/real_casme2/instructions.jsonl --out result/real_casme2/flow-probe/predictions.jsonl

Score the answers with test/score_answers.py.
"""

import argparse
import sys
from pathlib import Path

from megc.baselines import BASELINES, SOURCES, answer_files
from megc.problems import DataError


def main() -> int:
    """Parse, answer, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--baseline", choices=BASELINES, default="prior")
    parser.add_argument("--train", type=Path, default=Path("dataset/train_dataset.jsonl"), help="to learn from")
    parser.add_argument("--test", type=Path, default=Path("dataset/test_dataset.jsonl"), help="to answer")
    parser.add_argument("--out", type=Path, default=Path("result/demo/prior/predictions.jsonl"))
    words = "the probe reads the .npy field beside the flow picture, or the picture itself"
    parser.add_argument("--features", choices=SOURCES, default="flow", help=words)
    words = "answer each subject of --test from its other subjects; --train is not read"
    parser.add_argument("--leave-one-subject-out", action="store_true", help=words)
    args = parser.parse_args()
    try:
        options = {"source": args.features, "loso": args.leave_one_subject_out}
        print(answer_files(args.baseline, args.train, args.test, args.out, **options))
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
