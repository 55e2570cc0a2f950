"""The doctor on clips.jsonl and videos.jsonl: frame numbers, labels, events, frames that do not decode."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megc.clips import Clip, Event, Video, clip_to_row, write_clips, write_videos
from megc.datasets.clip_checks import check_clips, check_videos
from megc.facs import ActionUnit
from megc.files import png_bytes, read_jsonl, write_bytes, write_jsonl
from megc.problems import DataError, Problems


def write_frames(folder: Path, numbers: range, seed: int = 0) -> None:
    for number in numbers:
        pixels = np.random.default_rng([seed, number]).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        write_bytes(folder / f"img{number}.png", png_bytes(pixels))


def a_clip(name: str = "EP01_01", subject: str = "sub01", **changes: object) -> Clip:
    clip = Clip(f"casme2/{subject}/{name}", "casme2", subject, name, 200.0, "", 8, 11, 14, fine="happiness")
    return replace(clip, **{"coarse": "positive", "action_units": (ActionUnit(12),), **changes})


def said(problems: Problems, check: str) -> str:
    return " | ".join(str(problem) for problem in [*problems, *problems.warnings] if problem.check == check)


def test_clips_with_all_their_frames_pass(tmp_path: Path) -> None:
    write_frames(tmp_path / "EP", range(8, 15))
    write_clips(tmp_path / "clips.jsonl", [a_clip(frames="EP"), a_clip("EP01_02")])
    problems = Problems()
    assert check_clips(tmp_path / "clips.jsonl", problems, all_frames=True) == 2
    assert not problems and not problems.warnings


def test_every_fault_of_a_line_is_named_and_the_other_lines_are_checked(tmp_path: Path) -> None:
    write_frames(tmp_path / "EP", range(8, 15))
    (tmp_path / "EP/img11.png").write_bytes(b"damaged")
    (tmp_path / "EP/img12.png").write_bytes(b"damaged too")
    rows = [
        clip_to_row(a_clip(frames="EP")) | {"onset": 14, "offset": 8},
        clip_to_row(a_clip("EP01_02", fine="disgust")) | {"fps": "200"},
        clip_to_row(a_clip("EP01_03", fine="disgust", action_units=(ActionUnit(99),))),
        clip_to_row(a_clip("EP01_03", offset=2000)),
        clip_to_row(a_clip("EP01_04", frames="gone")),
    ]
    write_jsonl(tmp_path / "clips.jsonl", rows)
    with (tmp_path / "clips.jsonl").open("a") as file:
        file.write("no JSON\n")
    problems = Problems()
    check_clips(tmp_path / "clips.jsonl", problems)
    assert "EP01_01: onset 14, apex 11, offset 8 are not in order" in said(problems, "interval")
    assert "img11.png" in said(problems, "frames") and "img12" not in said(problems, "frames")  # no key frame
    assert "fps is '200'" in said(problems, "form") and "row 6: not JSON" in said(problems, "form")
    faults = [problem.row for problem in problems if "'disgust' does not belong" in problem.what]
    assert faults == ["casme2/sub01/EP01_02", "casme2/sub01/EP01_03"]  # the first although its fps is text
    assert "action unit 99" in said(problems, "vocabulary")
    assert "EP01_03: stands twice" in said(problems, "duplicates")
    assert "10.0 s: too long" in said(problems, "interval")
    assert "gone" in said(problems, "frames")
    check_clips(tmp_path / "clips.jsonl", problems, all_frames=True)
    assert "img12.png" in said(problems, "frames")


def test_missing_key_frames_are_an_error_unless_the_reader_said_so(tmp_path: Path) -> None:
    write_frames(tmp_path / "EP", range(8, 13))
    clip = a_clip(frames="EP")
    write_clips(tmp_path / "clips.jsonl", [clip])
    problems = Problems()
    check_clips(tmp_path / "clips.jsonl", problems)
    assert "key frames [14] are missing" in said(problems, "frames")
    write_clips(tmp_path / "clips.jsonl", [replace(clip, notes=("offset frame 14 has no file: the nearest, 12",))])
    problems = Problems()
    check_clips(tmp_path / "clips.jsonl", problems)
    assert not problems


def test_one_recording_under_two_clips_is_found_by_its_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        write_frames(tmp_path / folder, range(8, 15))
    clips = [a_clip(frames="a"), a_clip("EP01_02", frames="b"), a_clip(subject="sub02", frames="c")]
    write_clips(tmp_path / "clips.jsonl", [*clips, a_clip("EP01_05", frames="a")])
    problems = Problems()
    check_clips(tmp_path / "clips.jsonl", problems)
    errors = [problem for problem in problems if problem.check == "duplicates"]
    assert [problem.row for problem in errors] == ["casme2/sub01/EP01_05", "casme2/sub02/EP01_01"]
    assert [problem.row for problem in problems.warnings] == ["casme2/sub01/EP01_02"]


def a_video(*events: Event, length: int | None = 100, frames: str = "") -> Video:
    return Video("samm_lv/006/006_1", "samm_lv", "006", "006_1", 200.0, frames, length, events)


def test_events_outside_the_video_overlapping_and_too_long_are_named(tmp_path: Path) -> None:
    events = (
        Event(5, 8, 20, "micro"),
        Event(18, None, 40, "macro", action_units=(ActionUnit(99),)),
        Event(60, 65, 120, "macro"),
    )
    write_videos(
        tmp_path / "videos.jsonl", [a_video(*events), replace(a_video(length=None), id="samm_lv/006/x", name="x")]
    )
    problems = Problems()
    assert check_videos(tmp_path / "videos.jsonl", problems) == 2
    assert [problem.what for problem in problems] == ["event 3 ends at frame 120, beyond the video's last frame, 100"]
    assert "events 1 and 2 overlap: 5–20 and 18–40" in said(problems, "events")
    assert "no action unit 99" in said(problems, "events")


def test_videos_whose_frames_are_not_counted_from_one_are_not_judged_by_their_length(tmp_path: Path) -> None:
    far = a_video(Event(36448, None, 36470, "micro", action_units=(ActionUnit(80),)))
    write_videos(tmp_path / "videos.jsonl", [far])
    problems = Problems()
    check_videos(tmp_path / "videos.jsonl", problems)
    assert not problems and not problems.warnings
    write_frames(tmp_path / "v", range(36440, 36461, 10))
    write_videos(tmp_path / "videos.jsonl", [replace(far, frames="v")])
    check_videos(tmp_path / "videos.jsonl", problems)
    assert "event 1 ends at frame 36470, beyond the video's last frame, 36460" in said(problems, "events")


def test_events_out_of_order_and_of_unknown_types_are_named_beside_all_else(tmp_path: Path) -> None:
    write_videos(tmp_path / "videos.jsonl", [a_video(Event(5, 8, 20, "micro"), Event(30, 35, 40, "macro"))])
    ((_, row),) = read_jsonl(tmp_path / "videos.jsonl")
    first, second = row["events"]
    spoilt = {**row, "length": 35, "events": [{**second, "type": "mini"}, {**first, "offset": 2}]}
    lengthless = {
        **spoilt,
        "id": "v",
        "fps": None,
        "events": [first, {**second, "onset": "30"}, {**second, "onset": 6}],
    }
    write_jsonl(tmp_path / "videos.jsonl", [spoilt, lengthless])
    problems = Problems()
    check_videos(tmp_path / "videos.jsonl", problems)
    events = said(problems, "events")
    assert "event 1: type 'mini' is not one of macro, micro" in events
    assert "event 2: onset 5, apex 8, offset 2 are not in order" in events
    assert "not in order of their onsets" in events
    assert "samm_lv/006/006_1: event 2 ends at frame 40, beyond the video's last frame, 35" in events
    assert "v: event 2 ends at frame 40" in events and "v: events 1 and 2 overlap" in events
    (form,) = [problem.what for problem in problems if problem.check == "form"]
    assert "fps is None" in form and "events[1].onset is '30'" in form


def test_frames_of_videos_decode(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", range(1, 31))
    for number in (8, 9):
        (tmp_path / f"v/img{number}.png").write_bytes(b"damaged")
    write_videos(
        tmp_path / "videos.jsonl", [a_video(Event(5, 8, 20, "micro"), Event(25, 26, 40, "macro"), frames="v")]
    )
    problems = Problems()
    check_videos(tmp_path / "videos.jsonl", problems)
    assert "img8.png" in said(problems, "frames") and "img9.png" not in said(problems, "frames")
    assert "event 2 ends at frame 40, beyond the video's last frame, 30" in said(problems, "events")
    check_videos(tmp_path / "videos.jsonl", problems, all_frames=True)
    assert "img9.png" in said(problems, "frames")


def test_a_file_without_a_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"no clip in the file; write it with"):
        check_clips(tmp_path / "clips.jsonl", Problems())
