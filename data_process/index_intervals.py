"""Write intervals of long videos as clips, labelled by what they hold: what a model learns ME-STR from.

    python data_process/index_intervals.py --proposals result/long/flow.csv --inputs dataset/demo/long
    python data_process/extract_frames.py --clips dataset/demo/long/intervals/clips.jsonl \
        --out dataset/demo/long/intervals/frames --no-face centre
    python data_process/compute_flow.py --frames dataset/demo/long/intervals/frames \
        --out dataset/demo/long/intervals/flow
    python data_process/build_instructions.py --clips dataset/demo/long/intervals/clips.jsonl \
        --kinds interval_type coarse --out dataset/demo/long/intervals/instructions.jsonl

The events themselves, copies of them with other ends, and the proposals: those that miss every event hold none. The
questions join those of ME-VQA in train/set_train_dataset.py, so that one checkpoint answers both.
"""

from megc.command import Work, run
from megc.spotting.settings import IndexIntervalsSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.interval_clips import index_intervals

    return index_intervals


if __name__ == "__main__":
    run(__doc__, IndexIntervalsSettings, main)
