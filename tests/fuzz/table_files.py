"""Tables in CSV that are fuzzed: repairs of sheets, events and videos of any dataset, spotted intervals."""

import contextlib
import csv
import io
import re
from pathlib import Path

import contracts
from contracts import Unreadable, holds
from damages import damage_csv
from oracles import Case, Target, reads_as
from whole_files import copy_of, videos, write_event_table, write_intervals, write_video_table

from megc.datasets.readers.event_tables import read_event_tables
from megc.datasets.repairs import read_repair_file
from megc.problems import Problems
from megc.scoring.interval_files import VideoIndex, read_run

LONGER = "more cells than the header"
EMPTY = ("", "-", "/", "?", "-1", "nan", "none", "n/a", "na")


def _decoded(data: bytes) -> str:
    """UTF-8, or what Excel saves on Chinese systems. Raises Unreadable."""
    for encoding in ("utf-8-sig", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    raise Unreadable("no text")


def plain_table(data: bytes) -> list[tuple[int, dict[str, str]]]:
    """Numbered rows of a CSV that are not blank, by the names of its header; a short row ends in empty cells, and one
    with more cells than the header has the key LONGER."""
    text = _decoded(data)
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    header, *lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) or [[]]
    rows = []
    for number, cells in enumerate(lines, start=2):
        if any(cells):
            row = dict(zip(header, [*cells, *[""] * len(header)], strict=False))
            rows.append((number, row | ({LONGER: "yes"} if any(cells[len(header) :]) else {})))
    return rows


def plain_repairs(data: bytes) -> list[dict]:
    """The repairs of a CSV, each of which keeps the contract."""
    repairs = []
    for number, cells in plain_table(data):
        row = {"onset": "", "row": "", **cells}
        row |= {
            key: int(row[key] or 0) for key in ("subject", "row") if re.fullmatch(r"[0-9]{0,9}", row.get(key, "x"))
        }
        if not holds(row, contracts.REPAIR):
            raise Unreadable(f"row {number} breaks the contract")
        repairs.append(row)
    return repairs


def view_events(root: Path, problems: Problems) -> list:
    """Events of a table, as text, with the frame rate and the length of their videos."""
    return [
        [
            *(video.dataset, video.subject, video.name, event.name, event.onset, event.apex, event.offset, event.type),
            *([unit.number for unit in event.action_units], event.emotion, list(event.notes), video.fps, video.length),
        ]
        for video in read_event_tables(root / "events.csv", None, root, problems)
        for event in video.events
    ]


def judge_events(case: Case) -> str:
    """Each row is an event with its numbers and words, or named; each event is of a row."""
    left, spoken = list(case.reading), [*case.problems, *case.problems.warnings]
    if any(problem.row in (None, 1) for problem in case.problems):  # of the whole table
        return ""
    named = {problem.row for problem in case.problems}
    try:
        rows = plain_table(case.damaged.content or b"")
    except Unreadable as error:
        return f"accepted, though {error}"
    for number, cells in rows:
        row = _by_clean_names(cells)
        names = [row.get(name, "").strip(" '’`") for name in ("dataset", "subject", "video", "event")]
        place = next((n for n, event in enumerate(left) if event[:4] == names and _says(event, row)), None)
        place = None if LONGER in cells else place
        if place is not None:
            del left[place]
        elif number not in named and not any("/".join(names[:3]) in str(problem) for problem in spoken):
            return f"row {number} is neither an event nor named: {row}"
    return f"events that no row holds: {left[0]}" if left else ""


def _by_clean_names(row: dict[str, str]) -> dict[str, str]:
    """A row by the letters and digits of its header, in lower case."""
    return {"".join(letter for letter in name if letter.isalnum()).lower(): cell for name, cell in row.items()}


