"""Long synthetic videos: what readers make of them, the motion in and between expressions, determinism, resuming."""

import hashlib
import json
import shutil
import warnings
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
import pytest

from megc.clips import list_frames, read_videos
from megc.datasets.index import index_videos
from megc.datasets.settings import DatasetSource
from megc.motion.flow import compensate, optical_flow
from megc.motion.regions import region_boxes, region_means
from megc.problems import DataError, Problems
from megc.synthesis.demo_set import make_demo
from megc.synthesis.long_set import video_folder, write_long_set
from megc.synthesis.render import UnitMotion
from megc.synthesis.settings import Difficulty, LongSettings, MakeDemoSettings
from megc.synthesis.subjects import View
from megc.synthesis.video_rendering import EventSpec, HeadTurn, VideoRendering, VideoSpec, event_course
from megc.synthesis.video_scenes import plan_videos

TINY = LongSettings(
    long_subjects=1, videos=1, samm_seconds=3, casme3_seconds=9, micros=1, macros=1, talks=1, blinks=40, long_width=96
)
SMILE = EventSpec("006_1_1", "micro", 41, 71, 120, (UnitMotion(12, None, 2.5),), "happiness")
BROWS = EventSpec("006_1_2", "macro", 201, 301, 400, (UnitMotion(4, None, 5.0),), "anger")
SCENE = VideoSpec("samm_lv/006/006_1", 5, 7, View(240, 200, 120.0, 119.5, 80.0, grey=True), 200.0, 460, (SMILE, BROWS))


def tiny_set(**changes):
    return MakeDemoSettings(long=True, long_videos=replace(TINY, **changes))


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("long")
    return root, write_long_set(root, tiny_set())


def sources(root):
    samm, casme3 = root / "SAMM_LV", root / "CASME3"
    return [
        DatasetSource(
            "samm_lv", samm / "SAMM_LongVideos_V2_Release.xlsx", samm, samm / "SAMM_Micro_FACS_Codes_v2.xlsx"
        ),
        DatasetSource(
            "casme3",
            casme3 / "CAS(ME)3_part_A_v2.xls",
            casme3,
            casme3 / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        ),
    ]


def test_readers_give_the_events_that_went_in(tiny):
    """All of it but the emotions of macro-expressions, which neither dataset's sheets hold."""
    root, _ = tiny
    problems = Problems()
    videos = index_videos(sources(root), root / "videos.jsonl", problems)
    (root / "videos.jsonl").unlink(missing_ok=True)
    true_videos = read_videos(root / "true_videos.jsonl")
    expected = [
        replace(
            video,
            events=tuple(event if event.type == "micro" else replace(event, emotion="") for event in video.events),
        )
        for video in true_videos
    ]
    assert not list(problems) and not problems.warnings
    assert videos == expected
    assert {event.type for video in videos for event in video.events} == {"micro", "macro"}
    assert all(event.emotion for video in true_videos for event in video.events)


def test_frames_are_whole_and_named_as_released(tiny):
    root, specs = tiny
    samm, casme3 = specs
    assert [spec.fps for spec in specs] == [200, 30]
    for spec in specs:
        assert list(list_frames(video_folder(root, spec))) == list(range(1, spec.length + 1))
    first = video_folder(root, samm) / f"{samm.id.split('/')[2]}_0001.jpg"
    assert cv2.imread(str(first), cv2.IMREAD_UNCHANGED).shape == (80, 96)  # grey
    assert video_folder(root, casme3).relative_to(root).as_posix() == "CASME3/part_A/spNO.1/a/color"
    assert cv2.imread(str(video_folder(root, casme3) / "1.jpg"), cv2.IMREAD_UNCHANGED).shape == (80, 96, 3)


def test_sheets_stand_as_released(tiny):
    root, (_, casme3) = tiny
    sheet = pd.read_excel(root / "SAMM_LV/SAMM_LongVideos_V2_Release.xlsx", header=9, dtype=object)
    assert {"Subject", "Filename", "Onset", "Apex", "Offset", "Type"} <= {str(name) for name in sheet.columns}
    assert set(sheet["Type"]) <= {"Macro", "Micro - 1/2"}
    with warnings.catch_warnings():  # pandas 3.1 says that it will read .xls by another library
        warnings.simplefilter("ignore")
        blinks = pd.read_excel(root / "CASME3/CAS(ME)3_part_A_v2.xls", sheet_name="eye blink")
    assert len(blinks) == len(casme3.blinks) > 0


