"""From a grid to its steps: the chain of programs behind each arm, fold and seed."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from megc.ablation.content import REPOSITORY
from megc.ablation.flags import TRAIN, as_flags
from megc.ablation.spec import PROGRAMS, ZERO_SHOT, Arm, Grid, merge
from megc.ablation.steps import Argument, Made, Neutral, Own, Source, Step
from megc.clips import read_clips
from megc.files import read_jsonl, read_yaml
from megc.problems import DataError
from megc.splits import make_folds
from megc.vqa.instructions import row_clip

BASELINES = {"prior": "prior only", "prior-sampled": "prior sampled", "flow-probe": "flow probe"}
PROBE = BASELINES["flow-probe"]
_PATHS = ("clips", "rows", "frames", "flow", "flow-dir")  # flags of build_instructions.py that name inputs
_NEUTRAL = ("workers", "threads", "batch-size", "device")  # flags that change speed, not results
ANSWERS = "predictions.jsonl"


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
    asked: Step | None = None  # the model's own answers, before reasoning and fusion


def number_of_folds(grid: Grid) -> int:
    """How many folds the protocol makes of the data of the defaults. Raises DataError where there are too few
    subjects or datasets."""
    if grid.protocol in ("holdout", "kfold"):
        return 1 if grid.protocol == "holdout" else grid.folds
    data = grid.defaults.section("data")
    if data.get("rows"):
        origins = [row_clip(row) for _, row in read_jsonl(data["rows"])]
    else:
        clips = [clip for clip in read_clips(Path(data["clips"])) if clip.coarse]
        origins = [{"dataset": clip.dataset, "subject": clip.subject} for clip in clips]
    try:
        return len(make_folds(origins, grid.protocol))
    except ValueError as error:
        raise DataError(data.get("rows") or data["clips"], None, str(error), "choose another --protocol") from error


def chains(grid: Grid, only: tuple[str, ...] = ()) -> list[Chain]:
    """A chain for each arm, fold and seed, the baselines' last; with `only`, of these arms and the baselines."""
    found = []
    for fold in range(number_of_folds(grid)):
        for seed in grid.seeds:
            planner = Planner(grid, fold, seed)
            found += [planner.chain(arm) for arm in grid.arms.values() if not only or arm.name in only]
            found += planner.baselines()
    order = {name: place for place, name in enumerate([*grid.arms, *BASELINES.values()])}
    return sorted(found, key=lambda chain: order[chain.arm])


