"""Runs damaged files through their readers and classes what comes of each (see `fuzz`)."""

import contextlib
import io
import json
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import contracts
from damages import Damaged
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from interval_tables import INTERVAL_TARGETS
from json_files import JSON_TARGETS
from layout_targets import LAYOUT_TARGETS
from media import MEDIA_TARGETS
from oracles import Case, Target
from spotting_targets import SPOTTING_TARGETS
from table_files import TABLE_TARGETS
from targets import TEXT_TARGETS
from tqdm import tqdm

from megc.problems import DataError, Problem, Problems

CLASSES = ("clear error", "accepted rightly", "silent loss", "traceback", "poor message", "refused in vain")
GOOD = CLASSES[:2]
LONGEST = 1200  # characters of a message
TARGETS = (
    *TEXT_TARGETS,
    *JSON_TARGETS,
    *TABLE_TARGETS,
    *MEDIA_TARGETS,
    *LAYOUT_TARGETS,
    *SPOTTING_TARGETS,
    *INTERVAL_TARGETS,
)


@dataclass
class Outcome:
    """What came of a case: a class of CLASSES, the damage, and words to find the fault by."""

    kind: str
    damage: str
    words: str = ""


@dataclass
class Report:
    """Counts by target and class, and the outcomes that must not be."""

    counts: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    bad: list[tuple[str, Outcome]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, target: str, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[target][outcome.kind] += 1
        if outcome.kind not in GOOD:
            self.bad.append((target, outcome))

    @property
    def total(self) -> Counter:
        """Cases by class."""
        return sum(self.counts.values(), Counter())

    def table(self) -> str:
        """Cases by target and class, and the sum."""
        width = max(map(len, self.counts))
        lines = [f"{'':{width}}  " + "  ".join(f"{name:>16}" for name in CLASSES)]
        for name, counts in (*self.counts.items(), ("all", self.total)):
            lines.append(f"{name:{width}}  " + "  ".join(f"{counts[kind]:>16}" for kind in CLASSES))
        return "\n".join(lines)


def run_case(target: Target, root: Path, draw: st.DataObject) -> Outcome:
    """Damage the target's file below `root`, read it, class the outcome, and put the whole file back."""
    path = root / target.file
    whole = path.read_bytes()
    damaged = target.damage(draw.draw, whole)
    problems, reading, raised = Problems(), None, None
    path.unlink()
    try:
        if damaged.content is not None:
            path.write_bytes(damaged.content)
        elif damaged.folder:
            path.mkdir()
        with _silence():
            reading = target.read(root, problems)
    except DataError as error:
        raised = error.problem
    except (ValueError, OSError) as error:  # which the frame of the commands prints in a line
        where = f"{type(error).__name__}: {error}"
        return Outcome("poor message", damaged.what, f"{where}\n{_last_call(error)}")
    except Exception as error:
        return Outcome("traceback", damaged.what, f"{type(error).__name__}: {error}\n{_last_call(error)}")
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(whole)
    return _judge(Case(target, damaged, reading, problems, whole), raised)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing is printed, and no warning counts."""
    streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with streams[0], streams[1], warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _last_call(error: BaseException) -> str:
    """The innermost line of the package that an exception passed."""
    calls = [call for call in traceback.extract_tb(error.__traceback__) if "/megc/" in call.filename]
    return f"{calls[-1].filename}:{calls[-1].lineno} {calls[-1].name}" if calls else ""


def _judge(case: Case, raised: Problem | None) -> Outcome:
    told = [*([raised] if raised else []), *case.problems, *case.problems.warnings]
    for problem in told:
        if fault := _poor(problem, case):
            return Outcome("poor message", case.damaged.what, f"{fault}: {problem}")
    if (raised or len(case.problems)) and (fault := _unplaced(told, case)):
        return Outcome("poor message", case.damaged.what, f"{fault}: {told[0]}")
    if raised:
        if case.damaged.content == case.whole:
            return Outcome("refused in vain", case.damaged.what, str(raised))
        return Outcome("clear error", case.damaged.what, str(raised))
    if fault := case.target.oracle(case):
        return Outcome("silent loss", case.damaged.what, fault)
    return Outcome("clear error" if len(case.problems) else "accepted rightly", case.damaged.what)


def _poor(problem: Problem, case: Case) -> str:
    if not problem.file or problem.file == ".":
        return "no file"
    if not problem.what.strip() or not problem.fix.strip():
        return "nothing said, or no remedy"
    return "as long as a page" if len(str(problem)) > LONGEST else ""


def _stands_in(row: str, line: str) -> bool:
    """Whether the name of a row stands in a line, as it is or with the escapes of JSON."""
    return row in line or json.dumps(row)[1:-1] in line


def _unescaped(line: str) -> str:
    """A line of JSON with its letters as they are, rather than as \\u65e5."""
    try:
        return json.dumps(json.loads(line), ensure_ascii=False)
    except (ValueError, RecursionError):
        return line


def _is_readable(case: Case) -> bool:
    """Whether the damaged bytes are still JSON or YAML of a sensible depth."""
    parse = contracts.parse_yaml if case.target.file.endswith(".yaml") else contracts.parse_json
    try:
        depth = str(parse(contracts.decode(case.damaged.content or b""))).replace("]", "[").count("[" * 90)
    except contracts.Unreadable:
        return False
    return not depth


def _unplaced(told: Sequence[Problem], case: Case) -> str:
    """Where a fault of one row is told without that row, or one of a field without that field."""
    texts = [str(problem) for problem in told]
    if case.target.rows and case.damaged.line is not None:
        lines = [content.decode(errors="replace").split("\n") for content in (case.damaged.content, case.whole)]
        line = " ".join(_unescaped(found[case.damaged.line - 1]) for found in lines)
        rows = [problem.row for problem in told]
        texts_of_rows = [row for row in rows if isinstance(row, str) and row]
        named = case.damaged.line in rows or any(_stands_in(row, line) for row in texts_of_rows)
        identities = [part for part in line.split('"') if len(part) > 12]
        if not named and not any(part in text for part in identities for text in texts):
            return "no row"
    if not case.target.fields or not _is_readable(case):  # no tree, no fields
        return ""
    if case.damaged.keys and not any(str(key) in text for key in case.damaged.keys for text in texts):
        return "no field"
    return ""


def run(cases: int, number: int, targets: Sequence[Target] = TARGETS, quiet: bool = False) -> Report:
    """Run so many cases over all targets by their weights, drawn from the seed `number`."""
    report, start = Report(), time.perf_counter()
    weight = sum(target.weight for target in targets)
    with tempfile.TemporaryDirectory() as folder, tqdm(total=cases, unit="case", disable=quiet or None) as bar:
        for place, target in enumerate(targets):
            done = report.total.total()
            left = sum(later.weight for later in targets[place:])
            share = max(1, round((cases - done) * target.weight / left)) if weight else 0
            bar.set_description(target.name[:28].ljust(28))
            _run_target(target, Path(folder) / f"{place}", share, number, report, bar)
    report.seconds = time.perf_counter() - start
    return report


def _run_target(target: Target, root: Path, cases: int, number: int, report: Report, bar: tqdm) -> None:
    root.mkdir()
    with _silence():
        target.build(root)
        target.baseline = target.read(root, Problems())
    content = (root / target.file).read_bytes()
    whole = Case(target, Damaged(content, "nothing"), target.baseline, Problems(), content)
    if fault := target.oracle(whole):
        raise AssertionError(f"{target.name}: the oracle finds fault with the whole file: {fault}")
    outcomes = 0
    while outcomes < cases:  # hypothesis stops early where it thinks that it has seen all
        before = outcomes

        @seed(number + outcomes)
        @settings(max_examples=cases - outcomes, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(st.data())
        def one(data: st.DataObject) -> None:
            nonlocal outcomes
            if outcomes < cases:
                report.add(target.name, run_case(target, root, data))
                outcomes += 1
                bar.update()

        one()
        if outcomes == before:
            raise AssertionError(f"{target.name}: no case could be drawn")
