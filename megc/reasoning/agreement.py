"""Reconcile a clip's answers with each other, with the wording of its questions, with training labels.

Works on stored predictions, rows of the challenge's format, so that it takes any model's answers and every option
can be switched on its own. Options run in the order of OPTIONS, whatever order they are given in. No option makes an
answer outside the allowed ones; an empty answer is not filled in unless the others imply it.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megc.commits import answer_commits, commit
from megc.facs import FINE_TO_COARSE
from megc.files import lock_folder, sha256_of, write_json, write_jsonl
from megc.problems import DataError, Problems
from megc.reasoning.knowledge import Knowledge
from megc.reasoning.nearest import nearest_answer, nearest_units
from megc.reasoning.settings import OPTIONS, ReasonSettings
from megc.reasoning.unit_lists import Evidence, log_odds, match_count, reconcile_yes_no
from megc.splits import shared_subjects, subject_key
from megc.vqa.instructions import row_clip, row_id
from megc.vqa.labels import PRETENDED_VOTES, read_answers
from megc.vqa.questions import (
    Question,
    allowed_answers,
    analysis_fault,
    compose_analysis,
    compose_long,
    is_unit_list,
    join_units,
    parse,
    split_long,
)


def order_options(names: Iterable[str]) -> tuple[str, ...]:
    """The options of these names in the order they run. Raises ValueError for an unknown name."""
    names = set(names)
    if unknown := sorted(names - OPTIONS.keys()):
        raise ValueError(f"unknown option {', '.join(unknown)}; known: {', '.join(OPTIONS)}")
    return tuple(name for name in OPTIONS if name in names)


@dataclass
class _Clip:
    """The rows of one clip with their questions, and the list of action units as reasoning has left it."""

    dataset: str
    rows: list[dict] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    def answered(self, *kinds: str) -> list[tuple[dict, Question]]:
        """Answered rows of these kinds, with their questions."""
        pairs = zip(self.rows, self.questions, strict=True)
        return [(row, question) for row, question in pairs if question.kind in kinds and row["answer"].strip()]

    def allowed(self, row: dict, question: Question) -> tuple[str, ...]:
        """Allowed answers of a closed question: those that were compared, else the challenge's."""
        return tuple(row.get("choices") or allowed_answers(question, self.dataset) or ())

    def set_answers(self, kind: str, answer: str) -> None:
        """Write an answer to every question of a kind."""
        for row, question in zip(self.rows, self.questions, strict=True):
            if question.kind == kind:
                row["answer"] = answer

    def class_named(self, kind: str) -> str | None:
        """The class of `kind` that the clip's own answer names; else, of coarse, its fine class; else its sentence."""
        for row, question in self.answered(kind):
            return nearest_answer(row["answer"], self.allowed(row, question), kind)
        if kind == "coarse" and self.answered("fine"):
            return FINE_TO_COARSE.get(self.class_named("fine"))
        for row, _ in self.answered("long"):
            if split_long(row["answer"]):
                return nearest_answer(row["answer"], allowed_answers(Question(kind), self.dataset), kind)
        return None

    def log_shares(self, row: dict, question: Question) -> dict[str, float]:
        """Log of the share of each allowed answer: by likelihood where answers were compared, else by votes."""
        allowed = self.allowed(row, question)
        if row.get("choices"):  # log-softmax over the allowed answers
            top = max(row["choices"].values())
            total = top + math.log(math.fsum(math.exp(value - top) for value in row["choices"].values()))
            return {name: row["choices"][name] - total for name in allowed}
        votes = [nearest_answer(text, allowed, question.kind) for text in _votes(row)]
        total = len(votes) + PRETENDED_VOTES * len(allowed)
        return {name: math.log((votes.count(name) + PRETENDED_VOTES) / total) for name in allowed}


def _votes(row: dict) -> list[str]:
    return [text for text in row.get("votes") or () if text.strip()] or [row["answer"]]


def _is_weighed(row: dict) -> bool:
    """Whether more is known of an answer than its text."""
    return bool(row.get("choices")) or len(_votes(row)) > 1


