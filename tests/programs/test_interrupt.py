"""Ctrl-C in the programs that run for long: one line, code 130, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megc.command import STOPPED

ROOT = Path(__file__).parents[2]


def _interrupted(command: list[str], folder: Path, at_work: Path) -> tuple[int, str]:
    """Code and standard error of a program that gets SIGINT once something stands in `at_work` beside its lock."""
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 120
        try:
            while not (at_work.is_dir() and any(path.suffix != ".lock" for path in at_work.iterdir())):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()  # does nothing to a program that has ended
    return process.returncode, said


@pytest.mark.parametrize(
    ("arguments", "at_work"),
    [
        (["data_process/make_flow_set.py", "--clips", "100000", "--out", "set"], "set/flow"),
        (["data_process/make_demo_dataset.py", "--workers", "1", "--out", "demo"], "demo"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:3]),
)
def test_ctrl_c_ends_a_program_in_one_line(arguments, at_work, tmp_path):
    command = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
    code, said = _interrupted(command, tmp_path, tmp_path / at_work)
    lines = [line for line in said.replace("\r", "\n").splitlines() if line and "|" not in line]  # without bars
    assert (code, lines) == (130, [STOPPED])
    assert [name for name in os.listdir(tmp_path / at_work) if name.endswith(".lock")] == []
