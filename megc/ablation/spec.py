"""A grid file: what is compared, on which folds and seeds. Every key is checked before anything runs."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from megc.ablation.flags import TRAIN, check_keys, known_flags, spelled
from megc.files import read_yaml, resolve_inside, sha256_of
from megc.parsing import parse_yaml
from megc.problems import DataError, did_you_mean, excerpt
from megc.records import ClosedContract, Contract, check_record
from megc.splits import PROTOCOLS
from megc.training.settings import check_types

PROGRAMS = {  # section of an arm: the program whose flags it holds
    "frames": "data_process/extract_frames.py",
    "flow": "data_process/compute_flow.py",
    "data": "data_process/build_instructions.py",
    "make": "data_process/make_flow_set.py",
    "augment": "data_process/augment_flow.py",
    "train": TRAIN,
    "answer": "test/generate_answers.py",
    "reason": "test/reason_answers.py",
    "fuse": "test/fuse_answers.py",
    "baselines": "test/answer_baselines.py",
}
OURS = {  # keys that are no flags of the program; the grid reads them itself
    "data": ("hierarchy",),  # of train/set_train_dataset.py, which splits the data
    "train": ("config", "launch"),
    "fuse": ("fit", "mirrored"),
    "baselines": ("data", "mirrored"),
}
TAKEN = {  # flags that the grid fills in itself
    "frames": ("clips", "source", "out"),
    "flow": ("frames", "out"),
    "data": ("out", "prompt"),
    "make": ("out",),
    "augment": ("train", "out"),
    "train": ("train_file", "output_dir", "model", "build_tiny", "seed", "resume", "allow_mismatch"),
    "answer": ("model", "models", "questions", "out", "seed"),
    "reason": ("predictions", "out", "train"),
    "fuse": ("predictions", "evidence", "train", "out", "fit-evidence"),
    "baselines": ("baseline", "train", "test", "out", "evidence", "seed"),
}
ARM_KEYS = (
    "data",
    "frames",
    "flow",
    "augment",
    "pretrain",
    "model",
    "after",
    "train",
    "train_of",
    "ensemble",
    "answer",
    "then",
)
GRID_KEYS = (
    "full",
    "protocol",
    "folds",
    "split_seed",
    "share",
    "inner_folds",
    "seeds",
    "baselines",
    "defaults",
    "arms",
)
QUESTIONS = ("frames", "flow", "data")  # sections that make the questions and their pictures
REFERENCES = ("train_of", "after")  # sections that name another arm; the first wins
ZERO_SHOT = "none"


def _as_flag(value: object) -> object:
    """A value that a command line can have: one of text, number, true and false, or a list of the first two."""
    words = value if isinstance(value, list) else [value]
    plain = all(word is None or (isinstance(word, str | int | float) and math.isfinite(_size(word))) for word in words)
    if not plain or (isinstance(value, list) and any(word is None or isinstance(word, bool) for word in words)):
        raise ValueError(f"{excerpt(value)} is nothing that a flag can have: text, a number, true or false, or a list")
    return value


def _size(word: str | int | float) -> float:
    """0 for text; infinity for a number beyond all that a program takes."""
    return 0 if isinstance(word, str) else word if abs(word) < 2**63 else math.inf


ArmName = str | int | float  # YAML makes a number of the name 7
Flags = dict[str, Annotated[Any, AfterValidator(_as_flag)]]


class PretrainFile(ClosedContract):
    """The section `pretrain` of an arm."""

    make: Flags | None = None
    train: Flags | None = None


class ArmFile(ClosedContract):
    """An arm of a grid file, or its defaults; ablation/grid.yaml says what each section does. A null takes away."""

    data: Flags | None = None
    frames: Flags | None = None
    flow: Flags | None = None
    augment: Flags | None = None
    pretrain: PretrainFile | None = None
    model: str | None = None
    after: ArmName | None = None
    train: Literal[ZERO_SHOT] | Flags | None = None
    train_of: ArmName | None = None
    ensemble: bool | None = None
    answer: Flags | None = None
    then: list[dict[Literal["reason", "fuse"], Flags | None]] | None = None


class BaselinesFile(Contract):
    """The section `baselines`: `data`, and flags beside it."""

    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_as_flag)]]
    model_config = ConfigDict(extra="allow")

    data: Flags | None = None


class GridFile(ClosedContract):
    """A grid file, each arm of which is an `ArmFile`."""

    full: ArmName | None = None
    protocol: Literal[PROTOCOLS] = "holdout"
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    share: Annotated[float, Field(gt=0, le=1)] = 1
    inner_folds: Annotated[int, Field(ge=0, le=1000)] = 0
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = [0]  # noqa: RUF012
    baselines: BaselinesFile | None = None
    defaults: dict | None = None
    arms: Annotated[dict[ArmName, Any], Field(min_length=1)]


@dataclass(frozen=True)
class Arm:
    """An arm's sections with the defaults filled in (see ablation/grid.yaml for what each means)."""

    name: str
    sections: Mapping[str, object]

    def section(self, name: str) -> dict:
        """The settings of a section; empty where there are none."""
        settings = self.sections.get(name)
        return dict(settings) if isinstance(settings, Mapping) else {}

    @property
    def hash(self) -> str:
        """Hash of all that the arm sets."""
        return sha256_of(json.dumps(self.sections, sort_keys=True, default=str))


