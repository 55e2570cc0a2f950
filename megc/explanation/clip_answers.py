"""Questions on a clip, asked as the checkpoint was trained: the challenge's and any others; with a control."""

import math
import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.special import softmax

from megc.answers.answerer import Answer, Answerer, make_prediction
from megc.answers.run import batches_of_clips, group_by_pictures
from megc.answers.settings import OPEN, RunSettings
from megc.answers.setup import Questions, combine_answerers, connect_endpoint, load_voters, read_questions
from megc.clips import Clip
from megc.explanation.settings import ModelSettings
from megc.files import write_json
from megc.model.checkpoint import LoadedCheckpoint, read_training_info
from megc.model.samples import Sample
from megc.motion.settings import FlowSettings, KeyframeSettings
from megc.problems import DataError, Problems
from megc.reasoning.agreement import reason_over_rows
from megc.vqa.clip_pictures import clip_source
from megc.vqa.instructions import PROMPT_FILE, build_records, question_kind, with_coarse, word_question, write_records
from megc.vqa.prompts import QUESTION_MARK, PromptSettings, prompt_hash, prompt_record
from megc.vqa.questions import LONG_KINDS, Question, parse, question_rows, question_text, row_identity, split_units
from megc.vqa.settings import SAMPLES, VIDEO

QUESTIONS, FREE_QUESTIONS = "instructions.jsonl", "free_questions.jsonl"
LONGEST_QUESTION = 500  # characters
_DEFAULT_UNIT = 12  # asked about where the model names no action unit


@dataclass(frozen=True)
class ClipAnswer:
    """An answer to a question on a clip.

    `prediction` is its row as test/generate_answers.py writes it. `likelihoods` of the allowed answers add up to 1,
    `blanked` are those without the flow picture; None for an answer that was written, which has the `probability` of
    its text instead, where it is known. `reference` is the annotated answer, empty where there is none, `reasoned`
    that of `reason_over_answers`, empty before it. `free`: the question is none of the challenge's.
    """

    prediction: dict
    kind: str
    likelihoods: dict[str, float] | None
    probability: float | None
    blanked: dict[str, float] | None = None
    reference: str = ""
    reasoned: str = ""

    @property
    def question(self) -> str:
        """Its text."""
        return self.prediction["question"]

    @property
    def answer(self) -> str:
        """Its text."""
        return self.prediction["answer"]

    @property
    def final(self) -> str:
        """Its text, as reasoning left it."""
        return self.reasoned or self.answer

    @property
    def free(self) -> bool:
        """Whether the question is none of the challenge's."""
        return self.kind == OPEN

    @property
    def shift(self) -> float | None:
        """Likelihood that changes its answer when the flow picture is blanked (total variation, 0 to 1)."""
        if self.likelihoods is None or self.blanked is None:
            return None
        return sum(abs(value - self.blanked[text]) for text, value in self.likelihoods.items()) / 2


def clean_question(text: str) -> str:
    """A question as it may stand in a prompt: one line, without tags of pictures and of the chat's turns.

    Raises ValueError for an empty question and one of more than LONGEST_QUESTION characters.
    """
    cleaned = " ".join(re.sub(r"<image>|<\|[^|<>]*\|>", " ", text).split())
    if not cleaned:
        raise ValueError("the question is empty")
    if len(cleaned) > LONGEST_QUESTION:
        raise ValueError(f"the question has {len(cleaned)} characters; {LONGEST_QUESTION} at most")
    return cleaned


def is_free(question: str) -> bool:
    """Whether a question is none of those that the challenge asks about a clip."""
    try:
        return parse(question).kind in LONG_KINDS
    except ValueError:
        return True


