"""Steps of a grid: done once, shared, redone when what they rest on changes, kept through kills and failures."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from megc.ablation.content import content_hash
from megc.ablation.scheduler import in_order, look, run_steps
from megc.ablation.steps import Made, Neutral, Own, Source, Step
from megc.problems import DataError

PROGRAM = """
import sys, time
count, out, seconds, *texts = sys.argv[1:]
open(count, "a").write(out + "\\n")
time.sleep(float(seconds))
if "fail" in texts:
    print("line one\\nno memory left"), sys.exit(3)
open(out, "w").write(" ".join(open(t).read() if t.startswith("/") else t for t in texts))
"""


@pytest.fixture
def program(tmp_path: Path):
    """Makes steps: `make(name, *arguments)` writes its arguments, files by content, to `out.txt` and is counted."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def make(title: str, *arguments, seconds: float = 0, program: Path | None = None) -> Step:
        start = (str(program or tmp_path / "program.py"), Neutral(str(tmp_path / "count")), Own("out.txt"))
        return Step("write", title, ((*start, Neutral(str(seconds)), *arguments),), ("out.txt",))

    make.runs = lambda: len((tmp_path / "count").read_text().splitlines())
    return make


def text(outcome, step: Step) -> str:
    return (outcome.results[step].folder / "out.txt").read_text()


def test_a_step_is_done_once_and_again_when_its_input_changes(program, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("A")
    first = program("first", Source(source))
    last = program("last", Made(first, "out.txt"), "b")
    assert in_order([last]) == [first, last]
    assert text(run_steps([last], tmp_path / "work"), last) == "A b" and program.runs() == 2
    run_steps([last], tmp_path / "work", jobs=2)
    assert program.runs() == 2, "kept"
    (tmp_path / "elsewhere").write_text("A")
    moved = program("last", Made(program("first", Source(tmp_path / "elsewhere")), "out.txt"), "b")
    run_steps([moved], tmp_path / "work")
    assert program.runs() == 2, "the same content in another place is the same input"
    source.write_text("B")
    assert text(run_steps([last], tmp_path / "work"), last) == "B b" and program.runs() == 4


def test_the_same_content_made_in_two_ways_is_shared_downstream(program, tmp_path: Path) -> None:
    ways = [program("x y", "x", "y"), program("xy", "x y")]
    last = [program(f"last {way.title}", Made(way, "out.txt")) for way in ways]
    outcome = run_steps(last, tmp_path / "work", jobs=3)
    assert program.runs() == 3 and len(outcome.results) == 4
    assert outcome.results[last[0]].folder == outcome.results[last[1]].folder


def test_redo_does_a_kind_again_once(program, tmp_path: Path) -> None:
    steps = [program("a", "x"), program("b", "x")]
    run_steps(steps, tmp_path / "work")
    run_steps(steps, tmp_path / "work", redo=["write"])
    assert program.runs() == 2
    run_steps(steps, tmp_path / "work", redo=["train"])
    assert program.runs() == 2


def test_a_failing_step_tells_its_log_and_stops_only_what_needs_it(program, tmp_path: Path, capsys) -> None:
    bad, good = program("bad one", "fail"), program("good", "g")
    needs = program("needs bad", Made(bad, "out.txt"))
    outcome = run_steps([needs, good], tmp_path / "work")
    assert list(outcome.failed) == [bad] and outcome.skipped == [needs] and text(outcome, good) == "g"
    assert "code 3" in outcome.failed[bad] and outcome.failed[bad].endswith("no memory left")
    assert "FAILED" in capsys.readouterr().err
    run_steps([needs, good], tmp_path / "work")
    assert program.runs() == 3, "the failed one is tried again, the good one kept"


def test_a_step_that_does_not_make_what_it_says_fails(program, tmp_path: Path) -> None:
    silent = Step("write", "empty", ((sys.executable, "-c", "pass"),), ("out.txt",))
    outcome = run_steps([silent, program("x", Source(tmp_path / "missing"))], tmp_path / "work")
    assert len(outcome.failed) == 2 and all("does not exist" in why for why in outcome.failed.values())


def test_an_unfinished_step_goes_on_only_from_what_it_can_use(program, tmp_path: Path) -> None:
    step = program("a", "x")
    folder = run_steps([step], tmp_path / "work").results[step].folder
    for resumes, kept in (("", False), ("part-*", False), ("half*", True)):
        (folder / "done.json").unlink()
        (folder / "half.txt").write_text("so far")
        run_steps([replace(step, resumes=resumes)], tmp_path / "work")
        assert (folder / "half.txt").exists() is kept and (folder / "done.json").exists()


def test_looking_starts_nothing(program, tmp_path: Path) -> None:
    first = program("first", "a")
    last = program("last", Made(first, "out.txt"))
    run_steps([first], tmp_path / "work")
    outcome = look([last], tmp_path / "work")
    assert list(outcome.results) == [first] and outcome.skipped == [last] and program.runs() == 1


def test_done_without_its_output_is_done_again(program, tmp_path: Path) -> None:
    step = program("a", "x")
    folder = run_steps([step], tmp_path / "work").results[step].folder
    (folder / "out.txt").unlink()
    assert text(run_steps([step], tmp_path / "work"), step) == "x" and program.runs() == 2


def test_a_kill_leaves_finished_steps_and_no_orphan(program, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
from pathlib import Path
from megc.ablation.scheduler import run_steps
from megc.ablation.steps import *
def make(title, *arguments, seconds):
    start = ({str(tmp_path / "program.py")!r}, Neutral({str(tmp_path / "count")!r}), Own("out.txt"))
    return Step("write", title, ((*start, Neutral(str(seconds)), *arguments),), ("out.txt",))
quick = make("quick", "q", seconds=0)
run_steps([make("slow", Made(quick, "out.txt"), seconds=60)], Path({str(tmp_path / "work")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    count = tmp_path / "count"
    deadline = time.monotonic() + 60
    while not (count.is_file() and len(count.read_text().splitlines()) == 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    slow = program("slow", Made(program("quick", "q"), "out.txt"))
    with pytest.raises(DataError, match="another run is at work"):
        run_steps([slow], tmp_path / "work")
    process.send_signal(signal.SIGKILL)
    process.wait()
    if sys.platform == "linux":
        _wait_until(lambda: not _running(str(count)))
    outcome = run_steps([slow], tmp_path / "work")
    assert text(outcome, slow) == "q" and program.runs() == 3, "only the step that was cut off is done again"


def _wait_until(true, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _running(word: str) -> list[str]:
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += [command] * (word in command and "\0-c\0" not in command)
    return found


def test_content_of_instructions_is_also_that_of_their_pictures(tmp_path: Path) -> None:
    picture, file = tmp_path / "flow" / "a.png", tmp_path / "train.jsonl"
    picture.parent.mkdir()
    picture.write_bytes(b"1")
    file.write_text(json.dumps({"images": ["flow/a.png"]}))
    before = content_hash(file), content_hash(tmp_path / "flow")
    picture.write_bytes(b"22")
    assert content_hash(file) != before[0] and content_hash(tmp_path / "flow") != before[1]


def test_content_of_a_checkpoint_leaves_its_records_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"w")
    before = content_hash(tmp_path)
    (tmp_path / "megc.json").write_text('{"finished": "today"}')
    assert content_hash(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"v")
    assert content_hash(tmp_path) != before
