"""The frame of every command: settings from the command line, the work, its problems, and the exit code.

A command is a settings dataclass (each field an `option`), a function `work(settings, problems)` that returns the
summary to print, and a script that joins them. `tyro` turns the fields into flags.
"""

import megc.interrupts as interrupts  # first: Ctrl-C while the rest is imported

import contextlib
import dataclasses
import logging
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn, TextIO, TypeVar, get_args, get_origin, get_type_hints

from megc.problems import DataError, Problems

Settings = TypeVar("Settings")
Work = Callable[[Settings, Problems], str | None]

STOPPED = "Stopped. What is finished is kept; the same command goes on."
_BROKEN_PIPE = 141  # 128 and the number of the signal, as shells count; here of SIGPIPE


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems and containers send to end a program: it is cleaned up as after Ctrl-C."""


class _WrongSettings(Exception):
    """Settings that do not go together; no ValueError, which tyro would wrap into lines of a box."""


def option(
    default: Any,
    text: str,
    *,
    flag: str = "",
    aliases: tuple[str, ...] = (),
    metavar: str = "",
    repeat: bool = False,
    positional: bool = False,
    secret: bool = False,
    of: str = "",
) -> Any:
    """A field of a settings dataclass that is a flag of a command, with its default and its line in --help.

    `default` may be `dataclasses.MISSING`: the flag must be given. `flag` names it where the field has another name,
    `aliases` are more names, all without dashes. `repeat`: the flag is given once for each value of a tuple.
    `positional`: a word without a flag. `secret`: left out of what is printed of the settings. `of`: a flag like this
    names the flag that it belongs to, which is given before it; both are tuples of words with `repeat`, equally long,
    with an empty word where the flag is not given. The type of the field
    says the rest: `Literal` are choices, a tuple takes one word or more, a bool that is off takes `--name`, one that
    is on also `--no-name`.
    """
    # only what is set: Hugging Face's parser, which reads the same metadata, knows no other key than help
    extra = {"flag": flag, "flags": aliases, "metavar": metavar, "repeat": repeat, "positional": positional, "of": of}
    return dataclasses.field(
        default=default,
        repr=not secret,
        metadata={"help": text} | {key: value for key, value in extra.items() if value},
    )


def flags_of(kind: type) -> dict[str, dataclasses.Field]:
    """Names of the flags of settings, without dashes and spelled with `-`, with their fields; nested ones included,
    and `no-…` of switches that are on."""
    flags = {}
    for field, hint in _fields(kind):
        if dataclasses.is_dataclass(hint):
            flags |= flags_of(hint)
        else:
            names = [field.metadata.get("flag", field.name), *field.metadata.get("flags", ())]
            if field.default is True:
                names += [f"no-{name}" for name in names]
            flags |= {name.replace("_", "-"): field for name in names}
    return flags


def parse(description: str, kind: type[Settings], arguments: list[str] | None = None) -> Settings:
    """Settings of a command line (default: this program's); `-` and `_` in the names of flags are alike.

    Prints --help, or what is wrong, and ends the program with 0 or 2.
    """
    import tyro

    program = Path(sys.argv[0]).name
    registry = tyro.constructors.ConstructorRegistry()
    registry.struct_rule(_as_struct)
    # flags of nested settings have no prefix; the word None is no value
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone)
    try:
        arguments = _align(kind, sys.argv[1:] if arguments is None else arguments)
        return tyro.cli(kind, args=arguments, prog=program, description=description, registry=registry, config=config)
    except _WrongSettings as error:
        print(f"{error}\nFor all options, run {program} --help", file=sys.stderr)
        raise SystemExit(2) from None


def _align(kind: type, arguments: list[str]) -> list[str]:
    """The arguments with flags that belong to another (`of`) in one order behind each of it, those not given empty."""
    owners = {name: field.metadata["of"] for name, field in flags_of(kind).items() if field.metadata.get("of")}
    if not owners:
        return arguments
    aligned, groups, rest = [], [], list(arguments)
    while rest:
        name, _, value = rest[0].partition("=")
        flag = name.removeprefix("--").replace("_", "-") if name.startswith("--") else ""
        if flag not in {*owners, *owners.values()} or not (value or rest[1:]):
            aligned.append(rest.pop(0))
            continue
        value = value or rest.pop(1)
        rest.pop(0)
        if flag in owners.values():
            groups.append({flag: value, **{follower: "" for follower, owner in owners.items() if owner == flag}})
        elif not groups or flag not in groups[-1]:
            raise _WrongSettings(f"--{flag} belongs behind a --{owners[flag]}")
        elif groups[-1][flag]:
            raise _WrongSettings(f"--{flag} is given twice behind a --{owners[flag]}")
        else:
            groups[-1][flag] = value
    return [*aligned, *(f"--{flag}={value}" for group in groups for flag, value in group.items())]


def print_help(description: str, settings: object) -> None:
    """Print --help of a program that has a parser of its own and spells its flags with `_`; `settings` has the
    defaults."""
    import tyro

    registry = tyro.constructors.ConstructorRegistry()
    registry.struct_rule(_as_struct)
    with contextlib.suppress(SystemExit):
        tyro.cli(
            type(settings),
            args=["--help"],
            prog=Path(sys.argv[0]).name,
            description=description,
            default=settings,
            registry=registry,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff),
            use_underscores=True,
        )


def run(description: str | None, kind: type[Settings], load: Callable[[], Work], stopped: str = STOPPED) -> NoReturn:
    """Parse the command line, load the work, do it, print its summary and its problems, and end the program.

    `load` imports the work and returns it, so that --help is there before torch is. The exit code is 1 when there
    are problems, unless the settings have `skip_bad`; with `strict` warnings count too; see `run_command` for the
    others. Settings may have a `report_limit`, and `report_first` for a summary that stands below the problems. Of
    several processes of a launcher only the main one prints.
    """

    def main() -> int:
        settings = parse((description or "").split("\n\n")[0], kind)
        work = load()
        interrupts.imports_done()
        problems, limit = Problems(), getattr(settings, "report_limit", 20)
        try:
            summary = work(settings, problems)
        except (DataError, ValueError):
            if is_main():
                problems.report(limit)
            raise
        if not is_main():
            return 0
        first = getattr(settings, "report_first", False)
        if first:
            problems.report(limit)
        if summary:
            print(summary)
        if not first:
            problems.report(limit)
        return problems.exit_code(getattr(settings, "skip_bad", False), getattr(settings, "strict", False))

    leave(run_command(main, stopped, importing=True))


def run_command(main: Callable[[], int], stopped: str = STOPPED, importing: bool = False) -> int:
    """Call `main` and return the exit code of the program; `stopped` is the line after Ctrl-C.

    `main` returns 0, or 1 when it has reported problems. Bad input (DataError, ValueError), a full disk and a path
    that cannot be used (OSError) are 1 and a line on standard error, Ctrl-C is 130 and a line, SIGTERM 143 and the
    same line. A reader that has gone away, as in `command | head`, is 141 without a word. Anything else is a fault
    of the program and passes with its traceback. `importing`: `main` still imports, and says when it has done so
    (`interrupts.imports_done`).
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    silence_libraries()
    try:
        if not importing:
            interrupts.imports_done()
        code = main()
        sys.stdout.flush()
        return code
    except (DataError, ValueError) as error:
        return _end(str(error), 1)
    except KeyboardInterrupt as stop:
        return _end(stopped, 143 if isinstance(stop, Terminated) else 130)
    except OSError as error:
        from megc.files import is_full_disk  # not at the top: it brings pictures and yaml, and --help is quick

        if is_full_disk(error):
            return _end(_full_disk(error), 1)
        if isinstance(error, BrokenPipeError) and (closed := _without_reader()):
            for stream in closed:  # else the interpreter writes again at its end, and complains
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return _BROKEN_PIPE
        if error.filename is None:
            raise
        return _end(f"{error.filename}: {error.strerror}; check the path, and whether you may use it.", 1)


# Warnings of libraries about other libraries, of which no user can do anything: beginnings, as regular expressions.
_LIBRARY_WARNINGS = (
    ".*is_gradient_checkpointing",  # peft, of transformers
    ".*(all_gather_into_tensor|reduce_scatter_tensor)",  # torch has renamed what DeepSpeed calls
    "'future.no_silent_downcasting' is deprecated",  # gradio, of pandas
    "The copy keyword is deprecated and will be removed",  # the same
    "The least populated class in y has only",  # scikit-learn: rare emotions are not in every fold of subjects
)


def silence_libraries() -> None:
    """Keep from the terminal what libraries say that a user can do nothing about; imports none of them.

    In a log, where a bar is a line of rubbish, those of transformers are off (ours show how long it will take).
    """
    for message in _LIBRARY_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=Warning)
    # DeepSpeed, on each import without a GPU; what is trained on is said by the program
    logging.getLogger("DeepSpeed").addFilter(_is_no_noise)
    # FFmpeg, which names no file: our errors say which video cannot be read, and why
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _is_no_noise(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Setting accelerator to CPU.")


def is_main() -> bool:
    """Whether this process prints and writes: rank 0 of a launcher's processes, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def leave(code: int) -> NoReturn:
    """End the program, which several processes of a launcher may run together.

    gloo's threads sometimes abort the interpreter's shutdown, after everything is saved, and the launcher then
    reports a failure; leaving without the shutdown avoids it. A process that failed waits for nobody: the others may
    be in another operation, and the launcher ends them.
    """
    if "torch" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            if not code:
                distributed.barrier()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def _fields(kind: type) -> Iterator[tuple[dataclasses.Field, Any]]:
    """The fields that are flags, or hold flags, with their resolved types."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.init and ("help" in field.metadata or dataclasses.is_dataclass(hints[field.name])):
            yield field, hints[field.name]


def _as_struct(info: Any) -> Any:
    """tyro's rule for a settings dataclass: what its flags are, and how they become settings."""
    from tyro.constructors import StructConstructorSpec, StructFieldSpec

    if not dataclasses.is_dataclass(info.type):
        return None

    def settings(**values: Any) -> Any:
        try:
            return info.type(**values)
        except (DataError, ValueError) as error:
            raise _WrongSettings(str(error)) from error

    flags = []
    for field, hint in _fields(info.type):
        annotation, default = _as_flag(field, hint)
        if isinstance(info.default, info.type):
            default = getattr(info.default, field.name)
        flags.append(StructFieldSpec(field.name, annotation, default, field.metadata.get("help", "")))
    return StructConstructorSpec(settings, tuple(flags))


def _as_flag(field: dataclasses.Field, hint: Any) -> tuple[Any, Any]:
    """Type with tyro's notes, and default, of a field."""
    import tyro

    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if dataclasses.is_dataclass(hint):
        return hint, default
    notes = field.metadata
    explained = "default:" in notes["help"]  # by the help; and these defaults say nothing:
    nothing = ("", "None", "False")
    about = tyro.conf.arg(
        name=notes.get("flag") or None,
        aliases=tuple(f"--{name}" for name in notes.get("flags", ())) or None,
        metavar=notes.get("metavar") or None,
        help_behavior_hint=lambda text: "" if explained or text in nothing else f"(default: {text})",
    )
    markers = [about]
    if default is False:
        markers.append(tyro.conf.FlagCreatePairsOff)
    if notes.get("repeat"):
        markers.append(tyro.conf.UseAppendAction)
    elif words := _as_words(hint):
        markers.append(words)
    if notes.get("positional"):
        markers.append(tyro.conf.Positional)
    return Annotated[(hint, *markers)], tyro.MISSING if default is dataclasses.MISSING else default


def _as_words(hint: Any) -> Any:
    """How a tuple of any length, and a value that may be None, are read; None for other types, which tyro knows.

    tyro would take a tuple of no words, and the word None for None.
    """
    from tyro.constructors import PrimitiveConstructorSpec

    parts = [part for part in get_args(hint) if part is not type(None)] if type(None) in get_args(hint) else [hint]
    many = get_origin(parts[0]) is tuple
    if len(parts) > 1 or not (many or parts[0] is not hint):
        return None
    element = get_args(parts[0])[0] if many else parts[0]
    choices = get_args(element) if get_origin(element) is Literal else None

    def read(words: list[str]) -> Any:
        values = tuple(words) if choices else tuple(element(word) for word in words)
        if not values:
            raise ValueError("give one value or more")
        return values if many else values[0]

    name = f"{{{','.join(choices)}}}" if choices else element.__name__.upper()
    more = " [...]" if choices else f" [{name} ...]"
    return PrimitiveConstructorSpec(
        nargs="*" if many else 1,
        metavar=name + more * many,
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, tuple) == many,
        str_from_instance=lambda value: [str(item) for item in (value or () if many else (value,))],
        choices=choices,
    )


def _end(message: str, code: int) -> int:
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)  # on a line of its own where a progress bar stands
    sys.stderr.flush()
    return code


def _full_disk(error: OSError) -> str:
    target = "the disk" if error.filename is None else error.filename
    return f"no space left on {target}: what is finished is kept; free some and start the same command again."


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _without_reader() -> list[TextIO]:
    """Which of standard output and standard error are pipes that nobody reads any more."""
    if not hasattr(select, "poll"):  # Windows
        return [sys.stdout]
    poll = select.poll()
    streams = {stream.fileno(): stream for stream in (sys.stdout, sys.stderr)}
    for number in streams:
        poll.register(number, 0)
    return [streams[number] for number, event in poll.poll(0) if event & select.POLLERR]
