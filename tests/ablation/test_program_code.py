"""The code in a step's key: a constant changed in any room changes the keys of what imports it, prose changes none."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from megc.ablation.program_code import PACKAGE, REPOSITORY, code_hash, files_of_modules, import_graph, imported_modules
from megc.ablation.spec import PROGRAMS

HASHES = """
import json, sys
from megc.ablation import program_code
for _ in sys.stdin:  # a line asks for the hashes of now
    program_code.code_hash.cache_clear(), program_code._file_hash.cache_clear()
    print(json.dumps({name: program_code.code_hash((name,)) for name in sys.argv[1:]}), flush=True)
"""
ALL = frozenset(PROGRAMS)
# room: sections whose program must depend on it, and those whose program must not
ROOMS = {
    "facs.py": (ALL - {"frames", "flow"}, set()),
    "files.py": (ALL, set()),
    "motion": ({"frames", "flow", "data"}, set()),
    "datasets": (set(), {"train", "answer", "reason", "fuse", "baselines", "augment", "data"}),
    "vqa": (ALL - {"frames", "flow"}, set()),
    "baselines": ({"baselines", "fuse"}, {"train", "frames", "flow", "data", "augment"}),
    "synthesis": ({"make"}, ALL - {"make"}),
    "scoring": (set(), {"train", "frames", "flow", "data", "make", "augment"}),
    "model": ({"train", "answer"}, set()),
    "training": ({"train"}, ALL - {"train"}),
    "reasoning": ({"reason", "answer"}, {"train", "frames", "flow", "data"}),
    "answers": ({"answer"}, {"train", "frames", "flow", "data"}),
    "ablation": (set(), ALL),
}


class _Raised(ast.NodeTransformer):
    """Adds one to the first number of a module."""

    changed = False

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if self.changed or isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return node
        self.changed = True
        return ast.Constant(node.value + 1)


def change_number(file: Path) -> bool:
    """Add one to a number of a source file; False for a file without a number."""
    raised = _Raised()
    tree = raised.visit(ast.parse(file.read_text(encoding="utf-8")))
    if raised.changed:
        file.write_text(ast.unparse(tree), encoding="utf-8")
    return raised.changed


@dataclass(frozen=True)
class Copy:
    """A copy of the programs and the package, to be changed, with a process that hashes it."""

    root: Path
    process: subprocess.Popen

    def hashes(self) -> dict[str, str]:
        """The code hash of each section's program as the files are now."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        by_program = json.loads(self.process.stdout.readline())
        return {section: by_program[program] for section, program in PROGRAMS.items()}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    root = tmp_path_factory.mktemp("copy")
    for name in ("megc", "data_process", "train", "test"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copy(REPOSITORY / "train.py", root)
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", HASHES, *PROGRAMS.values()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=root, env=environment, text=True, **pipes) as process:
        yield Copy(root, process)


def changed_sections(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {section for section in before if before[section] != after[section]}


def test_a_copy_has_the_hashes_of_the_original(copied: Copy) -> None:
    assert copied.hashes() == {section: code_hash((program,)) for section, program in PROGRAMS.items()}
    assert len(set(copied.hashes().values())) == len(set(PROGRAMS.values()))


@pytest.mark.parametrize("room", ROOMS)
def test_a_changed_constant_changes_the_keys_that_rest_on_it(room: str, copied: Copy) -> None:
    must, must_not = ROOMS[room]
    before, place = copied.hashes(), copied.root / "megc" / room
    originals = {file: file.read_text() for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])}
    assert [file for file in originals if change_number(file)], "a room without a number"
    changed = changed_sections(before, copied.hashes())
    assert must <= changed and not must_not & changed, f"{room}: {sorted(changed)}"
    for file, text in originals.items():
        file.write_text(text)


def test_data_files_count_for_the_programs_that_import_their_room(copied: Copy) -> None:
    before, expected = copied.hashes(), {"mean_face.json": ("motion", "frames"), "layouts.yaml": ("synthesis", "make")}
    for name, (room, section) in expected.items():
        file = copied.root / "megc" / room / name
        original = file.read_bytes()
        file.write_bytes(original + b"\n")
        assert section in changed_sections(before, copied.hashes()), name
        file.write_bytes(original)
    packaged = {file for file in PACKAGE.rglob("*.json") if "__pycache__" not in file.parts}
    assert packaged <= set(files_of_modules(import_graph().modules))


def test_comments_docstrings_and_layout_change_no_key(copied: Copy) -> None:
    before = copied.hashes()
    originals = {file: file.read_text() for file in sorted(copied.root.rglob("*.py"))}
    for file, text in originals.items():
        tree = ast.parse(text)
        for node in ast.walk(tree):  # another docstring where there is one
            lines = getattr(node, "body", None)
            if isinstance(lines, list) and lines and isinstance(lines[0], ast.Expr):
                with_text = isinstance(getattr(lines[0].value, "value", None), str)
                lines[0] = ast.Expr(ast.Constant("Another text.")) if with_text else lines[0]
        file.write_text("# a comment\n\n" + ast.unparse(tree) + "\n\n# the end\n")  # unparse drops all other comments
    assert changed_sections(before, copied.hashes()) == set()
    for file, text in originals.items():
        file.write_text(text)


def test_what_a_program_really_imports_is_in_its_key() -> None:
    program = REPOSITORY / "test" / "reason_answers.py"
    code = f"import runpy, sys; sys.argv = ['x']; runpy.run_path({str(program)!r})\n"
    code += "print(*(name for name in sys.modules if name.split('.')[0] == 'megc'))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    assert set(loaded.stdout.split()) <= imported_modules(program)
    assert "megc.training.sft" in imported_modules(REPOSITORY / "train" / "train.py")
    assert "megc" in imported_modules(REPOSITORY / "train" / "train.py"), "packages around a module run too"
