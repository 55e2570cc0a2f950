"""How answers are found: written greedily, sampled and voted on, or compared; a way for each kind of question."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from megc.model.samples import Sample
from megc.vqa.instructions import question_of
from megc.vqa.questions import TEMPLATES, Question, allowed_answers, parse

MODES = ("choices", "greedy", "sample")
CHOICE_SCORES = ("sum", "mean")
OPEN = "open"  # kind of a question in words other than the challenge's


@dataclass(frozen=True)
class Decoding:
    """How answers are found.

    `decode` names the way for a kind of question; kinds it does not name are compared (`choices`) if they have a
    closed set of answers, else written: greedily with one vote, sampled with more, and then the majority counts.
    `jitter`: each vote, whatever its way, sees the pictures moved by up to so many pixels, the first one as they
    are. `coarse` and `fine` replace the allowed answers of these kinds. `constrain_units` keeps a list of action
    units to known names, as many as the question's wording asks for.

    All of it is passed to the model explicitly: the checkpoints' own defaults (temperature 1e-6, repetition
    penalty 1.05) would make all votes equal and punish class names that the question lists.
    """

    votes: int = 1
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0  # 0: no limit
    seed: int = 0
    max_new_tokens: int = 128
    repetition_penalty: float = 1.0  # of written answers; a comparison is of the model's own likelihoods
    decode: Mapping[str, str] = field(default_factory=dict)
    choice_score: str = "sum"
    coarse: tuple[str, ...] | None = None
    fine: tuple[str, ...] | None = None
    constrain_units: bool = True
    jitter: int = 0

    def __post_init__(self) -> None:
        if self.votes < 1 or self.max_new_tokens < 1:
            raise ValueError("votes and max_new_tokens must be 1 or more")
        if not (self.temperature > 0 and 0 < self.top_p <= 1 and self.top_k >= 0):
            raise ValueError("temperature must be positive, top_p in (0, 1], top_k 0 or more")
        if not self.repetition_penalty > 0 or self.jitter < 0:
            raise ValueError("repetition_penalty must be positive, jitter must be 0 or more")
        if self.choice_score not in CHOICE_SCORES:
            raise ValueError(f"choice_score must be one of {', '.join(CHOICE_SCORES)}")
        for kind, mode in self.decode.items():
            if kind not in TEMPLATES or mode not in MODES:
                raise ValueError(f"decode {kind}={mode} must be KIND=MODE, KIND of {', '.join(TEMPLATES)}")
            if mode == "choices" and allowed_answers(Question(kind), "") is None:
                raise ValueError(f"decode {kind}=choices: the question must have a closed set of answers")

    def mode(self, kind: str) -> str:
        """The way in which questions of a kind are answered."""
        if kind in self.decode:
            return self.decode[kind]
        if kind != OPEN and allowed_answers(Question(kind), ""):
            return "choices"
        return "greedy" if self.votes == 1 else "sample"

    @property
    def compares(self) -> bool:
        """Whether answers to any kind of question are compared."""
        return any(self.mode(kind) == "choices" for kind in TEMPLATES)

    def votes_of(self, kind: str) -> int:
        """Number of votes on a question: without jitter, only samples differ from each other."""
        return self.votes if self.jitter or self.mode(kind) == "sample" else 1

    def allowed(self, question: Question, dataset: str) -> tuple[str, ...] | None:
        """The answers that a question may have; None for lists, sentences and unknown questions."""
        if question.kind == OPEN:
            return None
        own = {"coarse": self.coarse, "fine": self.fine}.get(question.kind)
        return allowed_answers(question, dataset) if own is None else own

    def record(self) -> dict:
        """What decides the answers: without those settings that the chosen ways do not use."""
        settings = asdict(self)
        settings["decode"] = {kind: self.mode(kind) for kind in TEMPLATES}
        modes = set(settings["decode"].values())
        unused = [] if "sample" in modes else ["temperature", "top_p", "top_k"]
        unused += [] if "sample" in modes or self.jitter else ["seed", "votes"]
        unused += [] if "choices" in modes else ["choice_score"]
        return {name: value for name, value in settings.items() if name not in unused}


def question_in(sample: Sample) -> Question:
    """What a sample asks; of kind OPEN in words that are not the challenge's."""
    try:
        return parse(question_of(sample.record))
    except ValueError:
        return Question(OPEN)


def parse_decode(words: Iterable[str]) -> dict[str, str]:
    """`decode` of words such as `coarse=choices`, or `greedy` for all kinds (`choices`: for all that can be).

    Raises ValueError for other words.
    """
    found = {}
    for word in words:
        kind, _, mode = word.rpartition("=")
        if mode not in MODES or (kind and kind not in TEMPLATES):
            raise ValueError(f"--decode {word} must be one of {', '.join(MODES)}, or KIND=MODE")
        if kind:
            found[kind] = mode
        else:
            closed = {kind for kind in TEMPLATES if allowed_answers(Question(kind), "")}
            found |= dict.fromkeys(closed if mode == "choices" else TEMPLATES, mode)
    return found
