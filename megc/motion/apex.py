"""Where in a clip the expression is strongest, for clips whose annotation does not say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from megc.motion.flow import compensate, optical_flow, to_grey
from megc.motion.regions import CENTRES, EYES, region_boxes, region_means

STEP = 0.015  # seconds between frames that are measured: every third of 200 fps
SMOOTHING = 0.015  # sigma in seconds
BLINK_SPEED = 15.0  # pixels a second of the eye regions, for a face 236 px wide
FEWEST_CALM = 0.4  # of the frames: with fewer outside blinks, all frames choose the regions
STRONGEST = 3  # regions whose mean is the strength of the expression
FEWEST = 5  # frames


@dataclass(frozen=True)
class Trace:
    """Motion of the regions against the first frame, head motion removed.

    `positions` (T,) in frames of the clip, `motion` (T, regions, 2) in pixels, `names` of the regions.
    """

    positions: np.ndarray
    motion: np.ndarray
    names: tuple[str, ...]


def sampled(numbers: Sequence[int], fps: float) -> list[int]:
    """Those of the rising frame `numbers` that are measured: STEP seconds apart or more, first and last included."""
    step = max(1, round(fps * STEP))
    chosen = [numbers[0]]
    for number in numbers[1:]:
        if number - chosen[-1] >= step:
            chosen.append(number)
    return chosen if chosen[-1] == numbers[-1] else [*chosen, numbers[-1]]


def measure(frames: Sequence[np.ndarray], landmarks: np.ndarray, positions: Sequence[int]) -> Trace:
    """Region motion from the first of `frames` (aligned uint8 crops) to each; `positions` are theirs in the clip.

    `landmarks` (68, 2) are those of the first frame. Regions outside the crop are left out.
    """
    first = to_grey(frames[0])
    boxes = region_boxes(landmarks, first.shape)
    motion = [np.zeros((len(boxes), 2), np.float32)]
    for frame in frames[1:]:
        field, _ = compensate(optical_flow(first, frame, "dis-fast"), landmarks)
        motion.append(region_means(field, boxes))
    return Trace(np.asarray(positions), np.array(motion), tuple(boxes))


def strength(trace: Trace, fps: float) -> np.ndarray:
    """Strength of the expression (frames of the clip,) in pixels, from region motion.

    Interpolated to every frame, smoothed, less the straight line from the first to the last frame (both are neutral
    in a clip from onset to offset; what is left between them is slow head turning), then the mean of the three
    regions that move most over the clip. Frames of a blink have no say in which regions these are.
    """
    every = np.arange(trace.positions[-1] + 1)
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
    if calm.mean() < FEWEST_CALM:
        calm[:] = True
    energy = (length[calm] ** 2).mean(axis=0)
    return length[:, np.argsort(energy)[-STRONGEST:]].mean(axis=1)


def spot_apex(frames: Sequence[np.ndarray], landmarks: np.ndarray, fps: float) -> int:
    """Position in `frames` (all aligned crops of a clip from onset to offset, uint8) of the strongest expression.

    `landmarks` (68, 2) of the first frame, in pixels of the crop. Raises ValueError below five frames.
    """
    if len(frames) < FEWEST:
        raise ValueError(f"{len(frames)} frames are too few to spot an apex; at least {FEWEST} are needed")
    positions = sampled(range(len(frames)), fps)
    trace = measure([frames[position] for position in positions], landmarks, positions)
    return apex_of(trace, fps)


def apex_of(trace: Trace, fps: float) -> int:
    """Position of the apex in the clip: never the first frame, which is the reference, nor the last."""
    curve = strength(trace, fps)
    return int(np.argmax(curve[1:-1])) + 1
