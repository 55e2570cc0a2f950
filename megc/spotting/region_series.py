"""Region flow as networks read it: at 30 frames a second, against a running reference; mirrored and pasted to train.

All is in pixels of a face 236 wide, so that nothing of a subject or a video scales it, and no range is learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from megc.clips import Event
from megc.motion.region_stream import RegionFlow
from megc.motion.regions import SPOTTING_REGIONS

RATE = 30.0  # frames a second of every series
CHANNELS = 2 * len(SPOTTING_REGIONS) + 4  # of `window_channels`
_LIMIT = 12.0  # pixels; larger motion is a lost landmark, and would drown the rest
_STEP = 5  # the running median is taken of every fifth frame: enough for one of seconds, in a fifth of the time


def _mirror_order() -> list[int]:
    """For each region the index of that which it is in a mirrored face: right and left, landmarks 17-21 and 22-26."""
    words = {"right": "left", "20": "23", "19": "24", "18": "25"}
    words |= {after: before for before, after in words.items()}
    names = list(SPOTTING_REGIONS)
    mirrored = [" ".join(words.get(word, word) for word in name.replace(",", " ,").split()) for name in names]
    return [names.index(name.replace(" ,", ",")) for name in mirrored]


_MIRROR = _mirror_order()


@dataclass(frozen=True)
class RegionSeries:
    """A video's region flow at RATE: `motion` (T, 18, 2) in pixels against a running reference, `blink` and `seen` (a
    face is there) (T,), and `numbers` (T,), the number of the video's frame, in fractions, at each."""

    motion: np.ndarray
    blink: np.ndarray
    seen: np.ndarray
    numbers: np.ndarray

    def positions(self, frames: np.ndarray) -> np.ndarray:
        """Positions in the series, in fractions, of frame numbers of the video."""
        return np.interp(frames, self.numbers, np.arange(len(self.numbers)))

    def frames(self, positions: np.ndarray) -> np.ndarray:
        """Frame numbers of the video at positions in the series."""
        return np.interp(positions, np.arange(len(self.numbers)), self.numbers)

    def event_positions(self, event: Event) -> tuple[int, int]:
        """First and last position of an event, both inside."""
        first, last = np.rint(self.positions(np.array([event.onset, event.offset]))).astype(int)
        return int(first), int(last)


def region_series(flow: RegionFlow, reference: float) -> RegionSeries:
    """The region flow at RATE, less its running median over `reference` seconds.

    The median takes out what moves slowly (a turned head, the drift of joined references) and leaves an expression
    that lasts less than half of it. Stretches without a face are bridged by lines, and marked; segments, each measured
    from a first frame of its own, are shifted to join.
    """
    seen = flow.segments >= 0
    flat = _join_segments(flow.flow.reshape(len(flow.times), -1).astype(np.float64), flow.segments)
    times = np.arange(flow.times[0], flow.times[-1] + 1e-6, 1 / RATE)
    motion = np.stack([np.interp(times, flow.times[seen], column[seen]) for column in flat.T], axis=1)
    coarse = median_filter(motion[::_STEP], size=(max(3, round(reference * RATE / _STEP) | 1), 1), mode="nearest")
    rows = np.arange(len(times))
    motion -= np.stack([np.interp(rows, rows[::_STEP], column) for column in coarse.T], axis=1)
    nearest = np.interp(times, flow.times, np.arange(len(flow.times))).round().astype(int)
    return RegionSeries(
        np.clip(motion, -_LIMIT, _LIMIT).reshape(len(times), -1, 2).astype(np.float32),
        flow.blink[nearest],
        seen[nearest],
        np.interp(times, flow.times, flow.frame_numbers),
    )


def _join_segments(flat: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Motion (frames, channels) whose segments each begin where the one before has ended."""
    joined, last = flat.copy(), np.zeros(flat.shape[1])
    for segment in range(segments.max() + 1):
        rows = np.flatnonzero(segments == segment)
        joined[rows] += last - flat[rows[0]]
        last = joined[rows[-1]]
    return joined


def mirror_motion(motion: np.ndarray) -> np.ndarray:
    """Motion (T, 18, 2) of the mirrored face: right and left regions change, and so does the sign of x."""
    return motion[:, _MIRROR] * np.array([-1, 1], motion.dtype)


def window_channels(motion: np.ndarray, blink: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Channels (CHANNELS, T) float32 of a window: the regions' motion less that of all, that, blinks, face seen.

    Motion of all regions is their median in a frame: what is left of the head's motion, mostly.
    """
    shared = np.median(motion, axis=1, keepdims=True)
    regions = (motion - shared).reshape(len(motion), -1)
    rows = np.concatenate([regions, shared[:, 0], blink[:, None], seen[:, None]], axis=1)
    return rows.T.astype(np.float32)


def cut_event(motion: np.ndarray, first: int, last: int) -> np.ndarray:
    """Motion (n, 18, 2) of an event from rest to rest: less the line between its two ends."""
    part = motion[first : last + 1].astype(np.float64)
    share = np.linspace(0, 1, len(part))[:, None, None]
    return (part - (1 - share) * part[0] - share * part[-1]).astype(np.float32)


def stretch_motion(motion: np.ndarray, length: int) -> np.ndarray:
    """Motion (n, …) resampled to `length` frames."""
    flat, at = motion.reshape(len(motion), -1), np.linspace(0, len(motion) - 1, length)
    columns = [np.interp(at, np.arange(len(flat)), column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(length, *motion.shape[1:]).astype(motion.dtype)


def free_start(taken: Sequence[tuple[int, int]], length: int, total: int, rng: np.random.Generator) -> int | None:
    """A random first position for `length` frames of `total` that no interval (first, last) of `taken` meets.

    None where a few tries bring none.
    """
    for _ in range(8):
        if total < length:
            return None
        start = int(rng.integers(total - length + 1))
        if all(start > last or start + length - 1 < first for first, last in taken):
            return start
    return None
