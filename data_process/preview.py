"""Contact sheet of a clip: key frames, landmarks, flow picture with its legend, motion of regions over time.

python data_process/preview.py                              # the first demo clip
python data_process/preview.py casme2/sub01/EP02_01f --out sheet.png
"""

from megc.command import Work, run
from megc.motion.settings import PreviewSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.motion.preview import write_preview

    return write_preview


if __name__ == "__main__":
    run(__doc__, PreviewSettings, main)
