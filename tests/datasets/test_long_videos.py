"""Long videos from sheets of events: repairs are noted, no row is lost, frames that lack are named."""

from collections import Counter
from pathlib import Path

import pytest
from sheets import SAMM_HEADER, samm_row, write_frames, write_sheet

from megc.clips import Event, read_videos
from megc.datasets.index import DatasetSource, index_clips, index_videos, summarise_videos
from megc.datasets.readers import LONG_READERS
from megc.facs import ActionUnit
from megc.problems import DataError, Problems

REAL = Path(__file__).parents[3] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real annotations are not on this machine")

SAMM_LV_HEADER = ["Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type"]
SAMM_LV_HEADER += ["Action Units ", "Notes"]


def lv_row(name="006_1_2", onset=3562, apex=3588, offset=3632, type_="Micro - 1/2", units="4+7", notes=None):
    return [name.split("_")[0], name, 1, onset, apex, offset, 71, type_, units, notes]


def read_samm_lv(folder, *rows, notes=9, frames=None, emotions=None):
    problems = Problems()
    sheet = write_sheet(folder / "SAMM_LongVideos_V2_Release.xlsx", SAMM_LV_HEADER, *rows, notes=notes)
    videos = LONG_READERS["samm_lv"](sheet, frames, folder, problems, "", emotions)
    return videos, problems


def test_events_go_to_their_videos_in_order_of_onset(tmp_path):
    rows = [
        lv_row("006_1_2"),
        lv_row("006_1_1", 566, 648, 743, "Macro", "4(B/C)+7B", "Blinks"),
        lv_row("007_3_1", 10, 12, 20, "Macro", "80 (big swallow) "),
    ]
    videos, problems = read_samm_lv(tmp_path, *rows)
    assert [(v.id, v.fps, v.length, len(v.events)) for v in videos] == [
        ("samm_lv/006/006_1", 200.0, None, 2),
        ("samm_lv/007/007_3", 200.0, None, 1),
    ]
    macro, micro = videos[0].events
    assert macro == Event(566, 648, 743, "macro", "", (ActionUnit(4), ActionUnit(7)), "006_1_1", ("note: Blinks",))
    assert micro == Event(3562, 3588, 3632, "micro", "", (ActionUnit(4), ActionUnit(7)), "006_1_2")
    assert videos[1].events[0].action_units == (ActionUnit(80),)
    assert not problems


@pytest.mark.parametrize(
    ("cells", "expected", "note"),
    [
        ({"onset": 566.4, "apex": 648.5, "offset": 743}, (566, 649, 743), "onset 566.4 is rounded"),
        ({"apex": -1}, (3562, None, 3632), "apex -1: not annotated"),
        ({"apex": "/"}, (3562, None, 3632), "apex /: not annotated"),
        ({"apex": 0}, (3562, None, 3632), "apex 0 is outside 3562–3632 and not used"),
        ({"apex": 4000}, (3562, None, 3632), "apex 4000 is outside 3562–3632 and not used"),
        ({"apex": 3562}, (3562, 3562, 3632), None),
        ({"apex": 3632}, (3562, 3632, 3632), None),
        ({"offset": 0}, (3562, 3588, 3588), "offset 0: the apex 3588 is taken"),
        ({"offset": None}, (3562, 3588, 3588), "the apex 3588 is taken"),
        ({"onset": 0, "apex": 12, "offset": 20}, (0, 12, 20), "onset 0: shown before the video begins"),
        ({"units": "Chewing"}, (3562, 3588, 3632), "words are ignored"),
    ],
)
def test_irregular_cells_are_repaired_and_noted(tmp_path, cells, expected, note):
    videos, problems = read_samm_lv(tmp_path, lv_row(**cells))
    (event,) = videos[0].events
    assert (event.onset, event.apex, event.offset) == expected and not problems
    assert any(note in text for text in event.notes) if note else not event.notes


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (lv_row(onset=None), "the onset is missing"),
        (lv_row(offset=0, apex=-1), "the interval 3562–0 is empty and the apex None does not help"),
        (lv_row(onset="long"), "'long' is no frame number"),
        (lv_row(type_="mimic"), "'mimic' is no type of event; write micro or macro"),
        (lv_row(units="4.5"), "which is no action unit"),
        (["007", *lv_row()[1:]], "event 006_1_2 is of subject 6, not 7"),
        (lv_row("006/1_2"), "names no event, such as 006_1_2"),
    ],
)
def test_a_row_that_is_no_event_is_named_and_the_others_stay(tmp_path, row, words):
    rows = [lv_row(f"006_1_{number}") for number in (3, 4, 5)]
    videos, problems = read_samm_lv(tmp_path, row, *rows)
    assert len(videos[0].events) == 3
    (problem,) = problems
    assert problem.row == 11 and words in str(problem)  # nine notes, the header


