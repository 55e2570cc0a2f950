"""Two opinions on each question made into one answer: the language model's choices and the flow probe's evidence.

score(answer) = a · log p_model + b · log p_probe + c · log p_training, a log-linear pool with weights of its own for
each kind of question. The weights are fitted on held-out predictions of training subjects, or equal. A clip's answers
go together: coarse follows fine, the sentence is composed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from megc.baselines.evidence import LabelShares
from megc.baselines.loglinear import fit_weights, logs, pooled
from megc.baselines.prior import Prior
from megc.baselines.probe import likeliest_list
from megc.commits import answer_commits, commit
from megc.facs import FINE_TO_COARSE, unit_name, unit_number
from megc.files import lock_folder, write_json, write_jsonl
from megc.problems import DataError
from megc.splits import subject_key, subjects_in
from megc.vqa.evidence_prompt import read_evidence
from megc.vqa.instructions import answer_of, read_records, record_key, row_clip, row_id, row_key
from megc.vqa.labels import PRETENDED_CLIPS, read_answers, record_labels, smoothed_share
from megc.vqa.questions import (
    Question,
    allowed_answers,
    compose_long,
    join_units,
    normalise_answer,
    parse,
    split_units,
)

CLOSED = ("coarse", "fine", "side", "shown")
OPINIONS = ("model", "probe", "training frequencies")
EQUAL = (0.5, 0.5, 0.0)
_ANSWER = "answer questions with test/generate_answers.py"


def model_chances(row: Mapping, labels: Sequence[str]) -> np.ndarray:
    """The model's log-probabilities of `labels`: of its `choices`, else of how its votes (else its answer) fell."""
    if choices := row.get("choices"):
        found = {normalise_answer(text): value for text, value in choices.items()}
        likelihoods = np.array([found.get(normalise_answer(label), -math.inf) for label in labels])
        if np.isfinite(likelihoods).any():
            return logs(np.exp(likelihoods - logsumexp(likelihoods)))
    votes = Counter(normalise_answer(text) for text in row.get("votes") or [row.get("answer") or ""])
    return logs([votes[normalise_answer(label)] + PRETENDED_CLIPS / len(labels) for label in labels])


def unit_support(row: Mapping | None) -> dict[int, float]:
    """Probability of each action unit by the model's lists, from its `choices`, its votes or its one answer.

    Half a vote for and half a vote against every unit come on top, so that none is certain. Under the key 0 stands
    the probability of units that no list names.
    """
    lists: dict[tuple, float] = defaultdict(float)
    total = 1.0
    if row and (choices := row.get("choices")):
        whole = logsumexp(list(choices.values()))
        for text, value in choices.items():
            lists[tuple(split_units(text))] += math.exp(value - whole)
    elif row:
        votes = row.get("votes") or [row.get("answer") or ""]
        total = len(votes)
        for text in votes:
            lists[tuple(split_units(text))] += 1
    units: dict[int, float] = defaultdict(float)
    for numbers, weight in lists.items():
        for unit in filter(None, numbers):
            units[unit] += weight
    return {unit: smoothed_share(units[unit], total) for unit in (*units, 0)}


@dataclass(frozen=True)
class AskedClip:
    """What is known of a clip: its prediction rows with their questions, and its evidence."""

    dataset: str
    rows: tuple[tuple[dict, Question], ...]
    evidence: Mapping[str, Mapping[str, float]]

    def first(self, kind: str) -> dict | None:
        """The row of the first question of a kind, if there is one."""
        return next((row for row, question in self.rows if question.kind == kind), None)


def group(rows: Sequence[dict], evidence: Mapping[str, Mapping]) -> dict[str, AskedClip]:
    """Prediction rows by clip, with their evidence. Raises ValueError for a clip that has none."""
    asked: dict[str, list] = defaultdict(list)
    datasets = {}
    for row in rows:
        origin = row_clip(row)
        if origin["clip"] not in evidence:
            raise ValueError(f"no evidence of {origin['clip']}: write it with test/answer_baselines.py --evidence")
        asked[origin["clip"]].append((row, parse(row["question"])))
        datasets[origin["clip"]] = origin["dataset"]
    return {clip: AskedClip(datasets[clip], tuple(found), evidence[clip]) for clip, found in asked.items()}


