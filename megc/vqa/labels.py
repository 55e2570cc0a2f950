"""Labels of a clip, from its answered questions, and how their frequencies in training are smoothed.

From labels of training subjects come the statistics that prompts may state and that answers may be weighed by.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megc.facs import unit_name
from megc.files import read_jsonl, read_rows
from megc.problems import DataError
from megc.records import AnsweredRow, check_instruction, check_row
from megc.vqa.instructions import answer_of, question_kind, row_clip
from megc.vqa.questions import parse, split_long, split_units

ANY = ""  # in place of a dataset's name: the clips of all datasets
_MOST = 6  # fine classes, and action units, that a text lists

# Smoothing: what is added to counts, so that a label never seen is not impossible and one always seen not certain.
PRETENDED_CLIPS = 1.0  # in all, shared by the labels in question: with yes and no, half a clip each
PRETENDED_SHOWN = 0.1  # clips with an action unit beside those counted: one that no clip shows may still be right
PRETENDED_VOTES = 0.1  # for each answer that the votes of a model may have: fewer, since there are few votes


def smoothed_share(count: float, total: float, labels: int = 2) -> float:
    """Share of a label that `count` of `total` clips have; PRETENDED_CLIPS more are shared by `labels` labels."""
    return (count + PRETENDED_CLIPS / labels) / (total + PRETENDED_CLIPS)


@dataclass(frozen=True)
class ClipLabels:
    """A clip's labels: action units (FACS numbers) in written order, fine and coarse class, side of the face.

    What no question has is empty.
    """

    clip: str
    dataset: str
    subject: str
    units: tuple[int, ...] = ()
    fine: str = ""
    coarse: str = ""
    side: str = field(default="", repr=False)  # stored runs are named after a hash of the repr: see Knowledge.hash

    @property
    def subject_key(self) -> str:
        """`dataset/subject`, as splits name it."""
        return f"{self.dataset}/{self.subject}"

    @classmethod
    def from_answers(cls, origin: Mapping[str, str], answers: Mapping[str, str]) -> "ClipLabels":
        """Labels of the clip `origin` (`clip`, `dataset`, `subject`) by its answers to each kind of question.

        The composed sentence stands in for a question that the clip lacks; names of no action unit are dropped.
        """
        units, fine, coarse = split_long(answers.get("long", "")) or ("", "", "")
        numbers = tuple(number for number in split_units(answers.get("units", units)) if number is not None)
        classes = {"fine": answers.get("fine", fine), "coarse": answers.get("coarse", coarse)}
        return cls(**origin, units=numbers, **classes, side=answers.get("side", ""))


def answers_by_clip(answered: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Answers by clip and kind of question, of (clip, kind, answer); clips are in order of their first answer.

    Empty answers are left out. Of several answers to a kind the first counts.
    """
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for clip, kind, answer in answered:
        if answer:
            answers[clip].setdefault(kind, answer)
    return dict(answers)


def clip_labels(rows: Iterable[dict]) -> list[ClipLabels]:
    """Labels of each clip of answered ME-VQA rows, in order of first appearance.

    Rows without an answer, and clips without any label, are left out. Copies of augment_flow.py count as the clip
    that they are copies of. Raises ValueError for a question that is none of the challenge's.
    """
    rows = [row for row in rows if row.get("answer")]
    origins = [row_clip(row) for row in rows]
    kinds = [parse(row["question"]).kind for row in rows]
    return _labels(origins, kinds, [row["answer"] for row in rows])


def record_labels(records: Iterable[dict]) -> list[ClipLabels]:
    """Labels of each clip of answered instruction records, as `clip_labels` of rows.

    Copies and mixed pictures of augment_flow.py are clips of their own. Raises ValueError for a question that is none
    of the challenge's.
    """
    records = list(records)
    origins = [{name: record[name] for name in ("clip", "dataset", "subject")} for record in records]
    return _labels(origins, map(question_kind, records), map(answer_of, records))


def _labels(origins: Sequence[Mapping[str, str]], kinds: Iterable[str], answers: Iterable[str]) -> list[ClipLabels]:
    """Labels by clip of answered questions: where each comes from, its kind and its answer."""
    by_clip = {origin["clip"]: origin for origin in origins}
    answered = zip((origin["clip"] for origin in origins), kinds, answers, strict=True)
    labels = [ClipLabels.from_answers(by_clip[clip], texts) for clip, texts in answers_by_clip(answered).items()]
    return [label for label in labels if label.units or label.fine or label.coarse or label.side]


def read_labels(path: Path | str) -> list[ClipLabels]:
    """Labels of the clips of an answered JSONL: instruction records or ME-VQA rows. Raises DataError."""
    rows = []
    for line, record in read_jsonl(path):
        if "messages" in record:
            check_instruction(path, line, record)
        row = record.get("row", record)
        check_row(path, line, row)
        _check_origin(path, line, row)
        rows.append({**row, "answer": answer_of(record)} if "messages" in record else row)
    return clip_labels(rows)


def _check_origin(path: Path | str, line: int, row: dict) -> None:
    """Raise DataError for a row that names no clip, or asks none of the challenge's questions."""
    try:
        row_clip(row)
        parse(row["question"])
    except KeyError as error:
        raise DataError(path, line, f"the row has no {error}", "write the whole row back") from error
    except ValueError as error:
        raise DataError(path, line, str(error), "correct or delete the row") from error


def read_answers(path: Path | str, fix: str) -> list[dict]:
    """Answered ME-VQA rows of a JSONL, each of a clip and a question that can be recognised.

    Raises DataError, with file and line, for a row that is none, and with the remedy `fix` for no row.
    """
    rows = read_rows(path, fix, AnsweredRow)
    for line, row in rows:
        _check_origin(path, line, row)
        if not {"id", "video_id"} & row.keys():
            raise DataError(path, line, "the row has neither id nor video_id", "write the whole row back")
    return [row for _, row in rows]


def coarse_statistics(labels: Sequence[ClipLabels]) -> tuple[tuple[str, str, str], ...]:
    """What clips of each coarse class look like, in words: (dataset or ANY, coarse class, text), sorted.

    The text gives the shares of the fine classes and of the clips that show an action unit, for the units that
    most clips show. `labels`: training subjects only.
    """
    statistics = []
    for dataset in (ANY, *sorted({label.dataset for label in labels})):
        of_dataset = [label for label in labels if dataset in (ANY, label.dataset)]
        for coarse in sorted({label.coarse for label in of_dataset if label.coarse}):
            clips = [label for label in of_dataset if label.coarse == coarse]
            fine = [label.fine for label in clips if label.fine]
            seen = [set(label.units) for label in clips if label.units]
            units = [unit_name(unit) for units in seen for unit in sorted(units)]
            parts = [_format_shares(fine, len(fine)), _format_shares(units, len(seen))]
            if any(parts):
                statistics.append((dataset, coarse, "; ".join(part for part in parts if part)))
    return tuple(statistics)


def _format_shares(names: Sequence[str], of: int) -> str:
    """`disgust 69 %, repression 31 %`: how many of `of` have each name; the commonest first, rare ones left out."""
    ordered = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))[:_MOST]
    return ", ".join(f"{name} {round(100 * count / of)} %" for name, count in ordered)
