"""Reference answers and the answers of runs, joined on the row's identity."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from megc.files import read_checked, read_jsonl, resolve_inside
from megc.problems import DataError, Problem, Problems
from megc.records import Contract, Message, QuestionRow, RunRecord, check_instruction, check_record, check_row
from megc.vqa.instructions import (
    answer_of,
    check_question,
    may_answer,
    picture_names,
    read_prompt,
    row_clip,
    row_id,
    row_key,
)
from megc.vqa.prompts import IMAGE_TAG
from megc.vqa.questions import parse

MOTION = "motion"  # caption of a flow picture
_DETAILS = ("votes", "agreement", "margin", "choices")


@dataclass(frozen=True)
class Reference:
    """A question with its true answer. `images` are the clip's pictures by caption (none: no names), all below
    `folder`, that of the question file; `row` is the ME-VQA row, by which predictions are joined: ids of several
    question files may clash."""

    id: str
    clip: str
    dataset: str
    subject: str
    question: str
    kind: str
    answer: str
    images: tuple[tuple[str, Path], ...] = ()
    folder: Path = field(default=Path(), compare=False, repr=False)
    row: dict = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, ...]:
        """Identity among the references of several question files (see `row_key`)."""
        return row_key(self.row)


@dataclass(frozen=True)
class Run:
    """A run's answers, one a reference and in their order (None: missing), with votes and margins of each answer.

    `draws`: all sets of answers of a run that draws them at random; its scores are means over these, and `answers` is
    the first.
    """

    name: str
    answers: tuple[str | None, ...]
    details: tuple[dict, ...]
    settings: dict
    draws: tuple[tuple[str | None, ...], ...] = ()

    @property
    def answer_sets(self) -> tuple[tuple[str | None, ...], ...]:
        """The sets of answers that are scored: `draws`, or the one set."""
        return self.draws or (self.answers,)


class ReferenceIndex:
    """References by key and by id, to find the one that a row answers."""

    def __init__(self, references: Iterable[Reference]) -> None:
        self._by_key = {reference.key: reference for reference in references}
        self._by_id: dict[str, list[Reference]] = defaultdict(list)
        for reference in self._by_key.values():
            self._by_id[reference.id].append(reference)

    def find(self, file: Path | str, line: int | None, row: dict) -> Reference | None:
        """Find the reference of the row's dataset, clip, id and question, else (rows that another program wrote may
        lack some of it) the one with its id, though its question may be another; None where there is none.

        Raises DataError where several have its id and the row does not say which it answers.
        """
        if row_key(row) in self._by_key:  # the usual case: the row was written by one of our programs
            return self._by_key[row_key(row)]
        same_id = [reference for reference in self._by_id.get(row_id(row), ()) if may_answer(row, reference.row)]
        if len(same_id) > 1 and "question" not in row:
            what = f"{len(same_id)} questions have the id {row_id(row)}"
            raise DataError(file, line, what, "write the whole row back, with its question")
        same_question = [reference for reference in same_id if reference.question == row.get("question")]
        return next(iter(same_question or same_id), None)


def read_references(path: Path | str, problems: Problems, unanswered: bool = False) -> list[Reference]:
    """References of a JSONL of answered ME-VQA rows, of instruction records, or of ms-swift's lines without ids.

    A row without an answer (unless `unanswered`), of an unknown question or that came before (see `row_key`) is added
    to `problems`. Raises DataError when no row is left.
    """
    path = Path(path)
    references: dict[tuple[str, ...], Reference] = {}
    prompt = read_prompt(path)  # says which picture is which
    for line, record in read_jsonl(path):
        with problems.collect():
            reference = _reference(path, line, record, prompt)
            if not unanswered:
                _check_answered(path, line, reference)
            if reference.key in references:
                raise DataError(path, line, f"duplicate row {reference.id}", "keep one of the two")
            references[reference.key] = reference
    if not references:
        raise DataError(path, None, "no row with a true answer", "give the answered rows as --references")
    return list(references.values())


def read_reference_files(paths: Sequence[Path], problems: Problems, unanswered: bool = False) -> list[Reference]:
    """References of several files together, such as both test sets of the challenge, in order.

    Raises DataError as `read_references`, and for a row that stands in two of the files.
    """
    references = [reference for path in paths for reference in read_references(path, problems, unanswered)]
    if len({reference.key for reference in references}) < len(references):
        what = "has a row that stands in another of the files too"
        raise DataError(paths[-1], None, what, "give each row once")
    return references


def _key_frames(pictures: dict[str, Path], clip: str) -> dict[str, Path]:
    """Key frames of a clip that lie beside its flow picture, for the report; the question may be without them."""
    suffix = f"flow/{clip}.png"
    picture = pictures.get(MOTION)
    if picture is None or not picture.as_posix().endswith(suffix):
        return {}
    folder = resolve_inside(f"{picture.as_posix().removesuffix(suffix)}frames", clip)
    return {name: path for name in ("onset", "apex", "offset") if (path := folder / f"{name}.png").is_file()}


def _is_swift_row(row: dict) -> bool:
    """True for a line of messages that is neither an ME-VQA row nor one of this repository's records."""
    return "messages" in row and not {"id", "video_id", "row"} & row.keys()


