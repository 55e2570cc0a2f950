"""From the rows of a sheet to long videos and their events: what all datasets of long videos share."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from megc.clips import Event, EventType, Video, list_frames
from megc.datasets.dataset import Signs
from megc.datasets.folders import find_clip_folders, is_folder_name, relative_to_root
from megc.datasets.repairs import repair_rows
from megc.datasets.spreadsheets import Row, SheetForm, cell_excerpt, frame_of, is_empty, read_sheet, text_of
from megc.facs import normalise_emotion, parse_action_units
from megc.problems import DataError, Problem, Problems, excerpt

_TYPES: dict[str, EventType] = {"micro": "micro", "me": "micro", "macro": "macro", "mae": "macro"}


class EventNames(NamedTuple):
    """What the row of an event is about: subject and video as `Video` names them, and the event's own name."""

    subject: str
    video: str
    event: str


class EventLabels(NamedTuple):
    """What another sheet says of an event: its emotion, and action units as that sheet writes them (None: nothing)."""

    emotion: str
    units: object = None


# of the events that another sheet describes, by what `LongDataset.label_key` gives
LabelReader = Callable[[Path | str, Problems], Mapping[Hashable, EventLabels]]


@dataclass(frozen=True)
class LongDataset:
    """How a dataset of long videos names and lays out videos and events.

    - `name` is that of `--dataset`, `title` what messages call it; `forms` are its sheets (see `SheetForm`); a column
      `type` says micro or macro, else all events are of the type `type`; a column `notes` is kept.
    - `names_of` reads an `EventNames` off a row, and raises ValueError for a row of another dataset; `event_rows`
      makes several rows of one that holds several events.
    - `types`: cells of the column `type` beside words that begin with micro or macro. `fractions`: frame numbers may
      be 566.4 (rounded: 566).
    - `layouts` are places below `--frames`, `video_folders` templates of a video's folder below these (`{subject}`,
      `{video}`, and what `folder_fields` adds from the video), as `find_clip_folders` takes them.
    - `read_labels` reads emotions from another sheet (`--emotions`), for `label_key` of a row.
    - `is_remark` knows rows of words below the events; `extent` reads first and last frame of the video off a row.
    - `signs` are names that only its files have, by which `--dataset auto` knows them.
    """

    name: str
    title: str
    fps: float
    forms: tuple[SheetForm, ...]
    names_of: Callable[[Row], EventNames]
    layouts: tuple[str, ...]
    video_folders: tuple[str, ...]
    event_rows: Callable[[Row], Sequence[Row]] = lambda row: (row,)
    type: EventType | None = None
    types: Mapping[str, EventType] = field(default_factory=dict)
    fractions: bool = False
    folder_fields: Callable[[Video], Mapping[str, str]] = lambda _: {}
    read_labels: LabelReader | None = None
    label_key: Callable[[Row], Hashable] = id
    is_remark: Callable[[Row], bool] = lambda _: False
    extent: Callable[[Row], tuple[int, int] | None] = lambda _: None
    signs: Signs = field(default_factory=Signs)

    def names_row(self, row: Row) -> bool:
        """Whether a row is about an event of this dataset, by its names."""
        try:
            self.names_of(row)
        except ValueError:
            return False
        return True


def read_long(
    dataset: LongDataset,
    annotations: Path | str | None,
    frames: Path | str | None,
    root: Path | str,
    problems: Problems,
    repairs: str = "",
    labels: Path | str | None = None,
) -> list[Video]:
    """Videos of a sheet of events, in order of first appearance; bad rows go to `problems`.

    `frames` is the folder of the frames (None: annotations only), `root` that of the `videos.jsonl` to be; `repairs`
    names a set of the dataset's repairs, `labels` is a sheet of emotions. Raises DataError when the whole is unusable.
    """
    if annotations is None:
        raise DataError(dataset.name, None, "no spreadsheet", "give it as --annotations")
    rows = _without_remarks(dataset, read_sheet(annotations, problems, dataset.forms), problems)
    _check_names(dataset, annotations, rows)
    events = read_events(dataset, rows, problems, repairs, _labels_of(dataset, labels, problems))
    videos = _with_extents(dataset, group_events(dataset.name, dataset.fps, events), rows, problems)
    return videos if frames is None else attach_frames(dataset, videos, frames, root, problems)


def _without_remarks(dataset: LongDataset, rows: Sequence[Row], problems: Problems) -> list[Row]:
    """The rows without those of words, which are a warning together."""
    remarks = [row for row in rows if dataset.is_remark(row)]
    if remarks:
        first = next((text for cell in remarks[0].cells.values() if (text := text_of(cell))), "")
        what = f"{len(remarks)} row(s) of words are passed over, the first is {excerpt(first)}"
        problems.warnings.append(Problem(remarks[0].file, remarks[0].number, what, "check that they are no events"))
    return [row for row in rows if not dataset.is_remark(row)]


