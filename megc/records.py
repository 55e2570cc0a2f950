"""The data contracts: what the files hold that one program writes and another reads, as strict pydantic models.

Contracts that several rooms share stand here; one that belongs to a room stands beside the functions that write and
read it (`clips`, `splits`, `motion.keyframes`, `model.checkpoint` and so on). Types are taken as they are: "5" is no
number, true is no 1, NaN and infinity are refused. Keys that a contract does not name pass through untouched, since
users' rows have columns of their own, unless it is a `ClosedContract`. `check_record` is the one way from a value to
a `DataError` that names file, row, field and remedy.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from megc.problems import DataError, excerpt

STRICT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
_MOST = 3  # faults of one record that a message lists

Name = str | int  # the early 2025 test writes subjects as numbers
FrameNumber = Annotated[int, Field(ge=0, le=10**9)]
FrameCount = Annotated[int, Field(ge=1, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]


class Contract(BaseModel):
    """What a record must hold; other keys may stand beside."""

    model_config = STRICT


class ClosedContract(BaseModel):
    """What a record may hold; an unknown key is an error, with a near one named."""

    model_config = STRICT | ConfigDict(extra="forbid")


class QuestionRow(Contract):
    """An ME-VQA row in either key set: `id`, `image_id` of 2026 and the training files, `video_id`, `video` of the
    2025 test. Which keys a program needs, it says itself."""

    id: str = ""
    video_id: str = ""
    dataset: str = ""
    question: str = ""
    image_id: Name = ""
    subject: Name = ""
    filename: Name = ""
    video: Name = ""


class AnsweredRow(QuestionRow):
    """An ME-VQA row with its answer, or a stored prediction: an answer with what is known about it."""

    answer: str | None = None
    raw: str = ""  # before reasoning
    votes: list[str] | None = None
    agreement: float | None = None
    margin: float | None = None
    choices: dict[str, float] | None = None  # log-likelihood of each allowed answer
    draws: list[str] | None = None


class AskedRow(QuestionRow):
    """The row of an instruction record: a question must be there."""

    question: str
    answer: str | None = None


class Message(Contract):
    """A chat message; `<image>` tags in the user's text stand for the pictures."""

    role: str = ""
    content: str


class Instruction(Contract):
    """An instruction record. `sources`: all clips whose motion a mixed picture shows; `motion`: the clip's motion in
    words, as its messages have it."""

    id: str = ""
    clip: str = ""
    dataset: str = ""
    subject: str = ""
    prompt: str = ""
    messages: Annotated[list[Message], Field(min_length=1)]
    images: list[str] = []
    videos: list[Annotated[list[str], Field(min_length=1)]] = []  # of each its frames
    row: AskedRow = AskedRow(question="")
    sources: list[str] = []
    motion: str = ""


class TrainingInstruction(Instruction):
    """An instruction record of this project's own files, with every key."""

    id: str
    clip: str
    dataset: str
    subject: str
    prompt: str
    images: list[str]
    row: AskedRow


class RunRecord(Contract):
    """`run.json` beside predictions, as far as it is read again; `settings` and the rest are for people."""

    hash: str = ""
    commits: list[str] = []
    settings: dict[str, Any] = {}


