"""The steps of a grid that are missing, done by Snakemake: here, several at a time, or as jobs of a cluster.

1. Look which steps are finished; of a step behind one that is not, the folder is unknown until that has run.
2. Write the others as a plan into a new folder below `work/workflow`; start Snakemake there (Snakefile, job.py).
3. Follow the records that the jobs leave: progress, failures, results.

Snakemake orders the steps, runs `jobs` of them at a time, goes on where a step fails, and talks to the cluster. What
is finished is known by the steps' folders alone, so that a kill at any moment loses no finished step, and neither
Snakemake's lock nor its notes of unfinished work outlive it.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from megc.ablation.job import end_with_parent
from megc.ablation.job_plan import Plan, step_name, write_plan
from megc.ablation.program_code import PACKAGE, REPOSITORY
from megc.ablation.settings import HERE, LOCAL, Execution
from megc.ablation.steps import Result, Step, find_result, is_of_kind, step_folder, steps_in_order
from megc.commits import commit
from megc.files import lock_folder
from megc.problems import DataError

PROFILES = REPOSITORY / "ablation" / "profiles"
_LOG = "snakemake.log"
_PAUSE = 0.1  # seconds between looks at what is running
_GRACE = 30  # seconds that Snakemake has to end its jobs, on a cluster too


@dataclass
class Outcome:
    """What became of the steps: `results` of the finished ones, `failed` with the end of their logs, `skipped` for
    want of an earlier one."""

    results: dict[Step, Result] = field(default_factory=dict)
    failed: dict[Step, str] = field(default_factory=dict)
    skipped: list[Step] = field(default_factory=list)


def find_finished(last: Sequence[Step], work: Path, execution: Execution = HERE) -> tuple[Outcome, list[Step]]:
    """What is finished already, and the steps that are missing, in order; nothing is started.

    Steps whose inputs do not exist are `failed`, those behind them `skipped`.
    """
    outcome, missing = Outcome(), []
    for step in steps_in_order(last):
        needs = step.needs()
        if any(needed in outcome.failed or needed in outcome.skipped for needed in needs):
            outcome.skipped.append(step)
            continue
        try:
            result = None
            if all(needed in outcome.results for needed in needs):
                folder = step_folder(step, outcome.results, work)
                result = None if is_of_kind(step, execution.redo) else find_result(folder, step, execution.keep)
        except (DataError, OSError) as error:
            outcome.failed[step] = str(error)
            continue
        if result:
            outcome.results[step] = result
        else:
            missing.append(step)
    return outcome, missing


def run_steps(last: Sequence[Step], work: Path, execution: Execution = HERE) -> Outcome:
    """Bring these steps and all that they need to their end. Each step has a folder below `work/steps`, with
    `log.txt`, and `done.json` once it is finished.

    A failing step stops those that need it, no others. Raises DataError when another run works in the same folder.
    An interruption ends the running steps and leaves what is finished.
    """
    with lock_folder(work, "grid"):
        outcome, missing = find_finished(last, work, execution)
        for step, why in outcome.failed.items():
            _tell_failure(step, why)
        if missing:
            plan = _write_plan(missing, outcome, work, execution)
            _run_plan(plan, outcome, execution)
        return outcome


def local_devices() -> tuple[str, ...]:
    """GPUs of this machine that programs may use, as CUDA_VISIBLE_DEVICES names them."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        if not shutil.which(command[0]):
            return ()
        names = subprocess.run(command, capture_output=True, text=True, check=False).stdout.replace("\n", ",")
    listed = [name.strip() for name in names.split(",")]
    listed = listed[: listed.index("-1")] if "-1" in listed else listed  # as CUDA does: nothing behind -1 is visible
    return tuple(name for name in listed if name)