def test_truth_tells_what_is_no_expression(tiny):
    root, specs = tiny
    rows = [json.loads(line) for line in (root / "truth.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [spec.id for spec in specs]
    for row, spec in zip(rows, specs, strict=True):
        assert [len(row[name]) for name in ("events", "blinks", "talks", "turns")] == [
            len(spec.events), len(spec.blinks), len(spec.talks), len(spec.turns)
        ]  # fmt: skip


def test_two_processes_write_the_same_bytes_as_one(tiny, tmp_path):
    root, _ = tiny
    write_long_set(tmp_path, tiny_set(), workers=2)
    assert digests(tmp_path) == digests(root)


def test_finished_videos_are_kept_and_missing_ones_restored(tiny):
    root, (lost, kept) = tiny
    before = digests(root)
    times = {path: path.stat().st_mtime_ns for path in video_folder(root, kept).iterdir()}
    shutil.rmtree(video_folder(root, lost))
    half = root / ".partial" / lost.id.replace("/", "_")
    half.mkdir(parents=True)
    (half / "left_by_a_killed_run.jpg").write_bytes(b"")
    write_long_set(root, tiny_set())
    assert digests(root) == before
    assert {path: path.stat().st_mtime_ns for path in video_folder(root, kept).iterdir()} == times


def test_another_set_is_refused_and_overwritten_on_request(tmp_path):
    only = {"micros": 1, "macros": 0, "talks": 0, "samm_seconds": 1.5, "casme3_seconds": 1.5}
    write_long_set(tmp_path, tiny_set(**only))
    with pytest.raises(DataError, match=r"other settings \(blinks"):
        write_long_set(tmp_path, tiny_set(**only, blinks=0))
    write_long_set(tmp_path, tiny_set(**only, blinks=0), overwrite=True)
    assert json.loads((tmp_path / "demo.json").read_text())["settings"]["blinks"] == 0


def test_licensed_data_is_never_touched(tmp_path):
    (tmp_path / "SAMM_LV").mkdir()
    with pytest.raises(DataError, match="licensed"):
        write_long_set(tmp_path, tiny_set(), overwrite=True)


def test_expressions_follow_their_kind():
    """Micro-expressions of half a second at most, longer macro-expressions, rests between, distinct people."""
    specs = plan_videos(LongSettings(), 2)
    kinds = {"micro": [], "macro": []}
    for spec in specs:
        for event in spec.events:
            kinds[event.type].append((event.offset - event.onset + 1) / spec.fps)
            assert 1 <= event.onset < event.apex < event.offset <= spec.length
        spans = [(event.onset, event.offset) for event in spec.events]
        spans += [(round(begin * spec.fps), round(end * spec.fps)) for begin, end in spec.talks]
        spans.sort()
        assert all(after[0] - before[1] >= 0.35 * spec.fps for before, after in pairwise(spans))
    assert max(kinds["micro"]) <= 0.5 < 0.65 <= min(kinds["macro"])
    assert len(kinds["micro"]) > 40 and len(kinds["macro"]) > 40
    assert len({(spec.id.split("/")[0], spec.subject_seed) for spec in specs}) == 16
    assert len({spec.id for spec in specs}) == len({spec.seed for spec in specs}) == 32


def test_sides_and_emotions_are_those_that_the_datasets_have():
    specs = plan_videos(LongSettings(long_subjects=20), 2)
    emotions = {event.emotion for spec in specs if spec.id.startswith("casme3") for event in spec.events}
    assert emotions == {"disgust", "happiness", "sadness", "surprise", "others"}


@pytest.mark.parametrize("event", [SMILE, BROWS])
def test_an_expression_is_furthest_at_its_apex(event):
    course = event_course(event)
    assert (course[0], course[event.apex - event.onset], course[-1]) == (0, 1, 0)
    assert int(np.argmax(course)) == event.apex - event.onset
    assert np.sum(course == course.max()) == 1
    # a macro-expression is held: it is nearly out for longer than a micro-expression is, in shares of its length
    assert (np.mean(course > 0.85) > 0.45) == (event.type == "macro")


def test_nothing_but_expressions_moves_without_distractors():
    """True motion from a frame at rest: none at all between the events, in the events that of their units."""
    rendering = VideoRendering(replace(SCENE, drift=0.0))
    reach = {n: float(np.linalg.norm(rendering.flow(1, n)[0], axis=-1).max()) for n in range(1, 461, 10)}
    inside = {n for n in reach if any(event.onset < n < event.offset for event in SCENE.events)}
    assert max(reach[n] for n in reach.keys() - inside) < 1e-3
    assert max(reach, key=lambda n: reach[n]) == BROWS.apex
    assert reach[BROWS.apex] == pytest.approx(5.0 * rendering.pixels, rel=0.05)
    assert max((n for n in reach if n <= SMILE.offset), key=lambda n: reach[n]) == SMILE.apex


def test_measured_motion_of_an_event_is_largest_at_its_apex():
    """Flow of drawn frames against the onset, with drift and noise: in the event's regions the apex moves most."""
    rendering = VideoRendering(replace(SCENE, turns=(HeadTurn(1.9, 1.0, 0.05, 0.02),)))
    points = rendering.subject.points

    def motion(first, number):
        flow, _ = compensate(optical_flow(rendering.image(first), rendering.image(number), "dis-fast"), points)
        boxes = region_boxes(points, flow.shape[:2])
        return dict(zip(boxes, np.linalg.norm(region_means(flow, boxes), axis=-1), strict=True))

    for event, regions in ((SMILE, ("right lip corner", "left lip corner")), (BROWS, ("right inner brow",))):
        numbers = sorted({*range(event.onset, event.offset, 10), event.apex, event.offset})
        moved = {n: np.mean([motion(event.onset, n)[region] for region in regions]) for n in numbers}
        assert abs(max(moved, key=lambda n: moved[n]) - event.apex) <= 0.15 * (event.offset - event.onset)
        assert moved[event.apex] > 3 * moved[event.offset]
    assert max(motion(125, n)["right inner brow"] for n in (150, 190)) < 0.2  # at rest: noise and head motion


def test_speech_and_blinks_are_no_expressions_but_move_the_face():
    talking = VideoRendering(replace(SCENE, drift=0.0, events=(), talks=((0.5, 1.5),), blinks=((2.0, 0.2),)))
    still, speech = (np.abs(talking.curves[:, slice_]).max() for slice_ in (slice(320, 460), slice(110, 290)))
    assert still == 0 and speech > 0.5
    assert talking.lids[400] == pytest.approx(1) and talking.lids[300] == 0
    eyes = np.s_[70:90, 80:160]
    open_eyes, closed = (talking.image(number)[eyes].astype(float) for number in (340, 401))
    assert np.abs(open_eyes - closed).mean() > 3 * np.abs(open_eyes - talking.image(345)[eyes]).mean()


def test_impossible_settings_are_refused(tmp_path):
    with pytest.raises(DataError, match="too short"):
        plan_videos(replace(TINY, samm_seconds=0.5))
    with pytest.raises(ValueError, match="7 videos"):
        plan_videos(replace(TINY, videos=8))
    with pytest.raises(ValueError, match="no video"):
        write_long_set(tmp_path, tiny_set(long_subjects=0))
    with pytest.raises(ValueError, match="--long"):
        make_demo(replace(tiny_set(), out=tmp_path, layout=("smic",)), Problems())


def test_difficulty_reaches_the_videos():
    easy, hard = (plan_videos(TINY, difficulty=Difficulty(amplitude=size, drift=0)) for size in (0.5, 3.0))
    peaks = [[unit.amplitude for spec in specs for e in spec.events for unit in e.units] for specs in (easy, hard)]
    assert max(peaks[0]) < max(peaks[1]) and {spec.drift for spec in hard} == {0}
