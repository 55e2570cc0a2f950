"""Nothing to do is an error with a remedy, and no file is overwritten with nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import run_program
from sheets import CASME2_HEADER, write_sheet

from megc.clips import Clip, write_clips
from megc.facs import ActionUnit
from megc.files import lock_folder, write_json
from megc.problems import DataError, Problems
from megc.splits import make_folds
from megc.vqa.augment import augment_file
from megc.vqa.build import build_files, write_split
from megc.vqa.checks import check_records
from megc.vqa.instructions import question_kind, read_records, row_clip, write_records
from megc.vqa.prompts import PromptSettings, prompt_record
from megc.vqa.settings import AugmentSettings, BuildSettings, SplitSettings

ROOT = Path(__file__).parents[2]
CLIP = Clip("casme2/sub01/EP01_01", "casme2", "sub01", "EP01_01", 200.0, "", 1, 5, 9)
LABELLED = replace(CLIP, action_units=(ActionUnit(4),), fine="disgust", coarse="negative")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with an empty file, an empty folder, a sheet without rows, and two sides from an earlier day."""
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    write_sheet(tmp_path / "sheet.xlsx", CASME2_HEADER)
    for side in ("train", "test"):
        (tmp_path / f"{side}.jsonl").write_text("of an earlier day\n")
    return tmp_path


