"""Answer a test set and keep the predictions through kills."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from tqdm import tqdm

from megc.answers.answerer import Answer, Answerer, make_prediction
from megc.answers.predictions import PredictionFile, PredictionShard
from megc.answers.settings import RunSettings
from megc.answers.setup import Questions, RowKey, prepare_answerer, read_questions
from megc.files import lock_folder
from megc.model.distributed import (
    broadcast_from_main,
    gather_counts,
    is_main,
    join_processes,
    process_rank,
    share_of_process,
)
from megc.model.samples import Sample
from megc.problems import DataError, Problems
from megc.vqa.instructions import question_kind, row_id, row_key
from megc.vqa.submission import analysis_note


def answer_questions(settings: RunSettings, problems: Problems) -> str:
    """Answer instruction files into `out/predictions.jsonl`, beside `run.json`; returns a summary.

    Rows that an earlier run with the same settings answered are kept; its answers to other questions are kept in a
    file beside it (see `PredictionFile`). Rows with a bad picture go to `problems` and get an empty answer. Under
    torchrun or accelerate launch, each process answers some of the clips; the main one writes the file, and knows
    the problems of all. Raises DataError for what concerns the whole run, and when another run is at work in `out`.
    An interruption leaves the rows answered so far, in order, with empty answers between them; a rerun goes on.
    """
    if settings.batch_size < 1:
        raise DataError("--batch-size", None, f"{settings.batch_size} is less than 1", "give 1 or more")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    join_processes()
    questions = read_questions(settings, problems)
    with lock_folder(settings.out, "answers") if is_main() else nullcontext():
        setup = prepare_answerer(settings, questions)
        if not is_main():
            pending = broadcast_from_main(None)  # waits for the main process, which looks into the file first
            with PredictionShard(settings.out, setup.hashed, process_rank()) as shard:
                _answer_pending(settings, setup.answerer, questions, pending, shard, problems)
            return ""
        with PredictionFile(settings.out, setup.hashed, questions.rows, setup.about, settings.overwrite) as file:
            pending = broadcast_from_main(_find_pending(file, questions))
            try:
                cut = _answer_pending(settings, setup.answerer, questions, pending, file, problems)
            finally:  # also when it is stopped: the file has all rows, in order, and can be scored
                answered = file.write_in_order()
            file.remove_shards()  # not in `finally`: when one process is stopped, others may still write theirs
    return _summary(settings, file, answered, len(questions.records), cut)


def _find_pending(file: PredictionFile, questions: Questions) -> set[RowKey]:
    """The rows that are still to be answered; prints how many are not."""
    if file.set_aside:
        print(f"Other settings: the predictions there are kept as predictions.{file.set_aside}.jsonl")
    pending = {row_key(row) for row, content in questions.rows if content and not file.has(row, content)}
    if len(file):
        print(f"{len(questions.input_hashes) - len(pending)} of {len(questions.samples)} questions "
              "are answered already")  # fmt: skip
    return pending


def _answer_pending(
    settings: RunSettings,
    answerer: Answerer,
    questions: Questions,
    pending: set[RowKey],
    file: PredictionFile | PredictionShard,
    problems: Problems,
) -> int:
    """Answer this process's part of the `pending` rows into its file; how many answers all processes cut off."""
    before = len(problems)
    samples = [sample for sample in questions.samples if row_key(sample.record["row"]) in pending]
    groups = share_of_process(group_by_pictures(samples))
    cut, total = 0, sum(map(len, groups))
    with tqdm(total=total, unit="question", desc="Answers", disable=None if total and is_main() else True) as bar:
        for batch in batches_of_clips(groups, settings.batch_size):
            answers = _answer_in_memory(settings, answerer, batch, problems)
            answered = [(sample, votes) for sample, votes in zip(batch, answers, strict=True) if votes is not None]
            cut += sum(vote.cut for _, votes in answered for vote in votes)
            # on disk when this returns: a kill costs one batch at most
            file.append(
                {**make_prediction(sample, votes), "input": questions.input_hashes[row_key(sample.record["row"])]}
                for sample, votes in answered
            )
            bar.update(len(batch))
    return gather_counts(cut, problems, before)


def group_by_pictures(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples in groups that have the same pictures, in order of first appearance."""
    groups: dict[tuple, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.pictures, []).append(sample)
    return list(groups.values())


def batches_of_clips(groups: Sequence[list[Sample]], size: int) -> Iterator[list[Sample]]:
    """Batches of whole clips, up to `size` questions together; a clip with more of them is a batch by itself."""
    batch: list[Sample] = []
    for group in groups:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = [*batch, *group]
    if batch:
        yield batch


def _answer_in_memory(
    settings: RunSettings, answerer: Answerer, samples: Sequence[Sample], problems: Problems
) -> list[list[Answer] | None]:
    """The answerer's votes. Raises DataError with advice where the memory does not suffice."""
    try:
        return answerer.answer(samples, problems)
    except torch.OutOfMemoryError as error:
        what = f"out of memory with {settings.batch_size} questions at once"
        fix = "run again with a smaller --batch-size or --max-pixels; what is answered is kept"
        raise DataError("--batch-size", None, what, fix) from error


def _summary(settings: RunSettings, file: PredictionFile, answered: int, rows: int, cut: int) -> str:
    lines = [f"{file.path}: {answered} of {rows} questions answered; run {file.hash}"]
    if file.others:
        lines.append(f"{file.others_path}: {file.others} answers to what is not asked now, kept")
    if cut:
        lines.append(f"{cut} answers were cut off at --max-new-tokens {settings.decoding.max_new_tokens}")
    kinds = ((row, question_kind({"row": row}, unknown="")) for row in file.answered_rows)
    if note := analysis_note((row_id(row), kind, row["answer"]) for row, kind in kinds):
        lines.append(note)
    return "\n".join(lines)
