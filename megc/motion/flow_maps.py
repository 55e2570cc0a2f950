"""Maps of the motion of brows, eyes and mouth between frames a tenth of a second apart: what MEAN and SOFTNet read.

As published (genbing99/MEAN_Spot-then-recognize @9009b5c, feature_extraction.py and face_crop.py): the face in a
square of 128 pixels, flow from frame i to frame i + k, its strain, and of both the strip from brow to brow over the
mouth, 42 by 21 pixels each. What differs here:

- The original cuts all frames by dlib's box of the face in the first, and predicts landmarks on that cut. Here eyes
  and nose place the square, which is placed anew every `look` seconds, for a head that moves away. The two frames of a
  pair are cut alike, so that no jump of the square is in the flow.
- k is a time, so that 30 and 200 frames a second are one, and frames may be taken at 30 a second.
- Maps are kept in pixels. What else the networks differ in is left to who reads them (`ScaledMaps`): the scaling to 0
  to 1, and SOFTNet's subtraction of the nose's motion and mask of the eyes. So they are measured once for all.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from megc.motion.crop import align_transform, crop_frame, transform_points
from megc.motion.faces import FaceFinder
from megc.motion.flow import optical_flow, to_grey
from megc.motion.region_stream import CUT, LOOK
from megc.motion.settings import FlowMapSettings
from megc.problems import DataError

SQUARE = 128  # pixels of a side of the square that holds the face
SIZE = 42  # of a map: the brows fill its upper half, the mouth its lower
CHANNELS = ("u", "v", "strain")
# The square in the aligned crop of `crop.align_transform`, left, top and side: about what dlib's box of a face holds,
# with room for MARGIN above the brows.
_LEFT, _TOP, _SIDE = 8, 60, 264
PIXEL = _SIDE / SQUARE  # pixels of a face 236 wide in a pixel of the square
MARGIN = 12  # pixels of the square around the landmarks of brows and mouth
EYE_MARGIN = 15  # pixels of the square that SOFTNet moves the lids' landmarks outwards
_NOSE, _NOSE_HALF = 28, 5  # the landmark whose motion SOFTNet takes for the head's, and half of its box of 11 pixels
# How SOFTNet moves the six landmarks of an eye, from the corner on: left, up, up, right, down, down.
_OUTWARDS = np.array([(-1, 0), (0, -1), (0, -1), (1, 0), (0, 1), (0, 1)], np.float32)


@dataclass(frozen=True)
class _Placement:
    """Where the face is from a frame on: the transform (2, 3) to the square, the boxes (rows, columns) of brows, mouth
    and nose in it, and the eyes (SQUARE, SQUARE). `index` counts the placements of a video."""

    index: int
    transform: np.ndarray
    brows: tuple[slice, slice]
    mouth: tuple[slice, slice]
    nose: tuple[slice, slice]
    eyes: np.ndarray


@dataclass(frozen=True)
class _Start:
    """A frame whose partner is still to come, cut by the placement of its time."""

    index: int
    time: float
    grey: np.ndarray
    placement: _Placement


def strain_of(flow: np.ndarray) -> np.ndarray:
    """Strain (H, W) of a flow (H, W, 2): sqrt(ux² + vy² + (uy + vx)² / 2) of differences of neighbours.

    The last row and column repeat those before them.
    """

    def change(values: np.ndarray, axis: int) -> np.ndarray:
        return np.pad(np.diff(values, axis=axis), [(0, int(axis == other)) for other in range(2)], mode="edge")

    u, v = flow[..., 0], flow[..., 1]
    shear = change(u, 0) + change(v, 1)
    return np.sqrt(change(u, 1) ** 2 + change(v, 0) ** 2 + shear**2 / 2)


def place_face(landmarks: np.ndarray, index: int = 0) -> _Placement:
    """The placement of a face by its landmarks (68, 2) in a frame."""
    transform = align_transform(landmarks)
    transform[:, 2] -= (_LEFT, _TOP)
    transform /= PIXEL
    transform[:, 2] += 0.5 * (1 / PIXEL - 1)  # pixels are squares: the middle of the first is at half a pixel in both
    points = transform_points(landmarks, transform)
    # the original's corners: brows from landmark 17 to 26, down to the lower lids; mouth by 60, 64 and 50, 57
    top, bottom = min(points[19, 1], points[24, 1]), max(points[41, 1], points[46, 1])
    brows = _box(points[17, 0] - MARGIN, top - MARGIN, points[26, 0] + MARGIN, bottom + MARGIN)
    mouth = _box(points[60, 0] - MARGIN, points[50, 1] - MARGIN, points[64, 0] + MARGIN, points[57, 1] + MARGIN)
    x, y = points[_NOSE]
    nose = _box(x - _NOSE_HALF, y - _NOSE_HALF, x + _NOSE_HALF + 1, y + _NOSE_HALF + 1)
    eyes = np.zeros((SQUARE, SQUARE), np.uint8)
    for first in (36, 42):
        lids = points[first : first + 6] + EYE_MARGIN * _OUTWARDS
        cv2.fillPoly(eyes, [np.rint(lids).astype(np.int32)], 1)
    return _Placement(index, transform, brows, mouth, nose, eyes.astype(bool))


def _box(left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """(rows, columns) of a box, cut at the border of the square; at least two pixels a side."""
    spans = []
    for low, high in ((top, bottom), (left, right)):
        start = int(np.clip(round(float(low)), 0, SQUARE - 2))
        spans.append(slice(start, max(start + 2, min(SQUARE, round(float(high))))))
    return spans[0], spans[1]


def _shrink(field: np.ndarray, placement: _Placement) -> np.ndarray:
    """The map (SIZE, SIZE, …) of a field over the square: brows over mouth."""
    half = (SIZE, SIZE // 2)
    return np.concatenate(
        [cv2.resize(np.ascontiguousarray(field[box]), half) for box in (placement.brows, placement.mouth)]
    )


@dataclass(frozen=True)
class PairMotion:
    """Motion of a pair of frames: `map` (SIZE, SIZE, 3), CHANNELS, with u and v in pixels of a face 236 wide; `nose`
    (3,), the mean of the nose; `ranges` (2, 3, 2), least and most over the whole square, and over it without the eyes.
    """

    map: np.ndarray
    nose: np.ndarray
    ranges: np.ndarray


def measure_pair(first: np.ndarray, second: np.ndarray, placement: _Placement, method: str) -> PairMotion:
    """The motion between two squares (SQUARE, SQUARE) uint8 that were cut by one placement."""
    flow = optical_flow(first, second, method)
    field = np.dstack([flow * PIXEL, strain_of(flow)]).astype(np.float32)
    awake = field[~placement.eyes]
    ranges = [np.stack([part.min(axis=0), part.max(axis=0)], axis=1) for part in (field.reshape(-1, 3), awake)]
    return PairMotion(_shrink(field, placement), field[placement.nose].mean(axis=(0, 1)), np.stack(ranges))


def cut_face(image: np.ndarray, placement: _Placement) -> np.ndarray:
    """The square (SQUARE, SQUARE) uint8 of a frame, RGB or grey."""
    return crop_frame(to_grey(image), placement.transform, (SQUARE, SQUARE))


@dataclass(frozen=True)
class FlowMaps:
    """Maps of a video, `maps` float16 (frames, SIZE, SIZE, 3), perhaps a memory map: the motion from a frame to that
    `interval` seconds later, u and v in pixels of a face 236 wide.

    `frame_numbers` and `times` (frames,), seconds from the first frame of the video, are of the first frame of each
    pair; `segments` (frames,) count the stretches without a gap, -1 where nothing was measured, as at the end: the map
    is 0 there. `nose` (frames, 3), `ranges` (frames, 2, 3, 2): see `PairMotion`. `eyes` (placements, SIZE, SIZE) are
    the masks of the eyes, and `placements` (frames,) says which of them a map has.
    """

    maps: np.ndarray
    frame_numbers: np.ndarray
    times: np.ndarray
    segments: np.ndarray
    nose: np.ndarray
    ranges: np.ndarray
    placements: np.ndarray
    eyes: np.ndarray


Scale = Literal["pixels", "pair", "video"]


class ScaledMaps:
    """The maps of a video as a network reads them, by the rows that are asked for.

    `pair` scales each channel of a pair to 0 to 1 by its least and most over the square, as published; `video` by
    those of all pairs of the video; `pixels` not, but for the strain, which is in percent, so that all three are about
    1. `nose_subtract` (SOFTNet) takes the nose's mean from all three and the amount of what is left of u and v;
    `eye_mask` (SOFTNet) sets the eyes to no motion. SOFTNet does both before the map is made smaller, here after.
    """

    def __init__(self, flow: FlowMaps, scale: Scale, nose_subtract: bool = False, eye_mask: bool = False) -> None:
        self.flow, self.nose_subtract, self.eye_mask = flow, nose_subtract, eye_mask
        low, high = flow.ranges[:, int(eye_mask), :, 0], flow.ranges[:, int(eye_mask), :, 1]  # (frames, 3)
        if nose_subtract:
            low, high = low - flow.nose, high - flow.nose
            high[:, :2] = np.maximum(np.abs(low[:, :2]), np.abs(high[:, :2]))
            low[:, :2] = 0
        if scale == "pixels":
            low, high = np.zeros_like(low), np.full_like(high, (1, 1, 0.01))
        elif scale == "video":
            seen = flow.segments >= 0
            low, high = (np.broadcast_to(end, low.shape) for end in (low[seen].min(axis=0), high[seen].max(axis=0)))
        self.low, self.length = low, np.maximum(high - low, 1e-6)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Maps (rows, 3, SIZE, SIZE) float32 of the indices `rows` (rows,). Raises DataError for NaN in them."""
        flow = self.flow
        maps = flow.maps[rows].astype(np.float32)
        if not np.isfinite(maps).all():  # looked for here: all maps of an hour would have to be read before
            path = getattr(flow.maps, "filename", None) or "flow maps"
            raise DataError(path, None, "maps hold something that is no finite number", "measure the video again")
        if self.nose_subtract:
            maps -= flow.nose[rows, None, None]
            maps[..., :2] = np.abs(maps[..., :2])
        if self.eye_mask:
            maps[flow.eyes[flow.placements[rows]]] = 0
        maps = (maps - self.low[rows, None, None]) / self.length[rows, None, None]
        return np.ascontiguousarray(maps.transpose(0, 3, 1, 2), np.float32)


