"""A spotter that looks at nothing: intervals at random, emotions by prior. No table of spotting is without it.

On SAMM Long Videos, where a third of all frames lie in an event, it beats the official baseline of MEGC2020.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from megc.clips import Video
from megc.scoring.interval_files import SpottingRun, type_by_duration
from megc.scoring.str_metrics import ANALYSED, SpottedInterval, emotion_class

RATE = 2.0  # random intervals for an event


def random_intervals(videos: Sequence[Video], rate: float, seed: int) -> dict[str, list[SpottedInterval]]:
    """Intervals at random positions, `rate` times as many a frame as other subjects have events, as long as theirs.

    Rates and lengths are those of the same dataset; the emotion is the most frequent one of the other subjects'
    events, empty where none has an emotion that the challenge analyses. Raises ValueError for a video without a
    length, and for a dataset with events of one subject only.
    """
    if missing := [video.id for video in videos if video.length is None]:
        raise ValueError(f"the length of {missing[0]} is unknown")
    rng = np.random.default_rng(seed)
    spotted: dict[str, list[SpottedInterval]] = {}
    for dataset, subject in sorted({(video.dataset, video.subject) for video in videos}):
        others = [video for video in videos if video.dataset == dataset and video.subject != subject]
        events = [event for video in others for event in video.events]
        if not events:
            raise ValueError(f"{dataset} has no event of another subject than {subject}")
        lengths = np.array([event.offset - event.onset for event in events])
        share = rate * len(events) / sum(video.length for video in others)
        emotions = Counter(emotion_class(event.emotion, ANALYSED) for event in events)
        emotion = max(ANALYSED, key=lambda name: emotions[name]) if any(emotions[name] for name in ANALYSED) else ""
        for video in videos:
            if (video.dataset, video.subject) == (dataset, subject):
                drawn = np.minimum(rng.choice(lengths, rng.poisson(share * video.length)), video.length - 1)
                onsets = 1 + np.floor(rng.random(len(drawn)) * (video.length - drawn))
                ends = sorted(zip(onsets.tolist(), (onsets + drawn).tolist(), strict=True))
                spotted[video.id] = [
                    SpottedInterval(onset, offset, type_by_duration(onset, offset, video.fps), emotion=emotion)
                    for onset, offset in ends
                ]
    return spotted


def random_runs(videos: Sequence[Video], draws: int, seed: int = 0, emotions: bool = False) -> list[SpottingRun]:
    """`draws` runs of random intervals, with the prior emotion where `emotions` are to be scored.

    Raises ValueError as `random_intervals`.
    """
    datasets = {video.dataset for video in videos}
    runs = []
    for draw in range(draws):
        predictions = random_intervals(videos, RATE, seed + draw)
        if not emotions:
            predictions = {name: [row._replace(emotion="") for row in rows] for name, rows in predictions.items()}
        runs.append(SpottingRun(f"random, mean of {draws} draws", predictions, datasets))
    return runs
