"""Tables of spotted intervals in the forms of the challenges, and of annotated videos as scorers take them."""

import csv
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import contracts
from contracts import Unreadable
from damages import damage_csv
from oracles import Case, Target
from spotting_targets import damage_lines
from table_files import EMPTY
from whole_files import videos

from megc.problems import Problems
from megc.scoring.interval_files import VideoIndex, read_run, read_truth

ALIASES = {"vid": "video", "pred_onset": "onset", "pred_offset": "offset", "framenum": "frames"}
FORMS = {
    "2024, 2025": "subject,video,onset,offset,emotion\n006,006_1,60,67,negative\n007,007_1,20,80,positive\n"
    "8,008_1,100,140,surprise\n",
    "2022, 2023": "vid,pred_onset,pred_offset,type\n006_1,60,67,me\n007_1,20,280,mae\n8_1,100,140,me\n",
}
HEADERLESS = "006_1,60,67\n007_1,20,280\n008_1,100,140\n"
LOG = """1
006_1 - - 60 67 FP
006_1 98 132 - - FN
007_1 100 180 101 178 TP
007_1 90 180 101 178 TP
008_1 10 20 12 22 TP
TP: 2 FP: 1 FN: 1
"""
NUMBER = r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?"


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text) and None


def _view_run(root: Path, problems: Problems) -> list:
    run = read_run(root / "p.csv", VideoIndex(videos()), problems)
    rows = [(name, row) for name, intervals in run.predictions.items() for row in intervals]
    return [[name.rpartition("/")[2], row.onset, row.offset, row.type, row.emotion] for name, row in rows]


def _table(data: bytes) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, by the names of ALIASES, and numbered rows. The first of two columns of a name counts."""
    first, *lines = [next(csv.reader([line]), []) for line in contracts.decode(data).replace("\r", "").split("\n")]
    header = [ALIASES.get(cell.strip().lower(), cell.strip().lower()) for cell in first]
    rows = []
    for number, cells in enumerate(lines, start=2):
        if any(cell.strip() for cell in cells):
            pairs = zip(header, [*cells, *[""] * len(header)], strict=False)
            rows.append((number, {name: cell.strip() for name, cell in reversed(list(pairs))}))
    return header, rows


def _interval_of(row: dict[str, str], header: list[str]) -> list | None:
    """What a row says: video, ends, type and emotion; None where it says no interval."""
    onset, offset = (row.get(name, "") for name in ("onset", "offset"))
    video = re.sub(r"(?<!\d)0*(\d+)_1", r"00\1_1", row.get("video", ""))
    if not all(re.fullmatch(NUMBER, text) for text in (onset, offset)):
        return None
    emotion = row.get("emotion", "").lower()
    kind = re.sub("[^a-z]", "", row.get("type", "").lower())
    kind = "" if kind in EMPTY else kind
    if not kind and "emotion" in header and "type" not in header:
        kind = "micro"
    by_length = "micro" if (float(offset) - float(onset)) / 200 <= 0.5 else "macro"
    kind = {"me": "micro", "mae": "macro"}.get(kind, kind) or by_length
    return [video, float(onset), float(offset), kind, "" if emotion in EMPTY else emotion]


def _judge_form(case: Case) -> str:
    """Each row is an interval as it stands, or named by its line; the columns that are needed are there."""
    named, left = {problem.row for problem in case.problems}, list(case.reading)
    try:
        header, rows = _table(case.damaged.content or b"")
    except Unreadable as error:
        return f"accepted, though {error}"
    if not {"video", "onset", "offset"} <= set(header):
        return "accepted without a column that is needed"
    return _compare(left, [(number, _interval_of(row, header)) for number, row in rows if number not in named])


def _compare(left: list, wanted: list[tuple[int, list | None]]) -> str:
    for number, interval in wanted:
        if interval not in left:
            return f"row {number} is neither an interval nor named"
        left.remove(interval)
    return f"intervals that no row holds: {left[0]}" if left else ""


def _judge_lines(is_log: bool, case: Case) -> str:
    """As `_judge_form`, of lines without a header. Of a log a line counts that begins with a video's name."""
    named = {problem.row for problem in case.problems}
    try:
        lines = contracts.decode(case.damaged.content or b"").split("\n")
    except Unreadable as error:
        return f"accepted, though {error}"
    wanted: list[tuple[int, list | None]] = []
    for number, line in enumerate(lines, start=1):
        cells = re.split(r"\s*,\s*" if "," in line else r"\s+", line.strip())
        ends = cells[3:5] if is_log else cells[1:3]
        is_miss = is_log and cells[5:6] == ["FN"] and set(ends) <= set(EMPTY)
        if number in named or not re.match(r"0*[678]_1$", cells[0]) or is_miss:
            continue
        complete = len(ends) == 2 and (not is_log or cells[5:6] in (["TP"], ["FP"], ["FN"]))
        row = dict(zip(("video", "onset", "offset"), (cells[0], *ends), strict=False)) if complete else {}
        interval = _interval_of(row, [])
        if not (is_log and any(interval == other for _, other in wanted)):  # an interval that hits several events
            wanted.append((number, interval))
    return _compare(list(case.reading), wanted)


