"""What the sheets of a layout list: labelled movements, regular ones that are drawn and irregular ones of a table.

`irregular_rows.csv` holds each kind of irregular cell that the real sheets have, as its coders wrote it, beside what
it means: `true_…` where the plain reading of the cell would be wrong, `-` for nothing, empty for the plain reading;
`missing` are frames without a file.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from megc.synthesis.label_counts import objective_class

IRREGULAR = Path(__file__).with_name("irregular_rows.csv")
_POINTS = ("onset", "apex", "offset")
_PLAIN_UNITS = re.compile(r"[LR]?\d+(\+[LR]?\d+)*")
_EMOTIONS = {"sad": "sadness", "happy": "happiness", "other": "others"}
_ROMAN = ("", "I", "II", "III", "IV", "V", "VI", "VII")
_SMIC_CODES = {"negative": "ne", "positive": "po", "surprise": "sur"}
_SIDES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class LabelledRow:
    """A movement of a person: the cells of its row as text, and the truth behind them.

    `kind` is micro, macro or blink. `onset`, `apex`, `offset` are true frame numbers (apex None: not annotated, or
    not usable), `units` (number, side), `emotion` the annotated word in the field's spelling. `missing` are the
    numbers of frames without a file, `repaired` the points whose cells mean another number than they hold, `why` what
    is irregular.
    """

    subject: int
    name: str
    kind: str
    cells: dict[str, str]
    onset: int
    apex: int | None
    offset: int
    units: tuple[tuple[int, str | None], ...]
    emotion: str
    missing: frozenset[int] = frozenset()
    repaired: tuple[str, ...] = ()
    why: str = ""

    @property
    def values(self) -> dict[str, object]:
        """What the columns of a sheet and the names of folders are made from: the cells, and what follows of them."""
        numbers = tuple(number for number, _ in self.units)
        length = self.offset - self.onset + 1
        return self.cells | {
            "subject": self.subject,
            "name": self.name,
            "kind": self.kind,
            "type": f"{self.kind}-expression",
            "true_onset": self.onset,
            "label": self.emotion,
            "duration": length,
            "difference": length - 1,
            "micro": "Macro" if self.kind == "macro" else "Micro - 1" if length <= 100 else "Micro - 2",
            "objective": objective_class(numbers),
            "roman": _ROMAN[objective_class(numbers)],
            "film": self.name.split("_")[1] if "_" in self.name else "",
            "video": self.name.rpartition("_")[0] or self.name,
            "code": _SMIC_CODES.get(self.emotion, ""),
        }


@dataclass(frozen=True)
class RowRange:
    """What regular rows are drawn from.

    `names` are file names of a subject, formatted with `subject`; `onsets` the first and the last onset; `lengths` the
    shortest and the longest movement, in frames; `units` are cells to draw from, `emotions` and `kinds` those of the
    names, in their order. `apex` False: none is annotated.
    """

    names: tuple[str, ...]
    onsets: tuple[int, int]
    lengths: tuple[int, int]
    units: tuple[str, ...] = ()
    emotions: tuple[str, ...] = ()
    subjects: tuple[int, ...] = (1, 2)
    kinds: tuple[str, ...] = ("micro",)
    apex: bool = True
    smallest_gap: int = 5


def _frame(text: str) -> int | None:
    """A plain frame cell; None for what is no number."""
    return int(text) if re.fullmatch(r"\d+", text) else None


def read_units(text: str) -> tuple[tuple[int, str | None], ...]:
    """Units of `4+L10` or `AU4,L10` in written order; none for `-`. Raises ValueError for any other form."""
    if not text or text == "-":
        return ()
    text = text.replace(",", "+").replace("AU", "")
    if not _PLAIN_UNITS.fullmatch(text):
        raise ValueError(f"{text!r}: write true_units, numbers with L or R and + between them")
    return tuple((int(token.lstrip("LR")), _SIDES.get(token[0])) for token in text.split("+"))


def label_row(record: dict[str, str]) -> LabelledRow:
    """The row of one line of `irregular_rows.csv`, or of a drawn record with the same keys."""
    cells = {column: record[column] for column in (*_POINTS, "units", "emotion")}
    truth: dict[str, int | None] = {}
    for point in _POINTS:
        text = record[f"true_{point}"] or cells[point]
        truth[point] = None if text == "-" else _frame(text)
    if truth["onset"] is None or truth["offset"] is None:
        raise ValueError(f"no onset or offset of {record}")
    first, _, last = record["missing"].partition("-")
    emotion = cells["emotion"].lower()
    return LabelledRow(
        subject=int(record["subject"]),
        name=record["name"],
        kind=record["kind"],
        cells=cells,
        onset=truth["onset"],
        apex=truth["apex"],
        offset=truth["offset"],
        units=read_units(record["true_units"] or cells["units"]),
        emotion=_EMOTIONS.get(emotion, emotion),
        missing=frozenset(range(int(first), int(last) + 1)) if first else frozenset(),
        repaired=tuple(point for point in _POINTS if record[f"true_{point}"] not in ("", cells[point])),
        why=record["why"],
    )


@cache
def irregular_rows(name: str) -> tuple[LabelledRow, ...]:
    """The rows of a set of `irregular_rows.csv`, in its order."""
    with open(IRREGULAR, encoding="utf-8", newline="") as file:
        return tuple(label_row(record) for record in csv.DictReader(file) if record["set"] == name)


def draw_rows(spread: RowRange, rng: np.random.Generator) -> Iterator[LabelledRow]:
    """One regular row for each name of each subject; onsets rise with the names and movements do not overlap."""
    low, high = spread.onsets
    room = (high - low) // len(spread.names)
    for subject in spread.subjects:
        for index, name in enumerate(spread.names):
            length = int(rng.integers(spread.lengths[0], spread.lengths[1] + 1))
            onset = low + index * room + int(rng.integers(0, max(1, room - length - spread.smallest_gap)))
            apex = onset + max(1, round(float(rng.uniform(0.3, 0.6)) * (length - 1)))
            record = dict.fromkeys(("true_onset", "true_apex", "true_offset", "true_units", "missing", "why"), "")
            yield label_row(
                record
                | {
                    "subject": str(subject),
                    "name": name.format(subject=subject),
                    "kind": spread.kinds[index % len(spread.kinds)],
                    "onset": str(onset),
                    "apex": str(apex) if spread.apex else "",
                    "offset": str(onset + length - 1),
                    "units": str(rng.choice(spread.units)) if spread.units else "",
                    "emotion": spread.emotions[index % len(spread.emotions)] if spread.emotions else "",
                }
            )
