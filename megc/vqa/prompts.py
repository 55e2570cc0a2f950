"""The only prompt builder: training, testing, ablation and the demo all use it.

A prompt has a part that a clip's questions share (system prompt, what each picture is, the legend of the flow
colours, the motion in words, the regions to watch, the dataset) and, behind the line `Question:`, a part of its own.
That order lets a clip's questions share one encoding of its pictures.

In a hierarchy (two stages, after HierMEQA) the part of its own names the clip's coarse class in every question but
the coarse one: the true class in training, the model's own answer in testing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Literal

from pydantic import Field

from megc.facs import (
    ACTION_UNITS,
    COARSE_EMOTIONS,
    DATASET_TITLES,
    FINE_OF_DATASET,
    FINE_TO_COARSE,
    ME_VQA_UNITS,
    unit_name,
)
from megc.files import sha256_of
from megc.motion.colour import legend_text
from megc.motion.motion_words import example_words
from megc.motion.settings import DEFAULT_ENCODING, SCALE
from megc.records import Contract, Message
from megc.vqa.questions import CLIP_KINDS, Question, allowed_answers, compose_long, join_units, question_text
from megc.vqa.settings import DEFAULT_IMAGES, IMAGES, SAMPLES, VIDEO

IMAGE_TAG, VIDEO_TAG = "<image>", "<video>"
_VOCABULARY_OF = ("casme2", "samm")  # between them all fine classes
QUESTION_MARK = "\nQuestion: "  # where a question's own part begins

SYSTEM_STRUCTURED = (
    "You read facial micro-expressions: involuntary movements, brief and a few pixels wide. Judge the movement, not "
    "the resting face. Left and right are the subject's own, the other way round in the pictures."
)
SYSTEM_BARE = "You are a helpful assistant."

_PICTURE = {
    "onset": "onset frame, before the movement",
    "apex": "apex frame, movement at its peak",
    "offset": "offset frame, movement over",
    "flow": "optical flow from onset to apex",
    "magnified": "apex frame with its movement magnified",
    VIDEO: "video from onset to offset, {frames} equally spaced frames",
    **{name: f"frame {number}, equally spaced from onset to offset" for number, name in enumerate(SAMPLES, start=1)},
}
_FORM = {
    "units": "Answer with {count}: {names}.",
    "long": "Answer in the form: The action unit{s} present {verb}: ... Therefore, the fine-grained expression class "
    "is ..., and the coarse expression class is ...",
    "analysis": "Name the action units, the fine-grained and the coarse expression class, and the reasoning.",
    "count_all": "Answer with a number.",
    "count_micro": "Answer with a number.",
    "count_macro": "Answer with a number.",
    "distinct_units": "Answer with the names of the action units, joined by commas.",
}


@dataclass(frozen=True)
class PromptSettings:
    """What a prompt is made of: the pictures in order, structured or bare, and the look of the flow picture."""

    images: tuple[str, ...] = DEFAULT_IMAGES
    structured: bool = True
    legend: bool = True
    encoding: str = DEFAULT_ENCODING
    scale: float = SCALE  # pixels at full brightness, on an aligned crop
    hierarchy: bool = False  # name the coarse class
    name_dataset: bool = False  # and its fine classes: labels mean other things elsewhere
    motion_words: bool = False  # say which regions of the face move, where to and how far
    video_frames: int = 8  # of the video, where there is one among the pictures
    # what clips of a coarse class look like: (dataset or "" for any, coarse class, text); `labels.coarse_statistics`
    statistics: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def from_record(cls, record: Mapping) -> "PromptSettings":
        """Settings of a `prompt_record`, as it stands in `prompt.json` and in checkpoints.

        Raises KeyError, TypeError or ValueError for what is no such record.
        """
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in record.items() if name in names}
        return cls(**{**values, "images": tuple(values["images"])})

    @property
    def single_stage(self) -> "PromptSettings":
        """The same without a hierarchy."""
        return replace(self, hierarchy=False, statistics=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", tuple(tuple(line) for line in self.statistics))  # from JSON: lists
        if self.statistics and not self.hierarchy:
            raise ValueError("statistics belong to a hierarchy only")
        # none at all: questions on long videos, and on clips whose motion is told in words alone
        if any(name not in IMAGES for name in self.images):
            raise ValueError(f"pictures are some of {', '.join(IMAGES)}; got {', '.join(self.images)}")


class PromptRecord(Contract):
    """`prompt.json`, and the key `prompt` of `megc.json`: the settings, their hash and a prompt to read."""

    images: list[Literal[IMAGES]]
    structured: bool
    legend: bool
    encoding: str
    scale: Annotated[float, Field(gt=0, le=1e4)]
    hierarchy: bool = False
    name_dataset: bool = False
    motion_words: bool = False
    video_frames: Annotated[int, Field(ge=2, le=1000)] = 8
    statistics: list[Annotated[list[str], Field(min_length=3, max_length=3)]] = Field(default_factory=list)
    hash: str
    example: list[Message] = Field(default_factory=list)


def regions_to_watch() -> str:
    """The regions of the face whose action units ME-VQA asks about: `brow, eyelid, cheek, …`."""
    return ", ".join(dict.fromkeys(ACTION_UNITS[number][1] for number in ME_VQA_UNITS))


def dataset_part(dataset: str) -> str:
    """The line that names a clip's dataset and, where its annotation has fewer than the eight, its fine classes."""
    if dataset not in DATASET_TITLES:
        return "Dataset: none that is known."
    classes = FINE_OF_DATASET.get(dataset)
    of_it = f", annotated with the fine-grained classes {', '.join(classes)}" if classes else ""
    return f"Dataset: {DATASET_TITLES[dataset]}{of_it}."


