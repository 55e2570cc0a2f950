"""The network on region flow: its parts, its training, and its folder."""

import numpy as np
import pytest
import torch
from region_videos import region_videos

from megc.clips import Event
from megc.facs import ActionUnit
from megc.motion.regions import SPOTTING_REGIONS
from megc.problems import DataError
from megc.spotting.kind_settings import RegionSettings
from megc.spotting.region_network import EMOTIONS, IGNORED, UNITS, FrequencyGate, RegionNetwork
from megc.spotting.region_series import CHANNELS, RegionSeries
from megc.spotting.region_spotter import RegionCurves, decode_curves, network_curves
from megc.spotting.region_windows import RegionWindows, event_labels
from megc.spotting.spotters import load_spotter, train_spotter

QUICK = {"epochs": 2, "members": 2, "width": 8, "depth": 2, "window": 4.0, "batch": 4}


@pytest.fixture
def videos(tmp_path):
    """Four short videos of two subjects, each with a micro- and a macro-expression."""
    return region_videos(tmp_path)


def test_labels_of_an_event_that_lacks_some():
    labels = event_labels(Event(1, None, 9, "micro", "disgust", (ActionUnit(4, "left"), ActionUnit(99, None))))
    assert EMOTIONS[labels.emotion] == "negative" and labels.units.sum() == 1 and labels.units[UNITS.index(4)] == 1
    assert EMOTIONS[event_labels(Event(1, None, 9, "micro", "others")).emotion] == "others"
    bare = event_labels(Event(1, None, 9, "macro"))
    assert bare.emotion == IGNORED and (bare.units == -1).all()


def test_windows_have_the_targets_of_their_events_and_change_with_the_epoch():
    motion = np.zeros((300, len(SPOTTING_REGIONS), 2), np.float32)
    series = RegionSeries(motion, np.zeros(300, bool), np.arange(300) < 290, np.arange(1.0, 301))
    settings = RegionSettings(window=10.0, paste=0.0, noise=0.0, mirror=False)
    data = RegionWindows([series], [[Event(101, None, 110, "micro", "surprise", (ActionUnit(1, None),))]], settings)
    item = data[0]
    assert len(data) == 1 and item["channels"].shape == (CHANNELS, 300)
    assert np.flatnonzero(item["spot_targets"][0]).tolist() == list(range(100, 110))
    assert not item["spot_targets"][1].any()
    assert item["spot_weights"][0, [99, 100, 289, 290]].tolist() == [1, settings.micro_weight, 1, 0]
    emotions = item["emotion_targets"].numpy()
    assert set(emotions[100:110]) == {EMOTIONS.index("surprise")} and emotions[99] == EMOTIONS.index("neutral")
    assert item["unit_targets"][UNITS.index(1), 105] == 1 and (item["unit_targets"][:, 99] == -1).all()
    pasted = RegionWindows(
        [RegionSeries(np.random.default_rng(0).normal(size=motion.shape).astype(np.float32), *series_rest(series))],
        [data_events()],
        RegionSettings(window=10.0, paste=3.0),
    )
    before = pasted[0]
    assert torch.equal(before["channels"], pasted[0]["channels"]), "the same epoch, the same window"
    counts = set()
    for pasted.epoch in range(6):
        counts.add(int(pasted[0]["spot_targets"].sum()))
    assert len(counts) > 1 and min(counts) >= 10


def data_events():
    """One micro-expression."""
    return [Event(101, None, 110, "micro", "surprise", (ActionUnit(1, None),))]


def series_rest(series):
    """What a series has besides motion."""
    return series.blink, series.seen, series.numbers


def test_frequency_gate_begins_as_no_change_and_can_take_a_band_out():
    gate, time = FrequencyGate(1), torch.arange(300) / 30
    wave = torch.sin(2 * torch.pi * 10 * time) + torch.sin(2 * torch.pi * time)
    assert gate(wave[None, None])[0, 0].detach().numpy() == pytest.approx(wave.numpy(), abs=1e-4)
    with torch.no_grad():
        gate.level[:, 6:] = -20  # from 6 Hz up
    slow = gate(wave[None, None])[0, 0].detach().numpy()[60:240]
    assert slow == pytest.approx(torch.sin(2 * torch.pi * time)[60:240].numpy(), abs=0.1)


