"""A long video as clips: expressions are spotted in it, and each of them is a clip to ask about."""

from dataclasses import replace
from pathlib import Path

from megc.clips import Clip, Video
from megc.explanation.clip_sources import ClipSource, SpottedEvent
from megc.explanation.settings import SpottingSettings
from megc.problems import DataError, Problems
from megc.scoring.answer_cards import data_uri
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.spotters import SpottingVideo
from megc.spotting.timeline import draw_timeline, timeline_content
from megc.spotting.video_spotting import DRAWN, load_chain, measure_inputs, untrained_spotter


def spot_events(source: ClipSource, folder: Path, settings: SpottingSettings, problems: Problems) -> ClipSource:
    """The source with a clip for each expression that is spotted in its video, and with its timeline.

    Of more than `settings.most` intervals those of the highest scores are asked about; the timeline shows all. What
    was measured lies in `folder/inputs`. Raises DataError for a video that cannot be measured, as without a face.
    """
    (whole,) = source.clips
    video = Video(whole.id, whole.dataset, whole.subject, whole.name, whole.fps, whole.frames, length=whole.offset)
    item = SpottingVideo(video, source.clips_file, folder / "inputs")
    chain = load_chain(settings.spotter or (untrained_spotter(folder),))
    count = len(problems)
    measured = measure_inputs([item], tuple(dict.fromkeys((*chain.needs, DRAWN))), 1, problems)
    if not measured:  # else it ends early, which is a warning here
        problem = list(problems)[count]
        raise DataError(source.title, None, problem.what, problem.fix)
    notes = [problem.what for problem in list(problems)[count:]]
    content = timeline_content(item, chain.spot(item), chain.name)
    timeline = data_uri(draw_timeline(content), "png")
    numbered = list(enumerate(zip(content.intervals, content.apexes, strict=True), start=1))
    best = sorted(numbered, key=lambda event: -event[1][0].score)[: settings.most]
    if len(best) < len(numbered):
        notes.append(f"{len(numbered)} intervals were spotted; the {len(best)} of the highest scores are asked about")
    clips, events = [], {}
    for number, (interval, apex) in sorted(best):
        clips.append(_event_clip(whole, f"{whole.name}_{number}", interval, apex))
        events[clips[-1].id] = SpottedEvent(number, interval)
    return replace(
        source, clips=tuple(clips), timeline=timeline, events=events, spotter=chain.name, notes=tuple(notes)
    )


def _event_clip(whole: Clip, name: str, interval: SpottedInterval, apex: int) -> Clip:
    """The clip of an interval; the frames are those of the whole video."""
    onset = round(interval.onset)
    offset = max(round(interval.offset), onset + 1)
    inside = min(max(apex, onset), offset)
    return replace(
        whole, id=f"{whole.dataset}/{whole.subject}/{name}", name=name,
        onset=onset, apex=inside, offset=offset, apex_estimated=inside == onset,
    )  # fmt: skip
