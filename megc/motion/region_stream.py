"""Motion of the face's regions over a video of any length: the series that spotting reads, in bounded memory.

The face of a window's first frame, the reference, places crop and regions; every frame of the window is measured
against it, and the reference of the next window against that of the last, so that windows join. Why so, of
what was measured on videos with known motion: landmarks of each frame jitter by .8 to 1.4 pixels, as much as a
micro-expression moves, and motion added up from frame to frame drifts; displacement against references, joined, came
to an F1 of .79 in spotting where pairs of frames a fixed distance apart reached .36.

Farnebäck's flow is the optical-flow spotter's, and the best here: each of the 18 regions of a noisy portrait moved by
2 pixels in turn, the mean error is .09 pixels, for 18 ms a pair of whole crops; .14 with DIS (32 ms); .43 with DIS at
its MEDIUM preset (9 ms), which takes a quarter off such small spots of motion. Farnebäck's at half the size errs by
.22. On a face that only drifts and turns it shows .10 pixels (DIS .07, MEDIUM .08).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import binary_closing

from megc.motion.apex import BLINK_SPEED
from megc.motion.crop import CROP_HEIGHT, CROP_WIDTH, align_transform, crop_frame, transform_points
from megc.motion.faces import Face, FaceFinder
from megc.motion.flow import HeadMotion, compensate, optical_flow, to_grey
from megc.motion.frames import LARGEST, SMALLEST
from megc.motion.regions import (
    EYES,
    SPOTTING_REGIONS,
    face_width,
    lid_mask,
    region_boxes,
    region_means,
    spotting_boxes,
    stable_mask,
    strongest_means,
)
from megc.motion.settings import RegionFlowSettings
from megc.problems import DataError

LOOK = 0.5  # seconds between looks whether the face is still there, or there again
FOLLOW = 4.0  # pixels of head motion from which the crop is moved after it: larger motion costs the flow accuracy
MARGIN = 12  # pixels around all that is measured: flow is worse at the border of a picture
FOLLOW_TRIES = 4  # of moving the crop within a frame
CUT = 0.5  # correlation of a crop with the last one, below which the camera has cut, or something covers the face
JUMP, GROWTH = 0.5, 1.5  # face widths, and ratio of widths, from which a face is another one than before
BLINK_GAP = 0.15  # seconds of closed lids between the two fast parts of a blink
_ROWS = len(SPOTTING_REGIONS) + len(EYES)  # the eyes are measured for blinks only


def sample_frames(times: np.ndarray, rate: float) -> np.ndarray:
    """Indices of the frames to measure: those 1/`rate` seconds apart, give or take half a frame; 0: all.

    `times` (frames,) rise. At a rate of 30 this takes each frame of a video of 30 fps and each seventh of 200 fps.
    """
    if not rate or len(times) < 2:
        return np.arange(len(times))
    least = 1 / rate - np.median(np.diff(times)) / 2
    chosen = [0]
    for index in range(1, len(times)):
        if times[index] - times[chosen[-1]] >= least:
            chosen.append(index)
    return np.array(chosen)


@dataclass
class _Reference:
    """The frame that others are measured against: its crop (grey), landmarks and regions in it.

    `start` (rows, 2) is its own motion since the segment began; `shift` (2,) how far the head has gone since, in
    pixels of the crop.
    """

    number: int
    time: float
    transform: np.ndarray
    grey: np.ndarray
    landmarks: np.ndarray
    start: np.ndarray
    width: float  # of the face in the frame
    corner: np.ndarray  # upper left (x, y) of `grey` in the crop of `align_transform`
    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))
    head: HeadMotion = field(
        default_factory=HeadMotion
    )  # what is left of the head's motion in a crop that follows by `shift`

    def moved_transform(self) -> np.ndarray:
        """The transform from frame to crop that follows the head."""
        moved = self.transform.copy()
        moved[:, 2] -= self.shift
        return moved

    def still_transform(self) -> np.ndarray:
        """The transform from the last frame to the whole crop in which the head is as in the reference's."""
        back = 1 / self.head.turn
        rest = (
            self.head.centre - (self.head.centre + self.head.shift) * back
        )  # p -> (p - centre - shift) / turn + centre
        turn = np.array([[back.real, -back.imag], [back.imag, back.real]])
        still = turn @ self.moved_transform()
        still[:, 2] += self.corner
        still[:, 2] += (rest.real, rest.imag)
        return still

    def nose(self) -> tuple[float, float]:
        """Where the nose now is in the frame (x, y)."""
        point = self.landmarks[27:36].mean(axis=0, keepdims=True)
        back = cv2.invertAffineTransform(self.moved_transform())
        x, y = transform_points(point, back)[0]
        return float(x), float(y)


