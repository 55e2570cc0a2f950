"""The recogniser of spotted intervals: what it reads, learns from and says."""

import numpy as np
import pytest
import torch
from region_videos import region_videos

from megc.clips import Event
from megc.facs import ActionUnit
from megc.motion.regions import SPOTTING_REGIONS
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting import recogniser
from megc.spotting.interval_samples import IntervalSamples, interval_targets
from megc.spotting.kind_settings import RecogniserSettings
from megc.spotting.recogniser import base_proposals, refine_intervals
from megc.spotting.recogniser_network import CHANNELS_OF_INTERVAL, TOKENS, RecogniserNetwork, interval_channels
from megc.spotting.region_network import EMOTIONS, IGNORED, UNITS
from megc.spotting.region_series import RegionSeries
from megc.spotting.region_windows import event_labels
from megc.spotting.spotters import check_settings, load_spotter, read_spotter_record, train_spotter

QUICK = {"epochs": 1, "samples": 8, "batch": 4, "members": 2, "width": 8, "depth": 1, "base": "flow"}


def series_of(count=120):
    """A series in which the motion of the first region is the position, along x."""
    motion = np.zeros((count, len(SPOTTING_REGIONS), 2), np.float32)
    motion[:, 0, 0] = np.arange(count)
    return RegionSeries(motion, np.zeros(count, bool), np.ones(count, bool), np.arange(count) + 1.0)


def test_interval_is_read_with_its_surroundings_against_its_onset():
    series = series_of()
    channels = interval_channels(series.motion, series.blink, series.seen, 40, 71)
    assert channels.shape == (CHANNELS_OF_INTERVAL, TOKENS)
    step = channels[0, 1] - channels[0, 0]
    assert step == pytest.approx(64 / 31, abs=1e-4), "half of its length more on both sides"
    assert abs(channels[0, 7]) < 2 * step and channels[-1, 0] == pytest.approx(np.log(32 / 30), abs=1e-5)
    outside = interval_channels(series.motion, series.blink, series.seen, -20, 5)
    assert np.isfinite(outside).all()


def test_targets_are_those_of_the_event_that_is_met_most():
    micro = event_labels(Event(1, None, 2, "micro", "anger", (ActionUnit(4, None),)))
    macro = event_labels(Event(1, None, 2, "macro"))
    spans = [(10, 19, micro), (50, 89, macro)]
    hit = interval_targets((10, 19), spans)
    assert EMOTIONS[hit["emotion_targets"]] == "negative" and hit["fit_targets"] == 1 and hit["type_targets"] == 0
    assert hit["unit_targets"][UNITS.index(4)] == 1
    unnamed = interval_targets((50, 74), spans)
    assert unnamed["emotion_targets"] == IGNORED and unnamed["type_targets"] == 1
    assert unnamed["fit_targets"] == pytest.approx((25 / 40 - 0.3) / 0.4, abs=1e-5)
    far = interval_targets((20, 40), spans)
    assert EMOTIONS[far["emotion_targets"]] == "neutral" and far["fit_targets"] == 0 and far["type_targets"] == IGNORED


def test_samples_depend_on_seed_epoch_and_index_alone_and_hold_false_alarms():
    events = [Event(31, None, 42, "micro", "surprise", (ActionUnit(1, None),))]
    proposals = [np.array([[30.0, 41.0], [80.0, 95.0]])]
    data = IntervalSamples([series_of()], [events], proposals, RecogniserSettings(samples=40))
    assert data.alarm_list == [(0, 1)], "the other one hits"
    first = [data[index] for index in range(40)]
    assert all(torch.equal(first[index]["channels"], data[index]["channels"]) for index in range(40))
    emotions = {EMOTIONS[int(item["emotion_targets"])] for item in first}
    assert emotions == {"neutral", "surprise"}
    data.epoch = 1
    assert not torch.equal(first[0]["channels"], data[0]["channels"])


