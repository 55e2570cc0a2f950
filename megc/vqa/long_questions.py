"""ME-LVQA (MEGC 2026): the questions on a long video, answered from its annotated events.

Kinds, wording and number of the questions are those of the organisers' test files. Their training file
(`me_lvqa_samm_casme3.jsonl`) was not seen: the rows here have the keys of their ME-VQA training rows.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from megc.clips import Event, Video
from megc.facs import ACTION_UNITS
from megc.problems import Problem, Problems
from megc.vqa.questions import NO_UNITS, Question, join_units, question_text

ORDINALS = 2  # questions on the type of the n-th event, for each video


def distinct_units(events: Iterable[Event]) -> list[int]:
    """FACS numbers of all action units of a video's events, in order of first appearance."""
    return list(dict.fromkeys(unit.number for event in events for unit in event.action_units))


def answer_from_events(question: Question, events: Sequence[Event]) -> str:
    """The true answer to an ME-LVQA question; `events` in order of onset.

    Raises ValueError for another question, and for an event that does not exist.
    """
    if question.kind == "distinct_units":
        return join_units(distinct_units(events)) or NO_UNITS
    if question.kind == "event_type":
        if not 1 <= (question.ordinal or 0) <= len(events):
            raise ValueError(f"there is no {question.ordinal}-th event of {len(events)}")
        return f"{events[question.ordinal - 1].type}-expression"
    types = {"count_all": ("micro", "macro"), "count_micro": ("micro",), "count_macro": ("macro",)}
    if question.kind not in types:
        raise ValueError(f"{question.kind} is no question on a long video")
    return str(sum(event.type in types[question.kind] for event in events))


def video_rows(video: Video, seed: int = 0) -> list[dict]:
    """ME-LVQA rows of a video: three counts, its action units, and the types of two events.

    The events are drawn from `seed` and the video's id, in any order, as in the organisers' files: the n of a video
    are not sorted. A video of one event has one such question, a video without events none.
    """
    draw = random.Random(f"{seed}:{video.id}")  # of the video's own: other videos change nothing
    count = len(video.events)
    ordinals = draw.sample(range(1, count + 1), min(ORDINALS, count))
    questions = [Question(kind) for kind in ("count_all", "count_micro", "count_macro", "distinct_units")]
    questions += [Question("event_type", ordinal=ordinal) for ordinal in ordinals]
    image_id = f"{video.subject}_{video.name}"
    return [
        {
            "id": f"{video.dataset}_{image_id}_{number}",
            "dataset": video.dataset,
            "image_id": image_id,
            "subject": video.subject,
            "filename": video.name,
            "question": question_text(question),
            "answer": answer_from_events(question, video.events),
        }
        for number, question in enumerate(questions, start=1)
    ]


def videos_rows(videos: Iterable[Video], seed: int, problems: Problems, file: Path | str) -> list[dict]:
    """ME-LVQA rows of all videos of `file`. Action units without a FACS name, which answers name by their number, are
    a warning."""
    rows, unnamed = [], Counter()
    for video in videos:
        rows += video_rows(video, seed)
        unnamed.update(number for number in distinct_units(video.events) if number not in ACTION_UNITS)
    if unnamed:
        listed = ", ".join(f"{number} ({count})" for number, count in sorted(unnamed.items()))
        what = f"action units that FACS has no name for, and the videos with them: {listed}"
        fix = "correct the sheet if they are slips; answers name them `action unit N`"
        problems.warnings.append(Problem(str(file), None, what, fix))
    return rows
