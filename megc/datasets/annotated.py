"""From a spreadsheet's rows to clips: what all annotated datasets share. A dataset adds its record and its rule."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from megc.clips import LEFT_OUT, Clip, list_frames
from megc.datasets.dataset import Annotation, ClipNames, Dataset
from megc.datasets.folders import ClipFolders, find_clip_folders, is_folder_name, relative_to_root
from megc.datasets.intervals import Interval, fit_to_frames, repair_interval
from megc.datasets.repairs import repair_rows, warn_of_places
from megc.datasets.spreadsheets import (
    Row,
    cell_excerpt,
    frame_of,
    is_empty,
    read_sheet,
    subject_number,
    text_of,
)
from megc.datasets.workbooks import SheetCells, read_workbook
from megc.facs import (
    COARSE_EMOTIONS,
    FINE_TO_COARSE,
    FULLY_LABELLED,
    ActionUnit,
    coarse_of,
    normalise_emotion,
    parse_action_units,
)
from megc.problems import DataError, Problem, Problems, excerpt


def read_annotations(
    dataset: Dataset, annotations: Path | str | None, problems: Problems, repairs: str = ""
) -> list[Annotation]:
    """Expressions of a spreadsheet, micro and macro, in its order; bad rows go to `problems`.

    `repairs` names a set of the dataset's repairs (`none`: the sheet as released). Raises DataError when the whole is
    unusable.
    """
    if annotations is None:
        raise DataError(dataset.name, None, "no spreadsheet", "give it as --annotations")
    sheets = read_workbook(annotations)
    try:
        sheet = read_sheet(annotations, problems, dataset.forms, sheets)
    except DataError as error:
        raise _sheet_of_another(dataset, annotations, sheets) or error from error
    check_clip_names(dataset, annotations, sheet)
    repaired = repair_rows(sheet, dataset.name, repairs, dataset.released_rows)
    if warning := warn_of_places(len(sheet), dataset.name, repairs, dataset.released_rows):
        problems.warnings.append(Problem(str(annotations), None, *warning))
    expressions: list[Annotation] = []
    first_rows: dict[tuple[int, str, str], int] = {}
    for released, (row, notes) in zip(sheet, repaired, strict=True):
        with problems.collect():
            expression = _annotation_of(dataset, row, released, notes)
            key = (expression.number, expression.name, expression.kind)
            if key in first_rows:
                what = f"clip {_clip_id(dataset, expression)} is already in row {first_rows[key]}, which is kept"
                raise row.error(what, "delete one of the two rows")
            first_rows[key] = row.number
            expressions.append(expression)
    return expressions


def read_annotated(
    dataset: Dataset,
    annotations: Path | str | None,
    frames: Path | str | None,
    root: Path | str,
    problems: Problems,
    repairs: str = "",
) -> list[Clip]:
    """Clips of a spreadsheet's micro-expressions, in its order; bad rows go to `problems`.

    `frames` is the folder of the frames (None: annotations only, `Clip.frames` empty); `root` the folder of the
    `clips.jsonl` to be, which frames are written relative to; `repairs` as for `read_annotations`. Raises DataError
    when the whole is unusable.
    """
    expressions = read_annotations(dataset, annotations, problems, repairs)
    kinds = Counter(expression.kind for expression in expressions)
    if macros := kinds["macro"]:
        what = f"{macros} of {len(expressions)} rows are macro-expressions, which are no clips"
        problems.warnings.append(Problem(str(annotations), None, what, "they stay events of their videos"))
    expressions = [expression for expression in expressions if expression.kind == "micro"]
    if expressions and "emotion" not in expressions[0].row.cells:
        what = f"the sheet has no emotions, so ME-VQA asks nothing about its {len(expressions)} clips"
        problems.warnings.append(
            Problem(str(annotations), None, what, "give the sheet with emotions, if there is one")
        )
    if frames is None:
        return [_clip_of(dataset, expression) for expression in expressions]
    layout = find_clip_folders(frames, dataset.layouts, dataset.clip_folders, _folder_fields(dataset, expressions))
    relative_to_root(layout.place, root)  # once for the whole dataset rather than a problem a clip
    return _clips_with_frames(dataset, expressions, layout, root, problems)


def check_clip_names(dataset: Dataset, file: Path | str, rows: Sequence[Row]) -> None:
    """Raises DataError where fewer than half of the sheet's file names are like those of the dataset.

    The message names the dataset that the sheet looks like, and the flag that reads it.
    """
    from megc.datasets.readers import ANNOTATED  # here: the readers rest on this file

    names = [name for row in rows if (name := text_of(row.cells.get("filename")))]

    def count(clip_names: ClipNames) -> int:
        return sum(bool(clip_names.match(name)) for name in names)

    expected = dataset.clip_names
    if not expected.pattern or 2 * count(expected) >= len(names):
        return
    flags = {other.clip_names: f"`--dataset {other.name}`" for other in ANNOTATED}
    likeliest = max(flags, key=count)  # of equals the first
    if 2 * count(likeliest) < len(names):
        what = f"{count(expected)} of {len(names)} file names are like those of {expected.title} ({expected.example})"
        raise DataError(file, None, what, f"give the spreadsheet of {expected.title} as its owners release it")
    what = (
        f"this looks like a sheet of {likeliest.title}, not of {expected.title}: "
        f"{count(likeliest)} of {len(names)} file names are like {likeliest.example}"
    )
    raise DataError(file, None, what, f"read it with {flags[likeliest]}")


def _sheet_of_another(dataset: Dataset, file: Path | str, sheets: dict[str, SheetCells]) -> DataError | None:
    """The error for a sheet without the columns of a dataset, where it has those and the file names of another."""
    from megc.datasets.readers import ANNOTATED, LONG  # here: the readers rest on this file

    for other in (*ANNOTATED, *LONG):
        try:
            rows = [] if other.name == dataset.name else read_sheet(file, Problems(), other.forms, sheets)
        except DataError:
            continue
        if rows and 2 * sum(map(other.names_row, rows)) >= len(rows):
            what = f"this looks like a sheet of {other.title}, not of {dataset.title}"
            return DataError(file, None, what, f"read it with `--dataset {other.name}`")
    return None


# ---- a row


def _annotation_of(dataset: Dataset, row: Row, released: Row, notes: tuple[str, ...]) -> Annotation:
    """A row as read. `released` is the row before its repairs, which `notes` name. Raises DataError with the row."""
    number = _subject(dataset, row)
    filename = _filename(row) if "filename" in row.cells else ""
    points = {point: text_of(row.cells[point]).removesuffix(".0") for point in ("onset", "offset")}
    name = dataset.clip_name.format(filename=filename, **points)
    if not is_folder_name(name):
        raise row.error(f"the clip's name {excerpt(name)} can be no folder's", "correct the row")
    fine, coarse, reason, emotion_notes = _labels(dataset, row)
    interval = _interval(dataset, row)
    units, unit_notes = _action_units(row)
    annotation = Annotation(
        row=row,
        number=number,
        subject=dataset.subject.format(dataset.subject_numbers.get(number, number)),
        filename=filename,
        name=name,
        kind=_kind(dataset, row),
        interval=interval,
        annotated=_as_released(dataset, released),
        units=units,
        fine=fine,
        coarse=coarse,
        reason=reason,
        notes=(*_name_notes(dataset, number, filename), *notes, *interval.notes, *unit_notes, *emotion_notes),
    )
    return replace(annotation, notes=annotation.notes + dataset.notes(annotation)) if dataset.notes else annotation


def _subject(dataset: Dataset, row: Row) -> int:
    """The subject's number in the sheet."""
    try:
        number = subject_number(row.cells["subject"])
    except ValueError as error:
        raise row.error(f"{error}", "write the subject's number, from 1") from error
    if dataset.subject_numbers and number not in dataset.subject_numbers:
        what = f"no subject {number} in {dataset.clip_names.title}"
        raise row.error(what, f"write one of {min(dataset.subject_numbers)} to {max(dataset.subject_numbers)}")
    return number