def test_a_name_that_two_events_have_costs_neither(tmp_path):
    videos, problems = read_samm_lv(tmp_path, lv_row("037_4_1"), lv_row("037_4_1", 10, 12, 20, "Macro"))
    assert [event.onset for event in videos[0].events] == [10, 3562] and not problems
    assert all("2 events of the video have it" in event.notes[-1] for event in videos[0].events)


def test_a_sheet_of_another_dataset_is_refused(tmp_path):
    rows = [[1, f"EP02_0{n}f", 1, 2, 3, 4, 5, "Macro", 4, None] for n in range(3)]
    with pytest.raises(DataError, match=r"3 of 3 rows are of no video of SAMM Long Videos \(row 11: 'EP02_00f'"):
        read_samm_lv(tmp_path, *rows)
    with pytest.raises(DataError, match="no spreadsheet; give it as --annotations"):
        LONG_READERS["samm_lv"](None, None, tmp_path, Problems())


def test_emotions_of_micro_expressions_come_from_samms_own_sheet(tmp_path):
    emotions = write_sheet(
        tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx",
        SAMM_HEADER,
        samm_row(onset=1, apex=2, offset=3),  # frame numbers of the clip, not of the video
        samm_row(name="006_1_3", emotion="Other"),
        samm_row(name="006_9_1", emotion="Fear"),
        notes=13,
    )
    rows = [lv_row(), lv_row("006_1_3", 9, 10, 11), lv_row("006_1_4"), lv_row("006_1_5", type_="Macro")]
    videos, problems = read_samm_lv(tmp_path, *rows, emotions=emotions)
    assert {event.name: event.emotion for event in videos[0].events} == {
        "006_1_2": "anger",
        "006_1_3": "others",
        "006_1_4": "",
        "006_1_5": "",
    }
    assert not problems and "1 of 3 labelled rows belong to no event, such as 006_9_1" in str(problems.warnings[0])


def test_frames_give_length_gaps_and_events_beyond_the_end(tmp_path):
    write_frames(tmp_path / "SAMM_longvideos" / "006_1", "006_1_{:04d}.jpg", *range(1, 8), 10, 11)
    rows = [lv_row(onset=2, apex=4, offset=6), lv_row("006_1_3", 9, 10, 12), lv_row("006_1_4", 0, 1, 2)]
    rows.append(lv_row("006_2_1", 1, 2, 3))
    videos, problems = read_samm_lv(tmp_path, *rows, frames=tmp_path)
    video, without = videos
    assert (video.frames, video.length) == ("SAMM_longvideos/006_1", 9)
    assert video.notes == ("2 of the frames 1–11 have no file, the first is 8",)
    assert [len(event.notes) for event in video.events] == [1, 0, 1]
    assert video.events[2].notes == ("9–12 reaches beyond the video's frames 1–11",)
    assert [problem.row for problem in problems.warnings] == [f"{video.id}, event 006_1_3", video.id]
    assert (without.frames, without.length, len(without.events)) == ("", None, 1)
    assert ["1 of 2 videos have no folder" in str(problem) for problem in problems] == [True]


EVENTS = "dataset,subject,video,event,onset,apex,offset,type,action_units,emotion,repair\n"
VIDEOS = "dataset,subject,video,frames,fps\n"
TALK = "mine,p1,talk,,5,7,8,macro,6,,\n"


def read_tables(folder, events, videos=None, frames=None):
    (folder / "events.csv").write_text(EVENTS + events)
    if videos is not None:
        (folder / "videos.csv").write_text(VIDEOS + videos)
    problems = Problems()
    return LONG_READERS["events"](folder / "events.csv", frames, folder, problems), problems


def test_tables_of_events_and_of_videos_go_together(tmp_path):
    events = "mine,p1,talk,smile,5,7,9,macro,6+12,positive,offset:=apex\nmine,p1,talk,,1,-1,3,micro,,,\n"
    videos = "mine,p1,rest,800,50\nmine,p1,talk,8,50\nmine,p2,talk,,25.5\n"
    (rest, talk, other), problems = read_tables(tmp_path, events, videos)
    assert (rest.id, rest.length, rest.fps, rest.events) == ("mine/p1/rest", 800, 50.0, ())
    assert (other.length, other.fps) == (None, 25.5)
    micro, macro = talk.events
    assert macro.notes == ("note: offset:=apex", "5–9 reaches beyond the video's frames 1–8") and macro.name == "smile"
    assert (micro.apex, micro.emotion, macro.coarse) == (None, "", "positive")
    assert not problems and "5–9 reaches beyond" in str(problems.warnings[0])


def test_a_table_of_events_alone_needs_datasets_with_a_known_frame_rate(tmp_path):
    rows = "samm_lv,006,006_1,006_1_2,1,2,3,micro,4,,\nmine,p1,talk,smile,5,7,9,macro,6,,\n"
    videos, problems = read_tables(tmp_path, rows)
    assert [(video.id, video.fps) for video in videos] == [("samm_lv/006/006_1", 200.0)]
    assert "videos.csv, row mine/p1/talk: no frame rate" in str(next(iter(problems)))


