"""A served model gets the local run's prompts; a server that misbehaves costs rows, never the run."""

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from answer_files import GREEDY, answer, write_checkpoint, write_questions
from PIL import Image
from servers import question, reply, serving

from megc.answers import server
from megc.answers.pictures import Pictures
from megc.answers.server import ServedAnswerer
from megc.answers.settings import Decoding, Endpoint
from megc.model.checkpoint import load_processor
from megc.model.samples import read_samples
from megc.problems import DataError, Problems
from megc.vqa.prompts import IMAGE_TAG

DECODING = Decoding(max_new_tokens=10, decode=("greedy",))
PICTURE = np.arange(28 * 28 * 3, dtype=np.uint8).reshape(28, 28, 3)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return read_samples(write_questions(tmp_path_factory.mktemp("questions")), answered=False)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(server, "_FIRST_PAUSE", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")


def ask(url, samples, decoding=DECODING, **settings):
    settings = {"retries": 2, "timeout": 5.0, "concurrency": 4, **settings}
    problems = Problems()
    answerer = ServedAnswerer(Endpoint(url, **settings), lambda sample: [PICTURE] * len(sample.pictures), decoding)
    votes = answerer.answer(samples, problems)
    return [[vote.text for vote in row] if row else None for row in votes], list(problems), answerer


def test_the_request_is_the_records_prompt_with_pictures_in_the_place_of_the_tags(samples):
    with serving(lambda body: reply("yes", finish="length")) as (url, seen):
        texts, problems, answerer = ask(url, samples[:1])
    assert texts == [["yes"]] and problems == [] and answerer.dialect == "vllm"
    body, headers = seen[-1]
    assert headers["authorization"] == "Bearer secret" and body["model"] == "served"
    system, user = body["messages"]
    record = samples[0].record
    assert system["content"] == [{"type": "text", "text": record["messages"][0]["content"]}]
    text = "".join(part["text"] if part["type"] == "text" else IMAGE_TAG for part in user["content"])
    assert text == record["messages"][1]["content"] and text.count(IMAGE_TAG) == 2
    head, data = user["content"][0]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), PICTURE)
    assert (body["temperature"], body["max_tokens"], body["repetition_penalty"], body["top_k"]) == (0, 10, 1.0, -1)


def test_votes_have_seeds_of_their_own_that_do_not_depend_on_the_company(samples):
    sampled = Decoding(votes=3, temperature=0.7, top_p=0.9, seed=1, max_new_tokens=10, decode=("sample",))
    tokens = {"content": [{"token": "a", "logprob": -0.25, "bytes": None, "top_logprobs": []}] * 2}
    with serving(lambda body: reply(str(body["seed"]), logprobs=tokens)) as (url, seen):
        together, _, answerer = ask(url, samples[:4], sampled)
        alone, _, _ = ask(url, samples[2:3], sampled)
        chance = answerer.answer(samples[:1], Problems())[0][0].log_probability
    assert alone[0] == together[2] and len({seed for row in together for seed in row}) == 12
    assert chance == pytest.approx(-0.5)
    assert {(body["temperature"], body["top_p"]) for body, _ in seen} == {(0.7, 0.9)}


@pytest.mark.parametrize(
    ("refuses", "dialect"), [({"top_k"}, "transformers"), ({"top_k", "generation_config"}, "openai")]
)
def test_settings_that_a_server_refuses_are_said_its_way_or_left_out(samples, refuses, dialect):
    def behave(body):
        return (422, b'{"detail": "Unexpected fields"}') if refuses & body.keys() else reply("no")

    with serving(behave) as (url, seen):
        texts, problems, answerer = ask(url, samples[:3])
    assert texts == [["no"]] * 3 and problems == [] and answerer.dialect == dialect
    if dialect == "transformers":
        config = json.loads(seen[-1][0]["generation_config"])
        assert config == {"do_sample": False, "max_new_tokens": 10, "repetition_penalty": 1.0}


@pytest.mark.parametrize(
    "fault",
    [
        (500, b'{"error": "busy"}'),
        (429, b"{}"),
        (200, b"<html>not json"),
        (200, b"[]"),
        (200, b'{"choices": []}'),
        (200, b'{"choices": null}'),
        reply(""),
        reply(None),
        None,
    ],
    ids=["500", "429", "garbage", "list", "no-choice", "null", "empty", "no-text", "dropped"],
)
def test_a_fault_that_passes_costs_nothing(samples, fault):
    """Every second request of each question fails."""
    counts = {}

    def behave(body):
        counts[question(body)] = counts.get(question(body), 0) + 1
        return fault if counts[question(body)] % 2 == 0 else reply(f"{len(question(body))}")

    with serving(behave) as (url, _):
        texts, problems, _ = ask(url, samples[:4], concurrency=1)
    assert problems == [] and texts == [[str(len(sample.record["row"]["question"]) + 11)] for sample in samples[:4]]
    assert max(counts.values()) > 1


