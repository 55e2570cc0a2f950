"""A whole test set answered: the work of test/generate_answers.py."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from tqdm import tqdm

from megc.answers.answerer import Answerer, prediction
from megc.answers.asked import by_clip, clip_portions, input_hashes, plain_portions, read_questions
from megc.answers.engine import ModelAnswerer
from megc.answers.pictures import Pictures, find_prompt
from megc.answers.predictions import Shard, Store
from megc.answers.settings import RunSettings, about, hashed_settings
from megc.answers.setup import Ready, served
from megc.answers.several import Reworded, Several, wording
from megc.answers.two_stage import TwoStage, is_hierarchical, untold
from megc.files import lock_folder
from megc.model.attention import check_answering_attention
from megc.model.checkpoint import LoadedCheckpoint, load, read_training_info
from megc.model.distributed import (
    broadcast_from_main,
    gather_counts,
    is_main,
    join_processes,
    process_device,
    process_rank,
    share_of_process,
)
from megc.model.samples import Sample, read_samples
from megc.problems import DataError, Problems
from megc.reasoning.agreement import read_knowledge, reason_file
from megc.vqa.instructions import read_prompts, row_key
from megc.vqa.prompts import PromptSettings


def answer_questions(settings: RunSettings, problems: Problems) -> str:
    """Answer instruction files into `out/predictions.jsonl`, beside `run.json`; returns a summary.

    Rows that an earlier run with the same settings answered are kept, those that are not asked now in a file beside
    it (see `Store`). Rows with a bad picture go to `problems` and get an empty answer. Under torchrun or accelerate
    launch, each process answers some of the clips; the main one writes the file, and knows the problems of all.
    Raises DataError for what concerns the whole run, and when another run is at work in `out`. An interruption
    leaves the rows answered so far, in order, with empty answers between them; a rerun goes on.
    """
    if settings.batch_size < 1:
        raise DataError("--batch-size", None, f"{settings.batch_size} is less than 1", "give 1 or more")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    read_knowledge(settings.reason, settings.train)  # what is wrong with it is told before hours of answering
    join_processes()
    records = read_questions(settings.questions)
    with lock_folder(settings.out, "answers") if is_main() else nullcontext():
        return _answer_records(settings, records, problems)


def _answer_records(settings: RunSettings, records: Sequence[dict], problems: Problems) -> str:
    prompt = records[0]["prompt"]
    samples = [
        sample for file in settings.questions for sample in read_samples(file, answered=False, problems=problems)
    ]
    parts = _prompt_settings(settings, prompt, samples[0])
    if is_hierarchical(samples[0].record):
        samples = untold(samples, parts)
    prompts = read_prompts(settings.questions[0], samples[0].pictures)
    prepare = served if settings.endpoint else _in_process
    ready = prepare(settings, prompt, prompts, parts)
    inputs = input_hashes(samples, problems)
    if not is_main():
        pending = broadcast_from_main(None)
        with Shard(settings.out, ready.hashed, process_rank()) as shard:
            _answer_share(settings, ready.answerer, samples, pending, inputs, shard, problems)
        return ""
    rows = [record["row"] for record in records]
    asked = [(row, inputs.get(row_key(row))) for row in rows]
    with Store(settings.out, ready.hashed, asked, ready.about, settings.overwrite) as store:
        if store.set_aside:
            print(f"Other settings: the predictions there are kept as predictions.{store.set_aside}.jsonl")
        pending = {row_key(row) for row, content in asked if content and not store.has(row, content)}
        if len(store):
            print(f"{len(inputs) - len(pending)} of {len(samples)} questions are answered already")
        pending = broadcast_from_main(pending)
        try:
            cut = _answer_share(settings, ready.answerer, samples, pending, inputs, store, problems)
        finally:  # also when it is stopped: the file has all rows, in order, and can be scored
            answered = store.finish()
        store.remove_shards()
    lines = [f"{store.path}: {answered} of {len(records)} questions answered; run {store.hash}"]
    if store.others:
        lines.append(f"{store.others_path}: {store.others} answers to what is not asked now, kept")
    if cut:
        lines.append(f"{cut} answers were cut off at --max-new-tokens {settings.decoding.max_new_tokens}")
    if settings.reason:
        lines.append(reason_file(store.path, settings.out / "reasoned", settings.reason, settings.train))
    return "\n".join(lines)


def _prompt_settings(settings: RunSettings, prompt: str, sample: Sample) -> PromptSettings | None:
    """What the prompt is made of, where that is needed."""
    if settings.blank == "none" and not settings.vote_prompts and not is_hierarchical(sample.record):
        return None
    parts = find_prompt(prompt, settings.questions[0], sample, read_training_info(settings.voters[0]))
    flow = "flow" in parts.images
    if (settings.blank == "flow" and not flow) or (settings.blank == "frames" and set(parts.images) == {"flow"}):
        what = f"--blank {settings.blank}, but the pictures are {', '.join(parts.images)}"
        raise DataError(settings.questions[0], None, what, "blank what is there, or `all`")
    return parts


def _in_process(settings: RunSettings, prompt: str, prompts: Sequence[dict], parts: PromptSettings | None) -> Ready:
    """The checkpoints of `settings`, loaded. `prompts`: see `check_mismatch`."""
    check_answering_attention(settings.attention, settings.share_prefix == "clip" or settings.decoding.compares)
    loaded = [_load(settings, path, prompt, prompts) for path in settings.voters]
    hashed = hashed_settings(settings, loaded, prompt)
    return Ready(_answerer(settings, loaded, parts), hashed, about(settings, loaded))


def _load(settings: RunSettings, path: Path | str, prompt: str, prompts: Sequence[dict]) -> LoadedCheckpoint:
    return load(
        path,
        dtype=settings.dtype,
        device=settings.device or process_device(),
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        prompt_hash=prompt,
        prompts=prompts,
        allow_mismatch=settings.allow_mismatch,
        attn_implementation=settings.attention,
    )


def _answerer(settings: RunSettings, loaded: Sequence[LoadedCheckpoint], parts: PromptSettings | None) -> Answerer:
    """What answers: a model, or several models, each in each of the wordings; each with votes of its own.

    In a hierarchy each of them goes by its own coarse answer.
    """
    decoding, made = settings.decoding, []
    for one in loaded:
        pictures = Pictures(one.processor, settings.blank, parts)
        for name in settings.vote_prompts or (None,):
            first = len(made) * decoding.votes
            model = ModelAnswerer(one, pictures, decoding, settings.share_prefix, settings.batch_size, first)
            asked = wording(parts, name) if name else parts
            if asked and asked.hierarchy:
                made.append(TwoStage(model, asked))
            else:
                made.append(Reworded(model, asked) if name else model)
    return made[0] if len(made) == 1 else Several(made)


def _answer_share(
    settings: RunSettings,
    answerer: Answerer,
    samples: Sequence[Sample],
    pending: set[tuple[str, ...]],
    inputs: dict[tuple[str, ...], str],
    store: Store | Shard,
    problems: Problems,
) -> int:
    """Answer this process's part of what is pending into its store; how many answers all processes cut off."""
    known = len(problems)
    groups = share_of_process(by_clip([sample for sample in samples if row_key(sample.record["row"]) in pending]))
    if settings.share_prefix == "clip":
        portions = clip_portions(groups, settings.batch_size)
    else:
        portions = plain_portions(groups, settings.batch_size, settings.sort)
    cut = 0
    total = sum(map(len, groups))
    with tqdm(total=total, unit="question", desc="Answers", disable=None if total and is_main() else True) as bar:
        for portion in portions:
            found = _in_memory(settings, answerer.answer, portion, problems)
            answered = [pair for pair in zip(portion, found, strict=True) if pair[1] is not None]
            cut += sum(vote.cut for _, votes in answered for vote in votes)
            store.append(
                {**prediction(sample, votes), "input": inputs[row_key(sample.record["row"])]}
                for sample, votes in answered
            )
            bar.update(len(portion))
    return gather_counts(cut, problems, known)


def _in_memory(settings: RunSettings, work: Callable[..., list], *arguments: object) -> list:
    """`work(*arguments)`, with advice where the memory does not suffice."""
    try:
        return work(*arguments)
    except torch.OutOfMemoryError as error:
        what = f"out of memory with {settings.batch_size} questions at once"
        fix = "run again with a smaller --batch-size or --max-pixels; what is answered is kept"
        raise DataError("--batch-size", None, what, fix) from error
