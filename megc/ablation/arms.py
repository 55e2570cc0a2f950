"""From a grid to its steps: the chain of programs behind each arm, fold and seed."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from megc.ablation.flags import TRAIN, as_flags
from megc.ablation.program_code import REPOSITORY
from megc.ablation.spec import PROGRAMS, ZERO_SHOT, Arm, Grid, merge
from megc.ablation.steps import ALL_GPUS, Argument, InputFile, OutputOf, SpeedFlag, Step, StepFile
from megc.baselines.settings import MIRRORED_PROBE
from megc.clips import read_clips
from megc.files import read_jsonl, read_yaml
from megc.problems import DataError
from megc.splits import make_folds
from megc.vqa.instructions import row_clip

BASELINES = {"prior": "prior only", "prior-sampled": "prior sampled", "flow-probe": "flow probe"}
PROBE = BASELINES["flow-probe"]
MIRRORED = {MIRRORED_PROBE: "flow probe, mirrored"}  # where the grid's baselines say `mirrored`
_PATHS = ("clips", "rows", "frames", "flow", "flow-dir")  # flags of build_instructions.py that name inputs
_SPEED = ("workers", "threads", "batch-size", "device")  # flags that change speed, not results
ANSWERS = "predictions.jsonl"
INNER_TRAIN, INNER_TEST = "inner0_train.jsonl", "inner0_test.jsonl"  # the training subjects, split once more
_PROCESSES = re.compile(r"(?:nproc[-_]per[-_]node|num[-_]gpus|num[-_]processes)[= ]+(\d+)")  # in `launch`


@dataclass(frozen=True)
class Chain:
    """The steps behind one row of the table: `answers` makes the predictions, from `data` and, but for a baseline and
    a model of somebody else, the checkpoint of `train`."""

    arm: str
    fold: int
    seed: int
    settings: str  # hash of the arm's settings
    data: Step
    answers: Step
    train: Step | None = None
    model_answers: Step | None = None  # before reasoning and fusion


def number_of_folds(grid: Grid) -> int:
    """How many folds the protocol makes of the data of the defaults. Raises DataError where there are too few
    subjects or datasets."""
    if grid.protocol in ("holdout", "kfold"):
        return 1 if grid.protocol == "holdout" else grid.folds
    data = grid.defaults.section("data")
    if data.get("rows"):
        origins = [row_clip(row) for file in _paths(data["rows"]) for _, row in read_jsonl(file)]
    else:
        clips = [clip for clip in read_clips(Path(data["clips"])) if clip.coarse]
        origins = [{"dataset": clip.dataset, "subject": clip.subject} for clip in clips]
    try:
        return len(make_folds(origins, grid.protocol))
    except ValueError as error:
        files = ", ".join(map(str, _paths(data.get("rows") or data["clips"])))
        raise DataError(files, None, str(error), "choose another --protocol") from error


def _paths(value: str | Sequence[str]) -> list[Path]:
    """The paths of a flag that takes one or several."""
    return [Path(path) for path in ([value] if isinstance(value, str) else value)]


def chains(grid: Grid, only: tuple[str, ...] = ()) -> list[Chain]:
    """A chain for each arm, fold and seed, the baselines' last; with `only`, of these arms and the baselines."""
    planned = []
    for fold in range(number_of_folds(grid)):
        for seed in grid.seeds:
            part = Part(grid, fold, seed)
            planned += [arm_chain(part, arm) for arm in grid.arms.values() if not only or arm.name in only]
            planned += baseline_chains(part)
    order = {name: number for number, name in enumerate([*grid.arms, *BASELINES.values(), *MIRRORED.values()])}
    return sorted(planned, key=lambda chain: order[chain.arm])


@dataclass(frozen=True)
class Part:
    """One fold and seed of a grid, which all steps of an arm share."""

    grid: Grid
    fold: int
    seed: int

    def step(
        self, kind: str, arm: str, *commands: tuple[Argument, ...], makes: tuple[str, ...], **more: object
    ) -> Step:
        """A step whose title names the arm and, where there are several, the fold and the seed."""
        words = [f"{kind} {arm}"]
        words += [f"fold {self.fold}"] if self.grid.protocol != "holdout" else []
        words += [f"seed {self.seed}"] if len(self.grid.seeds) > 1 else []
        return Step(kind, " · ".join(words), commands, makes, **more)


def arm_chain(part: Part, arm: Arm) -> Chain:
    """The chain of an arm that a model answers, or the models of all seeds together: these have one answer, whichever
    the seed."""
    steps_part = replace(part, seed=part.grid.seeds[0]) if arm.sections.get("ensemble") else part
    data, models = data_step(steps_part, arm), member_models(steps_part, arm)
    model_answers = answer_step(steps_part, arm, data, models, "test.jsonl")
    answers = after_steps(steps_part, arm, data, model_answers)
    train = models[0].step if isinstance(models[0], OutputOf) else None
    return Chain(arm.name, part.fold, part.seed, arm.hash, data, answers, train, model_answers)


