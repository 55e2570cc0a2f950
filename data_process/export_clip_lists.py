"""Write clips and their classes as VideoMAE and MAE-DFER read them: train.csv, val.csv and test.csv, by subject.

    python data_process/export_clip_lists.py
    python data_process/export_clip_lists.py --clips dataset/CASME2/clips.jsonl --classes fine --out dataset/casme2

A line is a path and the number of a class; classes.json has the names.
"""

from megc.command import Work, run
from megc.spotting.settings import ExportClipListsSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.clip_lists import export_clip_lists

    return export_clip_lists


if __name__ == "__main__":
    run(__doc__, ExportClipListsSettings, main)