# ---- annotated videos


def _write_truth(root: Path) -> None:
    lines = ["dataset,subject,video,onset,apex,offset,type,emotion"]
    for video in videos():
        for event in video.events:
            ends = f"{event.onset},{event.apex},{event.offset}"
            lines.append(f"samm_lv,{video.subject},{video.name},{ends},{event.type},{event.emotion}")
    (root / "events.csv").write_text("\n".join(lines) + "\n")
    rows = [f"samm_lv,{video.subject},{video.name},{video.length},200" for video in videos()]
    (root / "videos.csv").write_text("\n".join(["dataset,subject,video,frames,fps", *rows]) + "\n")


def _view_truth(root: Path, problems: Problems) -> list:
    truth = read_truth(root / "events.csv", root / "videos.csv")
    events = [
        [video.name, event.onset, event.apex, event.offset, event.type, event.emotion]
        for video in truth
        for event in video.events
    ]
    return [events, [[video.dataset, video.subject, video.name, video.fps, video.length] for video in truth]]


def _frame(cell: str) -> int:
    if not re.fullmatch(NUMBER, cell) or not 0 <= round(float(cell)) <= 10**9:
        raise Unreadable(f"{cell!r} is no frame number")
    return round(float(cell))


def _judge_truth_events(case: Case) -> str:
    """Each row is an event; the videos of the other table are there."""
    try:
        _, rows = _table(case.damaged.content or b"")
        wanted = []
        for number, row in rows:
            onset, offset = _frame(row.get("onset", "")), _frame(row.get("offset", ""))
            apex = float(row["apex"]) if re.fullmatch(NUMBER, row.get("apex", "")) else -1.0
            apex = round(apex) if onset <= round(min(apex, 1e9)) <= offset else None
            kind = _interval_of(row | {"onset": "0", "offset": "0"}, [])[3]
            name = row.get("video", "").replace("\\", "/").rpartition("/")[2]
            wanted.append((number, [name, onset, apex, offset, kind, row.get("emotion", "").lower()]))
    except Unreadable as error:
        return f"accepted, though {error}"
    left = [[*event[:5], event[5]] for event in case.reading[0]]
    wanted = [(number, [*event[:5], "" if event[5] in EMPTY else event[5]]) for number, event in wanted]
    return _compare(left, wanted)


def _judge_truth_videos(case: Case) -> str:
    """Each row is a video with its rate and length."""
    try:
        _, rows = _table(case.damaged.content or b"")
    except Unreadable as error:
        return f"accepted, though {error}"
    for number, row in rows:
        name = row.get("video", "").replace("\\", "/").rpartition("/")[2]
        length = _frame(row["frames"]) if row.get("frames") else None
        fps = float(row["fps"]) if row.get("fps") else 200.0
        of_name = [video for video in case.reading[1] if video[2] == name]
        if not 0 < fps <= 1e5 or length == 0:
            return f"row {number} has a rate of {fps} and {length} frames"
        first = [video for video in of_name if video[3:] == [fps, length]]
        if not first and row.get("dataset", "samm_lv") == "samm_lv" and rows.index((number, row)) < 3:
            return f"row {number} has another rate or length: {of_name}"
    return "" if len(case.reading[0]) == len(case.target.baseline[0]) else "events are lost"


INTERVAL_TARGETS = [
    *(
        Target(f"intervals of {name}", "p.csv", _write("p.csv", text), damage_csv, _view_run, _judge_form, rows=True)
        for name, text in FORMS.items()
    ),
    Target(
        "intervals without a header", "p.csv", _write("p.csv", HEADERLESS), damage_lines, _view_run,
        partial(_judge_lines, False),
    ),
    Target("log of 2020, 2021", "p.csv", _write("p.csv", LOG), damage_lines, _view_run, partial(_judge_lines, True)),
    Target("true events", "events.csv", _write_truth, damage_csv, _view_truth, _judge_truth_events, rows=True),
    Target("true videos", "videos.csv", _write_truth, damage_csv, _view_truth, _judge_truth_videos, rows=True),
]  # fmt: skip
