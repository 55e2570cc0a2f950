"""What each row adds to a score, so that thousands of resamples are scored by adding rows up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nltk.translate.bleu_score import brevity_penalty, modified_precision

from megc.scoring.vqa_metrics import (
    CLASS_KINDS,
    ORDERS,
    Profile,
    class_labels,
    mean_of_six,
    profile_of,
    rouges,
    sentence_bleus,
)


@dataclass(frozen=True)
class Counts:
    """What each row adds to the score of a set of rows: `table` (rows, columns), and the columns' meaning.

    Sums over rows, weighted or not, give the metrics of `score` through `metrics`, thousands at a time. Macro means
    run over the classes of all rows, whichever rows are summed.
    """

    table: np.ndarray
    classes: dict[str, int]  # number of label columns of each class kind
    profile: Profile

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """METRICS of summed counts, shape (…, columns): each of shape (…)."""
        start, result = 0, {}
        for kind in CLASS_KINDS:
            width = self.classes[kind]
            parts = [totals[..., start + part * width : start + (part + 1) * width] for part in range(3)]
            result[f"uf1_{kind}"], result[f"uar_{kind}"] = _macro(*parts)
            start += 3 * width
        matched, held = totals[..., start : start + 4], totals[..., start + 4 : start + 8]
        answer_length, reference_length, sentences, rouge, rows = np.moveaxis(totals[..., start + 8 :], -1, 0)
        if self.profile.bleu == "sentence":
            result["bleu"] = sentences / rows
        else:
            result["bleu"] = _corpus_bleu(matched, held, answer_length, reference_length)
        result["rouge1"] = rouge / rows
        result["avg"] = mean_of_six(result)
        return result

    def score(self) -> dict[str, float]:
        """METRICS of all rows, those of `megc.scoring.metrics.score`."""
        return {name: float(value) for name, value in self.metrics(self.table.sum(axis=0)).items()}


def row_counts(
    references: Sequence[str],
    predictions: Sequence[str | None],
    kinds: Sequence[str],
    profile: str | Profile = "megc2025",
) -> Counts:
    """Counts of each row, so that a resample is scored by adding rows instead of reading texts again."""
    profile = profile_of(profile)
    answers = [prediction or "" for prediction in predictions]
    columns, classes = [], {}
    for kind in CLASS_KINDS:
        true, said, labels = class_labels(references, answers, kinds, kind, profile)
        hit, wanted, found = (np.zeros((len(kinds), len(labels))) for _ in range(3))
        rows = [row for row, asked in enumerate(kinds) if asked == kind]
        for row, truth, label in zip(rows, true, said, strict=True):
            wanted[row] = [truth == name for name in labels]
            found[row] = [label == name for name in labels]
            hit[row] = wanted[row] * found[row]
        columns += [hit, wanted, found]
        classes[kind] = len(labels)
    pairs = zip(references, answers, strict=True)
    texts = np.array([_text_counts(wanted, found, profile) for wanted, found in pairs])
    return Counts(np.hstack([*columns, texts, np.ones((len(kinds), 1))]), classes, profile)


@lru_cache(maxsize=100_000)  # a run that draws its answers says the same few texts many times
def _text_counts(reference: str, answer: str, profile: Profile) -> tuple[float, ...]:
    """Of an answer: n-grams that match, n-grams that there are (four each), tokens of answer and reference, smoothed
    sentence BLEU where the profile has it, ROUGE-1."""
    wanted, found = profile.tokens(reference), profile.tokens(answer)
    matched = [modified_precision([wanted], found, order).numerator for order in ORDERS]
    held = [max(0, len(found) - order + 1) for order in ORDERS]
    sentence = sentence_bleus([wanted], [found])[0] if profile.bleu == "sentence" else 0.0
    return (*matched, *held, len(found), len(wanted), sentence, *rouges([reference], [answer], profile))


def _macro(hit: np.ndarray, wanted: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macro F1 and macro recall of counts (…, classes) over all these classes; NaN where nothing asks for one."""
    scores = 2 * hit / np.maximum(wanted + found, 1), hit / np.maximum(wanted, 1)
    answered = wanted.sum(axis=-1) > 0
    return tuple(np.where(answered, values.sum(axis=-1) / max(1, hit.shape[-1]), np.nan) for values in scores)


def _corpus_bleu(
    matched: np.ndarray, held: np.ndarray, answer_length: np.ndarray, reference_length: np.ndarray
) -> np.ndarray:
    with np.errstate(divide="ignore"):
        precision = np.exp(np.log(matched / np.maximum(held, 1)).mean(axis=-1))
    return precision * np.vectorize(brevity_penalty, otypes=[float])(reference_length, answer_length)
