"""The apex of a clip whose annotation has none: the frame in which the expression is strongest."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from megc.motion.region_motion import Trace, measure_regions
from megc.motion.regions import CENTRES, EYES

SMOOTHING = 0.015  # sigma in seconds
BLINK_SPEED = 15.0  # pixels a second of the eye regions, for a face 236 px wide
LEAST_CALM = 0.4  # of the frames: with fewer outside blinks, all frames choose the regions
STRONGEST = 3  # regions whose mean is the strength of the expression
FEWEST_FRAMES = 5  # of a clip, below which no apex is spotted


def expression_strength(trace: Trace, fps: float) -> np.ndarray:
    """Strength of the expression (frames of the clip,) in pixels, from region motion.

    Interpolated to every frame, smoothed, less the straight line from the first to the last frame (both are neutral
    in a clip from onset to offset; what is left between them is slow head turning), then the mean of the three
    regions that move most over the clip. Frames of a blink do not count for the choice of regions.
    """
    every = np.arange(trace.positions[-1] + 1)  # (T,), all frames of the clip
    flat = trace.motion.reshape(len(trace.positions), -1)
    motion = np.stack([np.interp(every, trace.positions, column) for column in flat.T], axis=1)
    motion = gaussian_filter1d(motion, max(SMOOTHING * fps, 0.4), axis=0, mode="nearest")
    motion = motion - np.linspace(motion[0], motion[-1], len(every))
    motion = motion.reshape(len(every), len(trace.names), 2)
    length = np.linalg.norm(motion, axis=2)[:, [name in CENTRES for name in trace.names]]
    calm = np.ones(len(every), bool)
    eyes = [index for index, name in enumerate(trace.names) if name in EYES]
    if eyes and len(every) > 2:
        speed = np.linalg.norm(np.gradient(motion[:, eyes], axis=0), axis=2).max(axis=1) * fps
        calm = speed <= BLINK_SPEED
    if calm.mean() < LEAST_CALM:
        calm[:] = True
    energy = (length[calm] ** 2).mean(axis=0)
    return length[:, np.argsort(energy)[-STRONGEST:]].mean(axis=1)


def spot_apex(frames: Sequence[np.ndarray], landmarks: np.ndarray, positions: Sequence[int], fps: float) -> int:
    """Position in the clip of the strongest expression: never the first frame, which is the reference, nor the last.

    `frames` are the aligned crops (uint8) at `positions` of the clip, from onset to offset, as `sample_numbers`
    chooses them; `landmarks` (68, 2) those of the first, in pixels of the crop. Raises ValueError for a clip of less
    than FEWEST_FRAMES.
    """
    if positions[-1] - positions[0] + 1 < FEWEST_FRAMES:
        count = positions[-1] - positions[0] + 1
        raise ValueError(f"{count} frames are too few to spot an apex; at least {FEWEST_FRAMES} are needed")
    curve = expression_strength(measure_regions(frames, landmarks, positions), fps)
    return int(np.argmax(curve[1:-1])) + 1
