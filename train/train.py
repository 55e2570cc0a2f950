"""Fine-tune a Qwen2.5-VL checkpoint on an instruction JSONL.

    python train/train.py --config train/tiny.yaml
    python train/train.py --config train/tiny.yaml --max_steps 50 --output_dir checkpoints/short
    deepspeed --num_gpus 4 train/train.py --config train/qwen2_5_vl_7b.yaml
    python train/train.py --config train/qwen2_5_vl_7b.yaml --plan --gpus 4     # what it takes; nothing is loaded
    python train/train.py --config train/qwen2_5_vl_7b.yaml --plan --clips 278 --gpu a100   # and before there is data
    python train/train.py --show-sample 2                                       # what the model reads

The yaml file gives the defaults of the flags; every flag of --help-all may stand in it, and on the command line it
wins.
"""

import megc.interrupts as interrupts  # first: Ctrl-C while the rest is imported

from pathlib import Path

from megc.command import leave, run_command
from megc.training.settings import parse_flags

STOPPED = "Stopped. --resume goes on from the last checkpoint with states, or begins anew."


def main() -> int:
    """Parse, then plan, show samples, or train."""
    flags = parse_flags(__doc__.split("\n\n")[0], Path(__file__).resolve().with_name("tiny.yaml"))
    if flags is None:
        return 0
    from megc.model.distributed import print_main
    from megc.model.versions import check_versions
    from megc.planning.plan import plan
    from megc.planning.show import show_samples
    from megc.training.sft import train_locked

    interrupts.imports_done()
    check_versions()
    if flags.values["plan"]:
        print_main(plan(*flags.settings(deepspeed=None), flags.values["deepspeed"]))
    elif flags.values["show_sample"]:
        settings, args = flags.settings(deepspeed=None)
        print_main(show_samples(settings, args.seed))
    else:
        train_locked(flags)
    return 0


if __name__ == "__main__":
    leave(run_command(main, STOPPED, importing=True))
