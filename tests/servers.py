"""A small server on the loopback address that speaks as much of OpenAI's protocol as a test tells it to."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def reply(text, finish="stop", **more):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    made = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return 200, json.dumps(made).encode()


@contextmanager
def serving(behave, models=("served",)):
    """A server on the loopback address; `behave(body)` returns (status, bytes), or None to drop the connection."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(200, json.dumps({"object": "list", "data": [{"id": name} for name in models]}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((body, {name.lower(): value for name, value in self.headers.items()}))
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
