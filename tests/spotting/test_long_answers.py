"""ME-LVQA answers from spotted intervals: as they stand, and by what other subjects' videos teach."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megc.clips import Event, Video, write_videos
from megc.facs import ActionUnit
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError, Problems
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.long_answers import (
    CountModel,
    SpottedVideo,
    TypeModel,
    UnitModel,
    answer_plainly,
    answer_spotted,
    peak_motion,
)
from megc.spotting.settings import AnswerSpottedSettings
from megc.vqa.build import build_files
from megc.vqa.questions import Question
from megc.vqa.settings import BuildSettings

KINDS = ("micro", "macro")


def event(number: int, kind: str, unit: int = 4) -> Event:
    length = 8 if kind == "micro" else 40
    return Event(100 * number, 100 * number + 3, 100 * number + length, kind, "", (ActionUnit(unit),))


def interval_of(item: Event) -> SpottedInterval:
    return SpottedInterval(item.onset, item.offset, item.type, 0.9)


def spotted_video(subject: int, kinds: str, false_alarms: int = 0) -> SpottedVideo:
    """A video of events by initials, each spotted, with false alarms of type macro behind them."""
    events = tuple(event(n, "micro" if c == "i" else "macro", 4 if c == "i" else 12) for n, c in enumerate(kinds, 1))
    video = Video(f"casme3/s{subject}/v", "casme3", f"s{subject}", "v", 30.0, "", 3000, events)
    alarms = [interval_of(event(len(kinds) + 1 + n, "macro")) for n in range(false_alarms)]
    motion = np.zeros((len(events), 36))
    for row, item in zip(motion, events, strict=True):
        row[item.action_units[0].number] = 1
    return SpottedVideo(video, (*map(interval_of, events), *alarms), motion, motion)


def test_intervals_stand_for_events() -> None:
    spotted = spotted_video(1, "ia", false_alarms=1)
    answers = {kind: answer_plainly(Question(kind), spotted) for kind in ("count_all", "count_micro", "count_macro")}
    assert answers == {"count_all": "3", "count_micro": "1", "count_macro": "2"}
    types = [answer_plainly(Question("event_type", ordinal=n), spotted) for n in (1, 2, 9)]
    assert types == ["micro-expression", "macro-expression", "macro-expression"]  # of the 9th: that of the last
    assert answer_plainly(Question("distinct_units"), spotted) == "none"
    empty = replace(spotted, intervals=())
    assert answer_plainly(Question("count_all"), empty) == "0"
    assert answer_plainly(Question("event_type", ordinal=2), empty) == "micro-expression"


def test_counts_are_learnt_from_counts_of_intervals() -> None:
    """Two false alarms in each video: what is true is two fewer macro-expressions."""
    videos = [spotted_video(n, "i" * (n % 3) + "a" * (n % 4), false_alarms=2) for n in range(12)]
    model = CountModel(videos[:9], "count_macro")
    assert [model.predict(item) for item in videos[9:]] == [n % 4 for n in (9, 10, 11)]
    assert CountModel(videos[:9], "count_micro").predict(videos[11]) == 2


def test_types_are_those_of_the_intervals_around_the_nth() -> None:
    videos = [spotted_video(n, kinds) for n, kinds in enumerate(("iiaa", "aaii", "aiia", "iaai", "iaia", "aiai"))]
    counts = CountModel(videos, "count_all")
    model = TypeModel(videos, counts)
    unseen = spotted_video(9, "iiai")
    answers = [model.predict(unseen, n) for n in range(1, 5)]
    assert answers == [f"{item.type}-expression" for item in unseen.video.events]
    only_macro = TypeModel([spotted_video(1, "aa"), spotted_video(2, "a")], counts)
    assert only_macro.predict(unseen, 1) == "macro-expression"


def test_action_units_are_told_by_the_motion_of_regions() -> None:
    videos = [spotted_video(n, kinds) for n, kinds in enumerate(("ia", "i", "a", "ia", "ii", "aa", "ai", "i"))]
    model = UnitModel(videos)
    assert model.units == [4, 12]
    assert model.predict(spotted_video(9, "ii")) == "brow lowerer"
    assert model.predict(spotted_video(9, "aa")) == "lip corner puller"
    assert set(model.predict(spotted_video(9, "ia")).split(", ")) == {"brow lowerer", "lip corner puller"}
    assert model.predict(replace(spotted_video(9, "i"), intervals=())) == "none"


def test_motion_is_relative_to_the_region_that_moves_most() -> None:
    numbers = np.arange(1, 31)
    flow = np.zeros((30, 18, 2))
    course = np.interp(numbers, [5, 12, 20], [0, 1, 0])
    flow[:, 3, 1], flow[:, 7, 0] = 2.0 * course, -1.0 * course
    nothing = np.zeros(30, int)
    series = RegionFlow(flow, numbers, numbers / 30, np.zeros(30, bool), nothing, nothing)
    motion = peak_motion(series, 5, 20).reshape(18, 2)
    assert motion[3] == pytest.approx([0, 2 / 2.3]) and motion[7] == pytest.approx([-1 / 2.3, 0])
    assert np.count_nonzero(motion) == 2
    assert not peak_motion(series, 40, 50).any()


def long_set(root: Path) -> tuple[Path, Path, Path]:
    """Questions, videos and spotted intervals of eight subjects, each event spotted with a false alarm beside."""
    videos = [spotted_video(n, kinds, 1) for n, kinds in enumerate(("ia", "i", "aai", "ia", "iia", "aa", "ai", "ii"))]
    write_videos(root / "videos.jsonl", [item.video for item in videos])
    build = BuildSettings(videos=root / "videos.jsonl", out=root / "instructions.jsonl")
    build_files(build, Problems())
    rows = ["dataset,subject,video,onset,offset,type,score"]
    for item in videos:
        rows += [f"casme3,{item.video.subject},v,{i.onset},{i.offset},{i.type},{i.score}" for i in item.intervals]
    (root / "spotted.csv").write_text("\n".join(rows) + "\n")
    return root / "instructions.jsonl", root / "videos.jsonl", root / "spotted.csv"


def answers_of(path: Path) -> dict[tuple[str, str], str]:
    rows = map(json.loads, path.read_text().splitlines())
    return {(row["image_id"], row["question"]): row["answer"] for row in rows}


def test_answers_a_file_plainly_learnt_and_from_the_events(tmp_path: Path) -> None:
    questions, videos, intervals = long_set(tmp_path)
    common = {"questions": questions, "videos": videos}
    outs = {name: tmp_path / name / "predictions.jsonl" for name in ("plain", "learnt", "events")}
    answer_spotted(AnswerSpottedSettings(**common, intervals=intervals, out=outs["plain"]), Problems())
    learnt = AnswerSpottedSettings(**common, intervals=intervals, leave_one_subject_out=True, out=outs["learnt"])
    answer_spotted(learnt, Problems())
    answer_spotted(AnswerSpottedSettings(**common, out=outs["events"]), Problems())
    counts = {
        name: answers_of(out)["s0_v", "How many expression events appear in this video?"] for name, out in outs.items()
    }
    assert counts == {"plain": "3", "learnt": "2", "events": "2"}
    assert all(answers_of(outs["learnt"]).values())


def test_no_subject_teaches_its_own_answers(tmp_path: Path) -> None:
    """Other events of a subject change nothing of the answers about it."""
    questions, videos, intervals = long_set(tmp_path)
    settings = AnswerSpottedSettings(
        questions=questions, videos=videos, intervals=intervals, leave_one_subject_out=True, out=tmp_path / "a.jsonl"
    )
    answer_spotted(settings, Problems())
    rows = [json.loads(line) for line in videos.read_text().splitlines()]
    rows[0]["events"] = rows[0]["events"][:1]
    videos.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer_spotted(replace(settings, out=tmp_path / "b.jsonl"), Problems())
    before, after = answers_of(tmp_path / "a.jsonl"), answers_of(tmp_path / "b.jsonl")
    assert {key: text for key, text in before.items() if key[0] == "s0_v"} == {
        key: text for key, text in after.items() if key[0] == "s0_v"
    }


def test_learns_from_another_set_and_answers_a_challenge_file_by_the_names_of_its_videos(tmp_path: Path) -> None:
    _, videos, intervals = long_set(tmp_path)
    test = tmp_path / "test"
    test.mkdir()
    unseen = replace(spotted_video(1, "ia", 1).video, id="unknown/CAS-1/CAS-1", dataset="unknown", subject="CAS-1")
    write_videos(test / "videos.jsonl", [replace(unseen, name="CAS-1", events=())])
    row = {
        "video_id": "casme3_test_1",
        "video": "CAS-1",
        "question": "How many expression events appear in this video?",
    }
    (test / "rows.jsonl").write_text(json.dumps({**row, "answer": ""}) + "\n")
    build_files(BuildSettings(rows=(test / "rows.jsonl",), out=test / "instructions.jsonl"), Problems())
    rows = ["video,onset,offset,type", "CAS-1,100,108,micro", "CAS-1,200,240,macro", "CAS-1,300,340,macro"]
    (test / "spotted.csv").write_text("\n".join(rows) + "\n")
    settings = AnswerSpottedSettings(
        questions=test / "instructions.jsonl",
        videos=test / "videos.jsonl",
        intervals=test / "spotted.csv",
        train_videos=videos,
        train_intervals=intervals,
        out=test / "predictions.jsonl",
    )
    answer_spotted(settings, Problems())
    (answered,) = map(json.loads, settings.out.read_text().splitlines())
    assert answered["answer"] == "2"  # of three intervals: each training video has a false alarm
    same = replace(unseen, id="casme3/s1/CAS-1", dataset="casme3", subject="s1", name="CAS-1", events=())
    write_videos(test / "videos.jsonl", [same])
    with pytest.raises(ValueError, match="casme3/s1 in both"):
        answer_spotted(settings, Problems())


def test_bad_input_is_named(tmp_path: Path) -> None:
    questions, videos, _ = long_set(tmp_path)
    lines = videos.read_text().splitlines(keepends=True)
    videos.write_text("".join(lines[1:]))
    settings = AnswerSpottedSettings(questions=questions, videos=videos, out=tmp_path / "x.jsonl")
    with pytest.raises(DataError, match=r"casme3/s0/v.*the video of a question is missing"):
        answer_spotted(settings, Problems())
