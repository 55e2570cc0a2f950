"""Clips on a page: pictures that stand in the page itself, the legend of their colours, questions and answers."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from scipy.special import softmax

from megc.files import png_bytes, read_checked, read_picture
from megc.motion.colour import ENCODINGS, legend_image, legend_text
from megc.motion.flow_files import FlowRecord, drawn_with
from megc.motion.settings import SCALE
from megc.problems import DataError
from megc.scoring.runs import MOTION, Reference, Run
from megc.scoring.settings import CARDS
from megc.scoring.vqa_metrics import CLASS_KINDS, is_invalid, is_right
from megc.vqa.instructions import PROMPT_FILE

THUMBNAIL = 160  # pixels wide
CHOICES = 3  # of the allowed answers, the likeliest, with their probabilities


def data_uri(data: bytes, kind: str) -> str:
    """A picture file (`png`, `jpeg`, `webp`) that stands in the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def make_thumbnail(path: Path) -> str | None:
    """Make a JPEG of a picture, at most THUMBNAIL wide, as a data URI; None where it is gone or no picture."""
    try:
        small = read_picture(path, path, None, "make the picture again")
    except DataError:
        return None
    small.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=72, optimize=True)
    return data_uri(out.getvalue(), "jpeg")


def _encoding(picture: Path, root: Path) -> tuple[str, float] | None:
    """Encoding and scale of a motion picture: of its own metadata, else of the `prompt.json` above it up to the folder
    `root` of its questions, which build_instructions.py writes for pictures of other projects too."""
    beside = (
        read_checked(FlowRecord, folder / PROMPT_FILE, missing={}, fix="build the instructions again")
        for folder in picture.parents
        if folder == root or root in folder.parents
    )
    for settings in chain([drawn_with(picture)], beside):
        if settings.get("encoding") in ENCODINGS:
            return settings["encoding"], float(settings.get("scale", SCALE))
    return None


def make_legend(references: Sequence[Reference]) -> dict | None:
    """Words and wheel that explain the motion pictures, by the encoding of the first one; None where there is no
    motion picture or nothing tells how it was drawn."""
    pictures = (
        (path, reference.folder) for reference in references for caption, path in reference.images if caption == MOTION
    )
    first = next(pictures, None)
    encoding = _encoding(*first) if first else None  # name and scale
    if encoding is None:
        return None
    return {"text": legend_text(*encoding), "uri": data_uri(png_bytes(legend_image(*encoding)), "png")}


def _details(details: Mapping[str, object]) -> list[str]:
    """Votes, agreement, margin and likeliest choices of an answer in words; empty for a single vote."""
    words = []
    if len(votes := details.get("votes", [])) > 1:
        words.append("votes " + ", ".join(f"{text} × {count}" for text, count in Counter(votes).most_common()))
    words += [f"{name} {details[name]:.2f}" for name in ("agreement", "margin") if name in details]
    if choices := details.get("choices"):
        # log-likelihoods of the allowed answers → probabilities among these
        chances = dict(zip(choices, softmax(list(choices.values())), strict=True))
        likeliest = [text for text in sorted(chances, key=chances.get, reverse=True) if chances[text] >= 0.01]
        words.append("choices " + ", ".join(f"{text} {chances[text]:.0%}" for text in likeliest[:CHOICES]))
    return words


def _answer(reference: Reference, run: Run, row: int, profile: str) -> dict:
    """What the page shows of a run's answer to the question of a row."""
    text = run.answers[row]
    return {
        "run": run.name,
        "text": text,
        "right": is_right(reference.answer, text, reference.kind, profile) if reference.answer else None,
        "invalid": is_invalid(text, reference.kind, profile, reference.dataset),
        "details": _details(run.details[row]),
    }


def make_cards(
    references: Sequence[Reference], runs: Sequence[Run], profile: str, limit: int = CARDS
) -> tuple[list[dict], int]:
    """Make a card for each clip with its pictures, questions and answers; beyond `limit`, for clips at even steps.

    Returns the cards and the number of all clips.
    """
    clips: dict[str, list[int]] = {}
    for row, reference in enumerate(references):
        clips.setdefault(reference.clip, []).append(row)
    names = list(clips)
    if len(names) > limit:
        names = [names[index] for index in np.linspace(0, len(names) - 1, limit).astype(int)]
    cards = []
    for name in names:
        first = references[clips[name][0]]
        questions = [
            {
                "text": references[row].question,
                "kind": references[row].kind,
                "reference": references[row].answer,
                "answers": [_answer(references[row], run, row, profile) for run in runs],
            }
            for row in clips[name]
        ]
        pictures = [{"caption": caption, "uri": make_thumbnail(path)} for caption, path in first.images]
        clip_references = [references[row] for row in clips[name]]
        classes = [
            r.answer for kind in CLASS_KINDS for r in clip_references if r.kind == kind and r.answer
        ]  # for the page's filter
        subject = f"{first.dataset}/{first.subject}"
        card = {"clip": name, "dataset": first.dataset, "subject": subject, "classes": list(dict.fromkeys(classes))}
        cards.append({**card, "pictures": pictures, "questions": questions})
    return cards, len(clips)
