"""The doctor on instruction files: each fault with its row and a remedy, none hidden by another, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from clip_folder import build
from foreign_rows import OUT_OF_ORDER, ROWS, original_rows, row, write_original
from PIL import Image
from programs import run_program

from megc.csv_tables import read_table
from megc.files import png_bytes, write_bytes, write_json, write_jsonl
from megc.problems import DataError, Problem, Problems
from megc.splits import Fold, write_folds
from megc.vqa.checks import check_dataset, check_records, check_splits
from megc.vqa.instructions import write_records
from megc.vqa.prompt_checks import check_checkpoint
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.settings import CheckSettings

COARSE = "What is the coarse expression class?"


def findings(problems: Problems, check: str) -> list[str]:
    return [str(problem) for problem in problems if problem.check == check]


def warnings(problems: Problems, check: str) -> list[str]:
    return [str(problem) for problem in problems.warnings if problem.check == check]


def noise(path: Path, seed: int = 0, size: tuple[int, int] = (24, 24)) -> str:
    """Write a picture of noise; returns its path."""
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    write_bytes(path, png_bytes(pixels))
    return str(path)


def test_each_fault_is_named_with_its_row(data: Path) -> None:
    records, _ = build(data)
    (data / records[0]["images"][3]).write_bytes(b"no picture")
    (data / records[-1]["images"][0]).unlink()
    spoilt = [dict(record, messages=[dict(m) for m in record["messages"]]) for record in records]
    rows = {record["row"]["question"]: n for n, record in reversed(list(enumerate(spoilt[10:20], start=10)))}
    spoilt[rows[COARSE]]["messages"][2]["content"] = "sad"
    spoilt.append(spoilt[12])
    write_records(data / "spoilt.jsonl", spoilt)
    problems = Problems()
    check_records(data / "spoilt.jsonl", problems)
    said = " ".join(str(problem) for problem in problems)
    for words in ("is no image", "is gone", "answer 'sad' is not one of", "duplicate row", "disagrees"):
        assert words in said
    assert all(problem.fix and problem.check for problem in problems)


def test_the_frame_order_of_the_original_training_file_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """928 rows, 484 of them sorted as text: img105 before img36."""
    file = write_original(tmp_path / "train_dataset.jsonl")
    out = tmp_path / "findings.csv"
    arguments = ["--train", str(file), "--out", str(out), "--limit", "2"]
    assert run_program(monkeypatch, "data_process/check_dataset.py", *arguments) == 1
    printed = capsys.readouterr()
    assert "reg_img105.jpg, reg_img36.jpg, reg_img76.jpg; sort by the integer in the name (36, 76, 105)" in printed.err
    assert f"… and {OUT_OF_ORDER - 2} more of frame order" in printed.err
    assert f"checked {ROWS} rows" in printed.out
    table = read_table(out)
    of_order = table[table["check"] == "frame order"]
    assert len(of_order) == OUT_OF_ORDER and set(of_order["severity"]) == {"error"}
    expected = [n for n, each in enumerate(original_rows(), start=1) if not _rises(each["images"])]
    assert sorted(map(int, of_order["row"])) == expected
    # no picture is at hand: that, and the missing tags, hide nothing and are hidden by nothing
    assert "453 of 453 pictures are gone" in printed.err
    assert (table["check"] == "tags").sum() == ROWS


def _rises(images: list[str]) -> bool:
    numbers = [int(image.rpartition(".")[0].rpartition("img")[2].rpartition("_")[2]) for image in images]
    return numbers == sorted(numbers)


def test_rows_of_other_projects_with_sorted_frames_and_tags_pass(tmp_path: Path) -> None:
    images = [noise(tmp_path / f"sub01/EP02_01f/reg_img{number}.png", number) for number in (9, 46, 105)]
    write_jsonl(tmp_path / "theirs.jsonl", [row(images, COARSE, "positive", tags=True)])
    problems = Problems()
    checked = check_records(tmp_path / "theirs.jsonl", problems)
    assert not problems and not problems.warnings
    assert checked.records[0]["clip"] == "casme2/sub01/EP02_01f" and checked.records[0]["subject"] == "sub01"


def test_a_frame_that_stands_twice_and_a_damaged_one_are_named_by_line(tmp_path: Path) -> None:
    images = [noise(tmp_path / f"clip/img{number}.png", number) for number in (9, 46)]
    (tmp_path / "clip/img46.png").write_bytes(b"no picture")
    write_jsonl(tmp_path / "theirs.jsonl", [row([images[0], images[0], images[1]], COARSE, "positive", tags=True)])
    problems = Problems()
    check_records(tmp_path / "theirs.jsonl", problems)
    assert warnings(problems, "frame order") and "row 1: a frame stands twice" in warnings(problems, "frame order")[0]
    (damaged,) = findings(problems, "pictures")
    assert "row 1" in damaged and "is no image" in damaged


def test_no_finding_is_lost_behind_another(tmp_path: Path) -> None:
    """A line that is no JSON, one with a wrong type and frames out of order, and a bad answer behind both."""
    good = row([noise(tmp_path / "a/img1.png", 1), noise(tmp_path / "a/img2.png", 2)], COARSE, "positive", tags=True)
    broken = {"messages": "none", "images": [good["images"][1], good["images"][0]]}
    bad_answer = row(good["images"], COARSE, "sad", tags=True)
    lines = [json.dumps(good), '{"messages": [', json.dumps(broken), json.dumps(bad_answer)]
    (tmp_path / "theirs.jsonl").write_text("\n".join(lines))
    problems = Problems()
    assert len(check_records(tmp_path / "theirs.jsonl", problems).records) == 3
    assert {problem.row for problem in problems if problem.check == "form"} == {2, 3}
    assert "row 3: frames are out of order" in findings(problems, "frame order")[0]
    assert "row 4: answer 'sad' is not one of" in findings(problems, "vocabulary")[0]


def test_a_file_that_cannot_be_read_hides_no_other_file(data: Path) -> None:
    build(data)
    (data / "empty.jsonl").write_text("")
    settings = CheckSettings(
        clips=(data / "gone.jsonl", data / "clips.jsonl"), train=(data / "empty.jsonl", data / "instructions.jsonl")
    )
    problems = Problems()
    summary = check_dataset(settings, problems)
    assert {Path(problem.file).name for problem in problems} == {"gone.jsonl", "empty.jsonl"}
    assert "12 clips" in summary and "rows of" in summary


def test_prompts_and_legends_that_drift_are_named(data: Path) -> None:
    records, _ = build(data)
    problems = Problems()
    check_records(data / "instructions.jsonl", problems)
    assert not problems

    # prompt.json of other settings: nobody could tell how a checkpoint was asked
    write_json(data / "prompt.json", prompt_record(PromptSettings(images=("flow",))))
    check_records(data / "instructions.jsonl", problems)
    assert f"the rows have the prompt {records[0]['prompt']}" in findings(problems, "prompt")[0]

    # a renderer, or a wording, of another day
    old = prompt_record(PromptSettings())
    old["example"][1]["content"] = old["example"][1]["content"].replace("Colour shows", "Colours show")
    write_json(data / "prompt.json", {**old, "hash": "0" * 16})
    write_records(data / "old.jsonl", [{**record, "prompt": "0" * 16} for record in records])
    problems = Problems()
    check_records(data / "old.jsonl", problems)
    (drift,) = warnings(problems, "prompt")
    assert "the legend of the flow colours has changed since the rows were built" in drift

    # a legend in the rows that is not the renderer's, and pictures in another order than the prompt's
    write_json(data / "prompt.json", prompt_record(PromptSettings()))
    for record in records:
        record["messages"][1]["content"] = record["messages"][1]["content"].replace("Colour shows", "Colours show")
        record["images"][:2] = record["images"][1::-1]
    write_records(data / "changed.jsonl", records)
    problems = Problems()
    check_records(data / "changed.jsonl", problems)
    said = " ".join(findings(problems, "prompt"))
    assert "the prompt does not explain the colours as the renderer draws by" in said
    assert "apex.png stands where the prompt has the onset" in said


def test_a_legend_is_compared_with_that_of_its_own_picture(data: Path) -> None:
    records, _ = build(data)
    flow = data / records[0]["images"][3]
    pixels = np.random.default_rng(0).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    write_bytes(flow, png_bytes(pixels, {"legend": "Colour shows: red is up."}))
    problems = Problems()
    check_records(data / "instructions.jsonl", problems)
    (finding,) = findings(problems, "prompt")
    assert records[0]["clip"] in finding and "its flow picture was drawn with: 'Colour shows: red is up.'" in finding


def test_a_picture_of_two_clips_is_an_error_across_subjects_and_a_warning_within_one(tmp_path: Path) -> None:
    for clip in ("sub01/EP01_01", "sub01/EP01_02", "sub02/EP01_01"):
        noise(tmp_path / clip / "img5.png")
    Image.new("RGB", (24, 24)).save(tmp_path / "sub02/EP01_01/img6.png")  # black, as of nothing at all
    Image.new("RGB", (24, 24)).save(tmp_path / "sub01/EP01_01/img6.png")
    clips = {"sub01/EP01_01": (5, 6), "sub01/EP01_02": (5,), "sub02/EP01_01": (5, 6)}
    rows = [
        row([str(tmp_path / clip / f"img{n}.png") for n in numbers], COARSE, "positive", tags=True)
        for clip, numbers in clips.items()
    ]
    write_jsonl(tmp_path / "theirs.jsonl", rows)
    problems = Problems()
    check_records(tmp_path / "theirs.jsonl", problems)
    (error,) = findings(problems, "duplicates")
    assert "casme2/sub02/EP01_01" in error and "the same, pixel by pixel" in error
    assert "casme2/sub01/EP01_02" in warnings(problems, "duplicates")[0]
    assert len(warnings(problems, "pictures")) == 2  # the black ones


def test_sides_of_other_projects_share_no_subject(tmp_path: Path) -> None:
    for name, clip in (("train", "sub01/EP01_01"), ("test", "sub01/EP02_01")):
        images = [noise(tmp_path / clip / "img5.png", len(name)), noise(tmp_path / clip / "img6.png", 9 + len(name))]
        write_jsonl(tmp_path / f"{name}.jsonl", [row(images, COARSE, "positive", tags=True)])
    problems = Problems()
    check_dataset(CheckSettings(train=(tmp_path / "train.jsonl",), test=(tmp_path / "test.jsonl",)), problems)
    (finding,) = findings(problems, "subjects")
    assert "casme2/sub01: the subject is in" in finding and "split by subject again" in finding


def test_one_person_in_two_datasets_is_on_one_side() -> None:
    problems = Problems()
    sides = [[{"dataset": name, "subject": "006", "prompt": "p"}] for name in ("samm", "samm_lv", "casme2")]
    check_splits(sides[0], sides[1], ("train", "test"), problems)
    (finding,) = findings(problems, "subjects")
    assert "samm_lv/006: the same person is in train, as samm/006" in finding
    check_splits(sides[0], sides[2], ("train", "test"), problems)
    assert len(problems) == 1  # another person's number


def test_a_side_with_subjects_of_both_is_named(data: Path) -> None:
    build(data)
    subjects = ["casme2/sub01", "casme2/sub03", "casme2/sub05", "samm/002", "samm/004", "samm/006"]
    write_folds(data / "instructions.split.json", [Fold("f", tuple(subjects[1:]), tuple(subjects[:1]))], {"fold": 0})
    problems = Problems()
    check_records(data / "instructions.jsonl", problems)
    assert "not of one side of its split f (casme2/sub01)" in findings(problems, "subjects")[0]


def _with_recipes(data: Path, roi: str = "aligned", method: str = "dis") -> None:
    """Settings beside the crops and in the flow pictures, as the pipeline writes them."""
    settings = {"method": method, "encoding": "uv-strain", "scale": 3.0}
    for seed, onset in enumerate(sorted(data.glob("frames/*/*/*/onset.png"))):
        write_json(onset.parent / "align.json", {"settings": {"roi": roi, "magnify": 0.0}, "size": [280, 336]})
        clip = onset.parent.relative_to(data / "frames").as_posix()
        pixels = np.random.default_rng(seed).integers(0, 255, (56, 56, 3), dtype=np.uint8)
        write_bytes(data / "flow" / f"{clip}.png", png_bytes(pixels, {"settings": json.dumps(settings)}))


def test_crops_flow_prompt_and_subjects_are_compared_with_a_checkpoint(data: Path) -> None:
    _with_recipes(data)
    records, _ = build(data)
    recipes = {
        "crop": [{"roi": "aligned", "size": [280, 336]}],
        "flow": [{"method": "dis", "encoding": "uv-strain", "scale": 3.0}],
    }
    trained = {"prompt_hash": records[0]["prompt"], "recipes": recipes, "data": {"subjects": ["casme2/sub01"]}}
    write_json(data / "model/megc.json", trained)
    settings = CheckSettings(train=(data / "instructions.jsonl",), checkpoint=data / "model")
    problems = Problems()
    check_dataset(settings, problems)
    assert not problems

    _with_recipes(data, "box", "tvl1")
    write_json(data / "model/megc.json", {**trained, "prompt_hash": "f" * 16})
    settings = CheckSettings(test=(data / "instructions.jsonl",), checkpoint=data / "model")
    check_dataset(settings, problems)
    said = " ".join(findings(problems, "recipe"))
    assert "roi box, not aligned" in said and "run data_process/extract_frames.py --roi aligned" in said
    assert "method tvl1, not dis" in said and "run data_process/compute_flow.py --method dis" in said
    assert "casme2/sub01: the checkpoint" in findings(problems, "subjects")[0]
    assert "was trained with ffff" in findings(problems, "prompt")[0]

    problems = Problems()
    write_json(data / "model/megc.json", {"prompt_hash": records[0]["prompt"]})
    check_dataset(settings, problems)
    assert not problems and "does not record the recipes" in warnings(problems, "recipe")[0]
    with pytest.raises(DataError, match=r"give the folder of a checkpoint"):
        check_checkpoint(data / "nowhere", {}, (), Problems())


def test_crops_of_two_recipes_in_one_file_are_a_warning_and_between_sides_an_error(data: Path) -> None:
    _with_recipes(data)
    records, _ = build(data)
    align = sorted(data.glob("frames/*/*/*/align.json"))[0]
    write_json(align, {"settings": {"roi": "box", "magnify": 0.0}, "size": [280, 336]})
    write_records(data / "train.jsonl", [record for record in records if record["subject"] != "sub01"])
    write_records(data / "test.jsonl", [record for record in records if record["subject"] == "sub01"])
    problems = Problems()
    check_dataset(CheckSettings(train=(data / "instructions.jsonl",)), problems)
    assert not problems
    assert "crop of 3 picture(s) made otherwise than most: roi box, not aligned" in warnings(problems, "recipe")[0]
    check_dataset(CheckSettings(train=(data / "train.jsonl",), test=(data / "test.jsonl",)), problems)
    assert "made otherwise than for" in findings(problems, "recipe")[0]


def test_warnings_alone_end_with_zero_unless_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [noise(tmp_path / f"sub01/EP02_01f/img{number}.png", number) for number in (9, 46)]
    write_jsonl(tmp_path / "theirs.jsonl", [row(images, COARSE, "positive")])  # without tags
    arguments = ["--train", str(tmp_path / "theirs.jsonl")]
    assert run_program(monkeypatch, "data_process/check_dataset.py", *arguments) == 0
    assert "1 warning(s)" in capsys.readouterr().out
    assert run_program(monkeypatch, "data_process/check_dataset.py", *arguments, "--strict") == 1


def test_a_kind_with_many_findings_hides_no_other_kind(capsys: pytest.CaptureFixture[str]) -> None:
    problems = Problems()
    for number in range(30):
        problems.add(Problem("f", number, "is wrong", "mend it", "many"))
    problems.add(Problem("f", None, "is rare", "mend it", "few"))
    problems.report(limit=3)
    printed = capsys.readouterr().err
    assert "… and 27 more of many" in printed and "is rare" in printed
