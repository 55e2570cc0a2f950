"""Lists of labelled clips, `train.csv`, `val.csv` and `test.csv`, as VideoMAE and MAE-DFER read them; their frames.

A line is the path of a clip and the number of its class, from 0, with a space or a comma between them. The path leads
to a folder of frames, to a video, or to the face crops of a long video (`….npy`, data_process/extract_face_crops.py),
and is relative to the list's folder unless it is absolute.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from megc.clips import frames_folder, read_clips
from megc.files import sha256_of, write_json, write_text
from megc.motion.face_crops import FaceCrops, read_crops_record, read_face_crops
from megc.motion.frames import open_frames
from megc.motion.recipes import CROP, recipes_of
from megc.problems import DataError, Problem, Problems
from megc.splits import make_folds
from megc.spotting.settings import ExportClipListsSettings

CROPS_SUFFIX, CLASSES_NAME = ".npy", "classes.json"
_MOST_CLASSES = 10**5
_FORM = "write the path of a clip and the number of its class, as `clips/0001 3`"


@dataclass(frozen=True)
class LabelledClip:
    """A clip's folder of frames, video, or face crops, and its class."""

    path: Path
    label: int


def read_clip_list(file: Path | str) -> list[LabelledClip]:
    """The clips of a list. Raises DataError, after all of them are looked at, for the first bad line, with the number
    of others: one that is not in the form, or whose path leads nowhere; and for an empty list."""
    file, problems, clips = Path(file), Problems(), []
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise DataError(
            file, None, "the file does not exist", "check the path; the form is in train/README.md"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, None, f"the file cannot be read ({error})", "save it as UTF-8 text") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            clips.append(_read_line(file, number, line.strip()))
        except DataError as error:
            problems.add(error.problem)
    if problems:
        first: Problem = next(iter(problems))
        more = f" (and {len(problems) - 1} more bad lines)" if len(problems) > 1 else ""
        raise DataError(first.file, first.row, first.what + more, first.fix)
    if not clips:
        raise DataError(file, None, "no clip in the list", _FORM)
    return clips


def _read_line(file: Path, number: int, line: str) -> LabelledClip:
    path, _, label = line.rpartition(",") if "," in line else line.rpartition(" ")
    path, label = path.strip().strip('"'), label.strip()
    if not path or not label.isdecimal() or int(label) > _MOST_CLASSES:
        raise DataError(file, number, f"{line[:80]!r} is not a path and a class", _FORM)
    source = file.parent / path  # an absolute path stays as it is
    if not source.exists():
        raise DataError(file, number, f"{path} does not exist", "correct the path, or copy the clips there")
    return LabelledClip(source, int(label))


def write_clip_list(file: Path, clips: Sequence[LabelledClip]) -> None:
    """Write a list with a space between path and class, or a comma where a path has spaces.

    Paths below the folder above the list's are written relative to the list, so that both can be moved together.
    """
    folder, lines = file.parent.resolve(), []
    for clip in clips:
        path = clip.path.resolve()
        name = Path(os.path.relpath(path, folder)) if path.is_relative_to(folder.parent) else path
        lines.append(f"{name.as_posix()}{',' if ' ' in str(name) else ' '}{clip.label}\n")
    write_text(file, "".join(lines))


def list_hash(clips: Sequence[LabelledClip], root: Path) -> str:
    """Hash of paths, classes, and of names and sizes of the files of the clips: their bytes may be terabytes."""
    parts = []
    for clip in clips:
        files = sorted(clip.path.iterdir()) if clip.path.is_dir() else [clip.path]
        sizes = [f"{path.name} {path.stat().st_size}" for path in files if path.is_file()]
        parts += [clip.path.as_posix().removeprefix(root.as_posix()), str(clip.label), *sizes]
    return sha256_of(*parts)


def crop_recipes(clips: Sequence[LabelledClip], name: str) -> list[dict]:
    """How the faces of the clips were cut, the commonest first: as their `align.json` or the face crops' record says,
    else by the `name` that the user gave it; empty without either."""
    recipes = (_crop_recipe(clip.path) or ({"name": name} if name else {}) for clip in clips)
    counts = Counter(json.dumps(recipe, sort_keys=True) for recipe in recipes if recipe)
    return [json.loads(recipe) for recipe, _ in counts.most_common()]


def _crop_recipe(path: Path) -> dict:
    if path.suffix == CROPS_SUFFIX:
        return read_crops_record(path.parent, path.stem).recipe.model_dump()
    if not path.is_dir():
        return {}
    picture = next((file for file in sorted(path.iterdir()) if file.suffix.lower() in (".jpg", ".png")), None)
    recipes = recipes_of([picture]).get(CROP, {}) if picture else {}
    return json.loads(next(iter(recipes))) if recipes else {}