def _with_extents(
    dataset: LongDataset, videos: Sequence[Video], rows: Sequence[Row], problems: Problems
) -> list[Video]:
    """The videos with their lengths, and their events checked against them, where the sheet says first and last
    frame."""
    extents: dict[tuple[str, str], tuple[int, int]] = {}
    for row in (row for sheet_row in rows for row in dataset.event_rows(sheet_row)):
        with suppress(ValueError):  # a row that is no event: reported before
            names, extent = dataset.names_of(row), dataset.extent(row)
            if extent:
                extents.setdefault((names.subject, names.video), extent)
    checked = []
    for video in videos:
        if extent := extents.get((video.subject, video.name)):
            video = check_extent(replace(video, length=extent[1] - extent[0] + 1), *extent, problems)
        checked.append(video)
    return checked


def _check_names(dataset: LongDataset, file: Path | str, rows: Sequence[Row]) -> None:
    """Raises DataError for a sheet of another dataset: most of its rows name no video of this one."""
    strange = []
    for row in rows:
        try:
            dataset.names_of(row)
        except ValueError as error:
            strange.append(f"row {row.number}: {error}")
    if 2 * len(strange) > len(rows):
        what = f"{len(strange)} of {len(rows)} rows are of no video of {dataset.title} ({strange[0]})"
        raise DataError(file, None, what, f"give the sheet of {dataset.title} as its owners release it")


def _labels_of(dataset: LongDataset, path: Path | str | None, problems: Problems) -> dict[Hashable, EventLabels]:
    if path is None:
        return {}
    if dataset.read_labels is None:
        what = f"{dataset.title} takes no second sheet"
        raise DataError(path, None, what, "leave --emotions out")
    return dict(dataset.read_labels(path, problems))


def read_events(
    dataset: LongDataset,
    rows: Sequence[Row],
    problems: Problems,
    repairs: str = "",
    labels: Mapping[Hashable, EventLabels] | None = None,
) -> list[tuple[EventNames, Event]]:
    """Events of a sheet's rows, repaired. A row that is no event goes to `problems`; labels of no event are a
    warning."""
    labels = dict(labels or {})
    events, unused = [], dict(labels)
    for repaired, notes in repair_rows(rows, dataset.name, repairs):
        with problems.collect():
            for row in dataset.event_rows(repaired):
                try:
                    names, key = dataset.names_of(row), dataset.label_key(row)
                except ValueError as error:
                    raise row.error(str(error), f"write it as {dataset.title} does, or delete the row") from error
                unused.pop(key, None)
                events.append((names, _event_of(dataset, row, names, notes, labels.get(key))))
    if unused:
        what = f"{len(unused)} of {len(labels)} labelled rows belong to no event, such as {next(iter(unused))}"
        problems.warnings.append(Problem(dataset.name, None, what, "check that both sheets are of one release"))
    return events


def _event_of(
    dataset: LongDataset, row: Row, names: EventNames, notes: tuple[str, ...], labels: EventLabels | None
) -> Event:
    """The event of a row. Raises DataError that names the row."""
    for name in (names.subject, names.video):
        if not is_folder_name(name):
            raise row.error(f"{excerpt(name)} is no name of a subject or video", "write it as the folder is named")
    onset, apex, offset, interval_notes = _interval(row, dataset.fractions)
    cell = row.cells.get("units")
    if not text_of(cell) and labels:
        cell = labels.units
    try:
        units, unit_notes = parse_action_units(cell)
    except ValueError as error:
        raise row.error(str(error), "write the action units as text, with + between them, such as 4+7") from error
    emotion_cell = row.cells.get("emotion")
    emotion = "" if is_empty(emotion_cell) else normalise_emotion(text_of(emotion_cell))
    emotion = emotion or (labels.emotion if labels else "")
    remark = text_of(row.cells.get("notes"))
    notes = (*notes, *interval_notes, *unit_notes, *([f"note: {remark}"] if remark else []))
    return Event(onset, apex, offset, _type_of(dataset, row), emotion, units, names.event, notes)


def _type_of(dataset: LongDataset, row: Row) -> EventType:
    if dataset.type:
        return dataset.type
    cell = text_of(row.cells.get("type")).casefold().removesuffix(".0")
    word = next((name for name in ("micro", "macro") if cell.startswith(name)), cell)
    if (type_ := {**_TYPES, **dataset.types}.get(word)) is None:
        raise row.error(f"{excerpt(cell)} is no type of event", "write micro or macro")
    return type_


