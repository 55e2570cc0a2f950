"""Score spotted intervals, and their emotions (ME-STR), against the annotated events of long videos: spotting.csv.

    python test/score_spotting.py --predictions result/spotted.csv --events dataset/videos.jsonl
    python test/score_spotting.py --events EVENTS.csv --videos VIDEOS.csv --profile all --out result/spotting \
        --predictions mine.csv theirs/cas_pred.csv

Several files become several runs of one table; differences are to the first. A folder of files is one run.
"""

from megc.command import Work, run
from megc.scoring.settings import SpottingScoreSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.scoring.str_evaluation import score_spotting_files

    return score_spotting_files


if __name__ == "__main__":
    run(__doc__, SpottingScoreSettings, main)
