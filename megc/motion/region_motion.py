"""Motion of the face's regions over a clip, against its first frame.

Apart from `apex`, which reads this signal, since spotting in long videos reads it too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from megc.motion.flow import compensate, optical_flow, to_grey
from megc.motion.regions import region_boxes, region_means

STEP = 0.015  # seconds between frames that are measured: every third of 200 fps


@dataclass(frozen=True)
class Trace:
    """Motion of the regions against the first frame, head motion removed.

    `positions` (T,) in frames of the clip, `motion` (T, regions, 2) in pixels, `names` of the regions.
    """

    positions: np.ndarray
    motion: np.ndarray
    names: tuple[str, ...]


def sample_numbers(numbers: Sequence[int], fps: float) -> list[int]:
    """The rising frame `numbers` to measure: STEP seconds apart or more, the first and the last among them."""
    step = max(1, round(fps * STEP))
    chosen = [numbers[0]]
    for number in numbers[1:]:
        if number - chosen[-1] >= step:
            chosen.append(number)
    return chosen if chosen[-1] == numbers[-1] else [*chosen, numbers[-1]]


def motion_fields(frames: Sequence[np.ndarray], landmarks: np.ndarray) -> Iterator[np.ndarray]:
    """Motion (H, W, 2) from the first of `frames` (aligned uint8 crops) to each, without that of the head.

    Against the first, since motion that adds up from frame to frame would drift.
    """
    first = to_grey(frames[0])
    yield np.zeros((*first.shape, 2), np.float32)
    for frame in frames[1:]:
        yield compensate(optical_flow(first, frame, "dis-fast"), landmarks)[0]


def trace_fields(fields: Iterable[np.ndarray], landmarks: np.ndarray, positions: Sequence[int]) -> Trace:
    """Region motion in the fields of `motion_fields`; `positions` are those of the frames in the clip.

    Regions outside the crop are left out.
    """
    boxes, motion = {}, []
    for field in fields:
        boxes = boxes or region_boxes(landmarks, field.shape[:2])
        motion.append(region_means(field, boxes))
    return Trace(np.asarray(positions), np.array(motion, np.float32), tuple(boxes))


def measure_regions(frames: Sequence[np.ndarray], landmarks: np.ndarray, positions: Sequence[int]) -> Trace:
    """Region motion from the first of `frames` (aligned uint8 crops) to each; `positions` are theirs in the clip.

    `landmarks` (68, 2) are those of the first frame. Regions outside the crop are left out.
    """
    return trace_fields(motion_fields(frames, landmarks), landmarks, positions)
