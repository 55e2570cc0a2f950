"""From a spreadsheet's rows to clips: what all annotated datasets share. A dataset adds its own names and rules."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from megc.clips import Clip, list_frames
from megc.datasets.folders import find_layout, relative_to_root
from megc.datasets.intervals import Interval, fit_to_frames, repair_interval
from megc.datasets.spreadsheets import Row, frame_of, is_empty, read_rows, subject_number, text_of
from megc.facs import FINE_TO_COARSE, coarse_of, normalise_emotion, parse_action_units
from megc.problems import DataError, Problems


@dataclass(frozen=True)
class Dataset:
    """How a dataset names and lays out its clips.

    `subject` formats a subject's number as its folder; `layouts` are the places of the subjects' folders below
    `--frames`; `offsets` corrects (subject, filename, annotated offset); `me_vqa_without` gives the reason why
    ME-VQA leaves a clip out, from (subject number, filename, emotion, onset, apex as annotated), or None.
    """

    name: str
    fps: float
    subject: str
    layouts: tuple[str, ...]
    offsets: dict[tuple[int, str, int], int]
    me_vqa_without: Callable[[int, str, str, int | None, int | None], str | None]


def read_annotated(
    dataset: Dataset, annotations: Path | str, frames: Path | str | None, root: Path | str, problems: Problems
) -> list[Clip]:
    """Clips of a spreadsheet, in its order; bad rows go to `problems`.

    `frames` is the folder of the frames (None: annotations only, `Clip.frames` empty); `root` the folder of the
    `clips.jsonl` to be, which frames are written relative to. Raises DataError when the whole is unusable.
    """
    rows: list[tuple[Row, int]] = []
    for row in read_rows(annotations):
        with problems.collect():
            rows.append((row, _subject(row)))
    folder = None
    if frames is not None:
        folder = find_layout(frames, dataset.layouts, {dataset.subject.format(number) for _, number in rows})
        relative_to_root(folder, root)  # once for the whole dataset rather than a problem a clip
    clips: list[Clip] = []
    first_rows: dict[str, int] = {}
    for row, number in rows:
        with problems.collect():
            clip = _clip_of(dataset, row, number, folder, root)
            if clip.id in first_rows:
                what = f"clip {clip.id} is already in row {first_rows[clip.id]}, which is kept"
                raise row.error(what, "delete one of the two rows")
            first_rows[clip.id] = row.number
            clips.append(clip)
    return clips


def _subject(row: Row) -> int:
    try:
        return subject_number(row.cells["subject"])
    except ValueError as error:
        raise row.error(f"{error}", "write the subject's number") from error


def _clip_of(dataset: Dataset, row: Row, number: int, folder: Path | None, root: Path | str) -> Clip:
    """The clip of one row. `folder` holds the subjects' folders (None: no frames). Raises DataError with the row."""
    name = text_of(row.cells["filename"])
    if not name:
        raise row.error("no file name", "fill the cell, or delete the row")
    if Path(name).name != name or name in (".", ".."):
        raise row.error(f"{name!r} is no folder name", "write the clip's folder name only")
    emotion = normalise_emotion(text_of(row.cells["emotion"]))
    if emotion not in (*FINE_TO_COARSE, "others", ""):
        known = ", ".join((*FINE_TO_COARSE, "others"))
        raise row.error(f"unknown emotion {emotion!r}", f"write one of {known}")
    interval, annotated = _interval(dataset, row, number, name)
    units, unit_notes = parse_action_units(row.cells["units"])
    subject = dataset.subject.format(number)
    frames = ""
    if folder is not None:
        interval = _fit(row, interval, folder / subject / name)
        frames = relative_to_root(folder / subject / name, root)
    reason = dataset.me_vqa_without(number, name, emotion, *annotated)
    reason = reason or (None if units else "no action unit")
    reason_notes = () if reason is None else (f"not in ME-VQA: {reason}",)
    return Clip(
        id=f"{dataset.name}/{subject}/{name}",
        dataset=dataset.name,
        subject=subject,
        name=name,
        fps=dataset.fps,
        frames=frames,
        onset=interval.onset,
        apex=interval.apex,
        offset=interval.offset,
        apex_estimated=interval.apex_estimated,
        action_units=units,
        fine=emotion,
        coarse="" if reason else coarse_of(emotion) or "",
        notes=interval.notes + unit_notes + reason_notes,
    )


def _interval(dataset: Dataset, row: Row, number: int, name: str) -> tuple[Interval, tuple[int | None, int | None]]:
    """The repaired interval, and onset and apex as annotated."""
    notes = []
    try:
        onset, apex, offset = (frame_of(row.cells[point]) for point in ("onset", "apex", "offset"))
        corrected = dataset.offsets.get((number, name, offset))
        if corrected is not None:
            notes.append(f"offset {offset}: known to be wrong, {corrected} is taken")
        if "?" in text_of(row.cells["offset"]):
            notes.append(f"offset {text_of(row.cells['offset'])!r}: marked unclear")
        interval = repair_interval(onset, apex, offset if corrected is None else corrected)
    except ValueError as error:
        raise row.error(f"{error}", "correct the frame numbers in the row") from error
    return replace(interval, notes=(*notes, *interval.notes)), (onset, apex)


def _fit(row: Row, interval: Interval, folder: Path) -> Interval:
    try:
        return fit_to_frames(interval, list_frames(folder))
    except DataError as error:
        raise row.error(f"{error.problem.file}: {error.problem.what}", error.problem.fix) from error
    except ValueError as error:
        raise row.error(f"{folder}: {error}", "unpack the clip again, or delete the row") from error


def reason_of_emotion(emotion: str) -> str | None:
    """Why an emotion keeps a clip out of ME-VQA: `others`, or none at all; None for the eight names."""
    if is_empty(emotion):
        return "no emotion"
    return None if coarse_of(emotion) else f"emotion {emotion!r}"
