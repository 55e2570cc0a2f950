"""Files of spotted intervals and of annotated long videos, in the forms that the field has.

Predictions: our own CSV; the challenge's of 2024 and 2025 (`subject,video,onset,offset,emotion`: micro-expressions),
of 2022 and 2023 (`vid,pred_onset,pred_offset,type`), tables without a header (`video,onset,offset,…`), the log of
2020 and 2021 (lines of video, annotated and predicted ends, TP/FP/FN), or a folder of such files. Ground truth:
`videos.jsonl`, or tables of events and of videos. Names of videos are compared without leading zeros, case, folders
and the letters that CAS(ME)² adds to them, those of subjects likewise (`001` is 1).
"""

import csv
import math
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from megc.clips import VIDEO_SUFFIXES, Event, Video, read_videos
from megc.files import write_text
from megc.problems import DataError, Problem, Problems, did_you_mean, excerpt
from megc.scoring.str_metrics import SpottedInterval

COLUMNS = ("dataset", "video", "onset", "offset", "type", "score", "emotion")
MICRO_SECONDS = 0.5  # an expression that lasts longer is macro (MEGC 2020-2023)
# What other projects call our columns, in lower case, without spaces and underscores.
_ALIASES = {
    "video": ("video", "vid", "videoname", "filename", "file", "videoid"),
    "subject": ("subject", "sub", "subjectid", "participant"),
    "onset": ("onset", "predonset", "start", "startframe", "onsetframe", "predstart", "tstart"),
    "offset": ("offset", "predoffset", "end", "endframe", "offsetframe", "predend", "tend"),
    "type": ("type", "predtype", "expressiontype", "class"),
    "score": ("score", "confidence", "conf", "probability"),
    "emotion": ("emotion", "predemotion", "emotiontype"),
    "dataset": ("dataset", "data"),
    "apex": ("apex", "apexframe"),
    "frames": ("frames", "framenum", "numframes"),
    "fps": ("fps", "framerate"),
}
_HEADERLESS = ("video", "onset", "offset")
_LOG_TAILS = {"TP", "FP", "FN"}
_FIX_CSV = (
    "give a CSV with the columns video, onset, offset and, where there are, dataset, subject, type, score, emotion"
)
_FIX_ROW = "correct or delete the row"
_EMPTY = {"", "-", "nan", "none"}
_NO_LABEL = {*_EMPTY, "-1", "/", "?", "n/a", "na"}


def plain_name(name: str) -> str:
    """The name of a video or subject as it is compared: `S15/15_0101disgustingteeth` is 15_101, `006_1` is 6_1."""
    text = name.strip().lower().replace("\\", "/").rstrip("/").split("/")[-1]
    text = text.removesuffix(Path(text).suffix) if Path(text).suffix in (*VIDEO_SUFFIXES, ".csv", ".txt") else text
    text = re.sub(r"^(s?\d+_\d{4})[a-z]+$", r"\1", text)  # CAS(ME)² writes the film's name behind the number
    text = re.sub(r"^(?:s|sub|spno\.?)(?=\d)", "", text)
    text = re.sub(r"\.0$", "", text)  # a subject that a spreadsheet made a number
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def read_type(cell: str) -> str:
    """`micro`, `macro` or empty, of a cell such as `Micro - 1/2`, `me`, `mae`. Raises RowFault for another word."""
    text = re.sub(r"[^a-z]", "", cell.lower())
    if cell.strip().lower() in _NO_LABEL or (text in _EMPTY and not re.search(r"\d", cell)):
        return ""
    if text.startswith("micro") or text == "me":
        return "micro"
    if text.startswith("macro") or text == "mae":
        return "macro"
    raise RowFault(f"the type {excerpt(cell)} is neither micro (me) nor macro (mae)")


def type_by_duration(onset: float, offset: float, fps: float) -> str:
    """Micro up to half a second from first to last frame, else macro: the challenge's rule."""
    return "micro" if (offset - onset) / fps <= MICRO_SECONDS else "macro"


class RowFault(ValueError):
    """What is wrong with a row, and the remedy."""

    def __init__(self, what: str, fix: str = _FIX_ROW) -> None:
        super().__init__(what)
        self.fix = fix


