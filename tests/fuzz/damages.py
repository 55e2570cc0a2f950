"""Damages of files: to the values of a JSON or YAML tree, to the text, to the bytes. Each is drawn by hypothesis."""

import copy
import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], object]
Place = tuple[str | int, ...]

# Values of every type and of the shapes that have made readers stumble.
STRANGE = (
    *(None, True, False, 0, 1, -1, 5, 2**40, -(2**70), 10**90, 1.5, -0.0, 1e308, math.nan, math.inf, -math.inf),
    *(
        "",
        " ",
        "5",
        "true",
        "null",
        "x",
        "../up",
        "/etc/passwd",
        "a\x00b",
        "\ud83d",
        "\u202e",
        "é",
        "日本",
        "x" * 5000,
    ),
    *([], [1], ["x"], [None], [[]], {}, {"a": 1}, {"": None}, [{"role": "user"}], {"number": "4"}),
)


@dataclass(frozen=True)
class Damaged:
    """A damaged file: its new content (None: gone; a folder stands there if `folder`), what was done to it, and the
    line of a JSONL that was touched (from 1; None: the whole file)."""

    content: bytes | None
    what: str
    line: int | None = None
    folder: bool = False
    keys: tuple[str, ...] = ()  # names on the way to a damaged value, one of which a message must have
    table: object = None  # the rows of a damaged spreadsheet


def places_of(value: object, place: Place = ()) -> Iterator[Place]:
    """Every place of a tree but the root."""
    if place:
        yield place
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places_of(value[key], (*place, key))


def _parent(tree: object, place: Place) -> object:
    for key in place[:-1]:
        tree = tree[key]
    return tree


def _nested(value: object, depth: int) -> object:
    for _ in range(depth):
        value = [value]
    return value


def damage_tree(draw: Draw, tree: object) -> tuple[object, str, tuple[str, ...]]:
    """A copy of the tree with one fault, words on it, and the keys on the way to it."""
    tree = copy.deepcopy(tree)
    place = draw(st.sampled_from(list(places_of(tree)) or [()]))
    if not place:
        return draw(st.sampled_from(STRANGE)), "another root", ()
    parent, key = _parent(tree, place), place[-1]
    kind = draw(
        st.sampled_from(("replace", "replace", "replace", "drop", "extra", "rename", "wrap", "text", "swap", "nest"))
    )
    where = ".".join(map(str, place))
    keys = tuple(str(step) for step in place if isinstance(step, str))
    if kind == "replace":
        parent[key] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
        return tree, f"{where} = {str(parent[key])[:20]!r}", keys
    if kind == "drop":
        del parent[key]
    elif kind == "extra":
        extra = copy.deepcopy(draw(st.sampled_from(STRANGE)))
        if isinstance(parent, dict):
            parent["colour"] = extra
            keys = (*keys, "colour")
        else:
            parent.append(extra)
    elif kind == "rename" and isinstance(parent, dict):
        parent[f"{str(key)[:-1]}_"] = parent.pop(key)
    elif kind == "wrap":
        parent[key] = [parent[key]] if draw(st.booleans()) else {"value": parent[key]}
    elif kind == "text":
        parent[key] = str(parent[key])
    elif kind == "nest":
        parent[key] = _nested(parent[key], draw(st.sampled_from((3, 99, 150))))
    else:
        other = draw(st.sampled_from(list(places_of(tree))))
        value = copy.deepcopy(_parent(tree, other)[other[-1]])
        parent[key] = value
        where = f"{where} from {'.'.join(map(str, other))}"
    return tree, f"{kind} {where}", keys


def json_bytes(tree: object) -> bytes:
    """JSON as a careless program writes it: NaN, infinity and half characters included."""
    return json.dumps(tree, ensure_ascii=True).encode()


def yaml_bytes(tree: object) -> bytes:
    """YAML of the tree; what YAML cannot write is written as JSON, which it reads too."""
    try:
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()
    except (yaml.YAMLError, UnicodeEncodeError):
        return json_bytes(tree)


def damage_bytes(draw: Draw, data: bytes) -> Damaged:
    """A fault that knows nothing of the format."""
    kind = draw(
        st.sampled_from(
            (
                "cut",
                "cut",
                "flip",
                "flip",
                "flip",
                "zero",
                "insert",
                "empty",
                "gone",
                "folder",
                "double",
                "garbage",
                "mark",
            )
        )
    )
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "cut":
        return Damaged(data[:place], f"cut at {place} of {len(data)}")
    if kind == "flip":
        bit = draw(st.integers(0, 7))
        flipped = bytes([data[place] ^ (1 << bit)]) if data else b""
        return Damaged(data[:place] + flipped + data[place + 1 :], f"bit {bit} of byte {place} flipped")
    if kind == "zero":
        return Damaged(data[:place] + b"\0" * 8 + data[place + 8 :], f"eight zero bytes at {place}")
    if kind == "insert":
        byte = bytes([draw(st.integers(0, 255))])
        return Damaged(data[:place] + byte + data[place:], f"byte {byte!r} put in at {place}")
    if kind == "empty":
        return Damaged(b"", "empty")
    if kind == "gone":
        return Damaged(None, "gone")
    if kind == "folder":
        return Damaged(None, "a folder", folder=True)
    if kind == "double":
        return Damaged(data + data, "twice in one file")
    if kind == "garbage":
        return Damaged(data + b"\x00\xff garbage", "garbage at the end")
    return Damaged(b"\xef\xbb\xbf" + data, "byte-order mark")


