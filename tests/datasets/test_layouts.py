"""Each reader on the layout of its dataset: every clip and event comes back with the labels that went in.

The layouts are written by `megc/synthesis` from the datasets' descriptions, apart from the readers: sheets, folders,
gaps and each kind of irregular cell, with the truth. Pictures are blank: readers list frames and open none.
"""

import json

import pytest

from megc.clips import list_frames, nearest_frame
from megc.datasets.readers import LONG_READERS, READERS
from megc.problems import Problems
from megc.synthesis.layout_set import write_layout
from megc.synthesis.layouts import load_layouts

POINTS = ("onset", "apex", "offset")
WORDS = {"tense": "others"}  # annotated words that our vocabulary does not have
EVENT_LAYOUTS = [
    name
    for name, layouts in load_layouts().items()
    if any("event" in sheet.gives for layout in layouts for sheet in layout.sheets)
]
CLIP_LAYOUTS = [
    name
    for name, layouts in load_layouts().items()
    if any("clip" in sheet.gives for sheet in layouts[0].sheets) or not layouts[0].sheets
]


def truth_of(root, kind):
    rows = [json.loads(line) for line in (root / "truth.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def read(root, source, sheet, with_frames):
    problems = Problems()
    clips = READERS[source](root / sheet if sheet else None, root if with_frames else None, root, problems)
    return clips, [str(problem) for problem in problems]


def check_point(clip, row, point, frames):
    """The frame number is the true one, or the nearest that has a file; a number that is not the cell's is noted."""
    value = getattr(clip, point)
    if row[point] is None:
        assert point == "apex" and clip.apex_estimated and clip.onset < value <= clip.offset, row
        expected = value
    else:
        expected = row[point] if not row["missing"] else nearest_frame(frames, row[point])
        assert value == expected, (point, row, clip)
    cell = row["annotated"][point]
    if cell and (point in row["repaired"] or str(expected) != cell.rstrip("?")):
        assert any(point in note for note in clip.notes), (point, row, clip.notes)


def check_clip(clip, row, frames):
    for point in POINTS:
        check_point(clip, row, point, frames)
    assert clip.apex_estimated == (row["apex"] is None), row
    assert [(unit.number, unit.side) for unit in clip.action_units] == [
        (unit["number"], unit["side"]) for unit in row["action_units"]
    ], row
    emotion = WORDS.get(row["fine"], row["fine"])
    if "+" in emotion:  # two at once: no class, and a note that says so
        noted = " ".join(clip.notes)
        assert not clip.coarse and all(word in noted for word in emotion.split("+")), (row, clip)
    else:
        assert emotion in (clip.fine, clip.coarse), (row, clip)
    for field in ("dataset", "subject", "name", "fps"):
        assert getattr(clip, field) == row[field], row


@pytest.mark.parametrize("name", CLIP_LAYOUTS)
@pytest.mark.parametrize("pictures", ["none", "blank"])
def test_every_clip_comes_back_with_its_labels(name, pictures, tmp_path):
    layouts = load_layouts()[name]
    if pictures == "none" and not layouts[0].sheets:
        pytest.skip("its clips are its folders")
    write_layout(tmp_path, name, every=50, pictures=pictures)
    truth = {row["id"]: row for row in truth_of(tmp_path, "clip")}
    sheets = {row["annotations"] for row in truth.values()}
    assert len(sheets) == 1
    clips, problems = read(tmp_path, layouts[0].source, sheets.pop(), pictures == "blank")
    assert problems == []
    assert {clip.id for clip in clips} == truth.keys()
    for clip in clips:
        frames = list_frames(tmp_path / clip.frames) if clip.frames else None
        assert bool(frames) == (pictures == "blank")
        row = truth[clip.id] if frames else truth[clip.id] | {"missing": []}
        check_clip(clip, row, frames)


def check_event(event, row):
    """An apex may stay on the onset or the offset of an event; one that is no frame of it is not there."""
    assert (event.onset, event.offset, event.type) == (row["onset"], row["offset"], row["type"]), (event, row)
    assert event.apex == row["apex"] or (row["apex"] is None and event.apex in (event.onset, event.offset)), (
        event,
        row,
    )
    units = [{"number": unit.number, "side": unit.side} for unit in event.action_units]
    assert units == row["action_units"] and event.emotion == row["fine"], (event, row)
    for point in POINTS:
        cell = row["annotated"][point]
        if cell and str(getattr(event, point)) != cell:
            assert any(point in note for note in event.notes), (point, event, row)


@pytest.mark.parametrize("name", EVENT_LAYOUTS)
@pytest.mark.parametrize("pictures", ["none", "blank"])
def test_every_event_comes_back_with_its_labels(name, pictures, tmp_path):
    write_layout(tmp_path, name, every=50, pictures=pictures)
    source, truth, problems = load_layouts()[name][0].source, truth_of(tmp_path, "event"), Problems()
    sheets = {row["annotations"] for row in truth}
    assert len(sheets) == 1
    frames = tmp_path if pictures == "blank" else None
    videos = LONG_READERS[source](tmp_path / sheets.pop(), frames, tmp_path, problems)
    assert not len(problems), list(problems)
    assert {video.id for video in videos} == {row["id"] for row in truth}
    for video in videos:
        rows = sorted((row for row in truth if row["id"] == video.id), key=lambda row: (row["onset"], row["offset"]))
        assert len(video.events) == len(rows), (video, rows)
        assert (video.dataset, video.subject, video.name, video.fps) == tuple(
            rows[0][field] for field in ("dataset", "subject", "name", "fps")
        )
        assert bool(video.frames) == (pictures == "blank")
        for event, row in zip(video.events, rows, strict=True):
            check_event(event, row)
