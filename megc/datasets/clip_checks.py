"""Checks of `clips.jsonl` and `videos.jsonl`: frame numbers, labels, events, and whether the frames decode."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from megc.clips import Clip, ClipRow, Event, EventRow, Video, VideoRow, frames_folder
from megc.facs import ACTION_UNITS, COARSE_EMOTIONS, FINE_EMOTIONS, FINE_TO_COARSE, ActionUnit
from megc.files import read_jsonl, sha256_of
from megc.motion.frames import Frames, open_frames
from megc.motion.settings import MOMENTS
from megc.problems import DataError, Problem, Problems
from megc.records import Contract, check_record

LONGEST = 4.0  # seconds: a micro-expression lasts half of one, and released sheets have some of three
_INDEX = "index the dataset again, or repair its sheet"
_ONE_FRAME = "unpack the frames again; extract_frames.py takes the nearest ones"
# Of FACS, beside ACTION_UNITS: sniff, speech, what is not visible, swallow, chew, shrug, shake, nod, flash, shiver.
_OTHER_CODES = (40, 50, *range(70, 75), 80, 81, 82, 84, 85, 91, 92, 97, 98)
_EVENT_KINDS = ("macro", "micro")


def check_clips(path: Path | str, problems: Problems, all_frames: bool = False) -> int:
    """Check a `clips.jsonl`, each line as far as it can be read; returns the number of clips.

    Form, onset ≤ apex ≤ offset, length, labels, a clip that stands twice, and whether its key frames (`all_frames`:
    all from onset to offset) are there and decode. Raises DataError for a file that cannot be read or has no row.
    """
    clips = [_loose_clip(name, good) for name, good, _ in _read(path, problems, "clip", ClipRow, _ordered_clip)]
    for clip in clips:
        _check_length(path, clip, problems)
        _check_labels(path, clip, problems)
    _check_repeats(path, clips, problems)
    contents: dict[str, Clip] = {}  # by the bytes of onset and apex frame
    for clip in tqdm(clips, desc=Path(path).name, unit="clip", disable=None):
        if clip.frames:  # clips of the challenge's questions come without frames
            with problems.collect("frames"):
                _check_frames(path, clip, all_frames, contents, problems)
    return len(clips)


def check_videos(path: Path | str, problems: Problems, all_frames: bool = False) -> int:
    """Check a `videos.jsonl`, each line as far as it can be read; returns the number of videos.

    Form, events in order of onset and inside the video, events that overlap, and whether the first and last frame and
    those of the events (`all_frames`: every frame) decode. Raises DataError as `check_clips`.
    """
    rows = _read(path, problems, "video", VideoRow, _ordered_video)
    videos = [_loose_video(name, good, row) for name, good, row in rows]
    _check_repeats(path, videos, problems)
    from_one = _counted_from_one(videos)
    for video in tqdm(videos, desc=Path(path).name, unit="video", disable=None):
        frames = None
        if video.frames:
            with problems.collect("frames"):
                frames = open_frames(frames_folder(video, path), video.id)
        for what, fix, is_error in _event_faults(video, _extent(video, frames, video.dataset in from_one)):
            problem = Problem(str(path), video.id, what, fix, "events")
            (problems.add if is_error else problems.warn)(problem)
        if frames:
            _check_video_frames(video, frames, all_frames, problems)
    return len(videos)


def _read(
    path: Path | str,
    problems: Problems,
    noun: str,
    contract: type[Contract],
    in_order: Callable[[dict], tuple[dict, list[tuple[str, str]]]],
) -> Iterator[tuple[str, dict, dict]]:
    """(id, fields that keep their contract, row in order) of each row; what does not keep it is reported.

    `in_order` puts frame numbers and events in order, and returns (check, fault) of what was not, so that a fault of
    the order counts as one of the interval or of the events.
    """
    lines, any_row = Problems(), False
    for line, row in read_jsonl(path, lines):
        any_row = True
        name = row["id"] if isinstance(row.get("id"), str) else f"line {line}"
        mended, faults = in_order(row)
        for check, what in faults:
            problems.add(Problem(str(path), name, what, _INDEX, check))
        with problems.collect("form"):
            check_record(contract, mended, path, line, _INDEX)
        yield name, _good_fields(contract, mended), mended
    for problem in lines:
        problems.add(replace(problem, check="form"))
    if not any_row and not lines:
        raise DataError(path, None, f"no {noun} in the file", "write it with data_process/index_clips.py")


def _good_fields(contract: type[Contract], row: dict) -> dict:
    """The fields of a row that keep their part of the contract."""
    good = {}
    for name, info in contract.model_fields.items():
        try:
            check_record(info.rebuild_annotation(), row[name], "", None, "")
        except (KeyError, DataError):
            continue
        good[name] = row[name]
    return good


def _units(row: dict) -> tuple[ActionUnit, ...]:
    return tuple(ActionUnit(**unit) for unit in row.get("action_units", ()))


def _loose_clip(name: str, row: dict) -> Clip:
    """The clip of the good fields of a row; without frames where a frame number is missing."""
    neutral = {
        "dataset": "",
        "subject": "",
        "name": name,
        "fps": 0.0,
        "frames": "",
        "onset": 0,
        "apex": 0,
        "offset": 1,
    }
    notes = tuple(row.get("notes", ()))
    if not set(MOMENTS) <= row.keys():
        row = {key: value for key, value in row.items() if key not in (*MOMENTS, "frames")}
    return Clip(**{**neutral, **row, "id": name, "action_units": _units(row), "notes": notes})


def _loose_video(name: str, good: dict, row: dict) -> Video:
    """The video of the good fields of a row, with those of its events that keep their contract."""
    neutral = {"dataset": "", "subject": "", "name": name, "fps": 0.0}
    events = []
    for event in row["events"] if isinstance(row.get("events"), list) else ():
        # a bad event is in the report of the row's form already
        with Problems().collect():
            check_record(EventRow, event, "", None, "")
            events.append(Event(**{**event, "action_units": _units(event), "notes": tuple(event["notes"])}))
    return Video(**{**neutral, **good, "id": name, "events": tuple(events), "notes": tuple(good.get("notes", ()))})


def _ordered_clip(row: dict) -> tuple[dict, list[tuple[str, str]]]:
    numbers = [row.get(moment) for moment in MOMENTS]
    if not all(type(number) is int for number in numbers) or numbers == sorted(numbers):
        return row, []
    onset, apex, offset = numbers
    what = f"onset {onset}, apex {apex}, offset {offset} are not in order"
    return {**row, **dict(zip(MOMENTS, sorted(numbers), strict=True))}, [("interval", what)]


def _ordered_video(row: dict) -> tuple[dict, list[tuple[str, str]]]:
    events, faults = row.get("events"), []
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return row, []
    mended = []
    for number, event in enumerate(events, start=1):
        onset, apex, offset = (event.get(moment) for moment in MOMENTS)
        numbers = [onset, offset] if apex is None else [onset, apex, offset]
        if all(type(value) is int for value in numbers) and numbers != sorted(numbers):
            what = f"event {number}: onset {onset}, apex {apex}, offset {offset} are not in order"
            faults.append(("events", what))
            low, *middle, high = sorted(numbers)
            event = {**event, "onset": low, "apex": middle[0] if middle else None, "offset": high}
        if event.get("type") not in _EVENT_KINDS:
            what = f"event {number}: type {event.get('type')!r} is not one of {', '.join(_EVENT_KINDS)}"
            faults.append(("events", what))
            event = {**event, "type": _EVENT_KINDS[0]}
        mended.append(event)
    onsets: list[Any] = [event.get("onset") for event in mended]
    if all(type(onset) is int for onset in onsets) and onsets != sorted(onsets):
        faults.append(("events", "the events are not in order of their onsets"))
        mended.sort(key=lambda event: event["onset"])
    return {**row, "events": mended}, faults


def _check_length(path: Path | str, clip: Clip, problems: Problems) -> None:
    seconds = (clip.offset - clip.onset) / clip.fps if clip.fps else 0.0
    if seconds > LONGEST:
        what = f"from frame {clip.onset} to {clip.offset}, {seconds:.1f} s: too long for a micro-expression"
        problems.warn(Problem(str(path), clip.id, what, "check the offset in the sheet", "interval"))
    if clip.onset == clip.offset:
        what = f"onset and offset are one frame, {clip.onset}"
        problems.add(Problem(str(path), clip.id, what, _INDEX, "interval"))


def _check_labels(path: Path | str, clip: Clip, problems: Problems) -> None:
    if clip.coarse and FINE_TO_COARSE.get(clip.fine, clip.coarse) != clip.coarse:
        what = f"fine class {clip.fine!r} does not belong to coarse class {clip.coarse!r}"
        fix = f"use one of {', '.join(FINE_EMOTIONS)}, with {', '.join(COARSE_EMOTIONS)}"
        problems.add(Problem(str(path), clip.id, what, fix, "vocabulary"))
    if unknown := _unknown_units(clip.action_units):
        what = f"FACS has no action unit {unknown}"
        problems.warn(Problem(str(path), clip.id, what, "check the cell of the sheet", "vocabulary"))


def _unknown_units(units: Iterable[ActionUnit]) -> str:
    """The numbers that FACS does not have, joined by commas."""
    numbers = [unit.number for unit in units if unit.number not in ACTION_UNITS and unit.number not in _OTHER_CODES]
    return ", ".join(map(str, numbers))


def _check_repeats(path: Path | str, items: Sequence[Clip | Video], problems: Problems) -> None:
    """Report an id that stands twice, and one interval of one frame folder under two ids."""
    ids: set[str] = set()
    intervals: dict[tuple, str] = {}
    for item in items:
        if item.id in ids:
            problems.add(Problem(str(path), item.id, "stands twice", "keep one of the two rows", "duplicates"))
        ids.add(item.id)
        interval = (item.frames, getattr(item, "onset", None), getattr(item, "offset", None))
        if item.frames and intervals.setdefault(interval, item.id) != item.id:
            what = f"the same frames as {intervals[interval]}"
            problems.add(Problem(str(path), item.id, what, "keep one of the two rows", "duplicates"))


def _check_frames(
    path: Path | str, clip: Clip, all_frames: bool, contents: dict[str, Clip], problems: Problems
) -> None:
    """Decode a clip's frames. Raises DataError for the first that is missing; others that do not decode are added."""
    frames = open_frames(frames_folder(clip, path), clip.id)
    for fault in frames.faults:
        problems.warn(Problem(str(frames.source), clip.id, fault, frames.repair, "frames"))
    annotated = [getattr(clip, moment) for moment in MOMENTS]
    gone = [number for number in annotated if number not in frames.numbers]
    numbers = sorted({frames.nearest(number) for number in annotated})
    if all_frames:
        numbers = [number for number in frames.numbers if numbers[0] <= number <= numbers[-1]]
    _decode(frames, numbers, problems)
    key_files = [frames.file(frames.nearest(number)) for number in annotated[:2]]
    if all(file.is_file() for file in key_files) and len(set(key_files)) == 2:
        content = sha256_of(*(file.read_bytes() for file in key_files))
        twin = contents.setdefault(content, clip)
        if twin is not clip and twin.frames != clip.frames:
            what = f"its onset and apex frames are, byte by byte, those of {twin.id}"
            problem = Problem(str(path), clip.id, what, "unpack both clips again, or keep one of them", "duplicates")
            same_person = (twin.dataset, twin.subject) == (clip.dataset, clip.subject)
            (problems.warn if same_person else problems.add)(problem)
    # a reader that took the nearest frame has said so in a note: nothing is missing then
    if gone and not any("nearest" in note for note in clip.notes):
        raise DataError(path, clip.id, f"key frames {gone} are missing", _ONE_FRAME)