@pytest.mark.parametrize("temporal", ["convolution", "attention"])
@pytest.mark.parametrize("pyramid", [False, True])
def test_network_answers_for_each_frame_and_reads_a_long_video_in_pieces(temporal, pyramid, monkeypatch):
    torch.manual_seed(0)
    network = RegionNetwork(width=8, depth=1, temporal=temporal, pyramid=pyramid).eval()
    answers = network(torch.randn(2, CHANNELS, 77))
    assert answers["spots"].shape == (2, 2, 77) and answers["emotions"].shape == (2, 5, 77)
    assert answers["units"].shape == (2, 25, 77) and "loss" not in answers
    rng = np.random.default_rng(0)
    motion = rng.normal(size=(1000, len(SPOTTING_REGIONS), 2)).astype(np.float32)
    series = RegionSeries(motion, np.zeros(1000, bool), np.ones(1000, bool), np.arange(1000.0))
    whole = network_curves([network], series)
    monkeypatch.setattr("megc.spotting.region_spotter._CHUNK", 200)
    pieces = network_curves([network], series)
    assert whole.spots.shape == (2, 1000)
    assert pieces.spots == pytest.approx(whole.spots, abs=1e-5), "beyond the overlap nothing is seen"
    assert pieces.emotions == pytest.approx(whole.emotions, abs=1e-5)


def test_curves_become_intervals_with_type_and_emotion():
    count = 200
    frames = np.arange(count)
    spots = np.stack([np.exp(-((frames - 50) ** 2) / 20), 0.8 * np.exp(-((frames - 120) ** 2) / 200)])
    spots[1] += 0.3 * np.exp(-((frames - 50) ** 2) / 30)  # a weaker macro-expression under the micro-expression
    emotions = np.full((5, count), 0.1)
    emotions[1, :100], emotions[2, 100:], emotions[4] = 0.5, 0.5, 0.3
    emotions[4, 100:] = 0.9
    series = RegionSeries(
        np.zeros((count, 18, 2)), np.zeros(count, bool), np.ones(count, bool), 1 + 7.0 * np.arange(count)
    )
    curves = RegionCurves(spots, emotions, np.zeros((25, count)))
    settings = RegionSettings(smoothing=0.0)
    rows = decode_curves(curves, series, settings)
    assert [(row.type, row.emotion) for row in rows] == [("micro", "positive"), ("macro", "surprise")]
    assert rows[0].onset == pytest.approx(1 + 7 * 46.5, abs=4) and rows[0].offset == pytest.approx(1 + 7 * 53.5, abs=4)
    assert rows[0].score == pytest.approx(1.0)
    calm = decode_curves(curves, series, RegionSettings(smoothing=0.0, drop_neutral=True))
    assert [row.type for row in calm] == ["micro"], "the other one's emotion is neutral"
    grown = decode_curves(curves, series, RegionSettings(smoothing=0.0, decoding="prior_growth"))
    assert {row.type for row in grown} == {"micro", "macro"}


def test_folder_is_whole_and_gives_the_same_intervals_twice(videos, tmp_path):
    settings = RegionSettings(**QUICK)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        train_spotter("region", settings, videos, folder)
    names = ["decoding.json", "held_out.csv", "member0/model.safetensors", "member1/model.safetensors"]
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    assert not list(folders[0].rglob("checkpoint-*"))
    spotter = load_spotter(folders[0])
    rows = [spotter.spot(item) for item in videos]
    assert rows == [load_spotter(folders[1]).spot(item) for item in videos]
    weights = folders[0] / "member0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(DataError, match="member0"):
        load_spotter(folders[0])
