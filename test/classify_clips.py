"""Classify clips with a trained VideoMAE or LGI-Former; UAR and WAR with their intervals.

    python test/classify_clips.py --model checkpoints/videomae_tiny
    python test/classify_clips.py --model checkpoints/mae_dfer_dfew --clips dfew/split01/test.csv --crop dfew_jpg_256

A killed run goes on with the same command.
"""

from megc.command import Work, run
from megc.spotting.settings import ClassifyClipsSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.clip_classification import classify_clips

    return classify_clips


if __name__ == "__main__":
    run(__doc__, ClassifyClipsSettings, main)
