"""test/ask.py on videos, folders, clips and pictures: answers as generate_answers.py gives them, and clear words."""

import csv
import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from answer_files import rows_of
from motion_scenes import (
    amplitudes,
    clip_of,
    drifting_frames,
    portrait,
    render,
    write_clip,
    write_long_video,
    write_set,
    write_video,
)
from PIL import Image
from programs import run_program
from servers import ModelServer, serving

from megc.clips import Video
from megc.explanation.clip_answers import ClipAnswerer, clean_question, is_free
from megc.explanation.clip_sources import folder_name
from megc.explanation.settings import ModelSettings
from megc.facs import ActionUnit
from megc.files import write_json
from megc.motion.flow import optical_flow
from megc.problems import DataError, Problems
from megc.scoring.interval_files import VideoIndex, read_run
from megc.vqa.questions import question_rows

QUICK = ("--max-new-tokens", "4", "--threads", "1", "--device", "cpu")
HTML = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return drifting_frames()


@pytest.fixture(scope="module")
def video(tmp_path_factory, images) -> Path:
    path = tmp_path_factory.mktemp("videos") / f"my {HTML.replace('/', '')} face.avi"
    write_video(path, images, "MJPG")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, video, checkpoint) -> Path:
    """What the program wrote of the video, with a free question and one of the challenge."""
    out = tmp_path_factory.mktemp("ask")
    more = ("--question", f"Is he angry? {HTML}", "Is the action unit cheek raiser shown on the face?")
    with pytest.MonkeyPatch.context() as patch:
        code = run_program(
            patch, "test/ask.py", video, "--model", checkpoint, "--out", out, "--name", "mine", *QUICK, *more
        )
    assert code == 0
    return out / "mine"


def answers_in(folder: Path) -> list[dict]:
    (clip,) = json.loads((folder / "answers.json").read_text())["clips"]
    return clip["answers"]


def ask(monkeypatch, capsys, checkpoint, out, *arguments) -> tuple[int, str]:
    """Exit code and last lines of a call."""
    code = run_program(monkeypatch, "test/ask.py", *arguments, "--model", checkpoint, "--out", out, *QUICK)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("blank", ["none", "flow"])
def test_answers_equal_those_of_the_program_for_test_sets(folder, checkpoint, tmp_path, monkeypatch, blank):
    given = ("--model", checkpoint, "--questions", folder / "instructions.jsonl", "--out", tmp_path, *QUICK)
    assert run_program(monkeypatch, "test/generate_answers.py", *given, "--blank", blank) == 0
    answers = [answer for answer in answers_in(folder) if not answer["free"]]
    assert len(answers) == 8
    for row, answer in zip(rows_of(tmp_path), answers, strict=True):
        if blank == "none":
            assert {name: answer[name] for name in row if name in answer} == {
                name: value for name, value in row.items() if name in answer
            }
            assert set(row) - set(answer) == {"input", "run"}
        elif row["choices"]:
            scores = np.array(list(row["choices"].values()))
            chances = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            assert list(answer["likelihoods_without_flow"].values()) == pytest.approx(chances.tolist())
            assert answer["likelihoods"] != answer["likelihoods_without_flow"]


def test_the_seven_questions_and_more_are_answered(folder):
    answers = answers_in(folder)
    assert [answer["kind"] for answer in answers] == [
        *("coarse", "fine", "units", "units", "side", "shown", "long"),
        *("shown", "open"),
    ]
    assert [answer["free"] for answer in answers] == [False] * 8 + [True]
    for answer in answers:
        if answer["likelihoods"]:
            assert sum(answer["likelihoods"].values()) == pytest.approx(1)
            assert max(answer["likelihoods"], key=answer["likelihoods"].get) == answer["answer"]