class FlowMapStream:
    """Measures frames as they come, in rising order. It holds the squares of the last `interval` seconds; each map
    goes to `put` with its index as soon as it is measured."""

    def __init__(
        self,
        times: np.ndarray,
        settings: FlowMapSettings,
        put: Callable[[int, np.ndarray], None],
        source: Path | str,
        row: str | None = None,
    ) -> None:
        count = len(times)
        self.settings, self.put, self.source, self.row = settings, put, source, row
        self.measured = np.zeros(count, bool)
        self.nose = np.zeros((count, 3), np.float32)
        self.ranges = np.zeros((count, 2, 3, 2), np.float32)
        self.placements = np.zeros(count, np.int32)
        self.eyes: list[np.ndarray] = []
        self._half_step = float(np.median(np.diff(times))) / 2 if count > 1 else 0.0
        self._waiting: deque[_Start] = deque()
        self._placement: _Placement | None = None
        self._seen, self._next_look = 0, -np.inf
        self._shape: tuple[int, ...] | None = None

    def add(self, index: int, number: int, time: float, image: np.ndarray) -> None:
        """Measure the pairs that a frame (uint8 RGB) ends. Raises DataError for one of another size."""
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            what = f"frame {number} is {image.shape[1]}×{image.shape[0]}, those before "
            fix = "all frames of a video must have one size: unpack it again"
            raise DataError(self.source, self.row, f"{what}{self._shape[1]}×{self._shape[0]}", fix)
        interval = self.settings.interval
        while self._waiting and time >= self._waiting[0].time + interval - self._half_step:
            start = self._waiting.popleft()
            if time - start.time > 1.5 * interval:  # frames are missing between them
                continue
            square = cut_face(image, start.placement)
            if _correlation(start.grey, square) < CUT:  # the camera has cut, or something covers the face
                self._waiting.clear()
                self._seen, self._next_look = index, time  # what was measured before it counts
                break
            motion = measure_pair(start.grey, square, start.placement, self.settings.method)
            self._keep(start, motion)
        if time >= self._next_look:
            self._look(index, time, image)
        if self._placement is not None:
            self._waiting.append(_Start(index, time, cut_face(image, self._placement), self._placement))

    def _keep(self, start: _Start, motion: PairMotion) -> None:
        index = start.index
        self.measured[index], self.placements[index] = True, start.placement.index
        self.nose[index], self.ranges[index] = motion.nose, motion.ranges
        self.put(index, motion.map.astype(np.float16))

    def _look(self, index: int, time: float, image: np.ndarray) -> None:
        """Place the square by the face of this frame. Where it is gone, what was measured since the last look does not
        count."""
        try:
            face = FaceFinder().find(image, self.source, self.row, self._nose())
        except DataError:
            self.measured[self._seen : index] = False
            self._placement, self._next_look = None, time + LOOK
            self._waiting.clear()
            return
        self._placement = place_face(face.landmarks, len(self.eyes))
        self.eyes.append(_shrink(self._placement.eyes.astype(np.float32), self._placement) >= 0.5)
        self._seen, self._next_look = index, time + self.settings.look

    def _nose(self) -> tuple[float, float] | None:
        """Where the nose is in the frame (x, y) by the last placement."""
        if self._placement is None:
            return None
        rows, columns = self._placement.nose
        middle = np.array([[(columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2]])
        x, y = transform_points(middle, cv2.invertAffineTransform(self._placement.transform))[0]
        return float(x), float(y)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two squares at an eighth of their size; 0 for a plain picture."""
    small = [
        cv2.resize(square, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA).ravel()
        for square in (first, second)
    ]
    small = [part.astype(np.float64) - part.mean() for part in small]
    spread = float(np.linalg.norm(small[0]) * np.linalg.norm(small[1]))
    return float(small[0] @ small[1]) / spread if spread > 1e-3 else 0.0


def measure_maps(
    images: Iterable[tuple[int, np.ndarray | None]],
    numbers: np.ndarray,
    times: np.ndarray,
    settings: FlowMapSettings,
    put: Callable[[int, np.ndarray], None],
    source: Path | str,
    row: str | None = None,
) -> tuple[FlowMaps, list[str], list[str]]:
    """Measure the frames (number, uint8 RGB) as they come; maps go to `put`, all else is returned (`maps` is empty),
    with faults and warnings.

    `numbers` and `times` (frames,) are those of all frames to come; None instead of an image is passed over. A frame
    that raises DataError ends the series, as a fault. Raises DataError where no pair of frames could be measured.
    """
    stream, faults, count = FlowMapStream(times, settings, put, source, row), [], 0
    try:
        for number, image in images:
            if number != numbers[count]:
                raise ValueError(f"frame {number} where {numbers[count]} should come")
            if image is not None:
                stream.add(count, number, float(times[count]), image)
            del image  # else it is held while the next is decoded
            count += 1
    except DataError as error:
        faults.append(f"measured up to {count} of {len(numbers)} frames: {error.problem.what}")
    measured = stream.measured[:count]
    if not measured.any():
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        what = faults[0] if faults else "no face in any pair of frames"
        if step > 1.5 * settings.interval:
            what = f"its frames are {step:.2f} s apart: motion over {settings.interval} s cannot be measured"
        raise DataError(
            source, row, what, "look at the video: a face seen from the front, at 10 frames a second or more"
        )
    begins = measured & ~np.concatenate([[False], measured[:-1]])
    segments = np.where(measured, np.cumsum(begins) - 1, -1).astype(np.int32)
    flow = FlowMaps(
        np.empty((0, SIZE, SIZE, len(CHANNELS)), np.float16),
        np.asarray(numbers[:count], np.int64),
        np.asarray(times[:count], np.float64),
        segments,
        stream.nose[:count],
        stream.ranges[:count],
        stream.placements[:count],
        np.stack(stream.eyes),
    )
    return flow, faults, _warnings(flow, settings)


def _warnings(flow: FlowMaps, settings: FlowMapSettings) -> list[str]:
    """What a person should know of maps that can be used: stretches without any, but for the end."""
    absent = (flow.segments < 0) & (flow.times < flow.times[-1] - 1.5 * settings.interval)
    if not absent.any():
        return []
    return [f"nothing measured in {absent.sum()} of {len(absent)} frames: no face, a cut, or missing frames"]