def _write_plan(missing: Sequence[Step], outcome: Outcome, work: Path, execution: Execution) -> Plan:
    runs = work / "workflow"
    if runs.is_dir():
        shutil.rmtree(runs)  # of earlier runs; what they finished lies in `steps`
    (work / "steps").mkdir(parents=True, exist_ok=True)
    plan = Plan(
        work=work,
        state=runs.absolute() / secrets.token_hex(4),
        current=Path.cwd(),
        repository=REPOSITORY,
        python=sys.executable,
        commit=commit(),
        steps={step_name(step): step for step in missing},
        results=outcome.results,
        redo=execution.redo,
        keep=execution.keep,
        devices=local_devices() if execution.executor == LOCAL else (),
    )
    write_plan(plan)
    return plan


def snakemake_command(plan: Plan, execution: Execution) -> list[str]:
    """The call of Snakemake that does a plan."""
    here = execution.executor == LOCAL
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).with_name("Snakefile"))]
    words += ["--directory", str(plan.state), "--config", f"plan={plan.file}", "--keep-going", "--nolock"]
    words += ["--scheduler", "greedy", "--rerun-triggers", "input", "--nocolor", "--executor", execution.executor]
    jobs = execution.jobs or ((os.cpu_count() or 1) if here else None)
    words += ["--cores" if here else "--jobs", str(jobs)] if jobs else []
    words += ["--resources", f"gpu={len(plan.devices)}"] if plan.devices else []
    profile = execution.profile or PROFILES / execution.executor
    if (profile / "config.yaml").is_file():
        words += ["--profile", str(profile.absolute())]
    elif execution.profile or not (here or jobs):
        what = f"no profile of Snakemake for {execution.executor}, which is a folder with config.yaml"
        raise DataError(profile, None, what, "correct --profile, or give --jobs, the number of jobs at a time")
    return [*words, "--workflow-profile", "none"]


def _run_plan(plan: Plan, outcome: Outcome, execution: Execution) -> None:
    """Run Snakemake and follow its jobs until it ends; fills `outcome`."""
    waiting = dict(plan.steps)
    with tqdm(
        total=len(outcome.results) + len(waiting), initial=len(outcome.results), unit="step", disable=None
    ) as bar:
        with _snakemake(plan, execution) as process:
            while process.poll() is None:
                _collect(plan, waiting, outcome, bar)
                time.sleep(_PAUSE)
        _collect(plan, waiting, outcome, bar)
    for name, step in waiting.items():  # neither a result nor a reason
        if any(needed in outcome.failed or needed in outcome.skipped for needed in step.needs()):
            outcome.skipped.append(step)
        else:
            outcome.failed[step] = _silent_end(plan, name)
            _tell_failure(step, outcome.failed[step])


def _collect(plan: Plan, waiting: dict[str, Step], outcome: Outcome, bar: tqdm) -> None:
    """Move what has ended from `waiting` to `outcome`, and name what runs."""
    running = []
    for name, step in list(waiting.items()):
        if result := plan.read_record(name):
            outcome.results[step] = result
        elif (failed := plan.marker(name, ".failed")).is_file():
            outcome.failed[step] = failed.read_text(encoding="utf-8")
            _tell_failure(step, outcome.failed[step])
        else:
            if plan.marker(name, ".started").is_file():
                running.append(step.title)
            continue
        del waiting[name]
        bar.update()
    bar.set_description(", ".join(running), refresh=False)


def _tell_failure(step: Step, why: str) -> None:
    tqdm.write(f"FAILED {step.title}: {why}", file=sys.stderr)


def _silent_end(plan: Plan, name: str) -> str:
    """Why a step has neither a result nor a reason: its job was killed, or never began."""
    started = plan.marker(name, ".started")
    if started.is_file():
        what = f"was ended from outside, as for want of memory or time; its log is {started.read_text()}/log.txt"
    else:
        what = "never began"
    lines = (plan.state / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
    return "\n".join([f"{what}; {plan.state / _LOG} ends", *(f"  {line}" for line in lines)])


@contextmanager
def _snakemake(plan: Plan, execution: Execution) -> Iterator[subprocess.Popen]:
    """Snakemake in a process group of its own: it, its jobs and their programs end together, gently first."""
    command = snakemake_command(plan, execution)
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with (plan.state / _LOG).open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, start_new_session=True, preexec_fn=end_with_parent, **streams
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_GRACE)
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, number)
