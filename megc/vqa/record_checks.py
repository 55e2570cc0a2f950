"""Checks of the rows of an instruction file: form, tags, frame order, wording, answers, duplicates.

Each check reports what it can tell of a row, whatever else is wrong with it: rows are read into records whose keys
all have their type, empty where the file has nothing of use. Rows of other projects (`messages` and `images` alone,
as ms-swift and LLaMA-Factory take them) are read into the same records.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from megc.datasets.recognition import origin_of_picture
from megc.facs import ACTION_UNITS, EARLY_TEST_UNITS, ME_VQA_UNITS, coarse_of, unit_name
from megc.files import read_jsonl
from megc.problems import DataError, Problem, Problems, excerpt
from megc.records import Contract, TrainingInstruction, check_record
from megc.vqa.instructions import NOUNS, TAGS, answer_of, question_kind, question_of, record_key
from megc.vqa.labels import answers_by_clip
from megc.vqa.prompts import IMAGE_TAG, QUESTION_MARK, VIDEO_TAG
from megc.vqa.questions import answer_fault, compose_long, parse, split_analysis, split_units

_OURS = ("row", "prompt", "clip")  # keys that rows of other projects do not have
_BUILD = "write the file with data_process/build_instructions.py"
_KEYS = ("id", "clip", "dataset", "subject", "prompt", "motion")


class ForeignMessage(Contract):
    """A chat message of another project; its content may be a list of parts."""

    role: str
    content: str | list[dict]


class ForeignRow(Contract):
    """A row as ms-swift takes it: messages, and the paths of pictures."""

    messages: Annotated[list[ForeignMessage], Field(min_length=1)]
    images: list[str | dict] = Field(default_factory=list)


def is_foreign(record: dict) -> bool:
    """Whether a row, or a record that `read_loosely` made of it, is of another project."""
    return record.get("foreign", not any(key in record for key in _OURS))


def read_loosely(path: Path | str, problems: Problems) -> list[dict]:
    """Records of an instruction file, one for each line that is a JSON object; what is wrong in form is reported.

    A record has every key of ours with its type, and `line` and `foreign`. Of a row of another project, dataset,
    subject and clip are recognised by the folders of its pictures. Raises DataError for a file that cannot be read
    or has no row.
    """
    records = []
    lines = Problems()
    for line, row in read_jsonl(path, lines):
        foreign = is_foreign(row)
        with problems.collect("form"):
            fix = "write messages (role, content) and images (paths), one row a line" if foreign else _BUILD
            check_record(ForeignRow if foreign else TrainingInstruction, row, path, line, fix)
        record = _loose_record(row, line, foreign)
        with problems.collect("form"):
            _check_roles(path, record)
        records.append(record)
    for problem in lines:
        problems.add(replace(problem, check="form"))
    if not records and not lines:
        raise DataError(path, None, "no question in the file", _BUILD)
    return records


def _loose_record(row: dict, line: int, foreign: bool) -> dict:
    """The record of a row, without what is not of its type."""
    messages = row.get("messages")
    messages = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    messages = [
        {"role": str(message.get("role", "")), "content": _text(message.get("content"))} for message in messages
    ]
    images = row.get("images")
    images = images if isinstance(images, list) else [images]
    images = [image.get("path") if isinstance(image, dict) else image for image in images]
    record = {key: row[key] if isinstance(row.get(key), str) else "" for key in _KEYS}
    record |= {"messages": messages, "images": [image for image in images if isinstance(image, str)]}
    if isinstance(row.get("videos"), list):  # of another project a video may be one file, which is not looked into
        record["videos"] = [
            [frame for frame in frames if isinstance(frame, str)]
            for frames in row["videos"]
            if isinstance(frames, list)
        ]
    record |= {"line": line, "foreign": foreign, "row": row["row"] if isinstance(row.get("row"), dict) else {}}
    if isinstance(row.get("sources"), list):
        record["sources"] = [clip for clip in row["sources"] if isinstance(clip, str)]
    if foreign:
        asked_of = next(filter(None, map(origin_of_picture, record["images"])), None)
        folder = str(PurePosixPath(record["images"][0]).parent) if record["images"] else ""
        record |= asked_of or {"clip": folder, "dataset": "", "subject": ""}
    record["id"] = record["id"] or f"line {line}"
    question = record["row"].get("question")
    record["row"] = {**record["row"], "question": question if isinstance(question, str) else _question(messages)}
    return record


def _text(content: object) -> str:
    """The text of a message; of a list of parts, that of its text parts."""
    if isinstance(content, list):
        texts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _question(messages: Sequence[dict]) -> str:
    """The question in the last user message: behind our line `Question:`, else all of it without tags."""
    text = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    text = TAGS.sub(" ", text).strip()
    return text.rpartition(QUESTION_MARK.strip())[2].strip().split("\n")[0].strip() if text else ""


def _check_roles(path: Path | str, record: dict) -> None:
    roles = [message["role"] for message in record["messages"]]
    if record["foreign"] and ("user" not in roles or not set(roles) <= {"system", "user", "assistant"}):
        raise DataError(path, record["line"], f"roles are {roles}", "write system (optional), user and assistant")
    if not record["foreign"] and roles not in (["system", "user"], ["system", "user", "assistant"]):
        raise DataError(path, record["line"], f"roles are {roles}", "write system, user and, if answered, assistant")


def check_tags(path: Path | str, records: Sequence[dict], problems: Problems) -> None:
    """Report rows whose `<image>` tags are not as many as their pictures, or `<video>` tags as their videos."""
    for record in records:
        counts = {IMAGE_TAG: len(record["images"]), VIDEO_TAG: len(record.get("videos", ()))}
        if record["foreign"]:
            del counts[VIDEO_TAG]  # others write a video in many ways
        for tag, count in counts.items():
            tags = sum(message["content"].count(tag) for message in record["messages"])
            if tags == count:
                continue
            what = f"{tags} {tag} tags for {count} {NOUNS[tag]}"
            if record["foreign"] and not tags:
                fix = f"write {tag * count} before the question: ms-swift adds them, other programs refuse the row"
                problems.warn(Problem(str(path), record["line"], what, fix, "tags"))
            else:
                problems.add(Problem(str(path), record["line"], what, "give each picture one tag", "tags"))


def check_frame_order(path: Path | str, records: Sequence[dict], problems: Problems) -> None:
    """Report rows whose pictures are frames of a clip (one folder, names that differ in their last integer) in an
    order in which the frame numbers do not rise.

    The usual cause is a sort of the names as text, in which img105 stands before img36.
    """
    for record in records:
        series = [frame_series(images) for images in (record["images"], *record.get("videos", ()))]
        for frames in chain.from_iterable(series):
            numbers = [number for number, _ in frames]
            names = ", ".join(name for _, name in frames)
            if numbers != sorted(numbers):
                rising = ", ".join(map(str, sorted(numbers)))
                what = f"frames are out of order: {names}"
                fix = f"sort by the integer in the name ({rising}), not by the name as text"
                problems.add(Problem(str(path), record["line"], what, fix, "frame order"))
            elif len(set(numbers)) < len(numbers):
                what, fix = f"a frame stands twice: {names}", "give onset and apex frames of their own"
                problems.warn(Problem(str(path), record["line"], what, fix, "frame order"))


def frame_series(images: Sequence[str]) -> list[list[tuple[int, str]]]:
    """(number, file name) of the pictures that are frames of one clip: of one folder and, but for the last integer
    of the name, of one name. Pictures without a number, and single ones, are no series."""
    series: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for image in images:
        path = PurePosixPath(image.replace("\\", "/"))
        if number := re.search(r"\d+(?=\D*$)", path.stem):
            around = path.stem[: number.start()] + "#" + path.stem[number.end() :]
            series[str(path.parent), around].append((int(number[0]), path.name))
    return [frames for frames in series.values() if len(frames) > 1]


def check_wording(path: Path | str, records: Sequence[dict], problems: Problems) -> None:
    """Report questions that are none of the challenge's, answers that it does not allow, lists that do not agree
    in number with the question, and action units outside its vocabulary."""
    own_words = []
    for record in records:
        if record["foreign"] and question_kind(record, unknown="") == "":
            own_words.append(record["line"])
            continue
        for what, fix in _wording_faults(record):
            problems.add(Problem(str(path), _row_of(record), what, fix, "vocabulary"))
        if rare := _rare_units(record):
            what = f"{', '.join(rare)}: the challenge never asks about it"
            problems.warn(Problem(str(path), _row_of(record), what, "check the annotation of the clip", "vocabulary"))
    if own_words:
        what = (
            f"{len(own_words)} of {len(records)} questions are none of the challenge's: their answers are not checked"
        )
        problems.warn(Problem(str(path), own_words[0], what, "ask in the challenge's words to compare", "vocabulary"))


def _row_of(record: dict) -> str | int:
    """What names a record in messages: its id in our files, the line in those of other projects."""
    return record["line"] if record["foreign"] else record["id"]


def _wording_faults(record: dict) -> list[tuple[str, str]]:
    """What is wrong with one record's question and answer, and what to do about it."""
    try:
        question = parse(question_of(record))
    except ValueError as error:
        return [(str(error), "correct the question or drop the row")]
    faults = []
    answer = answer_of(record) if record["messages"] else ""
    if answer and (fault := answer_fault(question, answer, record["dataset"])):
        faults.append((f"answer {fault}", "write it as the challenge does, or drop the row"))
    if answer and question.kind == "units":
        count = len(split_units(answer))
        if question.many != (count > 1):
            faults.append((f"{count} action unit(s) in answer to {question_of(record)!r}", "match the wording"))
    return faults


