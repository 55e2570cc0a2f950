"""What a run needs before it answers: its questions, read once, and the answerer with what its answers depend on."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megc.answers.answerer import Answerer, Ensemble
from megc.answers.engine import ModelAnswerer
from megc.answers.pictures import Pictures
from megc.answers.server import ServedAnswerer
from megc.answers.settings import RunSettings
from megc.answers.two_stage import TwoStage, is_hierarchical, without_coarse
from megc.commits import software
from megc.files import read_jsonl, sha256_of
from megc.model.attention import check_answering_attention
from megc.model.checkpoint import (
    LoadedCheckpoint,
    check_mismatch,
    load,
    load_processor,
    pixel_budget,
    read_training_info,
)
from megc.model.distributed import print_main, process_device
from megc.model.samples import Sample, check_any, make_samples
from megc.model.weights import content_hash
from megc.motion.colour import SIGNED
from megc.problems import DataError, Problems
from megc.vqa.instructions import count_long_questions, read_prompts, read_records, row_key
from megc.vqa.prompts import PromptSettings, prompt_hash

RowKey = tuple[str, ...]

# ---- questions


@dataclass(frozen=True)
class Questions:
    """The questions of a run, in order: all `records`, and `samples` of those whose pictures can be read.

    `prompt_hash` is that of all of them, `prompts` are the records of prompt settings beside them, `prompt_settings`
    those with the hash (None where the run does not need them). `input_hashes`: what a sample's answer depends on,
    messages and pictures.
    """

    records: list[dict]
    samples: list[Sample]
    prompt_hash: str
    prompts: list[dict]
    prompt_settings: PromptSettings | None
    input_hashes: dict[RowKey, str]

    @property
    def rows(self) -> list[tuple[dict, str | None]]:
        """ME-VQA rows with the hash of their input; None where a picture cannot be read."""
        rows = [record["row"] for record in self.records]
        return [(row, self.input_hashes.get(row_key(row))) for row in rows]


def read_questions(settings: RunSettings, problems: Problems) -> Questions:
    """Read the question files of a run and look at all of their pictures.

    Rows with a picture that cannot be read are reported in `problems` and get no sample. Raises DataError for a
    file without a question or with questions about long videos, for questions of several prompts, for a question that
    stands twice, for a hierarchy without its prompt settings and for a --blank of pictures that the prompt does not
    have.
    """
    # 1. records, all of one prompt, none twice
    for file in settings.questions:
        _refuse_long_questions(file)
    files = {file: read_records(file) for file in dict.fromkeys(settings.questions)}
    records = _check_distinct((file, record) for file in settings.questions for record in files[file])
    prompt = check_single_prompt(settings.questions, records)
    # 2. their pictures
    samples = [
        sample
        for file, file_records in files.items()
        for sample in check_any(file, make_samples(file, file_records, problems, answered=False))
    ]
    prompts = read_prompts(settings.questions[0], samples[0].pictures)
    hierarchical = is_hierarchical(samples[0].record)
    prompt_settings = None
    if settings.blank != "none" or hierarchical or settings.decoding.mirror:
        trained = read_training_info(settings.voters[0]).get("prompt")
        prompt_settings = find_prompt(prompt, [trained, *prompts], settings.questions[0])
        _check_blank(settings, prompt_settings)
        _check_mirror(settings, prompt_settings)
    if hierarchical:
        # before the inputs are hashed: the true class must neither reach the model nor decide what is answered anew
        samples = without_coarse(samples, prompt_settings)
    return Questions(records, samples, prompt, prompts, prompt_settings, hash_inputs(samples, problems))


def _refuse_long_questions(file: Path) -> None:
    """Raise DataError for questions on long videos: no checkpoint here was shown one."""
    if count := count_long_questions(record for _, record in read_jsonl(file)):
        what = f"{count} questions are about long videos, which a checkpoint sees interval by interval only"
        fix = "spot and answer from intervals (test/answer_spotted.py), or test/answer_baselines.py --baseline prior"
        raise DataError(file, None, what, fix)


def _check_distinct(numbered: Iterable[tuple[Path, dict]]) -> list[dict]:
    """The records, if no question stands twice (ids alone may clash: see `row_key`)."""
    records: dict[RowKey, dict] = {}
    for file, record in numbered:
        if row_key(record["row"]) in records:
            raise DataError(file, record["id"], "the same question stands twice", "give it once")
        records[row_key(record["row"])] = record
    return list(records.values())


def check_single_prompt(files: Sequence[Path], records: Iterable[dict]) -> str:
    """The hash of the prompt that all records have. Raises DataError for records of several prompts."""
    prompts = sorted({record["prompt"] for record in records})
    if len(prompts) != 1:
        what = f"questions of {len(prompts)} prompts ({', '.join(prompts)})"
        fix = "build all of them with the same build_instructions.py settings"
        raise DataError(", ".join(map(str, files)), None, what, fix)
    return prompts[0]


def find_prompt(prompt: str, records: Iterable[Mapping | None], questions: Path) -> PromptSettings:
    """The prompt settings with the hash `prompt`: which picture is which, and how the flow is drawn.

    `records` are those that may be it: of the checkpoint's training, of a `prompt.json` beside the `questions` or
    above their pictures. Raises DataError when none of them has that hash.
    """
    for record in records:
        if isinstance(record, dict) and record.get("hash") == prompt:
            settings = PromptSettings.from_record(record)
            if prompt_hash(settings) == prompt:  # the record may be of a version of the code with another wording
                return settings
    what = f"no prompt.json tells which pictures prompt {prompt} has"
    raise DataError(questions, None, what, "write the questions again with data_process/build_instructions.py")


def _check_blank(settings: RunSettings, prompt: PromptSettings) -> None:
    flow = "flow" in prompt.images
    if (settings.blank == "flow" and not flow) or (settings.blank == "frames" and set(prompt.images) == {"flow"}):
        what = f"--blank {settings.blank}, but the pictures are {', '.join(prompt.images)}"
        raise DataError(settings.questions[0], None, what, "blank what is there, or `all`")


def _check_mirror(settings: RunSettings, prompt: PromptSettings) -> None:
    signed = prompt.encoding in SIGNED and not prompt.motion_words  # words would have to be mirrored too
    if settings.decoding.mirror and (prompt.images != ("flow",) or not signed):
        what = f"--mirror, but the pictures are {', '.join(prompt.images)} in the encoding {prompt.encoding}"
        fix = f"ask with the flow picture alone, drawn as {' or '.join(SIGNED)}, or leave --mirror out"
        raise DataError(settings.questions[0], None, what, fix)


def hash_inputs(samples: Sequence[Sample], problems: Problems) -> dict[RowKey, str]:
    """By row (`row_key`): a hash of what the answer depends on, messages without the answer and picture files.

    Rows with a picture that cannot be read (any more) are skipped and reported in `problems`.
    """
    content: dict[Path, str] = {}
    hashes = {}
    for sample in samples:
        with problems.collect():
            for picture in sample.pictures:
                if picture not in content:  # a clip's questions share its pictures
                    content[picture] = _hash_picture(picture, sample.clip)
            messages = [message for message in sample.record["messages"] if message["role"] != "assistant"]
            pictures = [content[picture] for picture in sample.pictures]
            hashes[row_key(sample.record["row"])] = sha256_of(json.dumps(messages, sort_keys=True), *pictures)
    return hashes


def _hash_picture(picture: Path, clip: str) -> str:
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    except OSError as error:
        fix = "make the picture again with data_process/, or drop the clip"
        raise DataError(picture, clip, f"the picture cannot be read ({error.strerror})", fix) from error


# ---- answerers


@dataclass(frozen=True)
class AnswerSetup:
    """What answers a run's questions; `hashed`: what its answers depend on; `about`: what is noted beside that."""

    answerer: Answerer
    hashed: dict
    about: dict


