"""Split the instructions by subject and write the training and the test side.

    python train/set_train_dataset.py
    python train/set_train_dataset.py --instructions dataset/CASME2/instructions.jsonl dataset/SAMM/instructions.jsonl
    python train/set_train_dataset.py --protocol kfold --folds 5 --fold 2
    python train/set_train_dataset.py --hierarchy coarse

Several files are put together. The split is frozen beside each side as `<name>.split.json`. A hierarchy asks in two
stages: training prompts name the clip's true coarse class, test prompts the one that the model answered.
"""

from megc.command import Work, run
from megc.vqa.settings import SplitSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.build import write_split

    return write_split


if __name__ == "__main__":
    run(__doc__, SplitSettings, main)
