"""From a spreadsheet's rows to clips: what all annotated datasets share. A dataset adds its record and its rule."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from megc.clips import LEFT_OUT, Clip, list_frames
from megc.datasets.folders import find_layout, relative_to_root
from megc.datasets.repairs import Interval, fit_to_frames, repair_interval
from megc.datasets.spreadsheets import (
    Row,
    cell_excerpt,
    frame_of,
    is_empty,
    read_sheet,
    subject_number,
    text_of,
)
from megc.facs import FINE_TO_COARSE, ActionUnit, coarse_of, normalise_emotion, parse_action_units
from megc.files import resolve_inside
from megc.problems import DataError, Problem, Problems, excerpt


@dataclass(frozen=True)
class ClipNames:
    """How a dataset names its clips: its title, a regular expression of the file names, and an example.

    A group `subject` of the pattern is the number of the clip's subject, which must be that of its row.
    """

    title: str
    pattern: str
    example: str

    def match(self, name: str) -> re.Match[str] | None:
        """The match of a whole file name, upper or lower case; None for a name of another dataset."""
        return re.fullmatch(self.pattern, name, re.IGNORECASE)


# Datasets whose sheets have much the same columns, so that they would be read as another one without a complaint.
# Who writes the reader of one moves its names into the record.
WITHOUT_READER = (
    ClipNames("CAS(ME)²", r"(anger|disgust|happy)\d_\d+", "anger1_1"),
    ClipNames("CAS(ME)³", r"[a-z]", "a"),
    ClipNames("SMIC", r"s\d+_(ne|po|sur)_\d+", "s1_ne_01"),
    ClipNames("MMEW", r"S\d+-\d+-\d+", "S01-01-001"),
)


@dataclass(frozen=True)
class Dataset:
    """How a dataset with a spreadsheet names and lays out its clips.

    `subject` formats a subject's number as its folder; `layouts` are the places of the subjects' folders below
    `--frames`; `me_vqa_without` gives the reason why ME-VQA leaves a clip out, from (subject number, filename,
    emotion, onset, apex as annotated), or None; `offsets` corrects (subject number, filename, annotated offset);
    `headers` adds spellings of column headers to `spreadsheets.COLUMNS`.
    """

    name: str
    clip_names: ClipNames
    fps: float
    subject: str
    layouts: tuple[str, ...]
    me_vqa_without: Callable[[int, str, str, int | None, int | None], str | None]
    offsets: Mapping[tuple[int, str, int | None], int] = field(default_factory=dict)
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_annotated(
    dataset: Dataset, annotations: Path | str | None, frames: Path | str | None, root: Path | str, problems: Problems
) -> list[Clip]:
    """Clips of a spreadsheet, in its order; bad rows go to `problems`.

    `frames` is the folder of the frames (None: annotations only, `Clip.frames` empty); `root` the folder of the
    `clips.jsonl` to be, which frames are written relative to. Raises DataError when the whole is unusable.
    """
    if annotations is None:
        raise DataError(dataset.name, None, "no spreadsheet", "give it as --annotations")
    sheet = read_sheet(annotations, problems, dataset.headers)
    check_clip_names(dataset, annotations, sheet)
    # 1. rows with a subject  2. the folder of the frames, one for all  3. clips, the first of each id
    rows: list[tuple[Row, int]] = []  # with the number of the subject
    for row in sheet:
        with problems.collect():
            rows.append((row, _subject(row)))
    folder = None
    if frames is not None:
        folder = find_layout(frames, dataset.layouts, {dataset.subject.format(number) for _, number in rows})
        relative_to_root(folder, root)  # once for the whole dataset rather than a problem a clip
        rows = _without_absent(dataset, rows, folder, annotations, problems)
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


def check_clip_names(dataset: Dataset, file: Path | str, rows: Sequence[Row]) -> None:
    """Raises DataError where fewer than half of the sheet's file names are like those of the dataset.

    The message names the dataset that the sheet looks like, and the flag that reads it.
    """
    from megc.datasets.readers import ANNOTATED  # here: the readers rest on this file

    names = [name for row in rows if (name := text_of(row.cells["filename"]))]

    def count(clip_names: ClipNames) -> int:
        return sum(bool(clip_names.match(name)) for name in names)

    expected = dataset.clip_names
    if 2 * count(expected) >= len(names):
        return
    flags = {other.clip_names: f"`--dataset {other.name}`" for other in ANNOTATED}
    # of equals the first, so the datasets that can be read
    likeliest = max((*flags, *WITHOUT_READER), key=count)
    if 2 * count(likeliest) < len(names):
        what = f"{count(expected)} of {len(names)} file names are like those of {expected.title} ({expected.example})"
        raise DataError(file, None, what, f"give the spreadsheet of {expected.title} as its owners release it")
    what = (
        f"this looks like a sheet of {likeliest.title}, not of {expected.title}: "
        f"{count(likeliest)} of {len(names)} file names are like {likeliest.example}"
    )
    readable = ", ".join(f"{flag} ({clip_names.title})" for clip_names, flag in flags.items())
    fix = f"read it with {flags[likeliest]}" if likeliest in flags else f"only these can be read: {readable}"
    raise DataError(file, None, what, fix)


def _subject(row: Row) -> int:
    try:
        return subject_number(row.cells["subject"])
    except ValueError as error:
        raise row.error(f"{error}", "write the subject's number, from 1") from error


def _without_absent(
    dataset: Dataset, rows: list[tuple[Row, int]], folder: Path, file: Path | str, problems: Problems
) -> list[tuple[Row, int]]:
    """The rows whose clip has a folder, and one problem for all the others, where most clips have none.

    Where most have one, each clip without is left to be a problem of its own.
    """

    def is_absent(row: Row, number: int) -> bool:
        name = text_of(row.cells["filename"])
        return _is_folder_name(name) and not (folder / dataset.subject.format(number) / name).is_dir()

    absent = [(row, number) for row, number in rows if is_absent(row, number)]
    if len(absent) < 3 or 2 * len(absent) <= len(rows):  # a few: single faults, each with its row
        return rows
    row, number = absent[0]
    first = f"{dataset.subject.format(number)}/{text_of(row.cells['filename'])} of row {row.number}"
    present = len(rows) - len(absent)
    what = f"{len(absent)} of {len(rows)} clips have no folder in {folder} (the first: {first})"
    fix = (
        f"unpack the others, or go on with the {present} that are there (--skip-bad)"
        if present
        else "unpack the frames"
    )
    problems.add(Problem(str(file), None, what, fix))
    left_out = {row.number for row, _ in absent}
    return [(row, number) for row, number in rows if row.number not in left_out]


def _is_folder_name(name: str) -> bool:
    try:
        resolve_inside("", name)
    except ValueError:
        return False
    return "/" not in name


def _filename(row: Row) -> str:
    """The clip's name: that of its folder."""
    cell = row.cells["filename"]
    if is_empty(cell):
        raise row.error(f"no file name{f' ({excerpt(cell)})' if cell else ''}", "fill the cell, or delete the row")
    name = text_of(cell)
    if not isinstance(cell, str | int | float) or not _is_folder_name(name):
        raise row.error(f"{cell_excerpt(cell)} is no folder name", "write the clip's folder name only, as text")
    return name


