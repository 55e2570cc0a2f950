"""A checkpoint asked with another prompt than it was trained with: what differs, and how to build the right rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from megc.motion.settings import DEFAULT_ENCODING, SCALE
from megc.problems import DataError
from megc.vqa.settings import DEFAULT_IMAGES

ANYWAY = "or say that the difference is meant: --allow_mismatch"
_TEXTS = ("hash", "example")  # of a prompt's record; all else are settings
# not recorded where not in use
_DEFAULTS = {"hierarchy": False, "statistics": [], "name_dataset": False, "motion_words": False, "video_frames": 8}


def check_prompt(checkpoint: Path | str, trained: Mapping, prompt_hash: str, records: Iterable[Mapping]) -> None:
    """Compare the prompt of questions with the one in a checkpoint's `megc.json`.

    `trained` is the content of `megc.json`, `prompt_hash` the hash of the questions' prompt, `records` are those of
    `instructions.read_prompts`. A checkpoint that does not record its prompt passes. Raises DataError that names the
    settings that differ and the command that builds the right rows.
    """
    trained_hash = trained.get("prompt_hash")
    if trained_hash is None or trained_hash == prompt_hash:
        return
    what = f"prompt_hash is {prompt_hash}, but the checkpoint was trained with {trained_hash}"
    prompt = trained.get("prompt")
    if prompt:
        record = next((each for each in records if each.get("hash") == prompt_hash), None)
        lines = prompt_differences(record, prompt) if record else describe_prompt(prompt)
        what += f": {'; '.join(lines)}"
        fix = f"build the rows as it was trained with `{build_command(checkpoint, prompt)}`, {ANYWAY}"
    else:
        fix = f"build the rows with the settings of its training data, {ANYWAY}"
    raise DataError(checkpoint, None, what, fix)


def prompt_differences(prompt: Mapping, trained: Mapping) -> list[str]:
    """A line for each setting of two prompts' records that differs."""
    names = dict.fromkeys(name for record in (prompt, trained) for name in record if name not in _TEXTS)
    pairs = {name: (prompt.get(name, _DEFAULTS.get(name)), trained.get(name, _DEFAULTS.get(name))) for name in names}
    lines = [f"{name}: {_short(a)} (trained: {_short(b)})" for name, (a, b) in pairs.items() if a != b]
    return lines or ["the settings are the same, but the wording is of another version of this code"]


def describe_prompt(trained: Mapping) -> list[str]:
    """A line for each setting of a prompt's record."""
    return [f"trained with {name}: {_short(value)}" for name, value in trained.items() if name not in _TEXTS]


def build_command(checkpoint: Path | str, prompt: Mapping) -> str:
    """The command that asks as a checkpoint was trained; rows and folders are the user's to add.

    `prompt`: its record of the prompt. Where flow pictures are drawn otherwise than by default, the command that
    draws them stands in front; those of other projects (`uv-strain-centred`) are drawn by the build itself.
    """
    drawing = []
    if prompt.get("encoding", DEFAULT_ENCODING) != DEFAULT_ENCODING:
        drawing.append(f"--encoding {prompt['encoding']}")
    if prompt.get("scale", SCALE) != SCALE:
        drawing.append(f"--scale {prompt['scale']:g}")
    centred = "centred" in prompt.get("encoding", "")
    build = f"python data_process/build_instructions.py --prompt {Path(checkpoint) / 'megc.json'}"
    build += " --centre" if centred else ""
    if not drawing or centred or "flow" not in prompt.get("images", DEFAULT_IMAGES):
        return build
    return f"python data_process/compute_flow.py {' '.join(drawing)} && {build}"


def _short(value: object) -> str:
    """A setting in a few words: lists joined, long texts cut."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(str(part) for part in value) or "none"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