def test_a_server_is_asked_the_same_and_its_password_stays_secret(
    folder, video, checkpoint, tmp_path, monkeypatch, capsys
):
    more = ("--name", "mine", "--question", "Is he angry?", "Is the action unit cheek raiser shown on the face?")
    with serving(ModelServer(checkpoint, "I cannot say.").vllm) as (url, seen):
        address = url.replace("//", "//me:Zw1ebel@")
        code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, video, "--endpoint", address, *more)
    assert code == 0, text
    assert len(seen) > 8 and "Zw1ebel" not in text
    assert text.count("Asking http") == 2  # with the flow picture, and without
    local, served = answers_in(folder), answers_in(tmp_path / "mine")
    assert [answer["kind"] for answer in served] == [answer["kind"] for answer in local]
    same = [pair for pair in zip(local, served, strict=True) if pair[0]["question"] == pair[1]["question"]]
    assert len(same) >= 6  # a server's list of action units has no constraint: another unit may be asked about
    for mine, row in same:
        if mine["likelihoods"]:
            assert row["answer"] == mine["answer"]
            assert row["likelihoods"] == pytest.approx(mine["likelihoods"], abs=1e-3)
            assert (row["likelihoods_without_flow"] or {}) == pytest.approx(
                mine["likelihoods_without_flow"] or {}, abs=1e-3
            )
    assert served[-1]["free"] and served[-1]["answer"] == "I cannot say."
    report = (tmp_path / "mine/report.html").read_text()
    assert f"at {url}" in report and "Zw1ebel" not in report
    assert "Zw1ebel" not in (tmp_path / "mine/answers.json").read_text()


def test_a_server_that_is_not_there_is_named(video, checkpoint, tmp_path, monkeypatch, capsys):
    nobody = ("--endpoint", "http://127.0.0.1:9/v1", "--retries", "0")
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, video, *nobody)
    assert code == 1 and "127.0.0.1:9" in text and "Traceback" not in text


def test_the_page_needs_nothing_else_and_shows_texts_as_text(folder, video):
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) >= 9 and all(source.startswith("data:image/") for source in sources)
    assert "http" not in page.replace("http-equiv", "") or "https://" not in page
    assert HTML not in page and "&lt;img src=x" in page
    assert page.count("free question</span>") == 1
    (clip,) = json.loads((folder / "answers.json").read_text())["clips"]
    assert (clip["onset"], clip["offset"], clip["apex_spotted"]) == (1, 12, True) and abs(clip["apex"] - 7) <= 2


def test_the_animations_play_and_magnify(folder):
    page = (folder / "report.html").read_text()
    clips = [Image.open(BytesIO(b64decode(data))) for data in re.findall(r"data:image/webp;base64,([^\"]+)", page)]
    clips = [clip for clip in clips if clip.n_frames > 1]  # without the sheets of the slider
    assert [clip.n_frames for clip in clips] == [12, 12, 2]

    def moved(clip: Image.Image) -> float:
        """Pixels by which the inner brows move from the first frame to the sixth."""
        clip.seek(0)
        onset = np.asarray(clip.convert("L"))
        clip.seek(6)
        rows = slice(onset.shape[0] // 6, onset.shape[0] // 3)
        return float(np.percentile(np.hypot(*optical_flow(onset, np.asarray(clip.convert("L")))[rows].T), 98))

    assert moved(clips[1]) > 3 * moved(clips[0])


def test_events_are_intervals_that_the_scorer_reads(folder):
    with (folder / "events.csv").open() as file:
        (row,) = csv.DictReader(line for line in file if not line.startswith("#"))
    assert (row["onset"], row["offset"], row["type"]) == ("1", "12", "micro")
    assert (float(row["start"]), float(row["end"])) == (0.02, 0.24)
    video = Video("unknown/x/" + row["video"], "unknown", "x", row["video"], 50.0, length=12)
    problems = Problems()
    read = read_run(folder / "events.csv", VideoIndex([video]), problems)
    assert len(problems) == 0 and [interval[:2] for interval in read.predictions[video.id]] == [(1, 12)]


def test_a_clip_by_its_id_is_asked_what_the_challenge_asks(tmp_path, images, checkpoint, monkeypatch, capsys):
    write_clip(tmp_path, "a", images)
    units = (ActionUnit(4), ActionUnit(12, "left"))
    clip = clip_of(tmp_path, "a", 9, 15, 20, action_units=units, fine="disgust", coarse="negative")
    clips = write_set(tmp_path, [clip])
    code, _ = ask(monkeypatch, capsys, checkpoint, tmp_path, "demo/s1/a", "--clips", clips)
    assert code == 0
    answers = answers_in(tmp_path / "demo_s1_a")
    assert [(answer["question"], answer["annotated"]) for answer in answers] == [
        (row["question"], row["answer"]) for row in question_rows(clip)
    ]
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, "demo/s1/b", "--clips", clips)
    assert code == 1 and "nor a clip of" in text and "did you mean demo/s1/a" in text


