"""UF1 and UAR of the coarse and the fine class, as the original project computes them (profile `tie`).

    python ablation/Metrics/F1_UAR.py
    python ablation/Metrics/F1_UAR.py --predictions result/demo/prior/predictions.jsonl \
        --references dataset/test_dataset.jsonl

Unlike the original, a missing answer counts as wrong. All metrics with intervals: test/score_answers.py.
"""

import argparse
import sys
from pathlib import Path

from megc.problems import DataError, Problems
from megc.scoring.metrics import PROFILES
from megc.scoring.pairs import find_predictions, read_references, read_runs
from megc.scoring.tables import metric_table


def main() -> int:
    """Parse, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--predictions", nargs="+", type=Path, help="rows with answers (None: all in result/demo)")
    parser.add_argument("--references", type=Path, default=Path("dataset/test_dataset.jsonl"), help="answered rows")
    parser.add_argument("--profile", choices=PROFILES, default="tie", help="how to score")
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 although answers or rows are bad")
    args = parser.parse_args()
    problems = Problems()
    try:
        references = read_references(args.references, problems)
        runs = read_runs(args.predictions or find_predictions("result/demo"), None, references, problems)
        print(metric_table(references, runs, ("uf1_coarse", "uar_coarse", "uf1_fine", "uar_fine"), args.profile))
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    problems.report()
    return problems.exit_code(args.skip_bad)


if __name__ == "__main__":
    sys.exit(main())
