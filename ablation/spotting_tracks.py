"""Spotting on real curves of motion and on published proposals, leaving one subject out: tracks.csv, tracks.md.

    python ablation/spotting_tracks.py --data ../shared/real/spotting
    python ablation/spotting_tracks.py --data ../shared/real/spotting --tracks signal --datasets samm_lv

Takes minutes on one core. The data (annotations, the MEGC2020 baseline's curves, published predictions; no faces) are
not part of the repository.
"""

from megc.command import Work, run
from megc.spotting.settings import TrackSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.tracks import run_tracks

    return run_tracks


if __name__ == "__main__":
    run(__doc__, TrackSettings, main)