class ClipListSource:
    """Clips of a list as `ClipDataset` wants them: `num_frames` frames, `stride` of the video apart.

    With a generator the first frame is drawn; else it is the one that puts the clip in the middle. `starts`: with
    S starts, clip `index` of the list is S items, from the first possible frame to the last (test segments).
    """

    def __init__(self, clips: Sequence[LabelledClip], num_frames: int, stride: int, starts: int = 1) -> None:
        self.clips, self.num_frames, self.stride, self.starts = clips, num_frames, stride, starts

    def __len__(self) -> int:
        return len(self.clips) * self.starts

    def label(self, index: int) -> int:
        """Class of a clip."""
        return self.clips[index // self.starts].label

    def frames(self, index: int, random: np.random.Generator | None) -> np.ndarray:
        """Frames (num_frames, H, W, 3) uint8. Raises DataError for what cannot be read."""
        path, segment = self.clips[index // self.starts].path, index % self.starts
        share = segment / (self.starts - 1) if self.starts > 1 else 0.5
        if path.suffix == CROPS_SUFFIX:
            return self._crops(path, random, share)
        frames = open_frames(path)
        positions = self._positions(np.ones(len(frames.numbers), bool), random, share)
        numbers = [frames.numbers[position] for position in positions]
        pictures = dict(frames.read_many(numbers))
        return np.stack([pictures[number] for number in numbers])

    def _crops(self, path: Path, random: np.random.Generator | None, share: float) -> np.ndarray:
        crops = _open_crops(path, path.stat().st_mtime_ns)
        pixels = crops.pixels[self._positions(crops.segments >= 0, random, share)]
        return pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, axis=-1)

    def _positions(self, usable: np.ndarray, random: np.random.Generator | None, share: float) -> np.ndarray:
        """Positions of the frames of a clip among those of the video; those without a face (`usable` False) are
        passed over."""
        span = (self.num_frames - 1) * self.stride + 1
        places = np.flatnonzero(usable)
        if len(places) < span:
            return places[np.linspace(0, len(places) - 1, self.num_frames).round().astype(int)]
        last = len(places) - span
        start = int(random.integers(last + 1)) if random else round(last * share)
        return places[start + self.stride * np.arange(self.num_frames)]


@lru_cache(maxsize=64)  # a memory map each
def _open_crops(path: Path, _changed: int) -> FaceCrops:
    return read_face_crops(path.parent, path.stem)[0]


def export_clip_lists(settings: ExportClipListsSettings, problems: Problems) -> str:
    """Write train.csv, val.csv and test.csv of the clips of `clips.jsonl`, by subject, and the names of the classes.

    No person is in two lists; `split.json` has them. Clips without the label or without frames are left out, and
    counted in the summary. Raises DataError for too few subjects, and where no clip is left.
    """
    labels, left_out = {}, Counter()
    for clip in read_clips(settings.clips):
        label = clip.coarse if settings.classes == "coarse" else clip.fine
        if not label:
            left_out["no label"] += 1
        elif not clip.frames:
            left_out["no frames"] += 1
        else:
            labels[clip] = label
    names = sorted(set(labels.values()))
    if len(names) < 2:
        raise DataError(
            settings.clips, None, f"clips of {len(names)} class(es) with frames", "give clips of two or more"
        )
    try:
        test = make_folds([asdict(clip) for clip in labels], "holdout", 1, settings.test_share, settings.seed)[0]
        rest = [clip for clip in labels if f"{clip.dataset}/{clip.subject}" in test.train]
        val = make_folds([asdict(clip) for clip in rest], "holdout", 1, settings.val_share, settings.seed)[0]
    except ValueError as error:
        raise DataError(settings.clips, None, str(error), "give clips of more subjects, or other shares") from error
    lists = {"train": val.train, "val": val.test, "test": test.test}
    counts = {}
    for side, subjects in lists.items():
        chosen = [clip for clip in labels if f"{clip.dataset}/{clip.subject}" in subjects]
        paths = [frames_folder(clip, settings.clips) for clip in chosen]
        rows = [LabelledClip(path, names.index(labels[clip])) for path, clip in zip(paths, chosen, strict=True)]
        write_clip_list(settings.out / f"{side}.csv", rows)
        counts[side] = len(rows)
    write_json(settings.out / CLASSES_NAME, names)
    write_json(settings.out / "split.json", {side: sorted(subjects) for side, subjects in lists.items()})
    without = "".join(f"; {count} with {why} left out" for why, count in left_out.items())
    numbers = ", ".join(f"{count} in {side}.csv" for side, count in counts.items())
    return f"{settings.out}: {numbers}; classes {', '.join(names)}{without}"
