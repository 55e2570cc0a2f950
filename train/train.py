"""Fine-tune a Qwen2.5-VL checkpoint on an instruction JSONL.

    python train/train.py --config train/tiny.yaml
    python train/train.py --config train/tiny.yaml --max_steps 50 --output_dir checkpoints/short
    deepspeed --num_gpus 4 train/train.py --config train/qwen2_5_vl_7b.yaml
    python train/train.py --config train/qwen2_5_vl_7b.yaml --plan --gpus 4     # what it takes; nothing is loaded
    python train/train.py --show-sample 2                                       # what the model reads

The yaml file gives the defaults of the flags; every flag of --help may stand in it, and on the command line it wins.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import os
import sys
from argparse import SUPPRESS, ArgumentParser
from dataclasses import fields
from pathlib import Path

from transformers import HfArgumentParser, TrainingArguments

from megc.command import run_command
from megc.model import distributed
from megc.model.versions import check_versions
from megc.planning.plan import plan
from megc.planning.show import show_samples
from megc.training.settings import SftSettings, read_config, training_defaults
from megc.training.sft import train

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Parse, train, say what went wrong."""
    first = ArgumentParser(add_help=False)
    first.add_argument("--config", default=SUPPRESS, help="yaml file of settings; without it, tiny.yaml beside this")
    config = vars(first.parse_known_args()[0]).get("config", HERE / "tiny.yaml")
    parser = HfArgumentParser((SftSettings, TrainingArguments), description=__doc__.split("\n\n")[0], parents=[first])
    known = {field.name for kind in (SftSettings, TrainingArguments) for field in fields(kind)}
    parser.set_defaults(**{**training_defaults(), **read_config(config, known)})
    values = vars(parser.parse_args())
    values.pop("config", None)
    check_versions()
    zero = values["deepspeed"]
    if values["plan"] or values["show_sample"]:
        values["deepspeed"] = None  # it would ask for processes
        settings, args = parser.parse_dict(values)
        distributed.print_main(plan(settings, args, zero) if settings.plan else show_samples(settings, args.seed))
        return 0
    if zero or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        distributed.before_deepspeed()
    with distributed.lock_output(values["output_dir"]):  # before processes meet: a refusal leaves none waiting
        train(*parser.parse_dict(values))
    return 0


if __name__ == "__main__":
    code = run_command(main, stopped="Stopped. --resume goes on from the last checkpoint with states, or begins anew.")
    distributed.end_process(code)
    sys.exit(code)
