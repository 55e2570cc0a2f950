"""Requests to a server: the client, messages with pictures, and decoding settings and allowed answers by dialect."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence

import numpy as np
import openai

from megc.answers.settings import Decoding, Endpoint
from megc.files import png_bytes
from megc.model.samples import chat_messages

NO_PENALTY = 1.0  # for repeating tokens; checkpoints come with 1.05, which punishes class names in the question
Dialect = Callable[[Decoding, bool], dict]  # settings, and whether the answer is sampled → fields of the request
Constraint = Callable[[Sequence[str]], dict]


def open_client(endpoint: Endpoint) -> openai.OpenAI:
    """A client that sends the credentials of address and key, and tries each request once."""
    headers = {}
    if endpoint.login is not None:
        headers = {"Authorization": f"Basic {base64.b64encode(endpoint.login.encode()).decode()}"}
    return openai.OpenAI(
        base_url=endpoint.address,
        api_key=endpoint.key or "none",
        timeout=endpoint.timeout,
        max_retries=0,  # the answerer tries again itself: it also knows replies that are of no use
        default_headers=headers,
        default_query=endpoint.query,
    )


def picture_url(picture: np.ndarray) -> str:
    """A picture, uint8 (height, width, 3), as a PNG in a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode()}"


def build_messages_with_pictures(record: dict, pictures: Sequence[np.ndarray]) -> list[dict]:
    """System and user message of an instruction record, pictures in the place of its `<image>` tags.

    Without pictures a message is plain text, as servers of text-only models take it.
    """
    if not pictures:
        return [message for message in record["messages"] if message["role"] != "assistant"]
    urls = iter([picture_url(picture) for picture in pictures])
    messages = chat_messages(record, with_answer=False)
    for message in messages:
        message["content"] = [
            {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
            for part in message["content"]
        ]
    return messages


def draw_seed(identity: str, vote: int, seed: int) -> int:
    """A seed below 2^31 for a row's vote, which does not depend on the other rows."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}:{vote}".encode()).digest()[:4]) >> 1


def _vllm(decoding: Decoding, sampled: bool) -> dict:
    """vLLM and SGLang take further settings by name; left out, those of the checkpoint would hold."""
    return {"repetition_penalty": NO_PENALTY, "top_k": decoding.top_k or -1}


def _transformers(decoding: Decoding, sampled: bool) -> dict:
    """`transformers serve` takes a whole generation config; what it lacks comes from the checkpoint's."""
    config = {
        "do_sample": sampled,
        "max_new_tokens": decoding.max_new_tokens,
        "repetition_penalty": NO_PENALTY,
    }
    if sampled:
        config |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
    return {"generation_config": json.dumps(config)}


def _openai(decoding: Decoding, sampled: bool) -> dict:
    return {}


DIALECTS: dict[str, Dialect] = {"vllm": _vllm, "transformers": _transformers, "openai": _openai}


def _pattern(allowed: Sequence[str]) -> str:
    escaped = (re.sub(r"([^\w ])", r"\\\1", answer) for answer in allowed)  # a space needs no escape
    return f"({'|'.join(escaped)})"


# How the allowed answers are given to a server. A JSON schema of an enumeration, which most servers take too, is not
# among them: the answer would stand in quotation marks, behind which the model was not trained to answer.
CONSTRAINTS: dict[str, Constraint] = {
    # https://docs.vllm.ai/en/latest/features/structured_outputs/, since vLLM 0.12
    "structured_outputs": lambda allowed: {"structured_outputs": {"choice": list(allowed)}},
    # the same page of vLLM up to 0.11
    "guided_choice": lambda allowed: {"guided_choice": list(allowed)},
    # https://docs.sglang.io/advanced_features/structured_outputs.html
    "regex": lambda allowed: {"regex": _pattern(allowed)},
}
