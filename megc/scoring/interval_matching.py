"""Which spotted interval is which event: overlap of intervals, and the ways in which it is counted.

Intervals are arrays (n, 2) of first and last frame; both belong to the interval.
"""

from typing import NamedTuple

import numpy as np

LEAST_IOU = 0.5  # of all challenges since 2019: an interval that overlaps an event by half of their union has hit it


class Matching(NamedTuple):
    """What one video counts: `hits` (predicted, event) as indices, false alarms and misses.

    Where the matching is not one-to-one, an interval may be in several hits.
    """

    hits: tuple[tuple[int, int], ...]
    false_alarms: int
    misses: int


def interval_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of intervals (n, 2) and (m, 2), in frames, both ends included.

    Ends may be fractional; an interval that ends before it begins overlaps nothing.
    """
    starts = np.maximum(first[:, None, 0], second[None, :, 0])
    ends = np.minimum(first[:, None, 1], second[None, :, 1])
    both = np.maximum(ends - starts + 1, 0)
    lengths = [intervals[:, 1] - intervals[:, 0] + 1 for intervals in (first, second)]
    union = lengths[0][:, None] + lengths[1][None, :] - both
    return np.divide(both, union, out=np.zeros_like(both, dtype=float), where=(union > 0) & (both > 0))


def match_best_first(predicted: np.ndarray, events: np.ndarray, least: float = LEAST_IOU) -> Matching:
    """One-to-one matching by descending IoU, among pairs of at least `least`.

    The order of the intervals in the file does not matter, but for pairs of equal IoU.
    """
    ious = interval_ious(predicted, events)
    rows, columns = np.nonzero(ious >= least)
    order = np.argsort(-ious[rows, columns], kind="stable")
    hits, used_rows, used_columns = [], set(), set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            hits.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
    return Matching(tuple(hits), len(predicted) - len(hits), len(events) - len(hits))


def match_in_file_order(predicted: np.ndarray, events: np.ndarray, least: float = LEAST_IOU) -> Matching:
    """The matching of the public STR evaluator (genbing99/STRS-Metric @eb86468, evaluate_spotting).

    Intervals take events in the order of the file. The search does not stop at the first hit and does not look for
    the best one, so an interval takes all free events that it overlaps enough, and each of them is a hit. Frames are
    compared one by one: an interval whose onset is no whole number has none in common with an event.
    """
    hits, false_alarms, free = [], 0, set(range(len(events)))
    frames = [np.arange(onset, offset + 1) for onset, offset in events]
    for row, (onset, offset) in enumerate(predicted):
        own_frames = np.arange(onset, offset + 1)
        taken = [column for column in sorted(free) if _frame_iou(own_frames, frames[column]) >= least]
        hits += [(row, column) for column in taken]
        false_alarms += not taken
        free -= set(taken)
    return Matching(tuple(hits), false_alarms, len(free))


def _frame_iou(first: np.ndarray, second: np.ndarray) -> float:
    both = np.intersect1d(first, second).size
    union = np.union1d(first, second).size
    return both / union if union else 0.0


def match_events(predicted: np.ndarray, events: np.ndarray, least: float = LEAST_IOU) -> Matching:
    """The count of the MEGC2020 baseline, on the side of the events: one is found where any interval hits it.

    One interval may find several events. Precision is events found over intervals, so what is no "event found" among
    the intervals counts as false alarm; that number is negative where few intervals find many events.
    """
    ious = interval_ious(predicted, events)
    found_events = np.flatnonzero((ious >= least).any(axis=0)) if len(predicted) else np.empty(0, int)
    hits = tuple((int(ious[:, column].argmax()), int(column)) for column in found_events)
    return Matching(hits, len(predicted) - len(hits), len(events) - len(hits))
