"""Reading and writing the files that rooms hand on: JSONL, atomic writes, paths kept inside a root, locks."""

import errno
import hashlib
import json
import os
import platform
import secrets
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from megc.problems import DataError

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` so that a reader, or a kill half-way, sees the old file or the new one, never a part.

    The user's umask decides who may read the file. An OSError, as of a full disk, names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:48]}.{secrets.token_hex(4)}")  # names end at 255 bytes
    try:
        with temporary.open("xb") as out:  # not tempfile, whose files are private whatever the umask
            out.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # write() and close() name no file
        raise


def write_text(path: Path | str, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path | str, rows: Iterable[dict]) -> int:
    """Write one JSON object a line, atomically; returns the number of rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_text(path, "".join(lines))
    return len(lines)


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict]]:
    """Yield (line number from 1, object) of each non-empty line.

    Raises DataError for a missing file and for a line that is not a JSON object. The organisers' files end
    without a newline and may hold empty lines; both are accepted.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, None, "the file does not exist", "check the path, or run the step that writes it")
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(path, number, f"not JSON ({error.msg})", "repair or delete the line") from error
            if not isinstance(row, dict):
                raise DataError(path, number, "not a JSON object", "write one object a line")
            yield number, row


def resolve_inside(root: Path | str, relative: str) -> Path:
    """Path of `relative` below `root`, judged by its text, so that symbolic links to data elsewhere work.

    Raises ValueError for absolute paths and for paths that climb out of `root`.
    """
    root = Path(os.path.abspath(root))
    path = Path(os.path.normpath(root / relative))
    if os.path.isabs(relative) or not path.is_relative_to(root):
        raise ValueError(f"{relative!r} leads out of {root}")
    return path


@contextmanager
def lock_folder(folder: Path | str, work: str) -> Iterator[None]:
    """Hold `folder`, which is made where missing, for one kind of `work` (a word such as `training`).

    The lock is on the hidden file `.<work>.lock` in the folder. It ends with the block, or with the process however
    that ends; other kinds of work in the folder go on. Where the file system cannot lock, nothing is locked.
    Raises DataError when another process, or another block of this one, holds it; the message has its command.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{work}.lock"
    handle = _open_locked(folder, path)
    try:
        os.ftruncate(handle, 0)
        command = shlex.join(sys.argv)[:300]
        os.write(handle, f"{command} (process {os.getpid()} on {platform.node()}, {time.ctime()})\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while the lock is held: who waits for this file looks again
        os.close(handle)


def _open_locked(folder: Path, path: Path) -> int:
    """Descriptor of the lock file, locked. The holder before may have deleted the file that was opened: try again."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # some network file systems
                return handle
            holder = os.read(handle, 1000).decode(errors="replace").strip()
            os.close(handle)
            what = f"another run is at work there: {holder}" if holder else "another run is at work there"
            raise DataError(folder, None, what, "wait for it or give another folder") from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


def is_full_disk(error: BaseException) -> bool:
    """Whether `error` says that a disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def sha256_of(*parts: str | bytes) -> str:
    """First 16 hex digits of the SHA-256 of the parts, each preceded by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:16]
