"""The annotation sheets of every dataset, as its owners lay them out (`megc/synthesis/layouts.yaml`), damaged.

The rows are judged one by one. Of a whole sheet it is known which clips or events each row gives: those that a sheet
of this row alone gives. Behind a damage, all other rows must give the same, or be named in a problem; the damaged row
must be named, or give what its cells say, with a note on what they do not say. The roles of the columns come from the
layouts, which are written apart from the readers.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from oracles import Case, Target
from workbooks import Sheet, Table, book_bytes, damage_sheet, read_tables

from megc.clips import LEFT_OUT, REPAIRED, Clip, Event, Video, clip_to_row
from megc.datasets.readers import LONG_READERS, READERS
from megc.problems import DataError, Problems
from megc.synthesis.layout_set import write_layout
from megc.synthesis.layouts import load_layouts

POINTS = ("onset", "apex", "offset")
UNCHANGED = ("subject", "name", *POINTS, "units", "emotion")
EMPTY = ("", "/", "-", "-1", "?", "none", "n/a")
Items = list[dict]


def read_items(sheet: Sheet, root: Path, problems: Problems) -> Items:
    """What the reader makes of the sheet."""
    path = root / sheet.file.path
    if sheet.kind == "clip":
        return [_clip_item(clip) for clip in READERS[sheet.source](path, None, root, problems)]
    videos = LONG_READERS[sheet.source](path, None, root, problems)
    return [_event_item(video, event) for video in videos for event in video.events]


def _clip_item(clip: Clip) -> dict:
    row = json.loads(json.dumps(clip_to_row(clip)))
    units = [(unit["number"], unit["side"]) for unit in row["action_units"]]
    points = {point: row[point] for point in POINTS}
    return points | {
        "subject": row["subject"], "name": row["name"], "estimated": row["apex_estimated"], "units": units,
        "emotion": row["fine"] or row["coarse"], "type": "micro", "notes": row["notes"],
    }  # fmt: skip


def _event_item(video: Video, event: Event) -> dict:
    units = [(unit.number, unit.side) for unit in event.action_units]
    return {
        **{point: getattr(event, point) for point in POINTS}, "estimated": event.apex is None, "units": units,
        "subject": video.subject, "name": f"{video.name}/{event.name}", "emotion": event.emotion, "type": event.type,
        "notes": list(event.notes),
    }  # fmt: skip


def _without_notes(item: dict) -> dict:
    return {key: value for key, value in item.items() if key != "notes"}


def _items_by_row(sheet: Sheet, data: bytes) -> dict[int, Items]:
    """What each data row of the whole sheet gives: what a sheet of this row alone gives."""
    tables = read_tables(data, sheet.is_xls)
    table, first = tables[sheet.form.title], sheet.header + 1
    items = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first + 1, len(table) + 1):
            tables[sheet.form.title] = [*table[:first], table[number - 1]]
            (Path(folder) / sheet.file.path).write_bytes(book_bytes(tables, sheet.is_xls))
            with contextlib.suppress(DataError):  # a row that is no clip, as those below the last one
                items[number] = read_items(sheet, Path(folder), Problems())
    return items


def _take(items: Items, wanted: dict) -> dict | None:
    """Take the item that is as `wanted`, notes aside, out of `items`."""
    for index, item in enumerate(items):
        if _without_notes(item) == _without_notes(wanted):
            return items.pop(index)
    return None


def _judge_sheet(sheet: Sheet, rows: dict[int, Items], case: Case) -> str:
    """The other rows give what they gave, or are named; the damaged one is named, or gives what its cells say."""
    if not rows:
        rows |= _items_by_row(sheet, case.whole)
    told = [*case.problems, *case.problems.warnings]
    if case.damaged.table is None:  # bytes: what was read must be what stood there
        return "" if case.reading == case.target.baseline else "other rows than the whole sheet's"
    kind, place, table = case.damaged.table
    if kind in ("header", "swap"):
        return _judge_columns(sheet, case, table, bool(told))
    named = {problem.row for problem in told}
    left = list(case.reading)
    for number, items in rows.items():
        after = number - (kind == "drop" and number > place + 1) + (kind == "blank" and number > place)
        if number == place + 1 and kind in ("cell", "drop"):
            continue
        for item in items:
            if _take(left, item) is None and after not in named:
                return f"row {after} lost or altered: {item}"
    before = rows.get(place + 1, [])
    if kind == "repeat":
        double = [item for item in before if _take(left, item)]
        return f"row {case.damaged.line} is neither named nor there" * (
            not double and bool(before) and case.damaged.line not in named
        ) + _foreign(left)
    if kind != "cell" or len(before) != 1:
        return _foreign(left) if kind != "cell" else ""
    if case.damaged.line in named and not left:
        return ""
    roles = sheet.roles(table)
    if len(left) != 1:
        is_type = "type" in roles and "type" in _changed_roles(sheet, case, roles)
        return "" if is_type and told else f"row {case.damaged.line} gives {len(left)} items and is not named"
    return _judge_row(sheet, case, roles, before[0], left[0])


def _foreign(items: Items) -> str:
    return f"{len(items)} items that no row holds: {items[0]}" if items else ""


def _judge_columns(sheet: Sheet, case: Case, table: Table, told: bool) -> str:
    """A header that is another, or columns that changed places with their headers."""
    if told or case.reading == case.target.baseline:
        return ""
    whole = read_tables(case.whole, sheet.is_xls)[sheet.form.title]
    lost = set(sheet.roles(whole)) - set(sheet.roles(table))
    lost |= {*POINTS} if lost & {*POINTS} else set()
    items, before = list(case.reading), case.target.baseline
    same = len(items) == len(before) and all(
        item[name] == whole_item[name]
        for item, whole_item in zip(items, before, strict=True)
        for name in UNCHANGED
        if name not in lost
    )
    return "" if lost and same else "other values than the sheet's"


def _changed_roles(sheet: Sheet, case: Case, roles: dict[str, int]) -> list[str]:
    """Roles of the damaged row whose cell is another than in the whole sheet."""
    _, place, table = case.damaged.table
    whole = read_tables(case.whole, sheet.is_xls)[sheet.form.title][place]
    whole += [None] * (len(table[place]) - len(whole))
    return [role for role, column in roles.items() if whole[column] != table[place][column]]


def _judge_row(sheet: Sheet, case: Case, roles: dict[str, int], before: dict, item: dict) -> str:
    """The item of the damaged row says what its damaged cell says, and of the other cells what it said before."""
    _, place, table = case.damaged.table
    notes = " ".join(item["notes"])
    changed = _changed_roles(sheet, case, roles)
    if any(note.startswith(REPAIRED) for note in before["notes"]):  # a repair goes by the cells as released
        return ""
    dependent = set(changed) | {"type"} | ({"name"} if {"onset", "offset"} & set(changed) else set())
    dependent |= {*POINTS} if dependent & {*POINTS} else set()
    dependent |= {"emotion"} if LEFT_OUT in notes or LEFT_OUT in " ".join(before["notes"]) else set()
    if altered := [name for name in UNCHANGED if name not in dependent and item[name] != before[name]]:
        return f"{altered[0]} is {item[altered[0]]}, and was {before[altered[0]]}, with no cell changed"
    for role in changed:
        cell = table[place][roles[role]]
        if role in POINTS and not _is_point(cell, role, item, notes):
            return f"{role} {cell!r} became {item[role]} without a note"
        if role == "units" and not _is_units(cell, item, notes):
            return f"action units {cell!r} became {item['units']} without a note"
        if role == "emotion" and not _is_emotion(cell, item, notes):
            return f"emotion {cell!r} became {item['emotion']!r} without a note"
    return ""


def _is_point(cell: object, role: str, item: dict, notes: str) -> bool:
    match = re.fullmatch(r"\D*?(\d+(?:\.\d+)?)\D*", str(cell).strip())
    if role in notes or (role == "apex" and item["estimated"]):
        return True
    return (
        bool(match)
        and not isinstance(cell, bool)
        and item[role] is not None
        and abs(float(match[1]) - item[role]) <= 0.5
    )


def _is_units(cell: object, item: dict, notes: str) -> bool:
    digits = re.findall(r"(?<![\d.])\d+", re.sub(r"\.0+(?!\d)", "", str(cell or "")))
    return sorted(set(map(int, digits))) == sorted(number for number, _ in item["units"]) or "action unit" in notes


def _is_emotion(cell: object, item: dict, notes: str) -> bool:
    word = str(cell if cell is not None else "").lower().replace("\u00a0", " ").strip()
    return "emotion" in notes or (bool(item["emotion"]) == (word not in EMPTY) and word[:3] == item["emotion"][:3])


def _targets() -> Iterator[Target]:
    seen = set()  # layouts of one sheet differ in their folders
    for name, layouts in load_layouts().items():
        for file in layouts[0].sheets:
            for kind in file.gives:
                key = (layouts[0].source, kind, file.path)
                if key in seen or layouts[0].source not in (READERS if kind == "clip" else LONG_READERS):
                    continue
                seen.add(key)
                sheet = Sheet(layouts[0].source, kind, file, file.forms[0])
                yield Target(
                    f"{name}: {kind}s of a sheet",
                    file.path,
                    lambda root, name=name: write_layout(root, name, every=50, pictures="none") and None,
                    partial(damage_sheet, sheet),
                    partial(read_items, sheet),
                    partial(_judge_sheet, sheet, {}),
                )


DATASET_TARGETS = tuple(_targets())
