"""Predictions on disk that survive a kill: appended as they come, continued by a rerun, put in order at the end.

`predictions.jsonl` holds one row a question, `run.json` what made them. Each row carries the hash of the run's
settings (`run`) and of what was asked (`input`: messages and picture files), so that a row is taken up again only
if both are still the same. Where several processes answer, the main one has the `Store` and each other one a
`Shard`, a file of its own that the store takes up at the end, or, after a kill, when it is opened again.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from megc.files import sha256_of, write_json, write_jsonl
from megc.problems import DataError
from megc.vqa.instructions import row_id

PREDICTIONS = "predictions.jsonl"
RUN = "run.json"


def run_hash(settings: dict) -> str:
    """Sixteen hex digits of the settings that decide what is answered."""
    return sha256_of(json.dumps(settings, sort_keys=True))


class Store:
    """The predictions of one run in `folder`; use it in a `with` statement.

    Opening it takes up the rows of an earlier run with the same `settings`. Predictions of other settings are set
    aside as `predictions.<hash>.jsonl` and `run.<hash>.json`, and come back when their settings do. A last line
    that a kill left unfinished is dropped. `about` goes to `run.json` beside the settings without being compared.
    `overwrite` drops the rows of an earlier run with the same settings.
    Raises DataError for a file that this class did not write.
    """

    def __init__(self, folder: Path | str, settings: dict, about: dict | None = None, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.path = self.folder / PREDICTIONS
        self.hash = run_hash(settings)
        self._record = {"hash": self.hash, "settings": settings, **(about or {})}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.set_aside = self._set_others_aside()
        if overwrite:
            for path in (self.path, *self._shards()):
                path.unlink(missing_ok=True)
        self._kept = self._load()
        if shards := self._shards():
            self._take_up(shards)
            write_jsonl(self.path, self._kept.values())
            for path in shards:  # not before their rows are safe
                path.unlink()
        self._write_run()
        self._file = self.path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._write_run()

    def __len__(self) -> int:
        return len(self._kept)

    def has(self, identity: str, input_hash: str) -> bool:
        """Whether the row is answered, and was asked with this very input."""
        row = self._kept.get(identity)
        return row is not None and row["input"] == input_hash

    def append(self, rows: Iterable[dict]) -> None:
        """Add answered rows (each with `input`), on disk when this returns."""
        rows = [{**row, "run": self.hash} for row in rows]
        _append(self._file, rows)
        self._kept.update((row_id(row), row) for row in rows)

    def finish(self, asked: Sequence[dict]) -> int:
        """Rewrite the file atomically as the rows `asked` (ME-VQA rows), in their order and count.

        A row that could not be answered gets an empty answer, and is asked again by a rerun. Rows that are not
        asked (any more) are dropped. Returns the number of answered rows.
        """
        self._take_up(self._shards())
        empty = {"answer": "", "votes": [], "agreement": None, "margin": None, "choices": None}
        empty |= {"input": None, "run": self.hash}
        ordered = [self._kept.get(row_id(row), {**row, **empty}) for row in asked]
        self._file.close()
        write_jsonl(self.path, ordered)
        self._kept = {row_id(row): row for row in ordered if row["input"] is not None}
        self._record["rows"] = len(ordered)
        self._write_run()
        self._file = self.path.open("ab")
        return len(self._kept)

    def remove_shards(self) -> None:
        """Delete the files of the other processes, all of which have ended, when `finish` has taken them up."""
        for path in self._shards():
            path.unlink()

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob(_shard(self.hash, "*")))

    def _take_up(self, shards: Iterable[Path]) -> None:
        for path in shards:
            self._kept.update((row_id(row), row) for row in _read(path, repair=False))

    def drop(self, identity: str) -> None:
        """Forget the answer of a row that is asked with another input now."""
        self._kept.pop(identity, None)

    def _write_run(self) -> None:
        write_json(self.folder / RUN, {**self._record, "answered": len(self._kept)})

    def _set_others_aside(self) -> str | None:
        """Make room for this run; returns the hash of the run that was in the way, if there was one."""
        found = self._hash_on_disk()
        if found == self.hash:
            return None
        if found is not None:
            self._move(PREDICTIONS, _aside(PREDICTIONS, found))
            self._move(RUN, _aside(RUN, found))
        self._move(_aside(PREDICTIONS, self.hash), PREDICTIONS)
        (self.folder / _aside(RUN, self.hash)).unlink(missing_ok=True)
        return found

    def _move(self, old: str, new: str) -> None:
        if (self.folder / old).exists():
            os.replace(self.folder / old, self.folder / new)

    def _hash_on_disk(self) -> str | None:
        """Hash of the run in the folder: of its rows, else (no row yet) of `run.json`; None for neither."""
        if self.path.exists():
            for row in _read(self.path, repair=False):
                return _run_of(self.path, row)
        run_file = self.folder / RUN
        if not run_file.exists():
            return None
        try:
            return json.loads(run_file.read_text(encoding="utf-8"))["hash"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            fix = "move it away, or choose another --out"
            raise DataError(run_file, None, "not written by generate_answers.py", fix) from error

    def _load(self) -> dict[str, dict]:
        kept = {}
        if self.path.exists():
            for row in _read(self.path, repair=True):
                if _run_of(self.path, row) != self.hash:
                    fix = "move the file away, or choose another --out"
                    raise DataError(self.path, row_id(row), "the file mixes runs", fix)
                if row["input"] is not None:
                    kept[row_id(row)] = row
        return kept


class Shard:
    """Predictions of one process among several, for the store in `folder` with the same `settings` to take up."""

    def __init__(self, folder: Path | str, settings: dict, rank: int) -> None:
        self.hash = run_hash(settings)
        self.path = Path(folder) / _shard(self.hash, rank)
        self._file = self.path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: Iterable[dict]) -> None:
        """Add answered rows (each with `input`), on disk when this returns."""
        _append(self._file, [{**row, "run": self.hash} for row in rows])


def _append(file: BinaryIO, rows: Sequence[dict]) -> None:
    file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    file.flush()
    os.fsync(file.fileno())


def _shard(run: str, rank: int | str) -> str:
    return f"predictions.{run}.rank{rank}.jsonl"


def _aside(name: str, run: str) -> str:
    stem, suffix = name.split(".")
    return f"{stem}.{run}.{suffix}"


def _run_of(path: Path, row: dict) -> str:
    known = isinstance(row, dict) and {"run", "input"} <= row.keys() and {"id", "video_id"} & row.keys()
    if not known:
        fix = "move the file away, or choose another --out"
        raise DataError(path, None, "predictions that generate_answers.py did not write", fix)
    return row["run"]


def _read(path: Path, repair: bool) -> list[dict]:
    """Rows of the file without an unfinished last line, which `repair` also cuts off on disk."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(data[:end].splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                path, number, f"not JSON ({error})", "delete the line; a rerun answers it again"
            ) from error
    if repair and end < len(data):
        os.truncate(path, end)
    return rows
