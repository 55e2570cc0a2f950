"""Questions asked of a served model: any server that speaks OpenAI's chat protocol (vLLM, SGLang, transformers serve).

Prompts and pictures are those of a local run: the same messages, each picture a PNG already resized to the pixel
budget, in the place of its `<image>` tag.
"""

import base64
import hashlib
import io
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import openai
from PIL import Image

from megc.answers.answerer import Answer
from megc.answers.decoding import Decoding, question_in
from megc.model.data import Sample, chat_messages
from megc.problems import DataError, Problem, Problems

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds between tries, doubling


@dataclass(frozen=True)
class Endpoint:
    """Where the server is and how patiently it is asked.

    `url` ends with `/v1`; `name` is what the model is served under (None: the only one that the server lists);
    `timeout` is of one request, in seconds; a request is tried `retries` times more; `concurrency` requests run
    at the same time. `api_key`: default OPENAI_API_KEY, else a placeholder, for servers that want none.
    """

    url: str
    name: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 4
    api_key: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"--endpoint {self.url!r} is no address; give one like http://127.0.0.1:8000/v1")
        if self.concurrency < 1 or self.retries < 0 or not self.timeout > 0:
            raise ValueError("concurrency must be 1 or more, retries 0 or more, the time-out positive")


class _Garbage(Exception):
    """The server answered, but with nothing that can be used."""


def data_url(picture: np.ndarray) -> str:
    """A picture, uint8 (height, width, 3), as a PNG in a `data:` address."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(out, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def chat_request(record: dict, pictures: Sequence[np.ndarray]) -> list[dict]:
    """System and user message of an instruction record, pictures in the place of its `<image>` tags."""
    urls = iter([data_url(picture) for picture in pictures])
    messages = chat_messages(record, with_answer=False)
    for message in messages:
        message["content"] = [
            {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
            for part in message["content"]
        ]
    return messages


def _vllm(decoding: Decoding, sampled: bool) -> dict:
    """vLLM and SGLang take further settings by name; left out, those of the checkpoint would hold."""
    return {"extra_body": {"repetition_penalty": decoding.repetition_penalty, "top_k": decoding.top_k or -1}}


def _transformers(decoding: Decoding, sampled: bool) -> dict:
    """`transformers serve` takes a whole generation config; what it lacks comes from the checkpoint's."""
    config = {
        "do_sample": sampled,
        "max_new_tokens": decoding.max_new_tokens,
        "repetition_penalty": decoding.repetition_penalty,
    }
    if sampled:
        config |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
    return {"extra_body": {"generation_config": json.dumps(config)}}


def _openai(decoding: Decoding, sampled: bool) -> dict:
    return {}


Dialect = Callable[[Decoding, bool], dict]
_DIALECTS: tuple[Dialect, ...] = (_vllm, _transformers, _openai)


