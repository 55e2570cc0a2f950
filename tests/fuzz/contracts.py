"""What the files must hold, written down a second time and apart from the package: the yardstick of the fuzz.

`parse_json` and `parse_yaml` read without any of the package's code. `holds` says whether a value keeps a shape:

    "text" "whole" "number" "flag" "any"      a value of that type; true is no number, numbers are finite
    "filled"                                  a text that is not empty
    ("between", low, high), ("size", …)       a number, a whole number, in a range
    ("list", shape, least), ("map", shape)    a list of at least so many, an object with any keys
    ("or", shape, …)                          one of several; None stands for null, another value for itself
    {"key": shape, "key?": shape}             an object; `?`: may be absent. "": no other keys
"""

import json
import math

import yaml

FRAME = ("between", 0, 10**9)
SHARE = ("between", 0, 1)
CLASSES = ("negative", "positive", "surprise")
FINE = ("happiness", "surprise", "disgust", "repression", "fear", "anger", "sadness", "contempt")
NAME = ("or", "text", "whole")
MESSAGE = {"role?": "text", "content": "text"}
ROW = {
    "id?": "text",
    "video_id?": "text",
    "dataset?": "text",
    "question?": "text",
    "image_id?": NAME,
    "subject?": NAME,
    "filename?": NAME,
    "video?": NAME,
    "answer?": ("or", "text", None),
}
PREDICTION = ROW | {
    "votes?": ("or", None, ("list", "text", 0)),
    "agreement?": ("or", None, "number"),
    "margin?": ("or", None, "number"),
    "choices?": ("or", None, ("map", "number")),
}
RECORD = {
    "id": "text",
    "clip": "text",
    "dataset": "text",
    "subject": "text",
    "messages": ("list", MESSAGE, 2),
    "images": ("list", "text", 0),
    "prompt": "text",
    "row": ROW,
    "sources?": ("list", "text", 0),
}
UNIT = {"number": ("between", 1, 99), "side": ("or", None, "left", "right"), "": None}
CLIP = {
    "id": "text",
    "dataset": "text",
    "subject": "text",
    "name": "text",
    "fps": ("between", 0, 1e5),
    "frames": "text",
    "onset": FRAME,
    "apex": FRAME,
    "offset": FRAME,
    "apex_estimated": "flag",
    "action_units": ("list", UNIT, 0),
    "fine": ("or", "", "others", *FINE),
    "coarse": ("or", "", *CLASSES),
    "notes": ("list", "text", 0),
    "": None,
}
EVENT = {
    "onset": FRAME,
    "apex": ("or", None, FRAME),
    "offset": FRAME,
    "type": ("or", "micro", "macro"),
    "emotion": "text",
    "action_units": ("list", UNIT, 0),
    "name": "text",
    "notes": ("list", "text", 0),
    "": None,
}
VIDEO = {
    **dict.fromkeys(("id", "dataset", "subject", "name", "frames"), "text"),
    "fps": ("between", 1e-300, 1e5),
    "length": ("or", None, ("size", 1, 10**9)),
    "events": ("list", EVENT, 0),
    "notes": ("list", "text", 0),
    "": None,
}
REPAIR = {
    **dict.fromkeys(("set", "filename", "onset", "was", "value"), "text"),
    **dict.fromkeys(("reason", "source"), "filled"),
    **dict.fromkeys(("subject", "row"), ("size", 0, 10**9)),
    "field": ("or", "subject", "filename", "onset", "apex", "offset", "units", "emotion", "type"),
    "": None,
}
EVIDENCE = {
    "clip": "text",
    "part": "text",
    "coarse": ("map", SHARE),
    "fine": ("map", SHARE),
    "units": ("map", SHARE),
    "side?": ("map", SHARE),
}
PROMPT = {
    "images": ("list", "text", 0),  # none: questions on long videos
    "structured": "flag",
    "legend": "flag",
    "encoding": "text",
    "scale": "number",
    "hash": "text",
    "hierarchy?": "flag",
    "example?": ("list", MESSAGE, 0),
    "statistics?": ("list", ("list", "text", 3), 0),
}
FOLD = {"name": "text", "train": ("list", "text", 0), "test": ("list", "text", 0), "hash": "text"}
SPLIT = {
    "settings": {"fold": "whole", "protocol?": ("or", "", "holdout", "kfold", "loso", "cross-dataset")},
    "folds": ("list", FOLD, 1),
}
OPTIONAL_TEXT = ("or", None, "text")
MEGC = {
    "kind?": "text",
    "base?": OPTIONAL_TEXT,
    "prompt_hash?": OPTIONAL_TEXT,
    "prompt?": ("or", None, PROMPT),
    "min_pixels?": ("or", None, "whole"),
    "max_pixels?": ("or", None, "whole"),
    "steps?": ("or", None, "whole"),
    "data?": (
        "or",
        None,
        {
            "subjects?": ("list", "text", 0),
            "validation_subjects?": ("list", "text", 0),
            "file?": "text",
            "rows?": "whole",
            "clips?": "whole",
            "rows_hash?": "text",
        },
    ),
    "training?": ("or", None, ("map", "any")),
    "weights_hash?": OPTIONAL_TEXT,
}
RUN = {"hash?": "text", "commits?": ("list", "text", 0), "settings?": ("map", "any")}
POINT = ("list", "number", 2)
KEY_FRAME = {"wanted": FRAME, "used": FRAME, "file": "text"}
ALIGN = {
    "key": "text",
    "frames": {"onset": KEY_FRAME, "apex": KEY_FRAME, "offset": KEY_FRAME},
    "warnings": ("list", "text", 0),
    "apex_spotted": "flag",
    "landmarks": ("list", POINT, 68),
    "transform": ("list", ("list", "number", 3), 2),
    "notes": ("list", "text", 0),
}
FLOW = {"encoding?": "text", "scale?": "number"}
INDEX = {"weight_map": ("map", "text")}
ADAPTER = {"base_model_name_or_path": "text"}
STATE = {"global_step": "whole", "log_history": ("list", ("map", "any"), 0)}

