"""Spotted intervals and annotations in the forms that the field has, and the program that scores them."""

import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from programs import run_program

from megc.clips import Event, Video, read_videos, write_videos
from megc.problems import DataError, Problems
from megc.scoring.interval_files import (
    VideoIndex,
    plain_name,
    read_run,
    read_truth,
    read_type,
    read_video_list,
    write_intervals,
)
from megc.scoring.random_spotter import random_intervals, random_runs
from megc.scoring.str_evaluation import COLUMNS

VIDEOS = [
    Video("samm_lv/006/006_1", "samm_lv", "006", "006_1", 200.0, length=1000, events=(Event(100, 120, 180, "micro"),)),
    Video("casme_sq/s15/s15_0101", "casme_sq", "s15", "s15_0101", 30.0, length=500),
    Video("casme3/dzw/a", "casme3", "dzw", "a", 30.0, length=500),
    Video("casme3/xyz/a", "casme3", "xyz", "a", 30.0, length=500),
]


def read(tmp_path, text, name="spotted.csv", **options):
    (tmp_path / name).write_text(text)
    problems = Problems()
    return read_run(tmp_path / name, VideoIndex(VIDEOS), problems, **options), problems


def intervals_of(run):
    return {video: [(*tuple(i)[:3], i.emotion) for i in rows] for video, rows in run.predictions.items()}


def test_names_are_compared_without_zeros_folders_and_film_names():
    assert plain_name("006_1") == plain_name("6_1") == plain_name("006_001.mp4") == "6_1"
    assert plain_name("s15/15_0101disgustingteeth") == plain_name("S15_0101") == "15_101"
    assert plain_name("001") == plain_name("1") == plain_name("1.0") == plain_name("sub01") == "1"
    assert plain_name("100_010") == "100_10"


def test_types_in_all_spellings():
    assert [read_type(cell) for cell in ("Micro - 1/2", "me", "micro-expression", "Macro", "mae", "")] == [
        *["micro"] * 3,
        *["macro"] * 2,
        "",
    ]
    with pytest.raises(ValueError, match="neither micro"):
        read_type("tiny")


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (
            "dataset,video,onset,offset,type,score,emotion\nsamm_lv,006_1,101,180,micro,0.5,\n",
            "ours.csv",
            {"samm_lv/006/006_1": [(101, 180, "micro", "")]},
        ),
        (
            "subject,video,onset,offset,emotion\n6,006_1,101,480,Positive\ndzw,a,1,9,negative\n",
            "samm_pred.csv",
            {
                "samm_lv/006/006_1": [(101, 480, "micro", "positive")],
                "casme3/dzw/a": [(1, 9, "micro", "negative")],
            },
        ),
        (
            "vid,pred_onset,pred_offset,type\n6_1,101,150,me\n6_1,201,380,mae\ns15_0101,4,90,mae\n",
            "2022.csv",
            {
                "samm_lv/006/006_1": [(101, 150, "micro", ""), (201, 380, "macro", "")],
                "casme_sq/s15/s15_0101": [(4, 90, "macro", "")],
            },
        ),
        (
            "006_1,100,200,006\n15_0101disgustingteeth,2,18,s15\n",
            "headerless.csv",
            {
                "samm_lv/006/006_1": [(100, 200, "micro", "")],
                "casme_sq/s15/s15_0101": [(2, 18, "macro", "")],
            },
        ),
        (
            "video,start,end,score\ns15_0101,2.5,17.25,0.1\n",
            "detections.csv",
            {"casme_sq/s15/s15_0101": [(2.5, 17.25, "micro", "")]},
        ),
        (
            "2\n006_1   -     -     277   377   FP\n006_1   398   532   -     -     FN\n"
            "006_1   100   180   101   178   TP\n006_1   90    180   101   178   TP\n",
            "log.txt",
            {"samm_lv/006/006_1": [(277, 377, "micro", ""), (101, 178, "micro", "")]},
        ),
        (
            "s15/15_0101disgustingteeth,95,66,,,FN,0\ns15/15_0101disgustingteeth,,,2,19,FP,1\n",
            "comma_log.csv",
            {"casme_sq/s15/s15_0101": [(2, 19, "macro", "")]},
        ),
    ],
)
def test_forms_of_predictions(tmp_path, text, name, expected):
    run, problems = read(tmp_path, text, name)
    assert intervals_of(run) == expected and not len(problems)


