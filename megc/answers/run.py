"""A whole test set answered: the work of test/generate_answers.py."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from megc.answers.answerer import prediction
from megc.answers.blank import Pictures, find_prompt
from megc.answers.generate import Decoding, Seen, generate, see
from megc.answers.store import Store
from megc.files import sha256_of
from megc.model.checkpoint import Loaded, load, pixel_budget, read_record, software
from megc.model.data import Sample, read_samples
from megc.problems import DataError, Problems
from megc.vqa.instructions import question_of, read_records

# Files of a checkpoint's folder that decide its answers.
_CHECKPOINT_FILES = ("*.safetensors", "config.json", "generation_config.json", "preprocessor_config.json")
_CHECKPOINT_FILES += ("tokenizer*.json", "vocab.json", "merges.txt", "chat_template.*")
_WINDOW = 64  # clips whose encoded pictures are kept: 230 MB for four crops and the 7B model in bfloat16


@dataclass(frozen=True)
class RunSettings:
    """What to answer, with what, and where to (see test/generate_answers.py)."""

    model: Path | str
    questions: Path
    out: Path
    decoding: Decoding = field(default_factory=Decoding)
    batch_size: int = 16
    blank: str = "none"
    sort: bool = True
    min_pixels: int | None = None
    max_pixels: int | None = None
    allow_mismatch: bool = False
    dtype: str = "auto"
    device: str | None = None
    attention: str | None = None
    threads: int = 0
    overwrite: bool = False


def answer_questions(settings: RunSettings, problems: Problems) -> str:
    """Answer an instruction JSONL into `out/predictions.jsonl`, beside `run.json`; returns a summary.

    Rows that an earlier run with the same settings answered are kept. Rows with a bad picture go to `problems`
    and get an empty answer. Raises DataError for what concerns the whole run. An interruption leaves the rows
    answered so far in the file; a rerun goes on.
    """
    if settings.batch_size < 1:
        raise DataError("--batch-size", None, f"{settings.batch_size} is less than 1", "give 1 or more")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    records = read_records(settings.questions)
    prompt = _one_prompt(settings.questions, records)
    samples = read_samples(settings.questions, answered=False, problems=problems)
    pictures_prompt = None
    if settings.blank != "none":
        trained = read_record(settings.model)
        pictures_prompt = find_prompt(prompt, settings.questions, samples[0], trained)
        _check_blank(settings, pictures_prompt.images)
    loaded = load(
        settings.model,
        dtype=settings.dtype,
        device=settings.device,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        prompt_hash=prompt,
        allow_mismatch=settings.allow_mismatch,
        attn_implementation=settings.attention,
    )
    pictures = Pictures(loaded.processor, settings.blank, pictures_prompt)
    with Store(
        settings.out, hashed_settings(settings, loaded, prompt), _about(settings, loaded), settings.overwrite
    ) as store:
        if store.set_aside:
            print(f"Other settings: the predictions there are kept as predictions.{store.set_aside}.jsonl")
        inputs = _input_hashes(samples, problems)
        readable = [sample for sample in samples if sample.record["id"] in inputs]
        pending = [sample for sample in readable if not store.has(sample.record["id"], inputs[sample.record["id"]])]
        if len(store):
            print(f"{len(readable) - len(pending)} of {len(samples)} questions are answered already")
        cut = _answer(settings, loaded, pending, pictures, inputs, store, problems)
        for record in records:
            if not store.has(record["id"], inputs.get(record["id"], "")):
                store.drop(record["id"])
        answered = store.finish([record["row"] for record in records])
        lines = [f"{store.path}: {answered} of {len(records)} questions answered; run {store.hash}"]
    if cut:
        lines.append(f"{cut} answers were cut off at --max-new-tokens {settings.decoding.max_new_tokens}")
    return "\n".join(lines)


def _answer(
    settings: RunSettings,
    loaded: Loaded,
    pending: list[Sample],
    pictures: Pictures,
    inputs: dict[str, str],
    store: Store,
    problems: Problems,
) -> int:
    """Answer what is pending, batch by batch, into the store; returns how many answers were cut off."""
    cut = 0
    with tqdm(total=len(pending), unit="question", desc="Answers", disable=not pending) as bar:
        for window in _windows(pending, settings.sort):
            seen: dict[tuple[Path, ...], Seen] = {}
            for start in range(0, len(window), settings.batch_size):
                chosen = window[start : start + settings.batch_size]
                batch = _see(settings, loaded, chosen, pictures, seen, problems)
                if batch:
                    views = [seen[sample.pictures] for sample in batch]
                    answers = _in_memory(settings, generate, loaded, batch, views, settings.decoding)
                    cut += sum(answer.cut for votes in answers for answer in votes)
                    rows = zip(batch, answers, strict=True)
                    store.append(
                        {**prediction(sample, votes), "input": inputs[sample.record["id"]]} for sample, votes in rows
                    )
                bar.update(len(chosen))
    return cut


def _windows(pending: list[Sample], sort: bool) -> Iterator[list[Sample]]:
    """The samples in portions of whole clips, whose pictures stay encoded while their portion is answered.

    Within a portion, with `sort`, long questions follow short ones: batches then pad little and end together.
    """
    clips: dict[tuple[Path, ...], list[Sample]] = {}
    for sample in pending:
        clips.setdefault(sample.pictures, []).append(sample)
    groups = list(clips.values())
    for start in range(0, len(groups), _WINDOW):
        window = [sample for group in groups[start : start + _WINDOW] for sample in group]
        if sort:
            window.sort(key=lambda sample: (len(question_of(sample.record)), _tokens(sample)))
        yield window


def _see(
    settings: RunSettings,
    loaded: Loaded,
    chosen: list[Sample],
    pictures: Pictures,
    seen: dict[tuple[Path, ...], Seen],
    problems: Problems,
) -> list[Sample]:
    """Encode the pictures that are not in `seen` yet; returns the samples whose pictures could be read."""
    batch, new = [], {}
    for sample in chosen:
        with problems.collect():
            if sample.pictures not in seen and sample.pictures not in new:
                new[sample.pictures] = pictures.of(sample)
            batch.append(sample)
    if new:
        views = _in_memory(settings, see, loaded, list(new.values()))
        seen.update(zip(new, views, strict=True))
    return batch


def _in_memory(settings: RunSettings, work: Callable[..., list], *arguments: object) -> list:
    """`work(*arguments)`, with advice where the memory does not suffice."""
    try:
        return work(*arguments)
    except torch.OutOfMemoryError as error:
        what = f"out of memory with {settings.batch_size} questions at once"
        fix = "run again with a smaller --batch-size or --max-pixels; what is answered is kept"
        raise DataError(settings.questions, None, what, fix) from error


def hashed_settings(settings: RunSettings, loaded: Loaded, prompt: str) -> dict:
    """Everything that decides an answer, for the run's hash. The batch size does not: a rerun may change it."""
    low, high = pixel_budget(loaded.processor)
    versions = software()["versions"]
    return {
        "checkpoint": checkpoint_hash(settings.model, loaded),
        "prompt": prompt,
        "min_pixels": low,
        "max_pixels": high,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "decoding": settings.decoding.record(),
        "blank": settings.blank,
        "torch": versions["torch"],
        "transformers": versions["transformers"],
    }


