"""What may be accepted: an independent reading of the damaged bytes, to compare with the package's."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import contracts
from contracts import Unreadable, holds, same
from damages import Damaged, Draw

from megc.problems import Problems


@dataclass
class Target:
    """A kind of file. `build` writes a whole one and what it needs into a folder; `damage` harms the bytes of `file`
    there; `read` gives what the package makes of it (plain values); `oracle` says, of an accepted file, what was lost
    or altered without a word (empty: nothing), from the damaged bytes and the package's reading, with the problems
    that it told and the reading of the whole file. `rows`: a fault of one row must name it. `fields`: one of
    a key must name it, as what only other libraries read need not. `weight`: share of the
    cases."""

    name: str
    file: str
    build: Callable[[Path], None]
    damage: Callable[[Draw, bytes], Damaged]
    read: Callable[[Path, Problems], object]
    oracle: Callable[["Case"], str]
    rows: bool = False
    fields: bool = True
    weight: float = 1.0
    baseline: object = field(default=None, repr=False)


@dataclass
class Case:
    """One damaged file that was accepted, in whole or in part."""

    target: Target
    damaged: Damaged
    reading: object
    problems: Problems
    whole: bytes


MISSING = "no file"


def reads_as(expected: Callable[[bytes], object]) -> Callable[[Case], str]:
    """Oracle: what is read is what an independent parser reads, and every field has the type of the contract."""

    def judge(case: Case) -> str:
        if case.damaged.content is None:
            return "" if case.reading == MISSING else "a file that is not there was read"
        try:
            wanted = expected(case.damaged.content)
        except Unreadable as error:
            return f"accepted, though {error}"
        return "" if same(case.reading, wanted) else f"read {_short(case.reading)}, not {_short(wanted)}"

    return judge


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 160 else f"{text[:160]}…"


def rows_of(shape: object, more: Callable[[dict], str] = lambda row: "") -> Callable[[bytes], list[dict]]:
    """All rows of a JSONL; each must keep the shape, and `more` finds no fault in it."""

    def expected(data: bytes) -> list[dict]:
        rows = [row for _, row in contracts.jsonl_rows(data)]
        for number, row in enumerate(rows, 1):
            if not holds(row, shape) or more(row):
                raise Unreadable(f"row {number} breaks the contract {more(row) if holds(row, shape) else ''}")
        if not rows:
            raise Unreadable("there is no row")
        return rows

    return expected


def value_of(shape: object, view: Callable = lambda value: value) -> Callable[[bytes], object]:
    """`view` of the value of a JSON file that keeps the shape."""

    def expected(data: bytes) -> object:
        value = contracts.parse_json(contracts.decode(data))
        if not holds(value, shape):
            raise Unreadable("the contract is broken")
        return view(value)

    return expected


def each_row(item: Callable[[dict], object], shape: object) -> Callable[[Case], str]:
    """Oracle of readers that collect problems and go on: every row is read as it stands, or named in a problem.

    `item`: what a row must become, computed without the package; the reading is a list of such items.
    """

    def judge(case: Case) -> str:
        left = list(case.reading)
        before = case.whole.decode().split("\n")  # a row may be missed under the identity that it had
        told = [(problem.row, f"{problem.row} {problem.what}") for problem in case.problems]
        try:
            text = contracts.decode(case.damaged.content or b"")
        except Unreadable:
            return "accepted, though it is not UTF-8"
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            row = wanted = None
            with contextlib.suppress(Unreadable, KeyError, TypeError, IndexError, AttributeError):
                row = contracts.parse_json(line)
                wanted = item(row) if holds(row, shape) else None
            place = next((n for n, found in enumerate(left) if wanted is not None and same(found, wanted)), None)
            if place is not None:
                del left[place]
            elif not any(
                where == number or _names(words, row) or _names_line(words, before, number) for where, words in told
            ):
                return f"row {number} is neither read as it stands nor named"
        return f"read what no row holds: {_short(left[0])}" if left else ""

    return judge


def _names_line(words: str, lines: list[str], number: int) -> bool:
    """Whether a problem names the identity that the whole file has in a line."""
    return number <= len(lines) and bool(lines[number - 1]) and _names(words, contracts.parse_json(lines[number - 1]))


def _names(words: str, row: object) -> bool:
    """Whether a problem names a row by its identity."""
    inner = row.get("row", row) if isinstance(row, dict) else {}
    names = [inner.get(key) for key in ("id", "video_id")] if isinstance(inner, dict) else []
    return any(isinstance(name, str) and name and name in words for name in names)


def judge_kept(case: Case) -> str:
    """Whole lines come back as they stand. A last line without its end is what a kill leaves, and may go."""
    data = case.damaged.content
    if data is None:
        return "a file that is not there was read"
    wanted = []
    for line in data[: data.rfind(b"\n") + 1].split(b"\n"):
        if line.strip():
            try:
                wanted.append(contracts.parse_json(line.decode()))
            except (Unreadable, UnicodeDecodeError):
                return "accepted, though a line is not JSON"
    return "" if same(case.reading, wanted) else "not the rows of the file"


def judge_questions(case: Case) -> str:
    """Every question is answered in the file to hand in, or named in a problem."""
    try:
        rows = contracts.jsonl_rows(case.damaged.content or b"")
    except Unreadable as error:
        return f"accepted, though {error}"
    answered = {identity for identity, _ in case.reading}
    told = " ".join(f"{problem.row} {problem.what}" for problem in case.problems)
    rows_told = {problem.row for problem in case.problems}
    for number, row in rows:
        identity = row.get("video_id", row.get("id"))
        if not holds({**row, "answer": ""}, contracts.ROW):  # the answer is to be filled in
            return f"row {number} of another type was accepted"
        if identity not in answered and number not in rows_told and str(identity) not in told:
            return f"row {number} is neither answered nor named"
    return ""


def judge_labels(case: Case) -> str:
    """Of rows that keep the contract, every clip with an answered question has its labels."""
    if case.damaged.content is None:
        return "a file that is not there was read"
    try:
        rows = [row for _, row in contracts.jsonl_rows(case.damaged.content)]
    except Unreadable as error:
        return f"accepted, though {error}"
    if not all(holds(row, contracts.ROW) for row in rows):
        return "a field of another type was accepted"
    clips = {(row["dataset"], str(row["subject"]), str(row["filename"])) for row in rows if row.get("answer")}
    return "" if len(case.reading) == len(clips) else f"{len(case.reading)} clips of {len(clips)}"


GRID_DEFAULTS = {"protocol": "holdout", "folds": 5, "split_seed": 0, "share": 1, "inner_folds": 0, "seeds": [0]}


def judge_grid(case: Case) -> str:
    """Types by hand; settings, names and number of arms as an independent YAML parser has them."""
    if case.damaged.content is None:
        return "a file that is not there was read"
    try:
        value = contracts.parse_yaml(contracts.decode(case.damaged.content))
    except Unreadable as error:
        return f"accepted, though {error}"
    wanted = [value.get(name, default) for name, default in GRID_DEFAULTS.items()]
    wanted.append(str(value["full"]) if value.get("full") is not None else next(iter(map(str, value["arms"]))))
    if not same(case.reading["settings"], wanted):
        return f"settings {case.reading['settings']}, not {wanted}"
    if case.reading["arms"] != sorted(map(str, value["arms"])):
        return "other arms than the file's"
    shapes = ("or", None, ("map", ("or", None, "text", "number", "flag", ("list", ("or", "text", "number"), 0))))
    flags = [
        arm.get(name) for arm in [value.get("defaults"), *value["arms"].values()] if arm for name in ("data", "answer")
    ]
    if not all(holds(section, shapes) for section in flags) or not holds(wanted[-2], ("list", "whole", 1)):
        return "a setting of another type was accepted"
    damaged = case.damaged.content != case.whole and value != contracts.parse_yaml(contracts.decode(case.whole))
    return "a change of an arm left no trace" if damaged and same(case.reading, case.target.baseline) and not _neutral(
        value, contracts.parse_yaml(contracts.decode(case.whole))) else ""  # fmt: skip


def _neutral(value: dict, whole: dict) -> bool:
    """Whether two grid files say the same but for nulls, defaults and `full`, or differ in the baselines alone."""
    bare = [
        GRID_DEFAULTS | {key: _without_nulls(part) for key, part in tree.items() if key not in ("full", "baselines")}
        for tree in (value, whole)
    ]
    return bare[0] == bare[1]


def _without_nulls(tree: object) -> object:
    if isinstance(tree, dict):
        return {
            key.replace("_", "-") if isinstance(key, str) else key: _without_nulls(part)
            for key, part in tree.items()
            if part not in (None, {})
        }
    return tree
