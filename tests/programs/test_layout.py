"""The house keeps its shape: mandated places, small files, thin scripts, README commands that exist."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT_FOLDERS = ("data_process", "train", "test", "ablation", "ablation/Metrics", "benchmarks")
SCRIPTS = sorted(
    path for folder in SCRIPT_FOLDERS for path in (ROOT / folder).glob("*.py") if not path.name.startswith("_")
)
CODE = sorted([*(ROOT / "megc").rglob("*.py"), *SCRIPTS, ROOT / "train.py", *(ROOT / "tests").rglob("*.py")])
ROOMS = ("facs", "clips", "datasets", "motion", "vqa", "model", "answers", "scoring")


@pytest.mark.parametrize(
    "path", ["dataset", "data_process", "train", "test", "ablation", "result", "megc", "train.py", "infer.sh"]
)
def test_top_level_is_as_its_users_know_it(path: str) -> None:
    assert (ROOT / path).exists()


def test_script_folders_are_no_packages() -> None:
    """An `__init__.py` in test/ would hide the standard library's `test`, one in train/ would hide train.py."""
    assert [folder for folder in SCRIPT_FOLDERS if (ROOT / folder / "__init__.py").exists()] == []


def test_files_and_functions_stay_small() -> None:
    long = {}
    for path in CODE:
        text = path.read_text()
        name = str(path.relative_to(ROOT))
        if len(text.splitlines()) > 400:
            long[name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 60:
                long[f"{name}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def test_package_parses_no_arguments_and_scripts_stay_thin() -> None:
    for path in (ROOT / "megc").rglob("*.py"):
        assert "argparse" not in path.read_text(), path
    for path in SCRIPTS:
        if path.parent.name == "benchmarks":
            continue
        names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert set(names) <= {"main"}, f"{path} holds logic: {names}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_has_help(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
    assert str(ROOT) not in done.stdout, "a default names this machine"


def test_commands_of_the_readme_name_files_that_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "dataset" / "README.md", ROOT / "result" / "README.md"]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:python3?|bash|torchrun.*?|deepspeed.*?) ([\w/]+\.(?:py|sh))", page.read_text())
    }
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_pytest_leaves_the_answer_scripts_alone() -> None:
    command = [sys.executable, "-m", "pytest", "test/", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout  # pytest's code for: nothing collected
