"""The same work on many clips, in one process or several: order, results and failures do not depend on how many."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import cv2
from tqdm import tqdm

from megc.problems import DataError, Problem, Problems

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Outcome:
    """What came of one task: a result, or the problem that stopped it."""

    result: object = None
    problem: Problem | None = None


def _attempt(function: Callable[[Task], Result], name: str, task: Task) -> _Outcome:
    """Run one task; bad input, and what OpenCV, the disk or the arithmetic make of it, becomes a problem."""
    try:
        return _Outcome(function(task))
    except DataError as error:
        return _Outcome(problem=error.problem)
    except (cv2.error, OSError, ValueError, ArithmeticError, MemoryError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _Outcome(problem=Problem(name, None, what, "check the files of this clip"))


def _prepare() -> None:
    cv2.setNumThreads(1)  # the processes share the cores already


def _pool(workers: int) -> ProcessPoolExecutor:
    # spawn: a fork after OpenCV has run may hang for ever
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare)


def _many(call: Callable[[int], partial], indices: list[int], workers: int, bar: tqdm) -> dict[int, _Outcome | None]:
    """Outcomes by index. Where a process dies, the work ends early and what was at hand then has the outcome None.

    At most twice as many tasks as workers are at hand, so that a death leaves few to suspect.
    """
    done: dict[int, _Outcome | None] = {}
    waiting = iter(indices)
    running: dict[Future, int] = {}
    try:
        with _pool(workers) as pool:
            while True:
                for index in islice(waiting, 2 * workers - len(running)):
                    running[pool.submit(call(index))] = index
                if not running:
                    return done
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    done[running[future]] = future.result()
                    del running[future]
                    bar.update()
    except BrokenProcessPool:
        return done | dict.fromkeys(running.values())


def _alone(call: partial, name: str) -> _Outcome:
    """One task in a process of its own, which may die without harm."""
    try:
        with _pool(1) as pool:
            return pool.submit(call).result()
    except BrokenProcessPool:
        what = "the process died on this clip (killed, or out of memory)"
        return _Outcome(problem=Problem(name, None, what, "check its files, or give fewer --workers"))


def run(
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
    and then the rest.
    """
    outcomes: dict[int, _Outcome | None] = {}

    def call(index: int) -> partial:
        return partial(_attempt, function, names[index], tasks[index])

    with tqdm(total=len(tasks), desc=label, unit="clip", mininterval=0.5) as bar:
        while len(outcomes) < len(tasks):
            left = [index for index in range(len(tasks)) if index not in outcomes]
            if workers > 1 and len(left) > 1:
                outcomes.update(_many(call, left, min(workers, len(left)), bar))
            else:
                for index in left:
                    outcomes[index] = call(index)()
                    bar.update()
            for index in [index for index, outcome in outcomes.items() if outcome is None]:
                outcomes[index] = _alone(call(index), names[index])
                bar.update()
    for index in range(len(tasks)):
        if outcomes[index].problem is not None:
            problems.add(outcomes[index].problem)
    return [outcomes[index].result for index in range(len(tasks))]
