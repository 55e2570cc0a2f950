"""Answers in the files that the challenge takes, checked row by row against its question files."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from megc.files import lock_folder, read_rows, write_bytes, write_jsonl
from megc.problems import DataError, Problem, Problems
from megc.vqa.instructions import check_question, may_answer, row_clip, row_id, row_key
from megc.vqa.questions import analysis_fault, answer_fault, parse, split_long
from megc.vqa.settings import SubmissionSettings

_LISTED = 5  # analyses that a line names
TO_ANSWER, PREDICTED = "_to_answer", "_pred"  # ends of the organisers' file names


def submission_name(questions: Path) -> str:
    """`me_vqa_samm_v2_test_pred.jsonl` of `me_vqa_samm_v2_test_to_answer.jsonl`. Raises DataError for other names."""
    if not questions.stem.endswith(TO_ANSWER):
        fix = f"give the organisers' file, whose name ends with {TO_ANSWER}.jsonl"
        raise DataError(questions, None, "not the name of a question file", fix)
    return f"{questions.stem.removesuffix(TO_ANSWER)}{PREDICTED}.jsonl"


def submission_fault(answer: object, row: dict) -> tuple[str, str] | None:
    """What is wrong with an answer to a question row of the challenge, and what to do; None when nothing is.

    Raises ValueError for a question that is none of the challenge's.
    """
    if not isinstance(answer, str):
        return "the answer is not text", "write it as a string"
    if not answer.strip():
        return "the answer is empty", "run test/generate_answers.py again: it asks what is not answered"
    question = parse(row["question"])
    what = answer_fault(question, answer, row_clip(row)["dataset"])
    if what is None:
        return None
    if question.kind.startswith("count_"):
        return what, "answer with a number"
    # reasoning can mend words; a sentence and an analysis must be written anew
    sentence = question.kind != "analysis" and (question.kind != "long" or split_long(answer))
    return what, f"run test/reason_answers.py --reason {'snap' if sentence else 'compose'}"


def analysis_note(answered: Iterable[tuple[str, str, str | None]]) -> str:
    """A line on the analyses that say next to nothing, of (row's id, kind, answer); empty where all say something.

    The corpus BLEU of a file hardly shows them, and a count of answered rows not at all.
    """
    analyses = [(row, answer or "") for row, kind, answer in answered if kind == "analysis"]
    faults = [f"{row}: {fault}" for row, answer in analyses if answer.strip() and (fault := analysis_fault(answer))]
    if not faults:
        return ""
    more = f" and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    listed = "; ".join(faults[:_LISTED]) + more
    fix = "compose them of the clips' own answers with test/reason_answers.py --reason compose"
    return f"{len(faults)} of {len(analyses)} analyses say next to nothing ({listed}); {fix}"


class Answers:
    """Answered rows of prediction files, each with its file's name."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], tuple[str, dict]] = {}
        self._ids: dict[str, list[tuple[str, ...]]] = {}

    def add(self, file: Path, row: dict) -> bool:
        """Take a row; False where the same question is answered already: the first answer stays."""
        key = row_key(row)
        if key in self._rows:
            return False
        self._rows[key] = (str(file), row)
        self._ids.setdefault(row_id(row), []).append(key)
        return True

    def find(self, row: dict) -> tuple[str, dict] | None:
        """The answer to a question row, and its file: the row with the same clip, id and question, else (rows that
        another program wrote may lack some of it) the first one with its id; None where there is none."""
        key = row_key(row)
        if key in self._rows:
            return self._rows[key]
        same_id = [self._rows[other] for other in self._ids.get(row_id(row), ())]
        return next((item for item in same_id if may_answer(item[1], row)), None)

    def unused(self, rows: Iterable[dict]) -> list[str]:
        """Ids of rows that answer none of the question `rows`, sorted."""
        used = {id(answer[1]) for row in rows if (answer := self.find(row))}
        return sorted(row_id(row) for _, row in self._rows.values() if id(row) not in used)


def fill_answers(questions: Path, answers: Answers, problems: Problems) -> list[dict]:
    """The rows of a question file, in their order and with their keys, answered; faults are reported in `problems`.

    A row without an answer keeps an empty one.
    """
    rows, seen = [], set()
    for line, row in read_rows(questions, "give the organisers' file"):
        # the row stands in the file whatever is wrong with it: the organisers count rows
        rows.append({**row, "answer": ""})
        with problems.collect():
            if "question" not in row or not {"id", "video_id"} & row.keys() or not row_id(row):
                raise DataError(questions, line, "the row has no question or no id", "give the organisers' file")
            identity = row_id(row)
            if identity in seen:
                raise DataError(questions, line, f"{identity} comes twice", "give the organisers' file")
            seen.add(identity)
            answer_row = answers.find(row)
            if answer_row is None:
                fix = "answer this question file with test/generate_answers.py"
                raise DataError(questions, identity, "no answer among the predictions", fix)
            where, answered = answer_row
            check_question(where, answered, row["question"])
            answer = answered.get("answer")
            try:
                wrong = submission_fault(answer, row)
            except (ValueError, KeyError) as error:
                raise DataError(questions, identity, f"cannot be checked ({error})", "correct the row") from error
            rows[-1]["answer"] = answer.strip() if isinstance(answer, str) else ""
            if wrong:
                problems.add(Problem(where, identity, *wrong))
    return rows


def read_answers(files: Sequence[Path], problems: Problems) -> Answers:
    """Answered rows of prediction files; a second answer to a question is a problem, a file without a row an error."""
    answers = Answers()
    for file in files:
        for line, row in read_rows(file, "answer the question files with test/generate_answers.py"):
            with problems.collect():
                if not {"id", "video_id"} & row.keys():
                    raise DataError(file, line, "the row has neither id nor video_id", "write the whole row back")
                if not answers.add(file, row):
                    raise DataError(file, line, f"second answer to {row_id(row)}", "keep one; the first is taken")
    return answers


def make_submission(
    predictions: Sequence[Path], questions: Sequence[Path], out: Path, problems: Problems, archive: Path | None = None
) -> str:
    """Write a prediction file for each question file into the folder `out`; returns a summary.

    With `archive`, all of them also go into a zip at top level, unless there is a fault: then no zip is left there,
    not an older one either. Faults are reported in `problems`; the files are written in any case, so that they can be
    looked at. Raises DataError for a file without rows, and when another run is at work in `out`.
    """
    older = _remove_older(archive)  # first of all: an error must not leave it to be handed in
    names = [submission_name(file) for file in questions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(out, None, f"two question files make {', '.join(twice)}", "give each once")
    answers = read_answers(predictions, problems)
    with lock_folder(out, "submission"):
        contents, lines, answered = {}, [], []
        for name, file in zip(names, questions, strict=True):
            rows = fill_answers(file, answers, problems)
            write_jsonl(out / name, rows)
            contents[name] = (out / name).read_bytes()
            answered += [row for row in rows if {"id", "video_id"} & row.keys()]
            lines.append(f"{out / name}: {len(rows)} rows, {sum(bool(row['answer']) for row in rows)} answered")
        # answers left over may mean that a question file was forgotten
        if unused := answers.unused(answered):
            lines.append(f"{len(unused)} predictions belong to none of these question files, such as {unused[0]}")
        if archive and len(problems):
            lines.append(f"{archive}: not written, because of the problems" + "; the older one is deleted" * older)
        elif archive:
            write_bytes(archive, _zip_files(contents))
            lines.append(f"{archive}: {', '.join(contents)}")
    return "\n".join(lines)


def _remove_older(archive: Path | None) -> bool:
    """Delete the zip of an earlier submission, if there is one. Raises DataError for something that is no zip."""
    if archive is None or not archive.exists():
        return False
    if not zipfile.is_zipfile(archive):
        raise DataError(archive, None, "is there and no zip", "give another --zip")
    archive.unlink()
    return True


def _zip_files(files: dict[str, bytes]) -> bytes:
    """A zip with the files at top level; the same files make the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sorted(files.items()):
            # a fixed date, so that the same answers make the same zip
            packed.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def hand_in(settings: SubmissionSettings, problems: Problems) -> str:
    """`make_submission` of the settings' files; returns a summary."""
    return make_submission(settings.predictions, settings.questions, settings.out, problems, settings.zip)