def damage_text(draw: Draw, data: bytes) -> Damaged:
    """A fault of encoding or of lines."""
    text = data.decode()
    kind = draw(st.sampled_from(("utf-16", "utf-16-le", "latin-1", "crlf", "blank lines", "key twice", "lone quote")))
    if kind in ("utf-16", "utf-16-le"):
        return Damaged(text.encode(kind), kind)
    if kind == "latin-1":
        place = draw(st.integers(0, len(text)))
        return Damaged(f"{text[:place]}é{text[place:]}".encode("latin-1", "replace"), f"é in Latin-1 at {place}")
    if kind == "crlf":
        return Damaged(text.replace("\n", "\r\n").encode(), kind)
    if kind == "blank lines":
        return Damaged(text.replace("\n", "\n\n").encode(), kind)
    if kind == "key twice":
        return Damaged(_key_twice(text).encode(), kind)
    place = draw(st.integers(0, len(text)))
    return Damaged(f'{text[:place]}"{text[place:]}'.encode(), f"quote at {place}")


def _key_twice(text: str) -> str:
    """The first key of the file once more, with null."""
    start = text.find('"')
    if text.lstrip().startswith(("{", "[")) and start >= 0:
        key = text[start : text.find('"', start + 1) + 1]
        return f"{text[:start]}{key}: null, {text[start:]}"
    first = text.lstrip("#\n").partition(":")[0]
    return f"{text}\n{first}: null\n"


def damage_json(draw: Draw, data: bytes) -> Damaged:
    """A fault of a JSON file."""
    if draw(st.integers(0, 3)):
        tree, what, keys = damage_tree(draw, json.loads(data))
        return Damaged(json_bytes(tree), what, keys=keys)
    return draw(st.sampled_from((damage_bytes, damage_text)))(draw, data)


def damage_yaml(draw: Draw, data: bytes) -> Damaged:
    """A fault of a YAML file."""
    if draw(st.integers(0, 3)):
        tree, what, keys = damage_tree(draw, yaml.safe_load(data))
        return Damaged(yaml_bytes(tree), what, keys=keys)
    return draw(st.sampled_from((damage_bytes, damage_text)))(draw, data)


def damage_jsonl(draw: Draw, data: bytes) -> Damaged:
    """A fault of one row of a JSONL file, or of all of it."""
    lines = data.decode().splitlines()
    kind = draw(st.sampled_from(("row", "row", "row", "row", "drop", "repeat", "join", "file")))
    place = draw(st.integers(0, len(lines) - 1))
    if kind == "file":
        return draw(st.sampled_from((damage_bytes, damage_text)))(draw, data)
    if kind == "row":
        tree, what, _ = damage_tree(draw, json.loads(lines[place]))
        lines[place] = json_bytes(tree).decode()
        return Damaged(("\n".join(lines) + "\n").encode(), f"row {place + 1}: {what}", place + 1)
    if kind == "drop":
        del lines[place]
    elif kind == "repeat":
        lines.insert(place, lines[place])
    else:
        lines[place : place + 2] = ["".join(lines[place : place + 2])]
    return Damaged(("\n".join(lines) + "\n" * bool(lines)).encode(), f"{kind} row {place + 1}")


def damage_csv(draw: Draw, data: bytes) -> Damaged:
    """A fault of a cell, a row, a column or all of a CSV with a header."""
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    kind = draw(st.sampled_from((*("cell",) * 6, "drop", "repeat", "short", "long", "header", "delimiter", "file")))
    place, column = draw(st.integers(1, len(rows) - 1)), draw(st.integers(0, len(rows[0]) - 1))
    if kind == "file":
        return draw(st.sampled_from((damage_bytes, damage_text)))(draw, data)
    if kind in ("cell", "header"):
        place = place if kind == "cell" else 0
        strange = draw(st.sampled_from(STRANGE))
        rows[place][column] = strange if isinstance(strange, str) and strange.isprintable() else json.dumps(strange)
    elif kind == "drop":
        del rows[place]
    elif kind == "repeat":
        rows.append(list(rows[place]))
        place = len(rows) - 1
    elif kind == "short":
        del rows[place][column:]
    elif kind == "long":
        rows[place].append("more")
    text = io.StringIO()
    csv.writer(text, delimiter=";" if kind == "delimiter" else ",", lineterminator="\n").writerows(rows)
    what = f"{kind} {column + 1} of row {place + 1}"
    of_row = place + 1 if kind in ("cell", "repeat", "short", "long") else None
    return Damaged(text.getvalue().encode(errors="replace"), what, of_row)