def json_text(file: Path | str, row: int | None, value: object, indent: int | None = None) -> str:
    """`value` as a line of JSON, or indented. Raises DataError for NaN and infinity, which no reader takes."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        what = f"would hold a number that is not finite ({error}), so it is not written"
        raise DataError(file, row, what, "look for it where the number was computed") from error


def check_record(
    contract: Any, value: object, file: Path | str, row: int | str | None, fix: str, name: str = ""
) -> Any:
    """The `value` of a file as its `contract`, a model or any type that pydantic knows.

    Raises DataError with `file`, `row` and the remedy `fix` for a value that does not keep it; the message has the
    path of the field below `name`, such as `messages[0].content`, and what was expected there.
    """
    try:
        return _validate(contract)(value)
    except ValidationError as error:
        faults = _faults(error.errors(include_url=False), value, name, _keys_of(contract))
        more = f" (and {len(faults) - _MOST} more faults)" if len(faults) > _MOST else ""
        raise DataError(file, row, "; ".join(faults[:_MOST]) + more, fix) from error


def check_row(file: Path | str, line: int | str | None, row: dict, contract: type[Contract] = AnsweredRow) -> None:
    """Raise DataError for an ME-VQA row with a field of another type."""
    check_record(contract, row, file, line, "correct or delete the row")


def check_instruction(file: Path | str, line: int, record: dict, contract: type[Instruction] = Instruction) -> None:
    """Raise DataError for an instruction record with a field of another type, its messages and row included."""
    check_record(contract, record, file, line, "write the file with data_process/build_instructions.py")


@cache
def _validate(contract: Any) -> Any:
    """The compiled check of a contract; a plain type is as strict as a model.

    A dataclass of settings takes what yaml gives: lists for tuples, 1 for 1.0, words for paths.
    """
    has_config = isinstance(contract, type) and (issubclass(contract, BaseModel) or is_dataclass(contract))
    return TypeAdapter(contract, config=None if has_config else STRICT).validate_python


# What pydantic calls a fault: what stands there instead. Types of one place are joined with `or`.
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "none_required": "null",
    "string_unicode": "text in Unicode",
}


def _keys_of(contract: Any) -> list[str]:
    return list(contract.model_fields) if isinstance(contract, type) and issubclass(contract, BaseModel) else []


def _faults(errors: Iterable[ErrorDetails], value: object, name: str, keys: Sequence[str]) -> list[str]:
    """The faults of a record in words, one for each field; missing keys of one place are listed together.

    `keys`: those of the record, one of which an unknown key may stand for.
    """
    missing: dict[str, list[str]] = {}
    expected: dict[str, list[str]] = {}
    given: dict[str, object] = {}
    others: list[str] = []
    for error in errors:
        path = _field_path(error, value, name)
        if error["type"] == "missing":
            missing.setdefault(path, []).append(str(error["loc"][-1]))
        elif error["type"] in _EXPECTED or error["type"] == "literal_error":
            words = _EXPECTED.get(error["type"]) or f"one of {error['ctx']['expected'].replace(' or ', ', ')}"
            expected.setdefault(path, []).append(words)
            given[path] = error["input"]
        else:
            others.append(_sentence(error, path, keys))
    return [
        *(f"{path or 'the record'} has no {', '.join(keys)}" for path, keys in missing.items()),
        *(
            f"{path or 'the record'} is {excerpt(given[path])}, not {' or '.join(dict.fromkeys(words))}"
            for path, words in expected.items()
        ),
        *others,
    ]


def _field_path(error: ErrorDetails, value: object, name: str) -> str:
    """Path of the faulty field: keys joined by dots, places of a list in brackets.

    Pydantic's own path also has the names of the union's members that were tried, and of validators; what leads
    nowhere in the value is left out.
    """
    text = name
    steps = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
    for step in steps:
        if isinstance(value, dict) and step in value:
            text, value = f"{text}.{step}" if text else str(step), value[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            text, value = f"{text}[{step}]", value[step]
    return text if len(text) <= 80 else f"{text[:80]}…"


def _sentence(error: ErrorDetails, path: str, keys: Sequence[str]) -> str:
    """A fault in words that is none of a type."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error" and not path:
        return str(context["error"])
    path = path or "the record"
    if kind == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), keys, 1) if len(error["loc"]) == 1 else []
        return f"there is no key {excerpt(path)}" + (f" (did you mean {near[0]}?)" if near else "")
    if kind == "value_error":
        return f"{path}: {context['error']}"
    if kind == "too_short":
        return f"{path} has {context['actual_length']} entries, not {context['min_length']} or more"
    return f"{path} is {excerpt(error['input'])}: {error['msg'][0].lower()}{error['msg'][1:]}"
