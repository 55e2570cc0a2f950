"""The sheets and the folders of every dataset's layout (`megc.synthesis.layouts`), damaged.

What is a loss is judged by the whole layout's reading: a row or folder that nobody touched gives the same clips and
events, and one that was touched gives what its cells or files say, or a note or a problem that names it.
"""

import datetime
import json
import re
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from damages import Damaged, Draw, damage_bytes
from hypothesis import strategies as st
from openpyxl.utils.exceptions import IllegalCharacterError
from oracles import Case, Target
from workbooks import CELLS, EMOTIONS, PARTS

from megc.clips import Event, Video, clip_to_row
from megc.datasets.readers import LONG_READERS, READERS
from megc.problems import Problems
from megc.synthesis.layout_set import truth_rows, write_layout
from megc.synthesis.layout_sheets import SheetForm, xls_bytes, xlsx_bytes
from megc.synthesis.layouts import Layout, SheetFile, form_cells, layout_rows, load_layouts

SEED = 2
POINTS = ("onset", "apex", "offset")
READ = {"subject", "name", "type", *POINTS, "units", "emotion"}  # what a reader makes something of
KEYS = {"subject_text": "subject", "long_name": "name", "title_type": "type", "long_type": "type"}
TYPE_KEYS, MACRO = ("type", "micro_code"), ("macro", "0", "macro-expression")
KEYS |= {f"{point}{nth}": f"{point}{nth}" for point in ("onset", "offset") for nth in ("", "2", "3")}


@dataclass(frozen=True)
class Change:
    """What was done to a sheet: a kind of damage, the row of the spreadsheet program, the column's key, its cells.

    `is_read` False: the row is of a macro-expression, of which no clip is made; `macros`: how many of these there
    were before.
    """

    kind: str
    row: int | None = None
    key: str = ""
    before: object = None
    after: object = None
    is_read: bool = True
    macros: int = 0


# ---- sheets


def _main_form(sheet: SheetFile) -> SheetForm:
    return next(form for form in sheet.forms if form.columns)


def _keys(form: SheetForm) -> list[str]:
    """Our names of a form's columns, in their order; empty for a blank one."""
    names = [column.partition("=")[2].partition(":")[0] for column in form.columns]
    return [KEYS.get(name, name) for name in names]


def _damage_sheet(layout: Layout, sheet: SheetFile, reading: str, draw: Draw, data: bytes) -> Damaged:
    """A fault of a cell, a row, a column, the titles or the bytes; `reading`: clips or events are read from it."""
    rows = layout_rows(layout, SEED)
    tables = [(form.title, form_cells(layout, form, rows)) for form in sheet.forms]
    form, cells = _main_form(sheet), next(cells for title, cells in tables if title == _main_form(sheet).title)
    first = len(form.notes) + bool(form.header)
    last = len(cells) - len(form.fixed)
    keys = _keys(form)
    kinds = ("cell", "cell", "cell", "cell", "units", "emotion", "frame", "frame", "drop", "repeat", "blank")
    # an .xls has no checksums: a damaged byte may be another number, as good as any
    kinds += () if sheet.path.endswith(".xls") else ("bytes",)
    kind = draw(st.sampled_from((*kinds, "title", *(("header", "swap") if form.header else ()))))
    index = draw(st.integers(first, last - 1))
    if kind == "bytes":
        return damage_bytes(draw, data)
    change = Change(kind, index + 1)
    if kind in ("cell", "units", "emotion", "frame"):
        able = [place for place, key in enumerate(keys) if _can_hold(kind, key)] or [0]
        column = draw(st.sampled_from(able))
        before, after = cells[index][column], draw(_cell_strategy(kind))
        if sheet.path.endswith(".xls") and isinstance(after, datetime.date | datetime.time | datetime.timedelta):
            after = str(after)  # xlwt writes a bare number
        cells[index][column] = after
        listed = [row for row in rows if row.kind in form.kinds]
        is_read = reading == "event" or listed[index - first].kind == "micro"
        macros = sum(row.kind == "macro" for row in listed)
        change = Change("cell", index + 1, keys[column], before, after, is_read, macros)
    elif kind == "drop":
        del cells[index]
    elif kind == "repeat":
        cells.insert(last, list(cells[index]))
        change = Change(kind, last + 1)
    elif kind == "blank":
        cells.insert(index, [None] * len(cells[index]))
    elif kind == "title":
        tables = [(draw(st.sampled_from((title, f"{title} (2)", title.upper()))), table) for title, table in tables]
        tables = tables if len({title.lower() for title, _ in tables}) == len(tables) else tables[:1]
    else:
        column, other = (draw(st.sampled_from([i for i, key in enumerate(keys) if key])) for _ in range(2))
        _change_columns(kind, cells[first - 1 :], column, other, draw)
        change = Change(kind, None, keys[column])
    try:
        content = (xls_bytes if sheet.path.endswith(".xls") else xlsx_bytes)(tables)
    except (IllegalCharacterError, ValueError):  # what no workbook can hold: the file is damaged instead
        return damage_bytes(draw, data)
    what = f"{change.kind} {change.key} of row {change.row}: {str(change.before)[:20]!r} → {str(change.after)[:20]!r}"
    return Damaged(content, what, table=change)


