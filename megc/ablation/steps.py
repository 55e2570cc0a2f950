"""A step: commands that fill one folder, named by a hash of everything that decides what is in it.

The key of a step hashes its commands, the content of the files they read, and the content (not the name) of what the
steps before it made. So two arms that come to the same data or the same training share the work, and a step is done
again when, and only when, something it rests on has changed.

Code: the key holds the code of the step's programs and of all that they import (see `program_code`). What a step
makes counts by content for the steps behind it, so that a change which alters no prompt and no row leaves training
alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from megc.ablation.content import REPOSITORY, content_hash
from megc.ablation.program_code import code_hash
from megc.files import read_json, sha256_of
from megc.problems import DataError

VERSION = 2  # of the layout of steps; another one makes everything be done again
DONE = "done.json"


@dataclass(frozen=True)
class Source:
    """A file or folder that no step makes; its content counts, its place does not."""

    path: Path


@dataclass(frozen=True)
class Own:
    """A path in the step's own folder."""

    name: str


@dataclass(frozen=True)
class Neutral:
    """An argument that does not change what is made, such as a number of processes."""

    text: str


@dataclass(frozen=True)
class Made:
    """A path in the folder of an earlier step."""

    step: "Step"
    name: str


Argument = str | Source | Own | Neutral | Made


@dataclass(frozen=True, eq=False)
class Step:
    """`commands` run in order; `makes` are the files and folders that later steps may read. `reads` are further
    inputs that no argument names. An unfinished step starts anew, unless its folder holds something that matches the
    pattern `resumes`: its program goes on from that, to the same result.

    Steps are equal when their commands are, whatever their titles.
    """

    kind: str
    title: str
    commands: tuple[tuple[Argument, ...], ...]
    makes: tuple[str, ...]
    reads: tuple[Argument, ...] = ()
    resumes: str = ""

    @cached_property
    def identity(self) -> str:
        """Hash of the commands as they are written, before anything is made."""
        parts = [[_written(argument) for argument in command] for command in (*self.commands, self.reads)]
        return sha256_of(self.kind, json.dumps(parts), json.dumps(self.makes))

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.identity == other.identity

    def arguments(self) -> list[Argument]:
        """Everything that stands in the commands, and `reads`."""
        return [argument for command in (*self.commands, self.reads) for argument in command]

    def programs(self) -> tuple[str, ...]:
        """The programs of the repository that its commands start, as paths within it."""
        words = {getattr(argument, "text", argument) for command in self.commands for argument in command}
        paths = (word for word in words if isinstance(word, str) and word.endswith(".py"))
        return tuple(sorted(path.removeprefix(f"{REPOSITORY}/") for path in paths))

    def needs(self) -> list["Step"]:
        """The steps whose outputs it reads."""
        return list(dict.fromkeys(argument.step for argument in self.arguments() if isinstance(argument, Made)))


def _written(argument: Argument) -> list[str]:
    if isinstance(argument, Made):
        return ["made", argument.step.identity, argument.name]
    return [type(argument).__name__, str(argument)]


@dataclass(frozen=True)
class Result:
    """A finished step: its folder, the content of what it made, seconds of work, and the commit that made it."""

    folder: Path
    outputs: Mapping[str, str]
    seconds: float
    commit: str


Results = Mapping[Step, Result]


def step_key(step: Step, results: Results) -> str:
    """Sixteen hex digits that name a step whose earlier steps are finished."""
    parts = [[_part(argument, results) for argument in command] for command in (*step.commands, step.reads)]
    return sha256_of(str(VERSION), step.kind, json.dumps(parts), json.dumps(step.makes), code_hash(step.programs()))


def _part(argument: Argument, results: Results) -> list[str]:
    if isinstance(argument, Source):
        return ["content", content_hash(argument.path)]
    if isinstance(argument, Made):
        return ["made", argument.name, results[argument.step].outputs[argument.name]]
    if isinstance(argument, Own):
        return ["own", argument.name]
    return ["neutral"] if isinstance(argument, Neutral) else ["text", argument]


def command_line(command: tuple[Argument, ...], folder: Path, results: Results) -> list[str]:
    """The command with its paths filled in."""
    line = []
    for argument in command:
        if isinstance(argument, Source):
            line.append(str(argument.path))
        elif isinstance(argument, Made):
            line.append(str(results[argument.step].folder / argument.name))
        elif isinstance(argument, Own):
            line.append(str(folder / argument.name))
        else:
            line.append(argument.text if isinstance(argument, Neutral) else argument)
    return line


def finished(folder: Path, step: Step) -> Result | None:
    """The result of a step that is done, or None: without `done.json`, or when something it made is gone."""
    try:
        done = read_json(folder / DONE)
        result = Result(folder, dict(done["outputs"]), done["seconds"], done["commit"])
    except (DataError, KeyError, TypeError, ValueError):  # missing or damaged
        return None
    whole = set(result.outputs) == set(step.makes) and all((folder / name).exists() for name in step.makes)
    return result if whole else None
