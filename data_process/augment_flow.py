"""Add turned, scaled, moved, mirrored and roughened copies of each clip's flow picture to a training file.

    python data_process/augment_flow.py --train dataset/train_dataset.jsonl --out dataset/train_augmented.jsonl
    python data_process/augment_flow.py --copies 8 --mixed 1500

For training files that ask with the flow picture alone. Left-or-right answers change with the mirror. Never augment
what you test on.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.files import lock_folder
from megc.vqa.augment import AugmentSettings, augment_file


def main() -> int:
    """Parse, augment, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    settings = AugmentSettings()
    parser.add_argument("--train", type=Path, default=Path("dataset/train_dataset.jsonl"), help="to be read")
    parser.add_argument("--out", type=Path, default=Path("dataset/train_augmented.jsonl"), help="in the same folder")
    parser.add_argument("--copies", type=int, default=settings.copies, help="of each clip, half of them mirrored")
    words = "pictures that mix two or three clips of one fine class and ask for the classes only"
    parser.add_argument("--mixed", type=int, default=settings.mixed, help=words)
    parser.add_argument("--seed", type=int, default=settings.seed)
    args = parser.parse_args()
    with lock_folder(args.out.parent, f"augment.{args.out.stem}"):
        print(augment_file(args.train, args.out, AugmentSettings(args.copies, args.mixed, args.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