def _about(settings: RunSettings, loaded: Loaded) -> dict:
    return {
        "model": str(settings.model),
        "trained": loaded.record,
        "questions": str(settings.questions),
        "batch_size": settings.batch_size,
        "device": str(loaded.model.device),
        "software": software(),
    }


def checkpoint_hash(model: Path | str, loaded: Loaded) -> str:
    """Hash of a checkpoint: of the content of its folder's files, or the hub's commit of a model by name."""
    folder = Path(model)
    if not folder.is_dir():
        return sha256_of(str(model), loaded.model.config._commit_hash or "")
    parts = []
    for file in sorted({file for pattern in _CHECKPOINT_FILES for file in folder.glob(pattern)}):
        with file.open("rb") as content:
            parts += [file.name, hashlib.file_digest(content, "sha256").hexdigest()]
    return sha256_of(*parts)


def _input_hashes(samples: Sequence[Sample], problems: Problems) -> dict[str, str]:
    """By row id: a hash of what is asked, messages without the answer and content of the pictures.

    Rows with a picture that cannot be read (any more) are left out and told to `problems`.
    """
    content: dict[Path, str] = {}
    found = {}
    for sample in samples:
        identity = sample.record["id"]
        with problems.collect():
            for picture in sample.pictures:
                if picture not in content:
                    content[picture] = _content_hash(picture, identity)
            messages = [message for message in sample.record["messages"] if message["role"] != "assistant"]
            pictures = [content[picture] for picture in sample.pictures]
            found[identity] = sha256_of(json.dumps(messages, sort_keys=True), *pictures)
    return found


def _content_hash(picture: Path, identity: str) -> str:
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()
    except OSError as error:
        fix = "make the picture again with data_process/, or drop the clip"
        raise DataError(picture, identity, f"the picture cannot be read ({error.strerror})", fix) from error


def _tokens(sample: Sample) -> int:
    """About how long the prompt is: pixels, and characters of its texts."""
    text = sum(len(message["content"]) for message in sample.record["messages"][:2])
    return text + sum(height * width for height, width in sample.sizes) // 28**2


def _one_prompt(questions: Path, records: list[dict]) -> str:
    prompts = sorted({record["prompt"] for record in records})
    if len(prompts) != 1:
        what = f"questions of {len(prompts)} prompts ({', '.join(prompts) or 'the file is empty'})"
        raise DataError(questions, None, what, "build all of them with the same build_instructions.py settings")
    doubles = {record["id"] for record in records}
    if len(doubles) != len(records):
        raise DataError(questions, None, "two rows have the same id", "keep one of them")
    return prompts[0]


def _check_blank(settings: RunSettings, images: tuple[str, ...]) -> None:
    flow = "flow" in images
    if (settings.blank == "flow" and not flow) or (settings.blank == "frames" and set(images) == {"flow"}):
        what = f"--blank {settings.blank}, but the pictures are {', '.join(images)}"
        raise DataError(settings.questions, None, what, "blank what is there, or `all`")
