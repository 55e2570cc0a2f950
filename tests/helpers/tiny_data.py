"""A small instruction set for tests of the model room: 3 clips × 6 questions on drawn 112 × 112 pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from megc.files import write_jsonl
from megc.vqa.questions import TEMPLATES, compose_long

LABELS = (  # action unit, fine and coarse class of the three kinds of clips
    ("brow lowerer", "disgust", "negative"),
    ("lip corner puller", "happiness", "positive"),
    ("inner brow raiser", "surprise", "surprise"),
)
_UNITS, _FINE, _COARSE = zip(*LABELS, strict=True)
QUESTIONS = {
    TEMPLATES["coarse"][0]: _COARSE,
    TEMPLATES["fine"][0]: _FINE,
    TEMPLATES["units"][0]: _UNITS,
    TEMPLATES["shown"][0].format(unit="brow lowerer"): ("yes", "no", "no"),
    TEMPLATES["shown"][0].format(unit="lip corner puller"): ("no", "yes", "no"),
    TEMPLATES["long"][0]: tuple(compose_long(*labels) for labels in LABELS),
}
PICTURES = ("apex.png", "flow.png")
SMALL = (56, 56)  # four tokens a picture, for tests that learn nothing from it


def draw(folder: Path, clip: int, size: tuple[int, int] = (112, 112)) -> None:
    """A gray face with noise, and a flow picture with one coloured patch at a height that depends on the clip."""
    generator = np.random.default_rng(clip)
    folder.mkdir(parents=True, exist_ok=True)
    face = generator.integers(90, 160, (*size, 3), dtype=np.uint8)
    flow = np.zeros((*size, 3), dtype=np.uint8)
    top = size[0] * (clip % 3) // 3
    flow[top : top + size[0] // 3, size[1] // 4 : -size[1] // 4, clip % 3] = 255
    Image.fromarray(face).save(folder / "apex.png")
    Image.fromarray(flow).save(folder / "flow.png")


def write_instructions(
    root: Path, clips: int = 3, size: tuple[int, int] = (112, 112), first: int = 0, name: str = "train.jsonl"
) -> Path:
    """Draw pictures below `root` and write `root/name`; returns its path. Clip n has the answers of n mod 3.

    Clips are numbered from `first`, and each is of a subject of its own.
    """
    records = []
    for clip in range(first, first + clips):
        folder = f"frames/demo/sub{clip:02d}/EP01"
        draw(root / folder, clip, size)
        for number, (question, answers) in enumerate(QUESTIONS.items()):
            answer = answers[clip % 3]
            row = f"demo_sub{clip:02d}_EP01_{number}"
            user = (
                "Picture 1: <image> apex frame.\nPicture 2: <image> optical flow.\nRed is right, green is up.\n"
                f"Question: {question}"
            )
            records.append(
                {
                    "id": row,
                    "clip": f"demo/sub{clip:02d}/EP01",
                    "dataset": "demo",
                    "subject": f"sub{clip:02d}",
                    "messages": [
                        {"role": "system", "content": "You read facial micro-expressions."},
                        {"role": "user", "content": user},
                        {"role": "assistant", "content": answer},
                    ],
                    "images": [f"{folder}/{picture}" for picture in PICTURES],
                    "prompt": "0123456789abcdef",
                    "row": {"id": row, "question": question, "answer": answer},
                }
            )
    path = root / name
    write_jsonl(path, records)
    return path
