"""All options of a run over a test set, each with its default and its help; nothing heavy is imported here."""

import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from megc.command import option
from megc.vqa.questions import TEMPLATES, Question, allowed_answers
from megc.vqa.settings import INTERVAL_KIND

Blank = Literal["none", "flow", "frames", "all"]
MODES = ("choices", "greedy", "sample")
BLANKS: tuple[str, ...] = get_args(Blank)
OPEN = "open"  # kind of a question in words other than the challenge's

_HIDDEN = "***"
# Recorded with every run, since they decide its answers; constants, so that hashes of earlier runs stay what they are.
_FIXED = {"repetition_penalty": 1.0, "choice_score": "sum", "jitter": 0}


def parse_decode(words: tuple[str, ...]) -> dict[str, str]:
    """The mode of each kind of question that `words` name: `coarse=choices`, or `greedy` for all kinds.

    `choices` alone stands for all kinds that have a closed set of answers. Raises ValueError for other words.
    """
    modes = {}
    for word in words:
        kind, _, mode = word.rpartition("=")
        if mode not in MODES or (kind and kind not in TEMPLATES):
            raise ValueError(f"--decode {word} must be one of {', '.join(MODES)}, or KIND=MODE")
        closed = [name for name in TEMPLATES if allowed_answers(Question(name), "") is not None]
        if mode == "choices" and kind and kind not in closed:
            raise ValueError(f"--decode {word}: the question must have a closed set of answers")
        kinds = [kind] if kind else closed if mode == "choices" else TEMPLATES
        modes |= dict.fromkeys(kinds, mode)
    return modes


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded.

    Kinds of questions that `decode` does not name are compared (`choices`) if they have a closed set of answers, else
    written: greedily with one vote, sampled with more, and then the majority counts.

    All of it is passed to the model explicitly: the checkpoints' own defaults (temperature 1e-6, repetition
    penalty 1.05) would make all votes equal and punish class names that the question lists.
    Raises ValueError for numbers out of range and unknown modes.
    """

    votes: int = option(1, "1: greedy; more: sampled, and the majority counts")
    temperature: float = option(0.7, "of the sampled votes")
    top_p: float = option(0.9, "share of probability to sample from")
    top_k: int = option(0, "number of tokens to sample from; 0: all")
    seed: int = option(0, "of the votes")
    max_new_tokens: int = option(128, "longest answer")
    decode: tuple[str, ...] = option(
        (),
        "choices, greedy or sample, for all kinds of questions or for one, as [KIND=]MODE",
        metavar="[KIND=]MODE [...]",
    )
    coarse: tuple[str, ...] | None = option(None, "allowed coarse classes (default: the challenge's)")
    fine: tuple[str, ...] | None = option(None, "allowed fine classes (default: those of the row's dataset)")
    constrain_units: bool = option(
        True, "keep lists of action units to known names, as many as the wording of the question asks for"
    )
    mirror: bool = option(
        False, "every second vote sees the flow picture mirrored, whatever the mode; left and right change places back"
    )

    def __post_init__(self) -> None:
        if self.votes < 1 or self.max_new_tokens < 1:
            raise ValueError("--votes and --max-new-tokens must be 1 or more")
        if not (self.temperature > 0 and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise ValueError("--temperature must be positive, --top-p in (0, 1], --top-k 0 or more")
        if self.mirror and self.votes < 2:
            raise ValueError("--mirror needs --votes 2 or more: every second one sees the mirrored picture")
        parse_decode(self.decode)

    @cached_property
    def modes(self) -> dict[str, str]:
        """The mode of every kind of question: `decode` where it names the kind, else what fits the kind."""
        written = "greedy" if self.votes == 1 else "sample"
        usual = {kind: "choices" if allowed_answers(Question(kind), "") else written for kind in TEMPLATES}
        return usual | parse_decode(self.decode)

    def mode(self, kind: str) -> str:
        """The mode of questions of a kind; of kind OPEN they are written."""
        return self.modes.get(kind, "greedy" if self.votes == 1 else "sample")

    def count_votes(self, kind: str) -> int:
        """Number of votes on a question: without mirrored pictures, only samples differ from each other."""
        return self.votes if self.mirror or self.mode(kind) == "sample" else 1

    def allowed(self, question: Question, dataset: str) -> tuple[str, ...] | None:
        """The answers that a question may have; None for lists, sentences and unknown questions."""
        if question.kind == OPEN:
            return None
        replaced = {"coarse": self.coarse, "fine": self.fine}.get(question.kind)
        return allowed_answers(question, dataset) if replaced is None else replaced

    def values_for_hash(self) -> dict:
        """What decides the answers, for the hash of a run: without the settings that its modes do not use."""
        decode = {kind: self.mode(kind) for kind in TEMPLATES}
        if decode[INTERVAL_KIND] == decode["coarse"]:  # hashes of runs before there was that kind stay what they are
            del decode[INTERVAL_KIND]
        settings = {**asdict(self), **_FIXED, "decode": decode}
        if not self.mirror:  # hashes of runs before there were mirrored votes stay what they are
            del settings["mirror"]
        modes = set(self.modes.values())
        # a setting that changes no answer must not start a new run
        unused = [] if "sample" in modes else ["temperature", "top_p", "top_k", "seed"]
        unused += [] if "sample" in modes or self.mirror else ["votes"]
        unused += [] if "choices" in modes else ["choice_score"]
        return {name: value for name, value in settings.items() if name not in unused}


@dataclass(frozen=True)
class Endpoint:
    """Address of a server that speaks OpenAI's chat protocol, and how patiently it is queried.

    `url` may hold credentials (`https://user:password@host/v1?key=…`), which are sent, and written nowhere.
    Raises ValueError for an `url` that is no address and for numbers out of range.
    """

    url: str | None = option(
        None,
        "query an OpenAI-compatible server at this address ending with /v1; prompt and pixels are those of --model",
        flag="endpoint",
        secret=True,
    )
    name: str | None = option(
        None, "the model's name there (default: the only one listed, else --model)", flag="endpoint-model"
    )
    concurrency: int = option(8, "requests at the same time")
    timeout: float = option(120.0, "seconds of a request")
    retries: int = option(4, "more tries of a request that failed")
    api_key: str | None = option(None, "of the server (default: OPENAI_API_KEY, else a placeholder)", secret=True)

    def __post_init__(self) -> None:
        if self.url is not None and not (self.url.startswith(("http://", "https://")) and urlsplit(self.url).hostname):
            text = self.url.rpartition("@")[2].partition("?")[0]
            raise ValueError(f"--endpoint {text!r} is no address; give one like http://127.0.0.1:8000/v1")
        if self.concurrency < 1 or self.retries < 0 or not self.timeout > 0:
            raise ValueError("--concurrency must be 1 or more, --retries 0 or more, --timeout positive")

    @property
    def address(self) -> str:
        """The address to print and to write down: `url` without user, password, query and fragment."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def login(self) -> str | None:
        """`user:password` of the address, decoded; None where it has none."""
        parts = urlsplit(self.url)
        if parts.username is None and parts.password is None:
            return None
        return f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"

    @property
    def query(self) -> dict[str, str]:
        """Parameters in the address."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @property
    def key(self) -> str | None:
        """The API key: the setting, else that of the environment."""
        return self.api_key or os.environ.get("OPENAI_API_KEY")

    def hide(self, text: str) -> str:
        """A text, such as a server's message, without the credentials."""
        parts = urlsplit(self.url)
        secrets = [self.key, *(value for _, value in parse_qsl(parts.query)), parts.query, self.url]
        for part in (parts.username, parts.password):
            secrets += [part, unquote(part)] if part else []
        # the longest first: a short one may be part of a long one, whose rest would stay readable
        for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text


