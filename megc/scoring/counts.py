"""Counts of each row, so that thousands of resamples are scored by adding rows up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nltk.translate.bleu_score import brevity_penalty, modified_precision

from megc.scoring.vqa_metrics import (
    CLASS_KINDS,
    ORDERS,
    Profile,
    get_profile,
    mean_of_metrics,
    read_class_labels,
    rouge1_scores,
    sentence_bleu_scores,
)


@dataclass(frozen=True)
class RowCounts:
    """What each row adds to the score of a set of rows.

    `table`, float64 (rows, columns). With K_c coarse and K_f fine classes the columns are: hits, references and
    predictions of each coarse class (3 K_c), the same of each fine class (3 K_f), matching n-grams and n-grams of the
    answer (4 each, orders 1 to 4), tokens of answer and of reference, smoothed sentence BLEU, ROUGE-1, and 1.

    Sums over rows, weighted or not, give the metrics of `vqa_metrics.score_answers` through `metrics`, thousands at a
    time. Macro means run over the classes of all rows, whichever rows are summed.
    """

    table: np.ndarray
    classes: dict[str, int]  # number of classes of each class kind: K_c, K_f
    profile: Profile
    has_bleu: bool = True  # whether a reference is long enough for corpus BLEU-4

    def metrics(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        """METRICS of summed counts, shape (…, columns): each of shape (…)."""
        start, result = 0, {}
        for kind in CLASS_KINDS:
            width = self.classes[kind]
            # hits, references, predictions, each (…, classes)
            blocks = [totals[..., start + block * width : start + (block + 1) * width] for block in range(3)]
            result[f"uf1_{kind}"], result[f"uar_{kind}"] = _macro(*blocks)
            start += 3 * width
        # behind the classes: 4 + 4 columns of n-grams, then the five single ones
        matched, ngrams = totals[..., start : start + 4], totals[..., start + 4 : start + 8]
        answer_length, reference_length, sentences, rouge, rows = np.moveaxis(totals[..., start + 8 :], -1, 0)
        if self.profile.bleu == "sentence":
            result["bleu"] = sentences / rows
        elif not self.has_bleu:
            result["bleu"] = np.full(np.shape(rows), np.nan)
        else:
            result["bleu"] = _corpus_bleu(matched, ngrams, answer_length, reference_length)
        result["rouge1"] = rouge / rows
        result["avg"] = mean_of_metrics(result)
        return result

    def score(self) -> dict[str, float]:
        """METRICS of all rows, those of `vqa_metrics.score_answers`."""
        return {name: float(value) for name, value in self.metrics(self.table.sum(axis=0)).items()}


def count_rows(
    references: Sequence[str],
    predictions: Sequence[str | None],
    kinds: Sequence[str],
    profile: str | Profile = "megc2025",
) -> RowCounts:
    """Count each row once, so that a resample is scored by adding rows instead of reading texts again.

    Arguments as in `vqa_metrics.score_answers`, which gives the same scores from the texts themselves.
    """
    profile = get_profile(profile)
    answers = [prediction or "" for prediction in predictions]
    columns, classes = [], {}
    for kind in CLASS_KINDS:
        true, predicted, labels = read_class_labels(references, answers, kinds, kind, profile)
        hits, in_reference, in_answer = (np.zeros((len(kinds), len(labels))) for _ in range(3))
        rows = [row for row, row_kind in enumerate(kinds) if row_kind == kind]  # the others add nothing to this kind
        for row, truth, label in zip(rows, true, predicted, strict=True):
            in_reference[row] = [truth == name for name in labels]
            in_answer[row] = [label == name for name in labels]  # all 0 for a label outside the classes
            hits[row] = in_reference[row] * in_answer[row]
        columns += [hits, in_reference, in_answer]
        classes[kind] = len(labels)
    pairs = zip(references, answers, strict=True)
    texts = np.array([_text_counts(reference, answer, profile) for reference, answer in pairs])  # (rows, 12)
    has_bleu = bool((texts[:, 2 * len(ORDERS) + 1] >= max(ORDERS)).any())
    return RowCounts(np.hstack([*columns, texts, np.ones((len(kinds), 1))]), classes, profile, has_bleu)


@lru_cache(maxsize=100_000)  # a run that draws its answers repeats the same few texts
def _text_counts(reference: str, answer: str, profile: Profile) -> tuple[float, ...]:
    """Columns of one answer behind the classes: matching n-grams and n-grams of the answer (four each), tokens of
    answer and reference, smoothed sentence BLEU where the profile has it, ROUGE-1."""
    reference_tokens, answer_tokens = profile.tokens(reference), profile.tokens(answer)
    # clipped matches, as in Papineni et al. 2002; an answer shorter than n has no n-grams, so neither can match
    matched = [modified_precision([reference_tokens], answer_tokens, order).numerator for order in ORDERS]
    ngrams = [max(0, len(answer_tokens) - order + 1) for order in ORDERS]
    sentence = sentence_bleu_scores([reference_tokens], [answer_tokens])[0] if profile.bleu == "sentence" else 0.0
    rouge = rouge1_scores([reference], [answer], profile)[0]
    return (*matched, *ngrams, len(answer_tokens), len(reference_tokens), sentence, rouge)


def _macro(hits: np.ndarray, in_reference: np.ndarray, in_answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macro F1 and macro recall of counts (…, classes) over all these classes; NaN where no row asks for one."""
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is references plus predictions; 0 of 0 counts as 0
    f1, recall = 2 * hits / np.maximum(in_reference + in_answer, 1), hits / np.maximum(in_reference, 1)
    has_rows = in_reference.sum(axis=-1) > 0
    classes = max(1, hits.shape[-1])
    return tuple(np.where(has_rows, values.sum(axis=-1) / classes, np.nan) for values in (f1, recall))


def _corpus_bleu(
    matched: np.ndarray, ngrams: np.ndarray, answer_length: np.ndarray, reference_length: np.ndarray
) -> np.ndarray:
    """Corpus BLEU-4 of summed counts: n-grams (…, 4), lengths (…)."""
    with np.errstate(divide="ignore"):  # no match of an order: log 0, and a score of 0
        precision = np.exp(np.log(matched / np.maximum(ngrams, 1)).mean(axis=-1))
    return precision * np.vectorize(brevity_penalty, otypes=[float])(reference_length, answer_length)