class VideoIndex:
    """Finds the annotated video that a row names."""

    def __init__(self, videos: Iterable[Video]) -> None:
        self.videos = list(videos)
        self._by_name: dict[str, list[Video]] = defaultdict(list)
        for video in self.videos:
            self._by_name[plain_name(video.name)].append(video)

    @property
    def names(self) -> Container[str]:
        """The plain names of all videos."""
        return self._by_name.keys()

    def find(self, name: str, subject: str = "", dataset: str = "") -> Video:
        """The one video of that name. `subject` and `dataset` may be empty; a name may be `subject/video`.

        Raises RowFault where there is none or more than one.
        """
        candidates = self._by_name.get(plain_name(name), [])
        candidates = [video for video in candidates if dataset in ("", video.dataset)]
        parts = name.replace("\\", "/").strip("/").split("/")
        subject = subject or (parts[-2] if len(parts) > 1 else "")
        if subject:
            # a name that says the subject already, as s15_0401, is enough, however the subject is written
            of_subject = [video for video in candidates if plain_name(video.subject) == plain_name(subject)]
            candidates = of_subject or [video for video in candidates if _names_subject(video)]
        if len(candidates) > 1:  # such as EP01_2 and EP01_02
            candidates = [video for video in candidates if video.name.lower() == parts[-1].lower()] or candidates
        if len(candidates) == 1:
            return candidates[0]
        words = f"{f'{dataset} ' if dataset else ''}{f'subject {subject} ' if subject else ''}video {excerpt(name)}"
        if candidates:
            what = f"{words} may be {' or '.join(video.id for video in candidates[:3])}"
            raise RowFault(what, "give --dataset, or a column dataset or subject")
        fix = did_you_mean(name, [video.name for video in self.videos], "give the ground truth of all videos")
        raise RowFault(f"the ground truth has no {words}", fix)


def _names_subject(video: Video) -> bool:
    return plain_name(video.name).startswith(f"{plain_name(video.subject)}_")


@dataclass
class SpottingRun:
    """A spotter's intervals: by the id of the video, in the order of the file; and which datasets it names."""

    name: str
    predictions: dict[str, list[SpottedInterval]] = field(default_factory=lambda: defaultdict(list))
    datasets: set[str] = field(default_factory=set)

    @property
    def has_emotions(self) -> bool:
        """Whether any interval has an emotion: then it is a run of ME-STR."""
        return any(interval.emotion for intervals in self.predictions.values() for interval in intervals)


def _rows_of(path: Path, needed: Sequence[str], videos: Container[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column name of `_ALIASES`) of a table, with or without a header, or of a log.

    `videos`: plain names, whose lines in a log all count.

    Raises DataError for an empty file, and for a header without the `needed` columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            path, None, f"cannot be read ({error})", "check the path; the file must be UTF-8 text"
        ) from error
    lines = re.split(r"\r\n|\r|\n", text)  # not splitlines(), to which other signs end a line, too
    if any(_log_cells(line)[5:6] and _log_cells(line)[5] in _LOG_TAILS for line in lines[:20]):
        yield from _log_rows(lines, videos)
        return
    names: list[str] | None = None
    delimiter = "\t" if lines and "\t" in lines[0] and "," not in lines[0] else ","
    for number, line in enumerate(lines, start=1):  # each for itself: a quote that is never closed would take them all
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        if not any(cells) or (names is None and cells[0].startswith("#")):
            continue
        if names is None:
            names = [_column_of(cell) for cell in cells]
            names = [name if name not in names[:index] else "" for index, name in enumerate(names)]
            if not {"onset", "offset"} <= set(names) and len(cells) > 2 and _is_number(cells[1], cells[2]):
                names = [*_HEADERLESS, *[""] * (len(cells) - len(_HEADERLESS))]
            elif missing := [column for column in needed if column not in names]:
                raise DataError(path, None, f"the table has no column {', '.join(missing)}", _FIX_CSV)
            else:
                continue
        cells += [""] * (len(names) - len(cells))  # a row that ends early: its last cells are empty
        yield number, {name: cell for name, cell in zip(names, cells, strict=False) if name}
    if names is None:
        raise DataError(path, None, "the table is empty, and has no header", _FIX_CSV)


def _column_of(head: str) -> str:
    word = re.sub(r"[\s_.-]", "", head.lower())
    return next((name for name, aliases in _ALIASES.items() if word in aliases), "")


def _is_number(*cells: str) -> bool:
    return all(re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", cell) for cell in cells)


def _log_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split(",")] if "," in line else line.split()


