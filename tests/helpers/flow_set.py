"""Instruction records and fields of made-up clips whose motion tells their classes: files for tests of baselines."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from megc.baselines.features import pool_cells
from megc.facs import FINE_TO_COARSE
from megc.files import read_jsonl, write_jsonl
from megc.scoring.vqa_metrics import score_answers
from megc.vqa.instructions import answer_of, question_kind, row_clip
from megc.vqa.prompts import QUESTION_MARK
from megc.vqa.questions import Question, compose_long, join_units, question_text

REAL = Path(__file__).parents[3] / "shared" / "real"

FINE = ("disgust", "happiness", "repression", "surprise")
UNITS = {"disgust": (4, 7), "happiness": (12,), "repression": (17,), "surprise": (1, 2)}
PLACES = {4: (0, 0), 7: (2, 0), 12: (6, 3), 17: (7, 4), 1: (0, 3), 2: (0, 6)}  # cell (row, column) that moves


def record_of(subject, name, question, answer, number=1):
    identity = {"id": f"casme2_{subject}_{name}_{number}", "dataset": "casme2", "image_id": f"{subject}_{name}"}
    row = {**identity, "subject": subject, "filename": name, "question": question_text(question), "answer": answer}
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": ""}]
    messages.append({"role": "assistant", "content": answer})
    origin = row_clip(row)
    image = f"flow/{origin['clip']}.png"
    return {"id": row["id"], **origin, "messages": messages, "images": [image], "prompt": "0", "row": row}


def clip_records(subject, name, fine, side="left", absent=43):
    """Seven records of a clip, as in the challenge."""
    units, coarse = UNITS[fine], FINE_TO_COARSE[fine]
    many = len(units) > 1
    asked = [
        (Question("coarse"), coarse),
        (Question("fine"), fine),
        (Question("units", many=many), join_units(list(units))),
        (Question("side", units[0]), side),
        (Question("shown", units[0]), "yes"),
        (Question("shown", absent), "no"),
        (Question("long", many=many), compose_long(join_units(list(units)), fine, coarse)),
    ]
    return [record_of(subject, name, *pair, number) for number, pair in enumerate(asked, start=1)]


def flow_of(fine, side, rng):
    """A field (80, 80, 2): the cells of the clip's action units move, stronger on one half, over noise."""
    field = rng.normal(0, 0.15, (80, 80, 2))
    for unit in UNITS[fine]:
        row, column = PLACES[unit]
        field[row * 10 : row * 10 + 10, column * 10 : column * 10 + 10] += (0.4, 1.0)
    half = slice(40, 80) if side == "left" else slice(0, 40)  # the subject's left is on the picture's right
    field[:, half] += (0.0, 0.3)
    return field.astype(np.float16)


def make_set(subjects=8, seed=0):
    rng = np.random.default_rng(seed)
    records, flows = [], {}
    for subject in range(1, subjects + 1):
        for index, fine in enumerate(FINE):
            side = "left" if rng.random() < 0.5 else "right"
            found = clip_records(f"sub{subject:02d}", f"EP0{index}", fine, side)
            records += found
            flows[found[0]["clip"]] = flow_of(fine, side, rng)
    return records, flows


def store(root, records, flows):
    write_jsonl(root / "instructions.jsonl", records)
    for clip, flow in flows.items():
        path = root / "flow" / f"{clip}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, flow)
        picture = np.zeros((80, 80, 3), np.uint8)
        picture[..., :2] = np.clip(128 + 60 * flow.astype(np.float32), 0, 255)
        Image.fromarray(picture).save(path.with_suffix(".png"))


def with_prompts(records):
    """The records, changed: each asks after a line `Question:`, with a tag for its picture."""
    for record in records:
        record["messages"][1]["content"] = f"Picture 1: <image> flow.{QUESTION_MARK}{record['row']['question']}"
    return records


def features_of(flows):
    """Features of the probe by clip, of the fields themselves."""
    return {clip: pool_cells(flow.astype(float), 8) for clip, flow in flows.items()}


def split_by_subject(records, last):
    """Records of the subjects up to `last`, and of those behind it."""
    return [r for r in records if r["subject"] <= last], [r for r in records if r["subject"] > last]


def score_records(records, answers):
    """Metrics of answers to the records."""
    return score_answers(
        [answer_of(record) for record in records], answers, [question_kind(record) for record in records]
    )


def casme2_records():
    """The real CASME II rows as records on their flow pictures; the test skips where they are not there."""
    if not (REAL / "me_vqa_casme2.jsonl").is_file():
        pytest.skip(f"needs the CASME II rows and flow pictures in {REAL}")
    records = []
    for _, row in read_jsonl(REAL / "me_vqa_casme2.jsonl"):
        messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": row["answer"]}]
        images = [f"flow_casme2/{row['image_id']}.png"]
        records.append({"id": row["id"], **row_clip(row), "messages": messages, "images": images, "row": row})
    return records