def _filename(row: Row) -> str:
    """The clip's file: the name of its folder."""
    cell = row.cells["filename"]
    if is_empty(cell):
        raise row.error(f"no file name{f' ({excerpt(cell)})' if cell else ''}", "fill the cell, or delete the row")
    name = text_of(cell)
    if not isinstance(cell, str | int | float) or not is_folder_name(name):
        raise row.error(f"{cell_excerpt(cell)} is no folder name", "write the clip's folder name only, as text")
    return name


def _kind(dataset: Dataset, row: Row) -> str:
    """`micro` or `macro`, by the column `type`; all rows of a sheet without it are micro-expressions."""
    if "type" not in row.cells:
        return "micro"
    text = text_of(row.cells["type"]).casefold().removesuffix(".0")
    kind = dataset.kinds.get(text) or next((kind for kind in ("micro", "macro") if text.startswith(kind)), None)
    if kind is None:
        raise row.error(f"{cell_excerpt(row.cells['type'])} is no type of expression", "write micro or macro")
    return kind


def _action_units(row: Row) -> tuple[tuple[ActionUnit, ...], tuple[str, ...]]:
    try:
        return parse_action_units(row.cells.get("units"))
    except ValueError as error:
        fix = "format the cell as text and write the numbers with + between them, such as 4+7"
        raise row.cell_error("units", str(error), fix) from error


