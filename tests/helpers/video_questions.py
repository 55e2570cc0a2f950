"""Questions on clips with a flow picture and a video of key frames, or with the video alone."""

from pathlib import Path

import numpy as np
from PIL import Image

from megc.files import write_json
from megc.vqa.instructions import make_record, write_records
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.questions import TEMPLATES

SIZES = ((56, 84), (84, 56), (56, 56))  # (width, height) of the flow picture; frames have it the other way round
ANSWERS = {
    TEMPLATES["coarse"][0]: ("negative", "positive", "surprise"),
    TEMPLATES["units"][1]: ("brow lowerer", "lip corner puller", "inner brow raiser"),
    TEMPLATES["shown"][0].format(unit="lip corner puller"): ("no", "yes", "no"),
}


def write_video_questions(
    root: Path, images: tuple[str, ...] = ("flow", "video"), frames: int = 5, clips: int = 3, answered: bool = False
) -> Path:
    """`root/test.jsonl` with three questions on each clip, frames of noise and `prompt.json`; returns the file."""
    generator = np.random.default_rng(0)
    prompt = PromptSettings(images=images, structured=False, video_frames=frames)
    records = []
    for number in range(clips):
        name = f"sub{number:02d}/EP01_01"
        video = [f"frames/casme2/{name}/sample{count}.png" for count in range(1, frames + 1)]
        flow = f"flow/casme2/{name}.png"
        width, height = SIZES[number % len(SIZES)]
        for path, size in [(flow, (height, width)), *((path, (width, height)) for path in video)]:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / path)
        for place, (question, answers) in enumerate(ANSWERS.items(), start=1):
            row = {"id": f"casme2_sub{number:02d}_EP01_01_{place}", "dataset": "casme2", "question": question}
            row |= {"answer": answers[number % 3] if answered else ""}
            row |= {"image_id": f"sub{number:02d}_EP01_01", "subject": f"sub{number:02d}", "filename": "EP01_01"}
            pictures = [flow] if "flow" in images else []
            records.append(make_record(row, pictures, prompt, videos=[video] if "video" in images else []))
    write_json(root / "prompt.json", prompt_record(prompt))
    write_records(root / "test.jsonl", records)
    return root / "test.jsonl"
