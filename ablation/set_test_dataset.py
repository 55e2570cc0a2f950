"""Write the test side of a fold for an ablation, frozen with its split.

    python ablation/set_test_dataset.py
    python ablation/set_test_dataset.py --protocol loso --fold 3 --test dataset/ablation_test.jsonl

The program is train/set_train_dataset.py with other defaults.
"""

from megc.command import Work, run
from megc.vqa.settings import AblationTestSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.vqa.build import write_split

    return write_split


if __name__ == "__main__":
    run(__doc__, AblationTestSettings, main)
