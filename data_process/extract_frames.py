"""Cut the key frames of every clip: onset, apex and offset, aligned once by the face of the onset frame.

    python data_process/extract_frames.py                       # the demo set
    python data_process/extract_frames.py --clips dataset/clips.jsonl --out dataset/frames --workers 8
    python data_process/extract_frames.py --source my_face.mp4 other_folder --out dataset/mine

Writes `<out>/<clip id>/{onset,apex,offset}.png` (280×336) and `align.json`. Where the apex is not annotated it is
spotted in the frames. A clip that is finished is not done again, unless a setting or its row changed.
"""

from megc.command import Work, run
from megc.motion.settings import ExtractFramesSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.motion.keyframes import extract_frames

    return extract_frames


if __name__ == "__main__":
    run(__doc__, ExtractFramesSettings, main)