def reason_over_rows(
    rows: Sequence[dict],
    options: Iterable[str],
    knowledge: Knowledge | None = None,
) -> list[dict]:
    """Copies of prediction rows with their answers reasoned over, in order; the original answer stays as `raw`.

    `options` are names of OPTIONS. `choices` (log-likelihoods of the allowed answers) and `votes` are used where
    a row has them. A row that has `raw` already is reasoned over from there. `knowledge` is of training subjects.
    Raises ValueError for an unknown option, for a subject of `rows` among the training subjects, and for an unknown
    question.
    """
    options = order_options(options)
    copies = [{**row, "answer": row.get("raw", row.get("answer", ""))} for row in rows]
    copies = [{**row, "raw": row["answer"]} for row in copies]
    for row in copies:
        row.pop("draws", None)  # of a baseline: scored in place of `answer`, which reasoning changes
        if not isinstance(row["answer"], str):
            raise ValueError(f"the answer of {row_id(row)} is not text")
    if not options:
        return copies
    clips: dict[str, _Clip] = {}
    for row in copies:
        origin = row_clip(row)
        if knowledge is not None and (shared := shared_subjects([subject_key(origin)], knowledge.subjects)):
            raise ValueError(f"{shared[0]} is among the training subjects: nothing may be learnt from a test subject")
        clip = clips.setdefault(origin["clip"], _Clip(origin["dataset"]))
        clip.rows.append(row)
        clip.questions.append(parse(row["question"]))
    # clip by clip: no answer depends on another clip of the test set
    for clip in clips.values():
        _reason(clip, options, knowledge)
    return copies


def _reason(clip: _Clip, options: Sequence[str], knowledge: Knowledge | None) -> None:
    """Apply the options to the rows of a clip: wording first, then action units, classes, and last the sentence."""
    clip.units = _listed_units(clip)
    before, evidence = list(clip.units), _collect_evidence(clip, knowledge)
    if "snap" in options:
        _snap(clip)
    if "number" in options:
        clip.units = match_count(clip.units, _asks_for_several(clip), evidence)
    if "shown" in options:
        clip.units = reconcile_yes_no(clip.units, _asks_for_several(clip), evidence)
        for row, question in clip.answered("shown") if clip.units else ():
            row["answer"] = "yes" if question.unit in clip.units else "no"
    if clip.units != before:  # an untouched list keeps its spelling
        clip.set_answers("units", join_units(clip.units))
    if "joint" in options:
        _choose_jointly(clip)
    if {"compose", "analysis"} & set(options):
        _compose(clip, options)


def _listed_units(clip: _Clip) -> list[int]:
    """Action units of the clip's list, else of its sentence."""
    for kind in ("units", "long"):  # the list itself counts more than the sentence that repeats it
        for row, _ in clip.answered(kind):
            if kind == "units" or split_long(row["answer"]):
                return nearest_units(row["answer"])
    return []


def _asks_for_several(clip: _Clip) -> bool | None:
    """Whether the wording of the clip's questions speaks of several action units; None where it does not tell."""
    return next((question.many for question in clip.questions if question.many is not None), None)


def _collect_evidence(clip: _Clip, knowledge: Knowledge | None) -> Evidence:
    """Evidence for the clip's action units, from the answers before any option changed them."""
    lists = [
        nearest_units(text)
        for row, question in clip.answered("units", "long")
        for text in _votes(row)
        if question.kind == "units" or split_long(text)
    ]
    listed_units = sorted({unit for units in lists for unit in units})
    listed = {unit: log_odds(sum(unit in units for units in lists), len(lists)) for unit in listed_units}
    yes_no: dict[int, float] = defaultdict(float)
    for row, question in clip.answered("shown"):
        shares = clip.log_shares(row, question)
        if shares.keys() == {"yes", "no"}:
            yes_no[question.unit] += shares["yes"] - shares["no"]
    if knowledge is None or not knowledge.labels:
        return Evidence(listed, dict(yes_no))

    def training(unit: int, others: Sequence[int], many: bool) -> float:
        return knowledge.unit_support(clip.dataset, unit, others, many)

    return Evidence(listed, dict(yes_no), training, trained=True)


