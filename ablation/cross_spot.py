"""Spotters side by side on long videos, each subject spotted in by spotters that never saw it: spotting.csv.

    python ablation/cross_spot.py --jobs 2
    python ablation/cross_spot.py --only flow MEAN --out result/spotters
    python ablation/cross_spot.py --videos dataset/long/videos.jsonl --inputs dataset/long --protocol loso

The arms stand in ablation/spotting.yaml. What is trained is kept by its settings, subjects and code: a run that was
stopped goes on, and another arm with the same spotter shares it. Rows of random intervals and of priors are added.
"""

from megc.ablation.settings import CrossSpotSettings
from megc.command import Work, run


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.ablation.cross_spotting import cross_spot

    return cross_spot


if __name__ == "__main__":
    run(__doc__, CrossSpotSettings, main)