class Fusion:
    """Log-linear fusion with `weights` by kind of question (EQUAL where a kind has none).

    `train` are answered instruction records of training subjects: label frequencies, lists of action units.
    """

    def __init__(self, train: Sequence[dict], weights: Mapping[str, tuple[float, ...]] | None = None) -> None:
        self.train = train
        self.weights = dict(weights or {})
        labels = record_labels(train)
        self.shares, self.prior = LabelShares(labels), Prior(train)
        self.lists = Counter(label.units for label in labels if label.units)

    def weights_of(self, kind: str) -> tuple[float, ...]:
        """Weights of model, probe and training frequencies for a kind of question."""
        return self.weights.get(kind, EQUAL)

    def terms(self, row: Mapping, question: Question, clip: AskedClip) -> tuple[tuple[str, ...], np.ndarray]:
        """Allowed answers of a closed question, and what model, probe and training say of each (answers, 3)."""
        labels = allowed_answers(question, clip.dataset)
        if question.kind == "shown":
            base = self.shares.share_of_unit(question.unit)
            chance = clip.evidence["units"].get(unit_name(question.unit), base)
            # being asked about is news that the probe has not; only how far it moves from the base rate counts
            probe = logs([chance / base if label == "yes" else (1 - chance) / (1 - base) for label in labels])
            yes = self.prior.shown(question.unit)
            prior = logs([yes if label == "yes" else 1 - yes for label in labels])
        else:
            found = clip.evidence.get(question.kind, {})
            probe = logs([found.get(label, 0.0) for label in labels]) if found else logs([1.0] * len(labels))
            prior = logs([self.shares.share_of_label(question.kind, label) for label in labels])
        return labels, np.column_stack([model_chances(row, labels), probe, prior])

    def unit_terms(self, clip: AskedClip) -> dict[int, np.ndarray]:
        """What model, probe and training say of the absence and presence of each action unit: (2, 3) by number."""
        row = clip.first("units")
        support = unit_support(row)
        listed = filter(None, split_units((row or {}).get("answer") or ""))
        found = {unit_number(name): p for name, p in clip.evidence["units"].items()}
        terms = {}
        for unit in sorted({*filter(None, support), *listed, *found, *self.shares.units}):
            share = self.shares.share_of_unit(unit)
            opinions = support.get(unit, support[0]), found.get(unit, share), share
            terms[unit] = np.column_stack([logs([1 - p, p]) for p in opinions])
        return terms

    def fitted(self, rows: Sequence[dict], evidence: Mapping[str, Mapping]) -> "Fusion":
        """The same with weights fitted on held-out predictions `rows` of training subjects.

        Raises ValueError for a row that `train` does not hold: its true answer is not known.
        """
        truth = {record_key(record): answer_of(record) for record in self.train}
        examples: dict[str, list] = defaultdict(list)
        for clip in group(rows, evidence).values():
            for row, question in clip.rows:
                key = (row_clip(row)["clip"], row_id(row), row["question"])
                if key not in truth:
                    raise ValueError(f"{row_id(row)} is no training row: weights are fitted on training subjects only")
                answer = truth[key]
                if question.kind in CLOSED:
                    labels, terms = self.terms(row, question, clip)
                    if answer in labels:
                        examples[question.kind].append((terms, labels.index(answer)))
                elif question.kind == "units" and row is clip.first("units"):
                    there = split_units(answer)
                    examples["units"] += [(terms, int(unit in there)) for unit, terms in self.unit_terms(clip).items()]
        return Fusion(self.train, {kind: fit_weights(found, EQUAL) for kind, found in examples.items()})

    def _classes(self, clip: AskedClip) -> tuple[str, str]:
        """Fine and coarse class that fit best together; the model has a say in those that it was asked for."""
        chances = {}
        for kind in ("coarse", "fine"):
            row = clip.first(kind) or {}
            labels, terms = self.terms(row, Question(kind), clip)
            opinion = terms if row else terms[:, 1:]  # the model was not asked
            weights = self.weights_of(kind) if row else self.weights_of(kind)[1:]
            chances[kind] = dict(zip(labels, pooled(opinion, weights), strict=True))
        fine = max(chances["fine"], key=lambda name: chances["fine"][name] + chances["coarse"][FINE_TO_COARSE[name]])
        return fine, FINE_TO_COARSE[fine]

    def _units(self, clip: AskedClip, many: bool) -> str:
        """The likeliest list of the wording, of those that training has and the model's own."""
        chances = {unit: pooled(terms, self.weights_of("units")) for unit, terms in self.unit_terms(clip).items()}
        odds = {unit: float(there - absent) for unit, (absent, there) in chances.items()}
        own = tuple(filter(None, split_units((clip.first("units") or {}).get("answer") or "")))
        lists = {numbers: count for numbers, count in {**{own: 1}, **self.lists}.items() if numbers}
        fitting = {numbers: count for numbers, count in lists.items() if (len(numbers) > 1) == many}
        if not fitting:
            ordered = sorted(odds, key=lambda unit: -odds[unit])
            return join_units(ordered[: 2 if many else 1])
        # how often training has a list is one opinion more, as heavy as the others on average
        return join_units(list(likeliest_list(fitting, odds, sum(self.weights_of("units")[:2]) / 2)))

    def answer(self, clip: AskedClip) -> list[dict]:
        """The clip's rows with fused answers; of closed questions also the fused log-probability of each choice."""
        fine, coarse = self._classes(clip)
        rows = []
        for row, question in clip.rows:
            answers, choices, margin = {"fine": fine, "coarse": coarse}, None, None
            if question.kind in CLOSED:
                labels, terms = self.terms(row, question, clip)
                chances = pooled(terms, self.weights_of(question.kind))
                choices = {label: round(float(chance), 6) for label, chance in zip(labels, chances, strict=True)}
                first, second = sorted(np.exp(chances), reverse=True)[:2]
                margin = round(float(first - second), 6)
                answers.setdefault(question.kind, max(choices, key=choices.get))
            if question.kind in ("units", "long", "analysis"):
                units = self._units(clip, bool(question.many))
                answers |= {"units": units}
                answers |= dict.fromkeys(("long", "analysis"), compose_long(units, fine, coarse))
            said = {"answer": answers.get(question.kind, row.get("answer", "")), "votes": [], "agreement": None}
            kept = {key: value for key, value in row.items() if key not in ("run", "input", "draws")}
            rows.append({**kept, **said, "margin": margin, "choices": choices})
        return rows