def _tag_of(picture: str) -> str:
    return VIDEO_TAG if picture == VIDEO else IMAGE_TAG


def shared_text(dataset: str, settings: PromptSettings, motion: str = "") -> str:
    """The user text that all questions of a clip begin with, a tag for each picture and for the video.

    `motion`: the clip's motion in words (see `motion_words`). Raises ValueError where the settings need it and it is
    empty.
    """
    if settings.motion_words and not motion:
        raise ValueError("the prompt needs the clip's motion in words")
    if not settings.structured:
        parts = ["".join(map(_tag_of, settings.images))]
        if settings.motion_words:
            parts.append(motion)
        if settings.name_dataset:
            parts.append(dataset_part(dataset))
        return "\n".join(filter(None, parts))
    lines = [
        f"Picture {number}: {_tag_of(name)} {_PICTURE[name].format(frames=settings.video_frames)}."
        for number, name in enumerate(settings.images, start=1)
    ]
    if settings.legend and "flow" in settings.images:
        lines.append(legend_text(settings.encoding, settings.scale))
    if settings.motion_words:
        lines.append(motion)
    lines.append(f"Regions to watch: {regions_to_watch()}.")
    if settings.name_dataset:
        lines.append(dataset_part(dataset))
    return "\n".join(lines)


def coarse_part(coarse: str, dataset: str, settings: PromptSettings) -> str:
    """The line of a hierarchy: the clip's coarse class and, with statistics, what training clips of it look like."""
    texts = {(name, of_class): text for name, of_class, text in settings.statistics}
    text = texts.get((dataset, coarse)) or texts.get(("", coarse))  # a dataset that training lacks: all of them
    return f"The coarse expression class is {coarse}." + (f" Training clips of that class: {text}." if text else "")