def baseline_chains(part: Part) -> list[Chain]:
    """The baselines, on the data of the defaults with the flow picture alone: all arms answer the same rows."""
    arm = _baseline_arm(part.grid)
    data = data_step(part, arm)
    planned = []
    for baseline, name in (BASELINES | (MIRRORED if (part.grid.baselines or {}).get("mirrored") else {})).items():
        drawn = ("--seed", str(part.seed)) if baseline == "prior-sampled" else ()
        command = (
            PROGRAMS["baselines"],
            "--baseline",
            baseline,
            *_baseline_flags(part.grid),
            *drawn,
            *_both_sides(data),
        )
        step = part.step("baseline", name, (*command, "--out", StepFile(ANSWERS)), makes=(ANSWERS,))
        planned.append(Chain(name, part.fold, part.seed, arm.hash, data, step))
    return planned


def _baseline_arm(grid: Grid) -> Arm:
    sections = {**grid.defaults.sections, "augment": None}
    settings = dict((grid.baselines or {}).get("data") or {})
    return Arm("baselines", merge(sections, {"data": {"images": ["flow"], "hierarchy": None, **settings}}))


def _baseline_flags(grid: Grid) -> tuple[str, ...]:
    settings = {key: value for key, value in (grid.baselines or {}).items() if key not in ("data", "mirrored")}
    return as_flags(PROGRAMS["baselines"], settings)


def _both_sides(data: Step) -> tuple[Argument, ...]:
    return ("--train", OutputOf(data, "train.jsonl"), "--test", OutputOf(data, "test.jsonl"))


# Data: pictures where the arm makes its own, instructions, sides of the fold


def data_step(part: Part, arm: Arm) -> Step:
    """Build the instructions and split them; pictures are made first where the arm says how.

    Makes train.jsonl and test.jsonl; INNER_TRAIN and INNER_TEST where the grid has inner folds; with augmentation the
    training sides again as augmented_….jsonl.
    """
    settings = arm.section("data")
    inputs = _picture_inputs(part, arm)
    others = {key: value for key, value in settings.items() if key not in (*_PATHS, "hierarchy")}
    words = tuple(word for key, paths in inputs.items() for word in (f"--{key}", *paths))
    build = (PROGRAMS["data"], *as_flags(PROGRAMS["data"], others), *words, "--out", StepFile("instructions.jsonl"))
    split = _split_command(part, "instructions.jsonl", "train.jsonl", "test.jsonl")
    if hierarchy := settings.get("hierarchy"):  # the split knows which subjects show their true classes
        split += ("--hierarchy", hierarchy)
    commands = [build, split]
    makes = ["train.jsonl", "test.jsonl"]
    if part.grid.inner_folds:
        commands.append(_split_command(part, "train.jsonl", INNER_TRAIN, INNER_TEST, inner=True))
        makes += [INNER_TRAIN, INNER_TEST]
    if augment := arm.section("augment"):
        flags = as_flags(PROGRAMS["augment"], augment)
        for side in [name for name in makes if "train" in name]:
            files = ("--train", StepFile(side), "--out", StepFile(f"augmented_{side}"))
            commands.append((PROGRAMS["augment"], *files, *flags))
            makes.append(f"augmented_{side}")
    return part.step("data", arm.name, *commands, makes=tuple(makes))


def _picture_inputs(part: Part, arm: Arm) -> dict[str, list[Argument]]:
    """Flags of build_instructions.py that name inputs, with the arm's own key frames and flow where it makes them."""
    settings = arm.section("data")
    inputs: dict[str, list[Argument]] = {
        key: [InputFile(path) for path in _paths(settings[key])] for key in _PATHS if settings.get(key)
    }
    if frames := arm.section("frames"):
        if "clips" not in inputs:
            raise DataError(part.grid.file, f"arms: {arm.name}: frames", "no clips to cut them from", "give clips")
        words = (*_section_flags("frames", frames), "--out", StepFile("frames"))
        command = (PROGRAMS["frames"], "--clips", *inputs["clips"], *words)
        inputs["frames"] = [OutputOf(part.step("frames", arm.name, command, makes=("frames",)), "frames")]
    if flow := arm.section("flow"):
        words = (*_section_flags("flow", flow), "--out", StepFile("flow"))
        command = (PROGRAMS["flow"], "--frames", *inputs["frames"], *words)
        inputs["flow"] = [OutputOf(part.step("flow", arm.name, command, makes=("flow",)), "flow")]
    return inputs


