"""A served model as an answerer: any server of OpenAI's chat protocol (vLLM, SGLang, transformers serve).

Prompts and pictures are those of a local run: the same messages, each picture a PNG already resized to the pixel
budget, in the place of its `<image>` tag. How closed questions are answered depends on what the server can do; that
is tried once, and each row names the `way` of its answer:

    prompt_logprobs, input_token_logprobs     the allowed answers are compared, as in a local run (`likelihoods`)
    structured_outputs, guided_choice, regex  the server writes an allowed answer and nothing else (`endpoint`)
    nearest                                   it writes freely, and the nearest allowed answer is taken
"""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import openai
from transformers import ProcessorMixin

from megc.answers.answerer import Answer, parse_question
from megc.answers.endpoint import CONSTRAINTS, DIALECTS, build_messages_with_pictures, draw_seed, open_client
from megc.answers.likelihoods import SCORERS, UnscoredError, make_candidate
from megc.answers.settings import Decoding, Endpoint
from megc.model.distributed import print_main
from megc.model.samples import Sample
from megc.problems import DataError, Problem, Problems
from megc.reasoning.nearest import nearest_answer

NEAREST = "nearest"  # the way that works with every server
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds between tries, doubling
_PROBE = "quartz"  # an answer that no model gives unless it is made to
_PASSING = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)  # may work the next time

Result = TypeVar("Result")


class UnusableReplyError(Exception):
    """The server answered, but with nothing that can be used."""


@dataclass(frozen=True)
class _Request:
    """A question as it is sent: record, kind, and, of a closed one that is to be compared, the allowed answers."""

    record: dict
    messages: list[dict]
    kind: str
    sampled: bool
    allowed: tuple[str, ...] | None


