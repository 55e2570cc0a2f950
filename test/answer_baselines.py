"""Answer questions without a language model: by the training answers' priors, or by a linear probe of the flow.

    python test/answer_baselines.py
    python test/answer_baselines.py --baseline all --out result/demo
    python test/answer_baselines.py --baseline flow-probe --features picture --leave-one-subject-out \
        --test dataset/real_casme2/instructions.jsonl --out result/real_casme2/flow-probe/predictions.jsonl
    python test/answer_baselines.py --evidence dataset/evidence.jsonl

`prior`: what was right most often; `prior-sampled`: the labels of a training clip, drawn for each clip, which go
together (its score is the mean over --draws); `flow-probe`: regressions on the pooled flow. Score the answers with
test/score_answers.py. --evidence writes the flow probe's calibrated probabilities of each clip instead: those of
training clips from other subjects only.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.baselines.answer import BASELINES, answer_files
from megc.baselines.evidence import write_evidence
from megc.baselines.features import SOURCES
from megc.baselines.prior import DRAWS
from megc.command import run_command


def main() -> int:
    """Parse, answer, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    words = "`all` answers by each, and --out is then a folder"
    parser.add_argument("--baseline", choices=[*BASELINES, "all"], default="prior", help=words)
    parser.add_argument("--train", type=Path, default=Path("dataset/train_dataset.jsonl"), help="to learn from")
    parser.add_argument("--test", type=Path, default=Path("dataset/test_dataset.jsonl"), help="to answer")
    words = "predictions (None: result/demo/<baseline>/predictions.jsonl)"
    parser.add_argument("--out", type=Path, help=words)
    words = (
        "the probe reads the .npy field beside the flow picture, the picture, or the picture less its median colour"
    )
    parser.add_argument("--features", choices=SOURCES, default="flow", help=words)
    words = "answer each subject of --test from its other subjects; --train is not read"
    parser.add_argument("--leave-one-subject-out", action="store_true", help=words)
    parser.add_argument("--seed", type=int, default=0, help="of prior-sampled, and of the folds of --evidence")
    parser.add_argument("--draws", type=int, default=DRAWS, help="sets of answers of prior-sampled")
    parser.add_argument("--evidence", type=Path, help="write the probe's probabilities here; answer nothing")
    args = parser.parse_args()
    folder = Path("result/demo")
    out = args.out or (folder if args.baseline == "all" else folder / args.baseline / "predictions.jsonl")
    options = {"source": args.features, "loso": args.leave_one_subject_out, "seed": args.seed}
    if args.evidence:
        print(write_evidence(args.train, args.test, args.evidence, **options))
    else:
        print(answer_files(args.baseline, args.train, args.test, out, **options, draws=args.draws))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
