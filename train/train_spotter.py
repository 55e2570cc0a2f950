"""Train a spotter on long videos: which kind, and with what settings, a yaml file says.

    python train/train_spotter.py --config train/mean.yaml --output_dir checkpoints/mean --leave_out samm_lv/006
    python train/train_spotter.py --config train/mean.yaml --set epochs=2 --output_dir checkpoints/short

Nothing is learnt from the subjects that are left out. A killed run goes on with the same command.
"""

from megc.command import Work, run
from megc.spotting.settings import TrainSpotterSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.spotters import train_from_file

    return train_from_file


if __name__ == "__main__":
    run(__doc__, TrainSpotterSettings, main)
