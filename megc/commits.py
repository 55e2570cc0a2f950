"""The git commit of the code that made a result.

A file of its own, though short: tables, checkpoints, answers and fused answers all name a commit, from rooms that may
not import one another, and none of them needs more of what the others have.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from megc.files import read_json

DIRTY = "+"
_CODE = ("*.py", "*.sh", "*.yaml", "*.json", "*.html", "*.toml", "requirements.txt")  # what decides a result


def commit(repository: Path = Path(__file__).parents[1]) -> str:
    """The git commit of the code, twelve hex digits, with DIRTY behind it where programs or settings differ from it
    or are not in git; empty without git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=repository, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=all", "--", *_CODE, ":(exclude)result")
        return git("rev-parse", "--short=12", "HEAD") + DIRTY * bool(changes)
    except (OSError, subprocess.CalledProcessError):
        return ""


def commits_of(run_info: Mapping) -> set[str]:
    """The commits of the code that made a run, by its `run.json`: `commits`, or `software.git` of older files."""
    software = run_info.get("software")
    older = software.get("git") if isinstance(software, dict) else None
    return {name for name in (*run_info.get("commits", ()), older) if name}


def answer_commits(predictions: Path) -> set[str]:
    """The commits of the code that made a predictions file, by the `run.json` beside it; none without one."""
    return commits_of(read_json(predictions.parent / "run.json", missing={}))