def reason_over_answers(answers: Sequence[ClipAnswer], options: Iterable[str]) -> list[ClipAnswer]:
    """The answers, those to the challenge's questions on a clip with what `options` of reasoning.settings make of
    them; the model's own stay."""
    closed = [not answer.free and answer.kind not in LONG_KINDS for answer in answers]
    rows = [answer.prediction for answer, reasons in zip(answers, closed, strict=True) if reasons]
    options = tuple(options)
    reasoned = iter(reason_over_rows(rows, options))
    return [
        replace(answer, reasoned=next(reasoned)["answer"] if options else "") if reasons else answer
        for answer, reasons in zip(answers, closed, strict=True)
    ]


class ClipAnswerer:
    """What answers questions on clips; a checkpoint is loaded with the first question, and kept.

    `prompt`, `keyframes` and `flow` are what the checkpoint was trained with; of a checkpoint that is not of this
    repository the defaults. Raises DataError for a folder that is missing.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self._run = settings.run_settings()
        self._loaded: list[LoadedCheckpoint] | None = None
        self._served: dict[str, Answerer] = {}
        check_model(settings.model)
        info = read_training_info(settings.model)
        self.prompt = _prompt_of(settings.model, info)
        recipes = info.get("recipes") or {}
        self.flow = _flow_settings(next(iter(recipes.get("flow", ())), {}), self.prompt)
        self.keyframes = _keyframe_settings(next(iter(recipes.get("crop", ())), {}), self.prompt)

    @property
    def software(self) -> str:
        """The model and where it runs, in words."""
        if self.settings.endpoint.url:
            return f"{self.settings.model} at {self.settings.endpoint.address}"
        device = f" on {self._loaded[0].model.device}" if self._loaded else ""
        return f"{self.settings.model}{device}"

    def load(self) -> list[LoadedCheckpoint]:
        """The checkpoint in memory, loaded once. Raises DataError as `load_voters`."""
        if self._loaded is None:
            questions = Questions([], [], prompt_hash(self.prompt), [prompt_record(self.prompt)], self.prompt, {})
            self._loaded = load_voters(self._run, questions)
        return self._loaded

    def with_votes(self, votes: int) -> "ClipAnswerer":
        """The same checkpoint with another number of votes."""
        other = copy(self)
        decoding = replace(self.settings.decoding, votes=votes)
        other.settings = replace(self.settings, decoding=decoding)
        other._run = other.settings.run_settings()
        other._served = {}
        return other

    def ask(self, clips: Sequence[Clip], folder: Path, questions: Sequence[str], control: bool) -> list[ClipAnswer]:
        """Answers to the challenge's questions and to more `questions` on each clip, a clip's adjacent.

        Key frames lie in `folder/frames`, flow pictures in `folder/flow`; the files of questions are written beside.
        `control`: closed questions are answered again with the flow picture blanked.
        Raises DataError for a picture that cannot be read and, as `load` does, for a model that cannot be.
        """
        if not clips:
            return []
        rows = [row for clip in clips for row in self._challenge_rows(clip, folder)]
        rows += _extra_rows(clips, [text for text in questions if not is_free(text)])
        answers = self._answer_rows(rows, folder, control)
        if free := [text for text in questions if is_free(text)]:
            answers += self._ask_freely(clips, folder, free)
        order = {clip.id: number for number, clip in enumerate(clips)}
        return sorted(answers, key=lambda answer: order[answer_clip(answer)])

    def ask_once(self, clip: Clip, folder: Path, question: str, number: int) -> ClipAnswer:
        """The answer to one more question on a clip, the `number`-th; see `ask`."""
        if is_free(question):
            return self._ask_freely([clip], folder, [question], number)[0]
        return self._answer_rows(_extra_rows([clip], [question], number), folder, control=False)[0]

    def _ask_freely(
        self, clips: Sequence[Clip], folder: Path, questions: Iterable[str], first: int = 1
    ) -> list[ClipAnswer]:
        """Written answers to questions in other words than the challenge's, numbered from `first` on."""
        problems = Problems()
        coarse = question_text(Question("coarse"))
        rows = [{"id": clip.id, "dataset": clip.dataset, **row_identity(clip), "question": coarse} for clip in clips]
        records = [
            self._free_record(clip, text, template, number)
            for clip, template in zip(clips, self._records(rows, folder, problems), strict=True)
            for number, text in enumerate(questions, first)
        ]
        file = _write_questions(folder / FREE_QUESTIONS, records, self.prompt)
        return self._answers_of(file, "none")

    def _challenge_rows(self, clip: Clip, folder: Path) -> list[dict]:
        """The challenge's questions on a clip: as its labels have them, else about an action unit of the model's."""
        if not clip.left_out:
            return question_rows(clip)
        identity = {"dataset": clip.dataset, **row_identity(clip)}
        first = {"id": "units", **identity, "question": question_text(Question("units", many=True)), "answer": ""}
        (listed,) = self._answers_of(self._write([first], folder), "none")
        unit = next((number for number in split_units(listed.answer) if number), _DEFAULT_UNIT)
        kinds = (
            *(Question("coarse"), Question("fine"), Question("units", many=False), Question("units", many=True)),
            *(Question("side", unit), Question("shown", unit), Question("long", many=True)),
        )
        return [
            {
                "id": f"{clip.dataset}_{identity['image_id']}_{number}",
                **identity,
                "question": question_text(question),
                "answer": "",
            }
            for number, question in enumerate(kinds, start=1)
        ]

    def _answer_rows(self, rows: list[dict], folder: Path, control: bool) -> list[ClipAnswer]:
        references = [row.get("answer", "") for row in rows]
        file = self._write([{**row, "answer": ""} for row in rows], folder)
        answers = self._answers_of(file, "none")
        if control and "flow" in self.prompt.images:
            blanked = self._answers_of(file, "flow")
            answers = [
                replace(answer, blanked=other.likelihoods) for answer, other in zip(answers, blanked, strict=True)
            ]
        return [replace(answer, reference=reference) for answer, reference in zip(answers, references, strict=True)]

    def _write(self, rows: list[dict], folder: Path) -> Path:
        problems = Problems()
        records = self._records(rows, folder, problems)
        if self.prompt.hierarchy:
            records = [with_coarse(record, "", self.prompt) for record in records]
        return _write_questions(folder / QUESTIONS, records, self.prompt)

    def _records(self, rows: list[dict], folder: Path, problems: Problems) -> list[dict]:
        source = clip_source(folder / "frames", folder / "flow")
        records = build_records(enumerate(rows, 1), folder / QUESTIONS, source, folder, self.prompt, problems)
        for problem in problems:
            raise DataError(problem.file, problem.row, problem.what, problem.fix)
        return records

    def _free_record(self, clip: Clip, text: str, template: dict, number: int) -> dict:
        """The record of a question in other words; `template` is that of the clip's coarse question."""
        prompt = self.prompt.single_stage  # in one stage: what a hierarchy adds fits the challenge's questions alone
        system, user = word_question(template, prompt)
        shared = user["content"].partition(QUESTION_MARK)[0]
        content = f"{shared}{QUESTION_MARK}{clean_question(text)}"
        identity = {"dataset": clip.dataset, **row_identity(clip)}
        row = {"id": f"{clip.dataset}_{identity['image_id']}_free_{number}", **identity}
        row |= {"question": clean_question(text), "answer": ""}
        messages = [system, {**user, "content": content}]
        return {**template, "id": row["id"], "messages": messages, "row": row}

    # ---- the model

    def _answers_of(self, file: Path, blank: str) -> list[ClipAnswer]:
        """Answers to the questions of a file, in its order, as test/generate_answers.py gives them."""
        run = replace(self._run, questions=(file,), blank=blank)
        problems = Problems()
        questions = read_questions(run, problems)
        answerer, answers = self._answerer(run, questions), []
        for batch in batches_of_clips(group_by_pictures(questions.samples), run.batch_size):
            for sample, votes in zip(batch, answerer.answer(batch, problems), strict=True):
                if votes is not None:
                    answers.append(_make_answer(sample, votes))
        for problem in problems:
            raise DataError(problem.file, problem.row, problem.what, problem.fix)
        return answers

    def _answerer(self, run: RunSettings, questions: Questions) -> Answerer:
        if run.endpoint.url:
            # kept: it hashes the checkpoint, and tries out what the server can do
            if run.blank not in self._served:
                self._served[run.blank] = connect_endpoint(run, questions).answerer
            return self._served[run.blank]
        return combine_answerers(run, self.load(), questions.prompt_settings)


