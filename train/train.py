"""Fine-tune a Qwen2.5-VL checkpoint on an instruction JSONL.

    python train/train.py --config train/tiny.yaml
    python train/train.py --config train/tiny.yaml --max_steps 50 --output_dir checkpoints/short
    deepspeed --num_gpus 4 train/train.py --config train/qwen2_5_vl_7b.yaml
    python train/train.py --config train/qwen2_5_vl_7b.yaml --plan --gpus 4     # what it takes; nothing is loaded
    python train/train.py --show-sample 2                                       # what the model reads

The yaml file gives the defaults of the flags; every flag of --help-all may stand in it, and on the command line it
wins.
"""

import megc.interrupts as interrupts  # first: Ctrl-C while the rest is imported

import os
from argparse import SUPPRESS, ArgumentParser
from dataclasses import fields
from pathlib import Path

from megc.command import leave, run_command
from megc.problems import did_you_mean
from megc.training.settings import SftSettings, print_training_help, read_config, training_defaults

HERE = Path(__file__).resolve().parent
STOPPED = "Stopped. --resume goes on from the last checkpoint with states, or begins anew."


def main() -> int:
    """Parse, train, say what went wrong."""
    about = __doc__.split("\n\n")[0]
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", default=SUPPRESS, help="yaml file of settings; without it, tiny.yaml beside this")
    given, rest = first.parse_known_args()
    config = vars(given).get("config", HERE / "tiny.yaml")
    if {"-h", "--help"} & set(rest):
        print_training_help(about, config, vars(given).get("config", "train/tiny.yaml"))
        return 0
    from transformers import HfArgumentParser, TrainingArguments

    from megc.model import distributed
    from megc.model.versions import check_versions
    from megc.planning.plan import plan
    from megc.planning.show import show_samples
    from megc.training.sft import train

    interrupts.imports_done()
    kinds, own = (SftSettings, TrainingArguments), {"add_help": False, "allow_abbrev": False}
    parser = HfArgumentParser(
        kinds, description=about, parents=[first], usage="%(prog)s [--config FILE] [FLAGS]", **own
    )
    parser.add_argument("--help-all", "--help_all", action="help", help="show this help message and exit")
    known = {field.name for kind in kinds for field in fields(kind)}
    parser.set_defaults(**{**training_defaults(), **read_config(config, known)})
    arguments, unknown = parser.parse_known_args()
    if unknown:
        name = unknown[0].partition("=")[0].lstrip("-").replace("-", "_")
        parser.error(f"{unknown[0]}: no such flag; {did_you_mean(name, sorted(known), '--help-all lists all')}")
    values = vars(arguments)
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
    leave(run_command(main, STOPPED, importing=True))
