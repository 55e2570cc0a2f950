"""Learning from the flow probe: mixed pictures of any classes, answered by the probe of the training subjects.

    python data_process/teach_flow.py FOLDER NAME 1500 argmax

FOLDER holds train.jsonl and augmented_train.jsonl of a fold with coarse, fine and unit questions; FOLDER/NAME.jsonl is
the augmented file with as many taught pictures behind it. `argmax` takes the probe's likeliest class, `sampled` draws
from its probabilities, which in the mean is a training against soft targets.
"""

import sys
from itertools import groupby
from pathlib import Path

import numpy as np

from megc.baselines.features import PICTURE_GRID, pool_cells, read_features
from megc.baselines.probe import Probe
from megc.facs import FINE_TO_COARSE
from megc.files import png_bytes, write_bytes
from megc.motion.flow_pictures import mirror_picture, mix_pictures, roughen_picture
from megc.vqa.instructions import (
    copy_side_files,
    question_kind,
    question_of,
    read_record_picture,
    read_records,
    write_records,
)
from megc.vqa.questions import parse


def picture_features(picture: np.ndarray) -> np.ndarray:
    """Pooled features of a picture (uint8 H, W, 3) and of its mirror image: (2, 147)."""
    return np.stack([pool_cells(view / 255.0, PICTURE_GRID) for view in (picture, mirror_picture(picture))])


def teach(folder: Path, name: str, count: int, sampled: bool) -> str:
    """Write FOLDER/NAME.jsonl; returns a summary."""
    file = folder / "train.jsonl"
    records = read_records(file)
    probe = Probe(records, read_features(records, file, "picture", mirrored=True))
    groups = [list(group) for _, group in groupby(records, key=lambda record: record["clip"])]
    pictures = [np.asarray(read_record_picture(file, group[0], group[0]["images"][0])) for group in groups]
    by_kind = {kind: [r for r in records if question_kind(r) == kind] for kind in ("coarse", "fine", "units")}
    taught = list(read_records(folder / "augmented_train.jsonl"))
    for number in range(count):
        rng = np.random.default_rng([7, number])
        chosen = rng.choice(len(pictures), int(rng.integers(2, 4)), replace=False)
        picture = roughen_picture(mix_pictures([pictures[index] for index in chosen], rng), rng)
        features = picture_features(picture)
        coarse = probe.class_chances("coarse", features)
        joint = {fine: p * coarse[FINE_TO_COARSE[fine]] for fine, p in probe.class_chances("fine", features).items()}
        shares = np.array(list(joint.values())) / sum(joint.values())
        fine = list(joint)[int(rng.choice(len(joint), p=shares)) if sampled else int(shares.argmax())]
        units = by_kind["units"][int(rng.integers(len(by_kind["units"])))]
        several = bool(parse(question_of(units)).many)
        answers = {"fine": fine, "coarse": FINE_TO_COARSE[fine]}
        answers["units"] = probe.list_units(probe.unit_chances(features), several)
        image = f"taught/{name}/{number}.png"
        write_bytes(folder / image, png_bytes(picture))
        clips = [groups[index][0]["clip"] for index in chosen]
        for kind, answer in answers.items():
            record = units if kind == "units" else by_kind[kind][0]
            messages = [*record["messages"][:-1], {"role": "assistant", "content": answer}]
            row = {**record["row"], "answer": answer}
            identity = {"id": f"{record['id']}~taught{number}", "clip": f"{clips[0]}~taught{number}"}
            more = {"images": [image], "messages": messages, "row": row, "sources": clips}
            taught.append({**record, **identity, **more})
    write_records(folder / f"{name}.jsonl", taught)
    copy_side_files(file, folder / f"{name}.jsonl")
    return f"{folder / name}.jsonl: {len(taught)} questions"


if __name__ == "__main__":
    print(teach(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "sampled"))
