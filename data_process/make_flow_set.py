"""Write thousands of small synthetic flow pictures with questions on their action units, to pretrain on.

    python data_process/make_flow_set.py
    python train.py --train_file dataset/synthetic_flow/instructions.jsonl --output_dir checkpoints/flow_pretrained \\
        --min_pixels 12544 --max_pixels 12544 --max_steps 2500

Draw them in the encoding and size of the pictures to be trained on next. No label or picture of any dataset is used.
"""

from megc.command import Work, run
from megc.synthesis.settings import FlowSetSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.synthesis.flow_set import make_flow_set

    return make_flow_set


if __name__ == "__main__":
    run(__doc__, FlowSetSettings, main)
