"""The frame of every command: what goes wrong is said in one line, and the exit code tells what it was."""

import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from tqdm import tqdm

from megc import interrupts
from megc.files import is_full_disk
from megc.problems import DataError

STOPPED = "Stopped. What is finished is kept; the same command goes on."
_BROKEN_PIPE = 141  # 128 and the number of the signal, as shells count; here of SIGPIPE


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems and containers send to end a program: it is cleaned up as after Ctrl-C."""


def run_command(main: Callable[[], int], stopped: str = STOPPED) -> int:
    """Call `main` and return the exit code of the program; `stopped` is the line after Ctrl-C.

    `main` returns 0, or 1 when it has reported problems. Bad input (DataError, ValueError), a full disk and a path
    that cannot be used (OSError) are 1 and a line on standard error, Ctrl-C is 130 and a line, SIGTERM 143 and the
    same line. A reader that has gone away, as in `command | head`, is 141 without a word. Anything else is a fault
    of the program and passes with its traceback.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        interrupts.imports_done()
        code = main()
        sys.stdout.flush()
        return code
    except (DataError, ValueError) as error:
        return _end(str(error), 1)
    except KeyboardInterrupt as stop:
        return _end(stopped, 143 if isinstance(stop, Terminated) else 130)
    except OSError as error:
        if is_full_disk(error):
            return _end(_full_disk(error), 1)
        if isinstance(error, BrokenPipeError) and (closed := _without_reader()):
            for stream in closed:  # else the interpreter writes again at its end, and complains
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return _BROKEN_PIPE
        if error.filename is None:
            raise
        return _end(f"{error.filename}: {error.strerror}; check the path, and whether you may use it.", 1)


def _end(message: str, code: int) -> int:
    tqdm.write(message, file=sys.stderr)  # on a line of its own where a progress bar stands
    sys.stderr.flush()
    return code


def _full_disk(error: OSError) -> str:
    place = "the disk" if error.filename is None else error.filename
    return f"no space left on {place}: what is finished is kept; free some and start the same command again."


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _without_reader() -> list[TextIO]:
    """Which of standard output and standard error are pipes that nobody reads any more."""
    if not hasattr(select, "poll"):  # Windows
        return [sys.stdout]
    poll = select.poll()
    streams = {stream.fileno(): stream for stream in (sys.stdout, sys.stderr)}
    for number in streams:
        poll.register(number, 0)
    return [streams[number] for number, event in poll.poll(0) if event & select.POLLERR]
