"""A checkpoint asked with another prompt than it was trained with: what differs, and how to build the right rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from megc.motion.settings import DEFAULT_ENCODING, SCALE
from megc.problems import DataError
from megc.vqa.prompts import evidence_hash
from megc.vqa.settings import DEFAULT_IMAGES

ANYWAY = "or say that the difference is meant: --allow_mismatch"
_TEXTS = ("hash", "example")  # of a prompt's record; all else are settings
_DEFAULTS = {"hierarchy": False, "statistics": []}  # not recorded where not in use


def check_prompt(checkpoint: Path | str, trained: Mapping, asked: str, records: Iterable[Mapping]) -> None:
    """Compare the prompt of questions with the one in a checkpoint's `megc.json`.

    `asked` is the hash of the questions' prompt, `records` are those of `instructions.read_prompts`. A checkpoint that
    does not say what it was trained with passes. Raises DataError that names the settings that differ and the command
    that builds the right rows.
    """
    hash_ = trained.get("prompt_hash")
    if hash_ is None or hash_ == asked:
        return
    what = f"prompt_hash is {asked}, but the checkpoint was trained with {hash_}"
    known = next((record for record in records if record.get("hash") in (asked, hash_) or _told(record, asked)), None)
    prompt = trained.get("prompt")
    if known and evidence_hash(known["hash"]) == hash_:
        what += ", which tells evidence of the flow"
        fix = f"run data_process/add_evidence.py on them and ask its --out, {ANYWAY}"
    elif prompt and _told(prompt, asked):
        what += ": they tell evidence of the flow, which it never saw"
        fix = f"ask the file that add_evidence.py was given, {ANYWAY}"
    elif prompt:
        lines = differences(known, prompt) if known and known.get("hash") == asked else described(prompt)
        what += f": {'; '.join(lines)}"
        fix = f"build the rows as it was trained with `{build_command(prompt)}`, {ANYWAY}"
    else:
        fix = f"build the rows with the settings of its training data, {ANYWAY}"
    raise DataError(checkpoint, None, what, fix)


def _told(record: Mapping, hash_: str) -> bool:
    """Whether a hash is that of the record's prompt with evidence (see `evidence.with_evidence`)."""
    return evidence_hash(record.get("hash", "")) == hash_


def differences(asked: Mapping, trained: Mapping) -> list[str]:
    """A line for each setting of two prompts' records that differs."""
    names = dict.fromkeys(name for record in (asked, trained) for name in record if name not in _TEXTS)
    pairs = {name: (asked.get(name, _DEFAULTS.get(name)), trained.get(name, _DEFAULTS.get(name))) for name in names}
    lines = [f"{name}: {_words(a)} (trained: {_words(b)})" for name, (a, b) in pairs.items() if a != b]
    return lines or ["the settings are the same, but the wording is of another version of this code"]


def described(trained: Mapping) -> list[str]:
    """A line for each setting of a prompt's record."""
    return [f"trained with {name}: {_words(value)}" for name, value in trained.items() if name not in _TEXTS]


def build_command(record: Mapping) -> str:
    """The flags of build_instructions.py that ask as a prompt's record says; rows and folders are the user's to add.

    Where pictures are drawn otherwise than by default, the command that draws them stands in front.
    """
    flags = []
    if tuple(record.get("images", DEFAULT_IMAGES)) != DEFAULT_IMAGES:
        flags.append(f"--images {' '.join(record['images'])}")
    flags += ["--bare"] * (not record.get("structured", True)) + ["--no-legend"] * (not record.get("legend", True))
    look = []
    if record.get("encoding", DEFAULT_ENCODING) != DEFAULT_ENCODING:
        look.append(f"--encoding {record['encoding']}")
    if record.get("scale", SCALE) != SCALE:
        look.append(f"--scale {record['scale']:g}")
    if record.get("hierarchy"):
        kind = "statistics" if record.get("statistics") else "coarse"
        flags.append(f"--hierarchy {kind} --training dataset/train_dataset.jsonl")
    build = " ".join(["python data_process/build_instructions.py", *flags, *look])
    drawn = "flow" in record.get("images", DEFAULT_IMAGES) and look and "centred" not in record.get("encoding", "")
    return " ".join(["python data_process/compute_flow.py", *look, "&&", build]) if drawn else build


def _words(value: object) -> str:
    """A setting in a line of its own: lists joined, long texts cut."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(str(part) for part in value) or "none"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
