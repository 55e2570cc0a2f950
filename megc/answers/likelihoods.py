"""The log-likelihood of an allowed answer by a server: the same sum as `choices.score_choices` computes.

The prompt is sent with the answer behind it, and the server says how likely each token of that was. vLLM returns
`prompt_logprobs` of a chat whose last message is the assistant's; SGLang's own `/generate` returns
`input_token_logprobs` of a text. The tokens that the server scored are compared with those of the checkpoint at hand:
a server with another tokenizer or chat template scores other ones, and is not used for comparing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import openai
from transformers import ProcessorMixin

from megc.model.samples import chat_messages


class UnscoredError(Exception):
    """The reply has no likelihoods, or not those of the tokens that were meant."""


@dataclass(frozen=True)
class Candidate:
    """A prompt with an allowed answer behind it.

    `prompt` and `text` (with the answer) have no pictures in them. `tokens` are the answer's, up to the end token;
    `behind` are those that the chat template puts behind that.
    """

    answer: str
    prompt: str
    text: str
    tokens: tuple[int, ...]
    behind: tuple[int, ...]


def make_candidate(processor: ProcessorMixin, record: dict, answer: str) -> Candidate:
    """A record's prompt with `answer` behind it. Raises UnscoredError where the template does more than append."""
    prompt = processor.apply_chat_template(
        chat_messages(record, with_answer=False), tokenize=False, add_generation_prompt=True
    )
    messages = [*record["messages"][:2], {"role": "assistant", "content": answer}]
    text = processor.apply_chat_template(chat_messages({**record, "messages": messages}), tokenize=False)
    tokenizer = processor.tokenizer
    first, whole = tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    suffix = whole[len(first) :]  # the answer, <|im_end|>, a line break
    if whole[: len(first)] != first or end not in suffix:
        raise UnscoredError("the chat template does not append the answer")
    stop = suffix.index(end) + 1
    return Candidate(answer, prompt, text, tuple(suffix[:stop]), tuple(suffix[stop:]))


# Queries a server (client, name of the model) for the log-likelihood of each token of each candidate of one prompt,
# whose messages are the third argument. Raises UnscoredError for a reply without them.
Scorer = Callable[[openai.OpenAI, str, Sequence[dict], Sequence[Candidate]], list[list[float]]]


def _prompt_logprobs(
    client: openai.OpenAI, model: str, messages: Sequence[dict], candidates: Sequence[Candidate]
) -> list[list[float]]:
    return [_candidate_logprobs(client, model, messages, candidate) for candidate in candidates]


def _candidate_logprobs(
    client: openai.OpenAI, model: str, messages: Sequence[dict], candidate: Candidate
) -> list[float]:
    """vLLM: `prompt_logprobs` 0 gives each token of the prompt itself, `{token: {"logprob": …}}` a position.

    Source: `ChatCompletionRequest` in https://docs.vllm.ai/en/latest/api/vllm/entrypoints/openai/ (chat protocol).
    """
    completion = client.chat.completions.create(
        model=model,
        messages=[*messages, {"role": "assistant", "content": candidate.answer}],
        max_tokens=1,
        temperature=0.0,
        extra_body={"prompt_logprobs": 0, "add_generation_prompt": False},
    )
    positions = (completion.model_extra or {}).get("prompt_logprobs")
    expected = candidate.tokens + candidate.behind
    if not isinstance(positions, list) or len(positions) < len(expected):
        raise UnscoredError("no prompt_logprobs in the reply")
    # from the end: how many tokens the server made of the pictures is not known here
    tail = [position or {} for position in positions[-len(expected) :]]
    if any(str(token) not in position for token, position in zip(expected, tail, strict=True)):
        raise UnscoredError("prompt_logprobs are of other tokens")
    return [float(position[str(token)]["logprob"]) for token, position in zip(candidate.tokens, tail, strict=False)]


def _input_token_logprobs(
    client: openai.OpenAI, model: str, messages: Sequence[dict], candidates: Sequence[Candidate]
) -> list[list[float]]:
    """SGLang: `[logprob, token, text]` of each token from `logprob_start_len` on, as its own `select` requests.

    Source: https://docs.sglang.io/basic_usage/sampling_params.html, and `RuntimeEndpoint.select` of its front end.
    """
    lists = [
        message["content"] for message in messages if isinstance(message["content"], list)
    ]  # plain text: no picture
    parts = [part for parts in lists for part in parts if part["type"] == "image_url"]
    pictures = {"image_data": [part["image_url"]["url"] for part in parts]} if parts else {}
    native = client.with_options(base_url=str(client.base_url).rstrip("/").removesuffix("/v1"))
    body = {**pictures, "sampling_params": {"max_new_tokens": 0, "temperature": 0}}
    prompt = _meta(native.post("/generate", cast_to=object, body={**body, "text": candidates[0].prompt}))
    start = int(prompt["prompt_tokens"]) - 1  # pictures count as the tokens that the server makes of them
    body |= {"return_logprob": True, "logprob_start_len": start}
    scores = []
    for candidate in candidates:
        meta = _meta(native.post("/generate", cast_to=object, body={**body, "text": candidate.text}))
        expected, entries = candidate.tokens + candidate.behind, meta.get("input_token_logprobs")
        if not isinstance(entries, list) or tuple(entry[1] for entry in entries[-len(expected) :]) != expected:
            raise UnscoredError("input_token_logprobs are of other tokens")
        scores.append([float(entry[0]) for entry in entries[-len(expected) :][: len(candidate.tokens)]])
    return scores


def _meta(reply: object) -> Mapping:
    meta = reply.get("meta_info") if isinstance(reply, dict) else None
    if not isinstance(meta, dict) or "prompt_tokens" not in meta:
        raise UnscoredError("no meta_info in the reply")
    return meta


SCORERS: dict[str, Scorer] = {"prompt_logprobs": _prompt_logprobs, "input_token_logprobs": _input_token_logprobs}