OUTPUT = {"outputs": ("map", "text"), "seconds": ("between", 0, math.inf), "commit": "text", "": None}
DONE = OUTPUT | {"run": "text"}
RESULT = OUTPUT | {"folder": "filled", "kept": "flag"}
WORDS = (
    "list",
    {"kind": ("or", "text", "input", "file", "speed", "output"), "value": "text", "step?": "text", "": None},
    0,
)
STEP = {
    "identity": "text", "kind": "text", "title": "text", "commands": ("list", WORDS, 0), "makes": ("list", "text", 0),
    "reads": WORDS, "resumes": "text", "gpus": "whole", "": None,
}  # fmt: skip
PLAN = {
    **dict.fromkeys(("work", "state", "current", "repository", "python"), "filled"),
    "commit": "text",
    "steps": ("list", STEP, 0),
    "names": ("map", "text"),
    "results": ("map", RESULT),
    **dict.fromkeys(("redo", "keep", "devices"), ("list", "text", 0)),
    "": None,
}
DEMO = {"generator": "whole", "settings": ("map", ("or", "number", "text", ("map", "number")))}
SIZE = ("size", 1, 10**9)
ARCHITECTURE = {
    "tie_word_embeddings": "flag",
    "vision_config": {
        **dict.fromkeys(("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size"), SIZE),
        **dict.fromkeys(("patch_size", "spatial_merge_size", "temporal_patch_size", "window_size"), SIZE),
        "fullatt_block_indexes": ("list", "whole", 0),
        "": None,
    },
    "text_config": {
        **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"), SIZE),
        **dict.fromkeys(("num_attention_heads", "num_key_value_heads"), SIZE),
        "rope_parameters": {
            "rope_type": ("or", "default"),
            "rope_theta": "number",
            "mrope_section": ("list", SIZE, 3),
            "": None,
        },
        "": None,
    },
    "": None,
}
ARCHITECTURES = {"source": "text", "architectures": ("map", ARCHITECTURE), "": None}


class Unreadable(Exception):
    """The content is none that a reader may accept."""


def _unique(pairs: list[tuple[str, object]]) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise Unreadable("a key twice")
    return dict(pairs)


def parse_json(text: str) -> object:
    """The value of a JSON text. Raises Unreadable for what cannot be JSON for everybody."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    return value


def parse_yaml(text: str) -> object:
    """The value of a YAML text. Raises Unreadable for none."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def decode(data: bytes) -> str:
    """UTF-8 text without a byte-order mark in front. Raises Unreadable."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("not UTF-8") from error


def jsonl_rows(data: bytes) -> list[tuple[int, dict]]:
    """Numbered objects of the lines that are not blank. Raises Unreadable where one is none."""
    lines = [(number, line) for number, line in enumerate(decode(data).split("\n"), 1) if line.strip()]
    rows = [(number, parse_json(line)) for number, line in lines]
    if not all(isinstance(row, dict) for _, row in rows):
        raise Unreadable("a line that is no object")
    return rows


def holds(value: object, shape: object) -> bool:
    """Whether `value` keeps `shape`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _holds_fields(value, shape)
    if isinstance(shape, tuple) and shape[0] == "list":
        return isinstance(value, list) and len(value) >= shape[2] and all(holds(item, shape[1]) for item in value)
    if isinstance(shape, tuple) and shape[0] == "map":
        return isinstance(value, dict) and all(holds(item, shape[1]) for item in value.values())
    if isinstance(shape, tuple) and shape[0] in ("between", "size"):
        return number and (shape[0] == "between" or isinstance(value, int)) and shape[1] <= value <= shape[2]
    if isinstance(shape, tuple):
        return any(holds(value, choice) for choice in shape[1:])
    if shape == "number":
        return number and math.isfinite(value)
    if shape in ("text", "whole", "flag"):
        kinds = {"text": str, "whole": int, "flag": bool}
        return isinstance(value, kinds[shape]) and (shape == "flag" or not isinstance(value, bool))
    if shape == "filled":
        return isinstance(value, str) and value != ""
    return shape == "any" or (type(value) is type(shape) and value == shape)


def _holds_fields(value: dict, fields: dict) -> bool:
    shapes = {name.rstrip("?"): shape for name, shape in fields.items() if name}
    needed = {name for name in fields if name and not name.endswith("?")}
    if "" in fields and value.keys() - shapes.keys():
        return False
    return needed <= value.keys() and all(holds(value[name], shapes[name]) for name in value.keys() & shapes.keys())


def same(left: object, right: object) -> bool:
    """Equality that tells 1 from true and from 1.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right
