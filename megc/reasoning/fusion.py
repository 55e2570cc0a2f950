"""Fuse the language model's answers with the flow probe's evidence, by a log-linear pool.

score(answer) = a · log p_model + b · log p_probe + c · log p_training, a log-linear pool with weights of its own for
each kind of question: equal ones, or those of `Fusion.fit`, where the model counts as far as held-out predictions of
training subjects show that it adds to the probe, and the answers are the probe's where they do not. A clip's answers
agree: coarse follows fine, the sentence is composed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from megc.baselines.evidence import KINDS, read_evidence
from megc.baselines.loglinear import Gain, fit_second_opinion, log_chances, pool_opinions
from megc.baselines.prior import Prior
from megc.baselines.probe import likeliest_list
from megc.commits import answer_commits, commit
from megc.facs import FINE_TO_COARSE, unit_name, unit_number
from megc.files import lock_folder, write_json, write_jsonl
from megc.problems import DataError, Problems
from megc.reasoning.settings import FuseSettings
from megc.splits import person_key, shared_subjects, subject_key, subjects_in
from megc.vqa.instructions import answer_of, read_records, record_key, row_clip, row_id, row_key
from megc.vqa.labels import PRETENDED_CLIPS, ClipLabels, read_answers, record_labels, smoothed_share
from megc.vqa.questions import (
    COMPOSED,
    Question,
    allowed_answers,
    join_units,
    normalise_answer,
    parse,
    split_units,
)

CLOSED = ("coarse", "fine", "side", "shown")
FUSED = (*CLOSED[:2], "units", *CLOSED[2:])
OPINIONS = ("model", "probe", "training frequencies")
EQUAL = (0.5, 0.5, 0.0)  # of OPINIONS, where no weights are fitted
PROBE = {"shown": (0.0, 1.0, 1.0)}  # weights that answer as the probe does; it counts how often `yes` was right
PROBE_OF_OTHERS = (0.0, 1.0, 0.0)
_ANSWER = "answer questions with test/generate_answers.py"


def model_log_shares(row: Mapping, labels: Sequence[str]) -> np.ndarray:
    """The model's log-probabilities of `labels` (labels,): by its `choices`, else by its votes, else by its answer."""
    if choices := row.get("choices"):
        values = {normalise_answer(text): value for text, value in choices.items()}
        likelihoods = np.array([values.get(normalise_answer(label), -math.inf) for label in labels])
        if np.isfinite(likelihoods).any():
            return log_chances(np.exp(likelihoods - logsumexp(likelihoods)))
    votes = Counter(normalise_answer(text) for text in row.get("votes") or [row.get("answer") or ""])
    return log_chances([votes[normalise_answer(label)] + PRETENDED_CLIPS / len(labels) for label in labels])


def unit_shares(row: Mapping | None) -> dict[int, float]:
    """Probability of each action unit by the model's lists, from its `choices`, its votes or its one answer.

    Half a vote for and half a vote against every unit are added, so that none is certain. The key 0 is for
    all units that no list names.
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


class LabelShares:
    """How frequent each label is among training clips, smoothed (see `labels.smoothed_share`)."""

    def __init__(self, labels: Sequence[ClipLabels]) -> None:
        self.clips = len(labels)
        answers = {kind: [getattr(label, kind) for label in labels] for kind in KINDS}
        self.counts = {kind: Counter(filter(None, answers[kind])) for kind in KINDS}
        self.units = Counter(unit for label in labels for unit in label.units)

    def share_of_label(self, kind: str, label: str) -> float:
        """Share of a label among the clips that have one of its kind (`coarse`, `fine`, `side`)."""
        counts = self.counts[kind]
        return smoothed_share(counts[label], counts.total(), max(len(counts), 1))

    def share_of_unit(self, unit: int) -> float:
        """Share of the clips that show an action unit."""
        return smoothed_share(self.units[unit], self.clips)


@dataclass(frozen=True)
class ClipAnswers:
    """A clip's prediction rows with their questions, and its evidence by kind of question."""

    dataset: str
    rows: tuple[tuple[dict, Question], ...]
    evidence: Mapping[str, Mapping[str, float]]

    def first(self, kind: str) -> dict | None:
        """The row of the first question of a kind, if there is one."""
        return next((row for row, question in self.rows if question.kind == kind), None)


