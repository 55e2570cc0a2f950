"""Motion of 18 regions of the face over long videos, without the head's motion: what expressions are spotted on.

    python data_process/extract_region_flow.py --videos dataset/long/videos.jsonl --out dataset/long/region_flow
    python data_process/extract_region_flow.py --source face.mp4 other_frames --fps 30 --out result/region_flow
    python data_process/extract_region_flow.py --shard 3/50 --workers 8           # one of fifty jobs of the same work

Writes `<out>/<video id>.npz` (`flow` (frames, 18, 2) float32 in pixels of a face 236 wide, x right, y down, NaN
without a face; `frame_numbers`, `times` in seconds, `blink`, `segments`, `references`) and `<video id>.json`
(settings, regions, scale, faults). A video that is finished is not done again, unless a setting or its frames changed.
A video that ends early keeps what was measured, and is reported; the exit code is then 1, unless --skip-bad is given.
"""

from megc.command import Work, run
from megc.motion.settings import ExtractRegionFlowSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.motion.region_flow_files import extract_region_flow

    return extract_region_flow


if __name__ == "__main__":
    run(__doc__, ExtractRegionFlowSettings, main)
