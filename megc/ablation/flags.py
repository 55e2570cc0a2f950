"""Flags of the repository's programs: which there are, and a mapping of a yaml file as flags."""

import ast
from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

from megc.ablation.program_code import REPOSITORY
from megc.command import flags_of
from megc.problems import DataError, did_you_mean

TRAIN = "train.py"


@cache
def known_flags(program: str) -> frozenset[str]:
    """Names of a program's flags without dashes: the fields of its settings."""
    if program == TRAIN:
        from transformers import TrainingArguments

        from megc.training.settings import SftSettings

        return frozenset(name for kind in (SftSettings, TrainingArguments) for name in kind.__dataclass_fields__)
    return frozenset(flags_of(_settings_of(program)))


@cache
def _settings_of(program: str) -> type:
    """The settings dataclass that a program hands to `command.run`, which its source names: to run it would load torch
    for every section of a grid."""
    tree = ast.parse((REPOSITORY / program).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.args[1]) for call in calls if ast.unparse(call.func) == "run" and len(call.args) > 1}
    imports = [(node.module, alias) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    ((module, alias),) = [(module, alias) for module, alias in imports if (alias.asname or alias.name) in names]
    return getattr(import_module(module), alias.name)


def _is_on(program: str, flag: str) -> bool:
    """Whether a switch is on unless it is called with `--no-…`."""
    return flags_of(_settings_of(program))[flag].default is True and not flag.startswith("no-")


def check_keys(file: Path | str, part: str, keys: Collection[str], options: Collection[str]) -> None:
    """Raise DataError for a key of `keys` that is not in `options`, with the nearest one."""
    for key in keys:
        if key not in options:
            raise DataError(file, f"{part}: {key}" if part else key, "no such key", did_you_mean(key, sorted(options)))


def spelled(program: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings with their keys spelled as the program's flags are: `max-pixels` and `max_pixels` are one."""
    by_form = {name.replace("-", "_"): name for name in sorted(known_flags(program))}
    return {by_form.get(str(key).replace("-", "_"), str(key)): value for key, value in settings.items()}


def as_flags(program: str, settings: Mapping[str, object]) -> tuple[str, ...]:
    """Settings as words of a command line, in order of name; None leaves a flag out. train.py takes true and false as
    values, the other programs a flag that is there or not (`--no-…` where it is on by default)."""
    words: list[str] = []
    for key, value in sorted(spelled(program, settings).items()):
        if value is False and program != TRAIN:
            words += [f"--no-{key}"] if _is_on(program, key) else []
            continue
        if value is None:
            continue
        words.append(f"--{key}")
        if isinstance(value, bool):
            words += [str(value).lower()] if program == TRAIN else []
        else:
            words += [str(word) for word in value] if isinstance(value, list | tuple) else [str(value)]
    return tuple(words)
