"""Write thousands of small synthetic flow pictures with questions on their action units, to pretrain on.

    python data_process/make_flow_set.py
    python train.py --train_file dataset/synthetic_flow/instructions.jsonl --output_dir checkpoints/flow_pretrained \\
        --min_pixels 12544 --max_pixels 12544 --max_steps 2500

Draw them in the encoding and size of the pictures to be trained on next. No label or picture of any dataset is used.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.files import lock_folder
from megc.motion.colour import ENCODINGS
from megc.synthesis.flow_set import FlowSetSettings, write_flow_set


def main() -> int:
    """Parse, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    settings = FlowSetSettings()
    encodings = [name for name in ENCODINGS if name != "minmax-blend"]  # it needs a face below the flow
    parser.add_argument("--out", type=Path, default=Path("dataset/synthetic_flow"), help="folder to write")
    parser.add_argument("--clips", type=int, default=settings.clips, help="number of pictures")
    parser.add_argument("--size", type=int, default=settings.size, help="pixels a side")
    parser.add_argument("--encoding", choices=encodings, default=settings.encoding, help="of the pictures")
    parser.add_argument("--pairs", type=int, default=settings.pairs, help="pairs of yes/no questions a picture")
    parser.add_argument("--bare", action="store_true", help="ask without system prompt, legend and regions")
    parser.add_argument("--seed", type=int, default=settings.seed, help="another seed, other pictures")
    args = vars(parser.parse_args())
    out = args.pop("out")
    with lock_folder(out, "flow_set"):
        print(write_flow_set(out, FlowSetSettings(structured=not args.pop("bare"), **args)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