def _labels(dataset: Dataset, row: Row) -> tuple[str, str, str, tuple[str, ...]]:
    """Fine emotion, coarse class, why there is no class, and notes. Two emotions of a cell count where they agree."""
    cell = row.cells.get("emotion")
    if is_empty(cell):
        return "", "", "no emotion", ()
    fines, coarses, notes = set(), set(), []
    words = [" ".join(word.split()) for word in text_of(cell).lower().split("+")]
    for word in words:
        emotion = dataset.emotions.get(word) or normalise_emotion(word)
        if emotion in COARSE_EMOTIONS and (dataset.coarse_only or emotion not in FINE_TO_COARSE):
            coarses.add(emotion)
        elif emotion in (*FINE_TO_COARSE, "others"):
            fines.add(emotion)
            coarses.add(coarse_of(emotion) or "")
        else:
            names = ", ".join((*FINE_TO_COARSE, "others"))
            raise row.error(f"unknown emotion {excerpt(word)}", f"write one of {names}")
        if emotion == "others" and normalise_emotion(word) != "others":
            notes.append(f"emotion {word!r}: counts as others")
    fine = fines.pop() if len(fines) == 1 else ""
    if len(coarses) > 1:
        return fine if len(words) == 1 else "", "", f"several emotions, {' and '.join(words)}", tuple(notes)
    if len(words) > 1:
        notes.append(f"emotion {text_of(cell)!r}: several, which agree")
    coarse = coarses.pop()
    return fine, coarse, "" if coarse else f"emotion {words[0]!r}", tuple(notes)


def _interval(dataset: Dataset, row: Row) -> Interval:
    notes = []
    try:
        onset, apex, offset = (frame_of(row.cells.get(p), dataset.fractions) for p in ("onset", "apex", "offset"))
        if onset == 0:
            notes.append("onset 0: frames are counted from 1, check the cell")
        if "?" in text_of(row.cells["offset"]):
            notes.append(f"offset {text_of(row.cells['offset'])!r}: marked unclear")
        interval = repair_interval(onset, apex, offset)
    except ValueError as error:
        raise row.error(f"{error}", "correct the frame numbers in the row") from error
    return replace(interval, notes=(*notes, *interval.notes))


def _as_released(dataset: Dataset, released: Row) -> tuple[int | None, int | None, int | None]:
    """Onset, apex and offset without repairs; None for what is no frame number."""

    def number(point: str) -> int | None:
        try:
            return frame_of(released.cells.get(point), dataset.fractions)
        except ValueError:  # mended by a repair, or reported by `_interval`
            return None

    return number("onset"), number("apex"), number("offset")


def _name_notes(dataset: Dataset, number: int, name: str) -> tuple[str, ...]:
    """Notes on a file name that is not like the dataset's, or that is of a clip of another subject."""
    clip_names = dataset.clip_names
    match = clip_names.match(name)
    if not name or not clip_names.pattern:
        return ()
    if match is None:
        return (f"file name {excerpt(name)}: not like those of {clip_names.title} ({clip_names.example})",)
    subject = match.groupdict().get("subject")
    if subject is not None and int(subject) != number:
        return (f"file name {name}: that of a clip of subject {subject}, not {number}",)
    return ()


