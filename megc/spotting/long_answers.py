"""ME-LVQA answers that are composed of spotted intervals: counts, types of events, and action units.

Without learning, the intervals stand for the events: what is counted are intervals. With it, the other subjects'
videos, whose events are known, say what so many intervals mean: spotters miss events and raise false alarms. Counts
are then fitted by least absolute deviations, types by logistic regression on the intervals around the n-th event, and
action units by logistic regressions on the motion of the face's regions. What no interval answers is the
`LongPrior`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression, QuantileRegressor
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from megc.baselines.long_prior import LongPrior
from megc.clips import Event, Video, read_videos
from megc.commits import commit
from megc.files import write_json, write_jsonl
from megc.motion.region_flow_files import read_region_flow
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError, Problems
from megc.scoring.interval_files import RowFault, VideoIndex, read_run, read_truth, read_video_list
from megc.scoring.str_metrics import SpottedInterval
from megc.splits import SAME_PEOPLE, make_folds, person_key, select_records, shared_subjects
from megc.spotting.interval_clips import peak_frame
from megc.spotting.settings import AnswerSpottedSettings
from megc.vqa.instructions import count_long_questions, make_record, question_of, read_records
from megc.vqa.long_questions import answer_from_events, distinct_units, video_rows
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import COUNT_KINDS, EVENT_ANSWERS, NO_UNITS, Question, join_units, parse

FEWEST_EVENTS = 3  # of training events that show an action unit, for a regression on it
_LEVELS = np.linspace(0.05, 0.95, 19)  # least probabilities of a unit in a video to choose from
_SOFTENING = 0.3  # pixels added to a motion's size before its direction is taken, so that noise has none
_REACH = 1.0  # of the n-th event: how many intervals around it speak for its type
_FIX = "give the questions and the videos of one data set"


@dataclass(frozen=True)
class SpottedVideo:
    """A video with the intervals in it, in order of onset. `video.events` are looked at for training only.

    `motions`, `event_motions`: of each interval and each event the regions' motion at its peak (n, 36), see
    `peak_motion`; None without region flow.
    """

    video: Video
    intervals: tuple[SpottedInterval, ...]
    motions: np.ndarray | None = None
    event_motions: np.ndarray | None = None

    @property
    def person(self) -> str:
        """Who it shows, whatever the dataset calls them."""
        return person_key(f"{self.video.dataset}/{self.video.subject}")

    @property
    def family(self) -> str:
        """Its dataset, or the one of the same people."""
        return SAME_PEOPLE.get(self.video.dataset, self.video.dataset)

    def count(self, kind: str) -> int:
        """How many intervals a count of that kind counts."""
        kinds = {"count_all": ("micro", "macro", ""), "count_micro": ("micro",), "count_macro": ("macro",)}
        return sum(interval.type in kinds[kind] for interval in self.intervals)


def peak_motion(flow: RegionFlow, onset: float, offset: float) -> np.ndarray:
    """Directions and relative sizes (36,) of the regions' motion from onset to peak; 0 where nothing was measured.

    Sizes are relative to the strongest region: an action unit looks alike in micro- and macro-expressions.
    """
    peak = peak_frame(flow, round(onset), round(offset))
    if peak is None:
        return np.zeros(2 * flow.flow.shape[1])
    start = int(np.searchsorted(flow.frame_numbers, round(onset)))
    motion = flow.flow[int(np.searchsorted(flow.frame_numbers, peak))] - flow.flow[start]
    motion = np.nan_to_num(motion)
    return (motion / (np.linalg.norm(motion, axis=1).max() + _SOFTENING)).ravel()


# ---- what is learnt from videos whose events are known


class CountModel:
    """True counts by the numbers of intervals and the length of the video: least absolute deviations."""

    def __init__(self, videos: Sequence[SpottedVideo], kind: str) -> None:
        true = [int(answer_from_events(Question(kind), spotted.video.events)) for spotted in videos]
        features = np.array([self._features(spotted) for spotted in videos])
        # the smallest of several equal fits: a slope that says nothing stays 0
        self._model = make_pipeline(StandardScaler(), QuantileRegressor(quantile=0.5, alpha=1e-3, solver="highs"))
        self._model.fit(features, true)

    @staticmethod
    def _features(spotted: SpottedVideo) -> list[float]:
        seconds = (spotted.video.length or 0) / spotted.video.fps
        return [spotted.count("count_micro"), spotted.count("count_macro"), np.log1p(seconds)]

    def predict(self, spotted: SpottedVideo) -> int:
        """The count of a video, 0 or more."""
        return max(0, round(float(self._model.predict([self._features(spotted)])[0])))


class TypeModel:
    """Type of the n-th event, by the types of the intervals around where it should be among them."""

    def __init__(self, videos: Sequence[SpottedVideo], counts: CountModel) -> None:
        self._counts = counts
        rows = [(spotted, n) for spotted in videos for n in range(1, len(spotted.video.events) + 1)]
        micro = [spotted.video.events[n - 1].type == "micro" for spotted, n in rows]
        self._always = EVENT_ANSWERS[not micro[0]] if len(set(micro)) == 1 else ""
        if not self._always:
            self._model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
            self._model.fit([self._features(*row) for row in rows], micro)

    def _features(self, spotted: SpottedVideo, n: int) -> list[float]:
        """Whether the interval at the n-th place is micro, shares around it and in the video, durations, how many."""
        intervals, events = spotted.intervals, max(self._counts.predict(spotted), n)
        if not intervals:
            return [0.5, 0.5, 0.5, 0.0, 0.0, n / events]
        micro = np.array([interval.type == "micro" for interval in intervals], float)
        seconds = [(interval.offset - interval.onset + 1) / spotted.video.fps for interval in intervals]
        middle = (n - 0.5) / events * len(intervals) - 0.5  # missed events and false alarms spread evenly
        weights = np.exp(-0.5 * ((np.arange(len(intervals)) - middle) / _REACH) ** 2) + 1e-6
        around = [np.average(values, weights=weights) for values in (micro, np.log(seconds))]
        there = micro[int(np.clip(round(middle), 0, len(intervals) - 1))]
        return [there, around[0], micro.mean(), around[1], np.log1p(len(intervals)), n / events]

    def predict(self, spotted: SpottedVideo, n: int) -> str:
        """The answer to the question on the n-th event."""
        if self._always:
            return self._always
        return EVENT_ANSWERS[not self._model.predict([self._features(spotted, n)])[0]]


class UnitModel:
    """Action units of intervals by the motion of the regions; which units a video's answer lists."""

    def __init__(self, videos: Sequence[SpottedVideo]) -> None:
        motions = np.concatenate([spotted.event_motions for spotted in videos])
        events = [event for spotted in videos for event in spotted.video.events]
        people = np.array([spotted.person for spotted in videos for _ in spotted.video.events])
        unit_sets = [{unit.number for unit in event.action_units} for event in events]
        counts = {unit: sum(unit in units for units in unit_sets) for unit in sorted(set().union(*unit_sets))}
        self.units = [unit for unit, count in counts.items() if FEWEST_EVENTS <= count < len(events)]
        labels = np.array([[unit in units for unit in self.units] for units in unit_sets], bool)
        self._models = self._fit(motions, labels)
        # the level is chosen on events that the regressions did not see: they know those of their own subjects
        unseen = np.zeros(labels.shape)
        for train, test in GroupKFold(min(4, len(set(people)))).split(motions, groups=people):
            unseen[test] = self._probabilities(self._fit(motions[train], labels[train]), motions[test])
        self.level = self._best_level(videos, unseen)

    @staticmethod
    def _fit(motions: np.ndarray, labels: np.ndarray) -> list[Pipeline | float]:
        """A regression a unit; a unit that all or none of the events show has its share."""
        models: list[Pipeline | float] = []
        for column in labels.T:
            regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
            models.append(regression.fit(motions, column) if 0 < column.sum() < len(column) else float(column.mean()))
        return models

    @staticmethod
    def _probabilities(models: Sequence[Pipeline | float], motions: np.ndarray) -> np.ndarray:
        """(intervals, units)"""
        columns = [
            np.full(len(motions), model) if isinstance(model, float) else model.predict_proba(motions)[:, 1]
            for model in models
        ]
        return np.array(columns).reshape(len(models), len(motions)).T

    def _best_level(self, videos: Sequence[SpottedVideo], probabilities: np.ndarray) -> float:
        """The least probability of a unit in a video at which the lists agree best with the true ones (mean F1)."""
        firsts = np.cumsum([0, *(len(spotted.video.events) for spotted in videos)])
        scores = []
        for level in _LEVELS:
            f1 = []
            for spotted, first, last in zip(videos, firsts[:-1], firsts[1:], strict=True):
                true, listed = (
                    set(distinct_units(spotted.video.events)),
                    set(self._listed(probabilities[first:last], level)),
                )
                f1.append(2 * len(true & listed) / (len(true) + len(listed)) if true | listed else 1.0)
            scores.append(np.mean(f1))
        return float(_LEVELS[int(np.argmax(scores))])

    def _listed(self, probabilities: np.ndarray, level: float) -> list[int]:
        """Units that some interval of a video shows, at that level, the most probable first."""
        present = 1 - np.prod(1 - probabilities, axis=0)
        return [self.units[index] for index in np.argsort(-present, kind="stable") if present[index] >= level]

    def predict(self, spotted: SpottedVideo) -> str:
        """The answer to the question on a video's action units."""
        if not len(spotted.intervals):
            return NO_UNITS
        listed = self._listed(self._probabilities(self._models, spotted.motions), self.level)
        return join_units(listed) or NO_UNITS


