"""Reading and writing the files that rooms hand on: JSONL in and out, atomic writes, paths kept inside a root."""

import hashlib
import json
import os
import struct
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from megc.problems import DataError


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` so that a reader, or a kill half-way, sees the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        os.chmod(temporary, 0o644)  # mkstemp makes private files; results are for everybody
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
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


def sha256_of(*parts: str | bytes) -> str:
    """First 16 hex digits of the SHA-256 of the parts, each preceded by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:16]


def read_picture(path: Path | str, file: Path | str, row: str | int | None, fix: str, name: str = "") -> Image.Image:
    """RGB picture that a data row names, decoded to its last line; alpha is dropped.

    Raises DataError, with `file`, `row`, `fix` and the picture's `name` (that of the file at `path` by default), for
    a picture that is missing, empty, truncated, damaged, foreign, without a pixel, so large that Pillow warns of a
    decompression bomb, or of more than eight bits, which would be cut off at white.
    """
    path = Path(path)
    name = name or path.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise ValueError(f"{opened.mode} rather than eight bits a value")
                picture = opened.convert("RGB")
        if not picture.width or not picture.height:
            raise ValueError(f"{picture.width} × {picture.height} pixels")
    except FileNotFoundError as error:
        raise DataError(file, row, f"picture {name} is gone", fix) from error
    except UnidentifiedImageError as error:
        what = "is empty" if not path.stat().st_size else "is no image"
        raise DataError(file, row, f"picture {name} {what}", fix) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(file, row, f"picture {name} is too large ({str(error).split(',')[0]})", fix) from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:  # all of which Pillow's readers raise
        raise DataError(file, row, f"picture {name} cannot be read ({error})", fix) from error
    return picture
