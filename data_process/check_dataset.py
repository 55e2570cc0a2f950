"""Check clips and instruction files: order of frames, labels, pictures, duplicates, subjects on both sides.

    python data_process/check_dataset.py
    python data_process/check_dataset.py --clips dataset/CASME2/clips.jsonl --train TRAIN.jsonl --test TEST.jsonl

Each finding names file and row and says what to do; the exit code is 1 when there is any.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.clips import read_clips
from megc.command import run_command
from megc.problems import Problems
from megc.vqa.checks import check_clips, check_records, check_splits


def main() -> int:
    """Parse, check, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--clips", type=Path, default=Path("dataset/demo/clips.jsonl"))
    parser.add_argument("--train", type=Path, default=Path("dataset/train_dataset.jsonl"))
    parser.add_argument("--test", type=Path, default=Path("dataset/test_dataset.jsonl"))
    args = parser.parse_args()
    problems, checked = Problems(), []
    with problems.collect():
        clips = read_clips(args.clips)
        check_clips(clips, args.clips, problems)
        checked.append(f"{len(clips)} clips")
    sides = []
    for path in (args.train, args.test):
        with problems.collect():
            sides.append(check_records(path, problems))
            checked.append(f"{len(sides[-1])} rows of {path}")
    if len(sides) == 2:
        check_splits(*sides, (str(args.train), str(args.test)), problems)
    print(f"checked {', '.join(checked) or 'nothing'}: {len(problems)} problem(s)")
    problems.report()
    return problems.exit_code()


if __name__ == "__main__":
    sys.exit(run_command(main))
