"""Predictions on disk that survive a kill: appended as they come, continued by a rerun, put in order at the end.

`predictions.jsonl` holds one row a question, `run.json` what made them. Each row carries the hash of the run's
settings (`run`) and of its input (`input`: messages and picture files), so that a rerun keeps a row only if both are
still the same. Where several processes answer, the main one has the `PredictionFile` and each other one a
`PredictionShard`, which the main one merges at the end, or, after a kill, when it opens its file again.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from megc.commits import commit, commits_of
from megc.files import read_checked, sha256_of, write_json, write_jsonl
from megc.parsing import parse_json
from megc.problems import DataError
from megc.records import RunRecord
from megc.vqa.instructions import row_id, row_key

PREDICTIONS = "predictions.jsonl"
RUN = "run.json"
_MOVE = "move it away, or choose another --out"

Question = tuple[dict, str | None]  # an ME-VQA row, and the hash of its input (None: a picture cannot be read)
Key = tuple[tuple[str, ...], str | None]  # of a row (see `row_key`), and the hash of its input


def run_hash(settings: dict) -> str:
    """Sixteen hex digits of the settings that decide what is answered."""
    return sha256_of(json.dumps(settings, sort_keys=True))


class PredictionFile:
    """The predictions of one run in `folder` to `questions`; use it in a `with` statement.

    Opening it keeps the rows of an earlier run with the same `settings`. Its rows on other questions (of other
    files, of other pictures) go to `predictions.<hash>.not-asked.jsonl`, and come back with their questions.
    Predictions of other settings are set aside as `predictions.<hash>.jsonl` and `run.<hash>.json`, and come back
    with their settings. A last line that a kill left unfinished is dropped. `about` goes to `run.json` beside the
    settings without being compared, as do `commits`, those of the code that made the answers. `overwrite` drops the
    earlier answers to the questions.
    Raises DataError for a file that this class did not write.
    """

    def __init__(
        self,
        folder: Path | str,
        settings: dict,
        questions: Sequence[Question],
        about: dict | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / PREDICTIONS
        self.hash = run_hash(settings)
        self.others_path = self.folder / f"predictions.{self.hash}.not-asked.jsonl"
        self._run_info = {"hash": self.hash, "settings": settings, **(about or {})}
        self._questions = list(questions)
        # 1. another run's files make room for this one's
        self.folder.mkdir(parents=True, exist_ok=True)
        self.set_aside = self._set_others_aside()
        # 2. rows of this run that are there already
        self._answers, self.others = self._divide_earlier_answers(overwrite)
        # 3. what made the answers: earlier code, and this code if anything is left for it to answer
        self._commits = (
            commits_of(read_checked(RunRecord, self.folder / RUN, missing={}, fix=_MOVE))
            if self._answers or self.others
            else set()
        )
        if any(content and not self.has(row, content) for row, content in self._questions):
            self._commits |= {commit()} - {""}
        self._write_run()
        self._file = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._write_run()

    def __len__(self) -> int:
        return len(self._answers)

    def has(self, row: dict, input_hash: str | None) -> bool:
        """Whether the row is answered, from this very input."""
        return (row_key(row), input_hash) in self._answers

    @property
    def answered_rows(self) -> Iterable[dict]:
        """The rows that are answered."""
        return self._answers.values()

    def append(self, rows: Iterable[dict]) -> None:
        """Add answered rows (each with `input`), on disk when this returns."""
        rows = [{**row, "run": self.hash} for row in rows]
        self._answers |= _by_key(
            rows
        )  # before: Ctrl-C while they are written must not make `write_in_order` drop them
        _append(self._file, rows)

    def write_in_order(self) -> int:
        """Rewrite the file atomically as one row a question, in their order; returns the number of answered rows.

        A row that could not be answered gets an empty answer, and a rerun tries it again.
        """
        self._merge_shards()
        empty = {"answer": "", "votes": [], "agreement": None, "margin": None, "choices": None}
        empty |= {"input": None, "run": self.hash}
        ordered = [
            self._answers.get((row_key(row), input_hash), {**row, **empty}) for row, input_hash in self._questions
        ]
        self._file.close()
        write_jsonl(self.path, ordered)
        self._answers = _by_key(ordered)
        self._run_info["rows"] = len(ordered)
        self._write_run()
        self._file = self._open()
        return len(self._answers)

    def _merge_shards(self) -> None:
        """Take the answers of the other processes, so far as they are on disk."""
        self._answers |= _by_key(row for path in self._shards() for row in _read(path, repair=False))

    def remove_shards(self) -> None:
        """Delete the files of the other processes, all of which have ended, when `write_in_order` has merged them."""
        for path in self._shards():
            path.unlink()

    def _open(self) -> BinaryIO:
        return self.path.open("ab", buffering=0)  # a buffer would be written again when a full disk closes the file

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob(_shard(self.hash, "*")))

    def _divide_earlier_answers(self, overwrite: bool) -> tuple[dict[Key, dict], int]:
        """Answers of an earlier run to the questions, now the file's only rows, and how many others it gave."""
        files = [path for path in (self.others_path, self.path) if path.exists()]
        shards = self._shards()
        earlier = _by_key(row for path in files for row in self._read_checked(path))
        earlier |= _by_key(row for path in shards for row in _read(path, repair=False))
        keys = {(row_key(row), input_hash) for row, input_hash in self._questions}
        others = [row for key, row in earlier.items() if key not in keys]
        answers = {} if overwrite else {key: row for key, row in earlier.items() if key in keys}
        if others:  # written before they leave the other files
            write_jsonl(self.others_path, others)
        if earlier:
            write_jsonl(self.path, answers.values())
        for path in [*shards, *([] if others else [self.others_path])]:
            path.unlink(missing_ok=True)
        return answers, len(others)

    def _read_checked(self, path: Path) -> list[dict]:
        """Rows of a file of this run."""
        rows = _read(path, repair=True)
        for row in rows:
            if _run_of(path, row) != self.hash:
                raise DataError(path, row_id(row), "the file mixes runs", _MOVE)
        return rows

    def _write_run(self) -> None:
        counts = Counter(row["way"] for row in self._answers.values() if "way" in row)  # of a server's answers
        answered = {"answered": len(self._answers), **({"ways": dict(counts)} if counts else {})}
        answered["commits"] = sorted(self._commits)
        write_json(self.folder / RUN, {**self._run_info, **answered})

    def _set_others_aside(self) -> str | None:
        """Make room for this run; returns the hash of the run that was in the way, if there was one."""
        earlier = self._hash_on_disk()
        if earlier == self.hash:
            return None
        if earlier is not None:
            self._move(PREDICTIONS, _aside(PREDICTIONS, earlier))
            self._move(RUN, _aside(RUN, earlier))
        self._move(_aside(PREDICTIONS, self.hash), PREDICTIONS)
        self._move(_aside(RUN, self.hash), RUN)
        return earlier

    def _move(self, old: str, new: str) -> None:
        if (self.folder / old).exists():
            os.replace(self.folder / old, self.folder / new)

    def _hash_on_disk(self) -> str | None:
        """Hash of the run in the folder: of its rows, else (no row yet) of `run.json`; None for neither."""
        if self.path.exists():
            for row in _read(self.path, repair=False):
                return _run_name(self.path, _run_of(self.path, row))
        run_file = self.folder / RUN
        if not run_file.exists():
            return None
        return _run_name(run_file, read_checked(RunRecord, run_file, fix=_MOVE).get("hash"))