def answer_clip(answer: ClipAnswer) -> str:
    """Id of the clip that an answer is about."""
    row = answer.prediction
    subject = row["subject"]
    if row["dataset"] == "samm" and subject.isdigit():
        subject = f"{int(subject):03d}"
    return f"{row['dataset']}/{subject}/{row['filename']}"


def check_model(model: str) -> None:
    """Raise DataError, with how to make it, for a checkpoint of this repository that is not there."""
    folder = Path(model)
    if not folder.is_dir() and folder.parts[:1] in (("checkpoints",), ("/",)):
        fix = "make the tiny one in minutes (bash demo.sh, or where the demo set is there: python train.py)"
        raise DataError(model, None, "there is no such checkpoint", f"{fix}, or give another with --model")


def _make_answer(sample: Sample, votes: Sequence[Answer]) -> ClipAnswer:
    prediction = make_prediction(sample, votes)
    choices, likelihoods, probability = prediction["choices"], None, None
    if choices:
        likelihoods = dict(zip(choices, map(float, softmax(list(choices.values()))), strict=True))
    elif len(votes) == 1 and votes[0].log_probability is not None:
        probability = math.exp(votes[0].log_probability)
    return ClipAnswer(prediction, question_kind(sample.record, unknown=OPEN), likelihoods, probability)


