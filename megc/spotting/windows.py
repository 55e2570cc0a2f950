"""Sliding windows over a video's face crops: their frames, their labels, and from their scores to intervals.

The winner of MEGC2023 classified windows of the length of the expressions that it looked for and left out those
without facial motion (github.com/AAAuthenticator/MAE-DFER); how it merged and fused them is not public. What is here
is ours: windows of several lengths, on a grid of frames for each length, so that windows that overlap share frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megc.clips import Event
from megc.motion.face_crops import FaceCrops
from megc.scoring.interval_matching import interval_ious
from megc.spotting.spotted_intervals import limit_lengths, share_intervals, soft_suppress

NONE, EXPRESSION, IGNORED = 0, 1, -1  # labels of windows
RATE = 30.0  # values a second of curves of scores
LEAST = 0.05  # score of the weakest interval that is looked at
STRIDES = 4  # windows that begin within the length of one
INNER = (0.05, 0.125, 0.75)  # top, left and side of the inner face in a crop: without hair, contour and neck
_AROUND = np.linspace(-1.5, 1.5, 9)  # lengths of a window around a frame: its resting face
GAIN = 10  # grey levels of a difference picture for one of difference: noise of one level stays visible
_TOUCH = 1e-4  # overlap of windows that only meet an event
_KEPT = 512  # resting faces in memory
MIDDLE = 128  # no difference


def inner_size(size: int) -> int:
    """Pixels of a side of the inner face in crops of `size` pixels."""
    return round(INNER[2] * size)


@dataclass(frozen=True)
class WindowGrid:
    """Frames of a video at even times, and the windows of one length on them.

    `rows` (K,) are the crops nearest to the grid's times, `times` (K,) in seconds; `firsts` (n,) the positions on the
    grid at which windows of `frames` frames begin, `length` seconds long.
    """

    length: float
    frames: int
    rows: np.ndarray
    times: np.ndarray
    firsts: np.ndarray

    def intervals(self) -> np.ndarray:
        """Begin and end (n, 2) of the windows in seconds."""
        begins = self.times[self.firsts] - self.length / self.frames / 2  # a frame stands for the time around it
        return np.stack([begins, begins + self.length], axis=1)


def grid_windows(
    times: np.ndarray, segments: np.ndarray, length: float, frames: int, phase: float = 0.0
) -> WindowGrid:
    """Windows of `length` seconds and `frames` frames, a quarter of it apart, over crops with `times` (F,).

    Windows that reach over a break of the face (`segments` (F,), -1: none) or a gap in time are left out. `phase`:
    where the grid begins, in shares of its step.
    """
    step = length / frames
    grid = np.arange(times[0] + phase * step, times[-1] + 1e-6, step)
    right = np.clip(np.searchsorted(times, grid), 1, max(len(times) - 1, 1))
    rows = np.where(grid - times[right - 1] <= times[np.minimum(right, len(times) - 1)] - grid, right - 1, right)
    rows = np.minimum(rows, len(times) - 1)
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else step
    usable = (segments[rows] >= 0) & (np.abs(times[rows] - grid) <= max(step, spacing))
    firsts = np.arange(0, len(grid) - frames + 1, frames // STRIDES)
    inside = firsts[:, None] + np.arange(frames)
    whole = usable[inside].all(axis=1) & (np.ptp(segments[rows][inside], axis=1) == 0)
    return WindowGrid(length, frames, rows, grid, firsts[whole])


def event_seconds(events: Sequence[Event], crops: FaceCrops, fps: float) -> np.ndarray:
    """Begin and end (m, 2) of events in seconds from the first crop, the last frame inside."""
    ends = np.array([(event.onset, event.offset) for event in events], float).reshape(-1, 2)
    times = frame_times(ends, crops, fps)
    return times + np.array([-0.5, 0.5]) / fps


def frame_times(numbers: np.ndarray, crops: FaceCrops, fps: float) -> np.ndarray:
    """Times of frame numbers, between and beyond those of the crops too."""
    before = np.minimum(numbers - crops.frame_numbers[0], 0) / fps
    behind = np.maximum(numbers - crops.frame_numbers[-1], 0) / fps
    return np.interp(numbers, crops.frame_numbers, crops.times) + before + behind


def label_windows(
    windows: np.ndarray, events: np.ndarray, least: float = 0.5, most_negative: float = 0.0
) -> np.ndarray:
    """Labels (n,) of windows (n, 2) by their best IoU with events (m, 2), both in seconds: EXPRESSION from `least`,
    NONE up to `most_negative`, else IGNORED."""
    if not len(events):
        return np.full(len(windows), NONE)
    # in microseconds: that both ends count as inside does not matter there
    best = interval_ious(windows * 1e6, events * 1e6).max(axis=1)
    return np.where(best >= least, EXPRESSION, np.where(best <= most_negative + _TOUCH, NONE, IGNORED))


def choose_negatives(labels: np.ndarray, ratio: float, random: np.random.Generator) -> np.ndarray:
    """Rows to train on: all EXPRESSION and at most `ratio` times as many NONE, drawn at random, in their order."""
    positive, negative = np.flatnonzero(labels == EXPRESSION), np.flatnonzero(labels == NONE)
    most = round(ratio * max(len(positive), 1))
    if len(negative) > most:
        negative = random.choice(negative, most, replace=False)
    return np.sort(np.concatenate([positive, negative]))


class WindowPictures:
    """Pictures of a video's frames as the encoder reads them, uint8 (n, size, size, 3).

    `differences`: three channels are the difference to the frame before on the grid, that to the resting face, and how
    large that is. The resting face is the median of nine crops of three windows' lengths around: an expression that
    fills a window is not in it, and slow turns of the head are. Nothing depends on the window that a frame is in, so
    that windows share pictures. Else they are the crops themselves, grey ones three times.
    """

    def __init__(self, crops: FaceCrops, differences: bool, inner: bool = True) -> None:
        self.crops, self.differences, self.inner = crops, differences, inner
        self._resting: dict[tuple[float, float], np.ndarray] = {}

    def read(self, grid: WindowGrid, first: int, count: int) -> np.ndarray:
        """Pictures of `count` positions of a grid from the position `first` on."""
        rows = grid.rows[first : first + count]
        if not self.differences:
            pixels = self._pixels(rows)
            return pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, axis=3)
        before = grid.rows[np.maximum(np.arange(first, first + count) - 1, 0)]
        before = np.where(self.crops.segments[before] == self.crops.segments[rows], before, rows)
        grey, last = self._grey(rows).astype(np.int16), self._grey(before).astype(np.int16)
        resting = np.stack([self._resting_face(grid, first + index) for index in range(count)]).astype(np.int16)
        step, away = GAIN * (grey - last), GAIN * (grey - resting)
        drawn = np.stack([MIDDLE + step, MIDDLE + away, np.abs(away)], axis=3)
        return np.clip(drawn, 0, 255).astype(np.uint8)

    def _pixels(self, rows: np.ndarray) -> np.ndarray:
        size = self.crops.pixels.shape[1]
        top, left, side = (round(share * size) for share in (INNER if self.inner else (0, 0, 1)))
        return np.asarray(self.crops.pixels[rows, top : top + side, left : left + side])

    def _grey(self, rows: np.ndarray) -> np.ndarray:
        pixels = self._pixels(rows)
        return pixels if pixels.ndim == 3 else (pixels @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)

    def _resting_face(self, grid: WindowGrid, position: int) -> np.ndarray:
        """The resting face (size, size) at a position of a grid; those of a stride are the same."""
        stride = grid.frames // STRIDES
        position = min(position // stride * stride + stride // 2, len(grid.rows) - 1)
        key = (grid.length, round(float(grid.times[position]), 4))
        if key not in self._resting:
            near = np.searchsorted(self.crops.times, grid.times[position] + _AROUND * grid.length)
            near = np.unique(np.clip(near, 0, len(self.crops.times) - 1))
            segments = self.crops.segments[near]
            near = near[segments == self.crops.segments[grid.rows[position]]]
            near = near if len(near) else grid.rows[position : position + 1]
            if len(self._resting) >= _KEPT:
                self._resting.clear()
            self._resting[key] = np.median(self._grey(near), axis=0).astype(np.uint8)
        return self._resting[key]


def frame_curve(windows: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Score of `count` values at RATE: the mean of the windows (n, 2), in seconds, that cover each; 0 for none."""
    first = np.clip(np.ceil(windows[:, 0] * RATE), 0, count).astype(int)
    behind = np.clip(np.ceil(windows[:, 1] * RATE), 0, count).astype(int)
    sums, covering = np.zeros(count + 1), np.zeros(count + 1)
    for edge, sign in ((first, 1), (behind, -1)):
        np.add.at(sums, edge, sign * scores)
        np.add.at(covering, edge, sign)
    covering = np.cumsum(covering)[:count]
    return np.where(covering > 0, np.cumsum(sums)[:count] / np.maximum(covering, 1), 0.0)


def merge_windows(
    scored: Sequence[tuple[float, np.ndarray, np.ndarray]], seconds: float, share: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (m, 2) in seconds and their scores (m,), best first, of windows of several lengths.

    `scored`: of each length the windows (n, 2) in seconds and their scores (n,). 1. The score of a frame is the mean
    of the windows that cover it. 2. An interval reaches to where that falls to `share` of its peak: windows that
    overlap an expression by half reach as far beyond it as they reach into it. 3. Lengths of half to twice the
    windows' are kept. 4. Soft non-maximum suppression over all lengths.
    """
    intervals, heights = [np.empty((0, 2))], [np.empty(0)]
    count = int(seconds * RATE) + 1
    for length, windows, scores in scored:
        ends, peaks = share_intervals(frame_curve(windows, scores, count), RATE, LEAST, share, length / 2)
        ends, kept = limit_lengths(ends, RATE, length / 2, length * 2)
        intervals.append(ends)
        heights.append(peaks[kept])
    ends, scores = np.concatenate(intervals), np.concatenate(heights)
    scores = soft_suppress(ends, scores, sigma)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= LEAST]
    return (ends[order] + (-0.5, 0.5)) / RATE, scores[order]
