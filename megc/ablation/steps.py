"""A step: commands that fill one folder, named by a hash of everything that decides what is in it.

The key of a step hashes its commands, the content of the files they read, the content (not the name) of what the
steps before it made, and the code of its programs with all that they import (see `program_code`). So two arms that
come to the same data or the same training share the work, and a step is done again when, and only when, something it
rests on has changed: a change of code that alters no prompt and no row of the data leaves training alone, unless it
is in the code of training itself.
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from megc.ablation.program_code import REPOSITORY, code_hash
from megc.files import read_checked, read_jsonl, resolve_inside, sha256_of
from megc.model.weights import content_hash, file_hash, is_checkpoint
from megc.problems import DataError
from megc.records import ClosedContract

VERSION = 2  # of the layout of steps; another one makes everything be done again
DONE = "done.json"
ALL_GPUS = -1  # as Step.gpus: every one of the machine
KINDS = (
    *("frames", "flow", "data", "flows", "pretrain", "train", "train-inner"),
    *("answer", "answer-inner", "baseline", "evidence", "reason", "fuse"),
)


@dataclass(frozen=True)
class InputFile:
    """A file or folder that no step makes; its content counts, its place does not."""

    path: Path


@dataclass(frozen=True)
class StepFile:
    """A path in the step's folder."""

    name: str


@dataclass(frozen=True)
class SpeedFlag:
    """A word that does not change what is made, such as a number of processes."""

    text: str


@dataclass(frozen=True)
class OutputOf:
    """A path in the folder of an earlier step."""

    step: "Step"
    name: str


Argument = str | InputFile | StepFile | SpeedFlag | OutputOf


@dataclass(frozen=True, eq=False)
class Step:
    """`commands` run in order; `makes` are the files and folders that later steps may read, `reads` further inputs
    that no word names. An unfinished step starts anew, unless its folder holds something that matches the pattern
    `resumes`: its program goes on from that, to the same result. `gpus` is how many its programs use, where there are
    any.

    Steps are equal when their commands are, whatever their titles.
    """

    kind: str
    title: str
    commands: tuple[tuple[Argument, ...], ...]
    makes: tuple[str, ...]
    reads: tuple[Argument, ...] = ()
    resumes: str = ""
    gpus: int = 0

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
        words = {getattr(argument, "text", argument) for argument in self.arguments()}
        paths = (word for word in words if isinstance(word, str) and word.endswith(".py"))
        return tuple(sorted(path.removeprefix(f"{REPOSITORY}/") for path in paths))

    def needs(self) -> list["Step"]:
        """The steps whose outputs it reads."""
        return list(dict.fromkeys(argument.step for argument in self.arguments() if isinstance(argument, OutputOf)))


def _written(argument: Argument) -> list[str]:
    if isinstance(argument, OutputOf):
        return ["made", argument.step.identity, argument.name]
    return [type(argument).__name__, str(argument)]


@dataclass(frozen=True)
class Result:
    """A finished step: its folder, the content of what it made, seconds of work, the commit that made it, and whether
    it was kept although its code has changed since."""

    folder: Path
    outputs: Mapping[str, str]
    seconds: float
    commit: str
    kept: bool = False

    def record(self) -> dict:
        """As a `ResultRecord`."""
        return {**vars(self), "folder": str(self.folder), "outputs": dict(self.outputs)}


FilePath = Annotated[str, Field(min_length=1)]


class OutputRecord(ClosedContract):
    """Hash of each output by its name, seconds of work, and the commit that made them."""

    outputs: dict[str, str]
    seconds: Annotated[float, Field(ge=0)]
    commit: str


class DoneRecord(OutputRecord):
    """`done.json` in the folder of a finished step, with the name of the run that did it."""

    run: str


class ResultRecord(OutputRecord):
    """A `Result` as a job leaves it for the run that waits for it."""

    folder: FilePath
    kept: bool


Results = Mapping[Step, Result]


def steps_in_order(last: Sequence[Step]) -> list[Step]:
    """These steps and all that they need, each once, behind those it needs."""
    ordered: dict[Step, None] = {}

    def add(step: Step) -> None:
        if step not in ordered:
            for needed in step.needs():
                add(needed)
            ordered[step] = None

    for step in last:
        add(step)
    return list(ordered)


def is_of_kind(step: Step, kinds: Collection[str]) -> bool:
    """Whether a step is of one of the kinds; `train` and `answer` are also those on the inner folds."""
    return step.kind in kinds or step.kind.removesuffix("-inner") in kinds