class PredictionShard:
    """Predictions of one process among several; `PredictionFile` merges those of its folder and settings."""

    def __init__(self, folder: Path | str, settings: dict, rank: int) -> None:
        self.hash = run_hash(settings)
        self.path = Path(folder) / _shard(self.hash, rank)
        self._file = self.path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: Iterable[dict]) -> None:
        """Add answered rows (each with `input`), on disk when this returns."""
        _append(self._file, [{**row, "run": self.hash} for row in rows])


def _run_name(file: Path, name: object) -> str:
    """`name` where it is a run's hash, as it stands in the names of files that are set aside."""
    if not isinstance(name, str) or not re.fullmatch("[0-9a-f]{16}", name):
        raise DataError(file, None, "not written by generate_answers.py: it has no hash of a run", _MOVE)
    return name


def _by_key(rows: Iterable[dict]) -> dict[Key, dict]:
    """Answered rows by what they answer; of two answers to the same, the later one."""
    return {(row_key(row), row["input"]): row for row in rows if row["input"] is not None}


def _append(file: BinaryIO, rows: Collection[dict]) -> None:
    """Write all of the rows or none: half a clip would be answered in another batch, and rounded otherwise."""
    size = os.fstat(file.fileno()).st_size
    left = memoryview("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    try:
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except BaseException as error:
        os.ftruncate(file.fileno(), size)
        if isinstance(error, OSError):
            error.filename = file.name  # write() names no file
        raise


def _shard(run: str, rank: int | str) -> str:
    return f"predictions.{run}.rank{rank}.jsonl"


def _aside(name: str, run: str) -> str:
    stem, suffix = name.split(".")
    return f"{stem}.{run}.{suffix}"


def _run_of(path: Path, row: dict) -> str:
    if not (isinstance(row, dict) and {"run", "input"} <= row.keys() and {"id", "video_id"} & row.keys()):
        raise DataError(path, None, "predictions that generate_answers.py did not write", _MOVE)
    return row["run"]


def _read(path: Path, repair: bool) -> list[dict]:
    """Rows of the file without an unfinished last line, which `repair` also cuts off on disk."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, None, f"the file cannot be read ({error.strerror})", _MOVE) from error
    end = data.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(data[:end].splitlines(), start=1):
        try:
            rows.append(parse_json(line.decode()))
        except ValueError as error:
            raise DataError(
                path, number, f"not JSON ({error})", "delete the line; a rerun answers it again"
            ) from error
    if repair and end < len(data):
        os.truncate(path, end)
    return rows