class LearntAnswers:
    """Answers about videos by what annotated videos of other people teach, each dataset by its own.

    Units without region flow, and datasets that training lacks, are answered by the `LongPrior`.
    """

    def __init__(self, videos: Sequence[SpottedVideo]) -> None:
        """`videos`: of training subjects."""
        prompt = PromptSettings(images=())
        self._prior = LongPrior([make_record(row, [], prompt) for item in videos for row in video_rows(item.video)])
        self._counts: dict[str, dict[str, CountModel]] = {}
        self._types: dict[str, TypeModel] = {}
        for family in sorted({spotted.family for spotted in videos}):
            members = [spotted for spotted in videos if spotted.family == family]
            self._counts[family] = {kind: CountModel(members, kind) for kind in COUNT_KINDS}
            if any(spotted.video.events for spotted in members):
                self._types[family] = TypeModel(members, self._counts[family]["count_all"])
        has_motions = all(spotted.event_motions is not None for spotted in videos)
        self._units = UnitModel(videos) if has_motions and any(spotted.video.events for spotted in videos) else None

    def answer(self, question: Question, spotted: SpottedVideo) -> str:
        """The answer to a question on a long video. Raises ValueError where there is nothing to learn it from."""
        family = spotted.family
        if question.kind in COUNT_KINDS and family in self._counts:
            return str(self._counts[family][question.kind].predict(spotted))
        if question.kind == "event_type" and family in self._types:
            return self._types[family].predict(spotted, question.ordinal)
        if question.kind == "distinct_units" and self._units:
            return self._units.predict(spotted)
        return self._prior.answer(question, spotted.video.dataset)


