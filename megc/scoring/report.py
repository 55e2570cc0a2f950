"""`report.html`: scores, confusion matrices and every clip with its pictures, questions and answers, in one file.

Everything is inlined, so that the page opens from the file system without a network; texts are escaped.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tqdm import tqdm

from megc.commits import commits_of
from megc.files import write_text
from megc.problems import Problems
from megc.scoring.answer_cards import data_uri, make_cards, make_legend
from megc.scoring.consistency import CHECKS, count_consistent_clips
from megc.scoring.evaluation import PairedDifference, compare_runs, evaluate_run, select_rows
from megc.scoring.lvqa_metrics import is_long, score_long_runs
from megc.scoring.plots import count_confusions, draw_intervals, write_confusions
from megc.scoring.runs import Reference, Run, choose_predictions, read_reference_files, read_runs
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

FREQUENT = 8  # answers of a kind that are counted on the page

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
    "count_all": "number of expressions",
    "count_micro": "number of micro-expressions",
    "count_macro": "number of macro-expressions",
    "distinct_units": "action units of the video",
    "event_type": "micro or macro",
}
_SHORT = ("coarse", "fine", "side", "shown", "count_all", "count_micro", "count_macro", "event_type")


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


def answers_by_kind(references: Sequence[Reference], runs: Sequence[Run]) -> list[dict]:
    """How often each run gave each answer to questions with short ones, by kind, the most frequent first."""
    table = []
    for kind in (kind for kind in _SHORT if any(reference.kind == kind for reference in references)):
        rows = [row for row, reference in enumerate(references) if reference.kind == kind]
        counts = [Counter(run.answers[row] or "no answer" for row in rows) for run in runs]
        texts = [", ".join(f"{text} × {count}" for text, count in counter.most_common(FREQUENT)) for counter in counts]
        table.append({"kind": KINDS[kind], "of": len(rows), "answers": texts})
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
    page = _render_page(
        references,
        runs,
        profile,
        limit,
        heads=HEADS,
        order=["avg", *(metric for metric in METRICS if metric != "avg")],
        rows=pooled_only(rows),
        overview=data_uri(draw_intervals(main_rows(rows)), "png") if len(runs) > 1 else None,
        narrow_overview=data_uri(draw_intervals(main_rows(rows), narrow=True), "png") if len(runs) > 1 else None,
        more_heads=MORE_HEADS,
        main_rows=main_rows(rows),
        differences=differences,
        confusions={run.name: confusion_tables(references, run, profile) for run in runs},
        by_kind=right_by_kind(references, runs, profile),
        notes=notes,
    )
    write_text(path, page)


def _render_page(
    references: Sequence[Reference], runs: Sequence[Run], profile: str, limit: int, **scores: object
) -> str:
    """The page: what there is without true answers too, and `scores` where there are any (see report.html)."""
    cards, clips = make_cards(references, runs, profile, limit)
    environment = html_environment(Path(__file__).parent)
    environment.filters |= {"share": format_share, "number": format_count}
    return environment.get_template("report.html").render(
        checks=agreement_by_check(references, runs, profile),
        runs=runs,
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
        **scores,
    )


def show_answers(
    out: Path | str,
    references: Sequence[Reference],
    runs: Sequence[Run],
    profile: str = "megc2025",
    limit: int = CARDS,
) -> str:
    """Write `report.html` of answers to questions whose true answers nobody has here: answers, pictures, agreement.

    Returns a line on each run for a terminal.
    """
    notes = analysis_notes(references, runs)
    counts = answers_by_kind(references, runs)
    page = _render_page(references, runs, profile, limit, rows=[], notes=notes, answer_counts=counts)
    write_text(Path(out) / "report.html", page)
    lines = [
        f"No row of the {len(references)} has a true answer: the page shows answers and pictures, without scores."
    ]
    checks = {line["check"]: line for line in agreement_by_check(references, runs, profile)}
    for number, run in enumerate(runs):
        answers = zip(references, run.answers, strict=True)
        invalid = sum(is_invalid(text, row.kind, profile, row.dataset) for row, text in answers)
        agree = [f"{line['passed'][number]} of {line['of']} clips: {check}" for check, line in checks.items()]
        answered = sum(answer is not None for answer in run.answers)
        lines.append(f"{run.name}: {answered} answers, {invalid} of them invalid; {'; '.join(agree)}")
    return "\n".join([*lines, *notes, "", f"written: {Path(out) / 'report.html'}"])


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
    questions = read_reference_files(settings.references, Problems(), unanswered=True)
    # what nobody has answered is no fault of the file: the challenge keeps the true answers of its test sets
    scored = any(question.answer for question in questions)
    references = read_reference_files(settings.references, problems, unanswered=not scored)
    paths, left_out = list(settings.predictions), []
    if not paths:
        paths, left_out = choose_predictions(settings.out, references)
    runs = read_runs(paths, list(settings.names), references, problems)
    profiles = list(PROFILES) if "all" in settings.profiles else settings.profiles
    if not scored:
        summary = show_answers(settings.out, references, runs, profiles[0], settings.cards)
        return "\n\n".join([summary, *(f"left out: {line}" for line in left_out)])
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
