"""The files of one JSON value that are fuzzed: settings, records of programs, and what a grid hands to its jobs."""

from dataclasses import asdict
from pathlib import Path

import contracts
from contracts import Unreadable
from damages import damage_json
from oracles import MISSING, Target, reads_as, value_of
from readers import (
    if_present,
    plain_stage,
    view_flow_json,
    view_stage,
    view_state,
    view_vocabulary,
)
from whole_files import QUESTIONS, copy_of, write_align, write_megc, write_prompt, write_run, write_shards, write_split

from megc.ablation.job_plan import Plan, plan_record, read_plan, write_plan
from megc.ablation.steps import InputFile, OutputOf, Result, SpeedFlag, Step, StepFile, read_done
from megc.commits import answer_commits
from megc.files import write_json
from megc.model import tiny
from megc.model.checkpoint import read_training_info
from megc.model.weights import base_of, weight_files, weights_hash
from megc.motion.keyframes import check_align
from megc.planning.dry_run import ARCHITECTURES, public_architecture
from megc.problems import Problems
from megc.scoring.runs import read_references, read_runs
from megc.synthesis.demo_set import write_demo_record
from megc.synthesis.settings import DemoSettings
from megc.vqa.instructions import read_prompt, read_split

MODELS = ("Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL-7B-Instruct")
STEP_OUTPUT = {"outputs": {"out.txt": "0" * 16}, "seconds": 1.5, "commit": "0123456789ab"}


def plan_of_steps(root: Path) -> Plan:
    """A plan of three steps, the first of which is finished, with every kind of argument."""
    first = Step("data", "first", (("a.py", InputFile(Path("/data/clips.jsonl")), StepFile("out.txt")),), ("out.txt",))
    second = Step("train", "second", (("train.py", OutputOf(first, "out.txt"), SpeedFlag("4")),), ("checkpoint",))
    words = ("b.py", OutputOf(second, "checkpoint"), StepFile("."))
    third = Step("answer", "third", (words, ("c.py",)), ("predictions.jsonl",), (InputFile(Path("/data/a")),), "p*", 1)
    result = Result(Path("/data/steps/a"), {"out.txt": "0" * 16}, 1.5, "0123456789ab")
    folders = (Path("/data"), root, Path("/data"), Path("/data/code"))
    missing = {"second-1": second, "third-2": third}
    return Plan(*folders, "python", "0123456789ab", missing, {first: result}, ("train",), (), ("0", "1"))


def plain_plan(record: dict) -> dict:
    """A plan as it is written: a word has the step that it is the output of, and no other has one."""
    for step in record["steps"]:
        for word in [word for command in (*step["commands"], step["reads"]) for word in command]:
            if (word["kind"] == "output") != bool(word.get("step")):
                raise Unreadable("a word with another word's step")
            if not word.get("step"):
                word.pop("step", None)
    return record


def done_or_nothing(data: bytes) -> object:
    """`done.json` where the contract is kept; else the step counts as not done."""
    try:
        return value_of(contracts.DONE)(data)
    except Unreadable:
        return MISSING


def view_result(root: Path, problems: Problems) -> object:
    """The result of a job as its run reads it."""
    step = Step("write", "first", (("a.py",),), ("out.txt",))
    plan = Plan(root, root, root, root, "python", "0", {"first": step}, {})
    result = plan.read_record("first")
    return result.record() if result else MISSING


def view_demo(root: Path, problems: Problems) -> object:
    """The settings of the demo set that is gone on with; those of the call, where there is none."""
    if not (root / "demo.json").exists():
        return MISSING
    write_demo_record(root, asdict(DemoSettings()), False)
    return asdict(DemoSettings())


def plain_demo(data: bytes) -> object:
    """The settings of `demo.json`, a whole number as such: 16.0 is 16 to the options."""
    record = value_of(contracts.DEMO)(data)
    if record["generator"] != 1 or record["settings"] != asdict(DemoSettings()):
        raise Unreadable("another set")
    return asdict(DemoSettings())


def view_architectures(root: Path, problems: Problems) -> list:
    """What the plan takes of each model, as far as the file speaks of it; None for a model that is not in it."""
    names = contracts.ARCHITECTURE
    views = []
    for model in MODELS:
        config = public_architecture(model, root / "architectures.json")
        values = config.to_dict() if config else None
        views.append(
            values
            and [
                values["tie_word_embeddings"],
                {key: values["vision_config"][key] for key in names["vision_config"] if key},
                {
                    key: values["text_config"][key]
                    for key in names["text_config"]
                    if key not in ("", "rope_parameters")
                },
                values["text_config"]["rope_parameters"]["mrope_section"],
            ]
        )
    return views


def plain_architectures(record: dict) -> list:
    """`view_architectures` of the parsed file."""
    views = []
    for model in MODELS:
        values = record["architectures"].get(model)
        text = dict(values["text_config"]) if values else {}
        rope = text.pop("rope_parameters", None)
        views.append(values and [values["tie_word_embeddings"], values["vision_config"], text, rope["mrope_section"]])
    return views


def view_tiny(root: Path, problems: Problems) -> list:
    """The tiny checkpoint as training finds or builds it."""
    tiny.ensure(root / "tiny", QUESTIONS)
    info = read_training_info(root / "tiny")
    return [weights_hash(root / "tiny"), info["kind"], info["recipe"]]


