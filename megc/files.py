"""Reading and writing the files that rooms hand on: JSONL, atomic writes, paths kept inside a root, locks."""

import errno
import hashlib
import io
import os
import platform
import re
import secrets
import shlex
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo, putchunk

from megc.parsing import parse_json, parse_yaml
from megc.problems import DataError, Problems
from megc.records import Contract, QuestionRow, check_record, check_row, json_text

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Value = TypeVar("Value")
PngEncoder = Literal["pillow", "opencv", "opencv-rle"]
_PNG_HEADER = 33  # bytes: the signature and the chunk IHDR; chunks of text may stand behind them
_LONGEST_NAME = 255  # bytes of a file's name, on nearly all file systems
_DEVICE = re.compile(r"(?i:con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # on Windows, whatever follows the dot


def remove_temporaries(folder: Path | str) -> None:
    """Delete what killed writes of `write_bytes` left in a folder. Nobody else may write there meanwhile."""
    for path in Path(folder).glob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) and path.is_file():
            path.unlink(missing_ok=True)


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
    """Write `value` as indented JSON, atomically. Raises DataError for NaN and infinity, which no reader takes."""
    write_text(path, json_text(path, None, value, indent=2))


def write_jsonl(path: Path | str, rows: Iterable[dict]) -> int:
    """Write one JSON object a line, atomically; returns the number of rows. Raises DataError as `write_json`."""
    lines = [json_text(path, number, row) for number, row in enumerate(rows, start=1)]
    write_text(path, "".join(lines))
    return len(lines)


def read_jsonl(path: Path | str, problems: Problems | None = None) -> Iterator[tuple[int, dict]]:
    """Yield (line number from 1, object) of each non-empty line.

    Raises DataError for a file that cannot be read and for a line that is not a JSON object (see `parsing`); with
    `problems`, such a line is reported there and passed over. The organisers' files end without a newline and may
    hold empty lines; both are accepted.
    """
    with _reading(path, "check the path, or run the step that writes it"):
        lines = Path(path).open(encoding="utf-8-sig", errors="surrogateescape")  # noqa: SIM115, closed below
    with lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = _parse_line(path, number, line)
            except DataError as error:
                if problems is None:
                    raise
                problems.add(error.problem)
                continue
            yield number, row


def _parse_line(path: Path | str, number: int, line: str) -> dict:
    """The object of one line. Raises DataError with the line's number."""
    _check_encoding(path, number, line)
    try:
        row = parse_json(line)
    except ValueError as error:
        joined = "}{" in line.replace(" ", "")  # as `cat` joins files without a final newline
        fix = "two rows stand in one line: break it between } and {" if joined else "repair or delete the line"
        raise DataError(path, number, str(error), fix) from error
    if not isinstance(row, dict):
        raise DataError(path, number, "not a JSON object", "write one object a line")
    return row


def read_rows(path: Path | str, fix: str, contract: type[Contract] = QuestionRow) -> list[tuple[int, dict]]:
    """All ME-VQA rows of a JSONL, with their line numbers, each of which keeps the `contract`.

    Raises DataError for what `read_jsonl` refuses, a field of another type, and, with the remedy `fix`, for no row.
    """
    rows = list(read_jsonl(path))
    for line, row in rows:
        check_row(path, line, row, contract)
    if not rows:
        raise DataError(path, None, "no row in the file", fix)
    return rows


def read_json(
    path: Path | str,
    kind: type[Value] = dict,
    *,
    missing: Value | None = None,
    fix: str = "repair the file, or run the step that writes it again",
) -> Value:
    """The value of a JSON file, of the given `kind`; `missing`, unless it is None, where there is no file.

    Raises DataError, with the remedy `fix`, for a file that is missing or cannot be read, is not JSON (see `parsing`)
    or of another kind.
    """
    if missing is not None and not os.path.lexists(path):
        return missing
    return _read_value(path, parse_json, kind, fix)


def read_checked(
    contract: type[Contract],
    path: Path | str,
    *,
    missing: dict | None = None,
    fix: str = "repair the file, or run the step that writes it again",
) -> dict:
    """`read_json` of a file that keeps a `contract`; its other keys stay. `missing` comes back as it is."""
    value = read_json(path, missing=missing, fix=fix)
    if value is not missing:
        check_record(contract, value, path, None, fix)
    return value


