"""Prompts, instruction records, splits and the doctor: one prompt for all, no subject on both sides, faults named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from clip_folder import build, make_clips
from PIL import Image

from megc.files import write_json
from megc.problems import DataError, Problems
from megc.splits import Fold, make_folds, select, subject_key, write_folds
from megc.vqa.build import build_files, write_split
from megc.vqa.checks import check_records, check_splits
from megc.vqa.instructions import (
    answer_of,
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
from megc.vqa.prompts import QUESTION_MARK, PromptSettings, build_messages, evidence_hash, prompt_hash, prompt_record
from megc.vqa.questions import CLIP_KINDS, Question, question_rows
from megc.vqa.settings import BuildSettings, SplitSettings

SNAPSHOT = Path(__file__).parent / "snapshots" / "prompts.json"


def test_prompts_are_as_recorded() -> None:
    """A prompt changes only on purpose: delete the snapshot to write it anew."""
    prompts = {
        f"{kind}/{'bare' if not structured else 'structured'}": build_messages(
            Question(kind, 12 if kind in ("side", "shown") else None, True if kind in ("units", "long") else None),
            "casme2",
            PromptSettings(structured=structured),
        )
        for kind in CLIP_KINDS
        for structured in (True, False)
    }
    if not SNAPSHOT.is_file():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(prompts, indent=1) + "\n")
        pytest.fail(f"{SNAPSHOT.name} did not exist; it is written now: look at it, then run again")
    assert prompts == json.loads(SNAPSHOT.read_text())


def test_hash_changes_with_every_setting() -> None:
    base = PromptSettings()
    others = [
        replace(base, images=("flow",)),
        replace(base, structured=False),
        replace(base, legend=False),
        replace(base, encoding="colour"),
        replace(base, scale=2.5),
    ]
    assert len({prompt_hash(settings) for settings in [base, *others]}) == len(others) + 1


def test_questions_of_a_clip_share_all_but_the_end(data: Path) -> None:
    records, problems = build(data)
    assert not problems
    for clip in make_clips():
        own = [record for record in records if record["clip"] == clip.id]
        assert len(own) == len(question_rows(clip))
        assert len({r["messages"][0]["content"] for r in own}) == 1
        assert len({r["messages"][1]["content"].split(QUESTION_MARK)[0] for r in own}) == 1
        assert len({tuple(r["images"]) for r in own}) == 1
    positions = [record["clip"] for record in records]
    assert positions == sorted(positions, key=positions.index), "lines of a clip are adjacent"


def test_rows_go_in_and_out_unchanged(data: Path) -> None:
    records, _ = build(data)
    (data / "asked.jsonl").write_text("".join(json.dumps({**r["row"], "answer": ""}) + "\n" for r in records))
    asked, problems = build(data, rows=(data / "asked.jsonl",))
    assert not problems
    assert [r["id"] for r in asked] == [r["id"] for r in records]
    assert all(answer_of(r) == "" and len(r["messages"]) == 2 for r in asked)


def test_test_rows_of_2025_name_their_video() -> None:
    row = {"video_id": "casme3_test_CAS-1_1", "video": "CAS-1", "question": "What is the action unit?", "answer": ""}
    assert row_clip(row) == {"clip": "casme3/CAS-1/CAS-1", "dataset": "casme3", "subject": "CAS-1"}
    assert make_record(row, ["a.png"], PromptSettings(images=("flow",)))["id"] == "casme3_test_CAS-1_1"


def test_a_gone_picture_costs_its_rows_only(data: Path) -> None:
    gone = make_clips()[0]
    (data / "flow" / f"{gone.id}.png").unlink()
    records, problems = build(data)
    assert {r["clip"] for r in records} == {c.id for c in make_clips()[1:]}
    assert len(problems) == 1 and problems.exit_code() == 1
    assert "compute_flow.py" in str(next(iter(problems)))


def test_pictures_elsewhere_are_linked_not_copied(data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    records, problems = build(data, frames=data / "frames", flow=data / "flow", out=data / "instructions.jsonl")
    assert not problems
    elsewhere = BuildSettings(
        clips=data / "clips.jsonl", out=out / "i.jsonl", frames=data / "frames", flow=data / "flow"
    )
    build_files(elsewhere, problems)
    assert (out / "flow").is_symlink()
    assert [r["images"] for r in read_records(out / "i.jsonl")] == [r["images"] for r in records]
    assert check_records(out / "i.jsonl", problems) and not problems


@pytest.mark.parametrize("protocol", ["holdout", "kfold", "loso", "cross-dataset"])
def test_no_subject_on_both_sides(data: Path, protocol: str) -> None:
    records, _ = build(data)
    folds = make_folds(records, protocol, folds=3)
    assert len(folds) == {"holdout": 1, "kfold": 3, "loso": 6, "cross-dataset": 2}[protocol]
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == {subject_key(record) for record in records}
        assert len(select(records, fold.train)) + len(select(records, fold.test)) == len(records)
    if protocol != "holdout":
        assert sorted(s for fold in folds for s in fold.test) == sorted({subject_key(r) for r in records})
    assert [fold.hash for fold in make_folds(records, protocol, folds=3)] == [fold.hash for fold in folds]


def test_written_sides_pass_the_doctor(data: Path) -> None:
    build(data)
    problems, files = Problems(), (data / "train.jsonl", data / "test.jsonl")
    write_split(SplitSettings((data / "instructions.jsonl",), *files, test_fraction=0.4), problems)
    train, test = (check_records(data / name, problems) for name in ("train.jsonl", "test.jsonl"))
    check_splits(train, test, ("train.jsonl", "test.jsonl"), problems)
    assert train and test and not problems
    frozen = json.loads((data / "test.split.json").read_text())
    assert set(frozen["folds"][0]["test"]) == {subject_key(record) for record in test}
    check_splits(train + test[:1], test, ("train.jsonl", "test.jsonl"), problems)
    assert [problem.row for problem in problems] == [subject_key(test[0])]


def test_doctor_names_each_fault(data: Path) -> None:
    records, _ = build(data)
    (data / records[0]["images"][3]).write_bytes(b"no picture")
    (data / records[-1]["images"][0]).unlink()
    spoilt = [dict(record, messages=[dict(m) for m in record["messages"]]) for record in records]
    row = {record["row"]["question"]: n for n, record in reversed(list(enumerate(spoilt[10:20], start=10)))}
    spoilt[row["What is the coarse expression class?"]]["messages"][2]["content"] = "sad"
    spoilt.append(spoilt[12])
    write_records(data / "spoilt.jsonl", spoilt)
    problems = Problems()
    check_records(data / "spoilt.jsonl", problems)
    said = " ".join(str(problem) for problem in problems)
    for words in ("is no image", "is gone", "answer 'sad' is not one of", "duplicate row", "disagrees"):
        assert words in said
    assert all(problem.fix for problem in problems)


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


def test_magnified_apex_is_a_picture_to_ask_with(data: Path) -> None:
    """It is there only after extract_frames.py --magnify; without it each clip is one problem."""
    problems, settings = Problems(), BuildSettings(data / "clips.jsonl", data / "instructions.jsonl")
    with pytest.raises(DataError, match="none of 76 rows can be asked"):
        build_files(replace(settings, images=("magnified", "flow")), problems)
    assert len(problems) == len(make_clips())
    for clip in make_clips():
        Image.new("RGB", (56, 56)).save(data / "frames" / clip.id / "magnified.png")
    records, problems = build(data, images=("magnified", "flow"))
    assert not problems and records[0]["images"][0].endswith("magnified.png")
    assert "movement magnified" in records[0]["messages"][1]["content"]


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
        write_json(tmp_path / folder / "prompt.json", {"hash": folder})
    picture = tmp_path / "dataset/demo/flow/casme2/sub01/a.png"
    monkeypatch.chdir(tmp_path)
    prompts = read_prompts("dataset/test.jsonl", [picture])
    assert [prompt["hash"] for prompt in prompts] == ["dataset", "dataset/demo/flow", "dataset/demo"]


def test_pictures_are_named_by_the_prompt_of_their_record() -> None:
    record = {"prompt": "a", "images": ["x/1.png", "x/2.png"]}
    prompt = {"hash": "a", "images": ["apex", "flow"]}
    assert picture_names(record, prompt) == ["apex", "flow"]
    assert picture_names({**record, "prompt": evidence_hash("a")}, prompt) == ["apex", "flow"]
    assert picture_names({**record, "prompt": "b"}, prompt) == ["1", "2"]  # of another project, or another prompt
    foreign = {"prompt": "b", "images": ["flow/casme2/sub01/a.png", "frames/casme2/sub01/a/onset.png"]}
    assert picture_names(foreign, {}) == ["flow", "onset"]
