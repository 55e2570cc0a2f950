"""Write the synthetic demo set: micro-expressions with known motion, in the layouts of CASME II and SAMM.

    python data_process/make_demo_dataset.py

writes `dataset/demo`: spreadsheets, frames, `true_flow/`, `truth.jsonl`, `demo.json`. Clips that are there already
are kept. A set that is hard for optical flow: `--amplitude 0.55 --drift 2 --noise 2 --out dataset/demo_hard`.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import os
import sys
from pathlib import Path

from megc.command import run_command
from megc.synthesis.demo_set import DemoSettings, write_demo
from megc.synthesis.scenes import Difficulty


def main() -> int:
    """Parse, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    settings, difficulty = DemoSettings(), Difficulty()
    parser.add_argument("--out", type=Path, default=Path("dataset/demo"), help="folder to write")
    parser.add_argument("--seed", type=int, default=settings.seed, help="another seed, other people and clips")
    parser.add_argument("--casme2-subjects", type=int, default=settings.casme2_subjects, help="at most 99")
    parser.add_argument("--samm-subjects", type=int, default=settings.samm_subjects, help="at most 31")
    parser.add_argument("--clips", type=int, default=settings.clips, help="clips of each subject")
    parser.add_argument("--every", type=int, default=settings.every, help="write each n-th frame; 1 writes all")
    parser.add_argument("--samm-size", type=int, default=settings.samm_width, help="width of SAMM frames; real: 960")
    parser.add_argument("--others", type=float, default=settings.others, help="share of clips labelled others")
    parser.add_argument("--amplitude", type=float, default=difficulty.amplitude, help="median peak motion, px")
    parser.add_argument("--spread", type=float, default=difficulty.spread, help="spread of its logarithm")
    parser.add_argument("--variation", type=float, default=difficulty.variation, help="differences between subjects")
    parser.add_argument("--drift", type=float, default=difficulty.drift, help="factor of head motion")
    parser.add_argument("--noise", type=float, default=difficulty.noise, help="factor of sensor noise")
    parser.add_argument("--blink", type=float, default=difficulty.blink, help="share of clips with a blink")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; results do not change")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier demo set in the folder first")
    args = parser.parse_args()
    difficulty = Difficulty(args.amplitude, args.spread, args.variation, args.drift, args.noise, args.blink)
    size = (args.seed, args.casme2_subjects, args.samm_subjects, args.clips, args.every, args.samm_size)
    settings = DemoSettings(*size, args.others, difficulty)
    specs = write_demo(args.out, settings, args.workers, args.overwrite)
    subjects = {spec.id.rsplit("/", 1)[0] for spec in specs}
    print(f"{len(specs)} clips of {len(subjects)} synthetic subjects in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
