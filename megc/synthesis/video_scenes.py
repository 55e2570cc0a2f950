"""Plans of long videos: which subjects, videos, expressions and distractors, before anything is drawn.

Rates and lengths follow SAMM-LV and CAS(ME)³, made denser so that short videos hold several expressions:
micro-expressions last up to half a second, macro-expressions .7 to 3 s.
"""

from dataclasses import dataclass

import numpy as np

from megc.clips import EventType
from megc.problems import DataError
from megc.synthesis.label_counts import sample_labels
from megc.synthesis.render import UnitMotion
from megc.synthesis.scenes import draw_motions, subject_names
from megc.synthesis.settings import Difficulty, LongSettings
from megc.synthesis.subjects import View
from megc.synthesis.unit_fields import ANCHORS
from megc.synthesis.video_rendering import EventSpec, HeadTurn, VideoSpec

# Median seconds from onset to offset, spread of the logarithm, shortest, longest.
_SECONDS: dict[EventType, tuple[float, float, float, float]] = {
    "micro": (0.36, 0.3, 0.2, 0.5),
    "macro": (1.3, 0.45, 0.7, 3.0),
}
_APEX_SHARE: dict[EventType, tuple[float, float]] = {"micro": (0.3, 0.5), "macro": (0.35, 0.6)}
_MACRO_FACTOR = 3.6  # of a macro-expression's motion over a micro-expression's
# An action unit cannot go further than this share of its smallest anchor's reach, or skin would fold over skin.
_LARGEST_SHARE = 0.6
_REFERENCE_FACE = 236.0
_GAP = 0.4  # seconds of rest around each expression, at least
_TALK_SECONDS = (1.0, 2.5)
_BLINK_SECONDS = (0.15, 0.3)
_TURN_SECONDS = (1.0, 3.0)
_TURN_RADIANS = (0.04, 0.12)


@dataclass(frozen=True)
class VideoLayout:
    """What a dataset of long videos looks like: camera speed, whose labels its events follow, names.

    `stream` numbers the random numbers of a dataset; people of the same `people` and index are the same person as in
    the sets of clips. `emotions` renames those that the dataset does not have.
    """

    dataset: str
    fps: float
    grey: bool
    labels: str
    stream: int
    people: int
    emotions: tuple[tuple[str, str], ...] = ()

    def view(self, width: int) -> View:
        """A camera in front of the face, `width` pixels wide."""
        height = round(width * 5 / 6)
        return View(width, height, 0.5 * width, (width - 1) / 2, 0.4 * height, grey=self.grey)

    def seconds(self, settings: LongSettings) -> float:
        """Length of a video."""
        return settings.samm_seconds if self.dataset == "samm_lv" else settings.casme3_seconds


SAMM_LV = VideoLayout("samm_lv", 200.0, True, "samm", 2, 1)
# CAS(ME)³ has no repression; the units of it that CASME II lists (15, 17) are those of sadness
CASME3 = VideoLayout("casme3", 30.0, False, "casme2", 3, 3, (("repression", "sadness"),))


def plan_videos(
    settings: LongSettings, seed: int = 0, difficulty: Difficulty | None = None, others: float = 0.08
) -> list[VideoSpec]:
    """All videos of a set, SAMM-LV first, by subject; labels follow the counts of the sets of clips.

    Raises DataError for videos that are too short for their expressions, ValueError for too many subjects or videos.
    """
    if settings.videos > 7:
        raise ValueError(f"at most 7 videos of a subject, not {settings.videos}")
    return [
        video
        for layout in (SAMM_LV, CASME3)
        for video in _plan_dataset(layout, settings, seed, difficulty or Difficulty(), others)
    ]


def _plan_dataset(
    layout: VideoLayout, settings: LongSettings, seed: int, difficulty: Difficulty, others: float
) -> list[VideoSpec]:
    # 1. each video's expressions and when they come  2. labels, drawn for all at once  3. the videos
    schedules = []
    for subject, person in _subjects(layout, settings.long_subjects):
        rng = np.random.default_rng([seed, layout.stream, 2, person])
        for name in _video_names(layout, subject, settings.videos, rng):
            schedules.append((subject, person, name, _plan_schedule(layout, settings, name, rng), rng.integers(2**31)))
    count = sum(len(schedule.kinds) for *_, schedule, _ in schedules)
    labels = iter(sample_labels(layout.labels, count, others, np.random.default_rng([seed, layout.stream, 1])))
    videos = []
    for subject, person, name, schedule, video_seed in schedules:
        rng = np.random.default_rng([int(video_seed), 1])
        drawn = [next(labels) for _ in schedule.kinds]
        videos.append(
            VideoSpec(
                id=f"{layout.dataset}/{subject}/{name}",
                seed=int(video_seed),
                subject_seed=1000 * seed + 100 * layout.people + person,
                view=layout.view(settings.long_width),
                fps=layout.fps,
                length=round(layout.seconds(settings) * layout.fps),
                events=_label_events(layout, name, schedule, drawn, difficulty, rng),
                blinks=_plan_blinks(layout.seconds(settings), settings.blinks, rng),
                talks=schedule.talks,
                turns=_plan_turns(layout.seconds(settings), settings.turns, rng),
                drift=difficulty.drift,
                noise=difficulty.noise,
                variation=difficulty.variation,
            )
        )
    return videos


def _subjects(layout: VideoLayout, count: int) -> list[tuple[str, int]]:
    """Names of subjects with their number as a person."""
    names = subject_names("samm", count) if layout.labels == "samm" else [f"spNO.{n}" for n in range(1, count + 1)]
    return list(zip(names, range(count), strict=True))