def _read_swift_row(row: dict) -> dict[str, str]:
    """Read `id`, `question`, `answer`, `clip`, `subject` of a line of ms-swift's instruction files, or of a result of
    `swift infer`.

    Neither names its row. As in the original project's metric scripts, first picture and question do. The clip is the
    folder of its first picture, the subject the folder above. The answer is the `response`, else the assistant's
    message; empty without one.

    Raises KeyError for a line without question or picture.
    """
    texts = {message["role"]: message["content"] for message in row["messages"]}
    if not row.get("images"):
        raise KeyError("images")
    first = row["images"][0]
    # results of `swift infer` write each picture as {"bytes": null, "path": …}
    picture = PurePosixPath(first["path"] if isinstance(first, dict) else first)
    question = texts["user"].replace(IMAGE_TAG, "").strip()
    answer = row.get("response", texts.get("assistant", ""))
    names = {"clip": str(picture.parent), "subject": picture.parent.parent.name}
    return {"id": f"{picture} {question}", "question": question, "answer": answer, **names}


_PicturePath = Annotated[str, Field(min_length=1)]  # an empty one would name no clip


class SwiftPicture(Contract):
    """A picture of a result of `swift infer`."""

    path: _PicturePath


class SwiftMessage(Message):
    """A message whose role decides what it is read as."""

    role: str


class SwiftRow(Contract):
    """A line of ms-swift's instruction files, or of a result of `swift infer`."""

    messages: list[SwiftMessage]
    images: Annotated[list[_PicturePath | SwiftPicture], Field(min_length=1)]
    response: str = ""


def _reference(path: Path, line: int, record: dict, prompt: Mapping) -> Reference:
    """The reference of a line: of ms-swift, an instruction record, or an ME-VQA row. Raises DataError."""
    if _is_swift_row(record):
        return _swift_reference(path, line, record)
    if "messages" in record:
        check_instruction(path, line, record)
    row = record.get("row", record)
    check_row(path, line, row, QuestionRow)
    try:
        answer = answer_of(record) if "messages" in record else row.get("answer", "")
        origin = row_clip(row)
        kind = parse(row["question"]).kind
        names = [MOTION if name == "flow" else name for name in picture_names(record, prompt)]
        paths = [resolve_inside(path.parent, image) for image in record.get("images", ())]
        pictures = dict(zip(names, paths, strict=True))
        images = tuple({**_key_frames(pictures, origin["clip"]), **pictures}.items())  # in the order of time
        words = {"question": row["question"], "kind": kind, "answer": answer}
        reference = Reference(
            row_id(row), **origin, **words, images=images, folder=Path(os.path.abspath(path.parent)), row=row
        )
    except KeyError as error:
        raise DataError(path, line, f"the row has no {error}", "give rows in the challenge's format") from error
    except ValueError as error:
        raise DataError(path, line, str(error), "correct or delete the row") from error
    return reference


