"""The report of an indexing: counts beside the published ones, repairs, missing frames and rows left out, each listed.

`published_counts.csv` beside this file has what the owners, papers and public loaders say of each release.
"""

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from megc.clips import Clip, Video, frames_folder, list_frames
from megc.facs import unit_name
from megc.files import write_text
from megc.problems import DataError, Problems

REPORT_FILE = "index_report.md"
_COUNTS = Path(__file__).with_name("published_counts.csv")
_PRINTED = 10  # lines of each list on the screen; the file has all
Counts = dict[tuple[str, str], int]  # by quantity and name, as in the columns of `published_counts.csv`

# What a note says of a repair: `apex 1930 is outside 4896–4970: the middle of the interval, 4933, is taken`.
_REPAIR = re.compile(
    r"(?:repaired: )?(?:no (?P<absent>\w+)|(?P<field>\w+)(?: frame)? (?P<was>.*?)): "
    r"(?P<reason>.*?)(?P<value>[^\s,(]+),? is taken(?: \((?P<source>.*)\))?"
)
# Of events: `onset 566.4 is rounded`, `apex -1: not annotated`, `apex 9 is outside 1–5 and not used`.
_CELL = re.compile(
    r"(?P<field>onset|apex|offset) (?P<was>[^\s:]+):? (?P<fault>is rounded|not annotated|is outside .* and not used)"
)


@dataclass(frozen=True)
class RepairedField:
    """A field of a clip or event that is not as its sheet has it: what it was, its value now, and why."""

    clip: str
    field: str
    was: str
    value: str
    reason: str


@cache
def published_counts() -> dict[str, dict[str, dict[tuple[str, str], tuple[int, str]]]]:
    """Published counts: dataset, release, (quantity, name) → (count, source)."""
    counts: dict = defaultdict(lambda: defaultdict(dict))
    with _COUNTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = row["quantity"], row["name"]
            counts[row["dataset"]][row["release"]][key] = int(row["count"]), row["source"]
    return {dataset: dict(releases) for dataset, releases in counts.items()}


def dataset_counts(clips: Sequence[Clip], videos: Sequence[Video] = ()) -> Counts:
    """Counts of one dataset's clips and videos, by the quantities of `published_counts`.

    `me_vqa_…` are of the clips with a coarse class, which are those that ME-VQA asks about.
    """
    counts: Counts = {}

    def enter(quantity: str, names: Iterable[object]) -> None:
        counts.update({(quantity, str(name)): number for name, number in Counter(names).items()})

    if clips:
        asked_about = [clip for clip in clips if clip.coarse]
        for prefix, members in (("", clips), ("me_vqa_", asked_about)):
            counts[f"{prefix}clips", ""] = len(members)
            counts[f"{prefix}subjects", ""] = len({clip.subject for clip in members})
            enter(f"{prefix}emotion", (clip.fine or clip.coarse or "none" for clip in members))
            enter(f"{prefix}coarse", (clip.coarse for clip in members if clip.coarse))
            enter(f"{prefix}unit", (number for clip in members for number in {u.number for u in clip.action_units}))
            enter(f"{prefix}subject", (clip.subject for clip in members))
    if videos:
        events = [event for video in videos for event in video.events]
        counts["videos", ""] = len(videos)
        counts.setdefault(("subjects", ""), len({video.subject for video in videos}))
        enter("events", (event.type for event in events))
        enter("event_emotion", (event.emotion or "none" for event in events))
        enter("event_subject", (video.subject for video in videos for _ in video.events))
    return counts


def nearest_release(dataset: str, counts: Counts) -> tuple[str, Mapping[tuple[str, str], tuple[int, str]]]:
    """The published release whose counts differ least from `counts`, and those of its counts that can be compared;
    empty where none is published."""
    # a sheet without emotions has nothing to compare with theirs
    kinds = {quantity for quantity, name in counts if name != "none"}
    releases = {
        release: {key: value for key, value in published.items() if key[0] in kinds}
        for release, published in published_counts().get(dataset, {}).items()
    }

    def distance(release: str) -> tuple[float, int]:
        """Share of the counts that differ; of equals, the one of which more is published is nearer."""
        differ = sum(counts.get(key, 0) != count for key, (count, _) in releases[release].items())
        return differ / max(1, len(releases[release])), -len(releases[release])

    comparable = [release for release, published in releases.items() if published]
    best = min(comparable, key=distance, default="")
    return best, releases.get(best, {})


