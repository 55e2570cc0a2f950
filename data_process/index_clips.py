"""Index annotated micro-expressions: spreadsheets and frame folders in, `clips.jsonl` out.

    python data_process/index_clips.py                      # the two demo datasets
    python data_process/index_clips.py \\
        --dataset casme2 --annotations dataset/CASME2/CASME2-coding-20190701.xlsx --frames dataset/CASME2 \\
        --dataset samm --annotations dataset/SAMM/SAMM_Micro_FACS_Codes_v2.xlsx --frames dataset/SAMM \\
        --out dataset/clips.jsonl
    python data_process/index_clips.py --dataset auto --frames dataset/CASME2 --out dataset/clips.jsonl --report
    python data_process/index_clips.py --dataset unlabelled --frames dataset/ME_VQA_MEGC_2025_Test \\
        --out dataset/test_clips.jsonl
    python data_process/index_clips.py --dataset events --annotations events.csv --out dataset/long/clips.jsonl

Each `--dataset` starts a dataset; the `--annotations`, `--frames` and `--emotions` behind it are its own. `auto`
recognises it by its files, and says by which; a sheet that lies beside the frames need not be named then. Without
`--frames` only the annotations are read. Long videos and their events go to `videos.jsonl` beside --out. Frames must
lie below the folder of `--out` (a symbolic link will do). `--report` prints counts beside the published ones, repairs,
missing frames and rows left out; all of it goes to `index_report.md` beside --out.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.datasets.index import DatasetSource, index_sources
from megc.datasets.readers import LONG_READERS, READERS
from megc.datasets.recognition import AUTO
from megc.problems import Problems

DEMO = Path("dataset/demo")
DEMO_SOURCES = [
    DatasetSource("casme2", DEMO / "CASME2/CASME2-coding-20190701.xlsx", DEMO / "CASME2"),
    DatasetSource("samm", DEMO / "SAMM/SAMM_Micro_FACS_Codes_v2.xlsx", DEMO / "SAMM"),
]


class SourceAction(argparse.Action):
    """`--dataset` starts a DatasetSource; the others fill the last one."""

    def __call__(self, parser, namespace, value, option=None):
        namespace.sources = list(namespace.sources or [])
        if self.dest == "dataset":
            namespace.sources.append(DatasetSource(value))
        elif not namespace.sources:
            parser.error(f"{option} belongs behind a --dataset")
        else:
            setattr(namespace.sources[-1], self.dest, value)


def main() -> int:
    """Parse, index, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--dataset",
        action=SourceAction,
        choices=[*dict.fromkeys((*READERS, *LONG_READERS)), AUTO],
        default=argparse.SUPPRESS,
        help="starts a dataset; repeatable; auto: recognise it",
    )
    parser.add_argument(
        "--annotations",
        action=SourceAction,
        type=Path,
        default=argparse.SUPPRESS,
        help="its sheet (.xlsx, .xls, .csv)",
    )
    parser.add_argument(
        "--frames",
        action=SourceAction,
        type=Path,
        default=argparse.SUPPRESS,
        help="its frames: the folder of the subjects, or above",
    )
    parser.add_argument(
        "--emotions",
        action=SourceAction,
        type=Path,
        default=argparse.SUPPRESS,
        help="a sheet with the emotions of its events, where its own has none (of samm_lv: SAMM's)",
    )
    parser.add_argument("--out", type=Path, default=DEMO / "clips.jsonl", help="file to write")
    parser.add_argument(
        "--repairs", default="", help="none: the sheets as released; a name: this set of repairs too, such as megc2020"
    )
    parser.add_argument(
        "--report", action="store_true", help="print all counts, repairs and rows left out; write index_report.md"
    )
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 even if some rows were unusable")
    parser.set_defaults(sources=None)
    args = parser.parse_args()
    problems = Problems()
    try:
        print(index_sources(args.sources or DEMO_SOURCES, args.out, problems, args.repairs, args.report))
    finally:
        problems.report()
    return problems.exit_code(args.skip_bad)


if __name__ == "__main__":
    sys.exit(run_command(main))
