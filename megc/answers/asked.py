"""What a run asks: the questions checked, hashed by content, and cut into portions."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from megc.files import sha256_of
from megc.model.samples import Sample
from megc.problems import DataError, Problems
from megc.vqa.instructions import question_of, read_records, row_key

_WINDOW = 64  # clips among whose questions the plain way looks for some of one length


def read_questions(files: Sequence[Path]) -> list[dict]:
    """Instruction records of one or several files, in order.

    Raises DataError for a file without a question, for questions of several prompts and for a question that stands
    twice (ids alone may clash: see `row_key`).
    """
    records: dict[tuple[str, ...], dict] = {}
    for file in files:
        for record in read_records(file):
            if row_key(record["row"]) in records:
                raise DataError(file, record["id"], "the same question stands twice", "give it once")
            records[row_key(record["row"])] = record
    prompts = sorted({record["prompt"] for record in records.values()})
    if len(prompts) != 1:
        what = f"questions of {len(prompts)} prompts ({', '.join(prompts)})"
        fix = "build all of them with the same build_instructions.py settings"
        raise DataError(", ".join(map(str, files)), None, what, fix)
    return list(records.values())


def input_hashes(samples: Sequence[Sample], problems: Problems) -> dict[tuple[str, ...], str]:
    """By row (`row_key`): a hash of what is asked, messages without the answer and content of the pictures.

    Rows with a picture that cannot be read (any more) are left out and told to `problems`.
    """
    content: dict[Path, str] = {}
    hashes = {}
    for sample in samples:
        with problems.collect():
            for picture in sample.pictures:
                if picture not in content:
                    content[picture] = _content_hash(picture, sample.clip)
            messages = [message for message in sample.record["messages"] if message["role"] != "assistant"]
            pictures = [content[picture] for picture in sample.pictures]
            hashes[row_key(sample.record["row"])] = sha256_of(json.dumps(messages, sort_keys=True), *pictures)
    return hashes


def by_clip(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples in groups that have the same pictures, in order of first appearance."""
    groups: dict[tuple[Path, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.pictures, []).append(sample)
    return list(groups.values())


def clip_portions(groups: Sequence[list[Sample]], size: int) -> Iterator[list[Sample]]:
    """Whole clips of up to `size` questions together; a clip with more of them is a portion by itself."""
    portion: list[Sample] = []
    for group in groups:
        if portion and len(portion) + len(group) > size:
            yield portion
            portion = []
        portion = [*portion, *group]
    if portion:
        yield portion


def plain_portions(groups: Sequence[list[Sample]], size: int, sort: bool) -> Iterator[list[Sample]]:
    """`size` questions at a time; with `sort`, long ones after short ones: batches pad little and end together.

    Only clips that are near each other are mixed, so that their encoded pictures can be kept meanwhile.
    """
    for start in range(0, len(groups), _WINDOW):
        window = [sample for group in groups[start : start + _WINDOW] for sample in group]
        if sort:
            window.sort(key=lambda sample: (len(question_of(sample.record)), _tokens(sample)))
        for place in range(0, len(window), size):
            yield window[place : place + size]


def _tokens(sample: Sample) -> int:
    """About how long the prompt is: pixels, and characters of its texts."""
    text = sum(len(message["content"]) for message in sample.record["messages"][:2])
    return text + sum(height * width for height, width in sample.sizes) // 28**2


def _content_hash(picture: Path, clip: str) -> str:
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    except OSError as error:
        fix = "make the picture again with data_process/, or drop the clip"
        raise DataError(picture, clip, f"the picture cannot be read ({error.strerror})", fix) from error
