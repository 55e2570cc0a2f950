"""A training file of the shape of the original project's: ms-swift rows with absolute paths, made up by rule."""

import json
from pathlib import Path

from megc.vqa.questions import TEMPLATES

ROWS, OUT_OF_ORDER, CASME2_CLIPS, CLIPS_OUT_OF_ORDER = 928, 484, 125, 77
_ROOT = "/home/someone/data"
_QUESTIONS = [TEMPLATES[kind][0] for kind in ("coarse", "fine", "units")]
_QUESTIONS += [TEMPLATES["shown"][0].format(unit="dimpler"), TEMPLATES["shown"][0].format(unit="brow lowerer")]
_QUESTIONS += [TEMPLATES["long"][0], TEMPLATES["side"][0].format(unit="dimpler")]
_ANSWERS = [
    *("positive", "happiness", "dimpler", "yes", "no"),
    "The action unit present is: dimpler. Therefore, the fine-grained expression class is happiness, and the coarse "
    "expression class is positive.",
    "left",
]


def row(images: list[str], question: str, answer: str, tags: bool = False) -> dict:
    """A row as the original project wrote it: without `<image>` tags, which ms-swift puts in front."""
    text = "<image>" * len(images) * tags + question
    messages = [("system", "You read micro-expressions."), ("user", text), ("assistant", answer)]
    return {"messages": [{"role": role, "content": text} for role, text in messages], "images": images}


def clip_frames(number: int) -> list[str]:
    """Onset, apex and offset of a CASME II clip in the order of their names as text: where the numbers grow from two
    digits to three, a frame after 99 stands before the onset."""
    onset = 36 + number % 20 if number < CLIPS_OUT_OF_ORDER else 120 + number
    frames = [onset, onset + 40, onset + 69]
    folder = f"{_ROOT}/CASME2/Cropped/sub{1 + number % 24:02d}/EP{1 + number // 24:02d}_{1 + number % 24:02d}f"
    return sorted(f"{folder}/reg_img{frame}.jpg" for frame in frames)


def original_rows() -> list[dict]:
    """928 rows: 125 CASME II clips, 77 of them out of order (22 with seven questions, else six), and 26 of SAMM."""
    rows = []
    for number in range(CASME2_CLIPS):
        many = 7 if number < 22 else 6
        rows += [row(clip_frames(number), *pair) for pair in zip(_QUESTIONS[:many], _ANSWERS[:many], strict=True)]
    for number in range(26):
        subject, onset = 6 + number, 990 + number  # four digits and five: written with their zeros, text sorts them
        folder = f"{_ROOT}/SAMM/{subject:03d}/{subject:03d}_1_2"
        images = sorted(f"{folder}/{subject:03d}_{frame:05d}.jpg" for frame in (onset, onset + 30, onset + 70))
        rows += [row(images, *pair) for pair in zip(_QUESTIONS[:6], _ANSWERS[:6], strict=True)]
    return rows


def write_original(path: Path) -> Path:
    """Write `original_rows` to `path`, without a newline at the end, as the original project's files are."""
    path.write_text("\n".join(json.dumps(each) for each in original_rows()), encoding="utf-8")
    return path
