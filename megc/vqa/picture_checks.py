"""Checks of the pictures of instruction files: that they open, that no two clips share one, how they were made."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from megc.files import resolve_inside, sha256_of
from megc.motion.recipes import MAKE_AGAIN, recipe_differences, recipes_of
from megc.problems import Problem, Problems
from megc.splits import person_key
from megc.vqa.instructions import read_model_picture, read_record_picture

_MANY = 20  # pictures of one file that are gone: one finding for all of them, if most are
Recipes = dict[str, dict[str, list[Path]]]  # see `recipes_of`


class PictureIndex:
    """The clips that each picture is of, by its pixels, over several files."""

    def __init__(self) -> None:
        self._owners: dict[str, dict[str, tuple[str, str, str]]] = defaultdict(dict)

    def add(self, pixels: bytes, clip: str, subject: str, file: Path | str, name: str) -> None:
        """Enter a picture of a clip; copies of augment_flow.py (`clip~3`) count as their clip."""
        self._owners[sha256_of(pixels)].setdefault(clip.split("~")[0], (subject, str(file), name))

    def report(self, problems: Problems) -> None:
        """Report each picture that several clips have: an error across subjects, a warning within one."""
        for owners in self._owners.values():
            (clip, (subject, _, name)), *others = owners.items()
            for other, (other_subject, file, other_name) in others:
                what = f"picture {other_name} is the same, pixel by pixel, as {name} of {clip}"
                problem = Problem(file, other, what, "unpack both clips again, or keep one of them", "duplicates")
                same_person = person_key(subject) == person_key(other_subject)
                (problems.warn if same_person else problems.add)(problem)


def picture_path(file: Path | str, record: Mapping, image: str) -> Path:
    """The file of a record's picture. Rows of other projects may name it absolutely, or from the working folder.

    Raises ValueError for a path of ours that leaves the file's folder.
    """
    folder = Path(file).parent
    if not record["foreign"]:
        return resolve_inside(folder, image)
    beside = folder / image  # the image itself where it is absolute
    # os.path: a name that no system takes is one that is not there
    return beside if os.path.exists(beside) or not os.path.exists(image) else Path(image)


def _pictures(file: Path | str, records: Iterable[dict], problems: Problems) -> dict[Path, tuple[dict, str]]:
    """Each picture that the records name, once, with its first record and its name there; bad paths are reported."""
    pictures: dict[Path, tuple[dict, str]] = {}
    for record in records:
        for image in dict.fromkeys(chain(record["images"], *record.get("videos", ()))):
            try:
                pictures.setdefault(picture_path(file, record, image), (record, image))
            except ValueError as error:
                fix = "correct the path, or drop the clip"
                problems.add(Problem(str(file), record["clip"] or record["line"], f"picture {error}", fix, "pictures"))
    return pictures


def check_pictures(
    file: Path | str, records: Sequence[dict], problems: Problems, index: PictureIndex | None = None
) -> Recipes:
    """Report pictures that are gone, cannot be decoded or hold nothing, and frames of one clip in several sizes;
    enter the others in `index`. Returns the recipes of the pictures.
    """
    pictures = _pictures(file, records, problems)
    gone = [path for path in pictures if not os.path.lexists(path)]
    if len(gone) > _MANY and 2 * len(gone) > len(pictures):
        what = f"{len(gone)} of {len(pictures)} pictures are gone (the first: {pictures[gone[0]][1]})"
        problems.add(Problem(str(file), None, what, "unpack them there, or correct the paths in the file", "pictures"))
        pictures = {path: value for path, value in pictures.items() if path not in set(gone)}
    sizes: dict[tuple[str, Path], dict[tuple[int, int], str]] = defaultdict(dict)
    for path, (record, image) in tqdm(pictures.items(), desc=Path(file).name, unit="picture", disable=None):
        with problems.collect("pictures"):
            picture = _read(file, path, record, image)
            sizes[record["clip"], path.parent].setdefault(picture.size, image)
            if all(low == high for low, high in picture.getextrema()):
                what = f"picture {image} is one plain colour"
                problems.warn(Problem(str(file), record["clip"], what, "look whether the clip moves", "pictures"))
            elif index is not None:
                subject = f"{record['dataset']}/{record['subject']}"
                index.add(f"{picture.size}".encode() + picture.tobytes(), record["clip"], subject, file, image)
    for (clip, _), of_folder in sizes.items():
        if len(of_folder) > 1:
            listed = ", ".join(f"{name} {width}×{height}" for (width, height), name in of_folder.items())
            what, fix = f"pictures of several sizes: {listed}", "cut all frames of a clip alike"
            problems.warn(Problem(str(file), clip, what, fix, "pictures"))
    return _check_recipes(file, pictures, problems)


def _read(file: Path | str, path: Path, record: dict, image: str) -> Image.Image:
    if not record["foreign"]:
        return read_record_picture(file, record, image)
    return read_model_picture(path, file, record["line"], image, "copy the picture again, or drop the row")


def _check_recipes(file: Path | str, pictures: Iterable[Path], problems: Problems) -> Recipes:
    """Report pictures of one file that were made in several ways; returns the recipes."""
    recipes = recipes_of(pictures)
    for kind, by_recipe in recipes.items():
        usual, *others = sorted(by_recipe, key=lambda recipe: -len(by_recipe[recipe]))
        for recipe in others:
            paths = by_recipe[recipe]
            what = f"{kind} of {len(paths)} picture(s) made otherwise than most: {_words(recipe, usual)}"
            what += f" (the first: {os.path.relpath(paths[0], Path(file).parent)})"
            problems.warn(Problem(str(file), None, what, f"run {MAKE_AGAIN[kind]} on all of them", "recipe"))
    return recipes


def compare_recipes(
    file: Path | str, recipes: Recipes, others: Mapping[str, Iterable[str]], name: str
) -> list[Problem]:
    """The problems of pictures that were made otherwise than those of `name`, whose recipes are `others` by kind."""
    problems = []
    for kind, by_recipe in recipes.items():
        expected = list(others.get(kind, ()))
        for recipe in by_recipe if expected else ():
            if recipe not in expected:
                nearest = min(expected, key=lambda other: len(recipe_differences(recipe, other)))
                what = f"{kind} of {len(by_recipe[recipe])} picture(s) made otherwise than for {name}: "
                flags = " ".join(
                    f"--{setting} {value:g}" if isinstance(value, float) else f"--{setting} {value}"
                    for setting, (_, value) in recipe_differences(recipe, nearest).items()
                    if setting != "size" and value is not None
                )
                fix = f"run {MAKE_AGAIN[kind]}{f' {flags}' if flags else ''} and build the file again"
                problems.append(Problem(str(file), None, what + _words(recipe, nearest), fix, "recipe"))
    return problems


def _words(recipe: str, other: str) -> str:
    differences = recipe_differences(recipe, other)
    return ", ".join(f"{setting} {value}, not {expected}" for setting, (value, expected) in differences.items())
