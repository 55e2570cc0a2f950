"""Region flow in segments, each at 30 frames a second: what the optical-flow spotter reads.

A segment is a stretch of a video with one face and no cut; nothing is joined across its ends.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from megc.motion.region_stream import RegionFlow
from megc.motion.regions import SPOTTING_REGIONS
from megc.spotting.region_series import RATE

SHORTEST = 5  # frames; nothing can be seen in less
GAP = 0.5  # seconds without a measured frame, over which nothing is joined
NEAR_EYES = tuple(i for i, name in enumerate(SPOTTING_REGIONS) if "brow" in name or "eye" in name)


@dataclass(frozen=True)
class RegionSegment:
    """The motion of a segment at RATE: `motion` (T, 18, 2) in pixels of a face 236 wide, `times` (T,) in seconds,
    `frame_numbers` (T,) of the video (in fractions between measured frames), `blink` (T,)."""

    motion: np.ndarray
    times: np.ndarray
    frame_numbers: np.ndarray
    blink: np.ndarray

    def frames(self, positions: np.ndarray) -> np.ndarray:
        """The nearest frame numbers of the video at positions in the segment, in fractions."""
        return np.rint(np.interp(positions, np.arange(len(self.times)), self.frame_numbers))


def split_segments(flow: RegionFlow, bridge_blinks: bool) -> list[RegionSegment]:
    """The motion of each segment at RATE, whatever the frame rate, even or not. Segments of a few frames are left out.

    A segment is parted where no frame was measured for GAP seconds; shorter gaps are bridged by lines.
    With `bridge_blinks`, regions near the eyes move during a blink from where they were before it to where they are
    after it: motion of the lids is none of the brows.
    """
    segments = []
    for rows in _stretches(flow):
        if len(rows) < SHORTEST or flow.times[rows[-1]] - flow.times[rows[0]] < (SHORTEST - 1) / RATE:
            continue
        times = flow.times[rows]
        grid = np.arange(times[0], times[-1] + 1e-6, 1 / RATE)
        awake = ~flow.blink[rows] if bridge_blinks else np.ones(len(rows), bool)
        motion = np.empty((len(grid), len(SPOTTING_REGIONS), 2))
        for region in range(len(SPOTTING_REGIONS)):
            kept = awake if region in NEAR_EYES and awake.any() else slice(None)
            for axis in range(2):
                motion[:, region, axis] = np.interp(grid, times[kept], flow.flow[rows[kept], region, axis])
        numbers = np.interp(grid, times, flow.frame_numbers[rows])
        blink = np.interp(grid, times, flow.blink[rows].astype(float)) >= 0.5
        segments.append(RegionSegment(motion, grid, numbers, blink))
    return segments


def _stretches(flow: RegionFlow) -> list[np.ndarray]:
    """Rows of the frames of each segment, parted at gaps."""
    stretches = []
    for number in range(flow.segments.max(initial=-1) + 1):
        rows = np.flatnonzero(flow.segments == number)
        stretches += np.split(rows, np.flatnonzero(np.diff(flow.times[rows]) > GAP) + 1)
    return stretches


def subtract_median(motion: np.ndarray, seconds: float) -> np.ndarray:
    """Motion (T, …) from its running median over `seconds`: a reference that follows what moves slowly."""
    width = min(round(seconds * RATE), len(motion)) | 1
    return motion - median_filter(motion, (width, *(1,) * (motion.ndim - 1)), mode="nearest")
