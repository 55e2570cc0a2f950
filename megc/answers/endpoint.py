"""Where a served model is: its address without the credentials in it, and a client that sends them."""

import base64
import os
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

import openai

_HIDDEN = "***"


@dataclass(frozen=True)
class Endpoint:
    """Where the server is and how patiently it is asked.

    `url` ends with `/v1`, and may hold credentials (`https://user:password@host/v1?key=…`), which are sent and
    shown nowhere; `name` is what the model is served under (None: the only one that the server lists);
    `timeout` is of one request, in seconds; a request is tried `retries` times more; `concurrency` requests run
    at the same time. `api_key`: default OPENAI_API_KEY, else a placeholder, for servers that want none.
    """

    url: str = field(repr=False)
    name: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 4
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")) or not urlsplit(self.url).hostname:
            shown = self.url.rpartition("@")[2].partition("?")[0]
            raise ValueError(f"--endpoint {shown!r} is no address; give one like http://127.0.0.1:8000/v1")
        if self.concurrency < 1 or self.retries < 0 or not self.timeout > 0:
            raise ValueError("concurrency must be 1 or more, retries 0 or more, the time-out positive")

    @property
    def address(self) -> str:
        """The address to show and to write down: `url` without user, password, query and fragment."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def client(self) -> openai.OpenAI:
        """A client that sends the credentials of address and key, and tries each request once."""
        parts = urlsplit(self.url)
        headers = {}
        if parts.username is not None or parts.password is not None:
            login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        return openai.OpenAI(
            base_url=self.address,
            api_key=self._key() or "none",
            timeout=self.timeout,
            max_retries=0,
            default_headers=headers,
            default_query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        )

    def hide(self, text: str) -> str:
        """A text, such as a server's message, without the credentials."""
        parts = urlsplit(self.url)
        secrets = [self._key(), *(value for _, value in parse_qsl(parts.query)), parts.query, self.url]
        for part in (parts.username, parts.password):
            secrets += [part, unquote(part)] if part else []
        for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text

    def _key(self) -> str | None:
        return self.api_key or os.environ.get("OPENAI_API_KEY")
