"""The optical-flow spotter on series with known motion: what it spots, leaves alone, and learns from."""

from pathlib import Path

import numpy as np
import pytest
from region_series import BROWS, MOUTH, make_flow, write_motion_set, write_series

from megc.clips import Video
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.settings import FlowSpotterSettings
from megc.spotting.spotters import SpottingVideo, load_spotter, train_spotter


def spot(folder: Path, flow, settings: FlowSpotterSettings | None = None, fps: float = 30.0) -> list[SpottedInterval]:
    """Intervals of a series by the published settings."""
    video = Video("demo/s/a", "demo", "s", "a", fps, "", len(flow.times))
    write_series(folder, video, flow)
    item = SpottingVideo(video, folder / "videos.jsonl", folder)
    train_spotter("flow", settings or FlowSpotterSettings(fit=False), [item], folder / "spotter")
    return load_spotter(folder / "spotter").spot(item)


TIMES = np.arange(600) / 30


def test_an_expression_is_one_interval_from_onset_to_offset(tmp_path):
    flow = make_flow(TIMES, [(MOUTH, (3, -4), (5, 6.2)), (BROWS, (0, -4), (12, 12.9))])
    mouth, brows = spot(tmp_path, flow)
    assert abs(mouth.onset - 151) <= 6 and abs(mouth.offset - 187) <= 6
    assert abs(brows.onset - 361) <= 6 and abs(brows.offset - 388) <= 6
    assert (mouth.type, brows.type) == ("macro", "macro") and 0.5 < brows.score < 1


def test_rest_and_a_head_that_turns_slowly_are_no_expression(tmp_path):
    every = list(range(18))
    assert spot(tmp_path, make_flow(TIMES, [(every, (3, 1), (2, 16))])) == []


def test_a_blink_alone_is_none_and_is_one_without_the_bridge(tmp_path):
    flow = make_flow(TIMES, [], blinks=[(5, 5.35), (12, 12.4)])
    assert spot(tmp_path, flow) == []
    bare = spot(tmp_path, flow, FlowSpotterSettings(fit=False, bridge_blinks=False))
    assert len(bare) == 2


def test_no_interval_crosses_a_segment(tmp_path):
    flow = make_flow(TIMES, [(MOUTH, (0, 5), (9.5, 10.5))])
    flow.segments[300:] = 1
    for interval in spot(tmp_path, flow):
        assert interval.offset <= 300 or interval.onset > 300


@pytest.fixture(scope="module")
def motion_set(tmp_path_factory) -> list[SpottingVideo]:
    return write_motion_set(tmp_path_factory.mktemp("motion"), subjects=3)


def test_it_learns_from_some_people_and_spots_on_others_at_both_frame_rates(motion_set, tmp_path):
    train = [item for item in motion_set if item.video.subject != "s0"]
    train_spotter("flow", FlowSpotterSettings(), train, tmp_path / "spotter")
    spotter = load_spotter(tmp_path / "spotter")
    for item in motion_set:
        if item.video.subject == "s0":
            spotted = spotter.spot(item)
            matching = match_best_first(ends_of(spotted), ends_of(item.video.events))
            assert (len(matching.hits), matching.false_alarms) == (2, 0), item.video.id
            assert [interval.type for interval in spotted] == ["macro", "micro"]
