"""The code behind a program of a grid: every module of the package that it imports, and the data files beside them.

The key of a step holds `code_hash` of its programs, so that a changed constant, or a changed `mean_face.json`, makes
the step be done again. Comments, docstrings and layout do not count.
"""

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

import grimp

import megc
from megc.files import sha256_of

PACKAGE = Path(megc.__file__).parent
REPOSITORY = PACKAGE.parent
_HANDS_OVER = {"train.py": "train/train.py"}  # a program that only runs another, which no import shows


@cache
def code_hash(programs: tuple[str, ...], repository: Path = REPOSITORY) -> str:
    """Sixteen hex digits of what the programs (paths within the repository) and all that they import do.

    A path outside the repository, or of no file, adds nothing: its text is part of the command already.
    """
    scripts = {_HANDS_OVER.get(program, program) for program in programs} | set(programs)
    scripts = sorted(name for name in scripts if name.endswith(".py") and (repository / name).is_file())
    modules = set().union(*(imported_modules(repository / name) for name in scripts))
    parts = [f"{name} {_file_hash(repository / name)}" for name in scripts]
    parts += [f"{file.relative_to(PACKAGE).as_posix()} {_file_hash(file)}" for file in files_of_modules(modules)]
    return sha256_of(*parts)


@cache
def import_graph() -> grimp.ImportGraph:
    """Which module of the package imports which, those inside functions too."""
    return grimp.build_graph("megc", cache_dir=None)


def imported_modules(script: Path) -> frozenset[str]:
    """Modules of the package that run when the script does: those it imports, what these import, and the packages
    that they lie in."""
    return _closure(name for name in _imports(script) if name in import_graph().modules)


@cache
def modules_hash(names: tuple[str, ...]) -> str:
    """Sixteen hex digits of what modules of the package, and all that they import, do."""
    files = files_of_modules(_closure(names))
    return sha256_of(*(f"{file.relative_to(PACKAGE).as_posix()} {_file_hash(file)}" for file in files))


def _closure(names: Iterable[str]) -> frozenset[str]:
    graph, waiting = import_graph(), set(names)
    modules: set[str] = set()
    while waiting:
        module = waiting.pop()
        modules.add(module)
        # importing megc.vqa.build runs megc/__init__.py and megc/vqa/__init__.py first
        before = {module.rpartition(".")[0]} - {""}
        waiting |= (graph.find_modules_directly_imported_by(module) | before) - modules
    return frozenset(modules)


def _imports(script: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)  # a module, or a name in one


def files_of_modules(modules: Collection[str]) -> list[Path]:
    """Source files of the modules, and the data files (`mean_face.json`, …) in the folders that they lie in."""
    files = {_source(module) for module in modules}
    for folder in {file.parent for file in files}:
        files.update(file for file in folder.iterdir() if file.is_file() and _is_data(file))
    return sorted(files)


def _source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_data(file: Path) -> bool:
    return file.suffix not in (".py", ".pyc") and not file.name.startswith(".") and not file.name.endswith("~")


@cache
def _file_hash(file: Path) -> str:
    """Hash of a file as it was when this process first read it: of its meaning for Python, of its bytes for data."""
    if file.suffix != ".py":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        # a docstring, of a field too: a string that stands alone as a statement does nothing
        node.body = [line for line in body if not (isinstance(line, ast.Expr) and _is_text(line.value))]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
