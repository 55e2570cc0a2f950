"""What the answered questions of a clip say together: its action units, fine and coarse class.

From such labels of training subjects come the statistics that prompts may tell and that answers may be weighed by.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megc.facs import unit_name
from megc.files import read_jsonl, read_rows
from megc.problems import DataError
from megc.records import AnsweredRow, check_instruction, check_row
from megc.vqa.instructions import answer_of, row_clip, row_id
from megc.vqa.questions import parse, split_long, split_units

ANY = ""  # in place of a dataset's name: the clips of all datasets
_MOST = 6  # fine classes, and action units, that a text lists


@dataclass(frozen=True)
class ClipLabels:
    """A clip's labels: action units in written order, fine and coarse class; empty where no question has them."""

    clip: str
    dataset: str
    subject: str
    units: tuple[int, ...] = ()
    fine: str = ""
    coarse: str = ""

    @property
    def subject_key(self) -> str:
        """`dataset/subject`, as splits name it."""
        return f"{self.dataset}/{self.subject}"


def clip_labels(rows: Iterable[dict]) -> list[ClipLabels]:
    """Labels of each clip of answered ME-VQA rows, in order of first appearance.

    The composed sentence stands in for a question that a clip lacks. Rows without an answer, and clips without any
    label, are left out. Raises ValueError for a question that is none of the challenge's.
    """
    said: dict[str, dict[str, str]] = {}
    origins: dict[str, dict[str, str]] = {}
    for row in rows:
        if not row.get("answer"):
            continue
        origin = row_clip(row)
        origins[origin["clip"]] = origin
        said.setdefault(origin["clip"], {})[parse(row["question"]).kind] = row["answer"]
    found = []
    for clip, answers in said.items():
        units, fine, coarse = split_long(answers.get("long", "")) or ("", "", "")
        numbers = tuple(n for n in split_units(answers.get("units", units)) if n is not None)
        fine, coarse = answers.get("fine", fine), answers.get("coarse", coarse)
        if numbers or fine or coarse:
            found.append(ClipLabels(**origins[clip], units=numbers, fine=fine, coarse=coarse))
    return found


def read_labels(path: Path | str) -> list[ClipLabels]:
    """Labels of the clips of an answered JSONL: instruction records or ME-VQA rows. Raises DataError."""
    rows = []
    for line, record in read_jsonl(path):
        if "messages" in record:
            check_instruction(path, line, record)
        row = record.get("row", record)
        check_row(path, line, row)
        rows.append({**row, "answer": answer_of(record)} if "messages" in record else row)
    try:
        return clip_labels(rows)
    except (ValueError, KeyError) as error:
        fix = "give the answered rows of the training subjects"
        raise DataError(path, None, f"no labels can be read ({error})", fix) from error


def read_answers(path: Path | str, fix: str) -> list[dict]:
    """Answered ME-VQA rows of a JSONL, each of a clip and a question that can be told.

    Raises DataError, with file and line, for a row that is none, and with the remedy `fix` for no row.
    """
    rows = read_rows(path, fix, AnsweredRow)
    for line, row in rows:
        try:
            row_clip(row)
            row_id(row)
            parse(row["question"])
        except KeyError as error:
            raise DataError(path, line, f"the row has no {error}", "write the whole row back") from error
        except ValueError as error:
            raise DataError(path, line, str(error), "correct or delete the row") from error
    return [row for _, row in rows]


def coarse_statistics(labels: Sequence[ClipLabels]) -> tuple[tuple[str, str, str], ...]:
    """What clips of each coarse class look like, in words: (dataset or ANY, coarse class, text), sorted.

    The text gives the shares of the fine classes and of the clips that show an action unit, for the units that
    most clips show. Give it the labels of training subjects only.
    """
    told = []
    for dataset in (ANY, *sorted({label.dataset for label in labels})):
        own = [label for label in labels if dataset in (ANY, label.dataset)]
        for coarse in sorted({label.coarse for label in own if label.coarse}):
            clips = [label for label in own if label.coarse == coarse]
            fine = [label.fine for label in clips if label.fine]
            seen = [set(label.units) for label in clips if label.units]
            units = [unit_name(unit) for units in seen for unit in sorted(units)]
            parts = [_shares(fine, len(fine)), _shares(units, len(seen))]
            if any(parts):
                told.append((dataset, coarse, "; ".join(part for part in parts if part)))
    return tuple(told)


def _shares(names: Sequence[str], of: int) -> str:
    """`disgust 69 %, repression 31 %`: how many of `of` have each name; the commonest first, rare ones left out."""
    ordered = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))[:_MOST]
    return ", ".join(f"{name} {round(100 * count / of)} %" for name, count in ordered)