def answer_plainly(question: Question, spotted: SpottedVideo) -> str:
    """The answer where intervals stand for events; of the n-th of fewer intervals the type of the last one.

    Without any interval an event is a micro-expression. Intervals name no action units.
    """
    events = [Event(round(row.onset), None, round(row.offset), row.type or "micro") for row in spotted.intervals]
    if question.kind == "event_type":
        question = replace(question, ordinal=min(question.ordinal, len(events)))
        return answer_from_events(question, events) if events else EVENT_ANSWERS[0]
    return answer_from_events(question, events)


# ---- files


def read_spotted_videos(
    videos: Sequence[Video], intervals: Path | None, settings: AnswerSpottedSettings, problems: Problems
) -> list[SpottedVideo]:
    """The videos with the intervals of a file (None: their events), and motions where `settings.inputs` is given.

    Rows that are no interval of a video go to `problems`. Raises DataError for files that cannot be read.
    """
    if intervals:
        predictions = read_run(intervals, VideoIndex(videos), problems).predictions
    else:
        predictions = {video.id: [_as_interval(event) for event in video.events] for video in videos}
    spotted = []
    for video in tqdm(videos, "videos", unit="video", disable=None):
        rows = [row for row in predictions.get(video.id, ()) if not row.score < settings.least_score]  # NaN: none
        in_order = tuple(sorted(rows, key=lambda row: row.onset))
        motions = event_motions = None
        if settings.inputs:
            flow = read_region_flow(settings.inputs / "region_flow", video.id)[0]
            motions, event_motions = (_peak_motions(flow, part) for part in (in_order, video.events))
        spotted.append(SpottedVideo(video, in_order, motions, event_motions))
    return spotted


