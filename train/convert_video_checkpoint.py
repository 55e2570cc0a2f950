"""Convert a published checkpoint of VideoMAE, MAE-DFER or MEGC2023's winner to a folder of this project.

    python train/convert_video_checkpoint.py --source checkpoint-49.pth --output_dir checkpoints/mae_dfer
    python train/convert_video_checkpoint.py --source videomae-base --output_dir checkpoints/videomae --image_size 160

Pickles are read for their tensors alone; nothing in them runs. The folder has safetensors.
"""

from megc.command import Work, run
from megc.spotting.settings import ConvertVideoSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.video_conversion import convert_checkpoint

    return convert_checkpoint


if __name__ == "__main__":
    run(__doc__, ConvertVideoSettings, main)
