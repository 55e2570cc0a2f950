"""`report.html`: scores, confusion matrices and every clip with its pictures, questions and answers, in one file.

Everything is inlined, so that the page opens from the file system without a network; texts are escaped.
"""

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy.special import softmax
from tqdm import tqdm

from megc.commits import commits_of
from megc.files import png_bytes, read_checked, read_picture, write_text
from megc.motion.colour import ENCODINGS, legend_image, legend_text
from megc.motion.flow_files import FlowRecord, drawn_with
from megc.motion.settings import SCALE
from megc.problems import DataError, Problems
from megc.scoring.consistency import CHECKS, count_consistent_clips
from megc.scoring.evaluation import PairedDifference, compare_runs, evaluate_run, select_rows
from megc.scoring.lvqa_metrics import is_long, score_long_runs
from megc.scoring.plots import count_confusions, draw_intervals, write_confusions
from megc.scoring.runs import MOTION, Reference, Run, choose_predictions, read_reference_files, read_runs
from megc.scoring.settings import CARDS, RESAMPLES, ScoreSettings
from megc.scoring.tables import (
    agreement_table,
    analysis_notes,
    ceiling_note,
    difference_table,
    draws_note,
    format_count,
    format_share,
    main_rows,
    markdown_table,
    pooled_only,
    reference_notes,
    text_table,
    write_metrics,
)
from megc.scoring.vqa_metrics import CLASS_KINDS, METRICS, MORE_METRICS, PROFILES, is_invalid, is_right

THUMBNAIL = 160  # pixels wide
CHOICES = 3  # of the allowed answers, the likeliest, with their probabilities

HEADS = {
    "uf1_coarse": "UF1 coarse",
    "uar_coarse": "UAR coarse",
    "uf1_fine": "UF1 fine",
    "uar_fine": "UAR fine",
    "bleu": "BLEU",
    "rouge1": "ROUGE-1",
    "avg": "mean of six",
}
MORE_HEADS = {
    **{column: heading for more in MORE_METRICS for column, heading in more.headings.items()},
    "consistent": "consistent clips",
    "invalid_share": "invalid answers",
}
KINDS = {
    "coarse": "coarse class",
    "fine": "fine class",
    "units": "action units",
    "side": "side of the face",
    "shown": "shown or not",
    "long": "sentence",
    "analysis": "analysis",
}


def _data_uri(data: bytes, kind: str) -> str:
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
    return _data_uri(out.getvalue(), "jpeg")


def confusion_tables(references: Sequence[Reference], run: Run, profile: str) -> list[dict]:
    """Confusion matrices of a run: class kind, names of the columns, and rows of counts with shares of the row."""
    tables = []
    for kind in CLASS_KINDS:
        counts, true, predicted = count_confusions(references, run, kind, profile)
        if true:
            shares = counts / counts.sum(axis=1, keepdims=True)
            # each cell is a pair: count and its share, which the page shows as colour
            rows = [
                (name, list(zip(*cells, strict=True)))
                for name, *cells in zip(true, counts.tolist(), shares.tolist(), strict=True)
            ]
            tables.append({"kind": KINDS[kind], "predicted": predicted, "rows": rows})
    return tables


def _encoding(picture: Path) -> tuple[str, float] | None:
    """Encoding and scale of a motion picture: of its own metadata, else of the `prompt.json` above it, which
    build_instructions.py writes for pictures of other projects too."""
    beside = (
        read_checked(FlowRecord, folder / "prompt.json", missing={}, fix="build the instructions again")
        for folder in picture.parents
    )
    for settings in chain([drawn_with(picture)], beside):
        if settings.get("encoding") in ENCODINGS:
            return settings["encoding"], float(settings.get("scale", SCALE))
    return None


def make_legend(references: Sequence[Reference]) -> dict | None:
    """Words and wheel that explain the motion pictures, by the encoding of the first one; None where there is no
    motion picture or nothing tells how it was drawn."""
    pictures = (path for reference in references for caption, path in reference.images if caption == MOTION)
    path = next(pictures, None)
    encoding = _encoding(path) if path else None  # name and scale
    if encoding is None:
        return None
    return {"text": legend_text(*encoding), "uri": _data_uri(png_bytes(legend_image(*encoding)), "png")}


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
        "right": is_right(reference.answer, text, reference.kind, profile),
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
            r.answer for kind in CLASS_KINDS for r in clip_references if r.kind == kind
        ]  # for the page's filter
        subject = f"{first.dataset}/{first.subject}"
        card = {"clip": name, "dataset": first.dataset, "subject": subject, "classes": list(dict.fromkeys(classes))}
        cards.append({**card, "pictures": pictures, "questions": questions})
    return cards, len(clips)


def agreement_by_check(references: Sequence[Reference], runs: Sequence[Run], profile: str) -> list[dict]:
    """Clips of each run that pass each consistency check, and the number of clips that the check applies to."""
    clips, questions = [r.clip for r in references], [r.question for r in references]
    counts = [count_consistent_clips(clips, questions, run.answers, profile) for run in runs]  # one dict a run
    names = {**CHECKS, "all": "all of these"}
    return [
        {"check": text, "of": counts[0][name][1], "passed": [by_check[name][0] for by_check in counts]}
        for name, text in names.items()
        if name in counts[0]  # which checks apply depends on the questions alone
    ]


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