def _split_command(part: Part, file: str, train: str, test: str, inner: bool = False) -> tuple[Argument, ...]:
    grid = part.grid
    values = (grid.protocol, grid.folds, part.fold) if not inner else ("kfold", grid.inner_folds, 0)
    words = [f"--{name}={value}" for name, value in zip(("protocol", "folds", "fold"), values, strict=True)]
    files = ("--instructions", StepFile(file), "--train", StepFile(train), "--test", StepFile(test))
    words += [f"--share={grid.share:g}"] if not inner and grid.share < 1 else []
    return ("train/set_train_dataset.py", *files, *words, f"--seed={grid.split_seed}")


# Training


def member_models(part: Part, arm: Arm, side: str = "train.jsonl") -> list[Argument]:
    """The checkpoints that answer together, trained on `side` of the arm's data: one, or an ensemble's, of all
    seeds."""
    seeds = part.grid.seeds if arm.sections.get("ensemble") else [part.seed]
    return [trained_model(replace(part, seed=seed), arm, side) for seed in seeds]


def trained_model(part: Part, arm: Arm, side: str = "train.jsonl") -> Argument:
    """The arm's checkpoint, trained on `side` of its data; of another arm where it says `train_of`.

    Without training it is the model that the others start from. The tiny one has to be built: a training with a
    rate of zero makes it, with prompt and pixel budget in its record like the others.
    """
    if other := arm.sections.get("train_of"):
        return trained_model(part, part.grid.arms[other], side)
    start, settings = _start_model(part, arm, side), arm.section("train")
    if arm.sections.get("train") == ZERO_SHOT:
        if start is not None:
            return start
        settings = {**part.grid.defaults.section("train"), "max_steps": 1, "learning_rate": 0, "warmup_steps": 0}
    data = OutputOf(data_step(part, arm), f"augmented_{side}" if arm.section("augment") else side)
    kind = "train" if side == "train.jsonl" else "train-inner"
    if kind == "train-inner" and settings.get("max_steps"):  # as many passes over fewer clips
        folds = part.grid.inner_folds
        settings["max_steps"] = max(1, round(settings["max_steps"] * (folds - 1) / folds))
    step = train_step(part, kind, arm, settings, data, start, ("--seed", str(part.seed)))
    return OutputOf(step, "checkpoint")


def _start_model(part: Part, arm: Arm, side: str) -> Argument | None:
    """What training starts from; None for the tiny model, which is built then."""
    if other := arm.sections.get("after"):
        return trained_model(part, part.grid.arms[other], side)
    if arm.section("pretrain"):
        return OutputOf(pretrain_step(part, arm), "checkpoint")
    return _base_model(part.grid, arm)


def _base_model(grid: Grid, arm: Arm) -> Argument | None:
    settings = grid.defaults.section("train") | arm.section("train")
    config = read_yaml(_config(settings))
    model = arm.sections.get("model") or (None if config.get("build_tiny") else config.get("model"))
    return InputFile(Path(model)) if model and Path(model).is_dir() else model


def pretrain_step(part: Part, arm: Arm) -> Step:
    """Synthetic flow pictures and a training on them: no dataset's labels, so all folds and seeds share it."""
    section = arm.section("pretrain")
    command = (PROGRAMS["make"], *as_flags(PROGRAMS["make"], section.get("make", {})), "--out", StepFile("."))
    flows = Step("flows", f"flows {arm.name}", (command,), ("instructions.jsonl",))
    settings = merge(part.grid.defaults.section("train"), section.get("train", {}))
    data, start = OutputOf(flows, "instructions.jsonl"), _base_model(part.grid, arm)
    step = train_step(part, "pretrain", arm, settings, data, start, ())
    return replace(step, title=f"pretrain {arm.name}")


def train_step(
    part: Part, kind: str, arm: Arm, settings: Mapping, data: Argument, start: Argument | None, seed: tuple[str, ...]
) -> Step:
    """A training on an instruction file, from the checkpoint `start` or from the tiny model, which is built then."""
    settings = dict(settings)
    config, launch = _config(settings), settings.pop("launch", None)
    settings.pop("config", None)
    model = (start, "--build_tiny", "false") if start else (StepFile("base"), "--build_tiny", "true")
    model += ("--allow_mismatch", "true") if start else ()  # it was trained with another prompt
    program = [SpeedFlag(word) for word in [*shlex.split(launch), str(REPOSITORY / TRAIN)]] if launch else [TRAIN]
    command = (*program, "--config", InputFile(config), "--train_file", data, "--model", *model)
    command += (*as_flags(TRAIN, settings), *seed, "--output_dir", StepFile("checkpoint"), "--resume", "true")
    gpus = _processes(launch) if launch else 1
    zero = read_yaml(config).get("deepspeed")  # a file that the configuration names
    reads = (InputFile(Path(zero)),) if isinstance(zero, str) and Path(zero).is_file() else ()
    return part.step(kind, arm.name, command, makes=("checkpoint",), reads=reads, resumes="checkpoint/*", gpus=gpus)