def prepare_answerer(settings: RunSettings, questions: Questions) -> AnswerSetup:
    """The server of `settings.endpoint`, or the checkpoints in memory. Raises DataError as these do."""
    prepare = connect_endpoint if settings.endpoint.url else load_checkpoints
    return prepare(settings, questions)


def load_voters(settings: RunSettings, questions: Questions) -> list[LoadedCheckpoint]:
    """The checkpoints of `settings` in memory. Raises DataError for a mismatch with one, and as `load` does."""
    check_answering_attention(settings.attention)  # before minutes of loading
    return [
        load(
            path,
            dtype=settings.dtype,
            device=settings.device or process_device(),
            min_pixels=settings.min_pixels,
            max_pixels=settings.max_pixels,
            prompt_hash=questions.prompt_hash,
            prompts=questions.prompts,
            allow_mismatch=settings.allow_mismatch,
            attn_implementation=settings.attention,
        )
        for path in settings.voters
    ]


def load_checkpoints(settings: RunSettings, questions: Questions) -> AnswerSetup:
    """The checkpoints of `settings` in memory. Raises DataError as `load_voters`."""
    loaded = load_voters(settings, questions)
    hashed = _hashed_settings(settings, loaded, questions.prompt_hash)
    answerer = combine_answerers(settings, loaded, questions.prompt_settings)
    trained = [checkpoint.training_info for checkpoint in loaded]
    about = {
        "model": [str(path) for path in settings.voters] if settings.models else str(settings.model),
        "trained": trained if settings.models else trained[0],
        "questions": [str(file) for file in settings.questions],
        "batch_size": settings.batch_size,
        "device": str(loaded[0].model.device),
        "software": software(),
    }
    return AnswerSetup(answerer, hashed, about)