JSON_TARGETS = [
    Target(
        "prompt.json",
        "prompt.json",
        write_prompt,
        damage_json,
        if_present(lambda root: read_prompt(root / "a.jsonl"), {}),
        reads_as(value_of(contracts.PROMPT)),
    ),
    Target(
        "split",
        "a.split.json",
        write_split,
        damage_json,
        if_present(lambda root: read_split(root / "a.jsonl"), {}),
        reads_as(value_of(contracts.SPLIT, lambda value: value["folds"][value["settings"]["fold"]])),
    ),
    Target(
        "megc.json",
        "megc.json",
        write_megc,
        damage_json,
        if_present(read_training_info, {}),
        reads_as(value_of(contracts.MEGC)),
        weight=2,
    ),
    Target(
        "run.json of a score",
        "run/run.json",
        write_run,
        damage_json,
        lambda root, problems: (
            read_runs(
                [root / "run/predictions.jsonl"], None, read_references(root / "references.jsonl", problems), problems
            )[0].settings
            or MISSING
        ),
        reads_as(value_of(contracts.RUN)),
    ),
    Target(
        "run.json of commits",
        "run/run.json",
        write_run,
        damage_json,
        lambda root, problems: sorted(answer_commits(root / "run/predictions.jsonl")) or MISSING,
        reads_as(
            value_of(contracts.RUN, lambda value: sorted(set(filter(None, value.get("commits", [])))) or MISSING)
        ),
    ),
    Target(
        "vocabulary.json",
        "vocabulary.json",
        lambda root: write_json(root / "vocabulary.json", ["a", "b c", "d"]),
        damage_json,
        if_present(view_vocabulary, []),
        reads_as(value_of(("list", "text", 0), lambda value: value or MISSING)),
    ),
    Target(
        "align.json",
        "demo/s1/a/align.json",
        write_align,
        damage_json,
        lambda root, problems: check_align(root / "demo/s1/a", "demo/s1/a"),
        reads_as(value_of(contracts.ALIGN)),
        weight=2,
    ),
    Target(
        "flow.json",
        "flow.json",
        lambda root: write_json(
            root / "flow.json", {"method": "dis", "encoding": "colour", "scale": 2.0, "clips": ["a"]}
        ),
        damage_json,
        lambda root, problems: view_flow_json(root, problems) if (root / "flow.json").exists() else MISSING,
        reads_as(value_of({"encoding": "text", "scale": "number"}, lambda value: [value["encoding"], value["scale"]])),
    ),
    Target(
        "index of shards",
        "model.safetensors.index.json",
        write_shards,
        damage_json,
        lambda root, problems: sorted(path.name for path in weight_files(root)),
        reads_as(value_of(contracts.INDEX, lambda value: sorted(set(value["weight_map"].values())))),
    ),
    Target(
        "adapter_config.json",
        "adapter_config.json",
        lambda root: write_json(root / "adapter_config.json", {"base_model_name_or_path": "checkpoints/base", "r": 8}),
        damage_json,
        if_present(base_of, None),
        reads_as(value_of(contracts.ADAPTER, lambda value: value["base_model_name_or_path"])),
    ),
    Target(
        "trainer_state.json",
        "trainer_state.json",
        lambda root: write_json(root / "trainer_state.json", {"global_step": 5, "log_history": [{"loss": 1.5}]}),
        damage_json,
        view_state,
        reads_as(value_of(contracts.STATE)),
    ),
    Target(
        "DeepSpeed",
        "zero.json",
        copy_of("train/zero3_offload.json", "zero.json"),
        damage_json,
        view_stage,
        reads_as(value_of(("map", "any"), plain_stage)),
    ),
    Target(
        "plan.json of a grid",
        "plan.json",
        lambda root: write_plan(plan_of_steps(root)),
        damage_json,
        lambda root, problems: plan_record(read_plan(root / "plan.json")),
        reads_as(value_of(contracts.PLAN, plain_plan)),
        weight=2,
    ),
    Target(
        "done.json of a step",
        "done.json",
        lambda root: write_json(root / "done.json", {**STEP_OUTPUT, "run": "0a1b2c3d"}),
        damage_json,
        lambda root, problems: read_done(root) or MISSING,  # damaged: done again
        reads_as(done_or_nothing),
    ),
    Target(
        "result of a job",
        "write/first.json",
        lambda root: write_json(root / "write/first.json", {**STEP_OUTPUT, "folder": "/data/steps/a", "kept": True}),
        damage_json,
        view_result,
        reads_as(value_of(contracts.RESULT)),
    ),
    Target(
        "demo.json",
        "demo.json",
        lambda root: write_demo_record(root, asdict(DemoSettings()), False),
        damage_json,
        view_demo,
        reads_as(plain_demo),
    ),
    Target(
        "architectures.json",
        "architectures.json",
        lambda root: (root / "architectures.json").write_bytes(ARCHITECTURES.read_bytes()) and None,
        damage_json,
        view_architectures,
        reads_as(value_of(contracts.ARCHITECTURES, plain_architectures)),
    ),
    Target(
        "tiny checkpoint's megc.json",
        "tiny/megc.json",
        lambda root: tiny.build(root / "tiny", QUESTIONS) and None,
        damage_json,
        view_tiny,
        lambda case: "" if case.reading == case.target.baseline else "another checkpoint was taken for the tiny one",
        fields=False,
        weight=0.3,
    ),
]
