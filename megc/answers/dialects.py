"""What is put into a request to a server, and in whose words: messages, decoding settings, allowed answers."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence

import numpy as np

from megc.answers.decoding import Decoding
from megc.files import png_bytes
from megc.model.samples import chat_messages

Dialect = Callable[[Decoding, bool], dict]
Constraint = Callable[[Sequence[str]], dict]


def data_url(picture: np.ndarray) -> str:
    """A picture, uint8 (height, width, 3), as a PNG in a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode()}"


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


def vote_seed(identity: str, vote: int, seed: int) -> int:
    """A seed below 2^31 of a row's vote."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}:{vote}".encode()).digest()[:4]) >> 1


def _vllm(decoding: Decoding, sampled: bool) -> dict:
    """vLLM and SGLang take further settings by name; left out, those of the checkpoint would hold."""
    return {"repetition_penalty": decoding.repetition_penalty, "top_k": decoding.top_k or -1}


def _transformers(decoding: Decoding, sampled: bool) -> dict:
    """`transformers serve` takes a whole generation config; what it lacks comes from the checkpoint's."""
    config = {
        "do_sample": sampled,
        "max_new_tokens": decoding.max_new_tokens,
        "repetition_penalty": decoding.repetition_penalty,
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


# How servers are told the allowed answers. A JSON schema of an enumeration, which most servers take too, is not among
# them: the answer would stand in quotation marks, behind which the model was not trained to answer.
CONSTRAINTS: dict[str, Constraint] = {
    # https://docs.vllm.ai/en/latest/features/structured_outputs/, since vLLM 0.12
    "structured_outputs": lambda allowed: {"structured_outputs": {"choice": list(allowed)}},
    # the same page of vLLM up to 0.11
    "guided_choice": lambda allowed: {"guided_choice": list(allowed)},
    # https://docs.sglang.io/advanced_features/structured_outputs.html
    "regex": lambda allowed: {"regex": _pattern(allowed)},
}