@dataclass(frozen=True)
class Grid:
    """Arms by name, the arm that the others are compared with, the protocol, and the settings of the baselines."""

    file: Path
    arms: Mapping[str, Arm]
    full: str
    protocol: str = "holdout"
    folds: int = 5
    split_seed: int = 0
    share: float = 1
    inner_folds: int = 0
    seeds: tuple[int, ...] = (0,)
    baselines: Mapping[str, object] | None = None
    defaults: Arm = Arm("defaults", {})


def read_grid(file: Path, changes: Sequence[str] = ()) -> Grid:
    """The grid of a yaml file. `changes` such as `train.max_steps=50` or `protocol=loso` replace defaults first.

    Raises DataError for a file that is no grid, an unknown key (with a near match), and arms that name each other in
    a circle or name one that is missing.
    """
    content = read_yaml(file, "give a yaml file of arms")
    if not isinstance(content.get("arms"), dict) or not content["arms"]:
        raise DataError(file, None, "no arms", "name them below `arms:`, as ablation/grid.yaml does")
    for change in changes:
        _change(file, content, change)
    check_keys(file, "", content, GRID_KEYS)
    check_record(GridFile, content, file, None, "write it as ablation/grid.yaml does")
    values = {key: value for key, value in content.items() if key not in ("arms", "defaults", "full")}
    values["seeds"] = tuple(values.get("seeds", (0,)))
    defaults = _checked(file, "defaults", content.get("defaults") or {})
    sections = {
        str(name): _checked(file, f"arms: {name}", {} if values is None else values)
        for name, values in content["arms"].items()
    }
    arms = {name: Arm(name, merge(defaults, of_arm)) for name, of_arm in sections.items()}
    baselines = _check_settings(file, "baselines", "baselines", values.get("baselines") or {})
    if isinstance(baselines.get("data"), Mapping):
        baselines["data"] = _check_settings(file, "baselines: data", "data", baselines["data"])
    values["baselines"] = baselines
    _check_names(file, arms)
    full = next(iter(arms)) if content.get("full") is None else str(content["full"])  # an arm may be called 0
    check_keys(file, "full", [full], arms)
    _check_references(file, arms, _reference(Arm("defaults", defaults)))
    arms = {name: Arm(name, merge(defaults, _with_questions(sections, name, arms))) for name in sections}
    return Grid(file, arms, full, **values, defaults=Arm("defaults", defaults))


def answers_name(arm: str) -> str:
    """Name of the file of an arm's answers: letters, digits, `-`, `_` and `.` of the arm's name, `_` for the rest."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in arm) + ".jsonl"


def _check_names(file: Path, arms: Mapping[str, Arm]) -> None:
    """Refuse names, before anything runs, whose answers could not be written or would replace another arm's."""
    names: dict[str, str] = {}
    for arm in arms:
        name = answers_name(arm)
        try:
            resolve_inside(file.parent, name)
        except ValueError as error:
            raise DataError(file, f"arms: {arm}", f"its answers' file {error}", "give it another name") from error
        if name in names:
            what = f"its answers would go to {name}, as those of {names[name]!r}"
            raise DataError(file, f"arms: {arm}", what, "give one of them another name")
        names[name] = arm


def merge(defaults: Mapping, changes: Mapping) -> dict:
    """`changes` over `defaults`, section by section; a null takes a key or a section away."""
    merged = copy.deepcopy(dict(defaults))
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return {key: value for key, value in merged.items() if value is not None}


