"""Optical flow from onset to apex of every clip, without the head's motion, as a field and as a picture.

    python data_process/compute_flow.py                         # the demo set
    python data_process/compute_flow.py --frames dataset/frames --out dataset/flow --workers 8
    python data_process/compute_flow.py --method tvl1-original --compensate nose --encoding minmax-blend \\
        --out dataset/flow_original

Writes `<out>/<clip id>.npy` (float16, pixels, x right, y down), `<clip id>.png` and `flow.json` (the settings and
the legend in words). A clip that is finished is not done again, unless a setting or its frames changed.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.command import run_command
from megc.motion.colour import DEFAULT_ENCODING, ENCODINGS, SCALE
from megc.motion.flow import COMPENSATIONS, DEFAULT_COMPENSATION, DEFAULT_METHOD, METHODS
from megc.motion.flow_files import MASKS, FlowSettings, compute_all
from megc.problems import Problems

DEMO = Path("dataset/demo")


def main() -> int:
    """Parse, compute, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--frames", type=Path, default=DEMO / "frames", help="key frames to read")
    parser.add_argument("--out", type=Path, default=DEMO / "flow", help="folder to write")
    parser.add_argument("--method", choices=list(METHODS), default=DEFAULT_METHOD, help="optical flow")
    parser.add_argument(
        "--compensate", choices=list(COMPENSATIONS), default=DEFAULT_COMPENSATION, help="removal of head motion"
    )
    parser.add_argument("--encoding", choices=list(ENCODINGS), default=DEFAULT_ENCODING, help="picture of the field")
    parser.add_argument("--scale", type=float, default=SCALE, help="pixels of motion at full colour")
    parser.add_argument("--mask", choices=MASKS, default="face", help="draw the motion of the face only, or all")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="do finished clips again")
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 even if some clips failed")
    args = parser.parse_args()
    if not args.scale > 0:
        parser.error("--scale must be positive")
    problems = Problems()
    settings = FlowSettings(args.method, args.compensate, args.encoding, args.scale, args.mask)
    counts = compute_all(args.frames, args.out, settings, problems, args.workers, args.overwrite)
    counts["with warnings"] = len(problems.warnings)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), f"in {args.out}")
    problems.report()
    return problems.exit_code(args.skip_bad)


if __name__ == "__main__":
    sys.exit(run_command(main))
