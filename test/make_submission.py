"""Write the challenge's submission files from predictions, and check them against the question files.

    python test/make_submission.py --predictions result/test_7b/predictions.jsonl \
        --questions me_vqa_casme3_test_to_answer.jsonl me_vqa_samm_test_to_answer.jsonl --zip submission.zip

Each `NAME_to_answer.jsonl` makes a `NAME_pred.jsonl` with the same rows and keys, in the same order (MEGC 2025, and
`…_v2_…` of 2026). Every missing, empty or disallowed answer is named, and then the exit code is 1.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.problems import DataError, Problems
from megc.vqa.submission import make_submission


def main() -> int:
    """Parse, write, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    words = "rows with answers; one or several files"
    parser.add_argument("--predictions", nargs="+", type=Path, required=True, help=words)
    words = "the organisers' files, NAME_to_answer.jsonl"
    parser.add_argument("--questions", nargs="+", type=Path, required=True, help=words)
    parser.add_argument("--out", type=Path, default=Path("result/submission"), help="folder of the files")
    parser.add_argument("--zip", type=Path, help="also pack the files, when nothing is wrong with them")
    args = parser.parse_args()
    problems = Problems()
    try:
        print(make_submission(args.predictions, args.questions, args.out, problems, args.zip))
    except DataError:
        problems.report(limit=1000)
        raise
    problems.report(limit=1000)
    return problems.exit_code()


if __name__ == "__main__":
    sys.exit(run_command(main))
