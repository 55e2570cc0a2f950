"""Do the steps that are missing, several at a time, so that a kill at any moment loses no finished step."""

import ctypes
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from megc.ablation.content import REPOSITORY, content_hash
from megc.ablation.steps import DONE, Result, Step, command_line, finished, step_key
from megc.commits import commit
from megc.files import lock_folder, write_json
from megc.problems import DataError

LOG = "log.txt"
_TAIL = 6  # lines of a failing step's log that are shown
_PAUSE = 0.05  # seconds between looks at what is running


@dataclass
class Outcome:
    """What became of the steps: `results` of the finished ones, `failed` with the end of their logs, `skipped` for
    want of an earlier one."""

    results: dict[Step, Result] = field(default_factory=dict)
    failed: dict[Step, str] = field(default_factory=dict)
    skipped: list[Step] = field(default_factory=list)


@dataclass
class _Running:
    step: Step
    folder: Path
    commands: list[list[str]]
    process: subprocess.Popen
    started: float


def in_order(last: Sequence[Step]) -> list[Step]:
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


def look(last: Sequence[Step], work: Path) -> Outcome:
    """What is done already, without doing anything: everything else is `skipped`."""
    outcome = Outcome()
    for step in in_order(last):
        known = all(needed in outcome.results for needed in step.needs())
        result = finished(_folder(step, outcome, work), step) if known else None
        if result:
            outcome.results[step] = result
        else:
            outcome.skipped.append(step)
    return outcome


def run_steps(last: Sequence[Step], work: Path, jobs: int = 1, redo: Sequence[str] = ()) -> Outcome:
    """Bring these steps and all that they need to their end, `jobs` at a time; steps of the kinds `redo` are done
    again. Each step has a folder below `work/steps`, with `log.txt`, and `done.json` once it is finished.

    A failing step stops those that need it, no others. Raises DataError when another run works in the same folder.
    An interruption ends the running steps and leaves what is finished.
    """
    steps = in_order(last)
    with lock_folder(work, "grid"):
        return _Runner(steps, work, jobs, frozenset(redo)).run()


class _Runner:
    def __init__(self, steps: list[Step], work: Path, jobs: int, redo: frozenset[str]) -> None:
        self.work, self.jobs, self.redo = work, jobs, redo
        self.waiting = steps
        self.running: list[_Running] = []
        self.outcome = Outcome()
        self.commit = commit()
        self.again: set[Path] = set()  # folders that this run has made anew
        self.folders: dict[Step, Path] = {}

    def run(self) -> Outcome:
        with tqdm(total=len(self.waiting), unit="step", disable=None) as self.bar:
            try:
                while self.waiting or self.running:
                    self._start()
                    self._collect()
                    if self.running:
                        self.bar.set_description(", ".join(running.step.title for running in self.running))
                        time.sleep(_PAUSE)
            finally:
                for running in self.running:
                    _stop(running.process)
        return self.outcome

    def _start(self) -> None:
        left = []
        for step in self.waiting:
            if not self._settle(step):
                left.append(step)
        self.waiting = left

    def _settle(self, step: Step) -> bool:
        """Start a step, or find it done or impossible; False where it has to wait."""
        lost = self.outcome.failed.keys() | set(self.outcome.skipped)
        if any(needed in lost for needed in step.needs()):
            self.outcome.skipped.append(step)
            self.bar.update()
            return True
        if not all(needed in self.outcome.results for needed in step.needs()):
            return False
        try:
            if step not in self.folders:
                self.folders[step] = _folder(step, self.outcome, self.work)
            folder = self.folders[step]
            if any(running.folder == folder for running in self.running):
                return False  # another arm came to the same content: its result will do
            again = step.kind in self.redo and folder not in self.again
            result = None if again else finished(folder, step)
            if result:
                self._finish(step, result)
                return True
            if len(self.running) >= self.jobs:
                return False
            self._launch(step, folder, again)
        except (DataError, OSError) as error:
            self._fail(step, str(error))
        return True

    def _launch(self, step: Step, folder: Path, again: bool) -> None:
        goes_on = step.resumes and not again and any(folder.glob(step.resumes))
        if folder.exists() and not goes_on:
            shutil.rmtree(folder)
        self.again.add(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DONE).unlink(missing_ok=True)
        commands = [command_line(command, folder, self.outcome.results) for command in step.commands]
        write_json(folder / "step.json", {"kind": step.kind, "title": step.title, "commands": commands})
        process = _spawn(commands[0], folder)
        self.running.append(_Running(step, folder, commands[1:], process, time.monotonic()))

    def _collect(self) -> None:
        for running in list(self.running):
            code = running.process.poll()
            if code is None:
                continue
            if code == 0 and running.commands:
                running.process = _spawn(running.commands.pop(0), running.folder)
                continue
            self.running.remove(running)
            if code:
                self._fail(
                    running.step, f"ended with code {code}; {running.folder / LOG} ends\n{_tail(running.folder)}"
                )
                continue
            try:
                outputs = {name: content_hash(running.folder / name) for name in running.step.makes}
            except (DataError, OSError) as error:
                self._fail(running.step, str(error))
                continue
            seconds = round(time.monotonic() - running.started, 1)
            write_json(running.folder / DONE, {"outputs": outputs, "seconds": seconds, "commit": self.commit})
            self._finish(running.step, Result(running.folder, outputs, seconds, self.commit))

    def _finish(self, step: Step, result: Result) -> None:
        self.outcome.results[step] = result
        self.bar.update()

    def _fail(self, step: Step, why: str) -> None:
        self.outcome.failed[step] = why
        tqdm.write(f"FAILED {step.title}: {why}", file=sys.stderr)
        self.bar.update()


def _folder(step: Step, outcome: Outcome, work: Path) -> Path:
    return work / "steps" / f"{step.kind}-{step_key(step, outcome.results)}"


def _spawn(command: list[str], folder: Path) -> subprocess.Popen:
    if command[0].endswith(".py"):
        command = [sys.executable, str(REPOSITORY / command[0]), *command[1:]]
    with (folder / LOG).open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_end_with_parent
        )


try:
    _LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
except OSError:
    _LIBC = None


def _end_with_parent() -> None:
    """In the child: be killed when the grid is (Linux). Else an orphan would write where the next run does."""
    if _LIBC:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(folder: Path) -> str:
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    return "\n".join(f"  {line}" for line in text.splitlines()[-_TAIL:])