def _change(file: Path, content: dict, change: str) -> None:
    path_text, equals, text = change.partition("=")
    if not equals:
        raise DataError(file, change, "not KEY=VALUE", "write --set train.max_steps=50")
    *path, last = path_text.split(".")
    at = content if path_text in GRID_KEYS or path[:1] == ["baselines"] else content.setdefault("defaults", {})
    for name in path:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            raise DataError(file, change, f"{name} is {excerpt(at)}, which holds no settings", "give another KEY")
    try:
        at[last] = parse_yaml(text)
    except ValueError as error:
        raise DataError(file, change, str(error), "write --set train.max_steps=50") from error


def _checked(file: Path, part: str, sections: Mapping) -> dict:
    """Sections with their keys checked and spelled as the programs' flags."""
    if not isinstance(sections, Mapping):
        raise DataError(file, part, "not a mapping of sections", f"choose from {', '.join(ARM_KEYS)}")
    check_keys(file, part, sections, ARM_KEYS)
    check_record(ArmFile, sections, file, part, "write it as ablation/grid.yaml does")
    checked = dict(sections)
    checked |= {name: str(sections[name]) for name in REFERENCES if sections.get(name) is not None}
    for name in ("data", "frames", "flow", "augment", "train", "answer"):
        if isinstance(sections.get(name), Mapping):
            checked[name] = _check_settings(file, f"{part}: {name}", name, sections[name])
        elif name in sections and not (sections[name] is None or (name, sections[name]) == ("train", ZERO_SHOT)):
            raise DataError(file, f"{part}: {name}", f"{sections[name]!r} is no mapping", "give settings below it")
    if isinstance(pretrain := sections.get("pretrain"), Mapping):
        check_keys(file, f"{part}: pretrain", pretrain, ("make", "train"))
        checked["pretrain"] = {
            name: _check_settings(file, f"{part}: pretrain: {name}", name, pretrain[name] or {}) for name in pretrain
        }
    if sections.get("then"):
        checked["then"] = [_check_then(file, f"{part}: then", entry) for entry in sections["then"]]
    return checked


def _check_then(file: Path, part: str, entry: object) -> dict:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise DataError(file, part, f"{entry!r} is not one of reason and fuse", "write `- reason: {…}`")
    check_keys(file, part, entry, ("reason", "fuse"))
    return {name: _check_settings(file, f"{part}: {name}", name, settings or {}) for name, settings in entry.items()}


def _check_settings(file: Path, part: str, section: str, settings: Mapping) -> dict:
    program = PROGRAMS[section]
    flags = (known_flags(program) | set(OURS.get(section, ()))) - set(TAKEN[section]) | set(OURS.get(section, ()))
    settings = spelled(program, settings)
    taken = [key for key in settings if key in TAKEN[section] and key not in flags]
    if taken:
        raise DataError(file, f"{part}: {taken[0]}", "the grid sets this itself", "leave it out")
    check_keys(file, part, settings, flags)
    if section == "train":
        check_types(file, settings, f"{part}: ")
    return settings


def _check_references(file: Path, arms: Mapping[str, Arm], default: tuple[str, str] | None) -> None:
    """Refuse an arm that `train_of` or `after` leads to no arm, or back to one that it came from.

    `default` is the reference that the grid's defaults have.
    """
    for name in arms:
        seen, fields = [name], []
        while link := _reference(arms[seen[-1]]):
            field, other = link
            part = f"arms: {seen[-1]}: {field}{' (of the defaults)' if link == default else ''}"
            if other not in arms:
                raise DataError(file, part, f"there is no arm {excerpt(other)}", did_you_mean(other, arms))
            fields.append(field)
            if other in seen:
                what = f"{' → '.join([*seen, other])} is a circle of {' and '.join(dict.fromkeys(fields))}"
                raise DataError(file, part, what, "train one of them afresh")
            seen.append(other)


def _with_questions(written: Mapping[str, dict], name: str, arms: Mapping[str, Arm]) -> dict:
    """Sections of an arm; one with `train_of` is asked as the other arm was trained, but for settings of its own.

    `written`: the sections of all arms as the file has them, `arms`: over the defaults. The null of a setting is kept:
    it takes a default away.
    """
    sections = dict(written[name])
    if other := arms[name].sections.get("train_of"):
        trained = _with_questions(written, other, arms)
        for part in QUESTIONS:
            settings, of_other = sections.get(part, {}), trained.get(part)
            if settings is not None and of_other is not None:
                sections[part] = {**of_other, **settings}
    return sections


def _reference(arm: Arm) -> tuple[str, str] | None:
    """Field and name of the arm whose training this one takes or goes on from; None for one that starts afresh."""
    return next(((field, arm.sections[field]) for field in REFERENCES if field in arm.sections), None)
