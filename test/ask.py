"""Ask about one video: answers with likelihoods, and a page that shows where the face moved.

    python test/ask.py my_face.mp4                                  # of a long one, every event that is spotted
    python test/ask.py casme2/sub01/EP01_01f                        # a clip of the demo set
    python test/ask.py folder_of_frames --fps 200 --onset 46 --apex 59 --offset 86
    python test/ask.py --onset-image a.png --apex-image b.png --question "Is he angry?"
    python test/ask.py my_face.mp4 --model checkpoints/qwen2_5_vl_7b --endpoint http://127.0.0.1:8000/v1

Writes `result/ask/<name>/`: `report.html` (one file, to open in a browser or to send), `answers.json` with the rows
that generate_answers.py gives for the same pictures, `events.csv`, the key frames and the flow picture.
"""

from megc.command import Work, run
from megc.explanation.settings import AskSettings


def main() -> Work:
    """The work, imported when it begins: --help is quick."""
    from megc.explanation.video_explanation import ask_video

    return ask_video


if __name__ == "__main__":
    run(__doc__, AskSettings, main)
