"""A long video as clips: expressions are spotted in it, and each of them is a clip to ask about; the challenge's
questions on the whole video (ME-LVQA) are answered from them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from megc.clips import Clip, Event, Video
from megc.explanation.clip_answers import ClipAnswer
from megc.explanation.clip_sources import ClipSource, SpottedEvent
from megc.explanation.frame_slider import timeline_slider
from megc.explanation.settings import SpottingSettings
from megc.problems import DataError, Problems
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.spotters import SpottingVideo
from megc.spotting.timeline import timeline_content
from megc.spotting.video_spotting import DRAWN, load_chain, measure_inputs, untrained_spotter
from megc.vqa.long_questions import answer_from_events
from megc.vqa.questions import (
    COUNT_KINDS,
    LONG_KINDS,
    NO_UNITS,
    Question,
    join_units,
    parse,
    question_text,
    row_identity,
    split_units,
)


def spot_events(source: ClipSource, folder: Path, settings: SpottingSettings, problems: Problems) -> ClipSource:
    """The source with a clip for each expression that is spotted in its video, and with its timeline.

    Of more than `settings.most` intervals those of the highest scores are asked about; the timeline shows all. What
    was measured lies in `folder/inputs`. Raises DataError for a video that cannot be measured, as without a face.
    """
    (whole,) = source.clips
    video = Video(whole.id, whole.dataset, whole.subject, whole.name, whole.fps, whole.frames, length=whole.offset)
    item = SpottingVideo(video, source.clips_file, folder / "inputs")
    chain = load_chain(settings.spotter or (untrained_spotter(folder),))
    faults = Problems()
    measured = measure_inputs([item], tuple(dict.fromkeys((*chain.needs, DRAWN))), 1, faults)
    if not measured:  # else it ends early, which is a warning here
        problem = next(iter(faults))
        raise DataError(source.title, None, problem.what, problem.fix)
    problems.extend(faults)
    notes = [problem.what for problem in faults]
    content = timeline_content(item, chain.spot(item), chain.name)
    numbered = list(enumerate(zip(content.intervals, content.apexes, strict=True), start=1))
    best = sorted(numbered, key=lambda event: -event[1][0].score)[: settings.most]
    if len(best) < len(numbered):
        notes.append(f"{len(numbered)} intervals were spotted; the {len(best)} of the highest scores are asked about")
    clips, events = [], {}
    for number, (interval, apex) in sorted(best):
        clips.append(_event_clip(whole, f"{whole.name}_{number}", interval, apex))
        events[clips[-1].id] = SpottedEvent(number, interval)
    spotted = {"intervals": tuple(content.intervals), "slider": timeline_slider(item, content), "spotter": chain.name}
    return replace(source, clips=tuple(clips), events=events, notes=tuple(notes), **spotted)


def _event_clip(whole: Clip, name: str, interval: SpottedInterval, apex: int) -> Clip:
    """The clip of an interval; the frames are those of the whole video."""
    onset = round(interval.onset)
    offset = max(round(interval.offset), onset + 1)
    inside = min(max(apex, onset), offset)
    return replace(
        whole, id=f"{whole.dataset}/{whole.subject}/{name}", name=name,
        onset=onset, apex=inside, offset=offset, apex_estimated=inside == onset,
    )  # fmt: skip


def is_about_video(question: str) -> bool:
    """Whether a question is one of the challenge's on a whole long video."""
    try:
        return parse(question).kind in LONG_KINDS
    except ValueError:
        return False


def video_questions(events: int) -> list[str]:
    """The challenge's questions on a long video with so many events."""
    kinds = [Question(kind) for kind in (*COUNT_KINDS, "distinct_units")]
    kinds += [Question("event_type", ordinal=number) for number in range(1, events + 1)]
    return [question_text(question) for question in kinds]


def answer_about_video(source: ClipSource, answers: Sequence[ClipAnswer], text: str, number: int) -> ClipAnswer:
    """The answer to a question on the whole video, the `number`-th: intervals that were spotted are counted, action
    units are those that the `answers` about its events name. No model reads the question.

    Raises ValueError for the type of an event that there is not.
    """
    question = parse(text)
    if question.kind == "distinct_units":
        named = [unit for answer in answers if answer.kind == "units" for unit in split_units(answer.final)]
        answer = join_units(list(dict.fromkeys(unit for unit in named if unit))) or NO_UNITS
    else:
        events = [Event(round(row.onset), None, round(row.offset), row.type or "micro") for row in source.intervals]
        answer = answer_from_events(question, events)
    identity = {"dataset": source.whole.dataset, **row_identity(source.whole)}
    row = {"id": f"{identity['dataset']}_{identity['image_id']}_video_{number}", **identity}
    row |= {"question": question_text(question), "answer": answer, "votes": [], "agreement": None, "choices": {}}
    return ClipAnswer(row, question.kind, None, None)
