"""Answers to ME-LVQA questions that look at no video: what is typical of the training subjects' videos."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean, median_low

from megc.splits import SAME_PEOPLE
from megc.vqa.instructions import answer_of, question_of
from megc.vqa.questions import COUNT_KINDS, LONG_KINDS, NO_UNITS, Question, join_units, parse, read_count, split_units


class LongPrior:
    """Typical answers of training videos of the same dataset (SAMM-LV for the challenge's SAMM videos, which say
    `samm`); of all, where the dataset has none in training.

    Counts: the median, which has the smallest mean absolute error. Action units: the most frequent ones, as many as
    agree best with the training videos' sets (mean F1). Type of an event: the more frequent one.
    """

    def __init__(self, records: Sequence[dict]) -> None:
        """`records`: answered instruction records of training subjects; questions on clips are passed over."""
        # by dataset ("" for all) and video: answers to each kind of question
        self.videos: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(dict)
        for record in records:
            kind = parse(question_of(record)).kind
            if kind in LONG_KINDS:
                for dataset in (_family(record["dataset"]), ""):
                    answers = self.videos[dataset].setdefault(record["clip"], defaultdict(list))
                    answers[kind].append(answer_of(record))
        self._answers: dict[tuple[str, str, int], str] = {}  # a test set asks the same of every video

    def answer(self, question: Question, dataset: str, events: int = 0) -> str:
        """The answer to a question; with `events` from training videos that have so many events or more.

        Raises ValueError where training has no question of its kind.
        """
        key = question.kind, dataset, events
        if key not in self._answers:
            self._answers[key] = self._typical_answer(*key)
        return self._answers[key]

    def _typical_answer(self, kind: str, dataset: str, events: int) -> str:
        videos = list((self.videos.get(_family(dataset)) or self.videos.get("", {})).values())
        alike = [video for video in videos if any((read_count(text) or 0) >= events for text in video["count_all"])]
        texts = [text for video in (alike if events else videos) or videos for text in video[kind]]
        if not texts:
            raise ValueError(f"no training question of the kind {kind!r}")
        if kind in COUNT_KINDS:
            count = median_low(read_count(text) or 0 for text in texts)
            # training videos with so many events may be lacking
            return str(max(count, events) if kind == "count_all" else count)
        if kind == "distinct_units":
            return _typical_units([set(split_units(text)) - {None} for text in texts])
        counts = Counter(texts)
        return min(counts, key=lambda text: (-counts[text], text))  # of equals always the same


def _family(dataset: str) -> str:
    return SAME_PEOPLE.get(dataset, dataset)


def _typical_units(sets: Sequence[set[int]]) -> str:
    """The k most frequent action units as an answer, with the k that agrees best with the sets (mean F1)."""
    counts = Counter(unit for units in sets for unit in units)
    ranked = sorted(counts, key=lambda unit: (-counts[unit], unit))

    def mean_f1(chosen: set[int]) -> float:
        return fmean(2 * len(chosen & units) / (len(chosen) + len(units)) if chosen | units else 1.0 for units in sets)

    size = max(range(len(ranked) + 1), key=lambda size: mean_f1(set(ranked[:size])))
    return join_units(ranked[:size]) or NO_UNITS


def fewest_events(records: Sequence[dict]) -> dict[str, int]:
    """How many events each video has at least, by the highest n of the questions on its n-th event."""
    fewest: dict[str, int] = {}
    for record in records:
        ordinal = parse(question_of(record)).ordinal or 0
        fewest[record["clip"]] = max(ordinal, fewest.get(record["clip"], 0))
    return fewest


def answer_on_videos(train: Sequence[dict], test: Sequence[dict], ordinals: bool = False) -> list[str]:
    """Answers to test records on long videos by the `LongPrior` of the training records.

    With `ordinals` also by what the questions give away: who is asked for the type of the 23rd event knows that there
    are 23 events or more. Raises ValueError as `LongPrior.answer`.
    """
    prior, fewest = LongPrior(train), fewest_events(test) if ordinals else {}
    return [
        prior.answer(parse(question_of(record)), record["dataset"], fewest.get(record["clip"], 0)) for record in test
    ]