def _check_answered(path: Path, line: int, reference: Reference) -> None:
    if not isinstance(reference.answer, str) or not reference.answer.strip():
        raise DataError(path, line, f"{reference.id} has no true answer", "score against answered rows only")


def _swift_reference(path: Path, line: int, record: dict) -> Reference:
    """The reference of a line of ms-swift, which names no dataset. Raises DataError."""
    row = _swift_row(path, line, record)
    try:
        kind = parse(row["question"]).kind
    except ValueError as error:
        raise DataError(path, line, str(error), "correct or delete the row") from error
    return Reference(row["id"], row["clip"], "", row["subject"], row["question"], kind, row["answer"], row=row)


def _swift_row(path: Path | str, line: int, record: dict) -> dict:
    fix = "give the question as user's message and one picture at least"
    check_record(SwiftRow, record, path, line, fix)
    try:
        return _read_swift_row(record)
    except KeyError as error:
        raise DataError(path, line, f"the row of messages has no {error}", fix) from error


def _predictions(path: Path | str, problems: Problems) -> Iterator[tuple[int, str, dict]]:
    """Line, identity and content of each row of a prediction file; a row without identity is added to `problems`.

    Raises DataError for a file without rows.
    """
    line = 0
    for line, row in read_jsonl(path):
        with problems.collect():
            row = _swift_row(path, line, row) if _is_swift_row(row) else row
            if "id" not in row and "video_id" not in row:
                raise DataError(path, line, "the row has neither id nor video_id", "write the whole row back")
            check_row(path, line, row)
            yield line, row_id(row), row
    if not line:
        raise DataError(path, None, "no answers in the file", "run test/generate_answers.py first")


def refuse_other_questions(path: Path | str, pairs: Sequence[tuple[Reference, dict]]) -> None:
    """Raise DataError, with their number, when rows answer other questions than the references beside them."""
    others = Problems()
    for reference, row in pairs:
        with others.collect():
            check_question(path, row, reference.question)
    if len(others):
        first = next(iter(others))
        what = f"{len(others)} of {len(pairs)} answers are to other questions: {first.row} {first.what}"
        raise DataError(path, None, what, "score it against the references of its own question file")


def read_run(path: Path | str, name: str, references: list[Reference], problems: Problems, settings: dict) -> Run:
    """A run's answers from a JSONL of ME-VQA rows, or a result of `swift infer`, joined to `references`.

    A second answer to a row (the first is kept), an answer without a reference, and the number of missing answers
    are added to `problems`; missing answers are scored as wrong. Raises DataError for a file without rows, and for
    one whose rows answer other questions than the references of their ids: they are answers to another file.
    """
    index, pairs = ReferenceIndex(references), {}
    for line, identity, row in _predictions(path, problems):
        with problems.collect():
            reference = index.find(path, line, row)
            if reference is None:
                raise DataError(path, line, f"{identity} has no reference", "give the references of this test set")
            if reference.key in pairs:
                raise DataError(path, line, f"second answer to {identity}", "keep one; the first is scored")
            if not isinstance(row.get("answer", ""), str):
                raise DataError(path, line, f"the answer of {identity} is not text", "write it as a string")
            pairs[reference.key] = (reference, row)
    refuse_other_questions(path, list(pairs.values()))
    # from here on in the order of the references; {} for a row without an answer
    rows = [pairs[reference.key][1] if reference.key in pairs else {} for reference in references]
    answers = tuple(row.get("answer", "").strip() or None for row in rows)
    if missing := [r.id for r, answer in zip(references, answers, strict=True) if answer is None]:
        what = f"{len(missing)} of {len(references)} answers are missing, the first is {missing[0]}"
        scored = "; they are scored as wrong" if any(reference.answer for reference in references) else ""
        problems.add(Problem(str(path), None, what, f"finish the run{scored}"))
    details = tuple({key: row[key] for key in _DETAILS if row.get(key) not in (None, {}, [])} for row in rows)
    return Run(name, answers, details, settings, _draws(path, rows))


