"""What stops a run over many clips: a full disk and Ctrl-C pass from any process, and what is finished is kept."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import megc
from megc.command import STOPPED
from megc.motion.parallel import process_pool, run_on_clips, submit_task
from megc.problems import Problems


def fill_disk(number: int) -> int:
    if number == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "clips/b")
    return number


def refuse(number: int) -> int:
    raise OSError(errno.EACCES, os.strerror(errno.EACCES), f"clips/{number}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_stops_the_run_and_is_no_failure_of_a_clip(workers):
    problems = Problems()
    with pytest.raises(OSError) as caught:
        run_on_clips(fill_disk, range(6), list("abcdef"), problems, workers)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "clips/b")
    assert not len(problems)


def test_another_error_of_a_file_is_a_failure_of_its_clip():
    problems = Problems()
    assert run_on_clips(refuse, range(3), list("abc"), problems) == [None] * 3
    assert len(problems) == 3


PROGRAM = """
import sys, time
from pathlib import Path
from megc.command import run_command
from megc.files import write_text
from megc.motion.parallel import run_on_clips
from megc.problems import Problems

def work(number):
    time.sleep(0.2)
    write_text(Path(sys.argv[1]) / f"{number}.txt", "done")

def main():
    run_on_clips(work, range(99), [str(number) for number in range(99)], Problems(), int(sys.argv[2]))
    return 0

if __name__ == "__main__":
    sys.exit(run_command(main))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_in_one_line_and_keeps_what_is_finished(tmp_path, workers):
    """SIGINT goes to the whole group of processes, as from a terminal."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "out"), str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while len(list(tmp_path.glob("out/*.txt"))) < 3 and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate()[1]
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line and not line.startswith("clips: ")]
    assert (process.returncode, lines) == (130, [STOPPED])
    finished = [path.name for path in (tmp_path / "out").iterdir()]
    assert 3 <= len(finished) < 99 and all(name.endswith(".txt") for name in finished), "no part of a file is left"


def test_processes_are_started_in_one_place():
    """A pool of its own would print a traceback of each process at Ctrl-C."""
    package = Path(megc.__file__).parent
    users = [path.name for path in package.rglob("*.py") if "ProcessPoolExecutor" in path.read_text()]
    assert users == ["parallel.py"]


def test_a_long_task_is_not_waited_for_when_the_run_is_stopped(tmp_path):
    begun = tmp_path / "begun"
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_pool(1, wait_for_begun=False) as pool:
        submit_task(pool, partial(_touch_and_sleep, begun))
        while not begun.is_file():
            assert time.monotonic() - begin < 60
            time.sleep(0.02)
        raise KeyboardInterrupt
    assert multiprocessing.active_children() == []
    assert time.monotonic() - begin < 90  # of 300 seconds


def _touch_and_sleep(path: Path) -> None:
    path.touch()
    time.sleep(300)
