"""Write the training side of a fold for an ablation, frozen with its split.

    python ablation/set_train_dataset.py
    python ablation/set_train_dataset.py --protocol loso --fold 3 --train dataset/ablation_train.jsonl

The program is train/set_train_dataset.py with other defaults.
"""

from megc.command import Work, run
from megc.vqa.settings import AblationTrainSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.build import write_split

    return write_split


if __name__ == "__main__":
    run(__doc__, AblationTrainSettings, main)
