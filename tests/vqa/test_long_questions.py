"""ME-LVQA rows of long videos: the organisers' questions, answered from events."""

from pathlib import Path

import pytest

from megc.clips import Event, Video, write_videos
from megc.facs import ActionUnit
from megc.problems import Problems
from megc.vqa.build import build_files
from megc.vqa.instructions import answer_of, read_records
from megc.vqa.long_questions import answer_from_events, video_rows, videos_rows
from megc.vqa.questions import Question, answer_fault, parse
from megc.vqa.settings import BuildSettings


def event(onset: int, type_: str, *units: int) -> Event:
    return Event(onset, None, onset + 10, type_, action_units=tuple(ActionUnit(unit) for unit in units))


EVENTS = (event(5, "macro", 12), event(90, "micro", 4, 7), event(300, "macro", 7, 12, 1), event(301, "macro"))


def video(*events: Event, name: str = "006_1") -> Video:
    return Video(f"samm_lv/006/{name}", "samm_lv", "006", name, 200.0, events=events)


def test_rows_of_a_video_are_counts_distinct_units_and_two_event_types() -> None:
    rows = video_rows(video(*EVENTS))
    assert [row["question"] for row in rows[:4]] == [
        "How many expression events appear in this video?",
        "How many micro-expression events appear in this video?",
        "How many macro-expression events appear in this video?",
        "What distinct action units appear in this video?",
    ]
    first_seen = "lip corner puller, brow lowerer, lid tightener, inner brow raiser"
    assert [row["answer"] for row in rows[:4]] == ["4", "1", "3", first_seen]
    ordinals = [parse(row["question"]).ordinal for row in rows[4:]]
    assert len(set(ordinals)) == 2 and {1, 2, 3, 4}.issuperset(ordinals)
    assert [row["answer"] for row in rows[4:]] == [f"{EVENTS[n - 1].type}-expression" for n in ordinals]
    assert rows[5]["id"] == "samm_lv_006_006_1_6" and rows[5]["filename"] == "006_1"
    assert all(answer_fault(parse(row["question"]), row["answer"], "samm_lv") is None for row in rows)


def test_drawn_events_are_not_sorted_and_depend_on_seed_and_video_only() -> None:
    def ordinals(seed: int, *names: str) -> list[list[int]]:
        rows = {name: video_rows(video(*EVENTS, name=name), seed) for name in names}
        return [[parse(row["question"]).ordinal for row in rows[name][4:]] for name in sorted(names)]

    pairs = ordinals(0, *(f"006_{number}" for number in range(40)))
    assert {first < second for first, second in pairs} == {True, False}
    assert ordinals(0, "006_1", "006_2")[0] == ordinals(0, "006_1")[0]
    assert pairs != ordinals(1, *(f"006_{number}" for number in range(40)))


@pytest.mark.parametrize(("events", "last"), [((), "none"), ((EVENTS[3],), "macro-expression")])
def test_a_video_with_fewer_events_has_fewer_questions(events: tuple[Event, ...], last: str) -> None:
    rows = video_rows(video(*events))
    assert len(rows) == 4 + len(events)
    assert (rows[0]["answer"], rows[3]["answer"], rows[-1]["answer"]) == (str(len(events)), "none", last)


def test_other_questions_and_events_that_do_not_exist_have_no_answer() -> None:
    for question, words in ((Question("coarse"), "coarse"), (Question("event_type", ordinal=5), "no 5-th event of 4")):
        with pytest.raises(ValueError, match=words):
            answer_from_events(question, EVENTS)


def test_action_units_that_facs_does_not_name_are_kept_and_reported() -> None:
    problems = Problems()
    rows = videos_rows([video(event(1, "macro", 4, 80)), video(event(1, "macro", 80))], 0, problems, "videos.jsonl")
    assert rows[3]["answer"] == "brow lowerer, action unit 80"
    assert not problems and "80 (2)" in str(problems.warnings[0])


def test_videos_become_instructions_without_pictures(tmp_path: Path) -> None:
    write_videos(tmp_path / "videos.jsonl", [video(*EVENTS), video(name="006_2")])
    problems = Problems()
    summary = build_files(BuildSettings(videos=tmp_path / "videos.jsonl", out=tmp_path / "i.jsonl"), problems)
    records = read_records(tmp_path / "i.jsonl")
    assert "10 questions on 2 long videos" in summary and not problems and not problems.warnings
    assert {record["clip"] for record in records} == {"samm_lv/006/006_1", "samm_lv/006/006_2"}
    assert [answer_of(record) for record in records] == [record["row"]["answer"] for record in records]
    assert all(record["images"] == [] and "Answer with" in record["messages"][1]["content"] for record in records)


def test_videos_do_not_go_with_other_questions() -> None:
    with pytest.raises(ValueError, match="leave out --rows"):
        BuildSettings(videos=Path("videos.jsonl"), rows=(Path("rows.jsonl"),))
