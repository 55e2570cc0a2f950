"""JSON and YAML, taken strictly: what other programs could not read back, or would read as something else, is refused.

The functions raise ValueError with a `line` where it is known; `files` adds the file's name and the remedy.
"""

import json
import math
import re
from collections.abc import Hashable, Iterator

import yaml

DEEPEST = 100  # brackets inside brackets; ours need five, and Python itself gives up near a thousand
LONGEST_NUMBER = 100  # digits; floating-point numbers end at 309


class ParseError(ValueError):
    """Text that is refused, with the number of the line (from 1; None where unknown)."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.line = line


def parse_json(text: str) -> object:
    """The value of a JSON text, without NaN, infinite numbers, repeated keys and lone surrogates."""
    try:
        value = _DECODER.decode(text)
        if "NaN" in text or "Infinity" in text:
            _check_finite(value)
        if text.count("[") + text.count("{") > DEEPEST:
            _check_depth(value)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise ParseError(f"not JSON ({error.msg})", error.lineno) from error
    except UnicodeEncodeError as error:
        raise ParseError("not JSON that can be used (half a character, such as \\ud83d without \\ude00)") from error
    except RecursionError as error:
        raise ParseError(_too_deep("JSON")) from error


def parse_yaml(text: str) -> object:
    """The value of a YAML text without repeated keys; None for an empty one."""
    try:
        value = yaml.load(text, _Loader)
        _check_depth(value)
        return value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ParseError(f"not YAML ({error.problem})", mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise ParseError(f"not YAML ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise ParseError(_too_deep("YAML")) from error
    except ParseError:
        raise
    except ValueError as error:  # 2026-13-45, or a number of 5,000 digits
        raise ParseError(f"not YAML that can be used ({str(error).split(';')[0]})") from error


def _too_deep(kind: str) -> str:
    return f"not {kind} that can be used (brackets nested more than {DEEPEST} deep)"


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(DEEPEST):  # each once: the aliases of a YAML file may stand for billions
        children = (child for parent in level for child in _children(parent) if isinstance(child, dict | list))
        level = list({id(child): child for child in children}.values())
        if not level:
            return
    raise RecursionError


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value if isinstance(value, list) else ())


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ParseError(f"the key {next(name for name in names if names.count(name) > 1)[:80]!r} stands twice")
    return values


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ParseError(f"a number of {len(digits)} digits")
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ParseError(f"the number {digits[:LONGEST_NUMBER]} is too large")
    return value


def _no_number(name: str) -> float:
    return float(name.replace("Infinity", "inf"))  # found again by `_check_finite`, which knows its key


def _check_finite(value: object, path: str = "") -> None:
    """Raise ParseError for NaN and infinity, with the keys that lead there."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else f"{value}".replace("inf", "Infinity")
        raise ParseError(f"{name} is no number in JSON" + (f" (at {path[1:]})" if path else ""))
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        _check_finite(child, f"{path}.{key}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_decimal, parse_constant=_no_number
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which would take the last one of repeated keys without a word, and 1e-3 for text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        names: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in names and key.tag != "tag:yaml.org,2002:merge":
                raise ParseError(f"the key {name[1][:80]!r} stands twice", key.start_mark.line + 1)
            names.add(name)
        return super().construct_mapping(node, deep)


# as YAML 1.2 has it; 1.1, of PyYAML, wants a point in front of the e
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,2}$"), list("-+0123456789")
)
