"""Questions with another prompt than the checkpoint's: the settings that differ are named, and what to run."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from megc.files import sha256_of, write_json
from megc.problems import DataError
from megc.vqa.instructions import read_prompts
from megc.vqa.mismatch import build_command, check_prompt, differences
from megc.vqa.prompts import PromptSettings, prompt_hash, prompt_record
from megc.vqa.settings import HIERARCHIES

ASKED = PromptSettings()
TRAINED = PromptSettings(images=("flow",), structured=False, encoding="colour", scale=2.5)


def check(trained: PromptSettings | None, asked: str, records, **more) -> str:
    record = {"prompt_hash": prompt_hash(trained or TRAINED), **more}
    if trained:
        record["prompt"] = prompt_record(trained)
    with pytest.raises(DataError) as error:
        check_prompt("checkpoints/mine", record, asked, records)
    return str(error.value)


def test_the_settings_that_differ_are_named_with_the_command(tmp_path: Path) -> None:
    write_json(tmp_path / "dataset/prompt.json", prompt_record(ASKED))
    records = read_prompts(tmp_path / "questions.jsonl", [tmp_path / "dataset/flow/casme2/sub01/EP01.png"])
    said = check(TRAINED, prompt_hash(ASKED), records)
    for words in (
        "checkpoints/mine: prompt_hash is ",
        "images: onset, apex, offset, flow (trained: flow); ",
        "structured: True (trained: False); encoding: uv-strain (trained: colour); scale: 3.0 (trained: 2.5)",
        "`python data_process/compute_flow.py --encoding colour --scale 2.5 && "
        "python data_process/build_instructions.py --images flow --bare --encoding colour --scale 2.5`",
        "--allow_mismatch",
    ):
        assert words in said
    assert "legend" not in said.split("`")[0]  # what is the same is not named


def test_what_is_not_known_is_not_made_up() -> None:
    said = check(TRAINED, "0123456789abcdef", [])
    assert "trained with images: flow; trained with structured: False" in said and "--bare" in said
    said = check(None, "0123456789abcdef", [])
    assert "with the settings of its training data" in said and "images" not in said
    assert "another version" in differences(prompt_record(ASKED), {**prompt_record(ASKED), "hash": "other"})[0]
    check_prompt("mine", {}, "0123456789abcdef", [])  # a checkpoint that does not say
    check_prompt("mine", {"prompt_hash": "aa"}, "aa", [])


def test_evidence_that_is_told_on_one_side_only_is_named() -> None:
    record, told = prompt_record(ASKED), sha256_of(prompt_hash(ASKED), "evidence")
    assert "ask the file that add_evidence.py was given" in check(ASKED, told, [record])
    with pytest.raises(DataError, match=r"tells evidence of the flow; run data_process/add_evidence\.py"):
        check_prompt("mine", {"prompt_hash": told}, prompt_hash(ASKED), [record])


@pytest.mark.parametrize(
    "settings",
    [
        ASKED,
        TRAINED,
        replace(ASKED, legend=False),
        replace(ASKED, images=("apex",), structured=False),
        replace(ASKED, hierarchy=True),
        replace(ASKED, hierarchy=True, statistics=(("", "positive", "cheek raiser 80 %"),)),
        replace(ASKED, images=("flow",), encoding="uv-strain-centred"),
    ],
)
def test_the_command_asks_as_the_record_says(settings: PromptSettings) -> None:
    words = shlex.split(build_command(prompt_record(settings)).split("&& ")[-1])
    assert words[:2] == ["python", "data_process/build_instructions.py"]
    flags = [word for word in words if word.startswith("--")]
    assert ("--bare" in flags, "--no-legend" in flags) == (not settings.structured, not settings.legend)
    assert ("--images" in flags) == (settings.images != PromptSettings.images)
    assert ("--encoding" in flags) == (settings.encoding != PromptSettings.encoding)
    kind = words[words.index("--hierarchy") + 1] if settings.hierarchy else None
    assert kind == (HIERARCHIES[bool(settings.statistics)] if settings.hierarchy else None)