def _interval(row: Row, fractions: bool) -> tuple[int, int | None, int, tuple[str, ...]]:
    """Onset, apex (None: unknown) and offset of a row, and notes on what was repaired.

    An offset that is missing or before the onset becomes the apex; an apex outside is not used. An apex on the onset
    or the offset stays: here nobody cuts pictures at it. Raises DataError when no interval is left.
    """
    try:
        onset, apex, offset = (frame_of(row.cells.get(point), fractions) for point in ("onset", "apex", "offset"))
        if onset is None:
            raise ValueError("the onset is missing")
    except ValueError as error:
        raise row.error(str(error), "correct the frame numbers in the row") from error
    notes = [
        f"{point} {cell:g} is rounded"
        for point in ("onset", "apex", "offset")
        if isinstance(cell := row.cells.get(point), float) and not cell.is_integer()
    ]
    if onset == 0:
        notes.append("onset 0: shown before the video begins, or frames are counted from 0")
    if offset is None or offset < onset:
        was = cell_excerpt(row.cells.get("offset")) if offset is None else offset
        if apex is None or apex < onset:
            what = f"the interval {onset}–{was} is empty and the apex {apex} does not help"
            raise row.error(what, "correct the frame numbers in the row")
        notes.append(f"offset {was}: the apex {apex} is taken")
        offset = apex
    if apex is None and text_of(row.cells.get("apex")):
        notes.append(f"apex {text_of(row.cells['apex'])}: not annotated")
    elif apex is not None and not onset <= apex <= offset:
        notes.append(f"apex {apex} is outside {onset}–{offset} and not used")
        apex = None
    return onset, apex, offset, tuple(notes)


def group_events(dataset: str, fps: float, events: Sequence[tuple[EventNames, Event]]) -> list[Video]:
    """Videos of events, in order of first appearance, each with its events in order of onset; an event whose name
    another one of the video has is noted."""
    by_video: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for names, event in events:
        by_video[names.subject, names.video].append(event)
    videos = []
    for (subject, name), members in by_video.items():
        counts = Counter(event.name for event in members)
        members = [
            replace(
                event, notes=(*event.notes, f"name {event.name}: {counts[event.name]} events of the video have it")
            )
            if event.name and counts[event.name] > 1
            else event
            for event in sorted(members, key=lambda event: (event.onset, event.offset))
        ]
        videos.append(Video(f"{dataset}/{subject}/{name}", dataset, subject, name, fps, events=tuple(members)))
    return videos


def attach_frames(
    dataset: LongDataset, videos: Sequence[Video], frames: Path | str, root: Path | str, problems: Problems
) -> list[Video]:
    """The videos with folder and number of their frames. Videos without a folder are a problem and keep their events;
    frames that were dropped, and events beyond the frames, are noted and warned of.

    Raises DataError when no video has a folder.
    """
    fields = [[{"subject": v.subject, "video": v.name, **dataset.folder_fields(v)}] for v in videos]
    layout = find_clip_folders(frames, dataset.layouts, dataset.video_folders, fields)
    absent = [video.id for video, folder in zip(videos, layout.folders, strict=True) if folder is None]
    if absent:
        what = f"{len(absent)} of {len(videos)} videos have no folder in {layout.place}, such as {absent[0]}"
        problems.add(Problem(dataset.name, None, what, "unpack them, or go on without their frames (--skip-bad)"))
    attached = []
    pairs = list(zip(videos, layout.folders, strict=True))
    for video, folder in tqdm(pairs, desc=f"frames of {dataset.name}", unit="video", disable=None):
        if folder is not None:
            with problems.collect():
                numbers = list(list_frames(folder))
                video = replace(video, frames=relative_to_root(folder, root), length=len(numbers))
                video = check_extent(video, numbers[0], numbers[-1], problems)
                video = _note_gaps(video, numbers, problems)
        attached.append(video)
    return attached


def check_extent(video: Video, first: int, last: int, problems: Problems) -> Video:
    """The video with a note on each event, and a warning, that reaches beyond its frames `first` to `last`."""
    events = []
    for event in video.events:
        # onset 0 where frames are counted from 1 is noted already
        if event.offset > last or (event.onset < first and (event.onset, first) != (0, 1)):
            note = f"{event.onset}–{event.offset} reaches beyond the video's frames {first}–{last}"
            row = f"{video.id}, event {event.name or event.onset}"
            fix = "check the numbers, and whether all frames are unpacked"
            problems.warnings.append(Problem(video.dataset, row, note, fix))
            event = replace(event, notes=(*event.notes, note))
        events.append(event)
    return replace(video, events=tuple(events))


def _note_gaps(video: Video, numbers: Sequence[int], problems: Problems) -> Video:
    """The video with a note, and a warning, on numbers between its first and last frame that have no file."""
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if not missing:
        return video
    after = next(number for number, following in pairwise(numbers) if following > number + 1)
    note = f"{missing} of the frames {numbers[0]}–{numbers[-1]} have no file, the first is {after + 1}"
    fix = "unpack them if they were released; else the nearest frames are taken"
    problems.warnings.append(Problem(video.dataset, video.id, note, fix))
    return replace(video, notes=(*video.notes, note))
