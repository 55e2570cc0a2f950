"""Several datasets into one `clips.jsonl` and one `videos.jsonl`, and a summary of them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from megc.clips import Clip, Video, write_clips, write_videos
from megc.datasets.index_report import write_report
from megc.datasets.readers import LONG_READERS, READERS
from megc.datasets.recognition import AUTO, recognise
from megc.datasets.repairs import check_repairs_name
from megc.datasets.settings import DatasetSource, IndexSettings
from megc.facs import UNREAD
from megc.problems import DataError, Problems


def index_datasets(settings: IndexSettings, problems: Problems) -> str:
    """`index_sources` of the options of data_process/index_clips.py."""
    return index_sources(settings.sources, settings.out, problems, settings.repairs, settings.report)


def index_sources(
    sources: list[DatasetSource], out: Path, problems: Problems, repairs: str = "", report: bool = False
) -> str:
    """Recognise, read and write all `sources`: clips to `out`, long videos to `videos.jsonl` beside it.

    Returns a summary, or with `report` the report of all counts, repairs and rows left out (see `index_report`), which
    it also writes. What is wrong goes to `problems`. Raises DataError as `index_clips` and `index_videos`.
    """
    sources, lines = recognise_sources(sources, problems)
    videos_file = out.with_name("videos.jsonl")
    clips = index_clips(sources, out, problems, repairs)
    videos = index_videos(sources, videos_file, problems, repairs)
    if report:
        lines.append(write_report(clips, videos, out, problems))
    for noun, items, file, summarise in (
        ("clips", clips, out, summarise_clips),
        ("long videos", videos, videos_file, summarise_videos),
    ):
        if items and not report:
            lines.append(summarise(items))
        if items:
            lines.append(f"{len(items)} {noun} written to {file}; {len(problems)} problem(s)")
    return "\n".join(lines)


def recognise_sources(sources: list[DatasetSource], problems: Problems) -> tuple[list[DatasetSource], list[str]]:
    """The sources with a dataset in place of `auto`, and a line for each that was recognised, which says by what.

    One that is not recognised goes to `problems`, with the candidates.
    """
    recognised, lines = [], []
    for source in sources:
        with problems.collect():
            if source.dataset == AUTO:
                candidate = recognise(source.annotations, source.frames)
                lines.append(f"{source.annotations or source.frames}: recognised as {candidate}")
                annotations = source.annotations or candidate.sheet
                source = replace(source, dataset=candidate.dataset, annotations=annotations)
            recognised.append(source)
    return recognised, lines


def index_clips(sources: list[DatasetSource], out: Path, problems: Problems, repairs: str = "") -> list[Clip]:
    """Read all `sources` and write their clips to `out`; what is wrong goes to `problems`.

    `repairs` names a set of known slips to repair beside those that are always repaired; `none`: the sheets as
    released. A dataset that cannot be read at all is a problem too, and the others are still indexed. Datasets of long
    videos alone are passed over. Raises DataError, and writes nothing, when the others have no clip at all, or when
    there is no such set of repairs.
    """
    check_repairs_name(repairs, {source.dataset for source in sources})
    clips: dict[str, Clip] = {}  # by id: two datasets may share subjects' names, never ids
    with_clips = [source for source in sources if source.dataset in READERS]
    for source in with_clips:
        with problems.collect():
            for clip in READERS[source.dataset](source.annotations, source.frames, out.parent, problems, repairs):
                with problems.collect():
                    if clip.id in clips:
                        raise DataError(source.dataset, clip.id, "read before", "give each dataset once")
                    clips[clip.id] = clip
    if with_clips and not clips:
        raise DataError(out, None, "no clip to write", "mend the problems above")
    if with_clips:
        write_clips(out, clips.values())
    return list(clips.values())


def index_videos(sources: list[DatasetSource], out: Path, problems: Problems, repairs: str = "") -> list[Video]:
    """Read the long videos of all `sources` that have any and write them to `out`, a `videos.jsonl`.

    What is wrong goes to `problems`; where a dataset gives clips too, and its sheet or frames are of these alone, that
    is a warning. Raises DataError, and writes nothing, for datasets of long videos alone without any video.
    """
    videos: dict[str, Video] = {}
    for source in sources:
        if source.dataset not in LONG_READERS:
            continue
        with problems.collect():
            for video in _read_videos(source, out.parent, problems, repairs):
                with problems.collect():
                    if video.id in videos:
                        raise DataError(source.dataset, video.id, "read before", "give each dataset once")
                    videos[video.id] = video
    if videos:
        write_videos(out, videos.values())
    elif any(source.dataset not in READERS for source in sources):
        raise DataError(out, None, "no video to write", "mend the problems above")
    return list(videos.values())


def _read_videos(source: DatasetSource, root: Path, problems: Problems, repairs: str) -> list[Video]:
    """The long videos of a source; a warning, and none, where it has clips only."""
    read = LONG_READERS[source.dataset]
    try:
        return read(source.annotations, source.frames, root, problems, repairs, source.emotions)
    except DataError as error:
        if source.dataset not in READERS:
            raise
        problem = error.problem
        problems.warnings.append(replace(problem, what=f"no long videos: {problem.what}"))
        return []


def summarise_videos(videos: list[Video]) -> str:
    """Lines of each dataset: videos, subjects, events by type and emotion, repairs, frames."""
    lines = []
    for dataset in dict.fromkeys(video.dataset for video in videos):
        members = [video for video in videos if video.dataset == dataset]
        events = [event for video in members for event in video.events]
        types, emotions = (Counter(getattr(event, name) for event in events) for name in ("type", "emotion"))
        listed = ", ".join(f"{name or 'none'} {count}" for name, count in emotions.most_common())
        lines += [
            f"{dataset}: {len(members)} long videos of {len({video.subject for video in members})} subjects with "
            f"{len(events)} events ({types['micro']} micro, {types['macro']} macro); "
            f"{sum(bool(video.frames) for video in members)} with frames",
            f"  emotions of events: {listed}",
            f"  events without an apex: {sum(event.apex is None for event in events)}; "
            f"with notes: {sum(bool(event.notes) for event in events)}",
        ]
    return "\n".join(lines)


def summarise_clips(clips: list[Clip]) -> str:
    """Lines of each dataset: clips, subjects, those that ME-VQA uses, emotions, repairs, frames."""
    lines = []
    # datasets in the order in which they were read
    for dataset in dict.fromkeys(clip.dataset for clip in clips):
        members = [clip for clip in clips if clip.dataset == dataset]
        subjects = {clip.subject for clip in members}
        # some datasets have coarse classes alone
        emotions = Counter(clip.fine or clip.coarse or "no emotion" for clip in members)
        classed, with_frames = (sum(bool(getattr(clip, name)) for clip in members) for name in ("coarse", "frames"))
        lines += [
            f"{dataset}: {len(members)} clips of {len(subjects)} subjects; {classed} with a coarse class (ME-VQA uses "
            f"them); {with_frames} with frames",
            "  emotions: " + ", ".join(f"{name} {count}" for name, count in emotions.most_common()),
            f"  apex estimated: {sum(clip.apex_estimated for clip in members)}; "
            f"clips with notes: {sum(bool(clip.notes) for clip in members)}",
        ]
        unread = [clip.id for clip in members if any(UNREAD in note for note in clip.notes)]
        if unread:
            lines.append(
                f"  action units not read in full: {len(unread)} (the first: {unread[0]}; its notes say what)"
            )
    return "\n".join(lines)