def test_folder_is_one_run(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "samm_pred.csv").write_text("vid,pred_onset,pred_offset,type\n006_1,1,9,me\n")
    (tmp_path / "mine" / "cas_pred.csv").write_text("vid,pred_onset,pred_offset,type\ndzw/a,1,9,me\n")
    run = read_run(tmp_path / "mine", VideoIndex(VIDEOS), Problems())
    assert set(run.predictions) == {"samm_lv/006/006_1", "casme3/dzw/a"} and run.datasets == {"samm_lv", "casme3"}


def test_bad_rows_are_reported_and_the_others_stay(tmp_path):
    rows = ["006_1,10,20,me", "006_9,1,9,me", "006_1,30,20,me", "006_1,,20,me", "006_1,1,9,tiny", "a,1,9,me", "006_1"]
    run, problems = read(tmp_path, "\n".join(["vid,onset,offset,type", *rows, "006_1,990,1010,me"]))
    assert intervals_of(run)["samm_lv/006/006_1"] == [(10, 20, "micro", ""), (990, 1010, "micro", "")]
    texts = [str(problem) for problem in problems]
    assert [problem.row for problem in problems] == [3, 4, 5, 6, 7, 8]
    assert "did you mean 006_1" in texts[0] and "ends at 20, before it begins at 30" in texts[1]
    assert "there is no onset" in texts[2] and "'tiny' is neither" in texts[3]
    assert "may be casme3/dzw/a or casme3/xyz/a" in texts[4] and "column dataset or subject" in texts[4]
    assert "there is no onset" in texts[5], "a line that ends early"
    assert "1 interval(s) end behind their video" in str(problems.warnings[0])


def test_subject_of_another_video_of_that_name_is_not_taken_for_it(tmp_path):
    index = VideoIndex([Video("casme2/1/EP02_01f", "casme2", "1", "EP02_01f", 200.0), *VIDEOS])
    assert index.find("EP02_01f", "01").id == "casme2/1/EP02_01f"
    assert index.find("s15_0101", "1").id == "casme_sq/s15/s15_0101", "the name says the subject"
    with pytest.raises(ValueError, match="no subject 2 video"):
        index.find("EP02_01f", "2")


@pytest.mark.parametrize("text", ["video,score\na,1\n", "nonsense\n1\n"])
def test_table_without_the_columns_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="no column"):
        read(tmp_path, text)
    with pytest.raises(DataError, match="cannot be read"):
        read_run(tmp_path / "missing.csv", VideoIndex(VIDEOS), Problems())


def test_written_intervals_are_read_again(tmp_path):
    run, _ = read(
        tmp_path, "vid,onset,offset,type,score,emotion\n006_1,101,150,me,0.25,negative\ns15_0101,4,90.5,mae,,\n"
    )
    write_intervals(tmp_path / "again.csv", VIDEOS, run.predictions)
    again = read_run(tmp_path / "again.csv", VideoIndex(VIDEOS), Problems())
    assert repr(dict(again.predictions)) == repr(dict(run.predictions))


def test_tables_of_events_and_videos(tmp_path):
    (tmp_path / "events.csv").write_text(
        "dataset,subject,video,onset,apex,offset,type,emotion\n"
        "samm_lv,006,006_1,50,60,99,Macro,\nsamm_lv,006,006_1,10,-1,20,Micro - 1/2,happiness\n"
    )
    (tmp_path / "videos.csv").write_text(
        "dataset,subject,video,frames,fps\nsamm_lv,006,006_1,900,200\nsamm_lv,006,006_2,70,\n"
    )
    first, second = read_truth(tmp_path / "events.csv", tmp_path / "videos.csv")
    assert [(e.onset, e.apex, e.offset, e.type, e.emotion) for e in first.events] == [
        (10, None, 20, "micro", "happiness"),
        (50, 60, 99, "macro", ""),
    ]
    assert (first.id, first.length, first.fps) == ("samm_lv/006/006_1", 900, 200) and second.events == ()
    assert second.fps == 200, "the dataset's"
    (tmp_path / "bad.csv").write_text("video,onset,offset\n006_1,20,10\n")
    with pytest.raises(DataError, match="row 2: the event ends at 10"):
        read_truth(tmp_path / "bad.csv")


