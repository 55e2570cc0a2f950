"""The recipe of a picture: the settings that a model must see again as it was trained, of its crop or of its flow.

Other crops of the same faces cost more than other models do: MAE-DFER loses 17 points of recall on them
(github.com/sunlicai/MAE-DFER, issue 14). So a checkpoint records the recipes of its pictures.
"""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from megc.files import read_json
from megc.parsing import parse_json
from megc.problems import DataError

CROP, FLOW = "crop", "flow"
MAKE_AGAIN = {CROP: "data_process/extract_frames.py", FLOW: "data_process/compute_flow.py"}


def drawn_texts(path: Path | str) -> dict[str, str]:
    """Text metadata in front of a picture's pixels, which are not decoded: settings, legend and so on of a flow
    picture. Empty where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded here
            with Image.open(path) as stored:
                return {name: text for name, text in stored.info.items() if isinstance(text, str)}
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return {}


def recipes_of(paths: Iterable[Path]) -> dict[str, dict[str, list[Path]]]:
    """Pictures by the kind of their recipe (`crop`, `flow`) and the recipe as JSON.

    A crop's stands in the `align.json` beside it, that of a flow picture in its own metadata. Pictures that have
    neither, as those of other projects, are left out.
    """
    crops: dict[Path, dict] = {}  # by folder: a clip's pictures share theirs
    recipes: dict[str, dict[str, list[Path]]] = {}
    for path in dict.fromkeys(paths):
        if path.parent not in crops:
            crops[path.parent] = _crop_recipe(path.parent / "align.json")
        kind, recipe = CROP, crops[path.parent]
        if not recipe:
            kind, recipe = FLOW, _flow_recipe(path)
        elif path.stem != "magnified":
            recipe = {name: value for name, value in recipe.items() if name != "magnify"}
        if recipe:
            recipes.setdefault(kind, {}).setdefault(json.dumps(recipe, sort_keys=True), []).append(path)
    return recipes


def _crop_recipe(align: Path) -> dict:
    """What changes a crop, of an `align.json`; empty where there is none that can be read."""
    try:
        record = read_json(align, missing={})
    except DataError:  # which extract_frames.py and the checks of clips report
        return {}
    settings = record.get("settings")
    if not isinstance(settings, dict):
        return {}
    return {"size": record.get("size"), **{name: settings.get(name) for name in ("roi", "magnify")}}


def _flow_recipe(path: Path) -> dict:
    try:
        settings = parse_json(drawn_texts(path).get("settings", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def recipe_differences(recipe: str, other: str) -> dict[str, tuple[object, object]]:
    """The settings of two recipes (JSON) that differ, with both values."""
    first, second = json.loads(recipe), json.loads(other)
    names = dict.fromkeys([*first, *second])
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}
