"""A clip as pictures and as motion: each frame is one backward warp of the subject's texture, never of another frame.

With E the expression's displacement and R the head's pose at a time, a point p of the neutral face is seen at
D(p) = p + w(p) (R(p + E(p)) - p), w fading from 1 on the head to 0 far from it. A frame samples the texture at the
inverse of D; the true flow from frame a to frame b is D_b(D_a⁻¹(x)) - x.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from megc.synthesis.subjects import MARGIN, Subject, View, make_subject
from megc.synthesis.unit_fields import STEP, TILT, node_grid, unit_field, upsample

REFERENCE_FACE = 236.0  # width of the face, in pixels, that amplitudes are given for
_POSE_SD = np.array([2.6, 2.6, 0.006, 0.002, 0.014, 0.014])  # x, y (px), roll (rad), scale, yaw, pitch (rad)
_POSE_SECONDS = 0.3


@dataclass(frozen=True)
class UnitMotion:
    """An action unit of a clip: FACS number, side or None, and how far its furthest point goes (px, face 236 px)."""

    number: int
    side: str | None
    amplitude: float


@dataclass(frozen=True)
class ClipSpec:
    """Everything that makes a synthetic clip; the same spec gives the same bytes.

    `onset`, `apex`, `offset` are true frame numbers. `blink` is (seconds after the onset when the lids meet, seconds
    it lasts) or None. `drift` scales head motion, `noise` the sensor's noise, `variation` how far the subject's
    action units differ from the table. `emotion` is the fine emotion, `others` included.
    """

    id: str
    seed: int
    subject_seed: int
    view: View
    onset: int
    apex: int
    offset: int
    units: tuple[UnitMotion, ...]
    emotion: str
    fps: float = 200.0
    blink: tuple[float, float] | None = None
    drift: float = 1.0
    noise: float = 1.0
    variation: float = 1.0


@lru_cache(maxsize=2)
def _noise_bank(shape: tuple[int, ...]) -> np.ndarray:
    """Unit noise, a little correlated as after demosaicing; frames take shifted cuts of it."""
    rng = np.random.default_rng(11)
    bank = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.45)
    return bank / bank.std()


def smooth_noise(rng: np.random.Generator, count: int, sigma: float) -> np.ndarray:
    """`count` samples of smooth noise of unit variance, whose correlation falls off over `sigma` samples."""
    pad = int(4 * sigma) + 1
    noise = gaussian_filter1d(rng.standard_normal(count + 2 * pad), sigma)
    return noise[pad : pad + count] * np.sqrt(2 * np.sqrt(np.pi) * sigma)


def minimum_jerk(share: np.ndarray) -> np.ndarray:
    """Rise from 0 to 1 of least jerk (Flash and Hogan 1985)."""
    share = np.clip(share, 0, 1)
    return share**3 * (10 - 15 * share + 6 * share**2)


def pose_path(spec: ClipSpec) -> np.ndarray:
    """Head pose at each frame from onset to offset, (frames, 6): x and y in pixels of a face 236 px wide, roll in
    radians, scale less 1, yaw and pitch in radians; the tilt of action unit 56 is not in it."""
    rng = np.random.default_rng([spec.seed, 4])
    count, sigma = spec.offset - spec.onset + 1, _POSE_SECONDS * spec.fps
    return np.stack([smooth_noise(rng, count, sigma) for _ in _POSE_SD], 1) * _POSE_SD * spec.drift


class Rendering:
    """One clip, ready to be drawn: `image(n)` of a frame number, `flow(a, b)` between two.

    Raises KeyError for an action unit without a field, ValueError for a frame number outside the clip.
    """

    inverse_rounds = 4  # for motions of a few pixels: leaves less than .001 px

    def __init__(self, spec: ClipSpec) -> None:
        """Subject, unit fields at the nodes, and the head's weight and depth there; then the course over time."""
        self.spec, self.view = spec, spec.view
        self.subject: Subject = make_subject(spec.subject_seed, spec.view)
        self.face = float(self.subject.points[16, 0] - self.subject.points[0, 0])
        self.pixels = self.face / REFERENCE_FACE
        self.nodes = node_grid(self.view.width, self.view.height)
        points = self.subject.points
        self.fields = [
            unit_field(points, self.face, unit.number, unit.side, self.nodes, spec.subject_seed, spec.variation)
            for unit in spec.units
        ]
        self.centre = (points[27:34].mean(0) - (0, -0.1 * self.face)).astype(np.float32)
        from_centre = (self.nodes - self.centre) / self.face
        radius = np.hypot(from_centre[..., 0], from_centre[..., 1] / 1.15)
        self.on_head = (1 - minimum_jerk((radius - 0.9) / 0.8))[..., None].astype(np.float32)
        bulge = np.clip(1 - (from_centre[..., 0] / 0.62) ** 2 - (from_centre[..., 1] / 0.85) ** 2, 0, None)
        self.depth = (0.5 * self.face * np.sqrt(bulge + 0.02)).astype(np.float32)
        self._plan_time()

    def _plan_time(self) -> None:
        """Curves (units, frames) in frame pixels, head pose, gain, sensor noise and lids of every frame.

        The order of draws decides the bytes of every set: add new ones at the end.
        """
        spec, rng = self.spec, np.random.default_rng([self.spec.seed, 3])
        count = spec.offset - spec.onset + 1
        time = np.arange(count)
        self.curves = np.zeros((len(spec.units), count))
        for index, unit in enumerate(spec.units):
            late = 0.0 if index == 0 else rng.normal(0, 0.03) * count
            # units after the first peak a little earlier or later; the first one makes the apex
            peak = (
                np.clip(spec.apex - spec.onset + late, 0.15 * count, 0.85 * count) if late else spec.apex - spec.onset
            )
            rise, fall = (
                minimum_jerk(time / max(peak, 1)),
                minimum_jerk((count - 1 - time) / max(count - 1 - peak, 1)),
            )
            self.curves[index] = unit.amplitude * self.pixels * np.where(time <= peak, rise, fall)
        self.pose = pose_path(spec)
        self.pose[:, :2] *= self.pixels
        self._tilt_head()
        self._plan_light(rng)
        self.lids = np.zeros(count)
        if spec.blink:
            middle, length = spec.blink[0] * spec.fps, spec.blink[1] * spec.fps
            self.lids = minimum_jerk(1.15 * (1 - np.abs(time - middle) / (length / 2)))

    def _tilt_head(self) -> None:
        for unit, curve in zip(self.spec.units, self.curves, strict=True):
            if unit.number == TILT:  # the head tilts to the subject's right: clockwise in the picture is its left
                self.pose[:, 2] -= curve / (0.5 * self.face)

    def _plan_light(self, rng: np.random.Generator) -> None:
        """Gain of every frame, the sensor's noise, and how well the frames are compressed."""
        spec, count = self.spec, self.spec.offset - self.spec.onset + 1
        self.gain = 1 + 0.004 * smooth_noise(rng, count, _POSE_SECONDS * spec.fps) + rng.normal(0, 0.0015, count)
        self.noise_sd = spec.noise * rng.uniform(1.0, 2.2)
        self.jpeg_quality = int(rng.integers(86, 94))

    def _index(self, number: int) -> int:
        if not self.spec.onset <= number <= self.spec.offset:
            raise ValueError(f"frame {number} is outside {self.spec.onset}..{self.spec.offset} of {self.spec.id}")
        return number - self.spec.onset

    def _expression(self, index: int) -> np.ndarray:
        total = np.zeros_like(self.nodes)
        for curve, field in zip(self.curves, self.fields, strict=True):
            if curve[index]:  # most action units of a long video rest
                total += np.float32(curve[index]) * field
        return total

    def displacement(self, expression: int, pose: int) -> np.ndarray:
        """D(p) - p at the nodes, float32, with the expression of one frame index and the pose of another."""
        x, y, roll, scale, yaw, pitch = self.pose[pose]
        moved = self.nodes + self._expression(expression)
        moved += self.depth[..., None] * np.array([yaw, pitch], np.float32)
        cos, sin = (1 + scale) * np.cos(roll), (1 + scale) * np.sin(roll)
        turn = np.array([[cos, sin], [-sin, cos]], np.float32)
        posed = (moved - self.centre) @ turn + (self.centre + np.array([x, y], np.float32))
        return (self.on_head * (posed - self.nodes)).astype(np.float32)

    def _sample(self, field: np.ndarray, places: np.ndarray) -> np.ndarray:
        at = (places - np.float32((STEP - 1) / 2)) / np.float32(STEP)
        return cv2.remap(field, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _inverse(self, displacement: np.ndarray) -> np.ndarray:
        """Places p on the neutral face that are seen at the nodes, by fixed-point iteration."""
        places = self.nodes - displacement
        for _ in range(self.inverse_rounds):
            places = self.nodes - self._sample(displacement, places)
        return places

    def flow(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True motion from frame `first` to frame `second`, at the pixels of the first.

        Returns `total` (H, W, 2) float32, pixels, x right, y down; `expression` the same with the pose of the first
        frame in both; `valid` (H, W) bool, False around the eyes where a blink shows or hides skin between the two.
        """
        a, b = self._index(first), self._index(second)
        places = self._inverse(self.displacement(a, a))
        shape = (self.view.width, self.view.height)
        total, expression = (
            upsample(places + self._sample(self.displacement(b, pose), places) - self.nodes, *shape) for pose in (b, a)
        )
        # a blink covers skin, where there is no true motion to tell
        valid = np.ones(shape[::-1], np.uint8)
        if max(self.lids[a], self.lids[b]) > 0.02:
            for eye in (slice(36, 42), slice(42, 48)):
                centre = self.subject.points[eye].mean(0).astype(int).tolist()
                cv2.ellipse(valid, (centre, (0.34 * self.face, 0.24 * self.face), 0), 0, -1)
        return total, expression, valid.astype(bool)

    def image(self, number: int) -> np.ndarray:
        """Frame `number`: uint8 (H, W, 3) BGR, or (H, W) for a grey camera, before JPEG."""
        index = self._index(number)
        places = self._inverse(self.displacement(index, index))
        gain = self._shading(index, places) * np.float32(self.gain[index])
        places = upsample(places, self.view.width, self.view.height)
        if self.lids[index] > 0.02:
            self._close_lids(places, gain, self.lids[index])
        at = 2 * places + np.float32(2 * MARGIN + 0.5)  # the texture has twice the frame's resolution
        seen = cv2.remap(self.subject.texture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        bank = _noise_bank((self.view.height + 64, self.view.width + 64, *seen.shape[2:]))
        # a shifted cut of one bank of noise, with its sign: noise of its own for a frame, at no cost
        dy, dx, sign = np.random.default_rng([self.spec.seed, number, 5]).integers(0, (64, 64, 2))
        noise = bank[dy : dy + self.view.height, dx : dx + self.view.width]
        if seen.ndim == 3:
            gain = cv2.merge([gain, gain, gain])
        lit = cv2.multiply(seen, gain, dtype=cv2.CV_32F)
        return cv2.scaleAdd(noise, float(self.noise_sd * (2 * sign - 1)), lit).clip(0, 255).round().astype(np.uint8)

    def _shading(self, index: int, places: np.ndarray) -> np.ndarray:
        """Folds darken where skin is pressed together, and the gap of parting lips is dark: a factor a pixel."""
        expression = self._expression(index)
        pressed = np.gradient(expression[..., 0], STEP, axis=1) + np.gradient(expression[..., 1], STEP, axis=0)
        shade = np.clip(1 + np.where(pressed < 0, 0.5, 0.2) * pressed, 0.75, 1.1).astype(np.float32)
        gap = sum(
            float(curve[index])
            for unit, curve in zip(self.spec.units, self.curves, strict=True)
            if unit.number in (25, 26)
        )
        shade = upsample(self._sample(shade, places), self.view.width, self.view.height)
        if gap > 0.05:
            self._open_mouth(upsample(places, self.view.width, self.view.height), shade, gap / self.pixels)
        return shade

    def _open_mouth(self, places: np.ndarray, shade: np.ndarray, gap: float) -> None:
        line = self.subject.points[[60, 61, 62, 63, 64]]
        box = self._box(line, 0.06)
        x, y = places[box][..., 0], places[box][..., 1]
        away = (y - np.interp(x, line[:, 0], line[:, 1])) / (0.007 * self.face)
        along = np.clip((x - line[0, 0]) * (line[-1, 0] - x) / (line[-1, 0] - line[0, 0]) ** 2 * 4, 0, 1)
        shade[box] *= 1 - 0.55 * min(1.0, gap / 4) * along * np.exp(-0.5 * away**2)

    def _box(self, points: np.ndarray, border: float) -> tuple[slice, slice]:
        low = np.floor(points.min(0) - border * self.face - 8).astype(int).clip(0)
        high = np.ceil(points.max(0) + border * self.face + 8).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _close_lids(self, places: np.ndarray, gain: np.ndarray, closed: float) -> None:
        """Draw the upper lids down: skin above the eye is stretched to the lid's line, which covers what is below."""
        for start, upper, lower in (
            (36, (36, 37, 38, 39), (36, 41, 40, 39)),
            (42, (42, 43, 44, 45), (42, 47, 46, 45)),
        ):
            points = self.subject.points
            box = self._box(points[start : start + 6], 0.07)
            x, y = places[box][..., 0], places[box][..., 1]
            # skin lines lie just outside the landmarks, which sit on the lashes
            top, bottom = (np.interp(x, points[list(lid), 0], points[list(lid), 1]) for lid in (upper, lower))
            top = top - 0.008 * self.face
            crease = top - 0.05 * self.face
            inside = (x > points[start, 0]) & (x < points[start + 3, 0])
            lid = top + closed * np.maximum(bottom - top, 0)
            covered = inside & (y > crease) & (y < lid)
            stretched = crease + (y - crease) * (top - crease) / np.maximum(lid - crease, 1e-3)
            lash = np.exp(-0.5 * ((y - lid) / (0.007 * self.face)) ** 2)
            gain[box] *= 1 - np.where(inside, 0.45 * closed * lash, 0).astype(np.float32)
            places[box][..., 1] = np.where(covered, stretched, y)


def render_clip(spec: ClipSpec, numbers: Iterable[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (frame number, image) of the clip's frames, all from onset to offset or those in `numbers`."""
    rendering = Rendering(spec)
    for number in range(spec.onset, spec.offset + 1) if numbers is None else numbers:
        yield number, rendering.image(number)


def true_flow(spec: ClipSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Rendering.flow` from the onset to the apex: total, expression, valid."""
    return Rendering(spec).flow(spec.onset, spec.apex)
