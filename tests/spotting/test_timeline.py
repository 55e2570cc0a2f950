"""The timeline: curves, apexes and hits that it draws, and that the picture shows them."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from region_series import BROWS, MOUTH, make_flow, write_series

from megc.clips import Event, Video
from megc.problems import DataError
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.spotters import SpottingVideo
from megc.spotting.timeline import (
    TYPE_COLOURS,
    WIDTH,
    draw_timeline,
    find_apex,
    group_curves,
    region_excursions,
    time_position,
    timeline_content,
)

FLOW = make_flow(np.arange(600) / 30, [(BROWS, (0, -3), (5, 5.4)), (MOUTH, (4, -3), (12, 14))], noise=0.02)
EVENTS = (Event(151, 157, 163, "micro", "surprise"), Event(361, None, 421, "macro"))
MICRO, MACRO = SpottedInterval(150, 164, "micro", 0.9, "surprise"), SpottedInterval(362, 420, "macro", 0.8)
FALSE_ALARM = SpottedInterval(241, 253, "micro", 0.3)


def item_of(folder: Path, flow=FLOW, events=EVENTS, fps: float = 30.0) -> SpottingVideo:
    video = Video("demo/s/a", "demo", "s", "a", fps, "", len(flow.times), events)
    write_series(folder, video, flow)
    return SpottingVideo(video, folder / "videos.jsonl", folder)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def count_of(picture: np.ndarray, colour: str) -> int:
    """Pixels of exactly one colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == rgb).all(axis=2).sum())


def test_excursions_are_the_motion_away_from_rest_and_leave_a_slow_drift_out():
    drift = FLOW.flow + np.linspace(0, 6, 600, dtype=np.float32)[:, None, None]
    for flow in (FLOW, replace(FLOW, flow=drift)):
        curves = group_curves(region_excursions(flow))
        brows, mouth = curves["brows"]["right"], curves["mouth"]["left"]
        assert brows.argmax() == pytest.approx(156, abs=2) and brows.max() == pytest.approx(2.8, abs=0.4)
        assert mouth.argmax() == pytest.approx(390, abs=8) and mouth.max() == pytest.approx(5, abs=0.8)
        assert np.median(curves["nose"]["right"]) < 0.15


def test_excursions_are_nan_without_a_face_and_do_not_cross_segments():
    segments = FLOW.segments.copy()
    segments[100:200], segments[200:] = -1, 1
    jump = FLOW.flow.copy()
    jump[200:] += 50
    lengths = region_excursions(replace(FLOW, flow=jump, segments=segments))
    assert np.isnan(lengths[100:200]).all() and np.nanmax(lengths[200:340]) < 0.5


def test_the_apex_is_where_a_region_is_farthest_from_rest():
    excursions = region_excursions(FLOW)
    assert find_apex(FLOW, excursions, MICRO) == pytest.approx(157, abs=2)
    assert find_apex(FLOW, excursions, SpottedInterval(900, 910)) == 905  # nothing was measured there


def test_hits_misses_and_false_alarms_are_counted_and_filled(tmp_path):
    item = item_of(tmp_path)
    content = timeline_content(item, [MACRO, FALSE_ALARM, MICRO])
    assert [interval.onset for interval in content.intervals] == [150, 241, 362]
    assert sorted(content.hits) == [(0, 0), (2, 1)]
    hit = pixels(draw_timeline(timeline_content(item, [MICRO])))
    missed = pixels(draw_timeline(timeline_content(item, [FALSE_ALARM])))
    assert hit.shape[1] == missed.shape[1] == WIDTH
    # two empty bars instead of two filled ones
    assert count_of(hit, TYPE_COLOURS["micro"]) > 2 * count_of(missed, TYPE_COLOURS["micro"])


def test_a_longer_video_has_more_rows_and_nothing_spotted_is_a_picture_too(tmp_path):
    short = pixels(draw_timeline(timeline_content(item_of(tmp_path / "short", events=()), [])))
    flow = make_flow(np.arange(1800) / 30, [])
    long = pixels(draw_timeline(timeline_content(item_of(tmp_path / "long", flow, ()), [])))
    assert long.shape[0] > 2 * short.shape[0]
    blinking = replace(FLOW, blink=np.arange(600) // 30 == 8)
    with_blink = pixels(draw_timeline(timeline_content(item_of(tmp_path / "blink", blinking, ()), [])))
    assert count_of(with_blink, "#c9c9c9") > count_of(short, "#c9c9c9") + 1000


@pytest.mark.parametrize(("frames", "number"), [(600, 40), (1800, 1000)])  # one row, and the second of three
def test_the_place_of_a_time_is_where_the_picture_draws_it(tmp_path, frames, number):
    item = item_of(tmp_path, make_flow(np.arange(frames) / 30, []), events=())
    content = timeline_content(item, [SpottedInterval(number, number, "micro", 1.0)])
    picture = pixels(draw_timeline(content))
    left, top, share = time_position(content, content.second(number) + 0.5 / 30)
    first, last = round(top * len(picture)), round((top + share) * len(picture))
    colour = [int(TYPE_COLOURS["micro"][i : i + 2], 16) for i in (1, 3, 5)]
    columns = np.flatnonzero((picture[first:last] == colour).all(axis=2).any(axis=0))  # of the interval's bar
    assert abs(columns.mean() - left * WIDTH) < 2 and len(columns) < 20
    assert 0 < top < top + share < 1


def test_a_video_without_region_flow_is_an_error_in_words(tmp_path):
    video = Video("demo/s/a", "demo", "s", "a", 30.0)
    with pytest.raises(DataError, match="extract_region_flow"):
        timeline_content(SpottingVideo(video, tmp_path / "videos.jsonl", tmp_path), [])