def test_expression_of_unknown_emotion_only_has_to_be_any():
    torch.manual_seed(0)
    network = RecogniserNetwork(width=8, depth=1).eval()
    channels = torch.randn(2, CHANNELS_OF_INTERVAL, TOKENS)
    targets = {"type_targets": torch.full((2,), IGNORED), "unit_targets": -torch.ones(2, len(UNITS))}
    targets["fit_targets"] = torch.zeros(2)
    answers = network(channels, emotion_targets=torch.full((2,), IGNORED), **targets)
    neutral = answers["emotions"].softmax(1)[:, -1]
    fit = torch.nn.functional.binary_cross_entropy_with_logits(answers["fit"], targets["fit_targets"])
    assert answers["loss"].item() == pytest.approx((-(1 - neutral).log().mean() + fit).item(), abs=1e-5)


def test_best_variant_is_taken_and_the_better_of_two_stays(monkeypatch):
    """Answers by hand: an interval fits the better, the nearer its middle is to 60 and its length to 20."""

    def judge(networks, series, intervals):
        middles, lengths = intervals.mean(axis=1), intervals[:, 1] - intervals[:, 0] + 1
        count = len(intervals)
        fit = np.exp(-np.abs(middles - 60) / 20 - np.abs(lengths - 20) / 20)
        emotions = np.tile([0.1, 0.6, 0.1, 0.1, 0.1], (count, 1))
        types = np.stack([lengths <= 15, lengths > 15], axis=1).astype(float)
        return {"emotions": emotions, "types": types, "units": np.zeros((count, 25)), "fit": fit}

    monkeypatch.setattr(recogniser, "judge_intervals", judge)
    intervals = [SpottedInterval(49, 64, "micro", 0.25), SpottedInterval(55, 74, "micro", 1.0)]
    rows = refine_intervals([], series_of(), intervals, RecogniserSettings())
    assert len(rows) == 1 and rows[0].type == "macro" and rows[0].emotion == "positive"
    assert abs((rows[0].onset + rows[0].offset) / 2 - 61) <= 2 and rows[0].score <= 0.9
    still = refine_intervals([], series_of(), intervals[:1], RecogniserSettings(move=False))
    assert (still[0].onset, still[0].offset) == (49, 64)
    fit = np.exp(-4.5 / 20 - 4 / 20)
    assert still[0].score == pytest.approx(0.9 * fit * 0.5, abs=1e-6), "the root of the given score"
    assert refine_intervals([], series_of(), [], RecogniserSettings()) == []


def test_recogniser_trains_its_base_refines_and_spots(tmp_path):
    videos = region_videos(tmp_path)
    settings = check_settings("recogniser", QUICK, "quick.yaml")
    out = tmp_path / "recogniser"
    train_spotter("recogniser", settings, videos, out)
    assert read_spotter_record(out / "base").kind == "flow"
    assert read_spotter_record(out / "base").subjects == ["demo/s1", "demo/s2"]
    refiner = load_spotter(out)
    base = load_spotter(out / "base")
    rows = [refiner.refine(item, base.propose(item)) for item in videos]
    assert rows == [refiner.spot(item) for item in videos]
    assert all(row.score >= refiner.threshold for part in rows for row in part)
    assert {row.emotion for part in rows for row in part} <= set(EMOTIONS[:-1])
    again = tmp_path / "again"
    train_spotter("recogniser", settings, videos, again)
    for name in ("held_out.csv", "threshold.json", "member0/model.safetensors"):
        assert (out / name).read_bytes() == (again / name).read_bytes(), name


def test_base_proposals_are_those_of_members_that_have_not_seen_the_video(tmp_path):
    videos = region_videos(tmp_path)
    base = tmp_path / "base"
    small = {"epochs": 1, "members": 2, "width": 8, "depth": 1, "window": 4.0}
    train_spotter("region", check_settings("region", small, "quick.yaml"), videos, base)
    lines = (base / "held_out.csv").read_text().splitlines()[1:]
    proposals = base_proposals(videos, base)
    assert sum(map(len, proposals.values())) == len(lines)
