"""Scores of spotting and of spot-then-recognise (ME-STR), in three profiles.

`strict` is what a score should be: one-to-one matching by descending IoU, every subject and video counted, UAR the
mean of recalls, 0 where nothing was found. `official` gives what the public STR evaluator prints (genbing99/
STRS-Metric @eb86468), its slips included. `megc2020` counts as the organisers' baseline of 2020 did.

STRS is F1 of spotting times F1 of analysis. F1 of analysis is the harmonic mean of macro precision and macro recall
of the emotions over the hits, as the challenge has it; it is no mean of the classes' F1, which is UF1.

Counts of videos add up, so a resample of the bootstrap is a sum of rows of `VideoCounts.table`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from megc.clips import Video
from megc.facs import COARSE_EMOTIONS, coarse_of
from megc.scoring.interval_matching import Matching, match_best_first, match_events, match_in_file_order
from megc.scoring.settings import StrProfileName

ANALYSED = ("negative", "positive", "surprise")  # the challenge's; events of others are spotted, but not analysed
SPOTTING_METRICS = ("precision", "recall", "f1")
ANALYSIS_METRICS = ("f1_analysis", "uf1", "uar", "strs")
COUNTS = ("events", "predicted", "tp", "fp", "fn")
TypeName = Literal["micro", "macro", "typed", "all"]


class SpottedInterval(NamedTuple):
    """An interval that a spotter predicts: first and last frame (fractional with some spotters), `micro`, `macro` or
    empty, score (NaN: none), and emotion (empty: none)."""

    onset: float
    offset: float
    type: str = ""
    score: float = float("nan")
    emotion: str = ""


Predictions = Mapping[str, Sequence[SpottedInterval]]  # by the id of the video, in the order of the file


@dataclass(frozen=True)
class StrProfile:
    """How to count: the matching of a video, and which rows of types there are.

    `typed` adds up micro and macro, each matched with its own events; `all` ignores types, unless the profile's `all`
    is the sum (`pooled_types` off). `as_public`: the public evaluator's visits and arithmetic.
    """

    name: StrProfileName
    match: Callable[[np.ndarray, np.ndarray], Matching]
    types: tuple[TypeName, ...]
    pooled_types: bool = True
    as_public: bool = False


PROFILES = {
    "strict": StrProfile("strict", match_best_first, ("micro", "macro", "typed", "all")),
    "official": StrProfile("official", match_in_file_order, ("micro", "macro", "all"), as_public=True),
    "megc2020": StrProfile("megc2020", match_events, ("micro", "macro", "all"), pooled_types=False),
}


@dataclass(frozen=True)
class VideoCounts:
    """What each video counts, table (videos, columns): COUNTS, then the confusion of the hits' emotions.

    The confusion has a row for each of `emotions` (the event's), and a column for each of them and for any other
    answer. Hits whose event has another emotion are not analysed.
    """

    table: np.ndarray
    emotions: tuple[str, ...]

    def confusions(self, sums: np.ndarray) -> np.ndarray:
        """Confusion matrices (sets, emotions, emotions + 1) of sums (sets, columns) of rows of the table."""
        return sums[:, len(COUNTS) :].reshape(len(sums), len(self.emotions), len(self.emotions) + 1)


def ends_of(intervals: Sequence) -> np.ndarray:
    """First and last frames (n, 2) of intervals or events."""
    return np.array([(interval.onset, interval.offset) for interval in intervals], float).reshape(-1, 2)


def emotion_class(emotion: str, emotions: Sequence[str]) -> str:
    """The class among `emotions` that an emotion word stands for: itself, or its coarse class."""
    if emotion in emotions or emotion in COARSE_EMOTIONS:
        return emotion
    return coarse_of(emotion) or emotion


def count_videos(
    videos: Sequence[Video],
    predictions: Predictions,
    profile: StrProfile,
    kind: TypeName = "all",
    emotions: Sequence[str] = ANALYSED,
) -> VideoCounts:
    """Count each video's intervals of a type against its events of that type."""
    if kind == "typed" or (kind == "all" and not profile.pooled_types):
        parts = [count_videos(videos, predictions, profile, part, emotions) for part in ("micro", "macro")]
        return VideoCounts(parts[0].table + parts[1].table, tuple(emotions))
    by_video = [
        (
            [interval for interval in predictions.get(video.id, ()) if kind in ("all", interval.type)],
            [event for event in video.events if kind in ("all", event.type)],
        )
        for video in videos
    ]
    visited = _public_visits(videos, by_video) if profile.as_public else [True] * len(videos)
    table = np.zeros((len(videos), len(COUNTS) + len(emotions) * (len(emotions) + 1)))
    for row, visit, (predicted, events) in zip(table, visited, by_video, strict=True):
        row[:2] = len(events), len(predicted)
        if visit:
            matching = profile.match(ends_of(predicted), ends_of(events))
            row[2:5] = len(matching.hits), matching.false_alarms, matching.misses
            for predicted_index, event_index in matching.hits:
                truth = emotion_class(events[event_index].emotion, emotions)
                answer = emotion_class(predicted[predicted_index].emotion, emotions)
                if truth in emotions:
                    column = emotions.index(answer) if answer in emotions else len(emotions)
                    row[len(COUNTS) + emotions.index(truth) * (len(emotions) + 1) + column] += 1
    return VideoCounts(table, tuple(emotions))


def _public_visits(videos: Sequence[Video], by_video: Sequence[tuple[Sequence, Sequence]]) -> list[bool]:
    """Which videos the public evaluator looks at: those with events, of subjects with predictions.

    Events of other subjects are no misses, and intervals in videos without events no false alarms.
    """
    subjects = {(v.dataset, v.subject) for v, (predicted, _) in zip(videos, by_video, strict=True) if predicted}
    return [
        (v.dataset, v.subject) in subjects and bool(events) for v, (_, events) in zip(videos, by_video, strict=True)
    ]


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), otherwise), where=np.asarray(whole) != 0)