# what is missing: (program, its arguments, the remedy that it must name)
COMMANDS = {
    "a sheet without rows": (
        "data_process/index_clips.py",
        "--dataset casme2 --annotations sheet.xlsx --out out",
        "give the spreadsheet with its rows",
    ),
    "a folder without clips": (
        "data_process/index_clips.py",
        "--dataset unlabelled --frames folder --out out",
        "give the folder that holds the clips",
    ),
    "no clips to cut": ("data_process/extract_frames.py", "--clips empty.jsonl --out out", "index_clips.py"),
    "no key frames": ("data_process/compute_flow.py", "--frames folder --out out", "extract_frames.py"),
    "no clips to ask of": (
        "data_process/build_instructions.py",
        "--clips empty.jsonl --out out/i.jsonl",
        "index_clips.py",
    ),
    "no rows to ask": (
        "data_process/build_instructions.py",
        "--rows empty.jsonl --out out/i.jsonl",
        "give an ME-VQA file",
    ),
    "no clip to draw": ("data_process/preview.py", "--clips empty.jsonl --out out", "index_clips.py"),
    "nothing to check": (
        "data_process/check_dataset.py",
        "--clips empty.jsonl --train empty.jsonl --test empty.jsonl",
        "build_instructions.py",
    ),
    "nothing to augment": (
        "data_process/augment_flow.py",
        "--train empty.jsonl --out out.jsonl",
        "build_instructions.py",
    ),
    "a demo of no clips": (
        "data_process/make_demo_dataset.py",
        "--clips 0 --out out",
        "ask for one subject and one clip",
    ),
    "a demo of no subjects": (
        "data_process/make_demo_dataset.py",
        "--casme2-subjects 0 --samm-subjects 0 --out out",
        "ask for one subject and one clip",
    ),
    "no flow pictures": ("data_process/make_flow_set.py", "--clips 0 --out out", "ask for one at least"),
    "no questions": (
        "train/set_train_dataset.py",
        "--instructions empty.jsonl --train train.jsonl --test test.jsonl",
        "build_instructions.py",
    ),
    "no training side": (
        "ablation/set_train_dataset.py",
        "--instructions empty.jsonl --train train.jsonl",
        "build_instructions.py",
    ),
    "no test side": (
        "ablation/set_test_dataset.py",
        "--instructions empty.jsonl --test test.jsonl",
        "build_instructions.py",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_program_with_nothing_to_do_says_what_to_do(root, monkeypatch, capsys, case):
    monkeypatch.chdir(root)
    write_json(root / "prompt.json", prompt_record(PromptSettings(images=("flow",), encoding="uv-strain")))
    script, arguments, remedy = COMMANDS[case]
    assert run_program(monkeypatch, script, *arguments.split()) == 1
    assert remedy in capsys.readouterr().err
    assert not [path for path in root.rglob("out*") if path.is_file()]
    for side in ("train", "test"):
        assert (root / f"{side}.jsonl").read_text() == "of an earlier day\n"
        assert not (root / f"{side}.split.json").exists()


# ---- clips and rows that nothing can be asked of


def build(root: Path, *clips: Clip, **settings: object) -> tuple[str, Problems]:
    problems = Problems()
    write_clips(root / "clips.jsonl", clips)
    (root / "frames").mkdir(exist_ok=True)
    for clip in clips:
        (root / "flow" / clip.id).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(root / "flow" / f"{clip.id}.png")
    chosen = BuildSettings(root / "clips.jsonl", root / "instructions.jsonl", images=("flow",), **settings)
    return build_files(chosen, problems), problems


def test_clips_without_labels_name_the_flag_for_questions(root):
    with pytest.raises(DataError, match=r"2 of 2 clips are left out \(no labels: 2\).*--rows"):
        build(root, CLIP, replace(CLIP, id="casme2/sub01/EP02_01", name="EP02_01"))
    assert not (root / "instructions.jsonl").exists()


def test_the_summary_tells_how_many_clips_are_left_out_and_why(root):
    others = replace(CLIP, id="casme2/sub02/EP01_01", subject="sub02", fine="others")
    others = replace(others, notes=("not in ME-VQA: emotion 'others'",))
    said, problems = build(root, LABELLED, others)
    assert not problems
    assert said.endswith("1 of 2 clips are left out (emotion 'others': 1)")


def test_a_clip_that_lacks_only_its_coarse_class_is_a_problem(root):
    lacking = replace(LABELLED, id="casme2/sub02/EP01_01", subject="sub02", coarse="")
    said, problems = build(root, LABELLED, lacking)
    assert "1 of 2 clips are left out" in said
    assert "fine class is disgust but there is no coarse class" in str(next(iter(problems)))


def test_training_clips_without_a_coarse_class_are_told(root):
    build(root, LABELLED, replace(LABELLED, id="casme2/sub02/EP01_01", subject="sub02"))
    kept = [record for record in read_records(root / "instructions.jsonl") if question_kind(record) == "fine"]
    write_records(root / "instructions.jsonl", kept)
    problems = Problems()
    settings = {"test_fraction": 0.5, "hierarchy": "coarse"}
    write_split(SplitSettings((root / "instructions.jsonl",), root / "train.jsonl", None, **settings), problems)
    assert "1 of 1 training clips have no coarse class" in str(next(iter(problems)))


# ---- the early challenge files


def early_row(video: str, onset: int, number: int, question: str) -> dict:
    image = f"dzw_{video}_{onset}"
    identity = {"id": f"samm_test_{image}_{number}", "dataset": "samm_test", "image_id": image}
    interval = {"subject": "dzw", "filename": video, "onset_frame": onset, "offset_frame": onset + 8}
    return {**identity, **interval, "question": question, "answer": ""}


def test_intervals_of_one_video_are_clips_of_their_own(root):
    questions = ("What is the coarse expression class?", "What is the action unit?")
    rows = [early_row(v, o, n, q) for v in ("a1", "d1") for o in (338, 900, 1500) for n, q in enumerate(questions)]
    (root / "early.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "pictures").mkdir()
    for image in {row["image_id"] for row in rows}:
        Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(root / "pictures" / f"{image}.png")
    settings = BuildSettings(root / "none", root / "i.jsonl", (root / "early.jsonl",), flow_dir=(root / "pictures",))
    assert "12 questions on 6 clips" in build_files(replace(settings, images=("flow",)), Problems())
    assert row_clip(rows[0])["clip"] == "casme3/dzw/dzw_a1_338"

    checked = Problems()
    records = read_records(root / "i.jsonl")
    check_records(root / "i.jsonl", checked)
    assert not checked
    merged = [{**record, "clip": "casme3/dzw/a1"} for record in records if "_a1_" in record["id"]]
    merged[0]["row"] = {**merged[0]["row"], "offset_frame": 337}  # before its onset, as one of the released rows
    (root / "merged.jsonl").write_text("".join(json.dumps(record) + "\n" for record in merged))
    check_records(root / "merged.jsonl", checked)
    said = " ".join(map(str, checked))
    assert "questions on 3 image_ids under one clip" in said
    assert "questions on 4 intervals under one clip" in said
    assert "the interval from frame 338 to 337 is empty" in said


def test_a_refused_build_leaves_links_and_pictures_as_they_were(root):
    for name in ("old", "new"):
        (root / name).mkdir()
        Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(root / name / "x.png")
    out = root / "build" / "i.jsonl"
    out.parent.mkdir()
    (out.parent / "flow").symlink_to(root / "old", target_is_directory=True)
    row = early_row("a1", 1, 1, "What is the coarse expression class?")
    (root / "rows.jsonl").write_text(json.dumps(row))
    settings = BuildSettings(root / "none", out, (root / "rows.jsonl",), flow_dir=(root / "new",), images=("flow",))
    for changes in ({}, {"centre": True, "encoding": "uv-strain-minmax"}):
        with pytest.raises(DataError, match="none of 1 rows can be asked"):
            build_files(replace(settings, **changes), Problems())
        assert (out.parent / "flow").resolve() == root / "old"
        assert [path.name for path in out.parent.iterdir()] == ["flow"]
    (out.parent / "flow").unlink()
    with pytest.raises(DataError):
        build_files(settings, Problems())
    assert not list(out.parent.iterdir())


# ---- splits


def sides_of(root: Path, subjects: int, **settings: object) -> str:
    clips = [replace(LABELLED, id=f"casme2/sub0{n}/EP01_01", subject=f"sub0{n}") for n in range(1, subjects + 1)]
    build(root, *clips)
    return split(root / "instructions.jsonl", root / "train.jsonl", root / "test.jsonl", **settings)


def split(source: Path, train: Path | None, test: Path | None, **settings: object) -> str:
    return write_split(SplitSettings((source,), train, test, **settings), Problems())


@pytest.mark.parametrize(
    ("subjects", "settings", "words"),
    [
        (1, {}, r"1 subject\(s\): too few"),
        (1, {"protocol": "loso"}, "loso needs 2 subjects or more, but the questions are of 1"),
        (3, {"protocol": "kfold"}, "kfold needs 5 subjects or more, but the questions are of 3"),
        (3, {"test_fraction": 0.9}, "a test share of 0.9 leaves none to train on of the 3 subjects"),
        (3, {"test_fraction": 0.0}, "a test share of 0 leaves none to test on of the 3 subjects"),
    ],
)
def test_a_side_that_would_be_empty_is_refused_before_anything_is_written(root, subjects, settings, words):
    with pytest.raises(ValueError, match=words):
        sides_of(root, subjects, **settings)
    for side in ("train", "test"):
        assert (root / f"{side}.jsonl").read_text() == "of an earlier day\n"


def test_a_side_is_never_written_over_what_is_read_or_over_the_other(root):
    build(root, LABELLED, replace(LABELLED, id="casme2/sub02/EP01_01", subject="sub02"))
    source = root / "instructions.jsonl"
    for train, test in ((source, None), (root / "train.jsonl", root / "folder/../train.jsonl")):
        with pytest.raises(ValueError, match="must be different files"):
            split(source, train, test)
    with lock_folder(root, "split.test"), pytest.raises(DataError, match="another run is at work there"):
        split(source, root / "train.jsonl", root / "test.jsonl", test_fraction=0.5)
    assert len(read_records(source)) == 12
    assert (root / "train.jsonl").read_text() == "of an earlier day\n"


def test_folds_of_enough_subjects_are_unchanged(root):
    assert "1 questions" not in sides_of(root, 4, test_fraction=0.5)
    records = read_records(root / "instructions.jsonl")
    assert [len(fold.test) for fold in make_folds(records, "loso")] == [1, 1, 1, 1]


# ---- nothing to add


def test_augmenting_without_copies_is_an_error(root):
    build(root, LABELLED)
    with pytest.raises(DataError, match="--copies"):
        augment_file(root / "instructions.jsonl", root / "more.jsonl", AugmentSettings(copies=0))
    assert not (root / "more.jsonl").exists()


# ---- two runs at once


def test_instructions_are_built_by_one_run_at_a_time(root):
    with lock_folder(root, "instructions"), pytest.raises(DataError, match="another run is at work there"):
        build(root, LABELLED)
