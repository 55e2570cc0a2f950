"""Cut the key frames of every clip: onset, apex and offset, aligned once by the face of the onset frame.

    python data_process/extract_frames.py                       # the demo set
    python data_process/extract_frames.py --clips dataset/clips.jsonl --out dataset/frames --workers 8
    python data_process/extract_frames.py --source my_face.mp4 other_folder --out dataset/mine

Writes `<out>/<clip id>/{onset,apex,offset}.png` (280×336) and `align.json`. Where the apex is not annotated it is
spotted in the frames. A clip that is finished is not done again, unless a setting or its row changed.
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.clips import read_clips
from megc.command import run_command
from megc.files import lock_folder
from megc.motion.keyframes import KeyframeSettings, clips_of_sources, extract_all
from megc.problems import Problems

DEMO = Path("dataset/demo")


def main() -> int:
    """Parse, extract, report."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--clips", type=Path, default=DEMO / "clips.jsonl", help="clips to read")
    parser.add_argument("--source", type=Path, nargs="+", help="videos or frame folders without annotation, instead")
    parser.add_argument("--fps", type=float, default=200.0, help="frame rate of --source folders")
    parser.add_argument("--out", type=Path, default=DEMO / "frames", help="folder to write")
    parser.add_argument(
        "--apex", choices=("annotated", "spotted"), default="annotated", help="spot it only where missing, or always"
    )
    parser.add_argument(
        "--roi", choices=("aligned", "box"), default="aligned", help="eyes level, or upright as the cropped releases"
    )
    parser.add_argument("--magnify", type=float, default=0.0, help="factor of motion in magnified.png; 0: none")
    words = "number of equally spaced frames, sample1.png and so on, beside the key frames"
    parser.add_argument("--samples", type=int, default=0, help=words)
    parser.add_argument(
        "--no-face", choices=("error", "centre"), default="error", help="what to do where no face is found"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="do finished clips again")
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 even if some clips failed")
    args = parser.parse_args()
    if args.magnify < 0 or args.fps <= 0 or args.samples < 0:
        parser.error("--magnify and --samples must not be negative, --fps must be positive")
    problems = Problems()
    file = args.clips
    if args.source:
        clips, file = clips_of_sources(args.source, args.fps, problems)
    else:
        clips = read_clips(file)
    settings = KeyframeSettings(args.apex, args.roi, args.no_face, args.magnify, args.samples)
    with lock_folder(args.out, "frames"):
        counts = extract_all(clips, file, args.out, settings, problems, args.workers, args.overwrite)
    counts["with warnings"] = len(problems.warnings)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), f"of {len(clips)} clips; in {args.out}")
    problems.report()
    return problems.exit_code(args.skip_bad)


if __name__ == "__main__":
    sys.exit(run_command(main))