@dataclass(frozen=True)
class RunSettings:
    """What to answer, with what, and where the answers go."""

    model: str = option("checkpoints/tiny", "folder of a checkpoint, or a name on the hub")
    questions: tuple[Path, ...] = option(
        (Path("dataset/test_dataset.jsonl"),), "instruction JSONL files; their answers are ignored"
    )
    out: Path = option(Path("result/demo/tiny"), "folder of predictions.jsonl and run.json")
    decoding: Decoding = field(default_factory=Decoding)
    models: tuple[str, ...] = option((), "several checkpoints that vote together, in place of --model")
    batch_size: int = option(16, "questions at once; does not change the answers")
    blank: Blank = option("none", "pictures to replace by neutral ones, as a control")
    min_pixels: int | None = option(None, "fewest of a picture (default: as the checkpoint was trained)")
    max_pixels: int | None = option(None, "most of a picture (default: as the checkpoint was trained)")
    allow_mismatch: bool = option(False, "let prompt and pixels differ from those of the checkpoint's training")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option("auto", "of the weights")
    device: str | None = option(None, "such as cpu, cuda:1 (default: a GPU if there is one)")
    attention: Literal["sdpa", "eager"] | None = option(None, "kernels of transformers (default: sdpa)")
    threads: int = option(0, "CPU threads; 0: torch's choice (1 is best for tiny models)")
    endpoint: Endpoint = field(default_factory=Endpoint)
    overwrite: bool = option(False, "answer again what these settings have answered")
    skip_bad: bool = option(False, "exit with 0 although rows could not be answered")

    @property
    def voters(self) -> tuple[Path | str, ...]:
        """The checkpoints that answer."""
        return self.models or (self.model,)