def test_truth_of_other_projects(tmp_path):
    """The public evaluator's table has no type; LGSNet's has other names and the length of the video in each row."""
    (tmp_path / "gt.csv").write_text(
        "subject,video,onset,offset,emotion\n1,EP02_01f,6,80,happiness\n2,EP02_01f,1,9,others\n"
    )
    videos = read_truth(tmp_path / "gt.csv", dataset="casme2", fps=200.0)
    assert [v.id for v in videos] == ["casme2/1/EP02_01f", "casme2/2/EP02_01f"] and videos[0].events[0].type == "micro"
    (tmp_path / "lgs.csv").write_text(
        "subject,video,type,startFrame,endFrame,frame_num,length\n1,001/a,Macro,31,59,836,28\n"
    )
    (video,) = read_truth(tmp_path / "lgs.csv", dataset="casme3")
    assert (video.id, video.length, video.events[0].offset) == ("casme3/1/a", 836, 59)


def test_program_compares_files_and_writes_the_table(tmp_path, monkeypatch, capsys):
    events = tuple(Event(100 * k, None, 100 * k + 50, "micro", "negative") for k in range(1, 5))
    people = [f"{number:03}" for number in range(1, 7)]
    truth = [Video(f"samm_lv/{p}/{p}_1", "samm_lv", p, f"{p}_1", 200.0, "", 1000, events) for p in people]
    write_videos(tmp_path / "videos.jsonl", truth)
    assert len(read_videos(tmp_path / "videos.jsonl")) == 6
    head = "subject,video,onset,offset,emotion\n"
    (tmp_path / "half.csv").write_text(head + "".join(f"{int(p)},{p}_1,100,150,negative\n" for p in people))
    full = "".join(f"{p},{p}_1,{100 * k},{100 * k + 50},negative\n" for p in people for k in range(1, 5))
    (tmp_path / "full.csv").write_text(head + full)
    arguments = ["--events", tmp_path / "videos.jsonl", "--profile", "all", "--out", tmp_path / "out", "--predictions"]
    assert (
        run_program(monkeypatch, "test/score_spotting.py", *arguments, tmp_path / "half.csv", tmp_path / "full.csv")
        == 0
    )
    table = pd.read_csv(tmp_path / "out" / "spotting.csv", comment="#")
    assert tuple(table.columns) == COLUMNS
    strict = table[(table.profile == "strict") & (table.type == "micro")].set_index("run")
    assert (strict.loc["half", "tp"], strict.loc["half", "fn"], strict.loc["full", "strs"]) == (6, 18, 1)
    assert strict.loc["half", "f1"] == pytest.approx(0.4) and strict.loc["full", "paired_f1"] == pytest.approx(0.6)
    assert strict.loc["full", "paired_f1_subject_low"] == pytest.approx(0.6), "the same in every subject"
    assert set(table.profile) == {"strict", "official", "megc2020"}
    random = table[(table.run == "random, mean of 20 draws") & (table.type == "micro")].set_index("profile")
    assert 0 < random.loc["strict", "f1"] < 0.5 and random.loc["strict", "analysed"] > 0
    assert "standard deviation" in random.loc["strict", "note"] and np.isnan(random.loc["strict", "f1_low"])
    assert "one class" in capsys.readouterr().out
    (tmp_path / "half.csv").write_text(head + "1,999_1,1,2,negative\n")
    assert run_program(monkeypatch, "test/score_spotting.py", *arguments, tmp_path / "half.csv") == 1
    assert "the ground truth has no subject 1 video '999_1'" in capsys.readouterr().err