def _action_units(row: Row) -> tuple[tuple[ActionUnit, ...], tuple[str, ...]]:
    try:
        return parse_action_units(row.cells["units"])
    except ValueError as error:
        fix = "format the cell as text and write the numbers with + between them, such as 4+7"
        raise row.cell_error("units", str(error), fix) from error


def _clip_of(dataset: Dataset, row: Row, number: int, folder: Path | None, root: Path | str) -> Clip:
    """The clip of one row. `folder` holds the subjects' folders (None: no frames). Raises DataError with the row."""
    name = _filename(row)
    emotion = normalise_emotion(text_of(row.cells["emotion"]))
    if emotion not in (*FINE_TO_COARSE, "others", ""):
        names = ", ".join((*FINE_TO_COARSE, "others"))
        raise row.error(f"unknown emotion {excerpt(emotion)}", f"write one of {names}")
    interval, annotated = _interval(dataset, row, number, name)
    units, unit_notes = _action_units(row)
    subject = dataset.subject.format(number)
    frames = ""
    if folder is not None:
        interval = _fit(row, interval, folder / subject / name)
        frames = relative_to_root(folder / subject / name, root)
    # by the interval as annotated: a repair must not bring back a clip that the organisers left out
    reason = dataset.me_vqa_without(number, name, emotion, *annotated)
    reason = reason or (None if units else "no action unit")
    reason_notes = () if reason is None else (f"{LEFT_OUT}{reason}",)
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
        notes=_name_notes(dataset, number, name) + interval.notes + unit_notes + reason_notes,
    )


def _name_notes(dataset: Dataset, number: int, name: str) -> tuple[str, ...]:
    """Notes on a file name that is not like the dataset's, or that is of a clip of another subject."""
    clip_names = dataset.clip_names
    match = clip_names.match(name)
    if match is None:
        return (f"file name {excerpt(name)}: not like those of {clip_names.title} ({clip_names.example})",)
    subject = match.groupdict().get("subject")
    if subject is not None and int(subject) != number:
        return (f"file name {name}: that of a clip of subject {subject}, not {number}",)
    return ()


def _interval(dataset: Dataset, row: Row, number: int, name: str) -> tuple[Interval, tuple[int | None, int | None]]:
    """The repaired interval, and onset and apex as annotated."""
    notes = []
    try:
        onset, apex, offset = (frame_of(row.cells[point]) for point in ("onset", "apex", "offset"))
        corrected = dataset.offsets.get((number, name, offset))
        if corrected is not None:
            notes.append(f"offset {offset}: known to be wrong, {corrected} is taken")
        if onset == 0:
            notes.append("onset 0: frames are counted from 1, check the cell")
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
