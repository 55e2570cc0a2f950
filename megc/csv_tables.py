"""Tables of results as CSV. One that was made by code that is not in git says so in its first line.

Apart from `files`, which most programs import: pandas is heavy, and the note needs git (`commits`).
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from megc.commits import DIRTY, commit
from megc.files import write_text

COMMENT = "# "


def dirty_note(commits: Iterable[str] = ()) -> str:
    """`# made by code that is not in git: …`, with the commits that were changed; empty where none was.

    The code that runs counts too, beside the `commits` that made what the table shows.
    """
    dirty = sorted({name for name in (commit(), *commits) if name.endswith(DIRTY)})
    return f"{COMMENT}made by code that is not in git: changed since {', '.join(dirty)}\n" if dirty else ""


def write_table(
    path: Path | str, rows: Sequence[Mapping], columns: Sequence[str] | None = None, commits: Iterable[str] = ()
) -> None:
    """Write rows as CSV, atomically, below `dirty_note` where there is one. NaN leaves a cell empty."""
    frame = pd.DataFrame(list(rows), columns=list(columns) if columns else None)
    text = frame.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_text(path, dirty_note(commits) + text)


def read_table(path: Path | str) -> pd.DataFrame:
    """The rows of a table that `write_table` wrote."""
    text = Path(path).read_text(encoding="utf-8")
    if text.startswith(COMMENT):
        text = text.split("\n", 1)[1]
    return pd.read_csv(io.StringIO(text))
