"""Closed questions of a server: compared as in a local run, constrained, or brought to the nearest allowed answer."""

import json
import re

import pytest
from answer_files import answer, rows_of, write_questions
from servers import ModelServer, reply, serving

from megc.answers import server
from megc.answers.likelihoods import UnscoredError, make_candidate
from megc.answers.run import answer_questions
from megc.answers.settings import Decoding, Endpoint, RunSettings
from megc.model.checkpoint import load_processor
from megc.model.samples import read_samples
from megc.problems import DataError, Problems
from megc.vqa.prompts import PromptSettings

DECODING = Decoding(max_new_tokens=10, constrain_units=False)
COARSE = ("negative", "positive", "surprise")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(server, "_FIRST_PAUSE", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")


def ask(url, checkpoint, questions, out, decoding=DECODING, **settings):
    """Rows, problems and `run.json` of a run that asks a server."""
    problems = Problems()
    endpoint = Endpoint(url, retries=1, timeout=20, concurrency=2)
    settings = RunSettings(checkpoint, (questions,), out, decoding, endpoint=endpoint, **settings)
    answer_questions(settings, problems)
    return rows_of(out), list(problems), json.loads((out / "run.json").read_text())


@pytest.mark.parametrize("way", ["prompt_logprobs", "input_token_logprobs"])
def test_answers_are_compared_as_in_a_local_run(checkpoint, questions, tmp_path, way):
    """A server that has the checkpoint: the same likelihoods of every allowed answer, the same answers."""
    local, _ = answer(checkpoint, questions, tmp_path / "local", DECODING)
    model = ModelServer(checkpoint)
    plain = (lambda body: reply("I cannot say.")) if way == "input_token_logprobs" else model.vllm
    with serving(plain, native=model.sglang if way == "input_token_logprobs" else None) as (url, _):
        served, problems, run = ask(url, checkpoint, questions, tmp_path / "served")
    closed = [(mine, row) for mine, row in zip(local, served, strict=True) if mine["choices"]]
    assert problems == [] and run["ways"] == {way: len(closed)} == {way: 6}
    for mine, row in closed:
        assert (row["answer"], row["way"]) == (mine["answer"], way)
        assert row["choices"] == pytest.approx(mine["choices"], abs=1e-3)
        assert row["margin"] == pytest.approx(mine["margin"], abs=1e-3)
    assert len({row["answer"] for _, row in closed}) > 1
    assert all("way" not in row for row in served if not row["choices"])


@pytest.mark.parametrize("way", ["prompt_logprobs", "input_token_logprobs"])
def test_words_alone_are_sent_as_plain_text_and_compared_as_in_a_local_run(checkpoint, tmp_path, way):
    """A prompt that tells the motion in words, without pictures: what a server of a text-only model takes."""
    prompt = PromptSettings(images=(), motion_words=True)
    questions = write_questions(tmp_path / "words", prompt=prompt)
    local, _ = answer(checkpoint, questions, tmp_path / "local", DECODING)
    model = ModelServer(checkpoint)
    plain = (lambda body: reply("I cannot say.")) if way == "input_token_logprobs" else model.vllm
    with serving(plain, native=model.sglang if way == "input_token_logprobs" else None) as (url, seen):
        served, problems, _ = ask(url, checkpoint, questions, tmp_path / "served")
    assert problems == []
    for mine, row in zip(local, served, strict=True):
        assert (row["choices"] is None) == (mine["choices"] is None)
        if mine["choices"]:
            assert row["way"] == way and row["choices"] == pytest.approx(mine["choices"], abs=1e-3)
    sent = [body["messages"] for body, _ in seen if "messages" in body and len(body["messages"]) > 1]
    assert all(isinstance(message["content"], str) for messages in sent for message in messages)
    assert any("left inner brow up 0.8 px" in messages[1]["content"] for messages in sent)
    assert not any("image_data" in body for body, _ in seen)


def constrained(body):
    """The last of the answers that the request allows, however it says so; else talk."""
    allowed = body.get("structured_outputs", {}).get("choice") or body.get("guided_choice")
    if not allowed and "regex" in body:
        assert re.fullmatch(r"\([a-z |]+\)", body["regex"])
        allowed = body["regex"].strip("()").split("|")
    return reply(allowed[-1] if allowed else "It may well be positive.")


@pytest.mark.parametrize("strict", [False, True], ids=["ignores others", "refuses others"])
@pytest.mark.parametrize("way", ["structured_outputs", "guided_choice", "regex"])
def test_a_server_that_takes_allowed_answers_gives_one_of_them(checkpoint, questions, tmp_path, way, strict):
    """Servers pass over the fields that they do not know, or refuse them: only what is obeyed counts."""
    others = {"prompt_logprobs", "structured_outputs", "guided_choice", "regex"} - {way}

    def behave(body):
        if strict and others & body.keys():
            return 400, b'{"detail": "Unexpected fields"}'
        return constrained({name: value for name, value in body.items() if name not in others})

    with serving(behave) as (url, seen):
        rows, problems, run = ask(url, checkpoint, questions, tmp_path)
    assert problems == [] and run["ways"] == {way: 6}
    assert [row["answer"] for row in rows if "coarse expression class?" in row["question"][:40]] == ["surprise"] * 3
    assert rows[1]["answer"] == "It may well be positive." and "way" not in rows[1]
    probes = [body for body, _ in seen if "quartz" in json.dumps({name: body.get(name) for name in (*others, way)})]
    assert len(probes) <= 3  # once a run, not once a question


@pytest.mark.parametrize("refusal", [400, 404, 422, 500, 501])
def test_a_server_that_can_nothing_of_it_is_brought_to_the_nearest(checkpoint, questions, tmp_path, refusal):
    extra = {"prompt_logprobs", "structured_outputs", "guided_choice", "regex"}

    def behave(body):
        return (refusal, b"{}") if extra & body.keys() else reply("It may well be positive.")

    with serving(behave) as (url, _):
        rows, problems, run = ask(url, checkpoint, questions, tmp_path)
    assert problems == [] and run["ways"] == {"nearest": 6}
    assert (rows[0]["answer"], rows[0]["way"]) == ("positive", "nearest")
    assert rows[0]["written"] == ["It may well be positive."] and rows[0]["votes"] == ["positive"]
    assert rows[2]["answer"] in ("yes", "no") and rows[0]["choices"] is None


def test_a_row_that_fails_the_best_way_says_which_it_took(checkpoint, questions, tmp_path):
    """Of one question the server returns likelihoods of other tokens: it takes the next way, the others do not."""
    model = ModelServer(checkpoint)

    def behave(body):
        status, data = model.vllm(body)
        if "prompt_logprobs" in body and "lip corner" in json.dumps(body["messages"][1]):
            made = json.loads(data)
            made["prompt_logprobs"] = made["prompt_logprobs"][:-1]
            return status, json.dumps(made).encode()
        return (status, data) if "prompt_logprobs" in body else constrained(body)

    with serving(behave) as (url, _):
        rows, problems, run = ask(url, checkpoint, questions, tmp_path)
    assert problems == [] and run["ways"] == {"prompt_logprobs": 3, "structured_outputs": 3}
    assert [row.get("way") for row in rows[:4]] == ["prompt_logprobs", None, "structured_outputs", None]


def test_another_tokenizer_is_not_believed(checkpoint, questions):
    processor, sample = load_processor(checkpoint), read_samples(questions)[0]
    asked = make_candidate(processor, sample.record, "negative")
    assert asked.text.startswith(asked.prompt) and asked.text.endswith("negative<|im_end|>\n")
    assert processor.tokenizer.decode(asked.tokens) == "negative<|im_end|>" and len(asked.behind) == 1
    processor.chat_template = "{{ messages[0]['content'][0]['text'] }}"
    with pytest.raises(UnscoredError):
        make_candidate(processor, sample.record, "negative")


# ---- credentials


@pytest.mark.parametrize(
    ("login", "query"),
    [("user:pa%20ss-word@", ""), ("token-4711@", ""), ("", "?key=hush-hush"), ("u:p4ss@", "?k=q9q9")],
)
def test_credentials_of_an_address_are_sent_and_reach_no_file_and_no_message(
    checkpoint, questions, tmp_path, capsys, login, query
):
    secrets = [word for word in re.split(r"[:@?=&]", login + query) if len(word) > 3] + ["pa ss-word", "secret"]

    def behave(body):
        if "lip corner" in json.dumps(body["messages"][1]):
            return 400, f"no rights for {login}{query} at {url_with}".encode()  # a server that tells them
        return reply("positive")

    with serving(behave) as (url, seen):
        url_with = url.replace("://", f"://{login}") + query
        _, problems, run = ask(url_with, checkpoint, questions, tmp_path)
    headers = seen[-1][1]
    assert headers["authorization"].startswith("Basic " if login else "Bearer secret")
    assert run["endpoint"] == url and len(problems) == 3
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    said = "".join([*files, *map(str, problems), *capsys.readouterr(), repr(Endpoint(url_with, api_key="secret"))])
    assert [secret for secret in secrets if secret in said] == []
    with pytest.raises(DataError) as error:
        ask(url_with, checkpoint, questions, tmp_path / "gone")  # nobody listens there any more
    assert [secret for secret in secrets if secret in str(error.value)] == [] and url in str(error.value)
