"""Spot micro- and macro-expressions in long videos: intervals as CSV, and a timeline of each video as a picture.

    python test/spot_expressions.py face.mp4 other_video_frames
    python test/spot_expressions.py --videos dataset/demo/long/videos.jsonl --workers 2
    python test/spot_expressions.py face.mp4 --spotter checkpoints/region checkpoints/recogniser

Writes `<out>/<video>/spotted.csv` (dataset,video,onset,offset,type,score,emotion, in frame numbers), `timeline.png`
beside it, which explains itself, and `<out>/spotted.csv` of all videos. What is measured on a video is kept in
`<out>/inputs`: a run that was stopped goes on. Without --spotter nothing has to be trained.
"""

from megc.command import Work, run
from megc.spotting.settings import SpotExpressionsSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.spotting.video_spotting import spot_expressions

    return spot_expressions


if __name__ == "__main__":
    run(__doc__, SpotExpressionsSettings, main)
