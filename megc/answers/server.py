"""Questions asked of a served model: any server that speaks OpenAI's chat protocol (vLLM, SGLang, transformers serve).

Prompts and pictures are those of a local run: the same messages, each picture a PNG already resized to the pixel
budget, in the place of its `<image>` tag. How closed questions are answered depends on what the server can do; it is
tried once, and each answer says by which way it came:

    prompt_logprobs, input_token_logprobs     the allowed answers are compared, as in a local run (`likelihoods`)
    structured_outputs, guided_choice, regex  the server writes an allowed answer and nothing else (`dialects`)
    nearest                                   it writes what it likes, and the nearest allowed answer is taken
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

from megc.answers.answerer import Answer
from megc.answers.decoding import Decoding, question_in
from megc.answers.dialects import CONSTRAINTS, DIALECTS, chat_request, vote_seed
from megc.answers.endpoint import Endpoint
from megc.answers.likelihoods import SCORERS, UnscoredError, candidate
from megc.model.distributed import print_main
from megc.model.samples import Sample
from megc.problems import DataError, Problem, Problems
from megc.reasoning.nearest import nearest

NEAREST = "nearest"  # the way that works with every server
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds between tries, doubling
_PROBE = "quartz"  # an answer that no model gives unless it is made to
_PASSING = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)  # may work the next time

Result = TypeVar("Result")


class _Garbage(Exception):
    """The server answered, but with nothing that can be used."""


@dataclass(frozen=True)
class _Ask:
    """A question as it is sent: its row and kind, and of a closed one that is to be compared, the allowed answers."""

    record: dict
    messages: list[dict]
    kind: str
    sampled: bool
    allowed: tuple[str, ...] | None


class ServedAnswerer:
    """Answers by asking a server, several questions at a time, each as often as there are votes.

    `pictures` gives a sample's pictures, resized to the pixel budget, in the order of the tags. `otherwise` names
    the model where neither `endpoint` nor the server does. `processor` is the checkpoint's: without it no answers
    are compared. Questions whose way is `choices` are compared where the server can, with one vote; else they are
    written, greedily with one vote and sampled with more. A request that times out, is refused by a busy server, or
    comes back empty or as garbage is tried again after a pause; a row for which that does not help fails, is told
    to `problems`, and the others go on. Each vote has a seed of its own (row, vote, `decoding.seed`).
    Raises DataError from the first call when the server cannot be reached or refuses the request altogether.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pictures: Callable[[Sample], Sequence[np.ndarray]],
        decoding: Decoding,
        otherwise: str | None = None,
        processor: ProcessorMixin | None = None,
    ) -> None:
        self.endpoint, self.decoding, self._pictures = endpoint, decoding, pictures
        self._client, self._processor = endpoint.client(), processor
        self._model, self._otherwise = endpoint.name, otherwise
        self.dialect: str | None = None  # whose settings the server understands; None before the first answer
        self.ways: tuple[str, ...] = ()  # of closed questions, the best first; empty before the first of them
        self._gone = False  # the server stopped answering at all, or nobody waits for it any more

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample, in order; None for a sample that failed, which `problems` is told of."""
        if not samples:
            return []
        if self.dialect is None:
            self._meet(samples)
        if not self.ways:
            self._try_ways(samples)
        with ThreadPoolExecutor(self.endpoint.concurrency) as pool:
            try:
                results = list(pool.map(self._votes, samples))
            except KeyboardInterrupt:
                self._gone = True  # requests under way end, but nothing is tried again
                raise
        for result in results:
            if isinstance(result, Problem):
                problems.add(result)
        return [None if isinstance(result, Problem) else result for result in results]

    def _ask_of(self, sample: Sample) -> _Ask:
        """The sample as it is sent. Raises DataError for a picture that cannot be read."""
        question = question_in(sample)
        mode = self.decoding.mode(question.kind)
        allowed = self.decoding.allowed(question, sample.record["dataset"]) if mode == "choices" else None
        sampled = mode == "sample" or (mode == "choices" and self.decoding.votes > 1)
        messages = chat_request(sample.record, self._pictures(sample))
        return _Ask(sample.record, messages, question.kind, sampled, allowed)

    def _votes(self, sample: Sample) -> list[Answer] | Problem:
        """A row's votes, or what went wrong."""
        identity = sample.record["id"]
        try:
            ask = self._ask_of(sample)
        except DataError as error:
            return error.problem
        try:
            return self._by_best_way(ask) if ask.allowed else self._written(ask, {})
        except (openai.OpenAIError, _Garbage) as error:
            what = f"not answered ({self._reason(error)})"
            fix = "run the same command again: what is answered is kept"
            if isinstance(error, openai.APIStatusError) and error.status_code < 500:
                fix = "see the server's message; then run the same command again"
            return Problem(self.endpoint.address, identity, what, fix)

    def _by_best_way(self, ask: _Ask) -> list[Answer]:
        """Votes on a closed question, by the first of the ways that leads to an allowed answer for this row."""
        for way in self.ways:
            try:
                if way in SCORERS:
                    return [self._patiently(lambda way=way: self._compared(ask, way))]
                if way in CONSTRAINTS:
                    votes = self._written(ask, CONSTRAINTS[way](ask.allowed))
                    if all(vote.text in ask.allowed for vote in votes):
                        return [replace(vote, way=way) for vote in votes]
            except UnscoredError:
                continue
        votes = self._written(ask, {})
        return [
            replace(vote, text=nearest(vote.text, ask.allowed, ask.kind), written=vote.text, way=NEAREST)
            for vote in votes
        ]

    def _compared(self, ask: _Ask, way: str) -> Answer:
        """The likeliest allowed answer. Raises UnscoredError where the server does not say how likely they are."""
        candidates = [candidate(self._processor, ask.record, answer) for answer in ask.allowed]
        try:
            parts = SCORERS[way](self._client, self._model, ask.messages, candidates)
        except (openai.APIResponseValidationError, ValueError, AttributeError, LookupError, TypeError) as error:
            raise UnscoredError(f"the reply cannot be read: {type(error).__name__}") from error
        sums = {answer: sum(part) for answer, part in zip(ask.allowed, parts, strict=True)}
        means = {answer: sum(part) / len(part) for answer, part in zip(ask.allowed, parts, strict=True)}
        scores = means if self.decoding.choice_score == "mean" else None
        best = max(scores or sums, key=(scores or sums).get)
        return Answer(best, sums[best], False, sums, scores, way=way)

    def _written(self, ask: _Ask, constraint: dict) -> list[Answer]:
        votes = range(self.decoding.votes if ask.sampled else 1)
        return [
            self._patiently(lambda vote=vote: self._request(ask, vote, self.dialect, constraint)) for vote in votes
        ]

    def _patiently(self, request: Callable[[], Result]) -> Result:
        """What the request returns, tried until it is usable. Raises what the last try raised."""
        for attempt in range(self.endpoint.retries + 1):
            if self._gone:
                raise _Garbage("the server is gone")
            try:
                return request()
            except (*_PASSING, _Garbage) as error:
                if attempt == self.endpoint.retries:
                    self._gone = self._gone or _refused(error)  # then no later row will fare better
                    raise
                self._pause(attempt)
        raise AssertionError("unreachable")

    def _request(self, ask: _Ask, vote: int, dialect: str, constraint: dict) -> Answer:
        settings = {"temperature": 0.0, "top_p": 1.0}
        if ask.sampled:
            settings = {"temperature": self.decoding.temperature, "top_p": self.decoding.top_p, "logprobs": True}
            settings["seed"] = vote_seed(ask.record["id"], vote, self.decoding.seed)
        try:
            completion = self._client.chat.completions.create(
                model=self._model,
                messages=ask.messages,
                max_tokens=self.decoding.max_new_tokens,
                **settings,
                extra_body={**DIALECTS[dialect](self.decoding, ask.sampled), **constraint},
            )
            choice = completion.choices[0]
            text, cut = choice.message.content, choice.finish_reason == "length"
        except (openai.APIResponseValidationError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise _Garbage(f"the reply cannot be read: {type(error).__name__}") from error
        if not isinstance(text, str) or not text.strip():
            raise _Garbage("the answer is empty")
        tokens = getattr(choice.logprobs, "content", None) if ask.sampled else None
        return Answer(text.strip(), sum(token.logprob for token in tokens) if tokens else None, cut)

    def _meet(self, samples: Sequence[Sample]) -> None:
        """Find out the model's name and which settings the server takes, by asking one question after the other.

        Leaves it open when no sample has readable pictures. Raises DataError when no question gets through.
        """
        self._model = self._model or self._only_model()
        readable = []
        for sample in samples:
            with Problems().collect():
                readable.append(self._ask_of(sample))
            if len(readable) > self.endpoint.retries:
                break
        trouble: Exception | None = None
        for attempt in range(self.endpoint.retries + 1 if readable else 0):
            try:
                self.dialect = self._understood(readable[attempt % len(readable)])
                return
            except _PASSING as error:
                if _refused(error):
                    raise self._unusable(error) from error
                trouble = error
                self._pause(attempt)
            except openai.OpenAIError as error:
                raise self._unusable(error) from error
        if trouble:
            raise self._unusable(trouble) from trouble

    def _understood(self, ask: _Ask) -> str:
        """The first dialect that the server does not refuse. Raises the refusal of the first when it refuses all."""
        refusal: Exception | None = None
        for dialect in DIALECTS:
            try:
                with suppress(_Garbage):  # the settings are taken, though this answer cannot be used
                    self._request(ask, 0, dialect, {})
                return dialect
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = refusal or error
        raise refusal

    def _try_ways(self, samples: Sequence[Sample]) -> None:
        """Find out by which ways the server answers closed questions, with the first of them among the samples."""
        for sample in samples:
            with Problems().collect():
                ask = self._ask_of(sample)
                if ask.allowed:
                    break
        else:
            return
        scorer = next((way for way in SCORERS if self._processor and self._works(way, ask)), None)
        constraint = next((way for way in CONSTRAINTS if self._works(way, ask)), None)
        self.ways = (*filter(None, (scorer, constraint)), NEAREST)
        print_main(f"Closed questions are answered by: {self.ways[0]}")

    def _works(self, way: str, ask: _Ask) -> bool:
        """Whether the server answers by `way`: servers that do not know a field may refuse it, or pass over it."""
        try:
            if way in SCORERS:
                self._patiently(lambda: self._compared(ask, way))
                return True
            vote = self._patiently(lambda: self._request(ask, 0, self.dialect, CONSTRAINTS[way]([_PROBE])))
            return vote.text == _PROBE
        except (openai.OpenAIError, UnscoredError, _Garbage):
            return False

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
            raise DataError(self.endpoint.address, None, "the server does not list its models", fix) from error
        if len(names) != 1:
            what = f"the server has {len(names)} models ({', '.join(names[:5])})"
            raise DataError(self.endpoint.address, None, what, "choose one with --endpoint-model")
        return names[0]

    def _unusable(self, error: Exception) -> DataError:
        fix = "start the server, and check --endpoint, --endpoint-model and OPENAI_API_KEY"
        return DataError(self.endpoint.address, None, f"the server cannot be used ({self._reason(error)})", fix)

    def _reason(self, error: Exception) -> str:
        """One line of what went wrong, the server's own words included."""
        words = str(error)
        if isinstance(error, openai.APIStatusError):
            words = f"{error.status_code}: {error.response.text}"
        return self.endpoint.hide(" ".join(words.split()))[:300] or type(error).__name__


def _refused(error: Exception) -> bool:
    """Whether nobody listens there, as opposed to a connection that was slow or broke off."""
    # by name: which HTTP library the client brings, and raises from, depends on its release
    return isinstance(error, openai.APIConnectionError) and type(error.__cause__).__name__ == "ConnectError"
