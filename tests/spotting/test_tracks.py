"""The tracks: leave-one-subject-out without a leak, baselines by hand, the command on small data in the real form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from programs import run_program
from spotting_data import write_spotting_data

from megc.clips import Event, Video
from megc.problems import DataError, Problems
from megc.scoring.interval_files import VideoIndex, read_run, read_truth
from megc.scoring.str_evaluation import evaluate_runs
from megc.scoring.str_metrics import PROFILES, SpottedInterval, count_videos
from megc.spotting.baseline_decoders import (
    decode_peaks,
    megc2020_intervals,
    threshold_left_out,
)
from megc.spotting.candidates import MotionCurve, hits_of, peak_candidates, proposal_candidates
from megc.spotting.interval_scorer import best_threshold, keep_best, person_of, spot_left_out
from megc.spotting.tracks import read_curves, read_levels

REAL = Path(__file__).parents[3] / "shared" / "real" / "spotting"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks") / "spotting"
    write_spotting_data(folder)
    return folder


@pytest.fixture(scope="module")
def videos(data):
    return [v for v in read_truth(data / "events_megc2020.csv", data / "videos.csv") if v.dataset == "casme_sq"]


@pytest.fixture(scope="module")
def curves(data, videos):
    return read_curves(data, read_levels(data, videos))


def peaks_of(videos, curves):
    return [peak_candidates(video, curves[video.id], 0.45, 0.35, 0.65) for video in videos]


def test_curves_are_pixels_again(videos, curves):
    for video in videos:
        values = curves[video.id]["macro"].values
        assert len(values) == video.length and 3 < values.max() < 12
        apex = video.events[0].apex
        assert values[apex - 1] > 2 > np.median(values), "frame numbers begin at 1"


def test_candidates_lie_on_the_events(videos, curves):
    for video, candidates in zip(videos, peaks_of(videos, curves), strict=True):
        assert candidates.intervals.shape == (len(candidates.features), 2) and np.isfinite(candidates.features).all()
        assert candidates.hits.sum() >= len(video.events) - 1
        assert (candidates.hits == hits_of(video, candidates.intervals)).all()
        assert candidates.intervals.min() >= 1 and candidates.intervals.max() <= video.length


def test_video_without_motion_has_no_candidate():
    video = Video(
        "casme_sq/s1/s1_1", "casme_sq", "s1", "s1_1", 30.0, length=300, events=(Event(9, None, 50, "macro"),)
    )
    still = {scale: MotionCurve(np.zeros(300), 12) for scale in ("micro", "macro")}
    candidates = peak_candidates(video, still, 0.45, 0.35, 0.65)
    assert candidates.intervals.shape == (0, 2) and len(candidates.hits) == 0
    nothing = {"0": (np.empty((0, 2)), np.empty(0))}
    assert proposal_candidates(video, still, nothing).features.shape[0] == 0


def test_proposals_know_who_agrees_with_them(videos, curves):
    video, ends = videos[0], np.array([[100.0, 140.0], [300.0, 340.0]])
    proposals = {"0": (ends, np.ones(2)), "1": (np.array([[100.0, 140.0]]), np.array([0.5]))}
    candidates = proposal_candidates(video, curves[video.id], proposals)
    best_iou_of_other = candidates.features[:, 10]  # score, length, six columns of spotter 0, two of spotter 1
    assert best_iou_of_other.tolist() == [1, 0, 0], "it is no witness of its own"
    assert candidates.features[:, 4].tolist() == [0, 0, 1], "the first spotter's for the second"


def test_left_out_subject_is_not_looked_at(videos, curves):
    """Other events of a subject change nothing in its own intervals, and something in those of others."""
    items = peaks_of(videos, curves)
    subject = person_of(videos[0])
    changed = [
        replace(c, hits=~c.hits, video=replace(c.video, events=())) if person_of(c.video) == subject else c
        for c in items
    ]
    before, after = spot_left_out(items), spot_left_out(changed)
    mine = [video.id for video in videos if person_of(video) == subject]
    assert mine and all(before[video] == after[video] for video in mine)
    assert any(before[video.id] != after[video.id] for video in videos if video.id not in mine)
    for video in videos:
        truth = count_videos([video], before, PROFILES["strict"]).table[0]
        assert truth[2] >= 3, "most of five events are found"


def test_threshold_is_that_of_the_best_f1(videos):
    video = replace(videos[0], events=tuple(Event(100 * k, None, 100 * k + 50, "macro") for k in range(1, 6)))
    intervals = np.array([[100.0 * k, 100.0 * k + 50] for k in range(1, 11)])
    scores = np.linspace(1, 0.1, 10)
    threshold = best_threshold([video], [(intervals, scores)])
    assert 0.5 <= threshold <= 0.65, "the first five are right"
    assert best_threshold([video], [(np.empty((0, 2)), np.empty(0))]) == np.inf


def test_overlapping_candidates_go():
    video = Video("casme_sq/s1/s1_1", "casme_sq", "s1", "s1_1", 30.0)
    items = peak_candidates(video, {scale: MotionCurve(np.zeros(99), 9) for scale in ("micro", "macro")}, 1, 1, 1)
    items = replace(items, intervals=np.array([[0, 9], [0, 10], [20, 29]], float))
    intervals, scores = keep_best(items, np.array([0.5, 0.9, 0.2]), 0.2, threshold=0.1)
    assert intervals.tolist() == [[0, 10], [20, 29]] and scores.tolist() == [0.9, 0.2]


def test_official_baseline_by_hand():
    video = Video("casme_sq/s1/s1_1", "casme_sq", "s1", "s1_1", 30.0)
    micro = np.zeros(60, np.uint8)
    micro[5:12], micro[20:26], micro[30:47] = 1, 9, 3  # 7, 6 and 17 frames
    macro = np.zeros(60, np.uint8)
    macro[3:20], macro[40:60] = 2, 5  # 17 frames; open at the end
    rows = megc2020_intervals(video, {"micro": micro, "macro": macro})
    assert [row[:3] for row in rows] == [(6, 12, "micro"), (4, 20, "macro")]


def test_peak_decoder_spots_bumps_of_other_subjects_size(videos, curves):
    spotted = decode_peaks(videos, curves, relative=False)
    counts = count_videos(videos, spotted, PROFILES["strict"]).table.sum(axis=0)
    assert counts[2] >= 0.8 * counts[0] and counts[1] <= 1.3 * counts[0]
    assert {video.id for video in videos} == set(spotted) == set(decode_peaks(videos, curves, relative=True))


def test_threshold_of_a_scored_spotter_is_that_of_the_others(videos):
    right = {
        v.id: [SpottedInterval(e.onset, e.offset, "macro", 0.9) for e in v.events]
        + [SpottedInterval(e.offset + 5, e.offset + 30, "macro", 0.3) for e in v.events]
        for v in videos
    }
    kept = threshold_left_out(videos, right)
    assert [len(kept[v.id]) for v in videos] == [len(v.events) for v in videos]


def test_command_runs_both_tracks(data, tmp_path, monkeypatch, capsys):
    words = ["--data", data, "--out", tmp_path, "--draws", 3, "--resamples", 50, "--datasets", "samm_lv"]
    assert run_program(monkeypatch, "ablation/spotting_tracks.py", *words) == 0
    table = pd.read_csv(tmp_path / "tracks.csv", comment="#")
    pooled = table[(table.type == "all") & (table.profile == "strict")].set_index(["track", "run"]).f1
    assert set(pooled.index.get_level_values("track")) == {"signal", "proposals"}
    assert pooled["signal", "peaks, learnt"] > 0.6 > pooled["signal", "random, mean of 3 draws"]
    assert "standard deviation" in table[table.run == "random, mean of 3 draws"].note.iloc[0]
    assert (tmp_path / "tracks.md").read_text() in capsys.readouterr().out
    written = read_run(
        tmp_path / "samm_lv_signal_peaks-learnt.csv",
        VideoIndex(read_truth(data / "events_megc2020.csv", data / "videos.csv")),
        Problems(),
    )
    assert (
        sum(map(len, written.predictions.values()))
        == table[(table.run == "peaks, learnt") & (table.type == "all")].predicted.item()
    )


def test_missing_data_are_named(tmp_path, data):
    with pytest.raises(DataError, match=r"mdmd_levels\.npz"):
        read_levels(tmp_path, [])
    with pytest.raises(DataError, match="casme_sq/micro/x"):
        read_levels(data, [Video("casme_sq/s1/x", "casme_sq", "s1", "x", 30.0)])


@pytest.mark.skipif(not REAL.is_dir(), reason="real spotting data are not at hand (../shared/real/spotting)")
def test_official_table_of_megc2020():
    """Intervals, events found and F1 of the official baseline's table, to the count."""
    truth = read_truth(REAL / "events_megc2020.csv", REAL / "videos.csv")
    levels = read_levels(REAL, truth)
    predictions = {video.id: megc2020_intervals(video, levels[video.id]) for video in truth}
    run = read_run(REAL / "predictions" / "tsmsnet_2021.csv", VideoIndex(truth), Problems())
    rows = evaluate_runs(truth, [replace(run, predictions=predictions)], PROFILES["megc2020"], resamples=1)
    counts = {(row["dataset"], row["type"]): (row["predicted"], row["tp"], round(row["f1"], 4)) for row in rows}
    assert counts["casme_sq", "micro"] == (5035, 21, 0.0082) and counts["casme_sq", "macro"] == (1523, 109, 0.1196)
    assert counts["samm_lv", "micro"] == (1436, 29, 0.0364) and counts["samm_lv", "macro"] == (356, 22, 0.0629)
    assert counts["casme_sq", "all"][2] == 0.0376 and counts["samm_lv", "all"][2] == 0.0445