def repaired_fields(clips: Iterable[Clip], videos: Iterable[Video] = ()) -> list[RepairedField]:
    """Every repair that the notes of clips and events name."""
    notes = [(clip.id, clip.notes) for clip in clips]
    notes += [(f"{video.id} {event.name or event.onset}", event.notes) for video in videos for event in video.events]
    return [repair for name, texts in notes for text in texts if (repair := parse_repair(name, text))]


def parse_repair(clip: str, note: str) -> RepairedField | None:
    """The repair that a note names; None for a note on something else."""
    if match := _CELL.fullmatch(note):
        rounded = match["fault"] == "is rounded"
        value = str(math.floor(float(match["was"]) + 0.5)) if rounded else "none"
        return RepairedField(clip, match["field"], match["was"], value, match["fault"])
    match = _REPAIR.fullmatch(note)
    if not match:
        return None
    was, reason = match["was"] or "", match["source"] or match["reason"].strip(" ,")
    if not match["source"]:  # of a rule: `1930 is outside 4896–4970`, of which the first word is the cell
        was, _, fault = was.partition(" ")
        reason = ": ".join(part for part in (fault, reason) if part)
    return RepairedField(clip, match["field"] or match["absent"], was, match["value"], reason)


def missing_frames(clips: Iterable[Clip], videos: Iterable[Video], file: Path) -> dict[str, tuple[int, int, int]]:
    """By clip and video, of those that lack frames: how many numbers have no file, of how many, and the first.

    Of a clip the numbers run from onset to offset, of a video from its first frame to its last. `file`: the
    `clips.jsonl`, which the folders are relative to.
    """
    listings: dict[Path, dict[int, Path]] = {}  # of folders that several clips share
    missing = {}
    for item in (*clips, *videos):
        if not item.frames:
            continue
        try:
            folder = frames_folder(item, file)
            if folder not in listings:
                listings[folder] = list_frames(folder)
        except DataError:  # the reader has read this folder; it may have gone since
            continue
        ends = (item.onset, item.offset) if isinstance(item, Clip) else (min(listings[folder]), max(listings[folder]))
        absent = [number for number in range(ends[0], ends[1] + 1) if number not in listings[folder]]
        if absent:
            missing[item.id] = len(absent), ends[1] - ends[0] + 1, absent[0]
    return missing


def write_report(clips: Sequence[Clip], videos: Sequence[Video], clips_file: Path, problems: Problems) -> str:
    """Write `index_report.md` beside `clips_file`; returns the same report with its lists cut for the screen.

    `problems` are those of the reading: rows left out stand there.
    """
    path = clips_file.parent / REPORT_FILE
    missing = missing_frames(clips, videos, clips_file)
    write_text(path, _report(clips, videos, missing, problems, None))
    return f"{_report(clips, videos, missing, problems, _PRINTED)}\nAll of it: {path}"


