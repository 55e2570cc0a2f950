"""Check clips and instruction files: order of frames, labels, pictures, duplicates, subjects on both sides.

    python data_process/check_dataset.py
    python data_process/check_dataset.py --clips dataset/CASME2/clips.jsonl --train TRAIN.jsonl --test TEST.jsonl

Each finding names file and row and says what to do; the exit code is 1 when there is any.
"""

from megc.command import Work, run
from megc.vqa.settings import CheckSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.checks import check_dataset

    return check_dataset


if __name__ == "__main__":
    run(__doc__, CheckSettings, main)
