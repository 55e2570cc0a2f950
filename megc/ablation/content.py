"""What a file or a folder holds, as a hash: the same content has the same hash wherever it lies."""

from pathlib import Path

from megc.files import read_jsonl, resolve_inside, sha256_of
from megc.model.weights import content_hash as checkpoint_hash
from megc.model.weights import file_hash, is_checkpoint
from megc.problems import DataError

REPOSITORY = Path(__file__).parents[2]


def _pictures(path: Path) -> list[str]:
    """Pictures that an instruction JSONL names, in order of name; none for other files."""
    names: set[str] = set()
    for _, row in read_jsonl(path):
        names.update(row.get("images") or ())
    return sorted(names)


def content_hash(path: Path) -> str:
    """Sixteen hex digits of what is at `path`: a file's bytes and, of an instruction JSONL, the pictures it names; a
    checkpoint's weights, configuration and tokenizer, without its records of when and where; all files of any other
    folder. Raises DataError when there is nothing."""
    if path.is_file():
        names = _pictures(path) if path.suffix == ".jsonl" else []
        try:
            pictures = [part for name in names for part in (name, file_hash(resolve_inside(path.parent, name)))]
        except ValueError as error:
            raise DataError(path, None, f"picture {error}", "build the file again") from error
        return sha256_of(file_hash(path), *pictures)
    if not path.is_dir():
        raise DataError(path, None, "the grid needs it and it does not exist", "make it first, or correct the path")
    if is_checkpoint(path):
        return checkpoint_hash(path)
    files = [file for file in path.glob("**/*") if file.is_file()]
    named = sorted((file.relative_to(path).as_posix(), file) for file in files if not file.name.startswith("."))
    return sha256_of(*(part for name, file in named for part in (name, file_hash(file))))
