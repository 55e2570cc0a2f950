"""Small face crops over long videos, aligned and following the head: what models that look at pictures spot on.

    python data_process/extract_face_crops.py --videos dataset/long/videos.jsonl --out dataset/long/face_crops
    python data_process/extract_face_crops.py --source face.mp4 --colour --size 160 --out result/face_crops
    python data_process/extract_face_crops.py --shard 3/50 --workers 8            # one of fifty jobs of the same work

Writes `<out>/<video id>.npy` (uint8 (frames, size, size), with --colour (frames, size, size, 3); read it through a
memory map), `<video id>.npz` (`frame_numbers`, `times` in seconds, `segments`: -1 without a face) and
`<video id>.json` (the recipe of the crops, faults). A video that is finished is not done again, unless a setting or
its frames changed. A video that ends early keeps what was cut, and is reported; the exit code is then 1, unless
--skip-bad is given.
"""

from megc.command import Work, run
from megc.motion.settings import ExtractFaceCropsSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.motion.face_crops import extract_face_crops

    return extract_face_crops


if __name__ == "__main__":
    run(__doc__, ExtractFaceCropsSettings, main)
