"""Answers in the files that the challenge takes, checked row by row against its question files."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from megc.answers.snapping import is_list
from megc.files import read_jsonl, write_bytes, write_jsonl
from megc.problems import DataError, Problem, Problems
from megc.vqa.instructions import check_question, row_clip, row_id
from megc.vqa.questions import Question, allowed_answers, parse, split_long

ASKED, ANSWERED = "_to_answer", "_pred"


def submission_name(questions: Path) -> str:
    """`me_vqa_samm_v2_test_pred.jsonl` of `me_vqa_samm_v2_test_to_answer.jsonl`. Raises DataError for other names."""
    if not questions.stem.endswith(ASKED):
        fix = f"give the organisers' file, whose name ends with {ASKED}.jsonl"
        raise DataError(questions, None, "not the name of a question file", fix)
    return f"{questions.stem.removesuffix(ASKED)}{ANSWERED}.jsonl"


def fault(answer: object, row: dict) -> tuple[str, str] | None:
    """What is wrong with an answer to a question row of the challenge, and what to do; None when nothing is.

    Raises ValueError for a question that is none of the challenge's.
    """
    if not isinstance(answer, str):
        return "the answer is not text", "write it as a string"
    if not answer.strip():
        return "the answer is empty", "run test/generate_answers.py again: it asks what is not answered"
    question, dataset = parse(row["question"]), row_clip(row)["dataset"]
    fix = "run test/reason_answers.py --reason snap"
    allowed = allowed_answers(question, dataset)
    if allowed and answer not in allowed:
        return f"{answer!r} is not one of {', '.join(allowed)}", fix
    if question.kind in ("units", "distinct_units") and not is_list(answer):
        return f"{answer!r} names something that is no action unit", fix
    if question.kind == "long":
        parts = split_long(answer)
        if parts is None:
            return f"{answer!r} is not the composed sentence", "run test/reason_answers.py --reason compose"
        units, *classes = parts
        wrong = [
            name
            for name, kind in zip(classes, ("fine", "coarse"), strict=True)
            if name not in allowed_answers(Question(kind), dataset)
        ]
        if wrong or not is_list(units):
            return f"{answer!r} names {', '.join(wrong) or 'something that is no action unit'}", fix
    if question.kind.startswith("count_") and not answer.strip().isdigit():
        return f"{answer!r} is not a number", "answer with a number"
    return None


def fill(questions: Path, answers: dict[str, tuple[str, dict]], problems: Problems) -> list[dict]:
    """The rows of a question file, in their order and with their keys, answered; faults go to `problems`.

    `answers` by row id: where the answer stands, and its row. A row without an answer keeps an empty one.
    """
    rows, seen = [], set()
    for line, row in read_jsonl(questions):
        rows.append({**row, "answer": ""})
        with problems.collect():
            if "question" not in row or not {"id", "video_id"} & row.keys():
                raise DataError(questions, line, "the row has no question or no id", "give the organisers' file")
            identity = row_id(row)
            if identity in seen:
                raise DataError(questions, line, f"{identity} comes twice", "give the organisers' file")
            seen.add(identity)
            if identity not in answers:
                fix = "answer this question file with test/generate_answers.py"
                raise DataError(questions, identity, "no answer among the predictions", fix)
            where, answered = answers[identity]
            check_question(where, answered, row["question"])
            answer = answered.get("answer")
            try:
                found = fault(answer, row)
            except (ValueError, KeyError) as error:
                raise DataError(questions, identity, f"cannot be checked ({error})", "correct the row") from error
            rows[-1]["answer"] = answer.strip() if isinstance(answer, str) else ""
            if found:
                problems.add(Problem(where, identity, *found))
    if not rows:
        raise DataError(questions, None, "no question in the file", "give the organisers' file")
    return rows


def read_answers(files: Sequence[Path], problems: Problems) -> dict[str, tuple[str, dict]]:
    """Answered rows of prediction files by row id, each with its file's name; a second answer is a problem."""
    found: dict[str, tuple[str, dict]] = {}
    for file in files:
        for line, row in read_jsonl(file):
            with problems.collect():
                if not {"id", "video_id"} & row.keys():
                    raise DataError(file, line, "the row has neither id nor video_id", "write the whole row back")
                identity = row_id(row)
                if identity in found:
                    raise DataError(file, line, f"second answer to {identity}", "keep one; the first is taken")
                found[identity] = (str(file), row)
    return found


def make_submission(
    predictions: Sequence[Path], questions: Sequence[Path], out: Path, problems: Problems, archive: Path | None = None
) -> str:
    """Write a prediction file for each question file into the folder `out`; returns a summary.

    With `archive`, all of them also go into a zip at top level, unless there is a fault. Faults are told to
    `problems`; the files are written in any case, so that they can be looked at.
    """
    names = [submission_name(file) for file in questions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(out, None, f"two question files make {', '.join(twice)}", "give each once")
    answers = read_answers(predictions, problems)
    made, lines, used = {}, [], set()
    for name, file in zip(names, questions, strict=True):
        rows = fill(file, answers, problems)
        write_jsonl(out / name, rows)
        made[name] = (out / name).read_bytes()
        used |= {row_id(row) for row in rows if {"id", "video_id"} & row.keys()}
        lines.append(f"{out / name}: {len(rows)} rows, {sum(bool(row['answer']) for row in rows)} answered")
    if unused := answers.keys() - used:
        lines.append(f"{len(unused)} predictions belong to none of these question files, such as {min(unused)}")
    if archive and len(problems):
        lines.append(f"{archive}: not written, because of the problems")
    elif archive:
        write_bytes(archive, _zipped(made))
        lines.append(f"{archive}: {', '.join(made)}")
    return "\n".join(lines)


def _zipped(files: dict[str, bytes]) -> bytes:
    """A zip with the files at top level; the same files make the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()