def combine_answerers(
    settings: RunSettings, loaded: Sequence[LoadedCheckpoint], prompt: PromptSettings | None
) -> Answerer:
    """What answers: a model, or several models, each with votes of its own.

    In a hierarchy each of them goes by its own coarse answer.
    """
    decoding = settings.decoding
    answerers: list[Answerer] = []
    for checkpoint in loaded:
        pictures = Pictures(checkpoint.processor, settings.blank, prompt)
        # numbers of votes go on from answerer to answerer: equal numbers would draw equal answers
        first_vote = len(answerers) * decoding.votes
        model = ModelAnswerer(checkpoint, pictures, decoding, settings.batch_size, first_vote)
        answerers.append(TwoStage(model, prompt) if prompt and prompt.hierarchy else model)
    return answerers[0] if len(answerers) == 1 else Ensemble(answerers)


def _hashed_settings(settings: RunSettings, loaded: Sequence[LoadedCheckpoint], prompt: str) -> dict:
    """Everything that decides an answer, for the run's hash.

    Batch size and number of processes do not: a rerun may change them.
    """
    versions = software()["versions"]
    budgets = [pixel_budget(checkpoint.processor) for checkpoint in loaded]
    return {
        "checkpoints": [_hash_checkpoint(*pair) for pair in zip(settings.voters, loaded, strict=True)],
        "prompt": prompt,
        "vote_prompts": [],  # constant, so that hashes of earlier runs stay what they are
        "min_pixels": [low for low, _ in budgets],
        "max_pixels": [high for _, high in budgets],
        "dtype": [str(checkpoint.model.dtype).removeprefix("torch.") for checkpoint in loaded],
        "decoding": settings.decoding.values_for_hash(),
        "blank": settings.blank,
        "torch": versions["torch"],
        "transformers": versions["transformers"],
    }


def _hash_checkpoint(model: Path | str, loaded: LoadedCheckpoint) -> str:
    """Hash of a checkpoint: of the content of its folder's files, or the hub's commit of a model by name."""
    if not Path(model).is_dir():
        return sha256_of(str(model), loaded.model.config._commit_hash or "")
    return content_hash(model)


def connect_endpoint(settings: RunSettings, questions: Questions) -> AnswerSetup:
    """The served model of `settings.endpoint`. Prompt and pixel budget are those of `settings.model`, a checkpoint's
    folder (its weights may be absent) or a name on the hub, as in a local run.

    The predictions depend on the model's name and its folder; the address is not part of the hash.
    Raises DataError for a mismatch with the checkpoint and for settings that need it in memory.
    """
    local = {
        "--models": settings.models,
        "--mirror": settings.decoding.mirror,
    }
    if flags := [flag for flag, value in local.items() if value]:
        fix = "leave it out, or run without --endpoint"
        raise DataError("--endpoint", None, f"{', '.join(flags)} needs the model in memory", fix)
    if any(length for sample in questions.samples for length in sample.lengths):
        what = "the prompt has a video, whose frames servers take at rates of their own"
        raise DataError("--endpoint", None, what, "run without --endpoint, or ask with pictures (--images sample1 …)")
    trained = read_training_info(settings.model)
    given = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    prompt = {"prompt_hash": questions.prompt_hash, "prompts": questions.prompts}
    lines = check_mismatch(settings.model, trained, **given, **prompt, allow_mismatch=settings.allow_mismatch)
    budget = {name: trained.get(name) if value is None else value for name, value in given.items()}
    processor = load_processor(settings.model, **budget)
    print_main(f"Asking {settings.endpoint.address}", *(f"  {line}" for line in lines))
    pictures = Pictures(processor, settings.blank, questions.prompt_settings)
    answerer = ServedAnswerer(settings.endpoint, pictures.read, settings.decoding, str(settings.model), processor)
    if questions.prompt_settings and questions.prompt_settings.hierarchy:
        answerer = TwoStage(answerer, questions.prompt_settings)
    low, high = pixel_budget(processor)
    hashed = {
        "served": settings.endpoint.name or str(settings.model),
        "checkpoint": content_hash(settings.model) if Path(settings.model).is_dir() else str(settings.model),
        "prompt": questions.prompt_hash,
        "min_pixels": low,
        "max_pixels": high,
        "decoding": settings.decoding.values_for_hash(),
        "blank": settings.blank,
    }
    about = {
        "endpoint": settings.endpoint.address,
        "model": str(settings.model),
        "trained": trained,
        "questions": [str(file) for file in settings.questions],
        "software": software(),
    }
    return AnswerSetup(answerer, hashed, about)