def group_by_clip(rows: Sequence[dict], evidence: Mapping[str, Mapping]) -> dict[str, ClipAnswers]:
    """Prediction rows by clip, with their evidence. Raises ValueError for a clip that has none."""
    pairs: dict[str, list] = defaultdict(list)
    datasets = {}
    for row in rows:
        origin = row_clip(row)
        if origin["clip"] not in evidence:
            raise ValueError(f"no evidence of {origin['clip']}: write it with test/answer_baselines.py --evidence")
        pairs[origin["clip"]].append((row, parse(row["question"])))
        datasets[origin["clip"]] = origin["dataset"]
    return {clip: ClipAnswers(datasets[clip], tuple(pairs[clip]), evidence[clip]) for clip in pairs}


@dataclass(frozen=True)
class _Example:
    """A held-out answer: whose, the log-shares of the labels by OPINIONS (labels, 3), the true label's number, and its
    name where all names shall count alike."""

    person: str
    terms: np.ndarray
    truth: int
    label: str


def probe_weights(kind: str) -> tuple[float, ...]:
    """Weights of OPINIONS with which a kind of question is answered as the probe answers it."""
    return PROBE.get(kind, PROBE_OF_OTHERS)


def _fit_gain(kind: str, examples: Sequence[_Example]) -> Gain:
    """What the model adds to the probe's own answers to a kind of question."""
    counts = Counter(example.label for example in examples)
    importance = [len(examples) / (len(counts) * counts[example.label]) for example in examples]
    trusted = np.array(probe_weights(kind))
    pairs = [(np.column_stack([e.terms[:, 0], e.terms @ trusted]), e.truth) for e in examples]
    return fit_second_opinion(pairs, [example.person for example in examples], importance)