def _can_hold(kind: str, key: str) -> bool:
    if kind == "frame":
        return key.rstrip("23") in POINTS
    return bool(key) if kind == "cell" else key == kind


def _cell_strategy(kind: str) -> st.SearchStrategy:
    if kind == "units":
        return st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join)
    if kind == "emotion":
        return st.sampled_from((*EMOTIONS, "negative", "Positive+Surprise", "tense"))
    if kind == "frame":
        return st.one_of(
            st.integers(-2, 6000), st.integers(1, 400).map(lambda n: n + 0.4), st.integers(1, 99).map(str)
        )
    return st.sampled_from(CELLS)


def _change_columns(kind: str, cells: list[list], column: int, other: int, draw: Draw) -> None:
    """Another header, or two columns in each other's place; `cells` begin with the header."""
    if kind == "header":
        cells[0][column] = draw(st.sampled_from((None, "", "Subject", "Apex", "colour", f" {cells[0][column]}' ", 5)))
        return
    for row in cells:
        if max(column, other) < len(row):
            row[column], row[other] = row[other], row[column]


def _items(source: str, kind: str, sheet: str, frames: Path | None, root: Path, problems: Problems) -> list[dict]:
    """Clips, or the events of videos with the keys of clips, as plain values."""
    reader = (READERS if kind == "clip" else LONG_READERS)[source]
    labels = reader(root / sheet if sheet else None, frames, root, problems)
    if kind == "event":
        labels = [_event_as_clip(video, event) for video in labels for event in video.events]
    else:
        labels = [clip_to_row(clip) for clip in labels]
    return json.loads(json.dumps(labels))


def _event_as_clip(video: Video, event: Event) -> dict:
    row = asdict(event) | {"id": f"{video.id} {event.name}", "frames": video.frames, "subject": video.subject}
    return row | {"fine": event.emotion, "coarse": event.coarse, "apex_estimated": event.apex is None}


def _counted(items: list[dict]) -> Counter:
    return Counter(json.dumps(item, sort_keys=True) for item in items)


def _sheet_oracle(span: int, case: Case) -> str:
    before, after = _counted(case.target.baseline), _counted(case.reading)
    lost, new = (list(map(json.loads, (a - b).elements())) for a, b in ((before, after), (after, before)))
    change = case.damaged.table
    if change is None:  # the bytes: what was read must be what stood there
        return "" if not lost and not new else "other labels than the whole sheet's"
    told = {problem.row for problem in case.problems}
    if any(not isinstance(row, int) for row in told):  # a problem of the whole sheet
        return ""
    spoken = {problem.row for problem in (*case.problems, *case.problems.warnings)}
    if change.kind in ("header", "swap", "title", "blank"):
        named = any("there is no column for" in problem.what for problem in case.problems.warnings)
        if (not lost and not new) or told or named or _optional(change):
            return ""
        return f"{len(lost)} lost and {len(new)} new labels by {change.kind}"
    if change.kind == "repeat" and new:  # the event of the row's twin may be noted to stand twice
        return "" if len(lost) <= span and len(new) <= 2 * span else f"{len(lost)} lost, {len(new)} new"
    if max(len(lost), len(new)) > span:
        return f"labels of other rows changed: {len(lost)} lost, {len(new)} new"
    if change.kind == "drop":
        return f"{len(new)} new labels" if new and span == 1 and len(lost) < len(new) else ""
    if change.row in spoken:
        return ""
    if change.kind == "repeat":
        return "a row that stands twice, without a word"
    if lost and not new and change.key in TYPE_KEYS and _meaning("type", change.after) in MACRO:
        # such a row is no clip by design, and the reading counts them
        told_count = f"{change.macros + 1} of "
        counted = any(
            problem.what.startswith(told_count) and "rows are macro-expressions" in problem.what
            for problem in case.problems.warnings
        )
        return "" if counted else "a macro-expression that is not counted"
    return _cell_fault(change, lost, new)


