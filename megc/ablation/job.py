"""One step of a grid as a job of Snakemake: `python -m megc.ablation.job PLAN STEP`, here or on a node of a cluster.

A job finds the content of what it reads only now, so that its folder (see `steps`) is known no earlier. A finished
folder is taken as it is, a half-made one emptied, or gone on from where the program can.
"""

import ctypes
import getpass
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from megc.ablation.job_plan import Plan, read_plan
from megc.ablation.steps import (
    DONE,
    Result,
    Step,
    command_line,
    find_result,
    is_of_kind,
    path_hash,
    read_done,
    step_folder,
)
from megc.files import lock_folder, write_json, write_text
from megc.problems import DataError

LOG = "log.txt"
_TAIL = 6  # lines of a failing step's log that are shown
_PAUSE = 0.5  # seconds between looks at a lock that another job holds
_GRACE = 10  # seconds that a program has to end after SIGTERM


class StepFailed(Exception):
    """A program of the step ended with an error."""


def do_step(plan: Plan, name: str) -> Result:
    """Bring a step to its end in its folder, unless that is finished already.

    Raises StepFailed for a program that ends with an error, DataError for an input or an output that is missing.
    """
    step = plan.steps[name]
    results = dict(plan.results)
    results |= {other: result for key, other in plan.steps.items() if (result := plan.read_record(key))}
    folder = step_folder(step, results, plan.work)
    with _wait_for_lock(folder), ExitStack() as devices:
        # with --redo, only what this run has made counts as finished
        again = is_of_kind(step, plan.redo) and (read_done(folder) or {}).get("run") != plan.state.name
        if not again and (result := find_result(folder, step, plan.keep)):
            return result
        _prepare_folder(folder, step, again)
        folders = {needed: results[needed].folder for needed in step.needs()}
        commands = [command_line(command, folder, folders) for command in step.commands]
        write_json(folder / "step.json", {"kind": step.kind, "title": step.title, "commands": commands})
        chosen = devices.enter_context(_claim_devices(plan.devices, plan.gpus(name)))
        write_text(plan.marker(name, ".started"), str(folder))
        started = time.monotonic()
        for command in commands:
            if code := _run_program(command, folder, plan.repository, chosen):
                raise StepFailed(f"ended with code {code}; {folder / LOG} ends\n{log_tail(folder)}")
        outputs = {output: path_hash(folder / output) for output in step.makes}
        seconds = round(time.monotonic() - started, 1)
        done = {"outputs": outputs, "seconds": seconds, "commit": plan.commit, "run": plan.state.name}
        write_json(folder / DONE, done)
        return Result(folder, outputs, seconds, plan.commit)


def _prepare_folder(folder: Path, step: Step, again: bool) -> None:
    goes_on = step.resumes and not again and any(folder.glob(step.resumes))
    if folder.exists() and not goes_on:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE).unlink(missing_ok=True)


@contextmanager
def _wait_for_lock(folder: Path) -> Iterator[None]:
    """Hold a step's folder; wait for a job that came to the same content, or that a killed run left on a cluster."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock_folder(folder.parent, folder.name))
                break
            except DataError as error:
                print(f"waits: {error}", flush=True)
                time.sleep(_PAUSE)
        yield


@contextmanager
def _claim_devices(devices: Sequence[str], number: int) -> Iterator[tuple[str, ...]]:
    """`number` GPUs for this job alone, among all grids of this user on the machine; none where `devices` is empty.

    Their locks end with the process, however it ends.
    """
    folder = Path(tempfile.gettempdir()) / f"megc-gpus-{getpass.getuser()}"
    while True:
        with ExitStack() as held:
            chosen: list[str] = []
            for device in devices:
                if len(chosen) < number:
                    with suppress(DataError):  # another job has it
                        held.enter_context(lock_folder(folder, re.sub(r"[^A-Za-z0-9-]", "_", device)))
                        chosen.append(device)
            if not devices or len(chosen) >= number:
                yield tuple(chosen)
                return
        time.sleep(_PAUSE + random.random())  # nothing is held meanwhile: two jobs that want two each do not block


def _run_program(command: Sequence[str], folder: Path, repository: Path, devices: Sequence[str]) -> int:
    """Run a command with its output in the step's log; returns its exit code. Killed with this process."""
    words = list(command)
    if words[0].endswith(".py"):
        words = [sys.executable, str(repository / words[0]), *words[1:]]
    environment = dict(os.environ)
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    with (folder / LOG).open("a") as log:
        prefix = f"CUDA_VISIBLE_DEVICES={','.join(devices)} " if devices else ""
        log.write(f"$ {prefix}{' '.join(words)}\n")
        log.flush()
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(words, env=environment, preexec_fn=end_with_parent, **streams)
    try:
        return process.wait()
    finally:
        stop(process)


try:
    _LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
except OSError:
    _LIBC = None


def end_with_parent() -> None:
    """Have this process killed when its parent is (Linux). Else an orphan would write where the next run does."""
    if _LIBC:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def stop(process: subprocess.Popen) -> None:
    """End a process that is still running, gently first."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def log_tail(folder: Path) -> str:
    """The last lines of a step's log."""
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    return "\n".join(f"  {line}" for line in text.splitlines()[-_TAIL:])


def record_step(plan: Plan, name: str) -> int:
    """`do_step`, with its result, or why it failed, left in the run's folder; returns the exit code."""
    try:
        result = do_step(plan, name)
    except (StepFailed, DataError, OSError) as error:
        write_text(plan.marker(name, ".failed"), str(error))
        print(error, flush=True)
        return 1
    plan.write_record(name, result)
    return 0


def main(plan_file: str, name: str) -> int:
    """Do a step of a plan as a process of its own, which ends with Snakemake."""
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running program is ended
    plan = read_plan(plan_file)
    os.chdir(plan.current)
    return record_step(plan, name)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
