"""Optical flow from onset to apex of every clip, without the head's motion, as a field and as a picture.

    python data_process/compute_flow.py                         # the demo set
    python data_process/compute_flow.py --frames dataset/frames --out dataset/flow --workers 8
    python data_process/compute_flow.py --method tvl1-original --compensate nose --encoding minmax-blend \\
        --out dataset/flow_original

Writes `<out>/<clip id>.npy` (float16, pixels, x right, y down), `<clip id>.png` and `flow.json` (the settings and
the legend in words). A clip that is finished is not done again, unless a setting or its frames changed.
"""

from megc.command import Work, run
from megc.motion.settings import ComputeFlowSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.motion.flow_files import compute_flow

    return compute_flow


if __name__ == "__main__":
    run(__doc__, ComputeFlowSettings, main)