class Fusion:
    """Log-linear fusion with `weights` by kind of question (EQUAL where a kind has none).

    `train` are answered instruction records of training subjects: label frequencies, lists of action units.
    """

    def __init__(
        self,
        train: Sequence[dict],
        weights: Mapping[str, tuple[float, ...]] | None = None,
        gains: Mapping[str, Gain] | None = None,
    ) -> None:
        self.train = train
        self.weights, self.gains = dict(weights or {}), dict(gains or {})
        labels = record_labels(train)
        self.shares, self.prior = LabelShares(labels), Prior(train)
        self.lists = Counter(label.units for label in labels if label.units)

    def weights_for(self, kind: str) -> tuple[float, ...]:
        """Weights of model, probe and training frequencies for a kind of question."""
        return self.weights.get(kind, EQUAL)

    def terms(self, row: Mapping, question: Question, clip: ClipAnswers) -> tuple[tuple[str, ...], np.ndarray]:
        """Allowed answers of a closed question, and of each the log-shares by OPINIONS (answers, 3)."""
        labels = allowed_answers(question, clip.dataset)
        if question.kind == "shown":
            base = self.shares.share_of_unit(question.unit)
            chance = clip.evidence["units"].get(unit_name(question.unit), base)
            # units that a question names are present more often than others, which the probe does not know: only
            # how far it moves from the base rate counts
            probe = log_chances([chance / base if label == "yes" else (1 - chance) / (1 - base) for label in labels])
            yes = self.prior.share_of_yes(question.unit)
            prior = log_chances([yes if label == "yes" else 1 - yes for label in labels])
        else:
            shares = clip.evidence.get(question.kind)
            # without evidence the probe has no opinion: all labels alike
            probe = log_chances([shares.get(label, 0.0) if shares else 1.0 for label in labels])
            prior = log_chances([self.shares.share_of_label(question.kind, label) for label in labels])
        return labels, np.column_stack([model_log_shares(row, labels), probe, prior])

    def unit_terms(self, clip: ClipAnswers) -> dict[int, np.ndarray]:
        """By action unit: log-shares of its absence and its presence by OPINIONS (2, 3)."""
        row = clip.first("units")
        model = unit_shares(row)
        listed = filter(None, split_units((row or {}).get("answer") or ""))
        probe = {unit_number(name): share for name, share in clip.evidence["units"].items()}
        terms = {}
        for unit in sorted({*filter(None, model), *listed, *probe, *self.shares.units}):
            training = self.shares.share_of_unit(unit)
            opinions = model.get(unit, model[0]), probe.get(unit, training), training
            terms[unit] = np.column_stack([log_chances([1 - share, share]) for share in opinions])
        return terms

    def fit(self, rows: Sequence[dict], evidence: Mapping[str, Mapping]) -> "Fusion":
        """The same with the model's weight beside the probe fitted on held-out predictions `rows` of training
        subjects, by kind of question: see `loglinear.fit_second_opinion`. Classes count alike, whether rare or not.

        Raises ValueError for a row that `train` does not hold: its true answer is not known.
        """
        truth = {record_key(record): answer_of(record) for record in self.train}
        examples: dict[str, list[_Example]] = defaultdict(list)
        for clip in group_by_clip(rows, evidence).values():
            for row, question in clip.rows:
                key = (row_clip(row)["clip"], row_id(row), row["question"])
                if key not in truth:
                    raise ValueError(f"{row_id(row)} is no training row: weights are fitted on training subjects only")
                person = person_key(subject_key(row_clip(row)))
                examples[question.kind] += self._examples(row, question, clip, truth[key], person)
        gains = {kind: _fit_gain(kind, of_kind) for kind, of_kind in examples.items() if of_kind}
        shares = {kind: gains[kind].weight if kind in gains else 0.0 for kind in FUSED}
        weights = {
            kind: (share, *((1 - share) * weight for weight in probe_weights(kind)[1:]))
            for kind, share in shares.items()
        }
        return Fusion(self.train, weights, gains)

    def _examples(
        self, row: dict, question: Question, clip: ClipAnswers, answer: str, person: str
    ) -> list["_Example"]:
        """What a held-out answer says of the model's weight: one example a closed question, one a unit of a list."""
        if question.kind in CLOSED:
            labels, terms = self.terms(row, question, clip)
            return [_Example(person, terms, labels.index(answer), answer)] if answer in labels else []
        if question.kind == "units" and row is clip.first("units"):
            present = split_units(answer)
            return [_Example(person, terms, int(unit in present), "") for unit, terms in self.unit_terms(clip).items()]
        return []

    def _choose_classes(self, clip: ClipAnswers) -> tuple[str, str]:
        """The fine and coarse class that are likeliest together; the model counts for the kinds that it answered. A
        clip that is asked for the coarse class alone, as in a dataset without fine ones, has no fine class."""
        chances = {}
        for kind in ("coarse", "fine"):
            row = clip.first(kind) or {}
            labels, terms = self.terms(row, Question(kind), clip)
            first = 0 if row else 1  # 1: without the model's column
            log_shares = pool_opinions(terms[:, first:], self.weights_for(kind)[first:])
            chances[kind] = dict(zip(labels, log_shares, strict=True))
        if {question.kind for _, question in clip.rows}.isdisjoint({"fine", *COMPOSED}):
            return "", max(chances["coarse"], key=chances["coarse"].get)
        fine = max(chances["fine"], key=lambda name: chances["fine"][name] + chances["coarse"][FINE_TO_COARSE[name]])
        return fine, FINE_TO_COARSE[fine]

    def _choose_units(self, clip: ClipAnswers, many: bool) -> str:
        """The likeliest list, of one unit or `many`, of those that training has and the model's own."""
        weights = self.weights_for("units")
        log_shares = {unit: pool_opinions(terms, weights) for unit, terms in self.unit_terms(clip).items()}
        odds = {unit: float(present - absent) for unit, (absent, present) in log_shares.items()}
        model = tuple(filter(None, split_units((clip.first("units") or {}).get("answer") or "")))
        lists = {**({model: 1} if model and weights[0] else {}), **self.lists}
        fitting = {numbers: count for numbers, count in lists.items() if (len(numbers) > 1) == many}
        if not fitting:
            ordered = sorted(odds, key=lambda unit: -odds[unit])
            return join_units(ordered[: 2 if many else 1])
        # how often training has a list is one opinion more, as heavy as the others together
        return join_units(list(likeliest_list(fitting, odds, sum(weights[:2]))))

    def answer(self, clip: ClipAnswers) -> list[dict]:
        """The clip's rows with fused answers; of closed questions also the fused log-probability of each choice."""
        fine, coarse = self._choose_classes(clip)
        rows = []
        for row, question in clip.rows:
            answers, choices, margin = {"fine": fine, "coarse": coarse}, None, None
            if question.kind in CLOSED:
                labels, terms = self.terms(row, question, clip)
                chances = pool_opinions(terms, self.weights_for(question.kind))
                choices = {label: round(float(chance), 6) for label, chance in zip(labels, chances, strict=True)}
                first, second = sorted(np.exp(chances), reverse=True)[:2]
                margin = round(float(first - second), 6)
                answers.setdefault(question.kind, max(choices, key=choices.get))
            if question.kind in ("units", "long", "analysis"):
                units = self._choose_units(clip, bool(question.many))
                answers |= {"units": units}
                answers |= {kind: compose(units, fine, coarse) for kind, compose in COMPOSED.items()}
            fused = {"answer": answers.get(question.kind, row.get("answer", "")), "votes": [], "agreement": None}
            # a fused row is no row of the run that answered, and must not be taken for one when that goes on
            kept = {key: value for key, value in row.items() if key not in ("run", "input", "draws")}
            rows.append({**kept, **fused, "margin": margin, "choices": choices})
        return rows


