"""The frame of every command: one line and an exit code for whatever goes wrong, whoever stops it."""

import ast
import errno
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from megc import interrupts
from megc.command import STOPPED, flags_of, option, parse, run_command
from megc.problems import DataError

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path
    for folder in ("data_process", "train", "test", "ablation", "ablation/Metrics", "benchmarks")
    for path in (ROOT / folder).glob("*.py")
    if not path.name.startswith("_")
)
HEAVY = ("torch", "transformers", "cv2", "dlib", "sklearn", "pandas", "matplotlib")
FULL = "no space left on out/a.npy: what is finished is kept; free some and start the same command again."


def _raising(error: BaseException):
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("a.jsonl", 3, "not JSON", "repair it"), 1, "a.jsonl, row 3: not JSON; repair it."),
        (ValueError("--every must be positive"), 1, "--every must be positive"),
        (KeyboardInterrupt(), 130, STOPPED),
        (OSError(errno.ENOSPC, "No space left on device", "out/a.npy"), 1, FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "out/a.npy"), 1, FULL),
        (OSError(errno.ENOSPC, "No space left on device"), 1, FULL.replace("out/a.npy", "the disk")),
        (
            PermissionError(errno.EACCES, "Permission denied", "out"),
            1,
            "out: Permission denied; check the path, and whether you may use it.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_error_is_one_line_and_a_code(error, code, line, capsys):
    assert run_command(_raising(error)) == code
    assert capsys.readouterr() == ("", f"{line}\n")


@pytest.mark.parametrize("code", [0, 1])
def test_the_code_of_a_program_passes(code):
    assert run_command(lambda: code) == code


@pytest.mark.parametrize("error", [KeyError("x"), BrokenPipeError(errno.EPIPE, "of a server"), SystemExit(2)])
def test_a_fault_of_the_program_passes_with_its_traceback(error):
    with pytest.raises(type(error)):
        run_command(_raising(error))


def _start(body: str) -> subprocess.Popen:
    source = f"import sys, time\nfrom megc.command import run_command\ndef main():\n    {body}\n    return 0\n"
    source += "sys.exit(run_command(main))\n"
    return subprocess.Popen(
        [sys.executable, "-c", source], **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_program_with_one_line(number, code):
    with _start("print('at work', flush=True); time.sleep(60)") as process:
        assert process.stdout.readline() == b"at work\n"
        process.send_signal(number)
        assert process.communicate()[1].decode() == f"{STOPPED}\n"
    assert process.returncode == code


@pytest.mark.parametrize("program", ["train.py", "test/generate_answers.py"])
def test_ctrl_c_during_the_imports_ends_a_program_with_one_line(program):
    command = [sys.executable, "-X", "importtime", str(ROOT / program)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr)
        assert any(" torch." in line for line in lines)  # some of torch is there, the rest is to come
        process.send_signal(signal.SIGINT)
        words = [line for line in lines if not line.startswith("import time:")]
    assert (process.returncode, words) == (130, [f"{interrupts.NOT_BEGUN}\n"])


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_program_minds_ctrl_c_before_it_imports_anything_else(program):
    imports = [ast.unparse(node) for node in ast.parse(program.read_text()).body if _imports(node)]
    light = re.compile(r"from functools import|from megc\.(command|\w+\.settings) import")  # these import interrupts
    assert "benchmarks" in program.parts or "megc.interrupts" in imports[0] or all(map(light.match, imports))


@pytest.mark.parametrize("body", ["print('x' * 10)", "[print('x' * 99) for _ in range(9999)]"])
def test_a_reader_that_goes_away_gets_no_complaint(body):
    with _start(f"sys.stdin.read(); {body}") as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_program_runs_in_the_frame(program):
    calls = {node.func.id for node in ast.walk(ast.parse(program.read_text())) if _calls_name(node)}
    assert calls & {"run", "run_command"}


@pytest.mark.parametrize(
    "program",
    [path for path in PROGRAMS if path.parent.name != "benchmarks"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_help_imports_nothing_heavy(program):
    """`--help` names every flag with its help, and waits for no torch."""
    command = [sys.executable, "-X", "importtime", program, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "megc" in modules and not modules & set(HEAVY)
    assert "(default: None)" not in done.stdout


@dataclass(frozen=True)
class Inner:
    deep_flag: float = option(0.5, "a nested one")


@dataclass(frozen=True)
class Example:
    files: tuple[Path, ...] = option((), "one or more")
    kinds: tuple[Literal["a", "b"], ...] = option(("a",), "choices")
    limit: int | None = option(None, "pixels", flag="max_pixels", aliases=("most",))
    changes: tuple[str, ...] = option((), "KEY=VALUE", flag="set", repeat=True)
    legend: bool = option(True, "on")
    overwrite: bool = option(False, "off")
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.limit == 0:
            raise ValueError("--max-pixels must be positive")


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("", Example()),
        (
            "--files a b --kinds b a --set x=1 --set y=2",
            Example((Path("a"), Path("b")), ("b", "a"), None, ("x=1", "y=2")),
        ),
        ("--max-pixels 3 --deep_flag 1", Example(limit=3, inner=Inner(1.0))),
        ("--max_pixels=3 --no-legend --overwrite", Example(limit=3, legend=False, overwrite=True)),
        ("--most -3", Example(limit=-3)),
    ],
)
def test_a_command_line_becomes_settings(line, settings):
    assert parse("", Example, line.split()) == settings


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--max-pixls 3", "--max-pixels"),  # did you mean
        ("--max-pixels x", "--max-pixels"),
        ("--max-pixels", "--max-pixels"),
        ("--max-pixels None", "--max-pixels"),
        ("--max-pixels 0", "--max-pixels must be positive"),
        ("--files", "--files: give one value or more"),
        ("--kinds c", "--kinds"),
        ("--deep-flag 1 2", "2"),
        ("--overwrite yes", "yes"),
        ("word", "word"),
    ],
)
def test_a_wrong_command_line_names_the_flag(line, words, capsys):
    with pytest.raises(SystemExit) as end:
        parse("", Example, line.split())
    assert end.value.code == 2 and words in capsys.readouterr().err


def test_flags_of_settings_are_told_without_parsing():
    names = ["files", "kinds", "max-pixels", "most", "set", "legend", "no-legend", "overwrite", "deep-flag"]
    assert list(flags_of(Example)) == names


def _imports(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _calls_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@dataclass
class Pairs:
    dataset: tuple[Literal["casme2", "samm"], ...] = option((), "starts a dataset", repeat=True)
    sheet: tuple[str, ...] = option((), "its sheet", repeat=True, of="dataset")
    frames: tuple[str, ...] = option((), "its frames", repeat=True, of="dataset")
    out: Path = option(Path("clips"), "file")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Pairs()),
        ("--out o --dataset samm", Pairs(("samm",), ("",), ("",), Path("o"))),
        ("--dataset casme2 --frames F --sheet=S", Pairs(("casme2",), ("S",), ("F",))),
        (
            "--dataset casme2 --sheet S --out o --dataset samm --frames F --dataset samm",
            Pairs(("casme2", "samm", "samm"), ("S", "", ""), ("", "F", ""), Path("o")),
        ),
    ],
)
def test_flags_that_belong_to_another_go_with_the_one_before_them(line, expected):
    assert parse("", Pairs, line.split()) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--frames F --dataset samm", "--frames belongs behind a --dataset"),
        ("--dataset samm --frames F --frames G", "--frames is given twice behind a --dataset"),
        ("--dataset other", "choose one of|invalid choice"),
        ("--dataset samm --frames", "Missing value"),
    ],
)
def test_a_flag_without_the_one_that_it_belongs_to_is_an_error(line, words, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("", Pairs, line.split())
    assert stop.value.code == 2
    assert re.search(words, capsys.readouterr().err)


def test_messages_of_libraries_that_nobody_can_heed_are_silenced_and_others_are_not():
    code = """
import logging, sys, warnings
sys.stderr.isatty = lambda: False
from megc.command import run_command
def main():
    handler = logging.StreamHandler(sys.stdout)
    logging.getLogger("DeepSpeed").addHandler(handler)
    for text in ("Setting accelerator to CPU. If you have GPU", "the loss is not finite"):
        logging.getLogger("DeepSpeed").warning(text)
    for text in ("The copy keyword is deprecated and will be removed in a future version", "your file is cut"):
        warnings.warn(text)
    from transformers.utils import logging as transformers_logging
    print("bars", transformers_logging.is_progress_bar_enabled())
    return 0
raise SystemExit(run_command(main))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "accelerator" not in done.stdout and "the loss is not finite" in done.stdout and "bars False" in done.stdout
    assert "keyword" not in done.stderr and "your file is cut" in done.stderr
