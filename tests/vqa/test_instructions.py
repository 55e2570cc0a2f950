"""Instruction records: clips of test rows, forms that are refused, files beside them, names of their pictures."""

import json
from pathlib import Path

import pytest
from clip_folder import build

from megc.files import write_json
from megc.problems import DataError, Problems
from megc.splits import Fold, write_folds
from megc.vqa.checks import check_records
from megc.vqa.instructions import (
    copy_side_files,
    make_record,
    picture_names,
    question_kind,
    read_prompt,
    read_prompts,
    read_records,
    read_split,
    row_clip,
    write_records,
)
from megc.vqa.prompts import PromptSettings, prompt_record


def test_test_rows_of_2025_name_their_video() -> None:
    row = {"video_id": "casme3_test_CAS-1_1", "video": "CAS-1", "question": "What is the action unit?", "answer": ""}
    assert row_clip(row) == {"clip": "casme3/CAS-1/CAS-1", "dataset": "casme3", "subject": "CAS-1"}
    assert make_record(row, ["a.png"], PromptSettings(images=("flow",)))["id"] == "casme3_test_CAS-1_1"


def test_records_of_another_form_are_refused(data: Path) -> None:
    records, _ = build(data)
    records[2]["messages"][1]["content"] = records[2]["messages"][1]["content"].replace("<image>", "", 1)
    write_records(data / "bad.jsonl", records)
    with pytest.raises(DataError, match=r"bad\.jsonl, row 3: 3 <image> tags for 4 pictures"):
        read_records(data / "bad.jsonl")
    records[2]["images"] = ["../../etc/passwd"] * 3
    write_records(data / "bad.jsonl", records)
    problems = Problems()
    check_records(data / "bad.jsonl", problems)
    assert "leads out of" in str(next(iter(problems)))


def test_kind_of_a_question_in_other_words_is_the_callers_to_name() -> None:
    assert question_kind({"row": {"question": "What is the action unit?"}}) == "units"
    weather = {"row": {"question": "What is the weather?"}}
    assert question_kind(weather, unknown="other") == "other"
    with pytest.raises(ValueError, match="not a question of the challenge"):
        question_kind(weather)


def test_side_files_go_with_a_file_that_is_made_from_another(tmp_path: Path) -> None:
    source, other = tmp_path / "train.jsonl", tmp_path / "elsewhere" / "copy.jsonl"
    assert read_prompt(source) == {} and read_split(source) == {}
    with pytest.raises(DataError, match=r"prompt\.json.*build_instructions\.py"):
        read_prompt(source, required=True)
    fold = Fold("fold1", ("casme2/sub01",), ("casme2/sub02",))
    write_folds(source.with_suffix(".split.json"), [Fold("fold0", (), ()), fold], {"fold": 1})
    write_json(tmp_path / "prompt.json", prompt_record(PromptSettings()))
    copy_side_files(source, other)
    assert read_split(other) == {"name": "fold1", "train": [*fold.train], "test": [*fold.test], "hash": fold.hash}
    assert read_prompt(other) == read_prompt(source) == json.loads(json.dumps(prompt_record(PromptSettings())))
    copy_side_files(source, tmp_path / "third" / "copy.jsonl", split=False)
    assert [path.name for path in (tmp_path / "third").iterdir()] == ["prompt.json"]


def test_prompts_are_looked_for_between_the_pictures_and_the_file_only(tmp_path: Path, monkeypatch) -> None:
    for folder in (".", "dataset", "dataset/demo", "dataset/demo/flow"):
        write_json(tmp_path / folder / "prompt.json", prompt_record(PromptSettings()) | {"hash": folder})
    picture = tmp_path / "dataset/demo/flow/casme2/sub01/a.png"
    monkeypatch.chdir(tmp_path)
    prompts = read_prompts("dataset/test.jsonl", [picture])
    assert [prompt["hash"] for prompt in prompts] == ["dataset", "dataset/demo/flow", "dataset/demo"]


def test_pictures_are_named_by_the_prompt_of_their_record() -> None:
    record = {"prompt": "a", "images": ["x/1.png", "x/2.png"]}
    prompt = {"hash": "a", "images": ["apex", "flow"]}
    assert picture_names(record, prompt) == ["apex", "flow"]
    assert picture_names({**record, "prompt": "b"}, prompt) == ["1", "2"]  # of another project, or another prompt
    foreign = {"prompt": "b", "images": ["flow/casme2/sub01/a.png", "frames/casme2/sub01/a/onset.png"]}
    assert picture_names(foreign, {}) == ["flow", "onset"]
