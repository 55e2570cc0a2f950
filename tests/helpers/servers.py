"""A small server on the loopback address that speaks as much of OpenAI's protocol as a test tells it to."""

import base64
import io
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from PIL import Image

from megc.model.checkpoint import load


def reply(text, finish="stop", **more):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    made = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return 200, json.dumps(made).encode()


@contextmanager
def serving(behave, models=("served",), native=None):
    """A server on the loopback address; `behave(body)` returns (status, bytes), or None to drop the connection.

    `native` is what it says to SGLang's own /generate; without it there is no such place.
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(200, json.dumps({"object": "list", "data": [{"id": name} for name in models]}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((body, {name.lower(): value for name, value in self.headers.items()}))
            if self.path.startswith("/generate"):
                made = native(body) if native else (404, b'{"detail": "Not Found"}')
            else:
                made = behave(body)
            if made is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(*made)

        def _send(self, status, data):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def question(body):
    return body["messages"][1]["content"][-1]["text"]


class ModelServer:
    """A checkpoint behind the requests for likelihoods that vLLM and SGLang document."""

    def __init__(self, checkpoint, text="I cannot say."):
        self.loaded, self.text = load(checkpoint, device="cpu"), text

    def vllm(self, body):
        """Chat completions with `prompt_logprobs`."""
        made = json.loads(reply(self.text)[1])
        if "prompt_logprobs" in body:
            images, messages = [], []
            for message in body["messages"]:
                parts = message["content"]
                parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
                images += [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
                parts = [{"type": "image"} if part["type"] == "image_url" else part for part in parts]
                messages.append({"role": message["role"], "content": parts})
            text = self.loaded.processor.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=body["add_generation_prompt"]
            )
            positions = self._likelihoods(text, images)
            told = [{token: {"logprob": value, "rank": 1, "decoded_token": "?"}} for value, token in positions]
            made["prompt_logprobs"] = [None, *told[1:]]
        return 200, json.dumps(made).encode()

    def sglang(self, body):
        """The native /generate with `return_logprob`."""
        positions = self._likelihoods(body["text"], body.get("image_data", []))
        meta = {"prompt_tokens": len(positions)}
        if body.get("return_logprob"):
            meta["input_token_logprobs"] = [[*pair, None] for pair in positions[body["logprob_start_len"] :]]
        return 200, json.dumps({"text": "", "meta_info": meta}).encode()

    @torch.inference_mode()
    def _likelihoods(self, text, urls):
        """(log-likelihood, token) of each position; None for the first."""
        pictures = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
        made = self.loaded.processor(text=[text], images=pictures or None, return_tensors="pt")
        ids = made["input_ids"][0].tolist()
        chances = self.loaded.model(**made).logits[0].float().log_softmax(-1)
        return [(None, ids[0])] + [(float(chances[n - 1, token]), token) for n, token in enumerate(ids[1:], start=1)]
