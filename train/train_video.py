"""Pretrain VideoMAE or LGI-Former on clips, or fine-tune it to tell classes of clips apart.

    python train/train_video.py --config train/videomae_tiny.yaml                          # the demo's clips
    python train/train_video.py --config train/videomae_pretrain.yaml --train_file clips/train.csv
    deepspeed --num_gpus 4 train/train_video.py --config train/lgi_former.yaml --start_from checkpoints/mae_dfer
    python train/train_video.py --config train/lgi_former.yaml --plan --gpus 4             # nothing is loaded

The yaml file gives the defaults of the flags; every flag of --help-all may stand in it, and on the command line it
wins.
"""

import megc.interrupts as interrupts  # first: Ctrl-C while the rest is imported

from pathlib import Path

from megc.command import leave, run_command
from megc.spotting.settings import VideoHelp, VideoSettings
from megc.training.settings import parse_flags

STOPPED = "Stopped. --resume goes on from the last checkpoint with states, or begins anew."


def main() -> int:
    """Parse, then plan or train."""
    default = Path(__file__).resolve().with_name("videomae_tiny.yaml")
    flags = parse_flags(__doc__.split("\n\n")[0], default, VideoSettings, VideoHelp)
    if flags is None:
        return 0
    from megc.model.distributed import print_main
    from megc.model.versions import check_versions
    from megc.spotting.video_plan import plan_video
    from megc.spotting.video_training import train_locked

    interrupts.imports_done()
    check_versions()
    if flags.values["plan"]:
        print_main(plan_video(*flags.settings(deepspeed=None), flags.values["deepspeed"]))
    else:
        train_locked(flags)
    return 0


if __name__ == "__main__":
    leave(run_command(main, STOPPED, importing=True))