def step_folder(step: Step, results: Results, work: Path) -> Path:
    """Folder of a step whose earlier steps are finished: `work/steps/<kind>-<16 digits>-<8 digits of its code>`.

    Raises DataError for an input that does not exist.
    """
    parts = [[_part(argument, results) for argument in command] for command in (*step.commands, step.reads)]
    key = sha256_of(str(VERSION), step.kind, json.dumps(parts), json.dumps(step.makes))
    return work / "steps" / f"{step.kind}-{key}-{code_hash(step.programs())[:8]}"


def _part(argument: Argument, results: Results) -> list[str]:
    if isinstance(argument, InputFile):
        return ["content", path_hash(argument.path)]
    if isinstance(argument, OutputOf):
        return ["made", argument.name, results[argument.step].outputs[argument.name]]
    if isinstance(argument, StepFile):
        return ["own", argument.name]
    if isinstance(argument, SpeedFlag):
        return ["neutral"]
    # a plain word may name a file, as --deepspeed does; a program's code is hashed with all that it imports
    is_input = not argument.endswith(".py") and os.path.isfile(argument)
    return ["content", path_hash(Path(argument))] if is_input else ["text", argument]


def command_line(command: tuple[Argument, ...], folder: Path | str, folders: Mapping[Step, Path | str]) -> list[str]:
    """The words of a command with its paths filled in: `folder` is the step's, `folders` those of earlier steps."""
    line = []
    for argument in command:
        if isinstance(argument, InputFile):
            line.append(str(argument.path))
        elif isinstance(argument, OutputOf):
            line.append(f"{folders[argument.step]}/{argument.name}")
        elif isinstance(argument, StepFile):
            line.append(str(folder) if argument.name == "." else f"{folder}/{argument.name}")
        else:
            line.append(argument.text if isinstance(argument, SpeedFlag) else argument)
    return line


def read_done(folder: Path) -> dict | None:
    """`done.json` of a step's folder; None where there is none, or a damaged one: then the step is done again."""
    try:
        return read_checked(DoneRecord, folder / DONE)
    except DataError:
        return None


def read_result(folder: Path, step: Step) -> Result | None:
    """The result of a step that is done, or None: without `done.json`, or when something it made is gone."""
    done = read_done(folder)
    if not done or set(done["outputs"]) != set(step.makes):
        return None
    whole = all((folder / name).exists() for name in step.makes)
    return Result(folder, done["outputs"], done["seconds"], done["commit"]) if whole else None


def find_result(folder: Path, step: Step, keep: Collection[str] = ()) -> Result | None:
    """`read_result`; for the kinds `keep` else the latest result that other code made of the same commands and inputs,
    marked as `kept`."""
    result = read_result(folder, step)
    if result or not is_of_kind(step, keep):
        return result
    of_other_code = folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*/{DONE}")
    for done in sorted(of_other_code, key=lambda file: file.stat().st_mtime, reverse=True):
        if result := read_result(done.parent, step):
            return replace(result, kept=True)
    return None


def path_hash(path: Path) -> str:
    """Sixteen hex digits of what is at `path`: a file's bytes and, of an instruction JSONL, the pictures it names; a
    checkpoint's weights, configuration and tokenizer, without its records of when and where; all files of any other
    folder. Raises DataError when there is nothing."""
    if path.is_file():
        names = _pictures(path) if path.suffix == ".jsonl" else []
        try:
            pictures = [part for name in names for part in (name, file_hash(resolve_inside(path.parent, name)))]
        except ValueError as error:
            raise DataError(path, None, f"picture {error}", "build the file again") from error
        return sha256_of(file_hash(path), *pictures)
    if not path.is_dir():
        raise DataError(path, None, "the grid needs it and it does not exist", "make it first, or correct the path")
    if is_checkpoint(path):
        return content_hash(path)
    files = [file for file in path.glob("**/*") if file.is_file()]
    named = sorted((file.relative_to(path).as_posix(), file) for file in files if not file.name.startswith("."))
    return sha256_of(*(part for name, file in named for part in (name, file_hash(file))))


def _pictures(path: Path) -> list[str]:
    """Pictures and frames of videos that an instruction JSONL names, in order of name; none for other files."""
    names: set[str] = set()
    for _, row in read_jsonl(path):
        names.update(row.get("images") or (), *(row.get("videos") or ()))
    return sorted(names)