def test_random_intervals_have_the_rate_lengths_and_prior_emotion_of_others():
    people = [f"{number:03}" for number in range(1, 7)]
    lengths = dict(zip(people, (20, 30, 40, 50, 60, 70), strict=True))
    videos = [
        Video(
            f"samm_lv/{p}/{p}_1",
            "samm_lv",
            p,
            f"{p}_1",
            200.0,
            "",
            2000,
            tuple(
                Event(100 * k, None, 100 * k + lengths[p], "micro", "anger" if k < 4 else "surprise")
                for k in range(1, 6)
            ),
        )
        for p in people
    ]
    drawn = [random_intervals(videos, 2.0, seed) for seed in range(30)]
    assert np.mean([sum(map(len, spotted.values())) for spotted in drawn]) == pytest.approx(60, rel=0.1)
    for video in videos:
        rows = [row for spotted in drawn for row in spotted[video.id]]
        assert {row.offset - row.onset for row in rows} == set(lengths.values()) - {lengths[video.subject]}
        assert {row.emotion for row in rows} == {"negative"} and min(row.onset for row in rows) >= 1
        assert max(row.offset for row in rows) <= 2000
    assert repr(drawn[0]) == repr(random_intervals(videos, 2.0, 0)) != repr(drawn[1])
    assert not random_runs(videos, 2)[0].has_emotions and random_runs(videos, 2, emotions=True)[1].has_emotions
    with pytest.raises(ValueError, match="no event of another subject"):
        random_intervals(videos[:1], 2.0, 0)
    with pytest.raises(ValueError, match="length of samm_lv/001/001_1 is unknown"):
        random_intervals([replace(videos[0], length=None)], 2.0, 0)


def test_submission_holds_what_the_challenge_takes(tmp_path, monkeypatch, capsys):
    (tmp_path / "videos.csv").write_text(
        "dataset,subject,video,frames,fps\nsamm_lv,001,001_2,9000,200\ncasme3,dzw,a1,600,30\ncasme3,xyz,b,600,30\n"
    )
    (tmp_path / "mine.csv").write_text(
        "dataset,video,onset,offset,type,score,emotion\n"
        "samm_lv,1_2,316.4,427.6,micro,,disgust\nsamm_lv,001_2,316,428,micro,,negative\n"
        "samm_lv,001_2,500,900,macro,,positive\ncasme3,a1,10,20,micro,,others\ncasme3,a1,30,40,micro,,surprise\n"
    )
    words = ["--predictions", tmp_path / "mine.csv", "--videos", tmp_path / "videos.csv", "--out", tmp_path / "out"]
    program = "test/make_spotting_submission.py"
    assert run_program(monkeypatch, program, *words, "--zip", tmp_path / "s.zip") == 0
    assert (tmp_path / "out/samm_pred.csv").read_text() == (
        "subject,video,onset,offset,emotion\n1,001_2,316,428,negative\n"
    )
    assert (tmp_path / "out/cas_pred.csv").read_text().splitlines()[1:] == ["dzw,a1,30,40,surprise"]
    printed = capsys.readouterr().out
    assert all(
        f"1 intervals left out that {why}" in printed for why in ("come twice", "are macro", "have the emotion")
    )
    assert "1 intervals, 1 videos without any" in printed
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert sorted(archive.namelist()) == ["cas_pred.csv", "samm_pred.csv"]
    assert run_program(monkeypatch, program, *words, "--form", "spotting") == 0
    lines = (tmp_path / "out/samm_pred.csv").read_text().splitlines()
    assert lines == ["vid,pred_onset,pred_offset,type", "001_2,316,428,me", "001_2,500,900,mae"]
    truth = VideoIndex(read_video_list(tmp_path / "videos.csv"))
    again = read_run(tmp_path / "out", truth, Problems())
    assert {name: len(rows) for name, rows in again.predictions.items()} == {
        "samm_lv/001/001_2": 2,
        "casme3/dzw/a1": 2,
    }