def _draws(path: Path | str, rows: list[dict]) -> tuple[tuple[str | None, ...], ...]:
    """The drawn sets of answers of a run's rows, one set after another; none where the rows hold no `draws`."""
    answered = [row["draws"] for row in rows if "draws" in row]
    if not answered:
        return ()
    fix = "answer the whole file again with test/answer_baselines.py"
    if not all(isinstance(draws, list) and all(isinstance(text, str) for text in draws) for draws in answered):
        raise DataError(path, None, "its draws are no lists of texts", fix)
    numbers = {len(draws) for draws in answered}
    if len(numbers) > 1 or 0 in numbers or len(answered) < sum(map(bool, rows)):
        raise DataError(path, None, "its rows hold different numbers of draws", fix)
    # rows of draws → draws of rows; a missing row is missing in each draw
    sets = zip(*(row.get("draws", [""] * len(answered[0])) for row in rows), strict=True)
    return tuple(tuple(text.strip() or None for text in answers) for answers in sets)


def find_predictions(folder: Path | str) -> list[Path]:
    """Every `predictions.jsonl` in and below a folder, those of the folder itself first.

    Raises DataError when there is none.
    """
    folder = Path(folder)
    paths = sorted(folder.rglob("predictions.jsonl"), key=lambda path: (len(path.parts), path))
    if not paths:
        raise DataError(folder, None, "no predictions.jsonl in or below", "run test/generate_answers.py first")
    return paths


def choose_predictions(folder: Path | str, references: list[Reference]) -> tuple[list[Path], list[str]]:
    """Of the prediction files in and below a folder those that answer questions of these references and no others,
    and a line on each other one that says why it is left out.

    Raises DataError when none is left.
    """
    index = ReferenceIndex(references)
    chosen, left_out = [], []
    for path in find_predictions(folder):
        rows = [(identity, row, index.find(path, line, row)) for line, identity, row in _predictions(path, Problems())]
        stray = [identity for identity, _, reference in rows if reference is None]
        # a row found by its id alone may answer another version of the question file
        other = [
            identity
            for identity, row, reference in rows
            if reference and row.get("question", reference.question) != reference.question
        ]
        if stray or other:
            what = "have no reference here" if stray else "are to other questions than the references of their ids"
            first = (stray or other)[0]
            left_out.append(f"{path}: {len(stray or other)} of {len(rows)} answers {what}, such as {first}")
        else:
            chosen.append(path)
    if not chosen:
        what = f"none of {len(left_out)} prediction files answers this test set ({left_out[0]})"
        raise DataError(folder, None, what, "give the --references of the test set, or --predictions")
    return chosen, left_out


def read_runs(
    paths: list[Path | str], names: list[str] | None, references: list[Reference], problems: Problems
) -> list[Run]:
    """Runs of several prediction files, named by `names` or by the files' folders; `run.json` beside a file holds
    the settings. Raises ValueError when names and files differ in number or two runs have one name."""
    names = names or [Path(path).resolve().parent.name for path in paths]
    if len(names) != len(paths):
        raise ValueError(f"{len(names)} names for {len(paths)} prediction files: give one a file")
    if len(set(names)) < len(names):
        raise ValueError(f"run names {', '.join(names)} are not all different: give --names")
    runs = []
    for path, name in zip(paths, names, strict=True):
        settings = read_checked(
            RunRecord, Path(path).parent / "run.json", missing={}, fix="delete it, or write the run again"
        )
        runs.append(read_run(path, name, references, problems, settings))
    return runs
