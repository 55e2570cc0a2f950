"""Flags of the repository's programs: which there are, and a mapping of a yaml file as flags."""

import ast
import difflib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from megc.grid.content import REPOSITORY
from megc.problems import DataError

TRAIN = "train.py"


@cache
def known_flags(program: str) -> frozenset[str]:
    """Names of a program's flags without dashes. They are read from its source: starting it to ask for its --help
    would load torch for every section of a grid."""
    if program == TRAIN:
        from transformers import TrainingArguments

        from megc.model.settings import SftSettings

        return frozenset(name for kind in (SftSettings, TrainingArguments) for name in kind.__dataclass_fields__)
    tree = ast.parse((REPOSITORY / program).read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    texts = (word.value for call in calls for word in call.args if isinstance(word, ast.Constant))
    return frozenset(text[2:] for text in texts if isinstance(text, str) and text.startswith("--"))


def check_keys(file: Path | str, place: str, found: Collection[str], known: Collection[str]) -> None:
    """Raise DataError for a key of `found` that is not in `known`, with the nearest one."""
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), 1)
            fix = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(known))}"
            raise DataError(file, f"{place}: {key}" if place else key, "no such key", fix)


def spelled(program: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings with their keys spelled as the program's flags are: `max-pixels` and `max_pixels` are one."""
    by_form = {name.replace("-", "_"): name for name in sorted(known_flags(program))}
    return {by_form.get(str(key).replace("-", "_"), str(key)): value for key, value in settings.items()}


def as_flags(program: str, settings: Mapping[str, object]) -> tuple[str, ...]:
    """Settings as words of a command line, in order of name; None leaves a flag out. train.py takes true and false as
    values, the other programs a flag that is there or not."""
    words: list[str] = []
    for key, value in sorted(spelled(program, settings).items()):
        if value is None or (value is False and program != TRAIN):
            continue
        words.append(f"--{key}")
        if isinstance(value, bool):
            words += [str(value).lower()] if program == TRAIN else []
        else:
            words += [str(word) for word in value] if isinstance(value, list | tuple) else [str(value)]
    return tuple(words)