def _optional(change: Change) -> bool:
    return change.kind == "header" and change.key not in READ


def _cell_fault(change: Change, lost: list[dict], new: list[dict]) -> str:
    """What became of a changed cell: nothing may stay as it was where the cell means another thing."""
    key = change.key.rstrip("23")
    if not new and not lost:
        meanings = {_meaning(key, cell) for cell in (change.before, change.after)}
        if change.key != key and meanings == {None, 0}:  # a second event that is not there may be written as 0
            return ""
        same = key not in READ or not change.is_read or len(meanings) == 1
        return "" if same else "the cell changed, and nothing else"
    if not new:
        return "a row is gone without a word"
    notes = " ".join(note for item in new for note in item["notes"]).lower()
    if key in POINTS:
        number = _number(change.after)
        values = [item[key] for item in new]
        whole = number is not None and float(number).is_integer()
        right = whole and int(number) in values
        return "" if right or key in notes or (key == "apex" and new[0]["apex_estimated"]) else f"{key} is {values}"
    if key == "units":
        digits = {
            int(text)
            for text in re.findall(r"(?<!\d)(?<!\d\.)\d+", re.sub(r"\.0+(?!\d)", "", str(change.after or "")))
        }
        numbers = {unit["number"] for unit in new[0]["action_units"]}
        return "" if digits == numbers or "unit" in notes else f"units are {numbers}"
    if key == "emotion":
        after = change.after
        after = int(after) if isinstance(after, float) and after.is_integer() else after  # as workbooks give it back
        word = str(after or "").lower().replace("\u00a0", " ").strip()
        labels = {item[name] for item in new for name in ("fine", "coarse")}
        if _meaning(key, change.after) is None:
            return "" if "no emotion" in notes or labels == {""} else f"no emotion, but {labels}"
        known = any(label.startswith(word[:3]) for label in labels) or word[:3] in notes or "not in me-vqa" in notes
        return "" if known else f"emotion {labels}"
    return ""


def _number(cell: object) -> float | None:
    match = re.fullmatch(r"\D*?(\d+(?:\.\d+)?)\D*", str(cell).strip())
    return float(match[1]) if match and not isinstance(cell, bool) else None


def _meaning(key: str, cell: object) -> object:
    """What a cell says, apart from how it is written."""
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta | bool):
        return str(cell)
    text = " ".join(str("" if cell is None else cell).replace("\u00a0", " ").lower().strip("'’` ").split())
    if text in ("", "/", "-", "-1", "?", "nan", "none", "n/a", "na") or text.startswith("="):
        return None  # a formula without a stored value is an empty cell
    if key in (*POINTS, "subject"):
        return _number(cell) if key != "apex" or _number(cell) else None
    if key == "units":
        digits = re.sub(r"\.0+(?!\d)|[^\d+]", "", text)
        return re.sub(r"\d", lambda match: str(int(match[0])), digits) or None  # ٤ is a 4
    if key == "emotion":
        return {"sad": "sadness", "happy": "happiness", "other": "others"}.get(text, text)  # as sheets write them
    return text


def _build(name: str, root: Path) -> None:
    write_layout(root, name, SEED, every=50, pictures="none")


def _sheet_target(name: str, layout: Layout, sheet: SheetFile, kind: str) -> Target:
    return Target(
        f"layout {name}: {kind}s of the sheet",
        sheet.path,
        partial(_build, name),
        partial(_damage_sheet, layout, sheet, kind),
        lambda root, problems: _items(layout.source, kind, sheet.path, None, root, problems),
        partial(_sheet_oracle, 3 if _main_form(sheet).by_video else 1),
        weight=1.5,
    )


# ---- folders: a list of files, which are made empty before they are read


def _build_tree(name: str, root: Path) -> None:
    whole = root / "whole"
    write_layout(whole, name, SEED, every=50, pictures="blank")
    files = sorted(path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file())
    kept = [path for path in files if "/" in path and "/depth/" not in path]
    (root / "tree.json").write_text(json.dumps(kept))
    for sheet in {sheet.path for layout in load_layouts()[name] for sheet in layout.sheets}:
        shutil.copyfile(whole / sheet, root / sheet)
    shutil.rmtree(whole)


def _read_tree(name: str, root: Path, problems: Problems) -> list[dict]:
    frames = root / "frames"
    shutil.rmtree(frames, ignore_errors=True)
    frames.mkdir()
    for path in json.loads((root / "tree.json").read_text()):
        (frames / path).parent.mkdir(parents=True, exist_ok=True)
        (frames / path).touch()
    layout = load_layouts()[name][0]
    sheet = next((sheet.path for sheet in layout.sheets if "clip" in sheet.gives), "")
    return _items(layout.source, "clip", sheet, frames, root, problems)


