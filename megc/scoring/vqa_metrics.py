"""Metrics of ME-VQA answers: UF1 and UAR of the coarse and the fine class, BLEU and ROUGE-1 of every answer.

A profile is a choice of settings over scikit-learn, nltk and rouge-score. `megc2025` follows the challenge paper
(arXiv 2506.15298: BLEU eq. 2, ROUGE-1 eq. 3), `tie` the scripts of Humphrey-0125/MEGC2025, `m26` those of
null-xy/MEGC2026. Two deviations hold for every profile: a missing or empty answer is wrong, never skipped (the
scripts of `tie` skip it), and it never adds a class of its own.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from nltk.translate.bleu_score import (
    SmoothingFunction,
    corpus_bleu,
    sentence_bleu,
)
from rouge_score import rouge_scorer
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score
from sklearn.preprocessing import MultiLabelBinarizer

from megc.facs import COARSE_EMOTIONS, FINE_EMOTIONS
from megc.vqa.questions import (
    Question,
    allowed_answers,
    answer_fault,
    normalise_answer,
    split_analysis,
    split_long,
    split_units,
)

METRICS = ("uf1_coarse", "uar_coarse", "uf1_fine", "uar_fine", "bleu", "rouge1", "avg")
AU_METRICS = {  # columns of metrics.csv, with their headings in the report
    "au_precision": "AU precision",
    "au_recall": "AU recall",
    "au_f1": "AU F1",
    "au_precision_macro": "AU precision, macro",
    "au_recall_macro": "AU recall, macro",
    "au_f1_macro": "AU F1, macro",
}
Score = TypeVar("Score", float, np.ndarray)
_SPLIT = {"long": split_long, "analysis": split_analysis}  # texts that are read part by part, to mark them
CLASS_KINDS = ("coarse", "fine")
ORDERS = (1, 2, 3, 4)  # BLEU-4


def _plain(answer: str, kind: str) -> str:
    """Case, spacing and the final full stop do not matter."""
    return normalise_answer(answer)


def _verbatim(answer: str, kind: str) -> str:
    return answer.strip().lower()


_KEYWORDS = {"coarse": ("positive", "negative", "surprise"), "fine": FINE_EMOTIONS}
_PHRASES = {"coarse": r"coarse expression class is (\w+)", "fine": r"fine-grained expression class is (\w+)"}


def _keyword(answer: str, kind: str) -> str:
    """The class that a sentence names: after `… expression class is`, else the first class word in it."""
    text = " ".join(answer.lower().split())
    if kind not in _KEYWORDS:
        return text.rstrip(".")
    phrase = re.search(_PHRASES[kind], text)
    if phrase and (kind == "fine" or phrase[1] in COARSE_EMOTIONS):
        return phrase[1]
    if kind == "coarse":  # m26 looks for the classes one after the other, not for the first word
        return next((word for word in _KEYWORDS[kind] if re.search(rf"\b{word}\b", text)), "")
    word = re.search(rf"\b({'|'.join(_KEYWORDS[kind])})\b", text)
    return word[1] if word else ""


def _alphanumeric(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _whitespace(text: str) -> list[str]:
    return text.lower().split()


@dataclass(frozen=True)
class Profile:
    """Settings of a scorer.

    `labels`: macro means run over the classes of the references, or over the union with the predicted ones;
    `read`: the label in an answer to a question of a kind; `tokens`: words for BLEU; `bleu`: over the corpus, or
    the mean of smoothed sentence scores; `rouge`: what of ROUGE-1 is averaged; `stem`: stem words for ROUGE-1.
    """

    name: str
    labels: str
    read: Callable[[str, str], str]
    tokens: Callable[[str], list[str]]
    bleu: str
    rouge: str
    stem: bool


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("megc2025", "reference", _plain, _alphanumeric, "corpus", "recall", False),
        Profile("tie", "union", _verbatim, _whitespace, "sentence", "recall", True),
        Profile("m26", "reference", _keyword, _alphanumeric, "corpus", "fmeasure", False),
    )
}


def get_profile(profile: str | Profile) -> Profile:
    """Get the profile of a name. Raises ValueError for a name that is none."""
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"unknown scoring profile {profile!r}: choose from {', '.join(PROFILES)}")
    return PROFILES[profile]


def score_answers(
    references: Sequence[str],
    predictions: Sequence[str | None],
    kinds: Sequence[str],
    profile: str | Profile = "megc2025",
    datasets: Sequence[str] | None = None,
) -> dict[str, float]:
    """Score predicted answers, one a row, against the references of the same rows.

    `kinds` are those of `megc.vqa.questions.parse`; a missing prediction is None or empty. Returns every name of
    METRICS as a share (NaN where no row asks for that class, and for corpus BLEU-4 where no reference has four words;
    `avg` is the mean of those that there are), `invalid` (answers outside the allowed ones; by `datasets`, that of
    each row) and `missing`. Raises ValueError when the lengths differ or there is no row.
    """
    profile = get_profile(profile)
    if not len(references) == len(predictions) == len(kinds) > 0:
        counts = f"{len(references)} references, {len(predictions)} predictions, {len(kinds)} kinds"
        raise ValueError(f"{counts}: give one of each a row, and one row at least")
    answers = [prediction or "" for prediction in predictions]
    result = {}
    for kind in CLASS_KINDS:
        true, predicted, labels = read_class_labels(references, answers, kinds, kind, profile)
        # labels outside `labels` (an answer that is no class) count against recall, but are no class of their own
        options = {"labels": labels, "average": "macro", "zero_division": 0}
        result[f"uf1_{kind}"] = float(f1_score(true, predicted, **options)) if true else float("nan")
        result[f"uar_{kind}"] = float(recall_score(true, predicted, **options)) if true else float("nan")
    result["bleu"] = _bleu(references, answers, profile)
    result["rouge1"] = float(np.mean(rouge1_scores(references, answers, profile)))
    result["avg"] = mean_of_metrics(result)
    return result | count_faults(answers, kinds, profile, datasets)


def score_action_units(
    references: Sequence[str], predictions: Sequence[str | None], kinds: Sequence[str]
) -> dict[str, float]:
    """Score listed action units, whatever name of a unit an answer uses: AU_METRICS, NaN where no question lists any.

    Micro (no suffix): every unit of every list counts once, a name that is no action unit as a wrong one. Macro: mean
    over the units of the references, as UF1 and UAR are over their classes. A missing answer lists nothing.
    """
    rows = [row for row, kind in enumerate(kinds) if kind == "units"]
    if not rows:
        return dict.fromkeys(AU_METRICS, float("nan"))
    true_units = [set(split_units(references[row])) for row in rows]
    predicted_units = [set(split_units(predictions[row] or "")) for row in rows]
    # 0 stands for what is no action unit
    lists = [{unit or 0 for unit in units} for units in (*true_units, *predicted_units)]
    names = sorted({-1, 0}.union(*lists))  # sklearn would read a table of one column as yes and no
    table = MultiLabelBinarizer(classes=names).fit_transform(lists).astype(int)
    true, predicted = table[: len(rows)], table[len(rows) :]  # (questions, units)
    in_references = np.flatnonzero(true.any(axis=0))
    options = {"zero_division": 0}
    micro = precision_recall_fscore_support(true, predicted, average="micro", **options)[:3]
    macro = precision_recall_fscore_support(true, predicted, average="macro", labels=in_references, **options)[:3]
    return dict(zip(AU_METRICS, map(float, (*micro, *macro)), strict=True))


def mean_of_metrics(values: Mapping[str, Score]) -> Score:
    """The paper's Avg: the mean of the other METRICS, of the six where every kind of question is asked; of those that
    are not NaN where some are not. NaN where all are."""
    table = np.array([values[name] for name in METRICS if name != "avg"])
    counted = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        mean = np.where(counted, table, 0.0).sum(axis=0) / counted.sum(axis=0)
    return mean if mean.ndim else float(mean)


def count_faults(
    answers: Sequence[str | None],
    kinds: Sequence[str],
    profile: str | Profile = "megc2025",
    datasets: Sequence[str] | None = None,
) -> dict[str, int]:
    """Count the answers that are `invalid` (for the kind and dataset of each row) and `missing`."""
    rows = zip(answers, kinds, datasets or [""] * len(kinds), strict=True)
    invalid = sum(is_invalid(answer, kind, profile, dataset) for answer, kind, dataset in rows)
    return {"invalid": invalid, "missing": sum(not (answer or "").strip() for answer in answers)}


def is_invalid(answer: str | None, kind: str, profile: str | Profile = "megc2025", dataset: str = "") -> bool:
    """True when `questions.answer_fault` finds one: an unknown class, a name that is no action unit, no composed
    sentence. Closed answers are read as the profile does. A missing answer is missing, not invalid."""
    if not (answer or "").strip():
        return False
    question = Question(kind)
    closed = allowed_answers(question, dataset) is not None
    return answer_fault(question, get_profile(profile).read(answer, kind) if closed else answer, dataset) is not None


def is_right(reference: str, answer: str | None, kind: str, profile: str | Profile = "megc2025") -> bool:
    """True when an answer means what the reference means: the same label, the same set of action units in any order,
    for a composed sentence or analysis both of these. For marks in reports; no metric is computed from it."""
    read = get_profile(profile).read
    if not answer or not answer.strip():
        return False
    if kind == "units":
        return set(split_units(answer)) == set(split_units(reference))
    if kind in _SPLIT:
        true, predicted = _SPLIT[kind](reference), _SPLIT[kind](answer)  # units, fine, coarse
        if true and predicted:
            return set(split_units(predicted[0])) == set(split_units(true[0])) and predicted[1:] == true[1:]
    return read(answer, kind) == read(reference, kind)


def read_class_labels(
    references: Sequence[str], answers: Sequence[str | None], kinds: Sequence[str], kind: str, profile: str | Profile
) -> tuple[list[str], list[str], list[str]]:
    """Read the true and the predicted labels (empty: missing) of the rows of a kind, and the classes that macro means
    run over."""
    profile = get_profile(profile)
    rows = [row for row, row_kind in enumerate(kinds) if row_kind == kind]
    true = [profile.read(references[row], kind) for row in rows]
    predicted = [profile.read(answers[row] or "", kind) for row in rows]
    classes = set(true) | set(predicted) if profile.labels == "union" else set(true)
    return true, predicted, sorted(classes - {""})  # a missing answer is no class


def _bleu(references: Sequence[str], answers: Sequence[str], profile: Profile) -> float:
    """BLEU-4 of the profile: corpus BLEU by eq. 2 of the challenge paper, or the mean of smoothed sentence BLEU.

    Corpus BLEU is NaN where no reference is long enough for it, as where only classes are asked: the geometric mean
    over orders would be 0 whatever the answers are.
    """
    reference_tokens = [profile.tokens(text) for text in references]
    answer_tokens = [profile.tokens(text) for text in answers]
    if profile.bleu == "sentence":
        return float(np.mean(sentence_bleu_scores(reference_tokens, answer_tokens)))
    if max(map(len, reference_tokens)) < max(ORDERS):
        return float("nan")
    lengths = [sum(max(0, len(tokens) - order + 1) for tokens in answer_tokens) for order in ORDERS]  # n-grams

    def exact(precisions: list[Fraction], **_: object) -> list[float]:
        # nltk counts one n-gram in an answer that is too short to hold any, so that right one-word answers lower
        # the corpus score; eq. 2 sums the n-grams that are there. No match at all: as nltk's own method0.
        return [
            precision.numerator / length if precision.numerator else sys.float_info.min
            for precision, length in zip(precisions, lengths, strict=True)
        ]

    return float(corpus_bleu([[tokens] for tokens in reference_tokens], answer_tokens, smoothing_function=exact))


def sentence_bleu_scores(reference_tokens: list[list[str]], answer_tokens: list[list[str]]) -> list[float]:
    """BLEU-4 of each answer's tokens, smoothed by method 1 of Chen and Cherry 2014."""
    smooth = SmoothingFunction().method1
    pairs = zip(reference_tokens, answer_tokens, strict=True)
    return [float(sentence_bleu([reference], answer, smoothing_function=smooth)) for reference, answer in pairs]


@lru_cache
def _rouge_scorer(stem: bool) -> rouge_scorer.RougeScorer:
    return rouge_scorer.RougeScorer(["rouge1"], use_stemmer=stem)


def rouge1_scores(references: Sequence[str], answers: Sequence[str], profile: Profile) -> list[float]:
    """ROUGE-1 of each answer: recall or F, as the profile has it."""
    scorer = _rouge_scorer(profile.stem)
    pairs = zip(references, answers, strict=True)
    return [getattr(scorer.score(reference, answer)["rouge1"], profile.rouge) for reference, answer in pairs]


class MoreMetrics(NamedTuple):
    """Metrics beside METRICS, without intervals: columns with their headings, and the function that computes them.

    The function takes true answers, predicted answers (None: missing) and kinds of questions, one a row each, and
    returns a value for each column, NaN where no row has such a question.
    """

    headings: dict[str, str]
    compute: Callable[[Sequence[str], Sequence[str | None], Sequence[str]], dict[str, float]]


# A metric of your own is one line here and its function: table, report and grids take it from this list.
MORE_METRICS = (MoreMetrics(AU_METRICS, score_action_units),)