def _processes(launch: str) -> int:
    """Processes, each with a GPU, that a launcher starts; all GPUs where it does not say."""
    number = _PROCESSES.search(launch)
    return int(number[1]) if number else ALL_GPUS


def _config(settings: Mapping) -> Path:
    return Path(settings.get("config", "train/tiny.yaml"))


# Answers, and what is made of them


def answer_step(part: Part, arm: Arm, data: Step, models: Sequence[Argument], side: str) -> Step:
    """The answers of one model, or of several together, to `side` of the data."""
    words = _section_flags("answer", arm.section("answer"))
    if _prompt_sections(arm) != _prompt_sections(_training_arm(part.grid, arm)):
        words += ("--allow-mismatch",)  # the point of the arm: another prompt than in training
    questions = ("--questions", OutputOf(data, side), "--seed", str(part.seed))
    flag = "--model" if len(models) == 1 else "--models"
    command = (PROGRAMS["answer"], flag, *models, *questions, *words, "--out", StepFile("."))
    kind = "answer" if side == "test.jsonl" else "answer-inner"
    return part.step(kind, arm.name, command, makes=(ANSWERS,), resumes=f"{ANSWERS}*", gpus=1)


def _training_arm(grid: Grid, arm: Arm) -> Arm:
    while other := arm.sections.get("train_of"):
        arm = grid.arms[other]
    return arm


def _prompt_sections(arm: Arm) -> list:
    return [arm.sections.get(name) for name in ("data", "frames", "flow")]


def after_steps(part: Part, arm: Arm, data: Step, answers: Step) -> Step:
    """The last of the steps of `then` over the model's answers; these where there are none."""
    for entry in arm.sections.get("then", ()):
        ((name, settings),) = entry.items()
        make_step = reason_step if name == "reason" else fuse_step
        answers = make_step(part, arm, settings, data, answers)
    return answers


def reason_step(part: Part, arm: Arm, settings: Mapping, data: Step, answers: Step) -> Step:
    """Reasoning over the answers of a step."""
    words = as_flags(PROGRAMS["reason"], dict(settings))
    command = (PROGRAMS["reason"], "--predictions", OutputOf(answers, ANSWERS))
    command += ("--train", OutputOf(data, "train.jsonl"), *words, "--out", StepFile("."))
    return part.step("reason", arm.name, command, makes=(ANSWERS,))


def fuse_step(part: Part, arm: Arm, settings: Mapping, data: Step, answers: Step) -> Step:
    """Fusion of the answers of a step with the flow probe's evidence.

    With `fit: true` the weights are fitted on answers to a fold of the training subjects, by a model that is
    trained in the same way on the others; nothing of the test subjects
    is read. With `mirrored: true` the evidence is the mirrored probe's.
    """
    settings = dict(settings)
    fit, mirrored = settings.pop("fit", False), settings.pop("mirrored", False)
    evidence = OutputOf(evidence_step(part, mirrored), "evidence.jsonl")
    command: tuple[Argument, ...] = (PROGRAMS["fuse"], "--predictions", OutputOf(answers, ANSWERS))
    command += ("--train", OutputOf(data, "train.jsonl"), "--evidence", evidence)
    if fit:
        if not part.grid.inner_folds:
            raise DataError(part.grid.file, f"arms: {arm.name}: fit", "needs inner folds", "set inner_folds: 4")
        held_out = answer_step(part, arm, data, member_models(part, arm, INNER_TRAIN), INNER_TEST)
        command += ("--fit", OutputOf(held_out, ANSWERS))
    command += (*as_flags(PROGRAMS["fuse"], settings), "--out", StepFile("."))
    return part.step("fuse", arm.name, command, makes=(ANSWERS,))


def evidence_step(part: Part, mirrored: bool = False) -> Step:
    """The flow probe's probabilities for both sides of the fold, or the mirrored one's."""
    data = data_step(part, _baseline_arm(part.grid))
    command = (PROGRAMS["baselines"], *_baseline_flags(part.grid), *_both_sides(data))
    command += ("--baseline", MIRRORED_PROBE) if mirrored else ()
    command += ("--evidence", StepFile("evidence.jsonl"))
    return part.step("evidence", MIRRORED[MIRRORED_PROBE] if mirrored else PROBE, command, makes=("evidence.jsonl",))


def _section_flags(section: str, settings: Mapping) -> tuple[Argument, ...]:
    """Flags of a section; those that only change its speed are no part of a step's key."""
    program = PROGRAMS[section]
    speed = {key: value for key, value in settings.items() if key in _SPEED}
    others = {key: value for key, value in settings.items() if key not in _SPEED}
    return (*as_flags(program, others), *(SpeedFlag(word) for word in as_flags(program, speed)))
