"""From curves to intervals, by hand."""

import numpy as np
import pytest

from megc.spotting.spotted_intervals import (
    find_runs,
    grow_to_valleys,
    limit_lengths,
    merge_close,
    peak_intervals,
    relative_threshold,
    smooth_curve,
    soft_suppress,
    suppress_overlaps,
)


def test_runs_hold_both_ends_and_one_that_is_open_may_go():
    mask = [0, 1, 1, 0, 1, 0, 1, 1]
    assert find_runs(np.array(mask)).tolist() == [[1, 2], [4, 4], [6, 7]]
    assert find_runs(np.array(mask), drop_open=True).tolist() == [[1, 2], [4, 4]]
    assert find_runs(np.zeros(5)).shape == (0, 2) and find_runs(np.ones(3)).tolist() == [[0, 2]]


def test_peaks_take_the_same_seconds_at_any_frame_rate():
    for fps in (30.0, 200.0):
        time = np.arange(int(6 * fps)) / fps
        curve = 3 * np.exp(-((time - 2) ** 2) / 0.02) + 2 * np.exp(-((time - 4) ** 2) / 0.02)
        intervals, heights = peak_intervals(curve, fps, 1, 0.5, 0.3, 0.5)
        assert intervals / fps == pytest.approx(np.array([[1.7, 2.5], [3.7, 4.5]]), abs=1 / fps)
        assert heights == pytest.approx([3, 2], abs=1e-3)
        assert len(peak_intervals(curve, fps, 2.5, 0.5, 0.3, 0.5)[0]) == 1
        assert len(peak_intervals(curve, fps, 1, 2.5, 0.3, 0.5)[0]) == 1, "the lower one is too near"
    assert peak_intervals(curve, 200, 1, 0.5, 9, 9)[0].tolist() == [[0, 1199], [0, 1199]], "inside the video"


def test_relative_threshold_is_that_of_mean():
    assert relative_threshold(np.array([0, 0, 0, 4.0]), 0.55) == pytest.approx(1 + 0.55 * 3)


def test_smoothing_keeps_the_sum_and_nothing_is_nothing():
    curve = np.zeros(101)
    curve[50] = 1
    assert smooth_curve(curve, 0.1, 30).sum() == pytest.approx(1) and smooth_curve(curve, 0.1, 30).max() < 0.15
    assert (smooth_curve(curve, 0, 30) == curve).all()


def test_ends_grow_to_the_valley_share_and_stop_where_the_curve_rises():
    curve = np.array([5, 0, 1, 2, 3, 4, 3, 2, 3, 4, 0], float)
    assert grow_to_valleys(curve, np.array([[5, 5]]), 0.0, 10).tolist() == [[1, 7]]
    assert grow_to_valleys(curve, np.array([[5, 5]]), 0.5, 10).tolist() == [[3, 7]], "half way from 0 to 4 is 2"
    assert grow_to_valleys(curve, np.array([[5, 5]]), 0.0, 2).tolist() == [[3, 7]], "no farther than two frames"
    assert grow_to_valleys(curve, np.array([[0, 10]]), 0.0, 5).tolist() == [[0, 10]]


def test_lengths_are_limited_in_seconds():
    kept, mask = limit_lengths(np.array([[0, 14], [0, 15], [0, 59]]), 30, 0.5, 1.0)
    assert kept.tolist() == [[0, 14], [0, 15]] and mask.tolist() == [True, True, False]


def test_close_intervals_are_joined():
    intervals = np.array([[20, 30], [0, 10], [12, 15], [25, 27]])
    assert merge_close(intervals, 0).tolist() == [[0, 10], [12, 15], [20, 30]]
    assert merge_close(intervals, 1).tolist() == [[0, 15], [20, 30]]
    assert merge_close(np.empty((0, 2)), 3).shape == (0, 2)


def test_better_intervals_suppress_those_that_overlap_them():
    intervals = np.array([[0, 9], [0, 19], [30, 39], [5, 14]], float)
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert suppress_overlaps(intervals, scores, 0.3).tolist() == [0, 2], "IoU .5 and 1/3"
    assert suppress_overlaps(intervals, scores, 0.4).tolist() == [0, 2, 3]
    assert suppress_overlaps(np.empty((0, 2)), np.empty(0), 0.3).tolist() == []


def test_soft_suppression_lowers_scores_by_overlap():
    intervals = np.array([[0, 9], [0, 19], [30, 39]], float)
    scores = soft_suppress(intervals, np.array([0.9, 0.8, 0.7]), sigma=0.5)
    assert scores == pytest.approx([0.9, 0.8 * np.exp(-0.25 / 0.5), 0.7])
