"""Contact sheet of a clip: key frames, landmarks, flow picture with its legend, motion of regions over time.

python data_process/preview.py                              # the first demo clip
python data_process/preview.py casme2/sub01/EP02_01f --out sheet.png
"""

import megc.interrupts  # noqa: F401  first: Ctrl-C while the rest is imported

import argparse
import sys
from pathlib import Path

from megc.clips import read_clips
from megc.command import run_command
from megc.files import resolve_inside, write_bytes
from megc.motion.preview import contact_sheet
from megc.problems import DataError

DEMO = Path("dataset/demo")


def main() -> int:
    """Parse, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("clip", nargs="?", help="id of the clip; the first one if left out")
    parser.add_argument("--clips", type=Path, default=DEMO / "clips.jsonl", help="clips to read")
    parser.add_argument("--frames", type=Path, default=DEMO / "frames", help="key frames")
    parser.add_argument("--flow", type=Path, default=DEMO / "flow", help="flow pictures")
    parser.add_argument("--out", type=Path, help="PNG to write; result/preview/<clip id>.png if left out")
    args = parser.parse_args()
    clips = {clip.id: clip for clip in read_clips(args.clips)}
    name = args.clip or next(iter(clips), "")
    if name not in clips:
        known = ", ".join(list(clips)[:3])
        raise DataError(args.clips, None, f"no clip {name!r}", f"give one of its ids, such as {known}")
    out = args.out or resolve_inside("result/preview", f"{name.replace('/', '_')}.png")
    write_bytes(out, contact_sheet(clips[name], args.clips, args.frames, args.flow))
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
