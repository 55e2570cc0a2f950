"""The synthetic demo set: layouts, labels, true motion, determinism, resuming."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from megc.clips import list_frames
from megc.datasets.demo import DemoSettings, clip_folder, plan_demo, read_true_flow, write_demo
from megc.datasets.demo_sheets import annotate, casme2_workbook, samm_workbook
from megc.datasets.index import Source, index_clips
from megc.facs import ME_VQA_UNITS, parse_action_units
from megc.motion.faces import FaceFinder
from megc.problems import DataError, Problems
from megc.synthesis.motion import TILT, node_grid, unit_field
from megc.synthesis.plan import CASME2_VIEW, Difficulty, plan_clips, samm_view
from megc.synthesis.render import ClipSpec, Rendering, UnitMotion, render_clip, true_flow
from megc.synthesis.statistics import WEIGHTS, numbers_of
from megc.synthesis.subjects import make_subject

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


def one_clip(*units, seed=5, **settings):
    motions = tuple(UnitMotion(*unit) for unit in units)
    return ClipSpec("casme2/sub01/EP01_01", seed, seed, CASME2_VIEW, 40, 65, 100, motions, "disgust", **settings)


def inner(field):
    return field[20:-20, 20:-20]


def test_two_processes_write_the_same_bytes_as_one(small, tmp_path):
    root, _ = small
    write_demo(tmp_path, SMALL, workers=2)
    assert digests(tmp_path) == digests(root)


def test_finished_clips_are_kept_and_missing_ones_restored(small, tmp_path):
    root, specs = small
    before = digests(root)
    kept, lost, half = (clip_folder(root, spec) for spec in specs[:3])
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
    with pytest.raises(DataError, match="other settings"):
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
        frames = list_frames(clip_folder(root, spec))
        assert {spec.onset, spec.apex, spec.offset} <= set(frames)
        assert min(frames) == spec.onset and max(frames) == spec.offset
        dataset, subject, _ = spec.id.split("/")
        image = cv2.imread(str(frames[spec.apex]), cv2.IMREAD_UNCHANGED)
        if dataset == "casme2":
            assert frames[spec.apex].name == f"reg_img{spec.apex}.jpg" and image.shape == (340, 280, 3)
        else:
            assert frames[spec.apex].name.startswith(f"{subject}_") and image.shape == (325, 480)
            assert len({len(path.stem) for path in frames.values()}) == 1
    assert (clip_folder(root, specs[0]) / "note.txt").is_file()


def test_the_readers_find_every_clip_with_its_labels(small):
    root, specs = small
    problems = Problems()
    sources = [
        Source("casme2", root / "CASME2" / "CASME2-coding-20190701.xlsx", root / "CASME2"),
        Source("samm", root / "SAMM" / "SAMM_Micro_FACS_Codes_v2.xlsx", root / "SAMM"),
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
    return specs, annotate(specs)


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


def test_every_unit_of_the_tables_has_a_field_of_one_pixel():
    subject, grid = make_subject(3, CASME2_VIEW), node_grid(280, 340)
    numbers = {
        n for strings in WEIGHTS.values() for table in strings.values() for text in table for n in numbers_of(text)
    }
    assert numbers <= set(ME_VQA_UNITS)
    for number in numbers - {TILT}:
        peak = np.linalg.norm(unit_field(subject.points, 232, number, None, grid, seed=3), axis=-1).max()
        assert peak == pytest.approx(1, abs=1e-5)


def test_a_unit_on_one_side_moves_that_side_as_facs_says():
    subject = make_subject(5, CASME2_VIEW)
    for number, side, vertical in ((12, "left", -1), (12, "right", -1), (15, "left", 1), (2, "right", -1)):
        _, expression, _ = true_flow(one_clip((number, side, 2.0), drift=0.0))
        columns = np.abs(expression).sum((0, 2))
        middle = int(subject.points[30, 0])
        here = columns[middle:].sum() if side == "left" else columns[:middle].sum()
        assert here > 0.95 * columns.sum()
        assert np.sign(expression[..., 1].sum()) == vertical
        assert np.linalg.norm(expression, axis=-1).max() == pytest.approx(2.0, rel=0.08)


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_true_flow_closes_and_explains_the_apex_frame(seed):
    rendering = Rendering(one_clip((4, None, 2.5), (12, None, 2.5), seed=seed, noise=0.2))
    total, expression, valid = rendering.flow(40, 65)
    back = rendering.flow(65, 40)[0]
    grid = np.stack(np.meshgrid(np.arange(280), np.arange(340)), -1).astype(np.float32)
    closure = total + cv2.remap(back, grid + total, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(inner(closure)).max() < 0.1 and np.abs(inner(closure)).mean() < 0.01
    onset, apex = (rendering.image(number).astype(np.float32) for number in (40, 65))
    warped = cv2.remap(apex, grid + total, None, cv2.INTER_CUBIC)
    assert np.abs(inner(warped - onset)).mean() < 0.55 * np.abs(inner(apex - onset)).mean()
    assert valid.all() and np.abs(total - expression).max() > 0.2


def test_difficulty_knobs_reach_the_clips():
    still = Rendering(one_clip((4, None, 1.0), drift=0.0)).flow(40, 65)
    assert np.abs(still[0] - still[1]).max() == 0
    peaks = [max(unit.amplitude for unit in spec.units) for spec in plan_clips("casme2", 8, 16)]
    hard = plan_clips("casme2", 8, 16, difficulty=Difficulty(amplitude=0.55, drift=2.0, blink=1.0))
    hard_peaks = [max(unit.amplitude for unit in spec.units) for spec in hard]
    assert np.median(peaks) == pytest.approx(1.7, rel=0.12) and min(peaks) >= 0.79 and max(peaks) <= 3.51
    assert min(hard_peaks) >= 0.25 and max(hard_peaks) <= 1.14
    assert all(spec.blink for spec in hard) and {spec.drift for spec in hard} == {2.0}
    varied, plain = (
        unit_field(make_subject(4, CASME2_VIEW).points, 232, 12, None, node_grid(280, 340), 4, v) for v in (1.0, 0.0)
    )
    assert 0.02 < np.abs(varied - plain).mean() / np.abs(plain).mean() < 1


def test_a_blink_covers_the_eyes_and_is_marked_invalid():
    spec = one_clip((12, None, 1.0), drift=0.0, noise=0.0, blink=(25 / 200, 0.2))
    open_eyes, closed = (Rendering(each).image(65).astype(float) for each in (replace(spec, blink=None), spec))
    points = make_subject(spec.subject_seed, CASME2_VIEW).points
    _, _, valid = true_flow(spec)
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = points[eye].mean(0).astype(int)
        assert np.abs(closed - open_eyes)[y - 3 : y + 4, x - 5 : x + 6].mean() > 10
        assert not valid[y, x]
    changed = np.abs(closed - open_eyes).max(-1) > 12
    assert not changed[valid].any()


def test_apex_is_where_the_expression_is_largest():
    spec = plan_clips("samm", 1, 1, seed=4, view=samm_view(480))[0]
    rendering = Rendering(spec)
    motion = [
        np.linalg.norm(rendering.flow(spec.onset, number)[1], axis=-1).max()
        for number in range(spec.onset, spec.offset + 1, 3)
    ]
    apex = spec.onset + 3 * int(np.argmax(motion))
    assert abs(apex - spec.apex) <= 0.1 * (spec.offset - spec.onset)
    assert motion[0] == pytest.approx(0, abs=0.01) and motion[-1] < 0.2 * max(motion)
    assert 0.25 <= (spec.apex - spec.onset) / (spec.offset - spec.onset) <= 0.55


def test_frames_outside_a_clip_are_refused():
    with pytest.raises(ValueError, match="outside"):
        list(render_clip(one_clip((4, None, 1.0)), [39]))


def test_faces_are_found_and_subjects_differ():
    seen = []
    for specs in (plan_clips("casme2", 5, 1, seed=3), plan_clips("samm", 4, 1, seed=3)):
        for spec in specs:
            image = Rendering(spec).image(spec.onset)
            grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            face = FaceFinder().find(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), spec.id)
            points = make_subject(spec.subject_seed, spec.view).points  # less a head pose of a few pixels
            error = np.linalg.norm(face.landmarks - points, axis=1).mean() / (points[16, 0] - points[0, 0])
            assert error < 0.05 and not face.notes, spec.id
            seen.append(cv2.resize(grey, (28, 34), interpolation=cv2.INTER_AREA).astype(float))
    for group in (seen[:5], seen[5:]):
        distances = [np.abs(a - b).mean() for i, a in enumerate(group) for b in group[:i]]
        assert min(distances) > 4
