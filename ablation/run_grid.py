"""Train, answer and score the arms of a grid file: what is missing is done, what is done is kept.

    python ablation/run_grid.py                                   # the demo's grid; infer.sh calls this
    python ablation/run_grid.py --only "flow" "frames" --dry-run
    python ablation/run_grid.py --grid ablation/paper_baselines.yaml --set model=checkpoints/qwen2_5_vl_3b \\
        --set data.clips=dataset/CASME2/clips.jsonl --table result/paper_baselines.csv --work result/paper_baselines

Killed at any moment and started again, it goes on. A row for each arm, fold and seed goes to --table, the arms over
all of them, with intervals, to the file beside it that ends in `_pooled.csv`; the report to --work.
"""

from megc.ablation.settings import RunGridSettings
from megc.command import Work, run


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.ablation.grid import run_grid_file

    return run_grid_file


if __name__ == "__main__":
    run(__doc__, RunGridSettings, main)
