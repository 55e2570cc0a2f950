"""The optical-flow spotter's decoder: intervals from the motion of one face region over a window of video.

The method of He et al. (OF-FD, MEGC2021) and Sheng et al. (MEGC2022) as their public code has it
(shengjianda/micro-expression-spot @5e0c881, spot_util_casme.py; hitheyuhong/MEGC2024-CODE). The curve is the length of
a region's mean flow against the window's first frame, in pixels of a 256 px crop, at about 30 fps. It is low-passed;
candidates are the frames above a threshold that stand out of their neighbourhood, also after the trend (slow
turning of the head) is taken away; each grows to its valleys, and is split where it has two peaks. The intervals of
all regions and windows are united where they overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.interpolate import CubicSpline

_MOST_COMPONENTS = 12  # of a decomposition; a window of 200 frames has about five
_MOST_SIFTS = 100  # of a component
_CALM = 0.05  # a component is done when the mean of its envelopes is below this share of its size


@dataclass(frozen=True)
class DecoderSettings:
    """Thresholds in pixels of a 256 px crop, durations in frames at `fps`. The defaults are those for brows on
    CAS(ME)²; `flow_gap` is 1.85 for the mouth and 2.1 for the nose (SAMM-LV: 1.65, 1.5, 1.5)."""

    fps: float = 30.0
    highest_frequency: float = 5.0  # Hz
    least: float = 1.4  # above the curve's minimum
    flow_gap: float = 1.8  # above the minimum of the neighbourhood
    trendless_gap: float = 0.8  # the same after the trend is gone
    neighbourhood: int = 30
    near: int = 10
    gap: int = 3  # frames that are closer belong together
    valley_share: float = 0.33
    valley_gap: float = 0.3
    split_length: int = 20
    split_border: int = 8
    split_share: float = 0.33
    split_gap: float = 0.7


def low_pass(curve: np.ndarray, highest: float, fps: float) -> np.ndarray:
    """The curve without the frequencies from the bin nearest to `highest` Hz up; absolute values."""
    spectrum = np.fft.fft(curve)
    first = int(np.abs(np.fft.fftfreq(len(curve), 1 / fps) - highest).argmin())
    spectrum[first : len(curve) - first] = 0
    return np.abs(np.fft.ifft(spectrum))


def remove_trend(curve: np.ndarray) -> np.ndarray:
    """The curve less its trend: all components of an empirical mode decomposition (Huang et al. 1998) but the last.

    A curve without an oscillation is all trend: zeros. Envelopes are cubic splines through the extrema, mirrored at
    the ends. The original uses the package PyEMD, whose stopping rules differ in detail.
    """
    rest = np.array(curve, float)
    for _ in range(_MOST_COMPONENTS):
        component = _sift(rest)
        if component is None:
            break
        if np.abs(rest - component).max() < 1e-9 * max(np.abs(curve).max(), 1e-12):
            rest = component  # the last oscillation is the last component
            break
        rest = rest - component
    return curve - rest


def _sift(curve: np.ndarray) -> np.ndarray | None:
    """The fastest oscillation of a curve; None where it has fewer than three extrema."""
    component = curve
    for sift in range(_MOST_SIFTS):
        highs, lows = _extrema(component), _extrema(-component)
        if len(highs) + len(lows) < 3 or not len(highs) or not len(lows):
            return component if sift else None
        mean = (_envelope(component, highs) + _envelope(component, lows)) / 2
        component = component - mean
        if np.sum(mean**2) < _CALM**2 * np.sum(component**2):
            break
    return component


def _extrema(curve: np.ndarray) -> np.ndarray:
    """Positions of the inner maxima; the middle of a flat one."""
    step = np.sign(np.diff(curve))
    for index in range(1, len(step)):  # a plateau goes on as it came
        step[index] = step[index] or step[index - 1]
    tops = np.flatnonzero((step[:-1] > 0) & (step[1:] < 0)) + 1
    return tops


def _envelope(curve: np.ndarray, extrema: np.ndarray) -> np.ndarray:
    """Cubic spline through the extrema, of which two are mirrored at each end."""
    last = len(curve) - 1
    before, after = -extrema[:2][::-1], 2 * last - extrema[-2:][::-1]
    positions = np.concatenate([before, extrema, after])
    values = np.concatenate([curve[extrema[:2]][::-1], curve[extrema], curve[extrema[-2:]][::-1]])
    positions, first = np.unique(positions, return_index=True)
    return CubicSpline(positions, values[first])(np.arange(len(curve)))


def decode_motion(motion: np.ndarray, settings: DecoderSettings, first_frame: int = 0) -> np.ndarray:
    """Intervals (n, 2) of frames in which a region moves and returns; `motion` (T,) in pixels, a value a frame.

    The first value belongs to `first_frame`. Peaks at the window's ends are cut off with the first and last value.
    Fewer than five values are no window: no interval.
    """
    if len(motion) < 5:
        return np.empty((0, 2), int)
    curve = low_pass(np.asarray(motion, float)[1:-1], settings.highest_frequency, settings.fps)
    grown = [_grow(curve, start, end, settings) for start, end in _candidates(curve, settings)]
    intervals = [part for start, end in grown for part in _split(curve, start, end, settings)]
    return np.array(intervals, int).reshape(-1, 2) + first_frame + 1


def _join(positions: Sequence[int], gap: int) -> list[tuple[int, int]]:
    """First and last of the groups of rising positions that are less than `gap` apart."""
    groups: list[tuple[int, int]] = []
    for position in positions:
        if groups and position - groups[-1][1] < gap:
            groups[-1] = (groups[-1][0], position)
        else:
            groups.append((position, position))
    return groups


def _candidates(curve: np.ndarray, settings: DecoderSettings) -> list[tuple[int, int]]:
    """Groups of frames that are above the threshold and stand out of their neighbourhood, with and without trend."""
    above = _join(np.flatnonzero(curve - curve.min() >= settings.least).tolist(), settings.gap)
    inside = np.zeros(len(curve), bool)
    for start, end in above:
        inside[start:end] = True
    inside &= _height(curve, settings.neighbourhood) > settings.flow_gap
    if inside.any():  # the trend is most of the work
        inside &= _height(_trendless(curve.tobytes()), settings.neighbourhood) > settings.trendless_gap
    return _join(np.flatnonzero(inside).tolist(), settings.gap)


@lru_cache(maxsize=4096)
def _trendless(curve: bytes) -> np.ndarray:
    """`remove_trend` of a curve's bytes: who looks for thresholds decodes the same curves again and again."""
    return remove_trend(np.frombuffer(curve))


