"""Several datasets into one `clips.jsonl`, and a summary of them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from megc.clips import Clip, write_clips
from megc.datasets.readers import READERS
from megc.datasets.recognition import AUTO, recognise
from megc.datasets.repairs import check_repairs_name
from megc.facs import UNREAD
from megc.problems import DataError, Problems


@dataclass
class DatasetSource:
    """One dataset to read: a name of `READERS` or `auto`, its spreadsheet, and the folder of its frames (None: not at
    hand)."""

    dataset: str
    annotations: Path | None = None
    frames: Path | None = None


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
                source = DatasetSource(candidate.dataset, annotations, source.frames)
            recognised.append(source)
    return recognised, lines


def index_clips(sources: list[DatasetSource], out: Path, problems: Problems, repairs: str = "") -> list[Clip]:
    """Read all `sources` and write their clips to `out`; what is wrong goes to `problems`.

    `repairs` names a set of known slips to repair beside those that are always repaired; `none`: the sheets as
    released. A dataset that cannot be read at all is a problem too, and the others are still indexed. Raises
    DataError, and writes nothing, when there is no clip at all, or no such set of repairs.
    """
    check_repairs_name(repairs, {source.dataset for source in sources})
    clips: dict[str, Clip] = {}  # by id: two datasets may share subjects' names, never ids
    for source in sources:
        with problems.collect():
            for clip in READERS[source.dataset](source.annotations, source.frames, out.parent, problems, repairs):
                with problems.collect():
                    if clip.id in clips:
                        raise DataError(source.dataset, clip.id, "read before", "give each dataset once")
                    clips[clip.id] = clip
    if not clips:
        raise DataError(out, None, "no clip to write", "mend the problems above")
    write_clips(out, clips.values())
    return list(clips.values())


def summarise_clips(clips: list[Clip]) -> str:
    """Lines of each dataset: clips, subjects, those that ME-VQA uses, emotions, repairs, frames."""
    lines = []
    # datasets in the order in which they were read
    for dataset in dict.fromkeys(clip.dataset for clip in clips):
        members = [clip for clip in clips if clip.dataset == dataset]
        subjects = {clip.subject for clip in members}
        emotions = Counter(clip.fine or "no emotion" for clip in members)
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