def test_two_pictures_are_a_clip(tmp_path, checkpoint, monkeypatch, capsys):
    Image.fromarray(portrait()).save(tmp_path / "rest.png")
    Image.fromarray(render(2.5)).save(tmp_path / "peak.jpg")
    pair = ("--onset-image", tmp_path / "rest.png", "--apex-image", tmp_path / "peak.jpg")
    for _ in range(2):  # the second call replaces the first
        code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, *pair)
        assert code == 0 and "onset 1, apex 2, offset 2" in text
    page = (tmp_path / "rest/report.html").read_text()
    assert "Too few frames to draw motion over time" in page and 'alt="flip"' in page
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, *pair[:2])
    assert code == 2 and "go together" in text


def test_given_moments_are_kept_and_wrong_ones_named(tmp_path, images, checkpoint, monkeypatch, capsys):
    folder = write_clip(tmp_path, "unpadded", images)  # img9.png before img10.png
    moments = ("--onset", "10", "--apex", "14", "--offset", "19", "--fps", "200")
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, folder, *moments)
    assert code == 0 and "onset 10, apex 14, offset 19\n" in text
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, folder, "--onset", "18", "--apex", "14")
    assert code == 1 and "not in rising order" in text and "9 to 20" in text


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mp4v"), ("mov", "mp4v")])
def test_videos_of_other_kinds_and_grey_ones_are_answered(
    tmp_path, images, checkpoint, monkeypatch, capsys, suffix, codec
):
    grey = [cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for image in images]
    write_video(tmp_path / f"face.{suffix}", grey, codec)
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, tmp_path / f"face.{suffix}")
    assert code == 0 and "onset 1, apex" in text and len(answers_in(tmp_path / "face")) == 7


def test_what_cannot_be_answered_is_named(tmp_path, images, checkpoint, monkeypatch, capsys):
    (tmp_path / "notes.mp4").write_text("no video at all\n")
    write_video(tmp_path / "wall.avi", [np.full((240, 320, 3), 90, np.uint8)] * 8, "MJPG")
    write_video(tmp_path / "still.avi", [images[0]], "MJPG")
    for name, words in (
        ("notes.mp4", "the video cannot be opened"),
        ("wall.avi", "no face"),
        ("still.avi", "only one frame"),
        ("gone.mp4", "neither a file or folder, nor a clip"),
    ):
        code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, tmp_path / name)
        assert (code, text.count(words)) == (1, 1), text  # once, without FFmpeg's words
        assert "Traceback" not in text and "moov" not in text and "/sources/" not in text
    code, text = ask(monkeypatch, capsys, "checkpoints/never", tmp_path, tmp_path / "wall.avi")
    assert code == 1 and "there is no such checkpoint" in text and "bash demo.sh" in text


def test_a_checkpoint_that_does_not_hold_its_prompt_is_refused(tmp_path):
    write_json(tmp_path / "megc.json", {"kind": "trained", "prompt_hash": "0123456789abcdef", "prompt": None})
    with pytest.raises(DataError, match=r"megc\.json does not hold; train it again with the prompt\.json"):
        ClipAnswerer(ModelSettings(model=str(tmp_path)))


