"""What is wrong with the data, where, and what to do: one record, one exception, one list that sets the exit code."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

_LONGEST = 1000  # characters of what a message says of a fault: an answer that it quotes may fill pages
_LONGEST_ROW = 200  # characters of a row's name, which a damaged file may have of any length
_MOST_NAMES = 40  # that a remedy lists
_EXCERPT = 60  # characters of a cell or value that a message quotes


def excerpt(value: object) -> str:
    """`value` as a message quotes it: its `repr`, cut where it is long (a cell may hold thousands of digits)."""
    if isinstance(value, int) and abs(value) >= 10**_EXCERPT:  # Python refuses to write very long integers
        return f"a number of more than {_EXCERPT} digits"
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}… ({len(text)} characters)"


def did_you_mean(name: object, options: Iterable[object], otherwise: str = "") -> str:
    """Remedy for a name that is not in `options`: the nearest of them, else `otherwise`, else all of them in order."""
    names = [str(option) for option in options]
    if near := get_close_matches(str(name), names, 1):
        return f"did you mean {near[0]}?"
    more = f" … and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return otherwise or f"choose from {', '.join(names[:_MOST_NAMES])}{more}"


@dataclass(frozen=True)
class Problem:
    """One finding: `file` and `row` (line number, cell or clip; None for the whole file), what is wrong, the fix.

    `check` names the kind of finding, for programs that report several kinds.
    """

    file: str
    row: str | int | None
    what: str
    fix: str
    check: str = ""

    def __str__(self) -> str:
        row = str(self.row)
        row = row if len(row) <= _LONGEST_ROW else f"{row[:_LONGEST_ROW]}…"
        where = self.file if self.row is None else f"{self.file}, row {row}"
        what = self.what if len(self.what) <= _LONGEST else f"{self.what[:_LONGEST]}…"
        return f"{where}: {what}; {self.fix}."


class DataError(Exception):
    """Bad input. Carries the Problem, so that a loop over many clips can collect it and go on."""

    def __init__(self, file: Path | str, row: str | int | None, what: str, fix: str) -> None:
        self.problem = Problem(str(file), row, what, fix)
        super().__init__(str(self.problem))


class Problems:
    """Collects findings of a run. Good rows survive; the exit code says that some were bad.

    `warnings` are findings on rows that are good enough to use: they are reported, and change no exit code.
    """

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self._known: set[Problem] = set()
        self.warnings: list[Problem] = []

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def add(self, problem: Problem) -> None:
        """Keep one finding; the same finding again, as of a picture that several questions need, counts once."""
        self._keep(problem, self.found)

    def warn(self, problem: Problem) -> None:
        """Keep one warning, as `add`."""
        self._keep(problem, self.warnings)

    def extend(self, others: "Problems") -> None:
        """Keep the findings and warnings of others."""
        for problem in others.found:
            self.add(problem)
        for problem in others.warnings:
            self.warn(problem)

    def _keep(self, problem: Problem, findings: list[Problem]) -> None:
        if problem not in self._known:
            self._known.add(problem)
            findings.append(problem)

    @contextmanager
    def collect(self, check: str = "") -> Iterator[None]:
        """Keep the DataError that the block raises, if any, and go on behind the block.

        `check`: the kind of finding, where the problem does not name one.
        """
        try:
            yield
        except DataError as error:
            problem = error.problem
            self.add(problem if problem.check or not check else replace(problem, check=check))

    def report(self, limit: int = 20, stream: TextIO | None = None) -> None:
        """Print counts and problems, the warnings first, to `stream` (standard error).

        Of each kind (`Problem.check`) the first `limit` are printed, so that none hides the others.
        """
        stream = stream or sys.stderr
        for name, problems in (("warning(s)", self.warnings), ("problem(s)", self.found)):
            if problems:
                print(f"{len(problems)} {name}:", file=stream)
            for check in dict.fromkeys(problem.check for problem in problems):
                _print_some([problem for problem in problems if problem.check == check], limit, stream)

    def exit_code(self, skip_bad: bool = False, strict: bool = False) -> int:
        """0 when nothing is wrong, or when the user asked to skip what is; else 1. `strict`: warnings count too."""
        return 0 if skip_bad or not (self.found or (strict and self.warnings)) else 1


def _print_some(problems: Sequence[Problem], limit: int, stream: TextIO) -> None:
    for problem in problems[:limit]:
        print(f"  {problem}", file=stream)
    if len(problems) > limit:
        kind = f" of {problems[0].check}" if problems[0].check else ""
        print(f"  … and {len(problems) - limit} more{kind}", file=stream)