class Planner:
    """Steps of the arms of one fold and seed."""

    def __init__(self, grid: Grid, fold: int, seed: int) -> None:
        self.grid, self.fold, self.seed = grid, fold, seed
        many = [f"fold {fold}"] if grid.protocol != "holdout" else []
        self.where = "".join(f" · {word}" for word in [*many, *([f"seed {seed}"] if len(grid.seeds) > 1 else [])])

    def _step(
        self, kind: str, arm: str, *commands: tuple[Argument, ...], makes: tuple[str, ...], **more: object
    ) -> Step:
        return Step(kind, f"{kind} {arm}{self.where}", commands, makes, **more)

    def chain(self, arm: Arm) -> Chain:
        """The chain of an arm that a model answers."""
        data, train = self.data(arm), self.train(arm)
        asked = self.answer(arm, data, train, "test.jsonl")
        answers = asked
        for entry in arm.sections.get("then", ()):
            ((name, settings),) = entry.items()
            after = self.reason if name == "reason" else self.fuse
            answers = after(arm, settings, data, answers)
        made = train.step if isinstance(train, Made) else None
        return Chain(arm.name, self.fold, self.seed, arm.hash, data, answers, made, asked)

    def baselines(self) -> list[Chain]:
        """The baselines, on the data of the defaults with the flow picture alone: all arms answer the same rows."""
        arm = self._probe_arm()
        data = self.data(arm)
        found = []
        for baseline, name in BASELINES.items():
            drawn = ("--seed", str(self.seed)) if baseline == "prior-sampled" else ()
            command = (PROGRAMS["baselines"], "--baseline", baseline, *self._probe_words(), *drawn, *self._sides(data))
            command += ("--out", Own(ANSWERS))
            step = self._step("baseline", name, command, makes=(ANSWERS,))
            found.append(Chain(name, self.fold, self.seed, arm.hash, data, step))
        return found

    def _probe_arm(self) -> Arm:
        sections = {**self.grid.defaults.sections, "evidence": None, "augment": None}
        own = dict((self.grid.baselines or {}).get("data") or {})
        return Arm("baselines", merge(sections, {"data": {"images": ["flow"], "hierarchy": None, **own}}))

    def _probe_words(self) -> tuple[str, ...]:
        settings = {key: value for key, value in (self.grid.baselines or {}).items() if key != "data"}
        return as_flags(PROGRAMS["baselines"], settings)

    @staticmethod
    def _sides(data: Step) -> tuple[Argument, ...]:
        return ("--train", Made(data, "train.jsonl"), "--test", Made(data, "test.jsonl"))

    def data(self, arm: Arm) -> Step:
        """Build the instructions and split them; pictures are made first where the arm says how."""
        settings = arm.section("data")
        places: dict[str, Argument] = {key: Source(Path(settings[key])) for key in _PATHS if settings.get(key)}
        if frames := arm.section("frames"):
            if "clips" not in places:
                raise DataError(self.grid.file, f"arms: {arm.name}: frames", "no clips to cut them from", "give clips")
            words = (*_words("frames", frames), "--out", Own("frames"))
            command = (PROGRAMS["frames"], "--clips", places["clips"], *words)
            places["frames"] = Made(self._step("frames", arm.name, command, makes=("frames",)), "frames")
        if flow := arm.section("flow"):
            command = (PROGRAMS["flow"], "--frames", places["frames"], *_words("flow", flow), "--out", Own("flow"))
            places["flow"] = Made(self._step("flow", arm.name, command, makes=("flow",)), "flow")
        others = {key: value for key, value in settings.items() if key not in _PATHS}
        found = tuple(word for key, place in places.items() for word in (f"--{key}", place))
        build: tuple[Argument, ...] = (PROGRAMS["data"], *as_flags(PROGRAMS["data"], others), *found)
        told = bool(arm.sections.get("evidence"))
        sides = [f"plain_{side}.jsonl" if told else f"{side}.jsonl" for side in ("train", "test")]
        commands = []
        if settings.get("hierarchy"):  # the true classes of training subjects only are told: split once before
            once = merge(others, {"hierarchy": None})
            commands.append((PROGRAMS["data"], *as_flags(PROGRAMS["data"], once), *found, "--out", Own("first.jsonl")))
            commands.append(self._split("first.jsonl", "first_train.jsonl", "first_test.jsonl"))
            build += ("--training", Own("first_train.jsonl"))
        commands += [(*build, "--out", Own("instructions.jsonl")), self._split("instructions.jsonl", *sides)]
        makes = ["train.jsonl", "test.jsonl"]
        if told:
            commands += self._tell(*sides)
        if self.grid.inner_folds:
            makes += ["inner_train.jsonl", "inner_test.jsonl"]
            commands.append(self._split("train.jsonl", *makes[2:], inner=True))
        if augment := arm.section("augment"):
            words = as_flags(PROGRAMS["augment"], augment)
            for side in [name for name in makes if "train" in name]:
                sides_of = ("--train", Own(side), "--out", Own(f"augmented_{side}"))
                commands.append((PROGRAMS["augment"], *sides_of, *words))
                makes.append(f"augmented_{side}")
        return self._step("data", arm.name, *commands, makes=tuple(makes))

    def _split(self, file: str, train: str, test: str, inner: bool = False) -> tuple[Argument, ...]:
        grid = self.grid
        how = ("kfold", grid.inner_folds, 0) if inner else (grid.protocol, grid.folds, self.fold)
        words = [f"--{name}={value}" for name, value in zip(("protocol", "folds", "fold"), how, strict=True)]
        files = ("--instructions", Own(file), "--train", Own(train), "--test", Own(test))
        return ("train/set_train_dataset.py", *files, *words, f"--seed={grid.split_seed}")

    def _tell(self, train: str, test: str) -> list[tuple[Argument, ...]]:
        """Commands that write what the flow probe believes into the prompts."""
        sides = ("--train", Own(train), "--test", Own(test))
        tell = ("data_process/add_evidence.py", *sides, "--evidence", Own("evidence.jsonl"))
        return [
            (PROGRAMS["baselines"], *self._probe_words(), *sides, "--evidence", Own("evidence.jsonl")),
            (*tell, "--out-train", Own("train.jsonl"), "--out-test", Own("test.jsonl")),
        ]

    def train(self, arm: Arm, side: str = "train.jsonl") -> Argument:
        """The arm's checkpoint, trained on `side` of its data; of another arm where it says `train_of`.

        Without training it is the model that the others start from. The tiny one has to be built: a training with a
        rate of zero makes it, with prompt and pixel budget in its record like the others.
        """
        if other := arm.sections.get("train_of"):
            return self.train(self.grid.arms[other], side)
        start, settings = self._start(arm, side), arm.section("train")
        if arm.sections.get("train") == ZERO_SHOT:
            if start is not None:
                return start
            settings = {**self.grid.defaults.section("train"), "max_steps": 1, "learning_rate": 0, "warmup_steps": 0}
        data = Made(self.data(arm), f"augmented_{side}" if arm.section("augment") else side)
        kind = "train" if side == "train.jsonl" else "train-inner"
        return Made(self._training(kind, arm, settings, data, start, ("--seed", str(self.seed))), "checkpoint")

    def _start(self, arm: Arm, side: str) -> Argument | None:
        """What training starts from; None for the tiny model, which is built then."""
        if other := arm.sections.get("after"):
            return self.train(self.grid.arms[other], side)
        if arm.section("pretrain"):
            return Made(self.pretrain(arm), "checkpoint")
        return self._base(arm)

    def _base(self, arm: Arm) -> Argument | None:
        settings = self.grid.defaults.section("train") | arm.section("train")
        fixed = read_yaml(_config(settings))
        model = arm.sections.get("model") or (None if fixed.get("build_tiny") else fixed.get("model"))
        return Source(Path(model)) if model and Path(model).is_dir() else model

    def pretrain(self, arm: Arm) -> Step:
        """Synthetic flow pictures and a training on them: no dataset's labels, so all folds and seeds share it."""
        found = arm.section("pretrain")
        command = (PROGRAMS["make"], *as_flags(PROGRAMS["make"], found.get("make", {})), "--out", Own("."))
        flows = Step("flows", f"flows {arm.name}", (command,), ("instructions.jsonl",))
        settings = merge(self.grid.defaults.section("train"), found.get("train", {}))
        step = self._training("pretrain", arm, settings, Made(flows, "instructions.jsonl"), self._base(arm), ())
        return replace(step, title=f"pretrain {arm.name}")

    def _training(
        self, kind: str, arm: Arm, settings: dict, data: Argument, start: Argument | None, seed: tuple[str, ...]
    ) -> Step:
        settings = dict(settings)
        config, launch = _config(settings), settings.pop("launch", None)
        settings.pop("config", None)
        model = (start, "--build_tiny", "false") if start else (Own("base"), "--build_tiny", "true")
        model += ("--allow_mismatch", "true") if start else ()  # it was trained with another prompt
        program = [Neutral(word) for word in [*shlex.split(launch), str(REPOSITORY / TRAIN)]] if launch else [TRAIN]
        command = (*program, "--config", Source(config), "--train_file", data, "--model", *model)
        command += (*as_flags(TRAIN, settings), *seed, "--output_dir", Own("checkpoint"), "--resume", "true")
        return self._step(kind, arm.name, command, makes=("checkpoint",), resumes="checkpoint/*")

    def answer(self, arm: Arm, data: Step, model: Argument, side: str) -> Step:
        """The model's answers to `side` of the data."""
        words = _words("answer", arm.section("answer"))
        if self._shown(arm) != self._shown(self._trained(arm)):
            words += ("--allow-mismatch",)  # the point of the arm: asked otherwise than it was trained
        asked = ("--questions", Made(data, side), "--seed", str(self.seed))
        command = (PROGRAMS["answer"], "--model", model, *asked, *words, "--out", Own("."))
        kind = "answer" if side == "test.jsonl" else "answer-inner"
        return self._step(kind, arm.name, command, makes=(ANSWERS,), resumes=f"{ANSWERS}*")

    def _trained(self, arm: Arm) -> Arm:
        while other := arm.sections.get("train_of"):
            arm = self.grid.arms[other]
        return arm

    @staticmethod
    def _shown(arm: Arm) -> list:
        return [arm.sections.get(name) for name in ("data", "frames", "flow", "evidence")]

    def reason(self, arm: Arm, settings: Mapping, data: Step, answers: Step) -> Step:
        """Reasoning over the answers of a step."""
        words = as_flags(PROGRAMS["reason"], dict(settings))
        command = (PROGRAMS["reason"], "--predictions", Made(answers, ANSWERS), "--train", Made(data, "train.jsonl"))
        return self._step("reason", arm.name, (*command, *words, "--out", Own(".")), makes=(ANSWERS,))

    def fuse(self, arm: Arm, settings: Mapping, data: Step, answers: Step) -> Step:
        """Fusion of the answers of a step with the flow probe's evidence.

        With `fit: true` the weights are fitted on answers to a fold of the training subjects, by a model that is
        trained in the same way on the others; nothing of the test subjects is read.
        """
        settings = dict(settings)
        fit = settings.pop("fit", False)
        command: tuple[Argument, ...] = (PROGRAMS["fuse"], "--predictions", Made(answers, ANSWERS))
        command += ("--train", Made(data, "train.jsonl"), "--evidence", Made(self._evidence(), "evidence.jsonl"))
        if fit and not self.grid.inner_folds:
            raise DataError(self.grid.file, f"arms: {arm.name}: fit", "needs inner folds", "set inner_folds: 4")
        if fit:
            held = self.answer(arm, data, self.train(arm, "inner_train.jsonl"), "inner_test.jsonl")
            command += ("--fit", Made(held, ANSWERS))
        command += (*as_flags(PROGRAMS["fuse"], settings), "--out", Own("."))
        return self._step("fuse", arm.name, command, makes=(ANSWERS,))

    def _evidence(self) -> Step:
        data = self.data(self._probe_arm())
        command = (PROGRAMS["baselines"], *self._probe_words(), *self._sides(data))
        command += ("--evidence", Own("evidence.jsonl"))
        return self._step("evidence", PROBE, command, makes=("evidence.jsonl",))


def _words(section: str, settings: Mapping) -> tuple[Argument, ...]:
    """Flags of a section; those that only change its speed are no part of a step's key."""
    program = PROGRAMS[section]
    slow = {key: value for key, value in settings.items() if key in _NEUTRAL}
    kept = {key: value for key, value in settings.items() if key not in _NEUTRAL}
    return (*as_flags(program, kept), *(Neutral(word) for word in as_flags(program, slow)))


def _config(settings: Mapping) -> Path:
    return Path(settings.get("config", "train/tiny.yaml"))