def _rare_units(record: dict) -> list[str]:
    """Names of a list of action units that FACS has and no question file of the challenge."""
    if question_kind(record, unknown="") not in ("units", "distinct_units") or not record["messages"]:
        return []
    numbers = split_units(answer_of(record))
    return [
        unit_name(unit) for unit in numbers if unit in ACTION_UNITS and unit not in ME_VQA_UNITS + EARLY_TEST_UNITS
    ]


def check_duplicates(path: Path | str, records: Sequence[dict], problems: Problems) -> None:
    """Report rows that stand twice: of ours by clip, id and question, of others by messages and pictures."""
    first: dict[str, int] = {}
    for record in records:
        identity = [record["messages"], record["images"]] if record["foreign"] else record_key(record)
        key = json.dumps(identity)
        if key in first:
            what = f"duplicate row, the same as line {first[key]}"
            problems.add(Problem(str(path), _row_of(record), what, "keep one of the two", "duplicates"))
        first.setdefault(key, record["line"])


def check_clip_answers(path: Path | str, records: Sequence[dict], problems: Problems) -> None:
    """Report clips whose rows are of several clips in truth, and clips whose answers contradict each other."""
    named = [record for record in records if not record["foreign"] and record["clip"]]
    for clip, what in _identity_faults(named):
        fix = "build the instructions again, one clip an image_id"
        problems.add(Problem(str(path), clip, what, fix, "answers"))
    for clip, what in _answer_faults(record for record in records if record["clip"] and record["messages"]):
        problems.add(Problem(str(path), clip, what, "correct the answers or drop the clip", "answers"))


