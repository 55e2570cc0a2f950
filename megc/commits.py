"""What made a result: the git commit of the code, and the versions of the libraries that it ran on.

Tables, checkpoints, answers and fused answers all name a commit, from rooms that may not import one another.
"""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from megc.files import read_checked
from megc.records import RunRecord

DIRTY = "+"
_CODE = ("*.py", "*.sh", "*.yaml", "*.json", "*.html", "*.toml", "requirements.txt")  # what decides a result
_LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "deepspeed", "pillow")


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
    return commits_of(read_checked(RunRecord, predictions.parent / "run.json", missing={}))


def software() -> dict:
    """`versions` of Python and of the libraries that a number may depend on, and the `git` commit; null for none."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {"versions": versions, "git": commit() or None}