class ServedAnswerer:
    """Answers by asking a server, several questions at a time, each as often as there are votes.

    A server does not compare answers: questions whose way is `choices` are written, greedily with one vote and
    sampled with more (bring what is not allowed to the nearest answer that is with the option `snap`).
    `pictures` gives a sample's pictures, resized to the pixel budget, in the order of the tags. `otherwise` names
    the model where neither `endpoint` nor the server does. A request that
    times out, is refused by a busy server, or comes back empty or as garbage is tried again after a pause; a row
    for which that does not help fails, is told to `problems`, and the others go on. Each vote has a seed of its
    own (row, vote, `decoding.seed`).
    Raises DataError from the first call when the server cannot be reached or refuses the request altogether.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pictures: Callable[[Sample], Sequence[np.ndarray]],
        decoding: Decoding,
        otherwise: str | None = None,
    ) -> None:
        self.endpoint, self.decoding, self._pictures = endpoint, decoding, pictures
        key = endpoint.api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.OpenAI(base_url=endpoint.url, api_key=key, timeout=endpoint.timeout, max_retries=0)
        self._model, self._otherwise = endpoint.name, otherwise
        self._dialect: Dialect | None = None
        self._gone = False  # the server stopped answering at all

    @property
    def dialect(self) -> str | None:
        """Whose settings the server understands; None before the first answer."""
        return self._dialect.__name__.strip("_") if self._dialect else None

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which `problems` is told of."""
        if not samples:
            return []
        if self._dialect is None:
            self._meet(samples)
        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            results = list(pool.map(self._votes, samples))
        for found in results:
            if isinstance(found, Problem):
                problems.add(found)
        return [None if isinstance(found, Problem) else found for found in results]

    def _votes(self, sample: Sample) -> list[Answer] | Problem:
        """A row's votes, or what went wrong."""
        identity = sample.record["id"]
        try:
            messages = chat_request(sample.record, self._pictures(sample))
        except DataError as error:
            return error.problem
        try:
            sampled = self._sampled(sample)
            votes = range(self.decoding.votes if sampled else 1)
            return [self._ask(messages, identity, vote, sampled) for vote in votes]
        except (openai.OpenAIError, _Garbage) as error:
            what = f"not answered ({_reason(error)})"
            fix = "run the same command again: what is answered is kept"
            if isinstance(error, openai.APIStatusError) and error.status_code < 500:
                fix = "see the server's message; then run the same command again"
            return Problem(self.endpoint.url, identity, what, fix)

    def _sampled(self, sample: Sample) -> bool:
        mode = self.decoding.mode(question_in(sample).kind)
        return mode == "sample" or (mode == "choices" and self.decoding.votes > 1)

    def _ask(self, messages: list[dict], identity: str, vote: int, sampled: bool) -> Answer:
        """One vote, tried until it is usable. Raises what the last try raised."""
        for attempt in range(self.endpoint.retries + 1):
            if self._gone:
                raise _Garbage("the server is gone")
            try:
                return self._request(messages, identity, vote, sampled, self._dialect)
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError, _Garbage) as error:
                if attempt == self.endpoint.retries:
                    self._gone = self._gone or _refused(error)  # then no later row will fare better
                    raise
                self._pause(attempt)
        raise AssertionError("unreachable")

    def _request(self, messages: list[dict], identity: str, vote: int, sampled: bool, dialect: Dialect) -> Answer:
        settings = {"temperature": 0.0, "top_p": 1.0}
        if sampled:
            settings = {"temperature": self.decoding.temperature, "top_p": self.decoding.top_p, "logprobs": True}
            settings["seed"] = _seed(identity, vote, self.decoding.seed)
        try:
            made = self._client.chat.completions.create(
                model=self._model,
                messages=messages,
                max_tokens=self.decoding.max_new_tokens,
                **settings,
                **dialect(self.decoding, sampled),
            )
            choice = made.choices[0]
            text, cut = choice.message.content, choice.finish_reason == "length"
        except (openai.APIResponseValidationError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise _Garbage(f"the reply cannot be read: {type(error).__name__}") from error
        if not isinstance(text, str) or not text.strip():
            raise _Garbage("the answer is empty")
        tokens = getattr(choice.logprobs, "content", None) if sampled else None
        return Answer(text.strip(), sum(token.logprob for token in tokens) if tokens else None, cut)

    def _meet(self, samples: Sequence[Sample]) -> None:
        """Find out the model's name and which settings the server takes, by asking one question after the other.

        Leaves it open when no sample has readable pictures. Raises DataError when no question gets through.
        """
        self._model = self._model or self._only_model()
        readable = []
        for sample in samples:
            with Problems().collect():
                messages = chat_request(sample.record, self._pictures(sample))
                readable.append((messages, sample.record["id"], 0, self._sampled(sample)))
            if len(readable) > self.endpoint.retries:
                break
        trouble: Exception | None = None
        for attempt in range(self.endpoint.retries + 1 if readable else 0):
            try:
                self._dialect = self._understood(*readable[attempt % len(readable)])
                return
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                if _refused(error):
                    raise self._unusable(error) from error
                trouble = error
                self._pause(attempt)
            except openai.OpenAIError as error:
                raise self._unusable(error) from error
        if trouble:
            raise self._unusable(trouble) from trouble

    def _understood(self, *request: object) -> Dialect:
        """The first dialect that the server does not refuse. Raises the refusal of the first when it refuses all."""
        refusal: Exception | None = None
        for dialect in _DIALECTS:
            try:
                self._request(*request, dialect)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = refusal or error
            except _Garbage:
                return dialect  # taken, though this answer cannot be used
            else:
                return dialect
        raise refusal

    def _pause(self, attempt: int) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
        time.sleep(pause * random.uniform(0.75, 1.25))  # not all at the same moment

    def _only_model(self) -> str:
        try:
            names = [model.id for model in self._client.models.list().data]
        except (openai.APIConnectionError, openai.AuthenticationError) as error:
            raise self._unusable(error) from error
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            if self._otherwise:
                return self._otherwise
            fix = "give its name with --endpoint-model"
            raise DataError(self.endpoint.url, None, "the server does not list its models", fix) from error
        if len(names) != 1:
            what = f"the server has {len(names)} models ({', '.join(names[:5])})"
            raise DataError(self.endpoint.url, None, what, "choose one with --endpoint-model")
        return names[0]

    def _unusable(self, error: Exception) -> DataError:
        fix = "start the server, and check --endpoint, --endpoint-model and OPENAI_API_KEY"
        return DataError(self.endpoint.url, None, f"the server cannot be used ({_reason(error)})", fix)


def _refused(error: Exception) -> bool:
    """Whether nobody listens there, as opposed to a connection that was slow or broke off."""
    # by name: which HTTP library the client brings, and raises from, depends on its release
    return isinstance(error, openai.APIConnectionError) and type(error.__cause__).__name__ == "ConnectError"


def _reason(error: Exception) -> str:
    """One line of what went wrong, the server's own words included."""
    words = f"{error.status_code}: {error.response.text}" if isinstance(error, openai.APIStatusError) else str(error)
    return " ".join(words.split())[:300] or type(error).__name__


def _seed(identity: str, vote: int, seed: int) -> int:
    """A seed below 2^31 of a row's vote."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}:{vote}".encode()).digest()[:4]) >> 1