def _damage_tree(draw: Draw, data: bytes) -> Damaged:
    files = json.loads(data)
    folders = sorted({path.rpartition("/")[0] for path in files})
    folder = draw(st.sampled_from(folders))
    inside = [path for path in files if path.rpartition("/")[0] == folder]
    images = [path for path in inside if path.endswith(("jpg", "bmp"))] or inside
    path = draw(st.sampled_from(images))
    stem, _, suffix = path.rpartition(".")
    kind = draw(
        st.sampled_from(("file", "half", "frames", "folder", "twice", "renamed", "upper", "deeper", "copy", "suffix"))
    )
    gone = {"file": [path], "half": images[len(images) // 2 :], "frames": images, "folder": inside}.get(kind, [])
    files = [other for other in files if other not in gone]
    if kind == "twice":
        files.append(re.sub(r"(\d+)$", r"0\1", stem) + f".{suffix}")
    elif kind in ("renamed", "suffix"):
        files.remove(path)
        files.append(f"{folder}/frame.{suffix}" if kind == "renamed" else f"{stem}.{draw(st.sampled_from(SUFFIXES))}")
    elif kind in ("upper", "deeper", "copy"):
        target = {"upper": folder.upper(), "deeper": f"{folder}/{folder.rpartition('/')[2]}", "copy": f"{folder} (1)"}
        moved = [target[kind] + other[len(folder) :] for other in inside]
        files = [other for other in files if kind == "copy" or other not in inside] + moved
    return Damaged(json.dumps(files).encode(), f"{kind} of {path}", table=(kind, folder, files))


SUFFIXES = ("JPG", "txt", "jpg.part", "png")


def _tree_oracle(has_sheet: bool, case: Case) -> str:
    kind, folder, files = case.damaged.table or ("", "", json.loads(case.whole))
    before = {item["id"]: item for item in case.target.baseline}
    after = {item["id"]: item for item in case.reading}
    told = " ".join(map(str, (*case.problems, *case.problems.warnings)))
    for name, item in before.items():
        same = after.get(name) == item
        touched = f"/{item['frames']}/".endswith(f"/{folder}/") or f"/{folder}/" in f"/{item['frames']}/"
        if same or (not touched and name in after and after[name]["frames"] != item["frames"] and kind == "copy"):
            continue
        if not touched:
            return f"{name} changed, though nobody touched {item['frames']}"
        if name not in after:
            parts = {item["name"], item["subject"], folder.rpartition("/")[2], item["name"].rpartition("_")[0]}
            if has_sheet and not any(part and part in told for part in parts):
                return f"{name} is gone without a word"
            continue
        if fault := _frames_fault(after[name], files):
            return fault
    return ""


def _frames_fault(item: dict, files: list[str]) -> str:
    """A point of a clip that has no file of its number."""
    folder = item["frames"].partition("/")[2]
    names = [path.rpartition("/")[2] for path in files if path.rpartition("/")[0] == folder]
    numbers = {int(re.findall(r"\d+", name.rpartition(".")[0])[-1]) for name in names if re.search(r"\d.*\.", name)}
    absent = [point for point in POINTS if item[point] not in numbers]
    return f"{item['id']}: no file of its {absent}" if absent else ""


def _tree_target(name: str) -> Target:
    has_sheet = any("clip" in sheet.gives for sheet in load_layouts()[name][0].sheets)
    return Target(
        f"layout {name}: folders",
        "tree.json",
        partial(_build_tree, name),
        _damage_tree,
        partial(_read_tree, name),
        partial(_tree_oracle, has_sheet),
        fields=False,
        weight=0.7,
    )


def _gives_clips(layout: Layout) -> bool:
    return any(row["kind"] == "clip" for row in truth_rows(layout, layout_rows(layout, SEED)))


def _targets() -> list[Target]:
    """A target for each thing that a sheet gives and for each tree of folders, where the dataset has a reader."""
    targets, sheets = [], set()
    for name, layouts in load_layouts().items():
        for layout in layouts:
            for sheet in layout.sheets:
                for kind in sheet.gives:
                    # some layouts differ in their folders alone
                    if layout.source in (READERS if kind == "clip" else LONG_READERS) and (kind, sheet) not in sheets:
                        targets.append(_sheet_target(name, layout, sheet, kind))
                        sheets.add((kind, sheet))
        if layouts[0].source in READERS and _gives_clips(layouts[0]):
            targets.append(_tree_target(name))
    return targets


LAYOUT_TARGETS = _targets()
