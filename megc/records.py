"""What the rows of our JSONL files hold: the type of each known field, checked where a row is read."""

import json
from collections.abc import Mapping
from pathlib import Path

from megc.problems import DataError, excerpt

# Fields of a row by name; each may be missing, which its reader judges. Fields that are not listed may hold anything.
_NAME = (str, int)  # the early 2025 test writes subjects as numbers
QUESTION_ROW = {
    "id": str,
    "video_id": str,
    "dataset": str,
    "question": str,
    "image_id": _NAME,
    "subject": _NAME,
    "filename": _NAME,
    "video": _NAME,
}
ANSWERED_ROW = QUESTION_ROW | {"answer": (str, type(None))}
INSTRUCTION = {
    "id": str,
    "clip": str,
    "dataset": str,
    "subject": str,
    "prompt": str,
    "messages": list,
    "images": list,
    "row": dict,
    "sources": list,
}
MESSAGE = {"role": str, "content": str}
CLIP = {
    "id": str,
    "dataset": str,
    "subject": str,
    "name": str,
    "fps": (int, float),
    "frames": str,
    "onset": int,
    "apex": int,
    "offset": int,
    "apex_estimated": bool,
    "action_units": list,
    "fine": str,
    "coarse": str,
    "notes": list,
}
ACTION_UNIT = {"number": int, "side": (str, type(None))}
EVIDENCE = {"clip": str, "part": str, "coarse": dict, "fine": dict, "units": dict, "side": dict}

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
          dict: "an object", type(None): "null"}  # fmt: skip
Types = type | tuple[type, ...]


def json_text(file: Path | str, row: int | None, value: object, indent: int | None = None) -> str:
    """`value` as a line of JSON, or indented. Raises DataError for NaN and infinity, which no reader takes."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        what = f"would hold a number that is not finite ({error}), so it is not written"
        raise DataError(file, row, what, "look for it where the number was computed") from error


def type_fault(value: object, types: Types, name: str) -> str:
    """What is wrong with the type of the field `name`; empty where it is one of `types`. True is no number."""
    types = types if isinstance(types, tuple) else (types,)
    if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
        return ""
    return f"{name} is {excerpt(value)}, not {' or '.join(_WORDS[kind] for kind in types)}"


def field_fault(row: object, fields: Mapping[str, Types], name: str = "", needed: str = "") -> str:
    """The first fault of the types of the `fields` that `row` has, or of the `needed` one that it has not; `name`:
    where the row itself stands."""
    if not isinstance(row, dict):
        return type_fault(row, dict, name or "the row")
    if needed and needed not in row:
        return f"{name} has no {needed}"
    place = f"{name}." if name else ""
    faults = (type_fault(row[field], types, place + field) for field, types in fields.items() if field in row)
    return next(filter(None, faults), "")


def check_fields(file: Path | str, line: int | str | None, row: dict, fields: Mapping[str, Types], fix: str) -> None:
    """Raise DataError for the first of the `fields` of a row that has a value of another type."""
    if fault := field_fault(row, fields):
        raise DataError(file, line, fault, fix)


def check_row(file: Path | str, line: int | str | None, row: dict, fields: Mapping[str, Types] = ANSWERED_ROW) -> None:
    """Raise DataError for an ME-VQA row with a field of another type."""
    check_fields(file, line, row, fields, "correct or delete the row")


def check_instruction(file: Path | str, line: int, record: dict) -> None:
    """Raise DataError for an instruction record with a field of another type, its messages and row included."""
    fix = "write the file with data_process/build_instructions.py"
    check_fields(file, line, record, INSTRUCTION, fix)
    messages, row = record.get("messages", ()), record.get("row", {})
    faults = [
        *(field_fault(message, MESSAGE, f"messages[{place}]", "content") for place, message in enumerate(messages)),
        "" if messages else "messages is empty",
        *(type_fault(image, str, f"images[{place}]") for place, image in enumerate(record.get("images", ()))),
        *(type_fault(clip, str, f"sources[{place}]") for place, clip in enumerate(record.get("sources", ()))),
        field_fault(row, ANSWERED_ROW, "row", "question"),
    ]
    if fault := next(filter(None, faults), ""):
        raise DataError(file, line, fault, fix)