def _video_names(layout: VideoLayout, subject: str, count: int, rng: np.random.Generator) -> list[str]:
    """`006_1`, `006_3` by the film that was watched, or `a`, `b`."""
    if layout.dataset == "casme3":
        return [chr(ord("a") + index) for index in range(count)]
    return [f"{subject}_{film}" for film in sorted(1 + rng.permutation(7)[:count])]


@dataclass(frozen=True)
class _Schedule:
    """Expressions of a video in order of time: kind, first and last second; and the seconds of speech."""

    kinds: tuple[EventType, ...]
    seconds: tuple[tuple[float, float], ...]
    talks: tuple[tuple[float, float], ...]


def _plan_schedule(layout: VideoLayout, settings: LongSettings, name: str, rng: np.random.Generator) -> _Schedule:
    """Expressions and speech one after another in random order, with random rests between."""
    kinds: list[str] = ["micro"] * _about(settings.micros, rng) + ["macro"] * _about(settings.macros, rng)
    kinds += ["talk"] * _about(settings.talks, rng)
    lengths = []
    for kind in kinds:
        if kind == "talk":
            lengths.append(float(rng.uniform(*_TALK_SECONDS)))
        else:
            median, spread, shortest, longest = _SECONDS[kind]
            lengths.append(float(np.clip(median * np.exp(spread * rng.normal()), shortest, longest)))
    order = rng.permutation(len(kinds)).tolist()
    total = layout.seconds(settings)
    while (rest := total - sum(lengths[i] for i in order) - _GAP * (len(order) + 1)) < 0:
        # the longest one of the talks goes, then of the macro-expressions: never a micro-expression
        spare = [i for i in order if kinds[i] == "talk"] or [i for i in order if kinds[i] == "macro"]
        if not spare:
            what = f"{total:g} s are too short for {len(order)} micro-expressions"
            raise DataError(f"{layout.dataset} {name}", None, what, "ask for longer videos, or fewer expressions")
        order.remove(max(spare, key=lambda index: lengths[index]))
    events, talks, now = [], [], 0.0
    for index, pause in zip(order, (rng.dirichlet(np.ones(len(order) + 1)) * rest).tolist(), strict=False):
        now += pause + _GAP
        begin, now = now, now + lengths[index]
        if kinds[index] == "talk":
            talks.append((round(begin, 3), round(now, 3)))
        else:
            events.append((kinds[index], (begin, now)))
    return _Schedule(tuple(kind for kind, _ in events), tuple(span for _, span in events), tuple(talks))


def _about(mean: int, rng: np.random.Generator) -> int:
    """A number from 1 to twice the mean less 1; 0 for a mean of 0."""
    return int(rng.integers(1, 2 * mean)) if mean else 0


def _label_events(
    layout: VideoLayout,
    name: str,
    schedule: _Schedule,
    labels: list[tuple[str, tuple[tuple[int, str | None], ...]]],
    difficulty: Difficulty,
    rng: np.random.Generator,
) -> tuple[EventSpec, ...]:
    """The events of a schedule with their frame numbers, labels and motions."""
    events = []
    parts = zip(schedule.kinds, schedule.seconds, labels, strict=True)
    for index, (kind, (begin, end), (emotion, units)) in enumerate(parts):
        onset = round(begin * layout.fps) + 1
        length = max(4, int((end - begin) * layout.fps))
        motions = draw_motions(units, difficulty, rng)
        if kind == "macro":
            motions = tuple(_enlarge(motion) for motion in motions)
        events.append(
            EventSpec(
                name=f"{name}_{index + 1}" if layout.dataset == "samm_lv" else f"{name}_{onset}",
                type=kind,
                onset=onset,
                apex=onset + max(1, round(rng.uniform(*_APEX_SHARE[kind]) * (length - 1))),
                offset=onset + length - 1,
                units=motions,
                emotion=dict(layout.emotions).get(emotion, emotion),
            )
        )
    return tuple(events)


def _enlarge(motion: UnitMotion) -> UnitMotion:
    """The motion of a macro-expression, as far as the unit's anchors let it go."""
    reaches = [reach for *_, reach in ANCHORS.get(motion.number, ())]
    largest = _LARGEST_SHARE * _REFERENCE_FACE * min(reaches) if reaches else 2 * motion.amplitude
    return UnitMotion(motion.number, motion.side, round(min(_MACRO_FACTOR * motion.amplitude, largest), 3))


def _plan_blinks(total: float, per_minute: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Blinks at any time, in an expression or not: seconds when the lids meet, and how long each lasts."""
    count = rng.poisson(per_minute * total / 60)
    middles, lengths = np.sort(rng.uniform(0, total, count)), rng.uniform(*_BLINK_SECONDS, count)
    return tuple(zip(middles.round(3).tolist(), lengths.round(3).tolist(), strict=True))


def _plan_turns(total: float, per_minute: float, rng: np.random.Generator) -> tuple[HeadTurn, ...]:
    """Turns of the head at any time."""
    turns = []
    for _ in range(rng.poisson(per_minute * total / 60)):
        yaw, pitch = rng.uniform(*_TURN_RADIANS, 2) * rng.choice((-1, 1), 2) * (1, 0.6)
        begin, seconds = rng.uniform(0, total), rng.uniform(*_TURN_SECONDS)
        turns.append(HeadTurn(round(begin, 3), round(seconds, 3), round(float(yaw), 4), round(float(pitch), 4)))
    return tuple(turns)
