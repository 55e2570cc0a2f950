"""Instruction records → chat messages, checked pictures, pixels; what is wrong is found before step 1."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from megc.files import read_json, read_picture, resolve_inside
from megc.model.distributed import is_main
from megc.model.visuals import group_frames, patch_inputs
from megc.problems import DataError, Problems
from megc.records import check_record
from megc.vqa.instructions import answer_of, list_visuals, read_record_picture, read_records
from megc.vqa.prompts import IMAGE_TAG, VIDEO_TAG


@dataclass(frozen=True)
class Sample:
    """One question: its record, and its pictures and frames as paths that can be read, in the order of the tags."""

    record: dict
    pictures: tuple[Path, ...]  # of a video all frames
    sizes: tuple[tuple[int, int], ...]  # (height, width) of each picture on disk
    lengths: tuple[int, ...] = ()  # of each tag: 0 for a picture, for a video the number of its frames

    @property
    def clip(self) -> str:
        """Clip id."""
        return self.record["clip"]


def read_samples(path: Path | str, *, answered: bool = True) -> list[Sample]:
    """Samples of an instruction JSONL, in its order. Every picture is decoded once, to know that it can be.

    Prints what is wrong and raises the first of it as DataError, naming file and row: `<image>` tags that do not match
    the pictures, a picture that is gone or cannot be taken (named once, with its clip), and (when `answered`) a
    missing answer.
    """
    problems = Problems()
    samples = make_samples(path, read_records(path), problems, answered=answered)
    raise_first(problems)
    return check_any(path, samples)


def make_samples(
    path: Path | str, records: Sequence[dict], problems: Problems, *, answered: bool = True
) -> list[Sample]:
    """Samples of the `records` that were read from the instruction JSONL `path`; see `read_samples`. Bad rows go to
    `problems` and are left out."""
    root = Path(path).parent
    sizes = _picture_sizes(path, records, problems)
    samples = []
    for record in records:
        # A record with a bad picture is left out without a problem of its own: the picture is named already, once.
        with problems.collect():
            if answered and not answer_of(record).strip():
                fix = "add the assistant message, or delete the row"
                raise DataError(path, record["id"], "no answer to train on", fix)
            visuals = list_visuals(record)
            images = [image for visual in visuals for image in visual.files]
            if all(image in sizes for image in images):
                lengths = tuple(len(visual.files) if visual.is_video else 0 for visual in visuals)
                of_frames = group_frames([sizes[image] for image in images], lengths)
                if any(isinstance(group, list) and len(set(group)) > 1 for group in of_frames):
                    what, fix = "frames of a video have several sizes", "run data_process/extract_frames.py again"
                    raise DataError(path, record["clip"], what, fix)
                pictures = tuple(resolve_inside(root, image) for image in images)
                samples.append(Sample(record, pictures, tuple(sizes[image] for image in images), lengths))
    return samples


def check_any(path: Path | str, samples: list[Sample]) -> list[Sample]:
    """The samples of a file. Raises DataError where there is none."""
    if not samples:
        raise DataError(path, None, "no usable row in the file", "write it with train/set_train_dataset.py")
    return samples


def _picture_sizes(path: Path | str, records: Sequence[dict], problems: Problems) -> dict[str, tuple[int, int]]:
    """(height, width) of each picture of the records that can be decoded; the others are in `problems`."""
    first: dict[str, dict] = {}
    for record in records:
        for visual in list_visuals(record):
            for image in visual.files:
                first.setdefault(image, record)
    sizes = {}
    hidden = None if is_main() else True  # None: shown on a terminal only
    for image, record in tqdm(first.items(), "Pictures", unit="picture", delay=3, disable=hidden, leave=False):
        with problems.collect():
            picture = read_record_picture(path, record, image)
            sizes[image] = (picture.height, picture.width)
    return sizes


def raise_first(problems: Problems) -> None:
    """Print all problems and raise the first as DataError; nothing happens when there are none."""
    if len(problems):
        problems.report()
        first = next(iter(problems))
        raise DataError(first.file, first.row, first.what, first.fix)


def chat_messages(record: dict, *, with_answer: bool = True) -> list[dict]:
    """Messages for `processor.apply_chat_template`: each `<image>` tag of the user text becomes a picture entry, each
    `<video>` tag one of a video."""
    messages = []
    for message in record["messages"]:
        if message["role"] == "assistant" and not with_answer:
            continue
        content = []
        for part in re.split(f"({IMAGE_TAG}|{VIDEO_TAG})", message["content"]):
            if part in (IMAGE_TAG, VIDEO_TAG):
                content.append({"type": part.strip("<>")})
            elif part:
                content.append({"type": "text", "text": part})
        messages.append({"role": message["role"], "content": content})
    return messages


def training_texts(records: Iterable[dict]) -> list[str]:
    """The different texts of the records, sorted: what the tiny checkpoint's vocabulary is trained on."""
    return sorted({message["content"] for record in records for message in record["messages"]})