def fuse(rows: Sequence[dict], evidence: Mapping[str, Mapping], fusion: Fusion) -> list[dict]:
    """Prediction rows with fused answers, in their order."""
    fused = {row_key(row): row for clip in group(rows, evidence).values() for row in fusion.answer(clip)}
    return [fused[row_key(row)] for row in rows]


def fuse_files(
    predictions: Path,
    evidence: Path,
    train: Path,
    out: Path,
    fit: Path | None = None,
    fit_evidence: Path | None = None,
) -> str:
    """Fuse a predictions file with evidence into `out/predictions.jsonl`, its weights in `out/run.json`; a summary.

    `fit` are predictions for training clips by a model that did not train on their subjects; their evidence is the
    `train` part of `fit_evidence` (None: of `evidence`). Raises ValueError when a subject of `predictions` is one of
    `train`.
    """
    known = [record for record in read_records(train) if answer_of(record)]
    if not known:
        raise DataError(train, None, "no answered row in the file", "give the training side of set_train_dataset.py")
    rows = read_answers(predictions, _ANSWER)
    subjects = subjects_in(known)
    if shared := {subject_key(row_clip(row)) for row in rows} & subjects:
        raise ValueError(f"{', '.join(sorted(shared))} in both {train} and {predictions}: split by subject")
    fusion, words = Fusion(known), "no --fit file: model and probe weigh the same"
    if fit:
        held = read_answers(fit, _ANSWER)
        fusion = fusion.fitted(held, read_evidence(fit_evidence or evidence, "train"))
        words = f"weights fitted on {len(held)} held-out answers of {fit}"
    fused = fuse(rows, read_evidence(evidence, "test"), fusion)
    kinds = (*CLOSED[:2], "units", *CLOSED[2:])
    weights = {kind: dict(zip(OPINIONS, fusion.weights_of(kind), strict=True)) for kind in kinds}
    files = {"predictions": predictions, "evidence": evidence, "train": train, "fit": fit}
    settings = {name: str(path) for name, path in {**files, "fit_evidence": fit_evidence}.items() if path}
    sources = [path for path in (predictions, fit) if path]
    commits = sorted({commit()}.union(*map(answer_commits, sources)) - {""})
    with lock_folder(out, "answers"):  # both files of one run
        write_jsonl(out / "predictions.jsonl", fused)
        write_json(out / "run.json", {"fusion": "log-linear", **settings, "weights": weights, "commits": commits})
    lines = [f"{kind}: {', '.join(f'{name} {w:.2f}' for name, w in found.items())}" for kind, found in weights.items()]
    return "\n".join([words, *lines, f"{out / 'predictions.jsonl'}: {len(fused)} fused answers"])
