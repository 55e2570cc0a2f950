"""Programs of the repository, called in this process."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_program(monkeypatch: pytest.MonkeyPatch, program: str, *arguments: object) -> int:
    """Exit code of a program, such as `test/score_answers.py`, with these words on its command line."""
    monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / program), run_name="__main__")
    return end.value.code
