"""The synthetic demo set: layouts, labels, true motion, determinism, resuming."""

import hashlib
import json
import multiprocessing
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from megc.clips import list_frames
from megc.datasets.index import DatasetSource, index_clips
from megc.facs import parse_action_units
from megc.files import lock_folder
from megc.problems import DataError, Problems
from megc.synthesis.demo_set import frame_folder, plan_demo, read_true_flow, write_demo
from megc.synthesis.demo_sheets import annotate_clips, casme2_workbook, samm_workbook
from megc.synthesis.render import true_flow
from megc.synthesis.settings import DemoSettings

SMALL = DemoSettings(casme2_subjects=2, samm_subjects=1, clips=3, every=20)
# Clips with an action unit among the annotated clips that ME-VQA uses.
COUNTS = {
    "casme2": {1: 21, 2: 22, 4: 56, 5: 3, 6: 7, 7: 31, 9: 9, 10: 17, 12: 32, 14: 6, 15: 16, 16: 1, 17: 22, 25: 2},
    "samm": {1: 6, 2: 5, 4: 22, 5: 10, 6: 5, 7: 46, 9: 5, 10: 6, 12: 30, 14: 13, 15: 4, 17: 7, 20: 7, 25: 5, 43: 8},
}
EMOTIONS = {
    "casme2": {"disgust": 61, "happiness": 32, "repression": 27, "surprise": 25},
    "samm": {"anger": 57, "happiness": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    return root, write_demo(root, SMALL)


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_processes_write_the_same_bytes_as_one(small, tmp_path):
    root, _ = small
    write_demo(tmp_path, SMALL, workers=2)
    assert digests(tmp_path) == digests(root)


def test_finished_clips_are_kept_and_missing_ones_restored(small, tmp_path):
    root, specs = small
    before = digests(root)
    kept, lost, half = (frame_folder(root, spec) for spec in specs[:3])
    changed = sorted(kept.glob("*.jpg"))[0]
    times = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    (root / "true_flow" / f"{specs[2].id}.npz").unlink()
    write_demo(root, SMALL)
    assert digests(root) == before
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == times
    assert changed.exists() and half.is_dir()


def test_another_set_in_the_folder_is_refused_until_overwritten(tmp_path):
    settings = DemoSettings(casme2_subjects=1, samm_subjects=0, clips=1, every=50)
    write_demo(tmp_path, settings)
    with pytest.raises(DataError, match=r"other settings \(seed\)"):
        write_demo(tmp_path, replace(settings, seed=settings.seed + 1))
    (tmp_path / "clips.jsonl").write_text("{}\n")
    specs = write_demo(tmp_path, replace(settings, seed=settings.seed + 1), overwrite=True)
    assert [path.name for path in (tmp_path / "CASME2" / "Cropped" / "sub01").iterdir()] == [specs[0].id.split("/")[2]]
    assert (tmp_path / "clips.jsonl").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_data_that_is_no_demo_set_is_left_alone(tmp_path, overwrite):
    (tmp_path / "CASME2").mkdir()
    (tmp_path / "CASME2" / "licensed.txt").write_text("real")
    with pytest.raises(DataError, match="not a demo set"):
        write_demo(tmp_path, SMALL, overwrite=overwrite)
    assert (tmp_path / "CASME2" / "licensed.txt").read_text() == "real"


@pytest.mark.parametrize("change", [{"every": 0}, {"samm_subjects": 99}])
def test_impossible_settings_write_nothing(tmp_path, change):
    with pytest.raises(ValueError):
        write_demo(tmp_path, replace(SMALL, **change))
    assert not list(tmp_path.iterdir())


def test_frames_have_the_layout_and_size_of_the_datasets(small):
    root, specs = small
    for spec in specs:
        frames = list_frames(frame_folder(root, spec))
        assert {spec.onset, spec.apex, spec.offset} <= set(frames)
        assert min(frames) == spec.onset and max(frames) == spec.offset
        dataset, subject, _ = spec.id.split("/")
        image = cv2.imread(str(frames[spec.apex]), cv2.IMREAD_UNCHANGED)
        if dataset == "casme2":
            assert frames[spec.apex].name == f"reg_img{spec.apex}.jpg" and image.shape == (340, 280, 3)
        else:
            assert frames[spec.apex].name.startswith(f"{subject}_") and image.shape == (325, 480)
            assert len({len(path.stem) for path in frames.values()}) == 1
    assert (frame_folder(root, specs[0]) / "note.txt").is_file()


def test_the_readers_find_every_clip_with_its_labels(small):
    root, specs = small
    problems = Problems()
    sources = [
        DatasetSource("casme2", root / "CASME2" / "CASME2-coding-20190701.xlsx", root / "CASME2"),
        DatasetSource("samm", root / "SAMM" / "SAMM_Micro_FACS_Codes_v2.xlsx", root / "SAMM"),
    ]
    clips = {clip.id: clip for clip in index_clips(sources, root / "clips.jsonl", problems)}
    (root / "clips.jsonl").unlink()
    assert not len(problems) and set(clips) == {spec.id for spec in specs}
    for spec in specs:
        clip = clips[spec.id]
        assert [(unit.number, unit.side) for unit in clip.action_units] == [(u.number, u.side) for u in spec.units]
        assert (clip.onset, clip.apex, clip.offset) == (spec.onset, spec.apex, spec.offset)
        assert clip.fine == spec.emotion or spec.emotion == "others"


def test_truth_tells_what_was_drawn(small):
    root, specs = small
    rows = [json.loads(line) for line in (root / "truth.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [spec.id for spec in specs]
    for row, spec in zip(rows, specs, strict=True):
        assert [unit["amplitude"] for unit in row["action_units"]] == [unit.amplitude for unit in spec.units]
        total, expression, valid = read_true_flow(root / "true_flow" / f"{spec.id}.npz")
        drawn = true_flow(spec)
        assert np.abs(total - drawn[0]).max() <= 1 / 128 and np.abs(expression - drawn[1]).max() <= 1 / 128
        assert (valid == drawn[2]).all()
    with pytest.raises(DataError, match="no true flow"):
        read_true_flow(root / "demo.json")


@pytest.fixture(scope="module")
def planned():
    specs = plan_demo(DemoSettings())
    return specs, annotate_clips(specs)


def test_annotation_cells_say_exactly_the_units_in_the_datasets_many_ways(planned):
    specs, rows = planned
    for spec, row in zip(specs, rows, strict=True):
        units, _ = parse_action_units(row.units)
        assert [(unit.number, unit.side) for unit in units] == [(u.number, u.side) for u in spec.units], row.units
    samm = " ".join(str(row.units) for spec, row in zip(specs, rows, strict=True) if spec.id.startswith("samm"))
    for style in (" or ", "ref(", "A/B", "+ ", "A12", "soft focus"):
        assert style in samm


def test_spreadsheets_have_the_datasets_irregular_cells(planned, tmp_path):
    specs, rows = planned
    casme2 = [row for spec, row in zip(specs, rows, strict=True) if spec.id.startswith("casme2")]
    samm = [row for spec, row in zip(specs, rows, strict=True) if spec.id.startswith("samm")]
    (tmp_path / "c.xlsx").write_bytes(casme2_workbook(casme2))
    (tmp_path / "s.xlsx").write_bytes(samm_workbook(samm))
    sheets = pd.read_excel(tmp_path / "c.xlsx", sheet_name=None)
    assert list(sheets) == ["Sheet1", "Sheet2", "Sheet3"] and sheets["Sheet2"].empty
    table = sheets["Sheet1"]
    assert list(table.columns) == [
        "Subject", "Filename", "Unnamed: 2", "OnsetFrame", "ApexFrame", "OffsetFrame", "Unnamed: 6", "Action Units",
        "Estimated Emotion", "Objective Classes"]  # fmt: skip
    assert (table["ApexFrame"] == "/").sum() == 1
    assert (table["ApexFrame"] == table["OnsetFrame"]).sum() == 1
    assert (table["ApexFrame"] == table["OffsetFrame"]).sum() == 1
    assert {type(cell) for cell in table["Action Units"]} == {int, str}
    assert table["Filename"].nunique() < len(table) and not table.duplicated(["Subject", "Filename"]).any()
    samm_table = pd.read_excel(tmp_path / "s.xlsx", sheet_name="MICRO_ONLY", header=13)
    assert (samm_table["Duration"] == samm_table["Offset Frame"] - samm_table["Onset Frame"] + 1).all()
    assert (samm_table["Apex Frame"] > samm_table["Offset Frame"]).sum() == 2
    assert set(samm_table["Estimated Emotion"]) == {*map(str.capitalize, EMOTIONS["samm"]), "Other"}


@pytest.mark.parametrize("dataset", ["casme2", "samm"])
def test_labels_follow_the_real_counts(planned, dataset):
    specs = [spec for spec in planned[0] if spec.id.startswith(dataset)]
    kept = [spec for spec in specs if spec.emotion != "others"]
    assert 0.05 <= 1 - len(kept) / len(specs) <= 0.1
    units = Counter(unit.number for spec in kept for unit in spec.units)
    pairs = [(units[number] / len(kept), count) for number, count in COUNTS[dataset].items()]
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.98
    emotions = Counter(spec.emotion for spec in kept)
    for emotion, count in EMOTIONS[dataset].items():
        assert emotions[emotion] / len(kept) == pytest.approx(count / sum(EMOTIONS[dataset].values()), abs=0.02)
    if dataset == "casme2":  # one action unit settles the emotion
        single = {(spec.units[0].number, spec.emotion) for spec in kept if len(spec.units) == 1}
        assert len({number for number, _ in single}) == len(single)


# ---- two runs at once


def test_a_folder_in_which_a_demo_is_drawn_is_refused(tmp_path):
    with lock_folder(tmp_path, "demo"), pytest.raises(DataError, match="another run is at work there"):
        write_demo(tmp_path, SMALL)


def draw_demo(folder, outcomes):
    try:
        write_demo(folder, replace(SMALL, casme2_subjects=1, samm_subjects=0, clips=1))
        outcomes.put("whole")
    except DataError as error:
        outcomes.put(error.problem.what.split(":")[0])


@pytest.mark.slow
def test_of_several_runs_in_one_folder_one_works_and_the_others_refuse(tmp_path):
    context = multiprocessing.get_context("spawn")
    outcomes = context.Queue()
    runs = [context.Process(target=draw_demo, args=(tmp_path / "demo", outcomes)) for _ in range(3)]
    for process in runs:
        process.start()
    ended = [outcomes.get(timeout=120) for _ in runs]
    for process in runs:
        process.join()
    assert "whole" in ended
    assert set(ended) <= {"whole", "another run is at work there"}
    names = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert names == ["CASME2", "demo.json", "true_flow", "truth.jsonl"]


def test_a_damaged_record_of_a_set_is_named(tmp_path):
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(DataError, match=r"demo\.json.*not JSON.*--overwrite"):
        write_demo(tmp_path, DemoSettings(casme2_subjects=1, samm_subjects=0, clips=1))
    (tmp_path / "demo.json").write_text('{"generator": 1, "settings": {"seed": null}}')
    with pytest.raises(DataError, match=r"settings\.seed is None, not a whole number.*--overwrite"):
        write_demo(tmp_path, DemoSettings(casme2_subjects=1, samm_subjects=0, clips=1))