def _height(curve: np.ndarray, neighbourhood: int) -> np.ndarray:
    """Each value less the least one from `neighbourhood` frames before it to as many behind, the last of these and of
    the curve left out (the original's slices)."""
    padded = np.pad(curve[:-1], neighbourhood, constant_values=np.inf)
    least = sliding_window_view(padded, 2 * neighbourhood).min(axis=1)
    return curve - least[: len(curve)]


def _grow(curve: np.ndarray, start: int, end: int, settings: DecoderSettings) -> tuple[int, int]:
    """Move both ends of a candidate to its valleys."""
    peak = curve[start : max(end, start + 1)].max()
    new_start = _grow_end(curve, start, peak, -1, settings)
    return new_start, _grow_end(curve, end, peak, 1, settings)


def _grow_end(curve: np.ndarray, position: int, peak: float, step: int, settings: DecoderSettings) -> int:
    """The end of a candidate, moved outwards in the direction `step`.

    With the neighbourhood's valley outside: to where the curve has fallen near it, or two frames inside of where it
    rises again. Else: to the lowest of the near frames, where it is clearly lower.
    """
    low = max(0, position - settings.neighbourhood)
    around = curve[low : min(len(curve) - 1, position + settings.neighbourhood)]
    valley, valley_position = around.min(), int(around.argmin()) + low
    if (valley_position - position) * step > 0:
        outside = range(position - 1, -1, -1) if step < 0 else range(position + 1, valley_position)
        for frame in outside:
            if curve[frame] - valley < settings.valley_share * (peak - valley):
                return frame
            if curve[frame] > curve[frame - step]:
                return frame - 2 * step
        return position
    low, high = sorted((position, int(np.clip(position + step * settings.near, 0, len(curve) - 1))))
    lowest = int(curve[low : high + 1].argmin()) + low
    return lowest - step if curve[position] - curve[lowest] > settings.valley_gap else position


def _split(curve: np.ndarray, start: int, end: int, settings: DecoderSettings) -> list[tuple[int, int]]:
    """The interval, or its two parts where it is long and a deep valley parts two peaks."""
    border = settings.split_border
    if end - start < settings.split_length:
        return [(start, end)]
    valley = int(curve[start + border : end - border].argmin()) + start + border
    for peak in (curve[start:valley].max(), curve[valley:end].max()):
        if peak - curve[valley] <= max(settings.split_gap, settings.split_share * peak):
            return [(start, end)]
    return [(start, valley - 1), (valley + 1, end)]


def unite_intervals(intervals: np.ndarray, overlap: float = 0.34, passes: int = 1) -> np.ndarray:
    """Unite intervals that overlap by more than `overlap` of the shorter one.

    In their order: an interval widens every earlier one that it overlaps, and is gone; else it stays. The original
    passes twice over a window's intervals and twice over all; `overlap` is .34 for SAMM-LV, .29 or .1 for CAS(ME)².
    """
    united = np.asarray(intervals).reshape(-1, 2).tolist()
    for _ in range(passes):
        kept: list[list] = []
        for start, end in united:
            partners = []
            for other in kept:
                both = min(end, other[1]) - max(start, other[0])
                if both > 0 and both / min(end - start, other[1] - other[0]) > overlap:
                    partners.append(other)
            for other in partners:
                other[:] = min(start, other[0]), max(end, other[1])
            if not partners:
                kept.append([start, end])
        united = kept
    return np.array(united, dtype=np.asarray(intervals).dtype).reshape(-1, 2)
