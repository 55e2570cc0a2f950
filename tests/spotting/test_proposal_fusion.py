"""The spotter `fused`: calibration, proposals of unseen subjects only, and what it joins."""

import json
from pathlib import Path

import numpy as np
import pytest
from region_series import write_motion_set

from megc.clips import Video
from megc.problems import DataError
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.spotting.candidates import Candidates
from megc.spotting.kind_settings import FusedSettings
from megc.spotting.proposal_fusion import (
    calibrate,
    emotion_of,
    motion_curves,
    probabilities,
)
from megc.spotting.spotters import load_spotter, needs_of, read_spotter_config, train_spotter

ROOT = Path(__file__).parents[2]
VIDEO = Video("d/s/a", "d", "s", "a", 30.0, "", 300)
MEMBERS = ({"kind": "flow", "fit": False}, {"kind": "flow", "fit": False, "reference": 6.0})


def test_calibration_makes_a_share_the_frequency_of_hits():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, 4000)
    hits = rng.random(4000) < true
    # shares that are too timid: the logit is half of the right one
    shares = 1 / (1 + np.exp(-0.5 * np.log(true / (1 - true))))
    candidates = {"v": Candidates(VIDEO, np.zeros((4000, 2)), np.zeros((4000, 1)), hits)}
    calibrated = probabilities(shares, *calibrate(candidates, {"v": shares}))
    assert np.abs(calibrated - true).max() < 0.04


def test_the_emotion_is_that_of_the_proposals_that_agree():
    interval = SpottedInterval(100, 119)
    agreeing = SpottedInterval(101, 120, "micro", 0.3, "surprise")
    louder = SpottedInterval(98, 117, "micro", 0.9, "positive")
    elsewhere = SpottedInterval(110, 200, "macro", 1.0, "negative")
    silent = SpottedInterval(100, 119, "micro", 0.9)
    assert emotion_of(interval, [agreeing, louder, elsewhere]) == "positive"
    assert emotion_of(interval, [agreeing, elsewhere, silent]) == "surprise"
    assert emotion_of(interval, [elsewhere]) == "negative"
    assert emotion_of(interval, [silent, SpottedInterval(500, 510, emotion="negative")]) == ""


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