class ServedAnswerer:
    """Answers by queries to a server, several at a time, one for each vote.

    `pictures` returns a sample's pictures, resized to the pixel budget, in the order of the tags. `fallback_name`
    names the model where neither `endpoint` nor the server does. `processor` is the checkpoint's: without it no
    answers are compared. Questions of mode `choices` are compared where the server can, with one vote; else they are
    written, greedily with one vote and sampled with more. A request that times out, is refused by a busy server, or
    gets an empty or unreadable reply is tried again after a pause; a row for which that does not help fails, is
    reported in `problems`, and the others go on. Each vote has a seed of its own (row, vote, `decoding.seed`).
    Raises DataError from the first call when the server cannot be reached or refuses the request altogether.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pictures: Callable[[Sample], Sequence[np.ndarray]],
        decoding: Decoding,
        fallback_name: str | None = None,
        processor: ProcessorMixin | None = None,
    ) -> None:
        self.endpoint, self.decoding, self._pictures = endpoint, decoding, pictures
        self._client, self._processor = open_client(endpoint), processor
        self._model, self._fallback_name = endpoint.name, fallback_name
        self.dialect: str | None = None  # whose settings the server understands; None before the first answer
        self.ways: tuple[str, ...] = ()  # of closed questions, the best first; empty before the first of them
        self._server_down = False  # it stopped answering at all, or Ctrl-C: nothing is tried again

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which is reported in `problems`."""
        if not samples:
            return []
        if self.dialect is None:
            self._find_model_and_dialect(samples)
        if not self.ways:
            self._find_ways(samples)
        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            try:
                results = list(pool.map(self._votes, samples))
            except KeyboardInterrupt:
                self._server_down = True  # requests under way end, but nothing is tried again
                raise
        for result in results:
            if isinstance(result, Problem):
                problems.add(result)
        return [None if isinstance(result, Problem) else result for result in results]

    def _make_request(self, sample: Sample) -> _Request:
        """The sample as it is sent. Raises DataError for a picture that cannot be read."""
        question = parse_question(sample)
        mode = self.decoding.mode(question.kind)
        allowed = self.decoding.allowed(question, sample.record["dataset"]) if mode == "choices" else None
        sampled = mode == "sample" or (mode == "choices" and self.decoding.votes > 1)
        messages = build_messages_with_pictures(sample.record, self._pictures(sample))
        return _Request(sample.record, messages, question.kind, sampled, allowed)

    def _votes(self, sample: Sample) -> list[Answer] | Problem:
        """A row's votes, or what went wrong."""
        identity = sample.record["id"]
        try:
            request = self._make_request(sample)
        except DataError as error:
            return error.problem
        try:
            return self._answer_closed(request) if request.allowed else self._write(request, {})
        except (openai.OpenAIError, UnusableReplyError) as error:
            what = f"not answered ({self._describe(error)})"
            fix = "run the same command again: what is answered is kept"
            if isinstance(error, openai.APIStatusError) and error.status_code < 500:
                fix = "see the server's message; then run the same command again"
            return Problem(self.endpoint.address, identity, what, fix)

    def _answer_closed(self, request: _Request) -> list[Answer]:
        """Votes on a closed question, by the first of the ways that leads to an allowed answer for this row."""
        for way in self.ways:
            try:
                if way in SCORERS:
                    return [self._retry(lambda way=way: self._compare(request, way))]
                if way in CONSTRAINTS:
                    votes = self._write(request, CONSTRAINTS[way](request.allowed))
                    if all(vote.text in request.allowed for vote in votes):
                        return [replace(vote, way=way) for vote in votes]
            except UnscoredError:
                continue
        votes = self._write(request, {})
        return [
            replace(
                vote, text=nearest_answer(vote.text, request.allowed, request.kind), written=vote.text, way=NEAREST
            )
            for vote in votes
        ]

    def _compare(self, request: _Request, way: str) -> Answer:
        """The likeliest allowed answer. Raises UnscoredError where the server does not say how likely they are."""
        candidates = [make_candidate(self._processor, request.record, answer) for answer in request.allowed]
        try:
            parts = SCORERS[way](self._client, self._model, request.messages, candidates)
        except (openai.APIResponseValidationError, ValueError, AttributeError, LookupError, TypeError) as error:
            raise UnscoredError(f"the reply cannot be read: {type(error).__name__}") from error
        choices = {answer: sum(part) for answer, part in zip(request.allowed, parts, strict=True)}
        best = max(choices, key=choices.get)
        return Answer(best, choices[best], False, choices, way=way)

    def _write(self, request: _Request, constraint: dict) -> list[Answer]:
        """Votes that the server writes, a request each; `constraint`: fields that keep it to the allowed answers."""
        votes = range(self.decoding.votes if request.sampled else 1)
        return [self._retry(lambda vote=vote: self._send(request, vote, self.dialect, constraint)) for vote in votes]

    def _retry(self, send: Callable[[], Result]) -> Result:
        """What `send` returns, tried until it is usable. Raises what the last try raised."""
        for attempt in range(self.endpoint.retries + 1):
            if self._server_down:
                raise UnusableReplyError("the server is gone")
            try:
                return send()
            except (*_PASSING, UnusableReplyError) as error:
                if attempt == self.endpoint.retries:
                    self._server_down = self._server_down or _is_refused(error)  # then no later row will fare better
                    raise
                self._pause(attempt)
        raise AssertionError("unreachable")

    def _send(self, request: _Request, vote: int, dialect: str, constraint: dict) -> Answer:
        """One request, one vote. Raises UnusableReplyError for a reply without text, and what the client raises."""
        settings = {"temperature": 0.0, "top_p": 1.0}
        if request.sampled:
            settings = {"temperature": self.decoding.temperature, "top_p": self.decoding.top_p, "logprobs": True}
            settings["seed"] = draw_seed(request.record["id"], vote, self.decoding.seed)
        try:
            completion = self._client.chat.completions.create(
                model=self._model,
                messages=request.messages,
                max_tokens=self.decoding.max_new_tokens,
                **settings,
                extra_body={**DIALECTS[dialect](self.decoding, request.sampled), **constraint},
            )
            choice = completion.choices[0]
            text, cut = choice.message.content, choice.finish_reason == "length"
        except (openai.APIResponseValidationError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise UnusableReplyError(f"the reply cannot be read: {type(error).__name__}") from error
        if not isinstance(text, str) or not text.strip():
            raise UnusableReplyError("the answer is empty")
        tokens = getattr(choice.logprobs, "content", None) if request.sampled else None
        return Answer(text.strip(), sum(token.logprob for token in tokens) if tokens else None, cut)

    def _find_model_and_dialect(self, samples: Sequence[Sample]) -> None:
        """Find out the model's name and which settings the server takes, with one question after the other.

        Leaves it open when no sample has readable pictures. Raises DataError when no question gets through.
        """
        self._model = self._model or self._find_model()
        readable = []
        for sample in samples:
            with Problems().collect():
                readable.append(self._make_request(sample))
            if len(readable) > self.endpoint.retries:
                break
        trouble: Exception | None = None
        for attempt in range(self.endpoint.retries + 1 if readable else 0):
            try:
                self.dialect = self._find_dialect(readable[attempt % len(readable)])
                return
            except _PASSING as error:
                if _is_refused(error):
                    raise self._cannot_use(error) from error
                trouble = error
                self._pause(attempt)
            except openai.OpenAIError as error:
                raise self._cannot_use(error) from error
        if trouble:
            raise self._cannot_use(trouble) from trouble

    def _find_dialect(self, request: _Request) -> str:
        """The first dialect that the server does not refuse. Raises the refusal of the first when it refuses all."""
        refusal: Exception | None = None
        for dialect in DIALECTS:
            try:
                with suppress(UnusableReplyError):  # the settings are taken, though this answer cannot be used
                    self._send(request, 0, dialect, {})
                return dialect
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = refusal or error
        raise refusal

    def _find_ways(self, samples: Sequence[Sample]) -> None:
        """Find out by which ways the server answers closed questions, with the first of them among the samples."""
        for sample in samples:
            with Problems().collect():
                request = self._make_request(sample)
                if request.allowed:
                    break
        else:
            return
        scorer = next((way for way in SCORERS if self._processor and self._serves_way(way, request)), None)
        constraint = next((way for way in CONSTRAINTS if self._serves_way(way, request)), None)
        self.ways = (*filter(None, (scorer, constraint)), NEAREST)
        print_main(f"Closed questions are answered by: {self.ways[0]}")

    def _serves_way(self, way: str, request: _Request) -> bool:
        """Whether the server answers by `way`: servers that do not know a field may refuse it, or pass over it."""
        try:
            if way in SCORERS:
                self._retry(lambda: self._compare(request, way))
                return True
            vote = self._retry(lambda: self._send(request, 0, self.dialect, CONSTRAINTS[way]([_PROBE])))
            return vote.text == _PROBE
        except (openai.OpenAIError, UnscoredError, UnusableReplyError):
            return False

    def _pause(self, attempt: int) -> None:
        """Wait longer after each attempt, up to _LONGEST_PAUSE."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
        time.sleep(pause * random.uniform(0.75, 1.25))  # not all at the same moment

    def _find_model(self) -> str:
        """The only model that the server lists, else the fallback where it lists none. Raises DataError."""
        try:
            names = [model.id for model in self._client.models.list().data]
        except (openai.APIConnectionError, openai.AuthenticationError) as error:
            raise self._cannot_use(error) from error
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            if self._fallback_name:
                return self._fallback_name
            fix = "give its name with --endpoint-model"
            raise DataError(self.endpoint.address, None, "the server does not list its models", fix) from error
        if len(names) != 1:
            what = f"the server has {len(names)} models ({', '.join(names[:5])})"
            raise DataError(self.endpoint.address, None, what, "choose one with --endpoint-model")
        return names[0]

    def _cannot_use(self, error: Exception) -> DataError:
        fix = "start the server, and check --endpoint, --endpoint-model and OPENAI_API_KEY"
        return DataError(self.endpoint.address, None, f"the server cannot be used ({self._describe(error)})", fix)

    def _describe(self, error: Exception) -> str:
        """One line of what went wrong, the server's own words included."""
        words = str(error)
        if isinstance(error, openai.APIStatusError):
            words = f"{error.status_code}: {error.response.text}"
        return self.endpoint.hide(" ".join(words.split()))[:300] or type(error).__name__


def _is_refused(error: Exception) -> bool:
    """Whether nobody listens there, as opposed to a connection that was slow or broke off."""
    # by name: which HTTP library the client brings, and raises from, depends on its release
    return isinstance(error, openai.APIConnectionError) and type(error.__cause__).__name__ == "ConnectError"