def html_environment(folder: Path) -> Environment:
    """Templates of a folder, with all values escaped and an error for a value that is not given."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_report(
    path: Path | str,
    references: Sequence[Reference],
    runs: Sequence[Run],
    rows: Sequence[dict],
    differences: Mapping[str, Mapping[str, PairedDifference]],
    notes: Sequence[str] = (),
    limit: int = CARDS,
) -> None:
    """Write the page, atomically.

    `rows` are those of `metrics.csv`; marks follow the profile of the first. `differences` are the paired ones to
    the first run, by run; `notes` are printed below the scores.
    """
    profile = rows[0]["profile"]
    cards, clips = make_cards(references, runs, profile, limit)
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {"share": format_share, "number": format_count}
    page = environment.get_template("report.html").render(
        heads=HEADS,
        order=["avg", *(metric for metric in METRICS if metric != "avg")],
        rows=pooled_only(rows),
        overview=_data_uri(draw_intervals(main_rows(rows)), "png") if len(runs) > 1 else None,
        narrow_overview=_data_uri(draw_intervals(main_rows(rows), narrow=True), "png") if len(runs) > 1 else None,
        more_heads=MORE_HEADS,
        main_rows=main_rows(rows),
        checks=agreement_by_check(references, runs, profile),
        runs=runs,
        differences=differences,
        confusions={run.name: confusion_tables(references, run, profile) for run in runs},
        by_kind=right_by_kind(references, runs, profile),
        legend=make_legend(references),
        cards=cards,
        clips=clips,
        kinds={kind: KINDS.get(kind, kind) for kind in dict.fromkeys(reference.kind for reference in references)},
        filters={
            "dataset": sorted({card["dataset"] for card in cards}),
            "subject": sorted({card["subject"] for card in cards}),
            "class": sorted({name for card in cards for name in card["classes"]}),
        },
        settings={run.name: json.dumps(run.settings, indent=2, ensure_ascii=False) for run in runs if run.settings},
        notes=notes,
    )
    write_text(path, page)


def score_runs(
    out: Path | str,
    references: Sequence[Reference],
    runs: Sequence[Run],
    profiles: Sequence[str] = ("megc2025",),
    resamples: int = RESAMPLES,
    seed: int = 0,
    limit: int = CARDS,
) -> str:
    """Score runs and write `metrics.csv`, `metrics.md`, `confusion_<run>_<kind>.png` and `report.html` to `out`.

    Returns the tables for a terminal: every profile's scores side by side, and paired differences to the first run
    by the first profile.
    """
    out, draws = Path(out), (resamples, seed)
    rows, differences = [], {}
    # 1. score each run in each profile, 2. compare it with the first run, 3. write table and page
    for run in tqdm(runs, desc="scoring", unit="run", disable=None):
        tables = [evaluate_run(references, run, profile, *draws) for profile in profiles]
        rows += [row for same_rows in zip(*tables, strict=True) for row in same_rows]  # profiles side by side
        write_confusions(out, references, run, profiles[0])
        if run is not runs[0]:
            differences[run.name] = compare_runs(references, runs[0], run, profiles[0], *draws)
    notes = [ceiling_note(references, profiles)]
    missing = {run.name: sum(answer is None for answer in run.answers) for run in runs}
    notes += [f"{name}: {count} of {len(references)} answers are missing." for name, count in missing.items() if count]
    notes.append(f"Intervals: {resamples} resamples of subjects, and of clips, seed {seed}.")
    notes += [note for note in (*reference_notes(references, profiles[0]), draws_note(runs)) if note]
    notes += analysis_notes(references, runs)
    commits = set().union(*(commits_of(run.settings) for run in runs))
    write_metrics(out / "metrics.csv", rows, commits)
    write_text(out / "metrics.md", "\n\n".join([markdown_table(rows), *notes]) + "\n")
    write_report(out / "report.html", references, runs, rows, differences, notes, limit)
    texts = [text_table(pooled_only(rows)), "", agreement_table(main_rows(rows)), "", *notes]
    if differences:
        texts += ["", difference_table(runs[0].name, differences)]
    return "\n".join([*texts, "", f"written: {out / 'metrics.csv'}, {out / 'report.html'}"])


def score_files(settings: ScoreSettings, problems: Problems) -> str:
    """Score the settings' prediction files, or those in the folder that fit; returns the tables, and which were left
    out."""
    references = read_reference_files(settings.references, problems)
    paths, left_out = list(settings.predictions), []
    if not paths:
        paths, left_out = choose_predictions(settings.out, references)
    runs = read_runs(paths, list(settings.names), references, problems)
    profiles = list(PROFILES) if "all" in settings.profiles else settings.profiles
    draws, tables = (settings.resamples, settings.seed), []
    # questions on long videos (ME-LVQA) have measures and a table of their own
    on_clips, on_videos = ([row for row, r in enumerate(references) if is_long(r) is long] for long in (False, True))
    if on_clips:
        chosen, answered = [references[row] for row in on_clips], [select_rows(run, on_clips) for run in runs]
        tables.append(score_runs(settings.out, chosen, answered, profiles, *draws, settings.cards))
    if on_videos:
        chosen, answered = [references[row] for row in on_videos], [select_rows(run, on_videos) for run in runs]
        tables.append(score_long_runs(settings.out, chosen, answered, *draws))
    return "\n\n".join([*tables, *(f"left out: {line}" for line in left_out)])