def _identity_faults(records: list[dict]) -> Iterator[tuple[str, str]]:
    """Clips whose rows are of several clips in truth, and rows whose interval is empty (the early 2025 test)."""
    names: dict[str, set[str]] = defaultdict(set)
    intervals: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for record in records:
        row = record["row"]
        names[record["clip"]].add(str(row.get("image_id", "")))
        intervals[record["clip"]].add((str(row.get("onset_frame", "")), str(row.get("offset_frame", ""))))
    for kind, clips in (("image_ids", names), ("intervals", intervals)):
        for clip, values in clips.items():
            if len(values) > 1:
                yield (
                    clip,
                    f"questions on {len(values)} {kind} under one clip ({', '.join(sorted(map(str, values))[:3])})",
                )
    for clip, of_clip in intervals.items():
        for onset, offset in of_clip:
            if onset.isdecimal() and offset.isdecimal() and int(offset) <= int(onset):
                yield clip, f"the interval from frame {onset} to {offset} is empty"


def _answer_faults(records: Iterator[dict]) -> Iterator[tuple[str, str]]:
    """Clips whose answers contradict each other. A question in other words is a fault of its row, not looked at."""
    answered = ((record["clip"], question_kind(record, unknown=""), answer_of(record)) for record in records)
    for clip, answers in answers_by_clip(answered).items():
        units, fine, coarse, sentence = (answers.get(kind) for kind in ("units", "fine", "coarse", "long"))
        if fine and coarse and coarse_of(fine) != coarse:
            yield clip, f"fine class {fine!r} but coarse class {coarse!r}"
        # letter by letter: what is trained on is composed as the challenge composes it
        if sentence and units and fine and coarse and sentence != compose_long(units, fine, coarse):
            yield clip, f"the sentence {excerpt(sentence)} disagrees with the clip's own answers"
        parts = split_analysis(answers.get("analysis", ""))  # None for prose in other words
        if parts and parts != (units or parts[0], fine or parts[1], coarse or parts[2]):
            yield clip, "the analysis disagrees with the clip's own answers"


def check_rows(path: Path | str, problems: Problems) -> list[dict]:
    """All checks of the rows of an instruction file; returns its records (see `read_loosely`)."""
    records = read_loosely(path, problems)
    for check in (check_tags, check_frame_order, check_wording, check_duplicates, check_clip_answers):
        check(path, records, problems)
    return records
