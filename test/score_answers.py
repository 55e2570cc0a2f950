"""Score answers against the true ones: metrics.csv, metrics.md, confusion matrices and report.html.

    python test/score_answers.py
    python test/score_answers.py --references dataset/test_dataset.jsonl --out result/demo --profiles all \
        --predictions result/demo/prior/predictions.jsonl result/demo/flow-probe/predictions.jsonl

Several files of predictions become several runs of one table and one report; differences are to the first.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.problems import Problems
from megc.scoring.bootstrap import RESAMPLES
from megc.scoring.report import CARDS, score_runs
from megc.scoring.runs import choose_predictions, read_references, read_runs
from megc.scoring.vqa_metrics import PROFILES


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    words = "rows with answers (None: those below --out that answer this test set)"
    parser.add_argument("--predictions", nargs="+", type=Path, help=words)
    parser.add_argument("--references", type=Path, default=Path("dataset/test_dataset.jsonl"), help="answered rows")
    parser.add_argument("--out", type=Path, default=Path("result/demo"), help="folder of table, plots and report")
    parser.add_argument("--names", nargs="+", help="a name for each file (None: its folder's)")
    words = "how to score, side by side; the report marks by the first"
    flags = {"dest": "profiles", "nargs": "+", "choices": [*PROFILES, "all"], "default": ["megc2025"], "help": words}
    parser.add_argument("--profile", "--profiles", **flags)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--cards", type=int, default=CARDS, help="clips shown in the report at most")
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 although answers or rows are bad")
    args = parser.parse_args()

    chosen = list(PROFILES) if "all" in args.profiles else args.profiles
    problems = Problems()
    references = read_references(args.references, problems)
    paths, left_out = (args.predictions, []) if args.predictions else choose_predictions(args.out, references)
    runs = read_runs(paths, args.names, references, problems)
    print(score_runs(args.out, references, runs, chosen, args.resamples, args.seed, args.cards))
    for line in left_out:
        print(f"left out: {line}")
    problems.report()
    return problems.exit_code(args.skip_bad)


if __name__ == "__main__":
    sys.exit(run_command(main))
