"""Onset, apex and offset as annotated, made usable; every repair is noted on the clip."""

from dataclasses import dataclass, replace
from pathlib import Path

from megc.clips import nearest_frame


@dataclass(frozen=True)
class Interval:
    """Frame numbers of a micro-expression with onset < apex <= offset, and the repairs that made them so."""

    onset: int
    apex: int
    offset: int
    apex_estimated: bool = False
    notes: tuple[str, ...] = ()


def repair_interval(onset: int | None, apex: int | None, offset: int | None) -> Interval:
    """The annotated interval, repaired.

    An offset that is missing or not behind the onset becomes the apex, where that is behind the onset. An apex
    that is missing, on the onset, on the offset or outside becomes the middle of the interval (`apex_estimated`).
    Raises ValueError when no interval is left.
    """
    notes = []
    if onset is None:
        raise ValueError("the onset is missing")
    if offset is None or offset <= onset:
        if apex is None or apex <= onset:
            raise ValueError(f"the interval {onset}–{offset} is empty and the apex {apex} does not help")
        notes.append(f"offset {'missing' if offset is None else offset}: the apex {apex} is taken")
        return Interval(onset, apex, apex, notes=tuple(notes))
    if apex is not None and onset < apex < offset:
        return Interval(onset, apex, offset)
    middle = max(onset + 1, (onset + offset) // 2)  # never the onset: the flow needs two different frames
    fault = "missing" if apex is None else f"{apex} {_where(apex, onset, offset)}"
    return Interval(onset, middle, offset, True, (f"apex {fault}: the middle of the interval, {middle}, is taken",))


def _where(apex: int, onset: int, offset: int) -> str:
    if apex == onset:
        return "is the onset"
    return "is the offset" if apex == offset else f"is outside {onset}–{offset}"


def fit_to_frames(interval: Interval, frames: dict[int, Path]) -> Interval:
    """The interval with each frame number that has no file replaced by the nearest that has one.

    `frames` maps numbers to files. Raises ValueError when onset, apex and offset then no longer follow each other;
    an apex whose own file is there may be the last frame.
    """
    moved, notes = {}, []
    for point in ("onset", "apex", "offset"):
        number = getattr(interval, point)
        moved[point] = nearest_frame(frames, number)
        if moved[point] != number:
            notes.append(f"{point} frame {number} has no file: the nearest, {moved[point]}, is taken")
    # a clip cut at its apex has no frame behind it; an apex that was moved onto the last frame is a gap
    apex_stands = moved["apex"] == interval.apex
    if not moved["onset"] < moved["apex"] < moved["offset"] + apex_stands:
        numbers = f"{interval.onset}, {interval.apex}, {interval.offset}"
        raise ValueError(f"the files {min(frames)}–{max(frames)} do not cover onset, apex, offset {numbers}")
    return replace(interval, **moved, notes=interval.notes + tuple(notes))
