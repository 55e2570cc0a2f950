"""One function on many clips, in one process or several: order, results and failures do not depend on how many.

What stops the whole run (Ctrl-C, a full disk) is no failure of a clip: it passes, and what is finished is kept.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from typing import TypeVar

import cv2
from tqdm import tqdm

from megc.files import is_full_disk
from megc.problems import DataError, Problem, Problems

ADVICE = "look at it (data_process/preview.py); leave the clip out if this is no micro-expression"

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished:
    """Outcome of a clip: `done`, or `kept` from before, and warnings that a person should look at."""

    state: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Outcome:
    """Outcome of one task: a result, or the problem that stopped it."""

    result: object = None
    problem: Problem | None = None


def _attempt(function: Callable[[Task], Result], name: str, task: Task) -> _Outcome:
    """Run one task; bad input, and what OpenCV, the disk or the arithmetic make of it, becomes a problem.

    A full disk does not: it would fail every task after this one.
    """
    try:
        return _Outcome(function(task))
    except DataError as error:
        return _Outcome(problem=error.problem)
    except (cv2.error, OSError, ValueError, ArithmeticError, MemoryError) as error:
        if is_full_disk(error):
            raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _Outcome(problem=Problem(name, None, what, "check the files of this clip"))


def use_one_thread() -> None:
    """Keep OpenCV to one thread: the processes share the cores already."""
    cv2.setNumThreads(1)


@contextmanager
def process_pool(workers: int, wait_for_begun: bool = True) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes. Where the block raises, what has not begun is dropped, and what has begun is ended well, or
    at once without `wait_for_begun`, for tasks that take minutes and go on where they were."""
    # spawn: a fork after OpenCV has run may hang for ever
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=use_one_thread)
    try:
        yield pool
    except BaseException:
        for process in () if wait_for_begun else multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def submit_task(pool: ProcessPoolExecutor, task: Callable[[], Result]) -> Future[Result]:
    """Hand a task to the pool, which may start a process for it.

    Ctrl-C reaches every process of the terminal. It is held back while a process starts, which takes that over for
    good: only the parent hears it, and lets the others finish their clip.
    """
    resource_tracker.ensure_running()  # else its start, within the first submit, would let the signal through
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(task)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _run_in_pool(
    call: Callable[[int], partial], indices: list[int], workers: int, bar: tqdm
) -> dict[int, _Outcome | None]:
    """Outcomes by index. Where a process dies, the work ends early and what was at hand then has the outcome None.

    At most twice as many tasks as workers are at hand, so that a death leaves few to suspect.
    """
    done: dict[int, _Outcome | None] = {}
    waiting = iter(indices)
    running: dict[Future, int] = {}
    try:
        with process_pool(workers) as pool:
            while True:
                for index in islice(waiting, 2 * workers - len(running)):
                    running[submit_task(pool, call(index))] = index
                if not running:
                    return done
                # as they end, not in order: one slow clip must not keep the other processes idle
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running[future]] = future.result()
                    del running[future]
                    bar.update()
    except BrokenProcessPool:
        return done | dict.fromkeys(running.values())


def _run_alone(call: partial, name: str) -> _Outcome:
    """One task in a process of its own, which may die without harm."""
    try:
        with process_pool(1) as pool:
            return submit_task(pool, call).result()
    except BrokenProcessPool:
        what = "the process died on this clip (killed, or out of memory)"
        return _Outcome(problem=Problem(name, None, what, "check its files, or give fewer --workers"))


def run_on_clips(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    names: Sequence[str],
    problems: Problems,
    workers: int = 1,
    label: str = "clips",
) -> list[Result | None]:
    """`function` of each task, in the order of `tasks`; None where it failed, with the failure in `problems`.

    `function` and tasks must be picklable where `workers` is above 1. `names` stand for the tasks in problems.
    A process that dies takes only its own clip along: the clips at hand at that moment are run again, each alone,
    and then the rest. Raises OSError when a disk is full, in whatever process, and KeyboardInterrupt on Ctrl-C; the
    tasks at work then are ended, the rest are not begun.
    """
    outcomes: dict[int, _Outcome | None] = {}  # by index of the task; None: at hand when a process died

    def call(index: int) -> partial:
        return partial(_attempt, function, names[index], tasks[index])

    with tqdm(total=len(tasks), desc=label, unit="clip", mininterval=0.5, disable=len(tasks) < 2) as bar:
        # 1. what is left, in the pool  2. what was at hand when a process died, each alone  3. until all are done
        while len(outcomes) < len(tasks):
            left = [index for index in range(len(tasks)) if index not in outcomes]
            if workers > 1 and len(left) > 1:
                outcomes.update(_run_in_pool(call, left, min(workers, len(left)), bar))
            else:
                for index in left:
                    outcomes[index] = call(index)()
                    bar.update()
            for index in [index for index, outcome in outcomes.items() if outcome is None]:
                outcomes[index] = _run_alone(call(index), names[index])
                bar.update()
    for index in range(len(tasks)):
        if outcomes[index].problem is not None:
            problems.add(outcomes[index].problem)
    return [outcomes[index].result for index in range(len(tasks))]


def count_outcomes(
    results: Sequence[Finished | None], names: Sequence[str], folder: str, problems: Problems
) -> dict[str, int]:
    """How many clips were `done`, `kept` and `failed` (None); warnings go to `problems`, as of `folder`."""
    for name, result in zip(names, results, strict=True):
        if result and result.warnings:
            problems.warnings.append(Problem(folder, name, ", ".join(result.warnings), ADVICE))
    states = [result.state if result else "failed" for result in results]
    return {state: states.count(state) for state in ("done", "kept", "failed")}


def format_counts(counts: dict[str, int]) -> str:
    """`3 done, 1 kept`, in the order of the counts."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())