def _says(event: list, row: dict[str, str]) -> bool:
    """Whether an event has the points, the type and the words of a row, or a note on what it does not have."""
    notes = " ".join(event[10])
    for point, value in zip(("onset", "apex", "offset"), event[4:7], strict=True):
        digits = re.fullmatch(r"(\d+)(?:\.0*)?\s*\??", row.get(point, "").strip(" '’`"))
        is_empty = row.get(point, "").strip().lower() in EMPTY
        if (int(digits[1]) if digits else None) != value and point not in notes and (digits or not is_empty):
            return False
    units = sorted(set(map(int, re.findall(r"\d+", row.get("actionunits", "")))))
    return (units == sorted(event[8]) or "action unit" in notes) and row["type"].strip().lower().startswith(event[7])


def judge_videos(case: Case) -> str:
    """Each event keeps its video, with the length and rate of its row, where nothing was said."""
    whole = [event[:10] for event in case.target.baseline]
    if case.problems or case.problems.warnings:
        return "" if all(event[:10] in whole for event in case.reading) else "other events"
    try:
        rows = [_by_clean_names(row) for _, row in plain_table(case.damaged.content or b"")]
    except Unreadable as error:
        return f"accepted, though {error}"
    by_video = {tuple(row[name].strip() for name in ("dataset", "subject", "video")): row for row in rows}
    if len(case.reading) != len(whole):
        return f"{len(case.reading)} events"
    for event in case.reading:
        row = by_video.get(tuple(event[:3]))
        length = re.fullmatch(r"(\d+)(?:\.0*)?\s*\??", row["frames"].strip()) if row else None
        expected = [float(row["fps"]) if row else 200.0, int(length[1]) if length else None]
        if event[11:] != expected:
            return f"{event[:3]} has rate and length {event[11:]}, not {expected}"
    return ""


def view_intervals(root: Path, problems: Problems) -> list:
    """Spotted intervals with the ids of their videos."""
    run = read_run(root / "spotted.csv", VideoIndex(videos()), problems)
    return [
        [name, interval.onset, interval.offset, interval.type, str(interval.score), interval.emotion]
        for name, intervals in run.predictions.items()
        for interval in intervals
    ]


def judge_intervals(case: Case) -> str:
    """Each row is an interval with its numbers, or named by its line."""
    named = {problem.row for problem in case.problems}
    left = list(case.reading)
    try:
        text = contracts.decode(case.damaged.content or b"")
    except Unreadable as error:
        return f"accepted, though {error}"
    header, *rows = [next(csv.reader([line]), []) for line in text.replace("\r", "").split("\n")]
    for number, cells in enumerate(rows, start=2):
        row = dict(zip(header, [*cells, *[""] * len(header)], strict=False))
        if not any(cell.strip() for cell in cells) or number in named:
            continue
        place = next((n for n, interval in enumerate(left) if _is_interval(interval, row)), None)
        if place is None:
            return f"row {number} is neither an interval nor named: {row}"
        del left[place]
    return f"intervals that no row holds: {left[0]}" if left else ""


def _is_interval(interval: list, row: dict[str, str]) -> bool:
    numbers = [
        float(row[name]) for name in ("onset", "offset") if re.fullmatch(r"\s*[-+.\deE]+\s*", row.get(name, ""))
    ]
    emotion = row.get("emotion", "").strip().lower()
    return interval[1:3] == numbers and interval[5] == ("" if emotion in EMPTY else emotion)


TABLE_TARGETS = [
    Target(
        "repairs",
        "repairs.csv",
        copy_of("megc/datasets/readers/casme_sq.csv", "repairs.csv"),
        damage_csv,
        lambda root, problems: [dict(repair) for repair in read_repair_file(root / "repairs.csv")],
        reads_as(plain_repairs),
        rows=True,
    ),
    Target("events.csv", "events.csv", write_event_table, damage_csv, view_events, judge_events),
    Target("videos.csv", "videos.csv", write_video_table, damage_csv, view_events, judge_videos),
    Target(
        "spotted intervals", "spotted.csv", write_intervals, damage_csv, view_intervals, judge_intervals, rows=True
    ),
]
