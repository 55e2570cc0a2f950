"""What a run asks: the questions checked, hashed by content, and cut into portions."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from megc.files import sha256_of
from megc.model.data import Sample
from megc.problems import DataError, Problems
from megc.vqa.instructions import question_of

_WINDOW = 64  # clips among whose questions the plain way looks for some of one length


def one_prompt(questions: Path, records: Sequence[dict]) -> str:
    """Hash of the prompt that all records have. Raises DataError for several prompts, and for ids used twice."""
    prompts = sorted({record["prompt"] for record in records})
    if len(prompts) != 1:
        what = f"questions of {len(prompts)} prompts ({', '.join(prompts) or 'the file is empty'})"
        raise DataError(questions, None, what, "build all of them with the same build_instructions.py settings")
    doubles = {record["id"] for record in records}
    if len(doubles) != len(records):
        raise DataError(questions, None, "two rows have the same id", "keep one of them")
    return prompts[0]


def input_hashes(samples: Sequence[Sample], problems: Problems) -> dict[str, str]:
    """By row id: a hash of what is asked, messages without the answer and content of the pictures.

    Rows with a picture that cannot be read (any more) are left out and told to `problems`.
    """
    content: dict[Path, str] = {}
    found = {}
    for sample in samples:
        identity = sample.record["id"]
        with problems.collect():
            for picture in sample.pictures:
                if picture not in content:
                    content[picture] = _content_hash(picture, identity)
            messages = [message for message in sample.record["messages"] if message["role"] != "assistant"]
            pictures = [content[picture] for picture in sample.pictures]
            found[identity] = sha256_of(json.dumps(messages, sort_keys=True), *pictures)
    return found


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


def _content_hash(picture: Path, identity: str) -> str:
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    except OSError as error:
        fix = "make the picture again with data_process/, or drop the clip"
        raise DataError(picture, identity, f"the picture cannot be read ({error.strerror})", fix) from error