@pytest.mark.parametrize("fault", ["500", "garbage", "empty", "time-out"])
def test_a_row_that_never_succeeds_is_told_and_the_rest_is_kept(samples, fault):
    victim = samples[1].record["row"]["question"]

    def behave(body):
        if victim in question(body):
            if fault == "time-out":
                time.sleep(0.6)
            return {"500": (500, b"{}"), "garbage": (200, b"{"), "empty": reply("  ")}.get(fault, reply("late"))
        return reply("fine")

    with serving(behave) as (url, seen):
        texts, problems, _ = ask(url, samples[:4], timeout=0.3 if fault == "time-out" else 5.0)
    assert texts == [["fine"], None, ["fine"], ["fine"]]
    assert [problem.row for problem in problems] == [samples[1].record["id"]]
    assert "run the same command again" in str(problems[0])
    assert sum(victim in question(body) for body, _ in seen) == 3  # tried as often as --retries says, and once more


def test_a_server_that_dies_midway_leaves_what_it_answered(samples):
    with serving(lambda body: reply("fine")) as (url, seen):
        texts, problems, answerer = ask(url, samples[:2])
    assert texts == [["fine"]] * 2 and problems == []
    later = Problems()
    started = time.monotonic()
    assert answerer.answer(samples[2:], later) == [None] * 10
    assert [problem.row for problem in later] == [sample.record["id"] for sample in samples[2:]]
    assert "server is gone" in str(list(later)[-1])  # given up, instead of trying every row
    assert time.monotonic() - started < 5 and len(seen) == 3


def test_a_refusal_is_not_tried_again(samples):
    victim = samples[1].record["row"]["question"]
    with serving(lambda body: (400, b'{"error": "too long"}') if victim in question(body) else reply("fine")) as made:
        url, seen = made
        texts, problems, _ = ask(url, samples[:3])
    assert texts == [["fine"], None, ["fine"]] and "too long" in str(problems[0])
    assert sum(victim in question(body) for body, _ in seen) == 1


def test_a_server_that_cannot_be_used_is_one_clear_error(samples):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for name in (None, "served"):
        with pytest.raises(DataError, match=rf"127.0.0.1:{port}.*cannot be used.*start the server"):
            ask(f"http://127.0.0.1:{port}/v1", samples[:3], name=name)
    with (
        serving(lambda body: (401, b'{"error": "key"}')) as (url, _),
        pytest.raises(DataError, match="OPENAI_API_KEY"),
    ):
        ask(url, samples[:3])
    with serving(lambda body: (500, b"{}")) as (url, seen), pytest.raises(DataError, match="cannot be used"):
        ask(url, samples[:3])
    assert len(seen) == 3
    with (
        serving(lambda body: reply("x"), models=("a", "b")) as (url, _),
        pytest.raises(DataError, match=r"a, b.*choose"),
    ):
        ask(url, samples[:3])
    with pytest.raises(ValueError, match="no address"):
        Endpoint("127.0.0.1:8000")


def test_a_row_whose_picture_is_bad_is_told_and_not_asked(samples):
    def pictures(sample):
        if sample is samples[0]:
            raise DataError("x.png", sample.record["id"], "the picture cannot be read", "make it again")
        return [PICTURE] * 2

    problems = Problems()
    with serving(lambda body: reply("fine")) as (url, _):
        votes = ServedAnswerer(Endpoint(url), pictures, DECODING).answer(samples[:2], problems)
    assert votes[0] is None and votes[1][0].text == "fine" and "cannot be read" in str(*problems)


@pytest.mark.slow
def test_transformers_serve_answers_as_the_local_run_does(tmp_path):
    """The real server with a tiny random checkpoint: greedy answers, pictures and all, are those of a local run."""
    checkpoint, questions = write_checkpoint(tmp_path / "tiny"), write_questions(tmp_path / "questions")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [os.path.join(os.path.dirname(sys.executable), "transformers"), "serve", str(checkpoint)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=settings)
        try:
            local, _ = answer(checkpoint, questions, tmp_path / "local")
            _wait_for(f"http://127.0.0.1:{port}/health", server, tmp_path / "serve.log")
            pictures = Pictures(load_processor(checkpoint))
            where = Endpoint(f"http://127.0.0.1:{port}/v1", concurrency=2, timeout=30, retries=1)
            served, problems = ServedAnswerer(where, pictures.read, GREEDY, str(checkpoint)), Problems()
            votes = served.answer(read_samples(questions, answered=False), problems)
        finally:
            server.terminate()
            server.wait(timeout=20)
    assert served.dialect == "transformers"
    assert len({row["answer"] for row in local}) > len(local) / 2  # a constant would be equal for no good reason
    texts = [row[0].text if row else "" for row in votes]
    assert [_words(text) for text in texts] == [_words(row["answer"]) for row in local]
    empty = [row["id"] for row in local if not row["answer"]]  # random weights may end an answer at once
    assert [problem.row for problem in problems] == empty and len(empty) < 4


def _words(text):
    """Without the tokens such as `<|quad_end|>` that random weights write, and of which the server strips fewer."""
    return re.sub(r"<\|\w+\|>", "", text).split()


def _wait_for(url, server, log):
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
