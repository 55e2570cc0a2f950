"""The house keeps its shape: mandated places, walls, small files, clear names, commands of the pages that exist."""

import ast
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from megc.command import flags_of

ROOT = Path(__file__).parents[2]
SCRIPT_FOLDERS = ("data_process", "train", "test", "ablation", "ablation/Metrics", "benchmarks")
SCRIPTS = sorted(
    path for folder in SCRIPT_FOLDERS for path in (ROOT / folder).glob("*.py") if not path.name.startswith("_")
)
PACKAGE = sorted((ROOT / "megc").rglob("*.py"))
CODE = sorted([*PACKAGE, *SCRIPTS, ROOT / "train.py", *(ROOT / "tests").rglob("*.py")])
PAGES = sorted([ROOT / "README.md", *ROOT.glob("*/README.md"), ROOT / "result" / "LOG.md"])

README_BYTES, README_LINES = 8000, 130

# Files of the package under 60 lines, each with the reason why it is no part of a neighbour.
SHORT_FILES = {
    "answers/pictures.py": "blanking is a control, no part of answering",
    "baselines/loglinear.py": "the optimiser of fusion, tested by itself",
    "commits.py": "five rooms name a commit and may not import one another",
    "csv_tables.py": "all tables are written by it, from four rooms",
    "interrupts.py": "every program imports it first, and nothing else with it",
    "motion/apex.py": "reads the regions' motion, which other spotters read too",
    "motion/region_motion.py": "the signal that apex and spotting share",
    "planning/example_clip.py": "the stand-in clip of plan and tests",
}

# Names that do not say what they hold (as modules, functions, parameters and local variables).
VAGUE = {"found", "made", "one", "some", "own", "said", "told", "asked", "shown", "wanted", "known"}
VAGUE |= {"place", "ways", "sides"}
VAGUE_FUNCTIONS = 0  # functions of the package that bind such a name: may only fall


@pytest.mark.parametrize(
    "path",
    [
        *("dataset", "data_process", "train", "test", "ablation", "result", "megc", "train.py", "infer.sh"),
        *("README.md", "LICENSE", "CITATION.cff", "result/LOG.md"),
    ],
)
def test_top_level_is_as_its_users_know_it(path: str) -> None:
    assert (ROOT / path).exists()


def test_script_folders_are_no_packages() -> None:
    """An `__init__.py` in test/ would hide the standard library's `test`, one in train/ would hide train.py."""
    assert [folder for folder in SCRIPT_FOLDERS if (ROOT / folder / "__init__.py").exists()] == []


def test_rooms_import_only_from_rooms_below() -> None:
    """The contracts stand in pyproject.toml; hidden imports inside functions count."""
    command = [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # it keeps pytest's stdout
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef))


def test_files_and_functions_stay_small() -> None:
    long = {}
    for path in CODE:
        name = str(path.relative_to(ROOT))
        lines = len(path.read_text().splitlines())
        if lines > 400:
            long[name] = lines
        for node in _functions(path):
            if node.end_lineno - node.lineno + 1 > 60:
                long[f"{name}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def test_short_files_have_a_reason() -> None:
    short = {
        str(path.relative_to(ROOT / "megc"))
        for path in PACKAGE
        if path.name not in ("__init__.py", "settings.py")  # a room has its options in one light file
        and path.parent.name != "readers"  # one file a dataset
        and len(path.read_text().splitlines()) < 60
    }
    assert short - SHORT_FILES.keys() == set(), "put them into a neighbour, or add the reason to SHORT_FILES"


def test_module_names_occur_once() -> None:
    names = Counter(path.stem for path in PACKAGE if path.name not in ("__init__.py", "settings.py"))
    assert {name for name, count in names.items() if count > 1} == set()
    assert names.keys() & VAGUE == set()


def _bound_names(function: ast.FunctionDef) -> set[str]:
    """Parameters and local variables of a function, without those of the functions inside it."""
    names, nodes = set(), [function.args, *function.body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        nodes += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.FunctionDef)]
    return names


def test_names_say_what_they_hold() -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {', '.join(sorted(names))}"
        for path in PACKAGE
        for function in _functions(path)
        if (names := (_bound_names(function) | {function.name}) & VAGUE)
    ]
    assert len(vague) <= VAGUE_FUNCTIONS, "\n".join(vague)


def test_package_parses_no_arguments_and_scripts_stay_thin() -> None:
    for path in PACKAGE:
        # the frame of all commands, the flags of train.py, which are Hugging Face's too, and a type in others' pickles
        exceptions = ("command.py", "training/settings.py", "spotting/video_conversion.py")
        if str(path.relative_to(ROOT / "megc")) not in exceptions:
            assert "argparse" not in path.read_text(), path
    for path in SCRIPTS:
        if path.parent.name == "benchmarks":
            continue
        names = [node.name for node in _tree(path).body if isinstance(node, ast.FunctionDef)]
        assert set(names) <= {"main"}, f"{path} holds logic: {names}"


@cache
def _help(script: Path) -> str:
    """What `--help` prints, from a folder that is not the repository's."""
    command = [sys.executable, script, "--help"]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_has_help(script: Path) -> None:
    assert str(ROOT) not in _help(script), "a default names this machine"


def _settings_of(script: Path) -> type | None:
    """The settings class of a script that is `run(__doc__, Settings, …)`; None for another one."""
    tree = _tree(script)
    origins = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run":
            name = getattr(node.args[1], "id", None)
            return getattr(import_module(origins[name]), name) if name in origins else None
    return None


def test_every_field_of_the_settings_has_a_help_line() -> None:
    settings = {kind for script in SCRIPTS if (kind := _settings_of(script))}
    assert len(settings) >= 8
    silent = [
        f"{kind.__name__}.{field.name}"
        for kind in settings
        for field in flags_of(kind).values()
        if not field.metadata.get("help", "").strip()
    ]
    assert silent == []


def test_readme_stays_short() -> None:
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= README_BYTES and len(text.splitlines()) <= README_LINES


def test_commands_of_the_pages_name_files_that_exist() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:python3?|bash|torchrun.*?|deepspeed.*?) ([\w/]+\.(?:py|sh))", page.read_text())
    }
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def _commands(page: Path) -> Iterator[tuple[Path, list[str]]]:
    """Program and flags of each command in a page's bash blocks."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            scripts = [word for word in words if word.endswith(".py")]
            if scripts:
                name = "train/train.py" if scripts[0] == "train.py" else scripts[0]
                yield ROOT / name, [word for word in words[words.index(scripts[0]) :] if word.startswith("--")]


def test_flags_of_the_pages_exist() -> None:
    commands = [command for page in PAGES for command in _commands(page)]
    assert len(commands) > 40
    unknown = [
        f"{script.relative_to(ROOT)} {flag}"
        for script, flags in commands
        for flag in flags
        if flag.replace("_", "-") not in _help(script).replace("_", "-")
    ]
    assert unknown == []


def test_links_of_the_pages_exist() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_program_is_listed_once_on_the_page_of_its_folder() -> None:
    for script in SCRIPTS:
        if script.parent.name == "benchmarks":
            continue
        folder = ROOT / script.relative_to(ROOT).parts[0]
        rows = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `")]
        name = str(script.relative_to(folder))
        assert sum(f"`{name}`" in row.split("|")[1] for row in rows) == 1, script


def test_pytest_leaves_the_answer_scripts_alone() -> None:
    command = [sys.executable, "-m", "pytest", "test/", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout  # pytest's code for: nothing collected
