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

from megc.command import Work, run
from megc.datasets.settings import IndexSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.datasets.index import index_datasets

    return index_datasets


if __name__ == "__main__":
    run(__doc__, IndexSettings, main)
