"""Region flow as networks read it, by hand."""

import numpy as np
import pytest

from megc.clips import Event
from megc.motion.region_stream import RegionFlow
from megc.motion.regions import SPOTTING_REGIONS
from megc.spotting.region_series import (
    CHANNELS,
    RATE,
    cut_event,
    free_start,
    mirror_motion,
    region_series,
    stretch_motion,
    window_channels,
)

NAMES = list(SPOTTING_REGIONS)


def flow_of(motion, times, numbers, segments=None, blink=None):
    """A region flow whose regions all move along x as `motion` (frames,) says."""
    count = len(times)
    flow = np.zeros((count, len(NAMES), 2), np.float32)
    flow[:, :, 0] = np.asarray(motion)[:, None]
    segments = np.zeros(count, int) if segments is None else np.asarray(segments)
    blink = np.zeros(count, bool) if blink is None else np.asarray(blink)
    return RegionFlow(flow, np.asarray(numbers), np.asarray(times, float), blink, segments, np.zeros(count, int))


@pytest.mark.parametrize(("fps", "step"), [(30, 1), (200, 7)])
def test_series_has_the_same_motion_at_any_frame_rate_and_no_slow_drift(fps, step):
    numbers = np.arange(1, 20 * fps, step)
    times = (numbers - 1) / fps
    hill = 3 * np.exp(-((times - 8) ** 2) / 0.02)
    series = region_series(flow_of(hill + 0.4 * times, times, numbers), 6.0)
    middle = series.motion[:, 0, 0][120:480]
    peak = int(middle.argmax()) + 120
    assert peak / RATE == pytest.approx(8, abs=0.04) and middle.max() == pytest.approx(3, abs=0.3)
    assert np.abs(series.motion[:200, 0, 0][100:]).max() < 0.2, "the drift of 8 pixels is gone"
    first, last = series.event_positions(Event(8 * fps + 1, None, 9 * fps + 1, "macro"))
    assert (first, last) == (240, 270)
    assert series.frames(np.array([240.0])) == pytest.approx([8 * fps + 1], abs=0.01)


def test_gaps_are_bridged_and_marked_and_segments_join():
    times = np.arange(90) / 30
    motion = np.where(times < 1, 0.0, 5.0)
    motion[30:40] = np.nan
    segments = np.repeat([0, -1, 1], [30, 10, 50])
    series = region_series(flow_of(motion, times, np.arange(1, 91), segments), 6.0)
    assert not np.isnan(series.motion).any() and np.abs(series.motion).max() < 1e-5, "a new reference is no motion"
    assert series.seen.sum() == 80 and not series.seen[30:40].any()


def test_mirrored_face_has_its_other_half_and_mirroring_twice_is_nothing():
    motion = np.zeros((2, len(NAMES), 2), np.float32)
    motion[1, NAMES.index("mouth, right corner")] = 2, -1
    motion[1, NAMES.index("right brow, landmark 18")] = 1, 3
    mirrored = mirror_motion(motion)
    assert mirrored[1, NAMES.index("mouth, left corner")].tolist() == [-2, -1]
    assert mirrored[1, NAMES.index("left brow, landmark 25")].tolist() == [-1, 3]
    assert (mirror_motion(mirrored) == motion).all() and np.count_nonzero(mirrored) == 4


def test_channels_have_what_all_regions_share_apart():
    motion = np.ones((5, len(NAMES), 2), np.float32)
    motion[3, 4] = 3, 1
    channels = window_channels(motion, np.arange(5) == 2, np.ones(5))
    assert channels.shape == (CHANNELS, 5)
    assert channels[8].tolist() == [0, 0, 0, 2, 0], "x of the region 4, less the median"
    assert channels[36].tolist() == [1] * 5 and channels[38].tolist() == [0, 0, 1, 0, 0]


def test_event_is_cut_from_rest_to_rest_and_stretched():
    motion = np.zeros((10, len(NAMES), 2), np.float32)
    motion[:, :, 0] = np.arange(10)[:, None]  # drift
    motion[5, :, 1] = 4
    part = cut_event(motion, 2, 8)
    assert part.shape == (7, len(NAMES), 2)
    assert np.abs(part[:, :, 0]).max() < 1e-5 and part[3, 0, 1] == 4
    longer = stretch_motion(part, 13)
    assert longer.shape == (13, len(NAMES), 2) and longer[6, 0, 1] == 4 and longer[5, 0, 1] == 2


def test_free_start_meets_nothing_that_is_taken():
    rng = np.random.default_rng(0)
    starts = {free_start([(0, 9), (15, 29)], 5, 30, rng) for _ in range(50)}
    assert starts <= {10, None} and 10 in starts
    assert free_start([], 31, 30, rng) is None