@pytest.mark.parametrize(
    ("events", "videos", "words"),
    [
        (
            "mine,p1,talk,,5,7,9,macro,6,,\nmine,p1,../talk,,5,7,9,macro,6,,\n",
            None,
            "is no name of a subject or video",
        ),
        (
            "mine,,talk,,5,7,9,macro,6,,\nmine,p1,talk,,5,7,9,macro,6,,\nmine,p1,talk,,6,7,9,macro,6,,\n",
            None,
            "no subj",
        ),
        (TALK + "mine,p1,talk,,5,7,9,macro,4,12,anger,noted\n", None, "row 3: 1 more cell(s) than the header"),
        (None, "mine,p1,talk,8,0\n", "'8' frames, '0' a second"),
        (None, "mine,p1,talk,eight,30\n", "'eight' is no frame number"),
        (None, "mine,p1,talk,8,fast\n", "could not convert string to float"),
        (None, "mine,p1,talk,8,nan\n", "'8' frames, 'nan' a second"),
        (None, "mine,a/b,talk,8,30\n", "dataset, subject or video is no name"),
        (None, "mine,p1,talk,9,30\n", "video mine/p1/talk stands above already"),
    ],
)
def test_rows_of_tables_that_are_wrong_are_named(tmp_path, events, videos, words):
    found, problems = read_tables(tmp_path, events or TALK, "mine,p1,talk,8,30\n" + (videos or ""))
    assert len(found) == 1 and [words in str(problem) for problem in problems] == [True]


def test_videos_are_written_beside_clips_and_summed_up(tmp_path):
    read_tables(tmp_path, "samm_lv,006,006_1,006_1_2,1,2,3,micro,4,,\n")
    sources = [DatasetSource("events", tmp_path / "events.csv")]
    problems = Problems()
    assert index_clips(sources, tmp_path / "clips.jsonl", problems) == []
    videos = index_videos(sources, tmp_path / "videos.jsonl", problems)
    assert read_videos(tmp_path / "videos.jsonl") == videos and not (tmp_path / "clips.jsonl").exists()
    assert "samm_lv: 1 long videos of 1 subjects with 1 events (1 micro, 0 macro)" in summarise_videos(videos)
    with pytest.raises(DataError, match="no video to write"):
        index_videos([DatasetSource("samm_lv", tmp_path / "gone.xlsx")], tmp_path / "videos.jsonl", problems)
    with pytest.raises(DataError, match="no clip to write"):
        index_clips([DatasetSource("samm", tmp_path / "gone.xlsx"), *sources], tmp_path / "clips.jsonl", problems)


def test_a_dataset_given_twice_is_a_problem(tmp_path):
    read_tables(tmp_path, "samm_lv,006,006_1,006_1_2,1,2,3,micro,4,,\n")
    problems = Problems()
    assert (
        len(index_videos([DatasetSource("events", tmp_path / "events.csv")] * 2, tmp_path / "v.jsonl", problems)) == 1
    )
    assert "read before" in str(next(iter(problems)))


def count_types(videos):
    return dict(Counter(event.type for video in videos for event in video.events))


@needs_real
def test_real_samm_long_videos(tmp_path):
    problems = Problems()
    videos = LONG_READERS["samm_lv"](REAL / "annotations" / "SAMM_LongVideos.xlsx", None, tmp_path, problems)
    assert count_types(videos) == {"macro": 343, "micro": 159} and len(videos) == 147
    assert len({video.subject for video in videos}) == 30 and not problems and not problems.warnings
    without = {event.name for video in videos for event in video.events if event.apex is None}
    assert without == {"010_1_3", "026_2_5", "028_4_1", "032_3_1", "036_6_2", "036_6_3"}


@needs_real
def test_real_tables_of_events(tmp_path):
    problems = Problems()
    videos = LONG_READERS["events"](REAL / "spotting" / "events.csv", None, tmp_path, problems)
    by_dataset = {name: [video for video in videos if video.dataset == name] for name in ("casme_sq", "samm_lv")}
    assert [len(members) for members in by_dataset.values()] == [98, 147] and not problems
    assert count_types(by_dataset["casme_sq"]) == {"macro": 300, "micro": 57}
    # the owners' sheet and the table say the same of every event, but for remarks and lengths
    sheet = REAL / "annotations" / "SAMM_LongVideos.xlsx"
    owners = {video.id: video for video in LONG_READERS["samm_lv"](sheet, None, tmp_path, problems)}

    def facts(video):
        return [
            (event.onset, event.apex, event.offset, event.type, event.action_units, event.name)
            for event in video.events
        ]

    assert {video.id: facts(video) for video in by_dataset["samm_lv"]} == {
        name: facts(video) for name, video in owners.items()
    }