def _as_interval(event: Event) -> SpottedInterval:
    return SpottedInterval(event.onset, event.offset, event.type, 1.0, event.emotion)


def _peak_motions(flow: RegionFlow, intervals: Sequence[SpottedInterval | Event]) -> np.ndarray:
    motions = [peak_motion(flow, interval.onset, interval.offset) for interval in intervals]
    return np.array(motions).reshape(len(motions), 2 * flow.flow.shape[1])


def answer_spotted(settings: AnswerSpottedSettings, problems: Problems) -> str:
    """Answer questions on long videos from spotted intervals; returns a summary.

    What is learnt is learnt from other people's videos alone. Raises DataError for questions that are not about long
    videos and for videos that the file of videos does not have, ValueError for training videos of the same subjects.
    """
    records = read_records(settings.questions)
    if count_long_questions(records) < len(records):
        raise DataError(settings.questions, None, "has questions that are not about long videos", _FIX)
    learns = settings.leave_one_subject_out
    if settings.events or learns or not settings.intervals:
        videos = read_truth(settings.events or settings.videos, settings.events and settings.videos)
    else:
        videos = read_video_list(settings.videos)
    spotted = read_spotted_videos(videos, settings.intervals, settings, problems)
    by_clip = _join_questions(records, spotted, settings.videos)
    if learns:
        answers = _answer_left_out(records, by_clip, spotted)
    else:
        answer = _learn(settings, spotted, problems).answer if settings.train_videos else answer_plainly
        answers = {_key(record): answer(parse(question_of(record)), by_clip[record["clip"]]) for record in records}
    write_jsonl(settings.out, ({**record["row"], "answer": answers[_key(record)]} for record in records))
    about = {"intervals": str(settings.intervals or "annotated events"), "questions": str(settings.questions)}
    about |= {"learnt": "all other subjects" if learns else str(settings.train_videos or "")}
    write_json(settings.out.with_name("run.json"), {**about, "commits": sorted({commit()} - {""})})
    return f"{len(records)} answers on {len(by_clip)} videos in {settings.out}"


def _key(record: dict) -> tuple[str, str]:
    return record["clip"], record["id"]


def _join_questions(records: Sequence[dict], spotted: Sequence[SpottedVideo], file: Path) -> dict[str, SpottedVideo]:
    """The video of each question's clip: by its id, else by its name, and then of the question's dataset, since a test
    set that nobody annotated names none. Raises DataError where there is no such video."""
    by_id = {item.video.id: item for item in spotted}
    index = VideoIndex(item.video for item in spotted)
    joined = {}
    for clip, dataset in {record["clip"]: record["dataset"] for record in records}.items():
        try:
            item = by_id.get(clip) or by_id[index.find(clip.rpartition("/")[2]).id]
            joined[clip] = replace(item, video=replace(item.video, dataset=dataset))
        except RowFault as fault:
            raise DataError(file, clip, f"the video of a question is missing ({fault})", fault.fix) from fault
    return joined


def _learn(settings: AnswerSpottedSettings, tested: Sequence[SpottedVideo], problems: Problems) -> LearntAnswers:
    """What the training videos teach. Raises ValueError where one of their subjects is tested."""
    videos = read_videos(settings.train_videos)
    names = ([f"{item.dataset}/{item.subject}" for item in part] for part in (videos, [t.video for t in tested]))
    if shared := shared_subjects(*names):
        raise ValueError(f"{', '.join(shared)} in both --train-videos and --videos: leave them out of the former")
    return LearntAnswers(read_spotted_videos(videos, settings.train_intervals, settings, problems))


def _answer_left_out(
    records: list[dict], by_clip: Mapping[str, SpottedVideo], spotted: Sequence[SpottedVideo]
) -> dict[tuple[str, str], str]:
    """Answers to each person's questions, learnt from the videos of the others."""
    answers = {}
    for fold in tqdm(make_folds(records, "loso"), desc="subjects", disable=None):
        test = select_records(records, fold.test)
        people = {by_clip[record["clip"]].person for record in test}
        model = LearntAnswers([item for item in spotted if item.person not in people])
        answers |= {_key(record): model.answer(parse(question_of(record)), by_clip[record["clip"]]) for record in test}
    return answers