def _snap(clip: _Clip) -> None:
    """Closed answers, lists and sentences in the challenge's words; what a sentence lacks comes from the clip."""
    for row, question in clip.answered("coarse", "fine", "shown", "side", "event_type"):
        row["answer"] = nearest_answer(row["answer"], clip.allowed(row, question), question.kind)
    for row, _ in clip.answered("units", "distinct_units"):
        if not is_unit_list(row["answer"]):
            row["answer"] = join_units(nearest_units(row["answer"]))
    for row, _ in clip.answered("long"):
        if split_long(row["answer"]):  # a sentence keeps its own parts, in the challenge's words
            units = nearest_units(row["answer"])
            fine, coarse = (
                nearest_answer(row["answer"], allowed_answers(Question(kind), clip.dataset), kind)
                for kind in ("fine", "coarse")
            )
        else:
            units, fine, coarse = clip.units, clip.class_named("fine"), clip.class_named("coarse")
        if units and fine and coarse:
            row["answer"] = compose_long(join_units(units), fine, coarse)


def _best(scores: dict[str, float], present: str | None) -> str:
    return max(scores, key=lambda name: (scores[name], name == present))


def _choose_jointly(clip: _Clip) -> None:
    """The fine class that is likeliest together with its coarse class; where only texts are known, the fine one's."""
    for row, question in clip.answered("fine"):
        scores = {name: score for name, score in clip.log_shares(row, question).items() if name in FINE_TO_COARSE}
        coarse = next(iter(clip.answered("coarse")), None)
        if coarse and _is_weighed(row) and _is_weighed(coarse[0]):
            shares = clip.log_shares(*coarse)
            least = min(shares.values())  # of a class that --coarse left out: as unlikely as the least likely
            scores = {name: score + shares.get(FINE_TO_COARSE[name], least) for name, score in scores.items()}
        if scores:
            best = _best(scores, clip.class_named("fine"))
            clip.set_answers("fine", best)
            clip.set_answers("coarse", FINE_TO_COARSE[best])
    if not clip.answered("fine") and (fine := clip.class_named("fine")) in FINE_TO_COARSE:
        clip.set_answers("coarse", FINE_TO_COARSE[fine])  # the sentence alone names it, and keeps it


def _compose(clip: _Clip, options: Sequence[str]) -> None:
    """Write the sentence (`compose`), and analyses: those with a fault (`compose`) or all (`analysis`)."""
    fine, coarse = clip.class_named("fine"), clip.class_named("coarse")
    if not (clip.units and fine and coarse):
        return
    labels = (join_units(clip.units), fine, coarse)
    if "compose" in options:
        clip.set_answers("long", compose_long(*labels))
    for row, question in zip(clip.rows, clip.questions, strict=True):
        if question.kind == "analysis" and ("analysis" in options or analysis_fault(row["answer"])):
            row["answer"] = compose_analysis(*labels)


def reason_file(
    predictions: Path | str, out: Path | str, options: Iterable[str], train: Path | str | None = None
) -> str:
    """Apply options to a predictions file and write `predictions.jsonl` and `run.json` into the folder `out`.

    Returns a summary. Raises DataError for files that cannot be read and for rows that cannot be reasoned over.
    """
    options = order_options(options)
    target = Path(out) / "predictions.jsonl"
    if target.resolve() == Path(predictions).resolve():
        raise DataError(target, None, "would be written over itself", "choose another --out")
    rows = read_answers(predictions, "answer questions with test/generate_answers.py")
    knowledge = Knowledge.from_file(train) if train else None
    try:
        reasoned = reason_over_rows(rows, options, knowledge)
    except (ValueError, KeyError) as error:
        fix = "give predictions in the challenge's format, and training answers of other subjects"
        raise DataError(predictions, None, f"cannot be reasoned over ({error})", fix) from error
    settings = {
        "reason": list(options),
        "predictions": sha256_of(Path(predictions).read_bytes()),
        "knowledge": knowledge.hash if knowledge else None,
    }
    run_info = {
        "hash": sha256_of(json.dumps(settings, sort_keys=True)),
        "settings": settings,
        "from": str(predictions),
    }
    run_info["commits"] = sorted({*answer_commits(Path(predictions)), commit()} - {""})
    with lock_folder(out, "answers"):  # both files of one run
        write_jsonl(target, ({**row, "run": run_info["hash"]} for row in reasoned))
        write_json(Path(out) / "run.json", {**run_info, "train": str(train) if train else None, "rows": len(reasoned)})
    changed = sum(row["answer"] != row["raw"] for row in reasoned)
    return f"{target}: {changed} of {len(reasoned)} answers changed by {', '.join(options)}"


def reason_answers(settings: ReasonSettings, _problems: Problems) -> str:
    """`reason_file` of the settings' predictions; returns a summary."""
    return reason_file(settings.predictions, settings.out, settings.reason, settings.train)
