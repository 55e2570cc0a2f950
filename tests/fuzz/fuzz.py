"""Damage every kind of file that the package reads, and class what it says.

    python tests/fuzz/fuzz.py --cases 10000 --seed 0

A case takes a whole file, damages it (see `damages`), and calls the function that reads it, in this process. Classes:

    clear error          DataError or Problems with the file, the row or field where the damage is in one, and a remedy
    accepted rightly     no word is said, and nothing is lost: see below
    silent loss          no word is said, and a row or value is lost, altered or of a type that the contract forbids
    traceback            any other exception
    poor message         an error without file, row, field or remedy, or as long as a page
    refused in vain      an error, though the damage leaves the file's meaning and contract as they were

What is a loss is judged without the package: `contracts` parses the damaged bytes a second time, holds them against
shapes that are written down there by hand, and what the package hands on must equal that, value by value and type by
type. Readers that collect problems must hand on each row as it stands in the file or name it in a problem; rows that
nobody touched are among these. A change that makes another valid file (`negative` to `positive`, a row deleted) is
read as it stands, and is no loss: no reader could know. Where the content is not text (pictures, videos, weights), an
independent decoder, or the whole file, is the yardstick (see `media`).
"""

import sys
from collections import Counter
from pathlib import Path

import tyro

ROOT = Path(__file__).parents[2]


def main(cases: int = 10_000, seed: int = 0, only: tuple[str, ...] = (), show: int = 20) -> None:
    """Run the fuzz and print the table; the exit code is 1 where anything is lost, crashes or is badly said.

    Args:
        cases: damaged files in all.
        seed: of the damages; the same seed damages alike.
        only: targets by a part of their names; without it, all.
        show: so many of the bad outcomes are printed.
    """
    sys.path[:0] = [str(folder) for folder in (ROOT, ROOT / "tests/helpers")]
    from runner import TARGETS, run  # needs the path

    chosen = [target for target in TARGETS if not only or any(name in target.name for name in only)]
    report = run(cases, seed, chosen)
    print(report.table())
    print(f"{report.total.total()} cases in {report.seconds:.0f} s")
    seen = Counter()
    for name, outcome in report.bad:
        key = (name, outcome.kind, outcome.words[-60:])
        seen[key] += 1
        if seen[key] == 1 and len(seen) <= show:
            print(f"\n{name}: {outcome.kind}; {outcome.damage}\n  {outcome.words[:700]}")
    sys.exit(1 if report.bad else 0)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