def score_spotting(sums: np.ndarray) -> dict[str, np.ndarray]:
    """SPOTTING_METRICS, each (sets,), of sums (sets, columns) of rows of a `VideoCounts` table; 0 for 0/0."""
    _, _, hits, false_alarms, misses = sums[:, : len(COUNTS)].T
    precision, recall = _ratio(hits, hits + false_alarms), _ratio(hits, hits + misses)
    return {"precision": precision, "recall": recall, "f1": _ratio(2 * hits, 2 * hits + false_alarms + misses)}


def score_analysis(counts: VideoCounts, sums: np.ndarray, profile: StrProfile) -> dict[str, np.ndarray]:
    """ANALYSIS_METRICS, the number `analysed`, and right and wrong emotions of sums (sets, columns), each (sets,).

    Strict: means over the classes that the analysed events have; all is 0 where there is none.
    """
    matrix = counts.confusions(sums)
    right = np.diagonal(matrix, axis1=1, axis2=2)
    of_events, of_answers = matrix.sum(axis=2), matrix[:, :, :-1].sum(axis=1)
    analysed = of_events.sum(axis=1)
    values = {"analysed": analysed, "tp_analysis": right.sum(axis=1)}
    values["fp_analysis"] = of_answers.sum(axis=1) - values["tp_analysis"]
    # "missed" emotions of the public evaluator are those of wrong answers, hence as many as its false alarms
    missed = values["fp_analysis"] if profile.as_public else analysed - values["tp_analysis"]
    values["fn_analysis"] = missed
    if profile.as_public:
        return values | _public_analysis(right, of_events, of_answers, score_spotting(sums)["f1"], sums[:, 2])
    used = of_events > 0
    precision, recall = _ratio(right, of_answers), _ratio(right, of_events)
    f1 = _ratio(2 * right, of_events + of_answers)
    macro = {
        name: _ratio((part * used).sum(axis=1), used.sum(axis=1))
        for name, part in (("precision", precision), ("uar", recall), ("uf1", f1))
    }
    values["f1_analysis"] = _ratio(2 * macro["precision"] * macro["uar"], macro["precision"] + macro["uar"])
    values |= {"uf1": macro["uf1"], "uar": macro["uar"]}
    values["strs"] = score_spotting(sums)["f1"] * values["f1_analysis"]
    return values


def _public_analysis(
    right: np.ndarray, of_events: np.ndarray, of_answers: np.ndarray, f1: np.ndarray, hits: np.ndarray
) -> dict[str, np.ndarray]:
    """ANALYSIS_METRICS as the public evaluator has them, NaN where it divides 0 by 0 or stops.

    A class counts 0 where all analysed hits, or none, have it in truth and answer: the 2×2 matrix that the evaluator
    unpacks is then 1×1. Its UAR is the mean of precisions.
    """
    analysed = of_events.sum(axis=1, keepdims=True)
    whole = ((of_events > 0) | (of_answers > 0)) & ((of_events < analysed) | (of_answers < analysed))
    right = right * whole
    precision = _ratio(right, of_answers).mean(axis=1)
    recall = _ratio(right, of_events).mean(axis=1)
    uf1 = _ratio(2 * right, of_events + of_answers).mean(axis=1)
    f1_analysis = _ratio(2 * precision * recall, precision + recall, float("nan"))
    stops = hits == 0
    values = {"f1_analysis": f1_analysis, "uf1": uf1, "uar": precision, "strs": f1 * f1_analysis}
    return {name: np.where(stops, np.nan, value) for name, value in values.items()}


def explain_undefined(values: Mapping[str, float], profile: StrProfile) -> str:
    """Why the profile has no STRS; empty where it has one."""
    if not profile.as_public or not np.isnan(values["strs"]):
        return ""
    if not values["tp"]:
        return "no hit: the public evaluator stops with KeyError 'gt'"
    if not values["analysed"]:
        return "no hit has an analysed emotion: 0 / 0"
    return "macro precision and recall of the emotions are 0, by its rule for one class: 0 / 0"