def _log_rows(lines: Sequence[str], videos: Container[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Predicted intervals of a log: lines of `video, onset, offset, predicted onset, predicted offset, TP/FP/FN`.

    Cells are parted by spaces or commas. An interval that hits several events has several lines, and is one interval.
    Lines of other words are passed over; one of such a video that is not in this form is damaged.
    """
    seen = set()
    for number, line in enumerate(lines, start=1):
        cells = _log_cells(line)
        is_whole = len(cells) > 5 and cells[5] in _LOG_TAILS
        if is_whole and not (cells[5] == "FN" and {cells[3], cells[4]} <= _EMPTY):
            video, _, _, onset, offset, *_ = cells
            if (video, onset, offset) not in seen:
                seen.add((video, onset, offset))
                yield number, {"video": video, "onset": onset, "offset": offset}
        elif not is_whole and cells and plain_name(cells[0]) in videos:
            yield number, {"video": cells[0], "onset": "", "offset": ""}


def _number(row: Mapping[str, str], column: str) -> float:
    text = row.get(column, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RowFault(f"the {column} is {excerpt(text)}, not a number" if text else f"there is no {column}")
    return value


def _read_interval(row: Mapping[str, str], video: Video, micro_only: bool) -> SpottedInterval:
    """The interval of a row. Raises RowFault for one that is none."""
    onset, offset = _number(row, "onset"), _number(row, "offset")
    if offset < onset:
        raise RowFault(f"it ends at {offset:g}, before it begins at {onset:g}")
    kind = read_type(row.get("type", ""))
    if not kind:
        if not micro_only and not video.fps:
            raise RowFault(f"it has no type, and {video.id} no frame rate to tell it by", "give --fps, or types")
        kind = "micro" if micro_only else type_by_duration(onset, offset, video.fps)
    score = _number(row, "score") if row.get("score", "").lower() not in _EMPTY else math.nan
    emotion = row.get("emotion", "").lower()
    return SpottedInterval(onset, offset, kind, score, "" if emotion in _NO_LABEL else emotion)


def read_run(
    path: Path | str, index: VideoIndex, problems: Problems, dataset: str = "", name: str = ""
) -> SpottingRun:
    """Read the intervals of one file, or of all CSV and TXT files of a folder.

    `dataset` is that of rows that name none, where the name of the video does not decide it. Intervals without a type
    are typed by duration; in a file with emotions and without types all are micro, as in the challenge of ME-STR.
    Rows in unknown videos, and rows that are no interval, are left out and reported in `problems`; intervals that
    end behind their video are kept with a warning. Raises DataError for a file without the columns.
    """
    path = Path(path)
    run = SpottingRun(name or path.stem)
    files = sorted([*path.glob("*.csv"), *path.glob("*.txt")]) if path.is_dir() else [path]
    if not files:
        raise DataError(path, None, "the folder holds no CSV or TXT file", _FIX_CSV)
    for file in files:
        rows = list(_rows_of(file, _HEADERLESS, index.names))
        challenge = bool(rows) and "emotion" in rows[0][1] and "type" not in rows[0][1]
        late: list[str] = []
        for line, row in rows:
            try:
                video = index.find(row["video"], row.get("subject", ""), row.get("dataset", "") or dataset)
                interval = _read_interval(row, video, micro_only=challenge)
            except RowFault as fault:
                problems.add(Problem(str(file), line, f"left out: {fault}", fault.fix))
                continue
            if video.length is not None and interval.offset > video.length:
                late.append(f"line {line} at {interval.offset:g}, {video.id} has {video.length} frames")
            run.predictions[video.id].append(interval)
            run.datasets.add(video.dataset)
        if late:
            what = f"{len(late)} interval(s) end behind their video, first: {late[0]}"
            problems.warnings.append(Problem(str(file), None, what, "check the frame rate they were spotted at"))
    return run


def read_written(path: Path, videos: Iterable[Video]) -> dict[str, list[SpottedInterval]]:
    """Intervals that `write_intervals` wrote, by the id of the video. None may be lost: a bad row raises DataError."""
    problems = Problems()
    run = read_run(path, VideoIndex(videos), problems)
    for problem in problems:
        raise DataError(problem.file, problem.row, problem.what, "run the step that writes the file again")
    return dict(run.predictions)


def read_truth(
    events: Path | str, videos: Path | str | None = None, dataset: str = "", fps: float | None = None
) -> list[Video]:
    """Annotated videos of a `videos.jsonl`, or of a table of events (and one of all videos, with frames and fps).

    The table of videos brings those without any event, where spotters may raise false alarms. A table of events
    without types is one of micro-expressions, as that of the public STR evaluator. `dataset` names rows that name
    none, `fps` is the frame rate where none is written. Raises DataError for bad rows.
    """
    if Path(events).suffix == ".jsonl":
        return read_videos(events)
    truth = _TruthTable(dataset, fps)
    for file, needed in ((videos, ("video",)), (events, _HEADERLESS)):
        for line, row in _rows_of(Path(file), needed) if file else ():
            try:
                key = truth.add_video(row)
                if file == events:
                    truth.events[key].append(_read_event(row))
            except RowFault as fault:
                raise DataError(file, line, str(fault), fault.fix) from fault
    if not truth.videos:
        raise DataError(events, None, "no event and no video", _FIX_CSV)
    in_order = {key: sorted(truth.events[key], key=lambda event: event.onset) for key in truth.videos}
    return [replace(video, events=tuple(in_order[key])) for key, video in truth.videos.items()]


def read_video_list(videos: Path | str, dataset: str = "", fps: float | None = None) -> list[Video]:
    """The videos of a `videos.jsonl` or of a table, as a test set gives them: without a look at events.

    Raises DataError as `read_truth`.
    """
    if Path(videos).suffix == ".jsonl":
        return [replace(video, events=()) for video in read_videos(videos)]
    table = _TruthTable(dataset, fps)
    for line, row in _rows_of(Path(videos), ("video",)):
        try:
            table.add_video(row)
        except RowFault as fault:
            raise DataError(videos, line, str(fault), fault.fix) from fault
    if not table.videos:
        raise DataError(videos, None, "no video", "give a table with the columns video and frames")
    return list(table.videos.values())


_MOST_FPS, _MOST_FRAMES = 10**5, 10**9
_FPS = {"casme_sq": 30.0, "samm_lv": 200.0, "smic_long": 100.0, "casme3": 30.0, "casme3_c": 30.0}
_VideoKey = tuple[str, str, str]  # dataset, subject and name, as they are compared


@dataclass
class _TruthTable:
    """Videos and events while tables of them are read; `dataset` and `fps` of rows that have none."""

    dataset: str
    fps: float | None
    videos: dict[_VideoKey, Video] = field(default_factory=dict)
    events: dict[_VideoKey, list[Event]] = field(default_factory=lambda: defaultdict(list))
    _of_name: dict[tuple[str, str], list[_VideoKey]] = field(default_factory=lambda: defaultdict(list))

    def add_video(self, row: Mapping[str, str]) -> _VideoKey:
        """The key of the row's video, which is added where it is new. Raises RowFault for a row without one."""
        name, subject = row.get("video", "").replace("\\", "/"), row.get("subject", "")
        if not name:
            raise RowFault("there is no video")
        dataset = row.get("dataset", "") or self.dataset or "all"
        if "/" in name:
            subject, name = subject or name.split("/")[-2], name.split("/")[-1]
        same_name = self._of_name[dataset, plain_name(name)]
        if not subject and len(same_name) == 1:
            return same_name[0]
        subject = subject or name.split("_")[0]
        key = (dataset, plain_name(subject), plain_name(name))
        if key not in self.videos:
            fps = _number(row, "fps") if row.get("fps") else self.fps or _FPS.get(dataset, 0.0)
            if row.get("fps") and not 0 < fps <= _MOST_FPS:
                raise RowFault(f"the fps is {row['fps']}, no number of frames a second")
            length = _frame(row, "frames") if row.get("frames") else None
            if length == 0:
                raise RowFault("the video has 0 frames")
            self.videos[key] = Video(f"{dataset}/{subject}/{name}", dataset, subject, name, fps, length=length)
            same_name.append(key)
        return key


def _frame(row: Mapping[str, str], column: str) -> int:
    """The nearest frame number. Raises RowFault for a negative or an absurd one."""
    number = round(_number(row, column))
    if not 0 <= number <= _MOST_FRAMES:
        raise RowFault(f"the {column} is {excerpt(row[column])}, no frame number")
    return number


def _read_event(row: Mapping[str, str]) -> Event:
    onset, offset = _frame(row, "onset"), _frame(row, "offset")
    if offset < onset:
        raise RowFault(f"the event ends at {offset}, before it begins at {onset}")
    apex = round(_number(row, "apex")) if row.get("apex", "").lower() not in _EMPTY else None
    if apex is not None and not onset <= apex <= offset:
        apex = None
    emotion = row.get("emotion", "").lower()
    return Event(
        onset, apex, offset, read_type(row.get("type", "")) or "micro", "" if emotion in _NO_LABEL else emotion
    )


def write_intervals(path: Path | str, videos: Sequence[Video], predictions: Mapping[str, Sequence]) -> None:
    """Write spotted intervals as our CSV (COLUMNS), atomically; a video without any has no row.

    A name that does not say the subject, as `a` of CAS(ME)³, is written as `subject/name`.
    """
    lines = [",".join(COLUMNS)]
    for video in videos:
        clear = _names_subject(video) or video.name == video.subject
        name = video.name if clear else f"{video.subject}/{video.name}"
        for onset, offset, kind, score, emotion in predictions.get(video.id, ()):
            cells = (f"{onset:g}", f"{offset:g}", kind, "" if math.isnan(score) else f"{score:.6g}", emotion)
            lines.append(",".join((video.dataset, name, *cells)))
    write_text(path, "\n".join(lines) + "\n")