def read_yaml(path: Path | str, fix: str = "repair the file, or give another") -> dict:
    """The mapping of a YAML file; empty for an empty file. Raises DataError, with the remedy `fix`, as `read_json`."""
    return _read_value(path, lambda text: parse_yaml(text) or {}, dict, fix)


def _read_value(path: Path | str, parse: Callable[[str], object], kind: type[Value], fix: str) -> Value:
    """The parsed text of a file, of the given kind; DataError with the line, where it is known, for anything else."""
    with _reading(path, fix):
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(text.split("\n"), start=1):
        _check_encoding(path, number, line)
    try:
        value = parse(text)
    except ValueError as error:
        raise DataError(path, getattr(error, "line", None), str(error), fix) from error
    if not isinstance(value, kind):
        names = {dict: "an object with keys", list: "a list"}
        raise DataError(path, None, f"not {names.get(kind, kind.__name__)} but {type(value).__name__}", fix)
    return value


@contextmanager
def _reading(path: Path | str, fix: str) -> Iterator[None]:
    """Make a DataError of what the system says of a file that cannot be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(path, None, "the file does not exist", fix) from error
    except IsADirectoryError as error:
        raise DataError(path, None, "this is a folder, not a file", fix) from error
    except OSError as error:
        raise DataError(path, None, f"the file cannot be read ({error.strerror})", fix) from error


def _check_encoding(path: Path | str, number: int, line: str) -> None:
    """Refuse a line that was not UTF-8; a file in UTF-16 has zero bytes, or starts with the bytes FF and FE."""
    if "\0" in line or line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise DataError(path, number, "the text is UTF-16, not UTF-8", "save the file as UTF-8 (iconv -f UTF-16)")
    if strange := re.search("[\udc80-\udcff]", line):
        byte, column = ord(strange[0]) - 0xDC00, strange.start() + 1
        what = f"the text is not UTF-8 (byte {byte:02X} in column {column})"
        raise DataError(path, number, what, "save the file as UTF-8 (iconv -f LATIN1 -t UTF-8, if it is Latin-1)")


def resolve_inside(root: Path | str, relative: str) -> Path:
    """Path of `relative` below `root`, for every path or name that stands in a data file.

    It is judged by its text alone, so that symbolic links to data elsewhere work. Names are refused that some system
    could not store, or takes for something else: what is read here may be written there.
    Raises ValueError; the caller knows file and row, and makes a DataError of it.
    """
    fault = _path_fault(relative, root)
    if fault:
        raise ValueError(f"{str(relative)[:80]!r} {fault}")
    return Path(os.path.normpath(os.path.abspath(root) + "/" + relative))


def _path_fault(relative: object, root: Path | str) -> str:
    """What is wrong with a relative path, to be read behind it; empty where nothing is."""
    if not isinstance(relative, str):
        return "is no path, which is text"
    if relative.startswith("/") or re.match("[A-Za-z]:", relative):
        return f"leads out of {root}: it is absolute"
    if any(not letter.isprintable() for letter in relative) or "\\" in relative:
        return "holds a backslash or an invisible character, which no path here may have"
    for name in relative.removeprefix("./").split("/"):
        if name == "..":
            return f"leads out of {root}"
        if name.strip(" .") == "":
            return "has an empty name between its slashes"
        if len(name.encode()) > _LONGEST_NAME:
            return f"has a name of more than {_LONGEST_NAME} bytes"
        if name.startswith("~") or _DEVICE.fullmatch(name):
            return f"has the name {name!r}, which a system takes for a home folder or a device"
    return ""


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words of a command line without the keys and the credentials of addresses in it."""
    printable = []
    for before, word in zip(["", *words], words, strict=False):
        if before.startswith("--api") and "=" not in before:
            word = "***"
        word = re.sub(r"^(--api[\w-]*=).*", r"\1***", word, flags=re.DOTALL)
        printable.append(re.sub(r"(\w://)(?:[^/]*@)?([^?#]*).*", r"\1\2", word, flags=re.DOTALL))
    return printable


