"""Questions with another prompt than the checkpoint's: the settings that differ are named, and what to run."""

from dataclasses import replace
from pathlib import Path

import pytest

from megc.files import write_json
from megc.problems import DataError
from megc.vqa.build import prompt_settings
from megc.vqa.instructions import read_prompts
from megc.vqa.mismatch import build_command, check_prompt, prompt_differences
from megc.vqa.prompts import PromptSettings, prompt_hash, prompt_record
from megc.vqa.settings import BuildSettings

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
        "python data_process/build_instructions.py --prompt checkpoints/mine/megc.json`",
        "--allow_mismatch",
    ):
        assert words in said
    assert "legend" not in said.split("`")[0]  # what is the same is not named


def test_what_is_not_known_is_not_made_up() -> None:
    said = check(TRAINED, "0123456789abcdef", [])
    assert "trained with images: flow; trained with structured: False" in said and "--prompt" in said
    said = check(None, "0123456789abcdef", [])
    assert "with the settings of its training data" in said and "images" not in said
    assert "another version" in prompt_differences(prompt_record(ASKED), {**prompt_record(ASKED), "hash": "other"})[0]
    check_prompt("mine", {}, "0123456789abcdef", [])  # a checkpoint that does not say
    check_prompt("mine", {"prompt_hash": "aa"}, "aa", [])


def test_the_command_asks_as_the_checkpoint_was_trained(tmp_path: Path) -> None:
    draws = "python data_process/compute_flow.py --encoding colour --scale 2.5 && "
    build = "python data_process/build_instructions.py --prompt checkpoints/mine/megc.json"
    assert build_command("checkpoints/mine", prompt_record(ASKED)) == build
    assert build_command("checkpoints/mine", prompt_record(TRAINED)) == draws + build
    assert build_command("checkpoints/mine", prompt_record(replace(TRAINED, images=("apex",)))) == build
    centred = replace(ASKED, images=("flow",), encoding="uv-strain-centred")
    assert build_command("checkpoints/mine", prompt_record(centred)) == f"{build} --centre"


@pytest.mark.parametrize(
    "settings",
    [
        ASKED,
        TRAINED,
        replace(ASKED, legend=False),
        replace(ASKED, hierarchy=True),
        replace(ASKED, hierarchy=True, statistics=(("", "positive", "cheek raiser 80 %"),)),
    ],
)
def test_the_prompt_of_a_checkpoint_is_asked_again(settings: PromptSettings, tmp_path: Path) -> None:
    write_json(tmp_path / "megc.json", {"prompt_hash": prompt_hash(settings), "prompt": prompt_record(settings)})
    again = prompt_settings(BuildSettings(prompt=tmp_path / "megc.json"), tmp_path / "flow")
    assert again == settings and prompt_hash(again) == prompt_hash(settings)
    drawn = {"encoding": "minmax-blend", "scale": 9.0}
    write_json(tmp_path / "flow" / "flow.json", drawn)
    with pytest.raises(DataError, match=r"flow pictures is minmax-blend, not .*run data_process/compute_flow\.py"):
        prompt_settings(BuildSettings(prompt=tmp_path / "megc.json"), tmp_path / "flow")


def test_a_prompt_stands_alone_and_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out --images"):
        BuildSettings(prompt=tmp_path / "megc.json", bare=True)
    write_json(tmp_path / "megc.json", {"prompt": None})
    with pytest.raises(DataError, match=r"megc\.json: holds no prompt settings"):
        prompt_settings(BuildSettings(prompt=tmp_path / "megc.json"), tmp_path)
