"""Check clips, long videos and instruction files before anything is trained on them.

    python data_process/check_dataset.py                        # the demo set
    python data_process/check_dataset.py --clips dataset/CASME2/clips.jsonl --train TRAIN.jsonl --test TEST.jsonl
    python data_process/check_dataset.py --train THEIRS.jsonl   # of another project: messages and images
    python data_process/check_dataset.py --test TEST.jsonl --checkpoint checkpoints/qwen2_5_vl_7b --strict

Each finding names file and row and says what to do; --out writes them all as CSV. The exit code is 1 when there is an
error, with --strict also when there is a warning, else 0.
"""

from megc.command import Work, run
from megc.vqa.settings import CheckSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.checks import check_dataset

    return check_dataset


if __name__ == "__main__":
    run(__doc__, CheckSettings, main)
