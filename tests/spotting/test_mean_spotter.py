"""MEAN: its size, its labels and both decodings by hand, and what it learns, spots and keeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flow_map_set import write_map_set

from megc.clips import Event, Video
from megc.problems import DataError
from megc.scoring.interval_matching import match_best_first
from megc.scoring.str_metrics import ends_of
from megc.spotting import mean_spotter
from megc.spotting.kind_settings import MeanSettings
from megc.spotting.mean_network import IGNORED, MeanNetwork
from megc.spotting.mean_rows import (
    MapVideo,
    balanced_weights,
    gather_rows,
    half_duration,
    label_emotions,
    label_spots,
    thin_rows,
)
from megc.spotting.mean_spotter import (
    MeanCurve,
    MeanDecoding,
    decode_absolute,
    decode_as_published,
    name_emotion,
)
from megc.spotting.spotters import SpottingVideo, load_spotter, train_spotter

QUICK = MeanSettings(epochs=6, recognition_epochs=30, negatives=2.0, nose_subtract=False, eye_mask=False)


@pytest.fixture(scope="module")
def map_set(tmp_path_factory) -> list[SpottingVideo]:
    return write_map_set(tmp_path_factory.mktemp("maps"))


def of_subjects(items: list[SpottingVideo], *names: str) -> list[SpottingVideo]:
    return [item for item in items if item.video.subject in names]


def open_maps(item: SpottingVideo, settings: MeanSettings = QUICK) -> MapVideo:
    return mean_spotter._open_maps(item, settings)


def test_it_has_the_parameters_of_its_layers():
    """Stems 5 × 5 of 1 channel: 3, 3, 8 filters; norm 2 × 14; head 5 × 5 × 14 × 8, then 392 to 1 or 3."""
    stems, norm, convolution = (25 * 1 + 1) * (3 + 3 + 8), 2 * 14, 25 * 14 * 8 + 8
    assert 7 * 7 * 8 == 392
    network = MeanNetwork(3, "spotting")
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in network.named_children()}
    assert counts["stems"] == stems == 364 and counts["norm"] == norm == 28
    assert counts["spotting"] == convolution + 393 == 3201
    assert counts["recognition"] == convolution + 3 * 393 == 3987
    trained = {
        stage: sum(p.numel() for p in MeanNetwork(3, stage).parameters() if p.requires_grad)
        for stage in ("spotting", "recognition", "joint")
    }
    assert trained == {"spotting": 3593, "recognition": 3987, "joint": 3593 + 3987}


def test_its_stems_are_three_convolutions_of_a_channel_each():
    network = MeanNetwork(3, "spotting").eval()
    maps = torch.randn(2, 3, 42, 42)
    parts = torch.cat([torch.relu(stem(maps[:, [index]])) for index, stem in enumerate(network.stems)], dim=1)
    expected = torch.nn.functional.max_pool2d(network.norm(parts), 3)
    assert torch.allclose(network._shared(maps), expected, atol=1e-5) and expected.shape == (2, 14, 14, 14)


def test_losses_of_the_three_stages_by_hand():
    maps, spots = torch.randn(4, 3, 42, 42), torch.tensor([0.0, 1.0, 0.0, 1.0])
    emotions = torch.tensor([0, 1, IGNORED, 2])
    networks = {stage: MeanNetwork(3, stage, [1.0, 2.0, 0.0]).eval() for stage in ("spotting", "recognition", "joint")}
    for network in networks.values():
        network.load_state_dict(networks["spotting"].state_dict())
    answers = {stage: network(maps, spots, emotions) for stage, network in networks.items()}
    network = networks["spotting"]
    penalty = 1e-3 * sum(stem.weight.square().sum().item() for stem in network.stems)
    penalty += 0.1 * network.spotting[0].weight.square().sum().item()
    error = (answers["spotting"]["spots"] - spots).square().mean().item()
    assert answers["spotting"]["loss"].item() == pytest.approx(error + penalty, rel=1e-5)
    chances = answers["joint"]["emotions"].log_softmax(dim=1)
    entropy = -(chances[0, 0] + 2 * chances[1, 1]).item() / 3
    assert answers["recognition"]["loss"].item() == pytest.approx(entropy, rel=1e-5)
    assert answers["joint"]["loss"].item() == pytest.approx(0.9 * error + 0.1 * entropy + penalty, rel=1e-5)
    nobody = networks["recognition"](maps, spots, torch.full((4,), IGNORED))
    assert nobody["loss"].item() == 0


def test_recognition_leaves_the_stems_as_spotting_has_learnt_them():
    network = MeanNetwork(3, "recognition").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 0.1)
    network(torch.randn(8, 3, 42, 42), torch.zeros(8), torch.arange(8) % 3)["loss"].backward()
    optimizer.step()
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"recognition"}


def test_labels_by_hand(map_set):
    item = open_maps(map_set[0])
    video = replace(
        item.video,
        events=(
            Event(31, 36, 40, "micro", "happiness"),
            Event(61, None, 70, "micro", "others"),
            Event(100, 110, 159, "macro"),
        ),
    )
    item = replace(item, video=video)
    half = half_duration([video], "micro")
    assert half == pytest.approx(10 / 30 / 2) and half_duration([video], "macro") == 1.0
    spots = label_spots(item, "micro", half)
    # a window of 5 frames: from 27 to 31 on it meets frame 31, up to 40; and of the second event
    assert (np.flatnonzero(spots) + 1).tolist() == [*range(27, 41), *range(57, 71)]
    emotions = label_emotions(item, "micro", ("negative", "positive"))
    assert (np.flatnonzero(emotions == 1) + 1).tolist() == list(range(31, 36)) and set(emotions) == {1, IGNORED}
    joint = label_emotions(item, "micro", ("negative", "positive"), joint=True)
    assert (np.flatnonzero(joint == 1) + 1).tolist() == [34, 35]
    assert (np.flatnonzero(joint == IGNORED) + 1).tolist() == [
        31,
        32,
        33,
        *range(36, 41),
        *range(61, 71),
        *range(100, 160),
    ]
    assert balanced_weights(np.array([0, 0, 0, 1, IGNORED, 2, 2]), 2) == pytest.approx([4 / 3 / 2, 4 / 1 / 2, 0])
    with pytest.raises(ValueError, match="no micro-expression"):
        half_duration([replace(video, events=())], "micro")


def test_negatives_are_drawn_at_their_ratio_by_the_seed(map_set):
    items = [open_maps(item) for item in map_set[:2]]
    spots = [label_spots(item, "micro", 0.2) for item in items]
    data = gather_rows(items, spots, [np.full(len(labels), IGNORED) for labels in spots])
    assert len(data) == sum(len(labels) - 3 for labels in spots)  # the last have no map
    positives = int(data.spots.sum())
    thin = thin_rows(data, 0, 5.0, 0)
    assert (thin.spots.sum(), len(thin)) == (positives, 6 * positives)
    few = thin_rows(data, 4, 5.0, 0)
    assert (few.spots.sum(), len(few)) == (4, 24)
    again, other = thin_rows(data, 0, 5.0, 0), thin_rows(data, 0, 5.0, 1)
    assert np.array_equal(thin.rows, again.rows) and not np.array_equal(thin.rows, other.rows)
    sample = thin[0]
    assert sample["maps"].shape == (3, 42, 42) and float(sample["spots"]) == thin.spots[0]


def curve_of(scores: np.ndarray, step: float = 1 / 30, emotions: np.ndarray | None = None) -> MeanCurve:
    return MeanCurve(
        scores, np.zeros((len(scores), 2)) if emotions is None else emotions, np.arange(len(scores)) + 1.0, step
    )


def test_published_decoding_by_hand():
    scores = np.zeros(100)
    scores[40:50] = 1.0
    scores[80:90] = 0.3
    decoded = decode_as_published(curve_of(scores), 5 / 30, 0.55)
    # k_p is 5: a box of 10 that only covers all ten ones at one position; threshold .13 + .55 (1 - .13)
    assert decoded.ends.tolist() == [[40, 50]] and decoded.peaks.tolist() == [45]
    assert decoded.scores.tolist() == pytest.approx([1.0])
    low = decode_as_published(curve_of(scores), 5 / 30, 0.1)
    assert low.ends.tolist() == [[40, 50], [80, 90]]


def test_our_decoding_takes_an_absolute_threshold_and_gives_back_the_look_ahead():
    onset, offset, half = 50, 80, 15
    scores = np.full(200, 0.05)
    scores[onset - half : offset + 1] = 1.0
    scores[150:160] = 0.4
    settings = MeanDecoding(smoothing=0.2, share=0.5, threshold=0.5)
    decoded = decode_absolute(curve_of(scores), half / 30, settings)
    assert len(decoded.ends) == 1 and np.abs(decoded.ends[0] - [onset, offset]).max() <= 2
    assert len(decode_absolute(curve_of(scores), half / 30, settings.model_copy(update={"threshold": 0.2})).ends) == 2
    assert len(decode_absolute(curve_of(scores * 0.4), half / 30, settings).ends) == 0
    assert len(decode_as_published(curve_of(scores * 0.4), half / 30, 0.55).ends) == 1  # whatever the video's scale


def test_the_emotion_is_that_of_most_maps_or_of_the_highest_mean_probability():
    logits = np.array([[0, 0.1, 9], [0, 0.2, 9], [5, 0, 9.0]])  # the third class, no expression, is none that is named
    assert name_emotion(logits, ["negative", "positive"], vote=True) == "positive"
    assert name_emotion(logits, ["negative", "positive"], vote=False) == "negative"
    assert name_emotion(logits, [], vote=True) == ""


def test_it_learns_from_some_people_and_spots_on_others_at_both_frame_rates(map_set, tmp_path):
    train_spotter("mean", QUICK, map_set, tmp_path / "spotter")
    spotter = load_spotter(tmp_path / "spotter")
    hits = events = predicted = right = 0
    for item in write_map_set(tmp_path / "unseen", subjects=6)[3:6]:
        spotted = spotter.spot(item)
        matching = match_best_first(ends_of(spotted), ends_of(item.video.events))
        hits, events, predicted = hits + len(matching.hits), events + 2, predicted + len(spotted)
        right += sum(spotted[p].emotion == item.video.events[e].emotion for p, e in matching.hits)
        assert {interval.type for interval in spotted} <= {"micro", "macro"}
    assert hits >= 5 and predicted <= 8 and right >= 4, (hits, predicted, right)


@pytest.mark.parametrize(
    "change",
    [
        {"joint": True},
        {"scale": "pair", "decoding": "published", "expressions": ("micro",), "epochs": 4},
        {"scale": "video", "nose_subtract": True, "eye_mask": True},
    ],
    ids=["joint", "published", "softnet"],
)
def test_its_variants_train_and_spot(change, map_set, tmp_path):
    settings = replace(QUICK, **{"epochs": 1, "recognition_epochs": 1} | change)
    train_spotter("mean", settings, of_subjects(map_set, "s0", "s1"), tmp_path / "spotter")
    spotted = load_spotter(tmp_path / "spotter").spot(map_set[2])
    kinds = {interval.type for interval in spotted}
    assert kinds <= set(settings.expressions)
    if settings.decoding == "published":
        assert spotted and all(interval.offset > interval.onset for interval in spotted)
    folders = {path.parent.name for path in (tmp_path / "spotter" / "micro").rglob("megc.json")}
    assert folders == ({"joint"} if settings.joint else {"spotting", "recognition"})


def test_the_same_seed_gives_the_same_bytes_and_a_killed_run_goes_on(map_set, tmp_path, monkeypatch):
    settings = replace(QUICK, epochs=2, recognition_epochs=2, expressions=("micro",))
    items = of_subjects(map_set, "s0", "s1")
    train_spotter("mean", settings, items, tmp_path / "whole")
    torch.manual_seed(99)  # what was drawn before does not count

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mean_spotter, "learn_decoding", stop)
        train_spotter("mean", settings, items, tmp_path / "killed")
    assert not (tmp_path / "killed" / "spotter.json").exists()
    train_spotter("mean", settings, items, tmp_path / "killed")
    for name in ("mean.json", "micro/spotting/model.safetensors", "micro/recognition/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_videos_without_events_are_kept_and_none_at_all_is_an_error(map_set, tmp_path):
    empty = [replace(item, video=replace(item.video, events=())) for item in map_set]
    with pytest.raises(DataError, match="no micro or macro-expression"):
        train_spotter("mean", QUICK, empty, tmp_path / "none")
    settings = replace(QUICK, epochs=1, recognition_epochs=1, expressions=("micro",))
    train_spotter("mean", settings, [map_set[0], *empty[1:3]], tmp_path / "few")
    part = load_spotter(tmp_path / "few").parts["micro"]
    assert part.emotions == [] and part.stage == "spotting", "one emotion is nothing to tell apart"


def test_maps_that_are_missing_are_named(tmp_path: Path):
    video = Video("d/s/a", "d", "s", "a", 30.0, "", 100, (Event(1, 2, 3, "micro"),))
    with pytest.raises(DataError, match=r"extract_flow_maps\.py"):
        train_spotter("mean", QUICK, [SpottingVideo(video, tmp_path / "v.jsonl", tmp_path)], tmp_path / "out")


def test_events_beyond_the_maps_are_an_error(map_set, tmp_path):
    late = Event(9000, None, 9010, "micro", "happiness")
    items = [replace(item, video=replace(item.video, events=(late,))) for item in map_set[:1]]
    with pytest.raises(DataError, match="none of the flow maps lies in a micro-expression"):
        train_spotter("mean", QUICK, items, tmp_path / "out")
