"""The plan that the main process of a grid hands to its jobs: `plan.json`, and the records that the jobs leave.

run folder (state)            what for
plan.json                     the steps that are missing and what the run was started with
<kind>/<step>.started         the step's folder: the job is at work
<kind>/<step>.failed          why it failed, with the end of its log
<kind>/<step>.json            its result (`ResultRecord`); Snakemake waits for this file
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from megc.ablation.steps import (
    ALL_GPUS,
    KINDS,
    Argument,
    FilePath,
    InputFile,
    OutputOf,
    Result,
    ResultRecord,
    SpeedFlag,
    Step,
    StepFile,
    steps_in_order,
)
from megc.files import read_checked, write_json
from megc.problems import DataError
from megc.records import ClosedContract

_FIX = "start the grid again, which writes a new plan"
_WORDS = {"text": str, "input": lambda value: InputFile(Path(value)), "file": StepFile, "speed": SpeedFlag}


class ArgumentRecord(ClosedContract):
    """A word of a command; `step` is the identity of the step whose `output` it is."""

    kind: Literal["text", "input", "file", "speed", "output"]
    value: str
    step: str = ""

    @model_validator(mode="after")
    def _check_step(self) -> Self:
        if (self.kind == "output") != bool(self.step):
            raise ValueError("an output has a step, and nothing else has")
        return self


class StepRecord(ClosedContract):
    """A `Step`. `identity` is its hash, so that a changed word shows."""

    identity: str
    kind: str
    title: str
    commands: list[list[ArgumentRecord]]
    makes: list[str]
    reads: list[ArgumentRecord]
    resumes: str
    gpus: int


class PlanRecord(ClosedContract):
    """`plan.json`. `steps`: each behind those it needs, the finished ones too; `names`: identity of each missing step
    by its name; `results`: of the finished steps, by identity."""

    work: FilePath
    state: FilePath
    current: FilePath
    repository: FilePath
    python: FilePath
    commit: str
    steps: list[StepRecord]
    names: dict[str, str]
    results: dict[str, ResultRecord]
    redo: list[str]
    keep: list[str]
    devices: list[str]


@dataclass(frozen=True)
class Plan:
    """What the jobs of one run need to know: `steps` are the missing ones by name, `results` those of the finished
    ones; `state` is the run's folder, `current` the one that programs start in; `devices` are this machine's GPUs to
    choose from, empty where a cluster assigns them."""

    work: Path
    state: Path
    current: Path
    repository: Path
    python: str
    commit: str
    steps: Mapping[str, Step]
    results: Mapping[Step, Result]
    redo: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Where the jobs find the plan."""
        return self.state / "plan.json"

    def kinds(self) -> list[str]:
        """Kinds of steps; each is a rule."""
        return [kind for kind in (*KINDS, *sorted({step.kind for step in self.steps.values()} - set(KINDS)))]

    def record(self, name: str) -> str:
        """File of a step's result, within `state`."""
        return f"{self.steps[name].kind}/{name}.json"

    def needed_records(self, name: str) -> list[str]:
        """Files of the results that a step needs and that are still missing."""
        names = {step: name for name, step in self.steps.items()}
        return [self.record(names[needed]) for needed in self.steps[name].needs() if needed in names]

    def gpus(self, name: str) -> int:
        """GPUs that a step takes; no more than this machine has, where one is known to have any."""
        gpus = self.steps[name].gpus
        if gpus == ALL_GPUS:
            return len(self.devices) or 1
        return min(gpus, len(self.devices)) if self.devices else gpus

    def marker(self, name: str, ending: str) -> Path:
        """`.started` or `.failed` of a step."""
        return (self.state / self.record(name)).with_suffix(ending)

    def read_record(self, name: str) -> Result | None:
        """The result that a job left; None where it left none. Raises DataError for a damaged one."""
        file = self.state / self.record(name)
        return _result_of(read_checked(ResultRecord, file, fix=_FIX)) if file.is_file() else None

    def write_record(self, name: str, result: Result) -> None:
        """Leave the result of a step for `read_record`."""
        write_json(self.state / self.record(name), result.record())


