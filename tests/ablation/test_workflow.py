"""Steps of a grid: done once, shared, redone when what they rest on changes, kept through kills and failures."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from grid_runs import run_plan_here

from megc.ablation import steps, workflow
from megc.ablation.job_plan import Plan, read_plan, step_name, write_plan
from megc.ablation.settings import Execution
from megc.ablation.steps import (
    ALL_GPUS,
    InputFile,
    OutputOf,
    Result,
    SpeedFlag,
    Step,
    StepFile,
    path_hash,
    step_folder,
    steps_in_order,
)
from megc.ablation.workflow import find_finished, local_devices, run_steps
from megc.problems import DataError

PROGRAM = """
import os, sys, time
count, out, seconds, *texts = sys.argv[1:]
begin = time.monotonic()
time.sleep(float(seconds))
open(count, "a").write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {begin} {time.monotonic()}\\n")
if "fail" in texts:
    print("line one\\nno memory left"), sys.exit(3)
open(out, "w").write(" ".join(open(t).read() if t.startswith("/") else t for t in texts))
"""


@pytest.fixture
def program(tmp_path: Path):
    """Makes steps: `make(name, *arguments)` writes its arguments, files by content, to `out.txt` and is counted."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def make(title: str, *arguments, seconds: float = 0, **more) -> Step:
        start = (str(tmp_path / "program.py"), SpeedFlag(str(tmp_path / "count")), StepFile("out.txt"))
        return Step("write", title, ((*start, SpeedFlag(str(seconds)), *arguments),), ("out.txt",), **more)

    make.runs = lambda: len((tmp_path / "count").read_text().splitlines())
    return make


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are done in this process, without Snakemake."""
    monkeypatch.setattr(workflow, "_run_plan", run_plan_here)


def text(outcome, step: Step) -> str:
    return (outcome.results[step].folder / "out.txt").read_text()


def test_a_step_is_done_once_and_again_when_its_input_changes(program, here, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("A")
    first = program("first", InputFile(source))
    last = program("last", OutputOf(first, "out.txt"), "b")
    assert steps_in_order([last]) == [first, last]
    assert text(run_steps([last], tmp_path / "work"), last) == "A b" and program.runs() == 2
    run_steps([last], tmp_path / "work", Execution(jobs=2))
    assert program.runs() == 2, "kept"
    (tmp_path / "elsewhere").write_text("A")
    moved = program("last", OutputOf(program("first", InputFile(tmp_path / "elsewhere")), "out.txt"), "b")
    run_steps([moved], tmp_path / "work")
    assert program.runs() == 2, "the same content in another place is the same input"
    source.write_text("B")
    assert text(run_steps([last], tmp_path / "work"), last) == "B b" and program.runs() == 4


def test_a_file_that_a_word_or_the_configuration_names_is_an_input(program, tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    file.write_text("{}")
    named = program("a", "--deepspeed", str(file))
    reads = replace(program("b", "x"), reads=(InputFile(file),))
    before = [step_folder(step, {}, tmp_path) for step in (named, reads)]
    file.write_text('{"stage": 3}')
    assert not set(before) & {step_folder(step, {}, tmp_path) for step in (named, reads)}


def test_the_same_content_made_in_two_ways_is_shared_downstream(program, here, tmp_path: Path) -> None:
    ways = [program("x y", "x", "y"), program("xy", "x y")]
    last = [program(f"last {way.title}", OutputOf(way, "out.txt")) for way in ways]
    outcome = run_steps(last, tmp_path / "work", Execution(jobs=3))
    assert program.runs() == 3 and len(outcome.results) == 4
    assert outcome.results[last[0]].folder == outcome.results[last[1]].folder


def test_redo_does_a_kind_again_once(program, here, tmp_path: Path) -> None:
    steps = [program("a", "x"), program("b", "x")]
    run_steps(steps, tmp_path / "work")
    run_steps(steps, tmp_path / "work", Execution(redo=("write",)))
    assert program.runs() == 2
    run_steps(steps, tmp_path / "work", Execution(redo=("train",)))
    assert program.runs() == 2


def test_a_failing_step_tells_its_log_and_stops_only_what_needs_it(program, tmp_path: Path, capsys) -> None:
    bad, good = program("bad one", "fail"), program("good", "g")
    needs = program("needs bad", OutputOf(bad, "out.txt"))
    outcome = run_steps([needs, good], tmp_path / "work")
    assert list(outcome.failed) == [bad] and outcome.skipped == [needs] and text(outcome, good) == "g"
    assert "code 3" in outcome.failed[bad] and outcome.failed[bad].endswith("no memory left")
    assert "FAILED" in capsys.readouterr().err
    run_steps([needs, good], tmp_path / "work")
    assert program.runs() == 3, "the failed one is tried again, the good one kept"


def test_a_step_that_does_not_make_what_it_says_fails(program, here, tmp_path: Path) -> None:
    silent = Step("write", "empty", ((sys.executable, "-c", "pass"),), ("out.txt",))
    outcome = run_steps([silent, program("x", InputFile(tmp_path / "missing"))], tmp_path / "work")
    assert len(outcome.failed) == 2 and all("does not exist" in why for why in outcome.failed.values())


def test_an_unfinished_step_goes_on_only_from_what_it_can_use(program, here, tmp_path: Path) -> None:
    step = program("a", "x")
    folder = run_steps([step], tmp_path / "work").results[step].folder
    for resumes, kept in (("", False), ("part-*", False), ("half*", True)):
        (folder / "done.json").unlink()
        (folder / "half.txt").write_text("so far")
        run_steps([replace(step, resumes=resumes)], tmp_path / "work")
        assert (folder / "half.txt").exists() is kept and (folder / "done.json").exists()


def test_looking_starts_nothing(program, here, tmp_path: Path) -> None:
    first = program("first", "a")
    last = program("last", OutputOf(first, "out.txt"))
    run_steps([first], tmp_path / "work")
    outcome, missing = find_finished([last], tmp_path / "work")
    assert list(outcome.results) == [first] and missing == [last] and program.runs() == 1


def test_steps_of_other_code_are_kept_when_asked_for(program, here, tmp_path: Path, monkeypatch) -> None:
    step = program("a", "x")
    old = run_steps([step], tmp_path / "work").results[step].folder
    monkeypatch.setattr(steps, "code_hash", lambda programs: "other code")
    kept = run_steps([step], tmp_path / "work", Execution(keep=("write",))).results[step]
    assert (kept.folder, kept.kept, program.runs()) == (old, True, 1)
    last = program("last", OutputOf(step, "out.txt"))
    kept = run_steps([last], tmp_path / "work", Execution(keep=("train",))).results[step]
    assert kept.folder != old and not kept.kept and program.runs() == 3


def test_done_without_its_output_is_done_again(program, here, tmp_path: Path) -> None:
    step = program("a", "x")
    folder = run_steps([step], tmp_path / "work").results[step].folder
    (folder / "out.txt").unlink()
    assert text(run_steps([step], tmp_path / "work"), step) == "x" and program.runs() == 2


def test_each_step_has_a_gpu_of_its_own(program, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the locks of devices lie
    single = [program(f"gpu {n}", str(n), seconds=0.5, gpus=1) for n in range(4)]
    both, none = program("both", "b", gpus=ALL_GPUS), program("none", "n")
    outcome = run_steps([*single, both, none], tmp_path / "work", Execution(jobs=4))
    assert len(outcome.results) == 6
    lines = [line.split() for line in (tmp_path / "count").read_text().splitlines()]
    assert {line[0] for line in lines} == {"3", "5", "3,5"}, "all of them for the step that takes all"
    for device in ("3", "5"):
        spans = sorted((float(begin), float(end)) for used, begin, end in lines if used == device)
        assert spans and all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), "one at a time"


def test_devices_of_this_machine(monkeypatch) -> None:
    for names, devices in (("", ()), ("0", ("0",)), ("1, GPU-ab", ("1", "GPU-ab")), ("2,-1,3", ("2",))):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        assert local_devices() == devices


def test_content_of_instructions_is_also_that_of_their_pictures(tmp_path: Path) -> None:
    picture, file = tmp_path / "flow" / "a.png", tmp_path / "train.jsonl"
    picture.parent.mkdir()
    picture.write_bytes(b"1")
    file.write_text(json.dumps({"images": ["flow/a.png"]}))
    before = path_hash(file), path_hash(tmp_path / "flow")
    picture.write_bytes(b"22")
    assert path_hash(file) != before[0] and path_hash(tmp_path / "flow") != before[1]


def test_content_of_a_checkpoint_leaves_its_records_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"w")
    before = path_hash(tmp_path)
    (tmp_path / "megc.json").write_text('{"finished": "today"}')
    assert path_hash(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"v")
    assert path_hash(tmp_path) != before


def test_a_plan_comes_back_from_its_file_as_it_was(program, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("A")
    first = program("first · 1", InputFile(tmp_path / "source"), gpus=ALL_GPUS)
    second = program("second", OutputOf(first, "out.txt"), reads=(InputFile(tmp_path), "zero.json"), resumes="part-*")
    last = program("last", OutputOf(second, "out.txt"), OutputOf(first, "out.txt"))
    result = Result(tmp_path / "steps" / "a", {"out.txt": "0" * 16}, 1.5, "0123", kept=True)
    missing = {step_name(step): step for step in (second, last)}
    folders = (tmp_path / "work", tmp_path / "run", Path.cwd(), tmp_path)
    plan = Plan(*folders, sys.executable, "4567", missing, {first: result}, ("train",), ("data",), ("0", "GPU-1"))
    write_plan(plan)
    read = read_plan(plan.file)
    assert read == plan and list(read.steps) == list(plan.steps)
    copies = [*read.results, *read.steps.values()]
    assert [vars(copy)["title"] for copy in copies] == ["first · 1", "second", "last"]
    for copy, step in zip(copies, (first, second, last), strict=True):  # steps are equal when their commands are
        assert (copy.commands, copy.makes, copy.reads) == (step.commands, step.makes, step.reads)
        assert (copy.kind, copy.resumes, copy.gpus) == (step.kind, step.resumes, step.gpus)
    plan.write_record(step_name(last), result)
    assert plan.read_record(step_name(last)) == result and plan.read_record(step_name(second)) is None


def test_a_changed_plan_is_refused(program, tmp_path: Path) -> None:
    first = program("first", "a")
    last = program("last", OutputOf(first, "out.txt"))
    steps_by_name = {step_name(step): step for step in (first, last)}
    plan = Plan(tmp_path, tmp_path, tmp_path, tmp_path, sys.executable, "0", steps_by_name, {})
    write_plan(plan)
    whole = json.loads(plan.file.read_text())

    def refusal(change) -> str:
        record = json.loads(json.dumps(whole))
        change(record)
        plan.file.write_text(json.dumps(record))
        with pytest.raises(DataError) as error:
            read_plan(plan.file)
        return str(error.value)

    assert "steps[0] has other commands than its identity" in refusal(
        lambda record: record["steps"][0]["commands"][0].append({"kind": "text", "value": "--more"})
    )
    assert "steps[0] needs the step" in refusal(lambda record: record["steps"].reverse())
    assert "names and results must list each of the steps" in refusal(lambda record: record["names"].update(first="x"))
    assert "steps[0].gpus is '1', not a whole number" in refusal(lambda record: record["steps"][0].update(gpus="1"))


@pytest.mark.parametrize("damage", ["", "{}", '{"outputs": {"out.txt": 3}, "seconds": 1, "commit": "0", "run": "0"}'])
def test_a_step_with_a_damaged_record_is_done_again(program, here, tmp_path: Path, damage: str) -> None:
    step = program("a", "x")
    folder = run_steps([step], tmp_path / "work").results[step].folder
    for execution in (Execution(), Execution(redo=("write",))):
        (folder / "done.json").write_text(damage)
        before = program.runs()
        assert text(run_steps([step], tmp_path / "work", execution), step) == "x" and program.runs() == before + 1