def _extra_rows(clips: Sequence[Clip], questions: Iterable[str], first: int = 1) -> list[dict]:
    """Rows of questions of the challenge that a user asks besides, numbered from `first` on."""
    return [
        {
            "id": f"{clip.dataset}_{row_identity(clip)['image_id']}_more_{number}",
            "dataset": clip.dataset,
            **row_identity(clip),
            "question": clean_question(text),
            "answer": "",
        }
        for clip in clips
        for number, text in enumerate(questions, first)
    ]


def _write_questions(file: Path, records: list[dict], prompt: PromptSettings) -> Path:
    write_records(file, records)
    write_json(file.with_name(PROMPT_FILE), prompt_record(prompt))
    return file


def _prompt_of(model: str, info: dict) -> PromptSettings:
    """The prompt that a checkpoint was trained with. Raises DataError where its record has the hash alone."""
    record = info.get("prompt")
    if record:
        return PromptSettings.from_record(record)
    if info.get("prompt_hash"):
        what = "was trained with a prompt that its megc.json does not hold"
        raise DataError(model, None, what, f"train it again with the {PROMPT_FILE} of the rows beside them")
    return PromptSettings()


def _flow_settings(recipe: dict, prompt: PromptSettings) -> FlowSettings:
    """How flow pictures are drawn: by the recipe of the training pictures, in the encoding of the prompt."""
    values = {name: value for name, value in recipe.items() if name in FlowSettings.__dataclass_fields__}
    return FlowSettings(**{**values, "encoding": prompt.encoding, "scale": prompt.scale})


def _keyframe_settings(recipe: dict, prompt: PromptSettings) -> KeyframeSettings:
    """How key frames are cut: by the recipe of the training pictures, with as many samples as the prompt has."""
    samples = max((SAMPLES.index(name) + 1 for name in prompt.images if name in SAMPLES), default=0)
    samples = prompt.video_frames if VIDEO in prompt.images else samples
    values = {name: recipe[name] for name in ("roi", "magnify") if recipe.get(name)}
    return KeyframeSettings(**values, samples=samples)