# ---- a clip


def _clip_id(dataset: Dataset, expression: Annotation) -> str:
    return f"{dataset.name}/{expression.subject}/{expression.name}"


def _clip_of(dataset: Dataset, expression: Annotation, interval: Interval | None = None, frames: str = "") -> Clip:
    """The clip of an expression; `interval` as fitted to its `frames`, where these are at hand."""
    interval = interval or expression.interval
    reason = expression.reason
    # by the interval as released: a repair must not bring back a clip that the organisers left out
    if not reason and dataset.me_vqa_without:
        reason = dataset.me_vqa_without(expression) or ""
    if not reason and not expression.units and dataset.name in FULLY_LABELLED:
        reason = "no action unit"
    fit_notes = interval.notes[len(expression.interval.notes) :]
    return Clip(
        id=_clip_id(dataset, expression),
        dataset=dataset.name,
        subject=expression.subject,
        name=expression.name,
        fps=dataset.fps,
        frames=frames,
        onset=interval.onset,
        apex=interval.apex,
        offset=interval.offset,
        apex_estimated=interval.apex_estimated,
        action_units=expression.units,
        fine=expression.fine,
        coarse="" if reason else expression.coarse,
        notes=(*expression.notes, *fit_notes, *((f"{LEFT_OUT}{reason}",) if reason else ())),
    )


def _folder_fields(dataset: Dataset, expressions: Sequence[Annotation]) -> list[list[dict[str, str]]]:
    """What the templates of `Dataset.clip_folders` may name, of each expression: as repaired, then as released."""
    fields, counts = [], Counter()
    for expression in expressions:
        video = (expression.subject, expression.filename)
        counts[video] += 1
        row = expression.row.cells
        repaired = {
            "subject": expression.subject,
            "name": expression.name,
            "filename": expression.filename,
            "onset": text_of(row["onset"]),
            "emotion": text_of(row.get("emotion")),
            "nth": "" if counts[video] == 1 else str(counts[video]),
            **(dataset.folder_fields(expression) if dataset.folder_fields else {}),
        }
        fields.append([repaired, repaired | {"onset": str(expression.annotated[0])}])
    return fields


def _clips_with_frames(
    dataset: Dataset, expressions: list[Annotation], layout: ClipFolders, root: Path | str, problems: Problems
) -> list[Clip]:
    """The clips whose folders are there, fitted to their files. Of the others each is a problem, or where they are
    most, all are one."""
    absent = [e for e, folder in zip(expressions, layout.folders, strict=True) if folder is None]
    present = len(expressions) - len(absent)
    many = len(absent) >= 3 and len(absent) > present
    if many:
        first = f"{absent[0].subject}/{absent[0].name} of row {absent[0].row.number}"
        what = f"{len(absent)} of {len(expressions)} clips have no folder in {layout.place} (the first: {first})"
        fix = f"unpack the others, or go on with the {present} that are there (--skip-bad)"
        problems.add(Problem(absent[0].row.file, None, what, fix))
    listings: dict[Path, dict[int, Path]] = {}  # of videos that hold several clips
    clips = []
    for expression, folder in zip(expressions, layout.folders, strict=True):
        if folder is None and many:
            continue
        with problems.collect():
            if folder is None:
                what = f"{expression.subject}/{expression.name}: its folder does not exist in {layout.place}"
                raise expression.row.error(what, "check where the dataset was unpacked")
            interval = _fit(expression, folder, listings)
            clips.append(_clip_of(dataset, expression, interval, relative_to_root(folder, root)))
    return clips


def _fit(expression: Annotation, folder: Path, listings: dict[Path, dict[int, Path]]) -> Interval:
    row = expression.row
    try:
        if folder not in listings:
            listings[folder] = list_frames(folder)
        return fit_to_frames(expression.interval, listings[folder])
    except DataError as error:
        raise row.error(f"{error.problem.file}: {error.problem.what}", error.problem.fix) from error
    except ValueError as error:
        raise row.error(f"{folder}: {error}", "unpack the clip again, or delete the row") from error
