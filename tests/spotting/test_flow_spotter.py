"""The optical-flow spotter on series with known motion: what it spots, leaves alone, and learns from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from region_series import BROWS, MOUTH, make_flow, write_motion_set, write_series
from safetensors.numpy import save
from sklearn.ensemble import ExtraTreesRegressor

from megc.clips import Video
from megc.problems import DataError
from megc.scoring.interval_matching import interval_ious, match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting import flow_candidates
from megc.spotting.flow_candidates import find_candidates, fit_whitening
from megc.spotting.kind_settings import FlowSpotterSettings
from megc.spotting.spotters import SpottingVideo, load_spotter, train_spotter
from megc.spotting.tree_files import fit_trees, tree_arrays, trees_of_arrays


def spot(folder: Path, flow, settings: FlowSpotterSettings | None = None, fps: float = 30.0) -> list[SpottedInterval]:
    """Intervals of a series by the published settings."""
    video = Video("demo/s/a", "demo", "s", "a", fps, "", len(flow.times))
    write_series(folder, video, flow)
    item = SpottingVideo(video, folder / "videos.jsonl", folder)
    train_spotter("flow", settings or FlowSpotterSettings(method="thresholds", fit=False), [item], folder / "spotter")
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
    bare = spot(tmp_path, flow, FlowSpotterSettings(method="thresholds", fit=False, bridge_blinks=False))
    assert len(bare) == 2


def test_no_interval_crosses_a_segment(tmp_path):
    flow = make_flow(TIMES, [(MOUTH, (0, 5), (9.5, 10.5))])
    flow.segments[300:] = 1
    for interval in spot(tmp_path, flow):
        assert interval.offset <= 300 or interval.onset > 300


@pytest.fixture(scope="module")
def motion_set(tmp_path_factory) -> list[SpottingVideo]:
    return write_motion_set(tmp_path_factory.mktemp("motion"), subjects=4)


LEARNT = {"thresholds": FlowSpotterSettings(method="thresholds"), "trees": FlowSpotterSettings(trees=10)}


@pytest.mark.parametrize("method", LEARNT)
def test_it_learns_from_some_people_and_spots_on_others_at_both_frame_rates(motion_set, tmp_path, method):
    train = [item for item in motion_set if item.video.subject != "s0"]
    train_spotter("flow", LEARNT[method], train, tmp_path / "spotter")
    spotter = load_spotter(tmp_path / "spotter")
    for item in motion_set:
        if item.video.subject == "s0":
            spotted = spotter.spot(item)
            matching = match_best_first(ends_of(spotted), ends_of(item.video.events))
            assert (len(matching.hits), matching.false_alarms) == (2, 0), (item.video.id, spotted)
            assert all(0 < interval.score < 1 for interval in spotted)


def test_nothing_of_a_folder_depends_on_videos_that_it_did_not_see(motion_set, tmp_path):
    train, other = motion_set[:3], motion_set[3]
    train_spotter("flow", LEARNT["trees"], train, tmp_path / "first")
    load_spotter(tmp_path / "first").spot(other)
    train_spotter("flow", LEARNT["trees"], train, tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_blocks_of_a_long_motion_join_without_a_seam(monkeypatch):
    times = np.arange(1800) / 30
    flow = make_flow(times, [(MOUTH, (1, -4), (second, second + 0.9)) for second in range(5, 55, 7)])
    motion, blink = flow.flow, flow.blink
    whitening = fit_whitening([motion])
    whole, _ = find_candidates(motion, blink, whitening)
    monkeypatch.setattr(flow_candidates, "_BLOCK", 400)
    parts, features = find_candidates(motion, blink, whitening)
    assert features.shape == (len(parts), flow_candidates._count_features())
    same = {tuple(row) for row in whole} & {tuple(row) for row in parts}
    assert len(same) > 0.98 * max(len(whole), len(parts)), "but for peaks that are equally far from a block's end"
    for second in range(5, 55, 7):
        event = np.array([[second, second + 0.9]]) * 30
        assert interval_ious(parts, event).max() > 0.7


def test_stored_trees_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    targets = (rows[:, 0] > 0) * rows[:, 1]
    weights = rng.uniform(1, 3, 300)
    trees = fit_trees(rows, targets, weights, count=7, leaf=3, seed=1)
    model = ExtraTreesRegressor(7, min_samples_leaf=3, max_features=0.3, random_state=1).fit(rows, targets, weights)
    new = rng.normal(size=(100, 5))
    assert trees.predict(new) == pytest.approx(model.predict(new))
    stored = trees_of_arrays(tree_arrays(trees))
    assert (stored.predict(new) == trees.predict(new)).all()
    arrays = tree_arrays(trees)
    arrays["trees.lefts"] = np.zeros_like(arrays["trees.lefts"])
    with pytest.raises(ValueError, match="circles"):
        trees_of_arrays(arrays)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_scorer_is_named(motion_set, tmp_path, damage):
    train_spotter("flow", FlowSpotterSettings(trees=2), motion_set[:2], tmp_path)
    path = tmp_path / "flow_scorer.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "cut" else save({"numbers": np.zeros(5)}))
    with pytest.raises(DataError, match=r"flow_scorer\.safetensors.*--overwrite"):
        load_spotter(tmp_path)


def test_training_videos_without_events_spot_nothing(motion_set, tmp_path):
    bare = [replace(item, video=replace(item.video, events=())) for item in motion_set[:2]]
    train_spotter("flow", FlowSpotterSettings(trees=2), bare, tmp_path)
    assert load_spotter(tmp_path).spot(motion_set[2]) == []
