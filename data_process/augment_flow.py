"""Add turned, scaled, moved, mirrored and roughened copies of each clip's flow picture to a training file.

    python data_process/augment_flow.py --train dataset/train_dataset.jsonl --out dataset/train_augmented.jsonl
    python data_process/augment_flow.py --copies 8 --mixed 1500

For training files that ask with the flow picture alone. Left-or-right answers change with the mirror. Never augment
what you test on.
"""

from megc.command import Work, run
from megc.vqa.settings import AugmentSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.augment import augment_flow

    return augment_flow


if __name__ == "__main__":
    run(__doc__, AugmentSettings, main)
