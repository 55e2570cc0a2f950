"""Maps of the motion of brows, eyes and mouth over long videos, a tenth of a second ahead: what MEAN spots on.

    python data_process/extract_flow_maps.py --videos dataset/long/videos.jsonl --out dataset/long/flow_maps
    python data_process/extract_flow_maps.py --source face.mp4 other_frames --fps 30 --out result/flow_maps
    python data_process/extract_flow_maps.py --method tvl1 --rate 0 --out dataset/long/flow_maps_tvl1    # as published
    python data_process/extract_flow_maps.py --shard 3/50 --workers 8             # one of fifty jobs of the same work

Writes `<out>/<video id>.npy` (float16 (frames, 42, 42, 3): u, v and strain of brows over mouth, in pixels of a face
236 wide, 0 where nothing was measured; read it through a memory map), `<video id>.npz` (`frame_numbers`, `times` in
seconds, `segments`: -1 without a map; `nose`, `ranges`, `placements` and `eyes`, for the scaling of the maps, the
subtraction of the nose and the mask of the eyes when a network reads them) and `<video id>.json` (settings, faults).
A video that is finished is not done again, unless a setting or its frames changed. A video that ends early keeps what
was measured, and is reported; the exit code is then 1, unless --skip-bad is given.
"""

from megc.command import Work, run
from megc.motion.settings import ExtractFlowMapsSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.motion.flow_map_files import extract_flow_maps

    return extract_flow_maps


if __name__ == "__main__":
    run(__doc__, ExtractFlowMapsSettings, main)