def vocabulary_beside(train_file: Path | str) -> list[str]:
    """More texts for the vocabulary, of `vocabulary.json` beside the training file; none where there is no such file.

    What is trained on next may have words that a pretraining file does not have.
    """
    file = Path(train_file).parent / "vocabulary.json"
    fix = "write it with data_process/make_flow_set.py, or delete it"
    texts = read_json(file, list, missing=[], fix=fix)
    check_record(list[str], texts, file, None, fix)
    return texts


@dataclass
class PictureStore:
    """Pictures as the vision tower takes them: resized by Pillow to the pixel budget, normalised, cut into patches.

    With `cache`, each resized picture stays in memory (one byte a value), so that an epoch reads no file; without,
    as in answering, where each clip is looked at once, none does.
    """

    processor: ProcessorMixin
    cache: bool = True
    _resized: dict[Path, np.ndarray] = field(default_factory=dict)

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """Patches in time, height and width of a picture of that size; `h·w / merge²` of them are tokens."""
        settings = self.processor.image_processor
        # Sides become multiples of 28 pixels, a token's side: 2 × 2 patches of 14 × 14.
        factor = settings.patch_size * settings.merge_size
        low, high = settings.size["shortest_edge"], settings.size["longest_edge"]  # both are numbers of pixels
        resized = smart_resize(height, width, factor, min_pixels=low, max_pixels=high)
        return 1, resized[0] // settings.patch_size, resized[1] // settings.patch_size

    def grids(self, sizes: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[tuple[int, int, int]]:
        """Patch grids of a prompt's pictures and videos in the order of the tags, of their files' sizes on disk."""
        grids = []
        for size, length in zip(group_frames(sizes, lengths), lengths, strict=True):
            _, rows, columns = self.grid(*(size[0] if length else size))
            grids.append((-(-length // self.processor.image_processor.temporal_patch_size) or 1, rows, columns))
        return grids

    def picture(self, path: Path, row: str | None = None) -> np.ndarray:
        """Resized picture, uint8 (height, width, 3). Raises DataError, naming `row`, when it cannot be read."""
        if path in self._resized:
            return self._resized[path]
        image = read_picture(path, path, row, "make the picture again with data_process/, or drop the clip")
        # Pillow resizes here, not the processor, whose backends differ by a grey level or two between machines.
        _, rows, columns = self.grid(image.height, image.width)
        patch = self.processor.image_processor.patch_size
        size = (columns * patch, rows * patch)
        if image.size != size:
            image = image.resize(size, Image.Resampling(self.processor.image_processor.resample))
        pixels = np.asarray(image)
        if self.cache:
            self._resized[path] = pixels
        return pixels

    def visuals(self, paths: Sequence[Path], lengths: Sequence[int], row: str | None = None) -> list[np.ndarray]:
        """Pictures (uint8, height × width × 3) and videos (frames × height × width × 3), resized, by tag.

        Raises DataError as `picture`.
        """
        pictures = group_frames([self.picture(path, row) for path in paths], lengths)
        return [np.stack(group) if isinstance(group, list) else group for group in pictures]

    def batch(
        self, groups: Sequence[tuple[Sequence[Path], Sequence[int], tuple[int, int]]]
    ) -> dict[str, torch.Tensor]:
        """The model's inputs (`visuals.patch_inputs`) of groups of pictures and videos in order.

        Each group is paths, lengths (see `Sample`) and the shift (down, right) in pixels that all of it gets.
        """
        visuals = [
            shifted(visual, *shift) for paths, lengths, shift in groups for visual in self.visuals(paths, lengths)
        ]
        return patch_inputs(self.processor.image_processor, visuals)


def shifted(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    """`picture` (height, width, channels), or a video of such frames, moved by whole pixels; the edge is repeated
    where nothing comes in."""
    if not down and not right:
        return picture
    height, width = picture.shape[-3:-1]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return picture[..., rows[:, None], columns, :]