@contextmanager
def lock_folder(folder: Path | str, work: str) -> Iterator[None]:
    """Hold `folder`, which is made where missing, for one kind of `work` (a word such as `training`).

    The lock is on the hidden file `.<work>.lock` in the folder. It ends with the block, or with the process however
    that ends; other kinds of work in the folder go on. Where the file system cannot lock, nothing is locked. Ctrl-C
    between the making of the file and the lock on it leaves an empty file, which hinders nobody.
    Raises DataError when another process, or another block of this one, holds it; the message has its command.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{work}.lock"
    handle = _open_locked(folder, path)
    try:
        os.ftruncate(handle, 0)
        command = shlex.join(without_secrets(sys.argv))[:300]
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


def read_picture(path: Path | str, file: Path | str, row: str | int | None, fix: str, name: str = "") -> Image.Image:
    """RGB picture that a data row names, decoded to its last line; alpha is dropped.

    Raises DataError, with `file`, `row`, `fix` and the picture's `name` (that of the file at `path` by default), for
    what `open_picture` refuses, for a picture without a pixel, and for one of more than eight bits, which would be
    cut off at white.
    """
    with open_picture(path, file, row, fix, f"picture {name or Path(path).name}") as stored:
        if stored.mode.startswith(("I", "F")):
            raise ValueError(f"{stored.mode} rather than eight bits a value")
        picture = stored.convert("RGB")
        if not picture.width or not picture.height:
            raise ValueError(f"{picture.width} × {picture.height} pixels")
        return picture


@contextmanager
def open_picture(
    path: Path | str, file: Path | str, row: str | int | None, fix: str, subject: str
) -> Iterator[Image.Image]:
    """The image file at `path`, open for the block, which decodes it; `subject` is what messages call it.

    Raises DataError, with `file`, `row` and `fix`, for a file that is missing, empty, truncated, damaged, foreign, or
    so large that Pillow warns of a decompression bomb, and for a ValueError of the block.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # raised before a pixel is decoded
            with Image.open(path) as stored:
                if stored.format == "PNG":
                    _check_sums(path)
                yield stored
    except FileNotFoundError as error:
        raise DataError(file, row, f"{subject} is gone", fix) from error
    except UnidentifiedImageError as error:
        what = "is empty" if not path.stat().st_size else "is no image"
        raise DataError(file, row, f"{subject} {what}", fix) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(file, row, f"{subject} is too large ({str(error).split(',')[0]})", fix) from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:  # all of which Pillow's readers raise
        raise DataError(file, row, f"{subject} cannot be read ({error})", fix) from error


def _check_sums(path: Path) -> None:
    """Raise SyntaxError or OSError for a PNG with a wrong checksum: decoding alone takes other pixels as they are."""
    with Image.open(path) as stored:
        stored.verify()


def png_bytes(picture: np.ndarray, metadata: Mapping[str, str] | None = None, encoder: PngEncoder = "pillow") -> bytes:
    """PNG of a uint8 array, grey (H, W) or RGB (H, W, 3), with text metadata; the same bytes for the same input.

    `encoder`: `pillow` makes the smallest files; `opencv` takes a third of its time, for photographs; `opencv-rle`
    codes run lengths, which for drawn pictures with plain areas is smaller and faster again.
    """
    # Another encoder writes other bytes for the same pixels, and the hashes of data sets and the keys of cached grid
    # steps are of the bytes: each writer keeps the encoder it has.
    info = PngInfo()
    for name, text in (metadata or {}).items():
        info.add_itxt(name, text)
    out = io.BytesIO()
    if encoder == "pillow":
        Image.fromarray(np.ascontiguousarray(picture)).save(out, "png", pnginfo=info)
        return out.getvalue()
    for kind, data, *_ in info.chunks:  # OpenCV writes no text, so its chunks are put behind the header
        putchunk(out, kind, data)
    plain = _opencv_png(picture, plain_areas=encoder == "opencv-rle")
    return plain[:_PNG_HEADER] + out.getvalue() + plain[_PNG_HEADER:]


def _opencv_png(picture: np.ndarray, plain_areas: bool) -> bytes:
    import cv2  # here: most commands never write such a picture, and `--help` must be quick

    options = {
        cv2.IMWRITE_PNG_COMPRESSION: 4,
        cv2.IMWRITE_PNG_STRATEGY: cv2.IMWRITE_PNG_STRATEGY_RLE if plain_areas else cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
        cv2.IMWRITE_PNG_FILTER: cv2.IMWRITE_PNG_ALL_FILTERS,
    }
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", stored, [value for option in options.items() for value in option])[1].tobytes()


def figure_png(figure: "Figure") -> bytes:
    """PNG of a matplotlib figure in its own size, without the version of matplotlib in its metadata."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