def question_part(question: Question, dataset: str, settings: PromptSettings, coarse: str = "") -> str:
    """The user text of one question: its wording and, in structured prompts, the allowed answers or their form.

    `coarse`: the class that a hierarchy names, in all questions but the coarse one.
    """
    text = question_text(question)
    if settings.hierarchy and coarse and question.kind != "coarse":
        text = f"{text}\n{coarse_part(coarse, dataset, settings)}"
    if not settings.structured:
        return text
    allowed = allowed_answers(question, dataset)
    if allowed:
        return f"{text}\nAnswer with one of: {', '.join(allowed)}."
    many = bool(question.many)
    form = _FORM[question.kind].format(
        s="s" if many else "",
        verb="are" if many else "is",
        count="several, joined by commas, of" if many else "one of",
        names=join_units(list(ME_VQA_UNITS)),
    )
    return f"{text}\n{form}"


def build_messages(
    question: Question, dataset: str, settings: PromptSettings, coarse: str = "", motion: str = ""
) -> list[dict[str, str]]:
    """System and user message of one question; `<image>` and `<video>` tags stand for the pictures of
    `settings.images`.

    `coarse`: the clip's coarse class, for prompts of a hierarchy; `motion`: its motion in words, for prompts that have
    it. Raises ValueError as `shared_text`.
    """
    user = (
        f"{shared_text(dataset, settings, motion)}{QUESTION_MARK}{question_part(question, dataset, settings, coarse)}"
    )
    system = SYSTEM_STRUCTURED if settings.structured else SYSTEM_BARE
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _used_settings(settings: PromptSettings) -> dict:
    """The settings without those that are not in use, so that prompts made before there were any keep their hash."""
    unused = () if settings.hierarchy else ("hierarchy", "statistics")
    unused += tuple(name for name in ("name_dataset", "motion_words") if not getattr(settings, name))
    unused += () if VIDEO in settings.images else ("video_frames",)
    return {name: value for name, value in asdict(settings).items() if name not in unused}


def prompt_hash(settings: PromptSettings) -> str:
    """Sixteen hex digits that change whenever a prompt of any kind, or a setting behind it, changes."""
    # the repr of the settings and every clip question: what changes neither changes no prompt
    parts = [repr(sorted(_used_settings(settings).items()))]
    coarse = COARSE_EMOTIONS[0] if settings.hierarchy else ""
    motion = example_words() if settings.motion_words else ""  # by today's code: other words, another hash
    for kind in CLIP_KINDS:
        unit = 12 if kind in ("side", "shown") else None
        for many in (False, True) if kind in ("units", "long") else (None,):
            messages = build_messages(Question(kind, unit, many), "casme2", settings, coarse, motion)
            parts += [message["content"] for message in messages]
    return sha256_of(*parts)


def challenge_texts(settings: PromptSettings) -> list[str]:
    """The different prompts and answers of clip questions on any action unit and class, sorted: a vocabulary."""
    names = [unit_name(unit) for unit in ME_VQA_UNITS]
    texts = {*names, "yes", "no", "left", "right", *FINE_TO_COARSE, *COARSE_EMOTIONS}
    for dataset in _VOCABULARY_OF:
        for kind in CLIP_KINDS:
            for unit in ME_VQA_UNITS if kind in ("side", "shown") else (None,):
                for many in (False, True) if kind in ("units", "long") else (None,):
                    question = Question(kind, unit, many)
                    messages = build_messages(question, dataset, settings, COARSE_EMOTIONS[0], example_words())
                    texts |= {message["content"] for message in messages}
    if settings.name_dataset:
        texts |= {dataset_part(dataset) for dataset in DATASET_TITLES}
    for fine, coarse in FINE_TO_COARSE.items():
        texts |= {compose_long(units, fine, coarse) for units in (names[0], ", ".join(names[:2]))}
    return sorted(texts)


def prompt_record(settings: PromptSettings) -> dict:
    """What is stored beside data and checkpoints: the settings, the hash, and a prompt to read."""
    coarse = COARSE_EMOTIONS[0] if settings.hierarchy else ""
    motion = example_words() if settings.motion_words else ""
    example = build_messages(Question("units", many=True), "casme2", settings, coarse, motion)
    return {**_used_settings(settings), "hash": prompt_hash(settings), "example": example}
