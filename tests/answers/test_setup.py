"""Runs of the program that answer by a server and in two stages."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from answer_files import GREEDY, PROMPT, answer, rows_of, write_questions
from servers import question, reply, serving
from video_questions import write_video_questions

from megc.answers import server
from megc.answers.engine import ModelAnswerer
from megc.answers.settings import Endpoint
from megc.files import write_json
from megc.problems import DataError
from megc.vqa.instructions import answer_of, question_of, read_records, with_coarse, write_records
from megc.vqa.prompts import PromptSettings, prompt_hash, prompt_record
from megc.vqa.questions import parse

PROGRAM = Path(__file__).parents[2] / "test" / "generate_answers.py"


@pytest.fixture
def questions(tmp_path):
    return write_questions(tmp_path / "questions")


def run(monkeypatch, *flags):
    """Exit code of the program."""
    monkeypatch.setattr(server, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *map(str, flags)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    return stopped.value.code


def test_rows_that_a_server_fails_on_are_reported_and_answered_by_a_rerun(
    checkpoint, questions, tmp_path, monkeypatch, capsys
):
    broken, out = [True], tmp_path / "out"

    def behave(body):
        if broken[0] and "lip corner puller" in question(body):
            return 500, b'{"error": "out of memory"}'
        return reply(f"about {question(body)[-20:]}")

    with serving(behave) as (url, seen):
        flags = ["--model", checkpoint, "--questions", questions, "--out", out, "--endpoint", url, "--retries", 1]
        assert run(monkeypatch, *flags) == 1
        rows = rows_of(out)
        assert [bool(row["answer"]) for row in rows] == [True, True, False, True] * 3
        said = capsys.readouterr().err
        assert "3 problem(s)" in said and rows[2]["id"] in said and "out of memory" in said
        broken[0], before = False, len(seen)
        assert run(monkeypatch, *flags) == 0
        assert all(row["answer"] for row in rows_of(out))
        assert len(seen) == before + 3 + 1 + 5  # one to get acquainted, and five ways to compare or constrain tried
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["served"] == str(checkpoint) and record["endpoint"] == url


def test_a_server_that_is_not_there_is_one_error(checkpoint, questions, tmp_path, monkeypatch, capsys):
    with serving(lambda body: reply("x")) as (url, _):
        pass
    flags = ["--model", checkpoint, "--questions", questions, "--out", tmp_path / "out", "--endpoint", url]
    assert run(monkeypatch, *flags) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"{url}: the server cannot be used")


def test_what_needs_the_model_in_memory_is_refused_with_an_endpoint(checkpoint, questions, tmp_path):
    with pytest.raises(DataError, match="--models needs the model in memory"):
        answer(checkpoint, questions, tmp_path, endpoint=Endpoint("http://127.0.0.1:9/v1"), models=(str(checkpoint),))


def test_a_video_is_not_sent_to_a_server(checkpoint, tmp_path):
    file = write_video_questions(tmp_path / "video")
    with pytest.raises(DataError, match="--endpoint: the prompt has a video"):
        answer(checkpoint, file, tmp_path, endpoint=Endpoint("http://127.0.0.1:9/v1"))


def hierarchy(questions, coarse, statistics=()):
    """The questions as those of a hierarchy, with `coarse` told to all of them."""
    prompt = PromptSettings(images=PROMPT.images, structured=False, hierarchy=True, statistics=statistics)
    records = [{**record, "prompt": prompt_hash(prompt)} for record in read_records(questions)]
    write_records(questions, [with_coarse(record, coarse, prompt) for record in records])
    write_json(questions.with_name("prompt.json"), prompt_record(prompt))
    return prompt


def test_questions_of_a_hierarchy_are_asked_in_two_stages_without_the_true_class(
    checkpoint, questions, tmp_path, monkeypatch
):
    asked, answered = [], ModelAnswerer.answer

    def spy(self, samples, problems):
        asked.extend(sample.record for sample in samples)
        return answered(self, samples, problems)

    monkeypatch.setattr(ModelAnswerer, "answer", spy)
    hierarchy(questions, "surprise", statistics=(("", "negative", "disgust 67 %"),))
    assert all("class is surprise" in record["messages"][1]["content"] for record in read_records(questions)[1:4])
    first, problems = answer(checkpoint, questions, tmp_path / "out", GREEDY)
    assert problems == []
    coarse = {record["clip"]: row["answer"] for record, row in zip(read_records(questions), first, strict=True)
              if parse(question_of(record)).kind == "coarse"}  # fmt: skip
    told = [record for record in asked if parse(question_of(record)).kind != "coarse"]
    assert len(asked) == len(first) and len(told) == 9 and len(coarse) == 3
    assert all("The coarse expression class is " in record["messages"][1]["content"] for record in told)
    assert not any(
        "expression class is " in record["messages"][1]["content"] for record in asked if record not in told
    )
    hierarchy(questions, "positive", statistics=(("", "negative", "disgust 67 %"),))  # another true class
    asked.clear()
    again, _ = answer(checkpoint, questions, tmp_path / "out", GREEDY)
    assert again == first and asked == []  # the same input, so nothing is asked again
    assert answer_of(read_records(questions)[0]) == "the truth"


def test_each_model_of_a_hierarchy_goes_by_its_own_coarse_answer(checkpoint, questions, tmp_path):
    hierarchy(questions, "surprise")
    rows, problems = answer(checkpoint, questions, tmp_path / "out", GREEDY, models=(str(checkpoint),) * 2)
    assert problems == [] and all(len(row["votes"]) == 2 for row in rows)