def test_submission_names_intervals_outside_their_video(tmp_path, monkeypatch, capsys):
    (tmp_path / "videos.csv").write_text("dataset,subject,video,frames,fps\nsamm_lv,001,001_2,9000,200\n")
    (tmp_path / "mine.csv").write_text("vid,pred_onset,pred_offset,type\n001_2,8990,9050,me\n001_2,1,50,me\n")
    words = ["--predictions", tmp_path / "mine.csv", "--videos", tmp_path / "videos.csv", "--out", tmp_path / "out"]
    words += ["--form", "spotting", "--zip", tmp_path / "s.zip"]
    assert run_program(monkeypatch, "test/make_spotting_submission.py", *words) == 1
    assert "ends at frame 9050, but samm_lv/001/001_2 has 9000" in capsys.readouterr().err
    assert (tmp_path / "out/samm_pred.csv").read_text().splitlines()[1:] == ["001_2,1,50,me"]
    assert not (tmp_path / "s.zip").exists()
    (tmp_path / "videos.csv").write_text("subject,frames\n1,2\n")
    assert run_program(monkeypatch, "test/make_spotting_submission.py", *words) == 1
    assert "the table has no column video" in capsys.readouterr().err


def test_a_damaged_line_of_a_log_is_reported(tmp_path):
    lines = ["2", "006_1 - - 277 377 FP", "006_1 398 532 - 12 FN", "006_1 100 180 101 178 T", "006_1 100 180"]
    run, problems = read(tmp_path, "\n".join([*lines, "TP: 1 FP: 1 FN: 1"]), "log.txt")
    assert intervals_of(run) == {"samm_lv/006/006_1": [(277, 377, "micro", "")]}
    assert [problem.row for problem in problems] == [3, 4, 5]


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("\n \n", "is empty"), ("vid,pred_on", "has no column")]
)
def test_a_table_without_its_columns_is_no_run_without_intervals(text, words, tmp_path):
    with pytest.raises(DataError, match=words):
        read(tmp_path, text)
    assert intervals_of(read(tmp_path, "video,onset,offset\n")[0]) == {}


def test_a_quote_that_is_never_closed_takes_no_other_row(tmp_path):
    run, problems = read(tmp_path, 'video,onset,offset\n006_1,"10,20\n006_1,30,40\n')
    assert intervals_of(run) == {"samm_lv/006/006_1": [(30, 40, "micro", "")]} and [p.row for p in problems] == [2]


def test_a_number_is_no_type(tmp_path):
    run, problems = read(tmp_path, "video,onset,offset,type\n006_1,10,20,1\n006_1,30,40,-\n")
    assert intervals_of(run) == {"samm_lv/006/006_1": [(30, 40, "micro", "")]}
    assert "'1' is neither" in str(next(iter(problems)))


@pytest.mark.parametrize(
    ("table", "text", "words"),
    [
        ("videos.csv", "video,frames,fps\n006_1,0,200\n", "row 2: the video has 0 frames"),
        ("videos.csv", "video,frames,fps\n006_1,-5,200\n", r"row 2: the frames is '-5', no frame number"),
        ("videos.csv", "video,frames,fps\n006_1,100,0\n", "row 2: the fps is 0"),
        ("events.csv", "video,onset,offset\n006_1,-4,9\n", "row 2: the onset is '-4', no frame number"),
        ("events.csv", "video,onset,offset\n006_1,4,1e300\n", "row 2: the offset is '1e300', no frame number"),
    ],
)
def test_numbers_of_the_ground_truth_are_those_of_frames(table, text, words, tmp_path):
    (tmp_path / "events.csv").write_text("video,onset,offset\n006_1,10,20\n")
    (tmp_path / "videos.csv").write_text("video,frames,fps\n006_1,1000,200\n")
    assert read_truth(tmp_path / "events.csv", tmp_path / "videos.csv")[0].length == 1000
    (tmp_path / table).write_text(text)
    with pytest.raises(DataError, match=words):
        read_truth(tmp_path / "events.csv", tmp_path / "videos.csv")
