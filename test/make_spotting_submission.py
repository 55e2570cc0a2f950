"""Write the challenge's submission files of spotted intervals, cas_pred.csv and samm_pred.csv, and check them.

    python test/make_spotting_submission.py --predictions mine.csv --videos dataset/videos.jsonl --zip submission.zip
    python test/make_spotting_submission.py --predictions mine.csv --videos dataset/videos.jsonl --form spotting

Intervals that do not lie in their video, and rows of unknown videos, are named, and then the exit code is 1.
"""

from megc.command import Work, run
from megc.scoring.settings import SpottingSubmissionSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.scoring.interval_submission import write_spotting_submission

    return write_spotting_submission


if __name__ == "__main__":
    run(__doc__, SpottingSubmissionSettings, main)
