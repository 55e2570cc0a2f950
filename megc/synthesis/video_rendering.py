"""A long video as pictures: one subject whose expressions come and go, who talks, blinks, turns and drifts between.

Each frame is drawn on its own from the subject's texture, as those of clips are (`render.py`), so that a video of any
length needs the memory of one frame and of the motion's curves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from megc.clips import EventType
from megc.synthesis.render import ClipSpec, Rendering, UnitMotion, minimum_jerk, pose_path, smooth_noise
from megc.synthesis.subjects import View

# Lips, jaw and chin, which speech moves: how far, px on a face 236 px wide, and their seconds of smoothness.
_SPEECH = {25: (3.0, 0.06), 26: (4.5, 0.08), 17: (1.5, 0.07)}
_POSTURE_SD = np.array([3.0, 3.0, 0.008, 0.004, 0.02, 0.02])  # as the pose of clips, but slow
_POSTURE_SECONDS = 3.0


@dataclass(frozen=True)
class EventSpec:
    """An expression of a video: true frame numbers, the offset its last frame, and its units at their furthest."""

    name: str
    type: EventType
    onset: int
    apex: int
    offset: int
    units: tuple[UnitMotion, ...]
    emotion: str


@dataclass(frozen=True)
class HeadTurn:
    """The head turns away and back: seconds at which it begins and that it lasts, yaw and pitch at its furthest."""

    begin: float
    seconds: float
    yaw: float
    pitch: float


@dataclass(frozen=True)
class VideoSpec:
    """Everything that makes a long video; the same spec gives the same bytes. Frames are counted from 1.

    `blinks` are (seconds when the lids meet, seconds it lasts), `talks` seconds from and to. `drift` scales all head
    motion, `noise` the sensor's, `variation` how far the subject's action units differ from the table.
    """

    id: str
    seed: int
    subject_seed: int
    view: View
    fps: float
    length: int
    events: tuple[EventSpec, ...] = ()
    blinks: tuple[tuple[float, float], ...] = ()
    talks: tuple[tuple[float, float], ...] = ()
    turns: tuple[HeadTurn, ...] = ()
    drift: float = 1.0
    noise: float = 1.0
    variation: float = 1.0


def event_course(event: EventSpec) -> np.ndarray:
    """How far an expression is from its onset to its offset, 0 to 1 at the apex, for each of its frames.

    A micro-expression rises and falls. A macro-expression is nearly out at half the way to its apex, and stays so
    long after.
    """
    time = np.arange(event.offset - event.onset + 1)
    rise = time / max(event.apex - event.onset, 1)
    fall = (event.offset - event.onset - time) / max(event.offset - event.apex, 1)
    share = np.clip(np.minimum(rise, fall), 0, 1)
    if event.type == "micro":
        return minimum_jerk(share)
    # the last tenth grows all the way, so that only the apex is the furthest
    return 0.9 * minimum_jerk(share / 0.5) + 0.1 * minimum_jerk(share)


def _units_of(spec: VideoSpec) -> tuple[UnitMotion, ...]:
    """Each action unit, by number and side, that the video shows at any time; amplitudes are left to the curves."""
    units = {(unit.number, unit.side): None for event in spec.events for unit in event.units}
    if spec.talks:
        units |= {(number, None): None for number in _SPEECH}
    return tuple(UnitMotion(number, side, 1.0) for number, side in units)


class VideoRendering(Rendering):
    """One long video, ready to be drawn: `image(n)` of a frame number, `flow(a, b)` between two.

    Raises KeyError for an action unit without a field, ValueError for a frame number outside 1 to the length.
    """

    inverse_rounds = 8  # macro-expressions and turns move several pixels

    def __init__(self, spec: VideoSpec) -> None:
        """The subject and its action units, then their course over the whole video."""
        self.video = spec
        camera = {"id": spec.id, "seed": spec.seed, "subject_seed": spec.subject_seed, "view": spec.view}
        levels = {"fps": spec.fps, "drift": spec.drift, "noise": spec.noise, "variation": spec.variation}
        units = _units_of(spec)
        super().__init__(ClipSpec(**camera, **levels, onset=1, apex=1, offset=spec.length, units=units, emotion=""))

    def _plan_time(self) -> None:
        """Curves (units, frames) in frame pixels, pose, gain, noise and lids of every frame.

        The order of draws decides the bytes of every set: add new ones at the end.
        """
        spec, rng = self.video, np.random.default_rng([self.video.seed, 13])
        seconds = np.arange(spec.length) / spec.fps
        self._plan_pose(seconds, rng)
        self._plan_light(rng)
        self.lids = np.zeros(spec.length)
        for middle, lasting in spec.blinks:
            closing = minimum_jerk(1.15 * (1 - np.abs(seconds - middle) / (lasting / 2)))
            self.lids = np.maximum(self.lids, closing)
        rows = {(unit.number, unit.side): index for index, unit in enumerate(self.spec.units)}
        self.curves = np.zeros((len(rows), spec.length), np.float32)
        for event in spec.events:
            course = event_course(event)
            for unit in event.units:
                curve = self.curves[rows[unit.number, unit.side]]
                curve[event.onset - 1 : event.offset] += unit.amplitude * self.pixels * course
        self._plan_speech(rows, rng)
        self._tilt_head()

    def _plan_pose(self, seconds: np.ndarray, rng: np.random.Generator) -> None:
        """Head pose: the quick drift of clips, a slow one, and turns."""
        spec = self.video
        sigma = _POSTURE_SECONDS * spec.fps
        posture = np.stack([smooth_noise(rng, spec.length, sigma) for _ in _POSTURE_SD], 1) * _POSTURE_SD
        self.pose = pose_path(self.spec) + posture * spec.drift
        for turn in spec.turns:
            away = minimum_jerk((1 - np.abs(2 * (seconds - turn.begin) / turn.seconds - 1)) / 0.8) * spec.drift
            self.pose[:, 4] += turn.yaw * away
            self.pose[:, 5] += turn.pitch * away
        self.pose[:, :2] *= self.pixels

    def _plan_speech(self, rows: dict[tuple[int, str | None], int], rng: np.random.Generator) -> None:
        """Syllables while the subject talks: lips, jaw and chin move, and nothing of it is an expression."""
        spec = self.video
        for begin, end in spec.talks:
            first, last = round(begin * spec.fps), min(round(end * spec.fps), spec.length)
            envelope = minimum_jerk(5 * (0.5 - np.abs(np.linspace(-0.5, 0.5, last - first))))
            for number, (amplitude, smoothness) in _SPEECH.items():
                syllables = np.abs(smooth_noise(rng, last - first, smoothness * spec.fps)).clip(0, 2) / 2
                curve = self.curves[rows[number, None]]
                curve[first:last] += amplitude * self.pixels * envelope * syllables


def render_video(spec: VideoSpec) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (frame number, image) of all frames of a video, one at a time."""
    rendering = VideoRendering(spec)
    for number in range(1, spec.length + 1):
        yield number, rendering.image(number)