def step_name(step: Step) -> str:
    """A step's name in files and in the queue of a cluster: its title, and digits that no other step has."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', step.title).strip('-')[:60]}-{step.identity[:8]}"


def write_plan(plan: Plan) -> None:
    """Write `plan.json` into the run's folder."""
    write_json(plan.file, plan_record(plan))


def plan_record(plan: Plan) -> dict:
    """A plan as a `PlanRecord`."""
    steps = steps_in_order([*plan.results, *plan.steps.values()])
    return {
        **{name: str(getattr(plan, name)) for name in ("work", "state", "current", "repository", "python", "commit")},
        "steps": step_records(steps),
        "names": {name: step.identity for name, step in plan.steps.items()},
        "results": {step.identity: result.record() for step, result in plan.results.items()},
        **{name: list(getattr(plan, name)) for name in ("redo", "keep", "devices")},
    }


def read_plan(path: Path | str) -> Plan:
    """The plan of a run, as its main process wrote it. Raises DataError for a file that is none, or was changed."""
    record = read_checked(PlanRecord, path, fix=_FIX)
    steps = {step.identity: step for step in steps_of(record["steps"], path)}
    listed = {*record["names"].values(), *record["results"]}
    if listed != steps.keys():
        what = f"names and results must list each of the steps; not so {', '.join(sorted(listed ^ steps.keys()))}"
        raise DataError(path, None, what, _FIX)
    return Plan(
        **{name: Path(record[name]) for name in ("work", "state", "current", "repository")},
        **{name: record[name] for name in ("python", "commit")},
        steps={name: steps[identity] for name, identity in record["names"].items()},
        results={steps[identity]: _result_of(result) for identity, result in record["results"].items()},
        **{name: tuple(record[name]) for name in ("redo", "keep", "devices")},
    )


def step_records(steps: Iterable[Step]) -> list[dict]:
    """Steps as `StepRecord`s; give each behind those it needs (`steps_in_order`)."""
    return [
        {
            "identity": step.identity,
            "kind": step.kind,
            "title": step.title,
            "commands": [[_argument_record(argument) for argument in command] for command in step.commands],
            "makes": list(step.makes),
            "reads": [_argument_record(argument) for argument in step.reads],
            "resumes": step.resumes,
            "gpus": step.gpus,
        }
        for step in steps
    ]


def steps_of(records: Sequence[dict], file: Path | str) -> list[Step]:
    """The steps of `StepRecord`s. Raises DataError for one that needs a step which does not stand before it, and for
    one that is another than its `identity`."""
    steps: dict[str, Step] = {}
    for number, record in enumerate(records):
        try:
            words = [tuple(_argument_of(word, steps) for word in command) for command in record["commands"]]
            reads = tuple(_argument_of(word, steps) for word in record["reads"])
        except KeyError as error:
            what = f"steps[{number}] needs the step {error}, which does not stand before it"
            raise DataError(file, None, what, _FIX) from error
        more = {name: record[name] for name in ("kind", "title", "resumes", "gpus")}
        step = Step(commands=tuple(words), makes=tuple(record["makes"]), reads=reads, **more)
        if step.identity != record["identity"]:
            what = f"steps[{number}] has other commands than its identity: it was changed"
            raise DataError(file, None, what, _FIX)
        steps[step.identity] = step
    return list(steps.values())


def _argument_record(argument: Argument) -> dict[str, str]:
    if isinstance(argument, OutputOf):
        return {"kind": "output", "value": argument.name, "step": argument.step.identity}
    if isinstance(argument, InputFile):
        return {"kind": "input", "value": str(argument.path)}
    if isinstance(argument, StepFile):
        return {"kind": "file", "value": argument.name}
    if isinstance(argument, SpeedFlag):
        return {"kind": "speed", "value": argument.text}
    return {"kind": "text", "value": argument}


def _argument_of(record: dict, steps: Mapping[str, Step]) -> Argument:
    """The argument of an `ArgumentRecord`. Raises KeyError for the output of a step that is not in `steps`."""
    if record["kind"] == "output":
        return OutputOf(steps[record["step"]], record["value"])
    return _WORDS[record["kind"]](record["value"])


def _result_of(record: dict) -> Result:
    return Result(Path(record["folder"]), record["outputs"], record["seconds"], record["commit"], record["kept"])