def fuse_rows(rows: Sequence[dict], evidence: Mapping[str, Mapping], fusion: Fusion) -> list[dict]:
    """Prediction rows with fused answers, in their order."""
    fused = {row_key(row): row for clip in group_by_clip(rows, evidence).values() for row in fusion.answer(clip)}
    return [fused[row_key(row)] for row in rows]


def fuse_files(
    predictions: Path,
    evidence: Path,
    train: Path,
    out: Path,
    fit: Sequence[Path] = (),
    fit_evidence: Path | None = None,
) -> str:
    """Fuse a predictions file with evidence into `out/predictions.jsonl`, its weights in `out/run.json`; a summary.

    `fit` are predictions for training clips by models that did not train on their subjects; their evidence is the
    `train` part of `fit_evidence` (None: of `evidence`). Raises DataError for files that cannot be read or hold no
    answer, and ValueError when a subject of `predictions` is one of `train`.
    """
    training = [record for record in read_records(train) if answer_of(record)]
    if not training:
        raise DataError(train, None, "no answered row in the file", "give the training side of set_train_dataset.py")
    rows = read_answers(predictions, _ANSWER)
    if shared := shared_subjects((subject_key(row_clip(row)) for row in rows), subjects_in(training)):
        raise ValueError(f"{', '.join(shared)} in both {train} and {predictions}: split by subject")
    fusion, words = Fusion(training), "no --fit file: model and probe weigh the same"
    if fit:
        held = [row for path in fit for row in read_answers(path, _ANSWER)]
        fusion = fusion.fit(held, read_evidence(fit_evidence or evidence, "train"))
        words = f"the model's weights fitted on {len(held)} held-out answers of {', '.join(map(str, fit))}"
    fused = fuse_rows(rows, read_evidence(evidence, "test"), fusion)
    weights = {kind: dict(zip(OPINIONS, fusion.weights_for(kind), strict=True)) for kind in FUSED}
    files = {"predictions": predictions, "evidence": evidence, "train": train, "fit_evidence": fit_evidence}
    settings = {name: str(path) for name, path in files.items() if path} | {"fit": [str(path) for path in fit]}
    settings |= {"gains": {kind: asdict(gain) for kind, gain in fusion.gains.items()}}
    commits = sorted({commit()}.union(*map(answer_commits, (predictions, *fit))) - {""})
    with lock_folder(out, "answers"):  # both files of one run
        write_jsonl(out / "predictions.jsonl", fused)
        write_json(out / "run.json", {"fusion": "log-linear", **settings, "weights": weights, "commits": commits})
    lines = []
    for kind, pool in weights.items():
        gain = fusion.gains.get(kind)
        more = f"; held-out gain {gain.gain:+.4f} nats, standard error {gain.error:.4f}" if gain else ""
        lines.append(f"{kind}: {', '.join(f'{name} {weight:.2f}' for name, weight in pool.items())}{more}")
    return "\n".join([words, *lines, f"{out / 'predictions.jsonl'}: {len(fused)} fused answers"])


def fuse_answers(settings: FuseSettings, _problems: Problems) -> str:
    """`fuse_files` of the settings' files; returns a summary."""
    files = (settings.predictions, settings.evidence, settings.train, settings.out)
    return fuse_files(*files, fit=settings.fit, fit_evidence=settings.fit_evidence)