def _report(
    clips: Sequence[Clip],
    videos: Sequence[Video],
    missing: Mapping[str, tuple[int, int, int]],
    problems: Problems,
    limit: int | None,
) -> str:
    parts = ["# What was indexed"]
    for dataset in dict.fromkeys(item.dataset for item in (*clips, *videos)):
        of_dataset = [clip for clip in clips if clip.dataset == dataset]
        parts += _counts_part(dataset, of_dataset, [video for video in videos if video.dataset == dataset])
    repairs = repaired_fields(clips, videos)
    rows = [[repair.clip, repair.field, repair.was, repair.value, repair.reason] for repair in repairs]
    parts += [f"## Repairs: {len(repairs)}", _table(["clip", "field", "was", "value", "reason"], rows, limit)]
    rows = [[clip, count, length, first] for clip, (count, length, first) in missing.items()]
    total = sum(count for count, _, _ in missing.values())
    parts += [f"## Missing frames: {total}, of {len(missing)} clips and videos"]
    parts += [_table(["clip or video", "missing", "of", "the first"], rows, limit)]
    rows = [[problem.file, problem.row, problem.what, problem.fix] for problem in problems]
    parts += [f"## Rows left out: {len(rows)}", _table(["file", "row", "reason", "what to do"], rows, limit)]
    rows = [[problem.file, problem.row, problem.what] for problem in problems.warnings]
    parts += [f"## Passed over: {len(rows)}", _table(["file", "row", "what"], rows, limit)]
    rows = [[clip.id, clip.left_out] for clip in clips if not clip.coarse]
    reasons = "; ".join(f"{reason}: {count}" for reason, count in Counter(reason for _, reason in rows).most_common())
    parts += [f"## Clips that ME-VQA leaves out: {len(rows)}", reasons, _table(["clip", "reason"], rows, limit)]
    return "\n\n".join(part for part in parts if part)


def _counts_part(dataset: str, clips: Sequence[Clip], videos: Sequence[Video]) -> list[str]:
    """Tables of a dataset: counts beside the published ones, by action unit, by subject."""
    counts = dataset_counts(clips, videos)
    release, published = nearest_release(dataset, counts)
    kinds = list(dict.fromkeys(quantity for quantity, _ in (*counts, *published)))
    by_unit = [kind for kind in kinds if kind.endswith("unit")]
    by_subject = [kind for kind in kinds if kind.endswith("subject")]
    rows = [
        _count_row(key, counts, published)
        for kind in kinds
        if kind not in (*by_unit, *by_subject)
        for key in sorted(
            {key for key in (*counts, *published) if key[0] == kind}, key=lambda key: _order(key, counts)
        )
    ]
    source = "; ".join(dict.fromkeys(source for _, source in published.values()))
    against = f"; published: release {release or 'the only one'} ({source})" if published else "; nothing published"
    units = sorted({int(name) for quantity, name in (*counts, *published) if quantity in by_unit})
    unit_rows = [
        [unit, unit_name(unit), counts.get(("unit", str(unit)), 0), *of_me_vqa[2:]]
        for unit in units
        if (of_me_vqa := _count_row(("me_vqa_unit", str(unit)), counts, published))
    ]
    different = sum(row[-1] != "" for row in (*rows, *unit_rows))
    parts = [f"## {dataset}{against}; {different} difference(s)"]
    parts.append(_table(["quantity", "name", "here", "published", "difference"], rows))
    parts.append(_table(["action unit", "name", "clips", "of ME-VQA", "published", "difference"], unit_rows))
    subjects = sorted({name for quantity, name in counts if quantity in by_subject})
    if subjects:
        rows = [[name, *(counts.get((kind, name), 0) for kind in by_subject)] for name in subjects]
        words = {"subject": "clips", "me_vqa_subject": "of ME-VQA", "event_subject": "events"}
        parts.append(_table(["subject", *(words[kind] for kind in by_subject)], rows))
    return parts


def _order(key: tuple[str, str], counts: Counts) -> tuple[int, str]:
    return -counts.get(key, 0), key[1]


def _count_row(key: tuple[str, str], counts: Counts, published: Mapping[tuple[str, str], tuple[int, str]]) -> list:
    """Quantity, name, our count, the published one and the difference, both empty where none is published."""
    count = counts.get(key, 0)
    kinds = {quantity for quantity, _ in published}
    if key not in published and key[0] not in kinds:
        return [*key, count, "", ""]
    expected = published[key][0] if key in published else 0
    return [*key, count, expected, f"{count - expected:+d}" if count != expected else ""]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], limit: int | None = None) -> str:
    """A Markdown table with even columns; empty for no row. `limit`: rows that are shown."""
    if not rows:
        return ""
    cells = [list(header), *([_cell(value) for value in row] for row in rows[:limit])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    if limit is not None and len(rows) > limit:
        lines.append(f"… and {len(rows) - limit} more")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).replace("|", "/").split())
