"""Bad input through extraction, spotter and scorer: what is there counts, and what is wrong is said."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from motion_scenes import portrait
from region_series import BROWS, MOUTH, make_flow, write_motion_set, write_series

from megc.clips import Event, Video, write_videos
from megc.csv_tables import read_table
from megc.motion.region_stream import RegionFlow, measure_video
from megc.motion.settings import RegionFlowSettings
from megc.problems import DataError, Problems
from megc.scoring.interval_files import VideoIndex, read_run, read_truth, write_intervals
from megc.scoring.settings import SpottingScoreSettings
from megc.scoring.str_evaluation import score_spotting_files
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.kind_settings import FlowSpotterSettings
from megc.spotting.settings import TrainSpotterSettings
from megc.spotting.spotters import Spotter, SpottingVideo, load_spotter, train_from_file, train_spotter

TIMES = np.arange(600) / 30
SMILE, FROWN = (MOUTH, (1.0, -5.0), (4, 5.1)), (BROWS, (0.0, -4.0), (12, 12.8))


@pytest.fixture(scope="module", params=["thresholds", "trees"])
def spotter(request, tmp_path_factory) -> Spotter:
    folder = tmp_path_factory.mktemp(request.param)
    train = write_motion_set(folder, subjects=3)
    settings = FlowSpotterSettings(method=request.param, trees=10, fit=request.param == "trees")
    train_spotter("flow", settings, train, folder / "spotter")
    return load_spotter(folder / "spotter")


def spot(spotter: Spotter, folder: Path, flow: RegionFlow, **more) -> list[SpottedInterval]:
    video = Video("demo/s/a", "demo", "s", "a", 30.0, "", **{"length": len(TIMES), **more})
    write_series(folder, video, flow)
    return spotter.spot(SpottingVideo(video, folder / "videos.jsonl", folder))


def cut(flow: RegionFlow, kept: np.ndarray) -> RegionFlow:
    return RegionFlow(**{field.name: getattr(flow, field.name)[kept] for field in fields(flow)})


def hits(spotted: list[SpottedInterval], seconds: tuple[float, float]) -> int:
    """How many intervals overlap an event of these seconds by half of their union."""
    first, last = (second * 30 + 1 for second in seconds)
    shared = [min(i.offset, last) - max(i.onset, first) for i in spotted]
    return sum(b / (max(i.offset, last) - min(i.onset, first)) >= 0.5 for i, b in zip(spotted, shared, strict=True))


def read_scores(folder: Path, run: str = "p") -> dict[str, dict]:
    """The rows of one run and one dataset in a spotting.csv, by type."""
    table = read_table(folder / "spotting.csv")
    return {row["type"]: row for row in table[table["run"] == run].to_dict("records")}


def test_a_video_that_ends_early_is_spotted_up_to_there(spotter, tmp_path):
    flow = cut(make_flow(TIMES, [SMILE, FROWN]), np.arange(330))
    spotted = spot(spotter, tmp_path, flow)
    assert hits(spotted, SMILE[2]) == 1 and all(1 <= i.onset <= i.offset <= 330 for i in spotted)


def test_an_uneven_frame_rate_shifts_nothing(spotter, tmp_path):
    rng = np.random.default_rng(0)
    uneven = np.sort(rng.uniform(0, 20, 520))  # as a phone records: no two frames equally far apart
    flow = make_flow(uneven, [SMILE, FROWN])
    spotted = spot(spotter, tmp_path, replace(flow, frame_numbers=np.arange(1, 521)))
    for _, _, seconds in (SMILE, FROWN):
        first, last = (int(np.searchsorted(uneven, second)) + 1 for second in seconds)
        near = [i for i in spotted if i.onset < last and i.offset > first]
        assert len(near) == 1 and abs(near[0].onset - first) <= 8 and abs(near[0].offset - last) <= 8


def test_frames_without_a_face_and_holes_hold_no_interval(spotter, tmp_path):
    flow = make_flow(TIMES, [SMILE, FROWN])
    gone = slice(250, 340)
    flow.flow[gone], flow.segments[gone] = np.nan, -1
    flow.segments[340:] = 1
    spotted = spot(spotter, tmp_path, flow)
    assert hits(spotted, SMILE[2]) == hits(spotted, FROWN[2]) == 1
    assert not any(i.onset <= 340 and i.offset > 250 for i in spotted)
    hole = cut(make_flow(TIMES, [SMILE, FROWN, (MOUTH, (0, 6), (8, 10))]), np.r_[:250, 290:600])  # no file for them
    assert not any(i.onset <= 290 and i.offset > 251 for i in spot(spotter, tmp_path, hole))


def test_a_cut_is_no_expression(spotter, tmp_path):
    flow = make_flow(TIMES, [SMILE])
    flow.flow[300:] += 15  # another reference: what was measured jumps
    flow.segments[300:] = 1
    spotted = spot(spotter, tmp_path, flow)
    assert hits(spotted, SMILE[2]) == 1
    assert not any(i.offset >= 290 and i.onset <= 311 for i in spotted)


def test_a_face_that_is_hardly_seen_gives_nothing(spotter, tmp_path):
    flow = make_flow(TIMES, [SMILE])
    flow.flow[4:], flow.segments[4:] = np.nan, -1
    assert spot(spotter, tmp_path, flow) == []


def test_of_two_faces_the_larger_is_followed_and_it_is_said():
    small = portrait()[::2, ::2]
    beside = np.full((portrait().shape[0], small.shape[1], 3), 90, np.uint8)
    beside[: len(small)] = small
    images = [np.hstack([portrait(), beside])] * 3
    numbers = np.arange(1, 4)
    flow, faults, warnings = measure_video(
        zip(numbers, images, strict=True), numbers, (numbers - 1) / 30, RegionFlowSettings(), "two"
    )
    assert not faults and "several faces: the largest was followed" in warnings
    assert (flow.segments == 0).all()


def test_videos_without_events_count_false_alarms_and_no_row_of_chance(tmp_path):
    video = Video("demo/s/a", "demo", "s", "a", 30.0, "", 600)
    write_videos(tmp_path / "videos.jsonl", [video])
    write_intervals(tmp_path / "p.csv", [video], {video.id: [SpottedInterval(10, 20, "micro", 0.5)]})
    settings = SpottingScoreSettings(
        predictions=(tmp_path / "p.csv",), events=tmp_path / "videos.jsonl", out=tmp_path / "scores", resamples=10
    )
    problems = Problems()
    text = score_spotting_files(settings, problems)
    assert "no row of random intervals: demo has no event of another subject than s" in text
    row = read_scores(tmp_path / "scores")["all"]
    assert (row["type"], row["events"], row["predicted"], row["fp"]) == ("all", 0, 1, 1)
    assert row["f1"] == 0 and not problems


def test_a_missing_ground_truth_is_named(tmp_path):
    with pytest.raises(DataError, match=r"truth\.jsonl.*does not exist|truth\.jsonl.*cannot be read"):
        read_truth(tmp_path / "truth.jsonl")


def test_an_interval_beyond_the_end_is_kept_and_named(tmp_path):
    event = Event(570, None, 599, "macro")
    video = Video("demo/s/a", "demo", "s", "a", 30.0, "", 600, (event,))
    write_videos(tmp_path / "videos.jsonl", [video])
    write_intervals(tmp_path / "p.csv", [video], {video.id: [SpottedInterval(570, 620, "macro", 0.5)]})
    problems = Problems()
    settings = SpottingScoreSettings(
        predictions=(tmp_path / "p.csv",), events=tmp_path / "videos.jsonl", out=tmp_path / "scores", resamples=0
    )
    score_spotting_files(settings, problems)
    assert not problems and "1 interval(s) end behind their video, first: line 2 at 620" in str(problems.warnings[0])
    row = read_scores(tmp_path / "scores")["macro"]
    assert (row["tp"], row["fp"], row["fn"]) == (1, 0, 0), "30 of 51 frames"


def test_a_series_that_is_missing_stops_the_spotter_with_the_remedy(spotter, tmp_path):
    video = Video("demo/s/b", "demo", "s", "b", 30.0, "", 600)
    with pytest.raises(DataError, match=r"b\.json.*extract_region_flow\.py again"):
        spotter.spot(SpottingVideo(video, tmp_path / "videos.jsonl", tmp_path))


def test_training_that_was_killed_ends_in_the_same_bytes(tmp_path):
    write_motion_set(tmp_path, subjects=2)
    config = tmp_path / "flow.yaml"
    config.write_text("kind: flow\ntrees: 5\n")
    for name in ("whole", "killed"):
        settings = TrainSpotterSettings(config, tmp_path / name, videos=tmp_path / "videos.jsonl", inputs=tmp_path)
        train_from_file(settings, Problems())
    files = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert files == ["flow_scorer.safetensors", "flow_spotter.json", "spotter.json"]
    # killed between two files: what vouches for the folder is not there yet, and a file is cut
    (tmp_path / "killed/spotter.json").unlink()
    (tmp_path / "killed/flow_spotter.json").write_text("{")
    with pytest.raises(DataError, match=r"spotter\.json"):
        load_spotter(tmp_path / "killed")
    train_from_file(settings, Problems())
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_intervals_are_read_as_they_were_spotted(spotter, tmp_path):
    spotted = spot(spotter, tmp_path, make_flow(TIMES, [SMILE, FROWN]))
    video = Video("demo/s/a", "demo", "s", "a", 30.0, "", 600)
    write_intervals(tmp_path / "p.csv", [video], {video.id: spotted})
    run = read_run(tmp_path / "p.csv", VideoIndex([video]), Problems())
    assert [(i.onset, i.offset, i.type) for i in run.predictions[video.id]] == [(i[0], i[1], i[2]) for i in spotted]
