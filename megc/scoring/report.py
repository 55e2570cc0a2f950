"""`report.html`: scores, confusion matrices and every clip with its pictures, questions and answers, in one file.

Everything is inlined, so that the page opens from the file system without a network; texts are escaped.
"""

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from megc.files import write_text
from megc.motion.colour import ENCODINGS, SCALE, legend_image, legend_text
from megc.motion.fields import picture_metadata
from megc.scoring.bootstrap import RESAMPLES
from megc.scoring.metrics import METRICS, is_invalid, is_right
from megc.scoring.pairs import MOTION, Reference, Run
from megc.scoring.plots import write_confusions
from megc.scoring.tables import (
    ceiling,
    compare,
    difference_table,
    evaluate,
    pooled_only,
    share,
    text_table,
    write_metrics,
)

THUMBNAIL = 160  # pixels wide
CARDS = 150  # clips shown; about 20 kB each

HEADS = {
    "uf1_coarse": "UF1 coarse",
    "uar_coarse": "UAR coarse",
    "uf1_fine": "UF1 fine",
    "uar_fine": "UAR fine",
    "bleu": "BLEU",
    "rouge1": "ROUGE-1",
    "avg": "mean of six",
}
KINDS = {
    "coarse": "coarse class",
    "fine": "fine class",
    "units": "action units",
    "side": "side of the face",
    "shown": "shown or not",
    "long": "sentence",
}


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(path: Path) -> str | None:
    """JPEG of a picture, at most THUMBNAIL wide, as a data URI; None where the file is gone or is no picture."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (FileNotFoundError, UnidentifiedImageError, OSError):
        return None
    small.thumbnail((THUMBNAIL, 2 * THUMBNAIL))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=82)
    return _data_uri(out.getvalue(), "jpeg")


def _plot(path: Path) -> dict:
    """A plot at 80 % of its pixels, so that the letters of matrices of any size are equally large."""
    with Image.open(path) as image:
        width = round(0.8 * image.width)
    return {"uri": _data_uri(path.read_bytes(), "png"), "width": width}


def _encoding(picture: Path) -> tuple[str, float] | None:
    """Encoding and scale of a motion picture: of its own metadata, else of the `prompt.json` above it, which
    build_instructions.py writes for pictures of other projects too."""
    texts = [picture_metadata(picture).get("settings", "{}")]
    files = (folder / "prompt.json" for folder in picture.parents)
    texts += [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    for text in texts:
        settings = json.loads(text)
        if settings.get("encoding") in ENCODINGS:
            return settings["encoding"], float(settings.get("scale", SCALE))
    return None


def legend(references: Sequence[Reference]) -> dict | None:
    """Words and wheel that explain the motion pictures, by the encoding of the first one; None where there is no
    motion picture or nothing tells how it was drawn."""
    pictures = (path for reference in references for caption, path in reference.images if caption == MOTION)
    path = next(pictures, None)
    found = _encoding(path) if path else None
    if found is None:
        return None
    out = io.BytesIO()
    Image.fromarray(legend_image(*found)).save(out, "PNG")
    return {"text": legend_text(*found), "uri": _data_uri(out.getvalue(), "png")}


def _details(found: Mapping[str, object]) -> list[str]:
    """What a run says of an answer, in words; a single vote says nothing."""
    words = []
    if len(votes := found.get("votes", [])) > 1:
        words.append("votes " + ", ".join(f"{text} × {count}" for text, count in Counter(votes).most_common()))
    words += [f"{name} {found[name]:.2f}" for name in ("agreement", "margin") if name in found]
    return words


def _answer(reference: Reference, run: Run, row: int, profile: str) -> dict:
    text = run.answers[row]
    return {
        "run": run.name,
        "text": text,
        "right": is_right(reference.answer, text, reference.kind, profile),
        "invalid": is_invalid(text, reference.kind, profile, reference.dataset),
        "details": _details(run.details[row]),
    }


def make_cards(
    references: Sequence[Reference], runs: Sequence[Run], profile: str, limit: int = CARDS
) -> tuple[list[dict], int]:
    """What the page shows of each clip, and how many clips there are; beyond `limit`, clips at even steps."""
    clips: dict[str, list[int]] = {}
    for row, reference in enumerate(references):
        clips.setdefault(reference.clip, []).append(row)
    names = list(clips)
    if len(names) > limit:
        names = [names[place] for place in np.linspace(0, len(names) - 1, limit).astype(int)]
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
        pictures = [{"caption": caption, "uri": thumbnail(path)} for caption, path in first.images]
        card = {"clip": name, "dataset": first.dataset, "subject": first.subject}
        cards.append({**card, "pictures": pictures, "questions": questions})
    return cards, len(clips)


def right_by_kind(references: Sequence[Reference], runs: Sequence[Run], profile: str) -> list[dict]:
    """Right answers of each run by kind of question, and how many questions of the kind there are."""
    table = []
    for kind in dict.fromkeys(reference.kind for reference in references):
        rows = [row for row, reference in enumerate(references) if reference.kind == kind]
        right = [
            sum(is_right(references[row].answer, run.answers[row], kind, profile) for row in rows) for run in runs
        ]
        table.append({"kind": KINDS.get(kind, kind), "right": right, "of": len(rows)})
    return table


def write_report(
    path: Path | str,
    references: Sequence[Reference],
    runs: Sequence[Run],
    rows: Sequence[dict],
    differences: Mapping[str, Mapping[str, tuple[float, float, float]]],
    confusions: Mapping[str, Sequence[Path]],
    notes: Sequence[str] = (),
    limit: int = CARDS,
) -> None:
    """Write the page, atomically.

    `rows` are those of `metrics.csv`; marks follow the profile of the first. `differences` are the paired ones to
    the first run, by run; `confusions` the PNGs of each run; `notes` are printed below the scores.
    """
    profile = rows[0]["profile"]
    cards, clips = make_cards(references, runs, profile, limit)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["share"] = share
    page = environment.get_template("report.html").render(
        heads=HEADS,
        order=["avg", *(metric for metric in METRICS if metric != "avg")],
        rows=pooled_only(rows),
        runs=runs,
        differences=differences,
        confusions={name: [_plot(Path(file)) for file in files] for name, files in confusions.items()},
        by_kind=right_by_kind(references, runs, profile),
        legend=legend(references),
        cards=cards,
        clips=clips,
        kinds={kind: KINDS.get(kind, kind) for kind in dict.fromkeys(reference.kind for reference in references)},
        datasets=sorted({reference.dataset for reference in references}),
        settings={run.name: json.dumps(run.settings, indent=2, ensure_ascii=False) for run in runs if run.settings},
        notes=notes,
    )
    write_text(path, page)


def score_runs(
    out: Path | str,
    references: Sequence[Reference],
    runs: Sequence[Run],
    profiles: Sequence[str] = ("megc2025",),
    by: str = "clip",
    resamples: int = RESAMPLES,
    seed: int = 0,
    limit: int = CARDS,
) -> str:
    """Score runs and write `metrics.csv`, `confusion_<run>_<kind>.png` and `report.html` to `out`.

    Returns the tables for a terminal: every profile's scores side by side, and paired differences to the first run
    by the first profile.
    """
    out, draws = Path(out), (by, resamples, seed)
    rows, differences, confusions = [], {}, {}
    for run in tqdm(runs, desc="scoring", unit="run", disable=None):
        tables = [evaluate(references, run, profile, *draws) for profile in profiles]
        rows += [row for same_rows in zip(*tables, strict=True) for row in same_rows]
        confusions[run.name] = list(write_confusions(out, references, run, profiles[0]).values())
        if run is not runs[0]:
            differences[run.name] = compare(references, runs[0], run, profiles[0], *draws)
    tops = {profile: ceiling(references, profile) for profile in profiles}
    notes = [f"{name}: the references themselves get a BLEU of {share(top)}." for name, top in tops.items() if top < 1]
    missing = {run.name: sum(answer is None for answer in run.answers) for run in runs}
    notes += [f"{name}: {count} of {len(references)} answers are missing." for name, count in missing.items() if count]
    notes.append(f"Intervals: {resamples} resamples of {by}s, seed {seed}.")
    write_metrics(out / "metrics.csv", rows)
    write_report(out / "report.html", references, runs, rows, differences, confusions, notes, limit)
    texts = [text_table(pooled_only(rows)), *notes]
    if differences:
        texts += ["", difference_table(runs[0].name, differences)]
    return "\n".join([*texts, "", f"written: {out / 'metrics.csv'}, {out / 'report.html'}"])
