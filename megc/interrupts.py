"""Ctrl-C while a program is still importing: one line and code 130, where Python would print a traceback.

Every program imports this first, since torch and transformers take seconds. Nothing has been read or written by then,
so that the process simply ends; `command.run_command` takes over from here.
"""

import os
import signal
import sys
import threading
from types import FrameType

NOT_BEGUN = "Stopped. Nothing had begun."


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    # no exception: half-imported extension modules turn it into errors of their own, or swallow it
    os.write(2, f"{NOT_BEGUN}\n".encode())
    os._exit(130)


def watch_imports() -> None:
    """Let Ctrl-C end this process at once, unless it is ignored, or the process is one of a pool."""
    pool = sys.modules.get("multiprocessing.process")  # loaded in a pool's process before its program is
    alone = threading.current_thread() is threading.main_thread() and not (pool and pool.parent_process())
    if alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def imports_done() -> None:
    """From here on Ctrl-C is KeyboardInterrupt again, which lets a program clean up."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


watch_imports()
