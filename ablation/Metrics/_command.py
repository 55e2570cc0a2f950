"""What the two metric commands have in common: their arguments, and the table of some metrics."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from megc.problems import DataError, Problems
from megc.scoring.runs import choose_predictions, read_references, read_runs
from megc.scoring.tables import metric_table
from megc.scoring.vqa_metrics import PROFILES


def run(description: str, metrics: Sequence[str]) -> int:
    """Parse, score, print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=description.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    words = "rows with answers (None: those in result/demo that answer this test set)"
    parser.add_argument("--predictions", nargs="+", type=Path, help=words)
    parser.add_argument("--references", type=Path, default=Path("dataset/test_dataset.jsonl"), help="answered rows")
    parser.add_argument("--profile", choices=PROFILES, default="tie", help="how to score")
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 although answers or rows are bad")
    args = parser.parse_args()
    problems = Problems()
    try:
        references = read_references(args.references, problems)
        paths, left_out = (args.predictions, []) if args.predictions else choose_predictions("result/demo", references)
        runs = read_runs(paths, None, references, problems)
        print(metric_table(references, runs, metrics, args.profile))
        for line in left_out:
            print(f"left out: {line}")
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    problems.report()
    return problems.exit_code(args.skip_bad)
