"""Which dataset a spreadsheet comes from, told by its file names: a sheet of another one is read without a complaint
otherwise, since the columns are much the same."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megc.datasets.spreadsheets import Row, text_of
from megc.problems import DataError


@dataclass(frozen=True)
class Origin:
    """A dataset's title, the pattern of its clips' file names, and one of them. `readable`: `--dataset` knows it."""

    title: str
    filename: re.Pattern[str]
    example: str
    readable: bool = True

    def named_like(self, name: str) -> bool:
        """Whether a file name is one of this dataset."""
        return bool(self.filename.fullmatch(name))


def _origin(title: str, filename: str, example: str, readable: bool = True) -> Origin:
    return Origin(title, re.compile(filename, re.IGNORECASE), example, readable)


ORIGINS = {
    "casme2": _origin("CASME II", r"EP\d+\w*", "EP02_01f"),
    "samm": _origin("SAMM", r"\d{1,3}(_\d+){2}", "006_1_2"),
    "casme_squared": _origin("CAS(ME)²", r"(anger|disgust|happy)\d_\d+", "anger1_1", readable=False),
    "casme3": _origin("CAS(ME)³", r"[a-z]", "a", readable=False),
    "smic": _origin("SMIC", r"s\d+_(ne|po|sur)_\d+", "s1_ne_01", readable=False),
    "mmew": _origin("MMEW", r"S\d+-\d+-\d+", "S01-01-001", readable=False),
}


def check_origin(dataset: str, file: Path | str, rows: Sequence[Row]) -> None:
    """Raises DataError where fewer than half of the file names are like those of `dataset`; it names the dataset
    that the sheet looks like, and the flag that reads it."""
    names = [name for row in rows if (name := text_of(row.cells["filename"]))]
    counts = {key: sum(origin.named_like(name) for name in names) for key, origin in ORIGINS.items()}
    if 2 * counts[dataset] >= len(names):
        return
    likeliest = max(counts, key=lambda key: counts[key])
    origin, expected = ORIGINS[likeliest], ORIGINS[dataset]
    if 2 * counts[likeliest] < len(names):
        what = f"{counts[dataset]} of {len(names)} file names are like those of {expected.title} ({expected.example})"
        raise DataError(file, None, what, f"give the spreadsheet of {expected.title} as its owners release it")
    what = (
        f"this looks like a sheet of {origin.title}, not of {expected.title}: "
        f"{counts[likeliest]} of {len(names)} file names are like {origin.example}"
    )
    readable = ", ".join(f"`--dataset {key}` ({known.title})" for key, known in ORIGINS.items() if known.readable)
    fix = f"read it with `--dataset {likeliest}`" if origin.readable else f"only these can be read: {readable}"
    raise DataError(file, None, what, fix)
