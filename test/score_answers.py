"""Score answers against the true ones: metrics.csv, metrics.md, confusion matrices and report.html.

    python test/score_answers.py
    python test/score_answers.py --references dataset/test_dataset.jsonl --out result/demo --profiles all \
        --predictions result/demo/prior/predictions.jsonl result/demo/flow-probe/predictions.jsonl

Where no row of the references has a true answer, report.html shows answers and pictures without scores.

Several files of predictions become several runs of one table and one report; differences are to the first. Several
files of references are scored together, such as both test sets of the challenge.
"""

from megc.command import Work, run
from megc.scoring.settings import ScoreSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.scoring.report import score_files

    return score_files


if __name__ == "__main__":
    run(__doc__, ScoreSettings, main)