@pytest.mark.slow
def test_a_long_video_is_spotted_in_and_each_event_explained(tmp_path, checkpoint, monkeypatch, capsys):
    write_long_video(tmp_path / "long.avi", [100])
    of_video = "What is the expression type of the 1-th expression event in this video?"
    code, text = ask(
        monkeypatch, capsys, checkpoint, tmp_path, tmp_path / "long.avi", "--most", "1", "--question", of_video
    )
    assert code == 0, text
    (clip,) = json.loads((tmp_path / "long/answers.json").read_text())["clips"]
    assert 90 <= clip["onset"] < 113 < clip["offset"] <= 140 and abs(clip["apex"] - 113) <= 6
    assert len(clip["answers"]) == 7
    with (tmp_path / "long/events.csv").open() as file:
        (row,) = csv.DictReader(line for line in file if not line.startswith("#"))
    assert (row["video"], row["onset"], row["offset"]) == ("long", str(clip["onset"]), str(clip["offset"]))
    assert 0 < float(row["score"]) <= 1
    about = {answer["kind"]: answer for answer in json.loads((tmp_path / "long/answers.json").read_text())["answers"]}
    assert list(about) == ["count_all", "count_micro", "count_macro", "distinct_units", "event_type"]
    assert about["event_type"]["answer"] == f"{row['type']}-expression" and not about["event_type"]["free"]
    counts = [int(about[f"count_{kind}"]["answer"]) for kind in ("all", row["type"])]
    assert counts[0] >= counts[1] >= 1 and f"{of_video}\n    {row['type']}-expression" in text
    named = {answer["answer"] for answer in clip["answers"] if answer["kind"] == "units"}
    assert set(about["distinct_units"]["answer"].split(", ")) == {unit for text in named for unit in text.split(", ")}
    page = (tmp_path / "long/report.html").read_text()
    (link,) = re.findall(r'href="#(event\d+)"', page)
    assert f'id="{link}"' in page and 'alt="timeline of the video' in page


@pytest.mark.slow
def test_a_long_video_without_an_expression_says_so(tmp_path, checkpoint, monkeypatch, capsys):
    write_long_video(tmp_path / "calm.avi", [])
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, tmp_path / "calm.avi")
    assert code == 0 and "no expression was spotted" in text
    assert json.loads((tmp_path / "calm/answers.json").read_text())["clips"] == []
    assert "no expression was spotted" in (tmp_path / "calm/report.html").read_text()


def test_a_video_that_ends_early_is_answered_with_a_warning(tmp_path, checkpoint, monkeypatch, capsys):
    images = [render(amplitude) for amplitude in amplitudes(10, 4, 2.5)]
    write_video(tmp_path / "cut.avi", images, "MJPG")
    whole = (tmp_path / "cut.avi").read_bytes()
    end = -1
    for _ in range(9):  # the header's and those of eight frames
        end = whole.index(b"00dc", end + 1)
    (tmp_path / "cut.avi").write_bytes(whole[:end])
    code, text = ask(monkeypatch, capsys, checkpoint, tmp_path, tmp_path / "cut.avi")
    assert code == 0 and "7 of 10 frames could be read" in text
    assert "7 of 10 frames could be read" in (tmp_path / "cut/report.html").read_text()


def test_questions_are_cleaned_and_told_apart():
    assert clean_question(" Is he \n <image> angry?<|im_end|> ") == "Is he angry?"
    for text in ("", "<image>", "x" * 501):
        with pytest.raises(ValueError, match="the question"):
            clean_question(text)
    assert not is_free("what is the  coarse expression class?")
    assert is_free("Is he angry?") and is_free("How many expression events appear in this video?")


def test_folder_names_are_safe():
    names = {
        "../../etc/passwd": "etc_passwd",
        "a b.c": "a_b_c",
        "<b>": "b",
        "...": "clip",
        "-rf": "clip_-rf",
        "日本": "日本",
    }
    assert {title: folder_name(title) for title in names} == names
    assert len(folder_name("x" * 300)) == 60
