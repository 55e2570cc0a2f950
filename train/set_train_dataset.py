"""Split the instructions by subject and write the training and the test side.

    python train/set_train_dataset.py
    python train/set_train_dataset.py --instructions dataset/CASME2/instructions.jsonl dataset/SAMM/instructions.jsonl
    python train/set_train_dataset.py --protocol kfold --folds 5 --fold 2

Several files are put together. The split is frozen beside each side as `<name>.split.json`.
"""

from megc.command import Work, run
from megc.vqa.settings import SplitSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.build import split_dataset

    return split_dataset


if __name__ == "__main__":
    run(__doc__, SplitSettings, main)
