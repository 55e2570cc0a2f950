"""The spotter `fused`: regression, proposals of unseen subjects only, and what it joins."""

import json
from pathlib import Path

import numpy as np
import pytest
from region_series import write_motion_set
from scipy.special import expit

from megc.clips import Video
from megc.problems import DataError
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.candidates import Candidates
from megc.spotting.kind_settings import FusedSettings
from megc.spotting.proposal_fusion import (
    Joined,
    class_of,
    fit_regression,
    keep_likely,
    motion_curves,
    score_columns,
)
from megc.spotting.spotters import load_spotter, needs_of, read_spotter_config, train_spotter

ROOT = Path(__file__).parents[2]
VIDEO = Video("d/s/a", "d", "s", "a", 30.0, "", 300)
MEMBERS = ({"kind": "flow", "fit": False}, {"kind": "flow", "fit": False, "reference": 6.0})


def _joined(columns, hits):
    candidates = Candidates(VIDEO, np.zeros((len(hits), 2)), np.zeros((len(hits), 1)), np.array(hits, bool))
    rows = tuple(SpottedInterval(10.0 * i, 10.0 * i + 5) for i in range(len(hits)))
    return Joined(rows, np.array(columns, float), candidates)


def test_the_regression_makes_scores_the_frequency_of_hits():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, 4000)
    # scores that are too timid: the logit is half of the right one; the other column says nothing
    columns = np.stack([0.5 * np.log(true / (1 - true)), rng.normal(0, 10, 4000)], axis=1)
    joined = _joined(columns, rng.random(4000) < true)
    weights, offset = fit_regression([joined])
    assert np.abs(expit(columns @ weights + offset) - true).max() < 0.05
    assert weights[0] == pytest.approx(2, abs=0.15) and abs(weights[1]) < 0.01
    kept = keep_likely(joined, weights, offset, 0.2)
    assert [row.score for row in kept] == pytest.approx(true, abs=0.05)


def test_proposals_that_all_hit_leave_the_offset_alone():
    weights, offset = fit_regression([_joined([[1.0], [2.0]], [True, True])])
    assert weights.tolist() == [0] and expit(offset) == pytest.approx(0.999)


def test_columns_are_each_members_score_there_by_type():
    first = [SpottedInterval(1, 20, score=0.9), SpottedInterval(100, 119, score=0.5)]
    second = [SpottedInterval(1, 20, score=0.2), SpottedInterval(5, 24, score=0.8), SpottedInterval(200, 210)]
    columns = score_columns([first, second], [True, False, True, False, False])
    least, half = np.log(0.001 / 0.999), 0.0
    assert columns.shape == (5, 6)
    by_first, by_second = columns[:, 0], columns[:, 1]
    # IoU of [1, 20] and [5, 24] is 16 / 24
    assert by_first == pytest.approx([np.log(9), half, np.log(9), np.log(9), least])
    assert by_second == pytest.approx([np.log(4), least, np.log(0.25), np.log(4), -least])  # no score is 1
    assert np.array_equal(columns[:, 2:4], columns[:, :2] * columns[:, 5:])
    assert columns[:, 4].tolist() == [0, 0, 1, 1, 1] and columns[:, 5].tolist() == [1, 0, 1, 0, 0]
    assert score_columns([[], []], []).shape == (0, 6)


def test_type_and_emotion_are_those_of_the_proposals_that_agree_and_name_one():
    interval = SpottedInterval(100, 119, "macro")
    agreeing = SpottedInterval(101, 120, "macro", 0.3, "surprise")
    louder = SpottedInterval(98, 117, "micro", 0.9, "positive")
    elsewhere = SpottedInterval(110, 200, "micro", 1.0, "negative")
    silent = SpottedInterval(100, 119, "micro", 0.9)
    assert class_of(interval, [agreeing, louder, elsewhere]) == ("micro", "positive")
    assert class_of(interval, [agreeing, elsewhere, silent]) == ("macro", "surprise")
    assert class_of(interval, [elsewhere]) == ("macro", "negative")
    assert class_of(interval, [silent, SpottedInterval(500, 510, "micro", emotion="negative")]) == ("macro", "")


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fused")
    items = write_motion_set(folder, subjects=2, seconds=12.0)
    settings = FusedSettings(members=MEMBERS, folds=2)
    train_spotter("fused", settings, items, folder / "spotter")
    return items, settings, folder / "spotter"


def test_members_propose_to_people_whom_they_have_not_seen(fused):
    items, _, folder = fused
    people = {f"{item.video.dataset}/{item.video.subject}" for item in items}
    for number in range(2):
        inner = [
            set(json.loads((path / "spotter.json").read_text())["subjects"])
            for path in sorted(folder.glob(f"member{number}-flow-inner*"))
        ]
        assert len(inner) == 2 and all(len(subjects) == 2 for subjects in inner)
        assert set().union(*(people - subjects for subjects in inner)) == people
        whole = json.loads((folder / f"member{number}-flow/spotter.json").read_text())["subjects"]
        assert set(whole) == people


def test_what_it_spots_are_expressions_and_probabilities(fused):
    items, _, folder = fused
    spotter = load_spotter(folder)
    hits = 0
    for item in items:
        rows = spotter.spot(item)
        assert rows == sorted(rows) and all(0 <= row.score <= 1 for row in rows)
        hits += len(match_best_first(ends_of(rows), ends_of(item.video.events)).hits)
    assert hits >= 4  # of 8


def test_a_second_training_keeps_the_members_and_writes_the_same_bytes(fused):
    items, settings, folder = fused
    stamp = (folder / "member0-flow/spotter.json").stat().st_mtime_ns
    names = ("trees.safetensors", "fusion.json")
    before = [(folder / name).read_bytes() for name in names]
    train_spotter("fused", settings, items, folder)
    assert (folder / "member0-flow/spotter.json").stat().st_mtime_ns == stamp
    assert [(folder / name).read_bytes() for name in names] == before


def test_damaged_trees_and_a_single_subject_are_named(fused, tmp_path):
    items, settings, folder = fused
    with pytest.raises(DataError, match="one subject alone"):
        train_spotter("fused", settings, items[:1], tmp_path / "one")
    data = (folder / "trees.safetensors").read_bytes()
    (folder / "trees.safetensors").write_bytes(data[:100])
    try:
        with pytest.raises(DataError, match="trees cannot be read"):
            load_spotter(folder)
    finally:
        (folder / "trees.safetensors").write_bytes(data)


def test_curves_reach_over_all_frames_of_a_fast_video(fused):
    item = next(item for item in fused[0] if item.video.fps == 200)
    curves = motion_curves(item.region_flow(), item.video.length)
    assert {curve.values.shape for curve in curves.values()} == {(item.video.length,)}
    macro = item.video.events[0]
    inside = curves["mouth, left"].values[macro.onset : macro.offset].max()
    assert inside > 3 * np.median(curves["mouth, left"].values)


def test_its_needs_are_its_members_and_unknown_members_are_named():
    kind, settings = read_spotter_config(ROOT / "train/fused.yaml")
    assert kind == "fused" and needs_of(kind, settings) == ("region_flow",)
    assert needs_of("fused", FusedSettings(members=({"kind": "mean"},))) == ("region_flow", "flow_maps")
    assert needs_of(*read_spotter_config(ROOT / "train/region.yaml")) == ("region_flow",)  # its members are a number
    with pytest.raises(DataError, match="no spotter 'flw'"):
        needs_of("fused", FusedSettings(members=({"kind": "flw"},)))
