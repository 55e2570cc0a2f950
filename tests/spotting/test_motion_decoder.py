"""The optical-flow decoder against intervals that the original's functions gave (facts of its public code), and its
rules one by one."""

import numpy as np
import pytest

from megc.spotting.motion_decoder import (
    DecoderSettings,
    decode_motion,
    low_pass,
    remove_trend,
    unite_intervals,
)

FRAMES = np.arange(200)
RAMP = FRAMES / 199


def bump(centre, width, height):
    return height * np.exp(-((FRAMES - centre) ** 2) / (2 * width**2))


@pytest.mark.parametrize(
    ("motion", "expected"),
    [
        (bump(80, 5, 3), [[72, 88]]),
        (bump(80, 5, 1.5), []),
        (bump(60, 5, 3) + bump(140, 6, 4), [[52, 68], [131, 149]]),
        (bump(80, 5, 3) + bump(100, 5, 3), [[72, 89], [91, 108]]),
        (bump(80, 6, 3) + bump(96, 6, 3), [[71, 105]]),
        (bump(80, 5, 3) + RAMP, [[72, 94]]),
        (4 * RAMP, []),
    ],
    ids=["one", "too low", "two", "split", "one long", "on a ramp", "ramp alone"],
)
def test_intervals_of_the_original(motion, expected):
    decoded = decode_motion(motion, DecoderSettings())
    assert len(decoded) == len(expected)
    assert np.abs(decoded - np.array(expected).reshape(-1, 2)).max(initial=0) <= 2, decoded


def test_first_frame_of_the_window_shifts_the_intervals():
    motion = bump(80, 5, 3)
    assert (decode_motion(motion, DecoderSettings(), 300) == decode_motion(motion, DecoderSettings()) + 300).all()


def test_thresholds_of_the_mouth_want_more_motion():
    motion = bump(80, 5, 1.95)
    assert len(decode_motion(motion, DecoderSettings(flow_gap=1.5))) == 1
    assert len(decode_motion(motion, DecoderSettings(flow_gap=2.1))) == 0


def test_low_pass_keeps_slow_and_removes_fast_motion():
    time = np.arange(300) / 30
    slow, fast = 2 + np.sin(2 * np.pi * time), np.sin(2 * np.pi * 9 * time)
    assert low_pass(slow + fast, 5, 30) == pytest.approx(slow, abs=1e-9)


def test_trend_is_what_does_not_oscillate():
    time = np.arange(300) / 30
    wave = np.sin(2 * np.pi * time)
    inner = slice(30, -30)
    assert remove_trend(wave + time)[inner] == pytest.approx(wave[inner], abs=0.1)
    assert (remove_trend(3 * time) == 0).all()


def test_intervals_are_united_by_the_share_of_the_shorter():
    intervals = np.array([[70, 95], [90, 100], [120, 140], [85, 92]])
    assert unite_intervals(intervals).tolist() == [[70, 100], [120, 140]]
    assert unite_intervals(intervals, overlap=0.6).tolist() == [[70, 95], [90, 100], [120, 140]]
    chain = np.array([[0, 10], [20, 30], [5, 25]])
    assert unite_intervals(chain).tolist() == [[0, 25], [5, 30]], "it widens both"
    assert unite_intervals(chain, passes=2).tolist() == [[0, 30]]
    assert unite_intervals(np.empty((0, 2))).shape == (0, 2)
