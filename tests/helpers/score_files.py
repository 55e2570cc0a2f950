"""A small answered set with pictures, a good and a bad run: files for tests of scoring."""

import csv
import json

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from megc.files import write_jsonl
from megc.vqa.questions import TEMPLATES, compose_long

CLIPS = [  # dataset, subject, name, coarse, fine, units
    ("casme2", "sub01", "EP02_01f", "positive", "happiness", "lip corner puller"),
    ("casme2", "sub01", "EP03_02", "negative", "disgust", "brow lowerer, lid tightener"),
    ("casme2", "sub02", "EP01_11f", "surprise", "surprise", "inner brow raiser"),
    ("samm", "6", "006_1_2", "negative", "anger", "lid tightener"),
    ("samm", "7", "007_3_1", "negative", "fear", "lip stretcher"),
]


def make_rows():
    rows = []
    for dataset, subject, name, coarse, fine, units in CLIPS:
        image = name if dataset == "samm" else f"{subject}_{name}"
        many = "," in units  # the second wording speaks of several units
        asked = [
            (TEMPLATES["coarse"][0], coarse),
            (TEMPLATES["fine"][0], fine),
            (TEMPLATES["units"][many], units),
            (TEMPLATES["long"][many], compose_long(units, fine, coarse)),
        ]
        for number, (question, answer) in enumerate(asked, start=1):
            identity = {"id": f"{dataset}_{image}_{number}", "dataset": dataset, "image_id": image}
            identity |= {"subject": subject, "filename": name}
            rows.append({**identity, "question": question, "answer": answer})
    return rows


def make_records(root, rows, encoding="colour"):
    """Instruction records of the rows, with four pictures a clip on disk."""
    records = []
    for row in rows:
        subject = f"{int(row['subject']):03d}" if row["dataset"] == "samm" else row["subject"]
        clip = f"{row['dataset']}/{subject}/{row['filename']}"
        images = [f"frames/{clip}/{moment}.png" for moment in ("onset", "apex", "offset")] + [f"flow/{clip}.png"]
        info = PngInfo()
        info.add_itxt("settings", json.dumps({"encoding": encoding, "scale": 2.5}))
        for image in images:
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (280, 336), (90, 60, 30)).save(root / image, pnginfo=info)
        messages = [{"role": role, "content": role} for role in ("system", "user")]
        messages.append({"role": "assistant", "content": row["answer"]})
        record = {"id": row["id"], "clip": clip, "dataset": row["dataset"], "subject": subject}
        records.append({**record, "messages": messages, "images": images, "prompt": "0", "row": row})
    return records


def make_demo(root):
    """References with pictures, a good and a bad run."""
    rows = make_rows()
    write_jsonl(root / "test.jsonl", make_records(root, rows))
    bad = [{**row, "answer": "negative" if row["id"].endswith("_1") else "x"} for row in rows]
    good = [dict(row) for row in rows]
    votes = ["negative", "positive", "negative", "negative", "positive"]
    good[0] |= {"answer": "negative", "votes": votes, "agreement": 0.6, "margin": 1.25}
    good[1] |= {"votes": ["happiness"], "agreement": None}
    write_jsonl(root / "out" / "prior" / "predictions.jsonl", bad)
    write_jsonl(root / "out" / "model" / "predictions.jsonl", good)
    (root / "out" / "model" / "run.json").write_text('{"checkpoint": "a <b>bold</b> one"}')
    return root


def read_csv(path):
    return list(csv.DictReader(line for line in path.read_text().splitlines(True) if not line.startswith("# ")))