def _decode(frames: Frames, numbers: Sequence[int], problems: Problems) -> None:
    """Decode frames, each by itself, so that one damaged file hides no other."""
    if frames.source.is_file():  # a video, which is read from its start
        with problems.collect("frames"):
            for _ in frames.read_many(list(numbers)):
                pass
        return
    for number in numbers:
        with problems.collect("frames"):
            frames.read(number)


def _counted_from_one(videos: Sequence[Video]) -> set[str]:
    """The datasets whose frames are counted from 1 in each video, as most of their events show: SMIC-E counts on from
    video to video."""
    inside: dict[str, list[bool]] = defaultdict(list)
    for video in videos:
        inside[video.dataset] += [event.onset <= video.length for event in video.events if video.length]
    return {dataset for dataset, events in inside.items() if 2 * sum(events) > len(events)}


def _extent(video: Video, frames: Frames | None, from_one: bool) -> tuple[int, int] | None:
    """First and last frame number of a video: of its frames, or by its length; None where neither tells."""
    if frames:
        return frames.numbers[0], frames.numbers[-1]
    return (1, video.length) if video.length and from_one else None


def _event_faults(video: Video, extent: tuple[int, int] | None) -> Iterator[tuple[str, str, bool]]:
    """(what, fix, whether it is an error) of a video's events; `extent`: its first and last frame number."""
    for number, event in enumerate(video.events, start=1):
        if extent and event.offset > extent[1]:
            what = f"event {number} ends at frame {event.offset}, beyond the video's last frame, {extent[1]}"
            yield what, "check the offset in the sheet, or unpack the whole video", True
        if unknown := _unknown_units(event.action_units):
            yield f"event {number}: FACS has no action unit {unknown}", "check the cell of the sheet", False
        seconds = (event.offset - event.onset) / video.fps if video.fps else 0.0
        if event.type == "micro" and seconds > LONGEST:
            yield f"event {number}, micro, lasts {seconds:.1f} s", "check the offset in the sheet", False
    for number, (event, following) in enumerate(pairwise(video.events), start=1):
        if following.onset <= event.offset:
            what = _overlap(number, event, following)
            yield what, "check both rows of the sheet; scorers count each event by itself", False


def _overlap(number: int, event: Event, other: Event) -> str:
    spans = f"{event.onset}–{event.offset} and {other.onset}–{other.offset}"
    if (event.onset, event.offset, event.type) == (other.onset, other.offset, other.type):
        return f"events {number} and {number + 1} are the same: {spans}"
    return f"events {number} and {number + 1} overlap: {spans}"


def _check_video_frames(video: Video, frames: Frames, all_frames: bool, problems: Problems) -> None:
    """Decode first and last frame of a video and those of its events, or all."""
    for fault in frames.faults:
        problems.warn(Problem(str(frames.source), video.id, fault, frames.repair, "frames"))
    numbers = {frames.numbers[0], frames.numbers[-1]}
    for event in video.events:
        numbers |= {frames.nearest(number) for number in (event.onset, event.apex, event.offset) if number is not None}
    _decode(frames, list(frames.numbers) if all_frames else sorted(numbers), problems)