class RegionTracker:
    """Measures frames as they come, in rising order; of earlier frames it holds the reference's crop and a thumbnail.

    `motion` (frames, 18 regions and 2 eyes, 2) is NaN where nothing was measured; `segments` (frames,) count the
    stretches whose motion is against one frame, their first, -1 where nothing was measured; `references` (frames,)
    are the numbers of the frames that each was measured against.
    """

    def __init__(self, count: int, settings: RegionFlowSettings, source: Path | str, row: str | None = None) -> None:
        self.settings, self.source, self.row = settings, source, row
        self.motion = np.full((count, _ROWS, 2), np.nan, np.float32)
        self.segments = np.full(count, -1, np.int32)
        self.references = np.full(count, -1, np.int64)
        self.crowded = 0  # looks that saw several faces
        self._reference: _Reference | None = None
        self._segment, self._seen, self._next_look = -1, -1, -np.inf
        self._thumbnail: np.ndarray | None = None
        self._shape: tuple[int, ...] | None = None

    def add(self, index: int, number: int, time: float, image: np.ndarray) -> None:
        """Measure a frame (uint8 RGB), the one of position `index`. Raises DataError for one of another size."""
        self._check_size(number, image)
        if self._reference is not None:
            grey = to_grey(image)
            motion, crop = self._measure(grey)
            if self._is_cut(crop):
                self._reference, self._next_look = None, time
            else:
                self.motion[index], self.segments[index] = motion, self._segment
                self.references[index] = self._reference.number
                if time >= self._next_look or index == len(self.motion) - 1:
                    self._look_after(index, number, time, image)
        elif time >= self._next_look:
            self._next_look = time + LOOK
            face = self._find(image, None)
            if face is not None:
                self._begin(index, number, time, image, face)
        if self._reference is None and time >= self._next_look:  # lost at this frame: another face may be in it
            self._next_look = time + LOOK
            face = self._find(image, None)
            if face is not None:
                self._begin(index, number, time, image, face)

    def _check_size(self, number: int, image: np.ndarray) -> None:
        (height, width), fix = image.shape[:2], "all frames of a video must have one size: unpack it again"
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            what = f"frame {number} is {width}×{height}, those before {self._shape[1]}×{self._shape[0]}"
            raise DataError(self.source, self.row, what, fix)
        if min(height, width) < SMALLEST or max(height, width) > LARGEST:
            what = f"frame {number} is {width}×{height} pixels; a side must have {SMALLEST} to {LARGEST:,}"
            raise DataError(self.source, self.row, what, "export the video again in its own size")

    def _find(self, image: np.ndarray, near: tuple[float, float] | None) -> Face | None:
        try:
            face = FaceFinder().find(image, self.source, self.row, near)
        except DataError:
            return None
        self.crowded += any("faces" in note for note in face.notes)
        return face

    def _begin(self, index: int, number: int, time: float, image: np.ndarray, face: Face) -> None:
        """A new segment: nothing joins it to what was before."""
        self._segment += 1
        self._refer(number, time, image, face, np.zeros((_ROWS, 2), np.float32))
        self.motion[index], self.segments[index], self.references[index] = 0, self._segment, number
        self._seen, self._next_look = index, time + LOOK

    def _refer(self, number: int, time: float, image: np.ndarray, face: Face, start: np.ndarray) -> None:
        """Take a frame as reference; the alignment is the clip's of `crop.align_transform`."""
        transform = align_transform(face.landmarks)
        # only the part of the crop that is looked at: flow costs by the pixel
        corner, size = _measured_area(transform_points(face.landmarks, transform))
        transform[:, 2] -= corner
        grey = crop_frame(to_grey(image), transform, size)
        landmarks = transform_points(face.landmarks, transform)
        self._reference = _Reference(
            number, time, transform, grey, landmarks, start.copy(), face_width(face.landmarks), corner
        )
        self._boxes = spotting_boxes(landmarks, grey.shape)
        boxes = region_boxes(landmarks, grey.shape)
        self._eyes = {name: boxes[name] for name in EYES if name in boxes}
        self._masked = lid_mask(landmarks, grey.shape) if self.settings.eye_mask else None
        self._thumbnail = _shrink(grey)

    def _measure(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Motion (rows, 2) since the segment began, and the crop that follows the head."""
        reference, mode = self._reference, self.settings.compensate
        for attempt in range(FOLLOW_TRIES):
            crop = crop_frame(grey, reference.moved_transform(), reference.grey.shape[::-1])
            flow = optical_flow(reference.grey, crop, self.settings.method)
            still, head = compensate(flow, reference.landmarks, "nose" if mode == "none" else mode)
            # the head's motion is measured best where the crop has followed it; the shift stays for later frames
            if abs(head.shift) <= FOLLOW or attempt == FOLLOW_TRIES - 1:
                break
            reference.shift += (head.shift.real, head.shift.imag)
        reference.head = head
        if mode == "none":
            still = flow + reference.shift.astype(np.float32)
        eyes = np.full((len(EYES), 2), np.nan, np.float32)
        if len(self._eyes) == len(EYES):
            eyes = region_means(still, self._eyes)
        return reference.start + np.concatenate([strongest_means(still, self._boxes, self._masked), eyes]), crop

    def _is_cut(self, crop: np.ndarray) -> bool:
        before, self._thumbnail = self._thumbnail, _shrink(crop)
        spread = float(before.std() * self._thumbnail.std())
        if spread < 1e-3:  # a plain picture: nothing can be measured on it
            return True
        return float(((before - before.mean()) * (self._thumbnail - self._thumbnail.mean())).mean()) / spread < CUT

    def _look_after(self, index: int, number: int, time: float, image: np.ndarray) -> None:
        """See whether the face is where it was followed to; take a new reference where the window is over.

        What was measured since the last look does not count where the face is gone.
        """
        reference = self._reference
        nose = reference.nose()
        face = self._find(image, nose)
        if face is None or _is_other(face, nose, reference.width):
            for values, nothing in ((self.motion, np.nan), (self.segments, -1), (self.references, -1)):
                values[self._seen + 1 : index + 1] = nothing
            self._reference, self._next_look = None, time if face is not None else time + LOOK
            return
        self._seen, self._next_look = index, time + LOOK
        if time - reference.time >= self.settings.window:
            self._refer(number, time, image, face, self.motion[index])


def _measured_area(landmarks: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Upper left corner (x, y) and (width, height) of the part of a crop that is measured: the regions, the eyes and
    where the head's motion is read, and MARGIN around them."""
    shape = (CROP_HEIGHT, CROP_WIDTH)
    covered = stable_mask(landmarks, shape)
    for boxes in (spotting_boxes(landmarks, shape), region_boxes(landmarks, shape)):
        for name in boxes.keys() & {*SPOTTING_REGIONS, *EYES}:
            covered[boxes[name]] = True
    y, x = np.nonzero(covered)
    low = np.maximum(np.array([x.min(), y.min()]) - MARGIN, 0)
    high = np.minimum(np.array([x.max(), y.max()]) + 1 + MARGIN, (CROP_WIDTH, CROP_HEIGHT))
    width, height = (int(length) for length in high - low)
    return low.astype(np.float64), (width, height)


def _shrink(crop: np.ndarray) -> np.ndarray:
    return cv2.resize(crop, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA).astype(np.float32)


def _is_other(face: Face, nose: tuple[float, float], width: float) -> bool:
    """Whether a face is not that of the width whose nose (x, y) should be there."""
    away = float(np.linalg.norm(face.landmarks[27:36].mean(axis=0) - nose))
    ratio = face_width(face.landmarks) / width
    return away > JUMP * width or not 1 / GROWTH <= ratio <= GROWTH


def mark_blinks(eyes: np.ndarray, times: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Boolean (frames,): the lids move fast, or are closed in between. `eyes` (frames, 2, 2) in pixels."""
    blink = np.zeros(len(times), bool)
    for segment in range(segments.max(initial=-1) + 1):
        rows = np.flatnonzero(segments == segment)
        if len(rows) < 3:
            continue
        speed = np.linalg.norm(np.gradient(eyes[rows], times[rows], axis=0), axis=2).max(axis=1)
        fast = speed > BLINK_SPEED
        reach = max(1, round(BLINK_GAP / np.median(np.diff(times[rows]))))
        # padded: at the ends there is nothing that closing could join
        blink[rows] = fast | binary_closing(np.pad(fast, reach), np.ones(reach + 1))[reach:-reach]
    return blink


@dataclass(frozen=True)
class RegionFlow:
    """Motion of the 18 SPOTTING_REGIONS over a video, in pixels of a face 236 wide (landmark 0 to 16).

    `flow` (frames, 18, 2): x to the right, y down, against the first frame of the segment, NaN where there is no
    face; `frame_numbers` of the measured frames, rising; `times` in seconds from the first frame of the video;
    `blink`; `segments` and `references` as in `RegionTracker`. Against its own reference, not joined, a frame's
    motion is flow[t] - flow[reference of t].
    """

    flow: np.ndarray
    frame_numbers: np.ndarray
    times: np.ndarray
    blink: np.ndarray
    segments: np.ndarray
    references: np.ndarray


def measure_video(
    images: Iterable[tuple[int, np.ndarray | None]],
    numbers: np.ndarray,
    times: np.ndarray,
    settings: RegionFlowSettings,
    source: Path | str,
    row: str | None = None,
    tracker: RegionTracker | None = None,
) -> tuple[RegionFlow, list[str], list[str]]:
    """Region flow of the frames (number, uint8 RGB) as they come, faults and warnings; `tracker`: who measures them.

    `numbers` and `times` (frames,) are those of all frames to come; None instead of an image is passed over. A frame
    that raises DataError ends the series, as a fault: what was measured before is kept. Raises DataError where no
    frame has a face.
    """
    tracker, faults, count = tracker or RegionTracker(len(numbers), settings, source, row), [], 0
    read = np.zeros(len(numbers), bool)
    try:
        for number, image in images:
            if number != numbers[count]:
                raise ValueError(f"frame {number} where {numbers[count]} should come")
            if image is not None:
                tracker.add(count, number, float(times[count]), image)
                read[count] = True
            del image  # else it is held while the next is decoded
            count += 1
    except DataError as error:
        faults.append(f"measured up to {count} of {len(numbers)} frames: {error.problem.what}")
    if not (tracker.segments[:count] >= 0).any():
        what = faults[0] if faults else f"no face in any of the {read.sum()} frame(s)"
        raise DataError(source, row, what, "look at the video: the face must be seen from the front, upright")
    flow = RegionFlow(
        tracker.motion[:count, : len(SPOTTING_REGIONS)],
        np.asarray(numbers[:count], np.int64),
        np.asarray(times[:count], np.float64),
        mark_blinks(tracker.motion[:count, len(SPOTTING_REGIONS) :], times[:count], tracker.segments[:count]),
        tracker.segments[:count],
        tracker.references[:count],
    )
    return flow, faults, _warnings(flow, read[:count], tracker.crowded)


def _warnings(flow: RegionFlow, read: np.ndarray, crowded: int) -> list[str]:
    """What a person should know of a series that can be used; `read` (frames,): there was an image."""
    warnings, absent = [], (flow.segments < 0) & read
    if absent.any():
        edges = np.flatnonzero(np.diff(np.pad(absent, 1).astype(int))).reshape(-1, 2)  # (stretches, first and end)
        stretches = [f"{flow.times[first]:.1f} to {flow.times[end - 1]:.1f} s" for first, end in edges[:3]]
        more = f" and {len(edges) - 3} more stretches" if len(edges) > 3 else ""
        warnings.append(f"no face in {absent.sum()} of {len(absent)} frames: {', '.join(stretches)}{more}")
    if (count := int(flow.segments.max()) + 1) > 1:
        warnings.append(f"{count} segments, each measured from its own first frame: the face was lost, or a cut")
    if crowded:
        warnings.append("several faces: the largest was followed")
    return warnings
