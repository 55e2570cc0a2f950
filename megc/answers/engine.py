"""A checkpoint in memory as an answerer: every kind of question in its mode, with shared prompt prefixes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from transformers import ProcessorMixin

from megc.answers.answerer import Answer, parse_question
from megc.answers.choices import append_tree, build_trees, score_choices
from megc.answers.pictures import Pictures
from megc.answers.prefix import (
    Branches,
    EncodedPrefix,
    LeadingText,
    Prompt,
    PromptPrefix,
    count_shared_tokens,
    encode_leading_text,
    encode_prefixes,
    suffix_of,
)
from megc.answers.settings import Decoding
from megc.answers.writing import UnitList, make_unit_list, start_answers, write_answers
from megc.model.attention import check_answering_attention
from megc.model.checkpoint import LoadedCheckpoint
from megc.model.packing import PositionIds
from megc.model.samples import Sample, chat_messages
from megc.model.visuals import TEXT, token_kinds, visual_grid
from megc.motion.flow_pictures import mirror_picture
from megc.problems import Problems
from megc.vqa.questions import MIRRORED, Question

PictureView = tuple[tuple[Path, ...], bool]  # a clip's pictures, and whether they are mirrored


@dataclass
class PendingQuestion:
    """One question on a view of a clip's pictures, and the numbers of the votes on it."""

    number: int  # of the sample
    sample: Sample
    question: Question
    view: PictureView
    votes: tuple[int, ...]
    prompt: Prompt | None = None
    answers: list[Answer] = field(default_factory=list)


def mirror_answer(answer: Answer) -> Answer:
    """The answer to a mirrored picture as one to the picture itself: left and right change places."""
    choices = answer.choices and {MIRRORED.get(text, text): value for text, value in answer.choices.items()}
    return replace(answer, text=MIRRORED.get(answer.text, answer.text), choices=choices)


@dataclass(frozen=True)
class _Branch:
    """A question that branches from prefix number `prefix`, which has the first `length` tokens of its prompt."""

    pending: PendingQuestion
    prefix: int
    length: int


class ModelAnswerer:
    """Answers by one checkpoint in memory; what a clip's questions begin with goes through the model once.

    `batch_size`: questions at once, each with all of its votes; it changes no answer. `first_vote` numbers the
    votes, so that several answerers sample different ones.
    Raises DataError for an attention that takes no masks.
    """

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        pictures: Pictures,
        decoding: Decoding,
        batch_size: int = 16,
        first_vote: int = 0,
    ) -> None:
        check_answering_attention(loaded.model.config._attn_implementation)
        self.loaded, self.pictures, self.decoding = loaded, pictures, decoding
        self.batch_size, self.first_vote = batch_size, first_vote
        self.ends = find_end_tokens(loaded)
        self._positions = PositionIds(loaded.model.config)
        self._leading: LeadingText | None = None  # kept: all clips of a run begin with the same text
        self._unit_lists: dict[tuple[str, bool | None], UnitList | None] = {}

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample; None for one whose pictures cannot be read."""
        questions, views = self._read_pictures(samples, problems)
        self._add_prompts(questions, views)
        for batch in self._batches(questions):
            self._answer_batch(batch, views)
        votes: list[list[Answer] | None] = [None] * len(samples)
        for pending in questions:
            answers = [mirror_answer(answer) for answer in pending.answers] if pending.view[1] else pending.answers
            votes[pending.number] = [*(votes[pending.number] or []), *answers]
        return votes

    def _mode(self, pending: PendingQuestion) -> str:
        return self.decoding.mode(pending.question.kind)

    # ---- pictures and prompts

    def _read_pictures(
        self, samples: Sequence[Sample], problems: Problems
    ) -> tuple[list[PendingQuestion], dict[PictureView, list[np.ndarray]]]:
        """The questions of the samples, and the pictures of every view of them. Where votes see mirrored pictures, a
        vote is a question."""
        questions: list[PendingQuestion] = []
        stored: dict[tuple[Path, ...], list[np.ndarray]] = {}
        views: dict[PictureView, list[np.ndarray]] = {}
        for number, sample in enumerate(samples):
            with problems.collect():
                if sample.pictures not in stored:
                    stored[sample.pictures] = self.pictures.read(sample)
                question = parse_question(sample)
                count = self.decoding.count_votes(question.kind)
                votes = tuple(range(self.first_vote, self.first_vote + count))
                for group in [(vote,) for vote in votes] if self.decoding.mirror else [votes]:
                    mirrored = self.decoding.mirror and (group[0] - self.first_vote) % 2 == 1
                    view = (sample.pictures, mirrored)
                    if view not in views:
                        pictures = stored[sample.pictures]
                        views[view] = [mirror_picture(picture) for picture in pictures] if mirrored else pictures
                    questions.append(PendingQuestion(number, sample, question, view, group))
        return questions, views

    def _add_prompts(self, questions: Sequence[PendingQuestion], views: dict[PictureView, list[np.ndarray]]) -> None:
        """Give each question its prompt in tokens, with position ids."""
        if not questions:
            return
        image_processor = self.loaded.processor.image_processor
        grids = [
            torch.tensor(
                [visual_grid(image_processor, picture.shape) for picture in views[pending.view]],
                dtype=torch.long,  # where there is no picture it would be float
            ).reshape(-1, 3)
            for pending in questions
        ]
        token_rows = tokenize_prompts(self.loaded.processor, [pending.sample for pending in questions], grids)
        starts: dict[bytes, torch.Tensor] = {}
        for pending, tokens, grid in zip(questions, token_rows, grids, strict=True):
            pending.prompt = Prompt(tokens, self._position_ids(tokens, grid, starts))

    def _position_ids(
        self, tokens: torch.Tensor, grid: torch.Tensor, starts: dict[bytes, torch.Tensor]
    ) -> torch.Tensor:
        """Position ids (3, L) of a prompt; `starts` keeps those up to the last picture, which a clip's prompts share.

        Computing them takes a loop over tokens in transformers, as long as the rest of preparing a clip.
        """
        pictures = token_kinds(tokens, self.loaded.processor).nonzero()
        if not len(pictures):
            return self._positions(tokens, grid)
        length = int(pictures[-1]) + 2  # with one token of text: behind it all three components ascend by one
        key = tokens[:length].numpy().tobytes() + grid.numpy().tobytes()
        if key not in starts:
            starts[key] = self._positions(tokens[:length], grid)
        rest = starts[key][:, -1:] + torch.arange(1, len(tokens) - length + 1)
        return torch.cat([starts[key], rest], dim=1)

    # ---- answering

    def _batches(self, questions: Sequence[PendingQuestion]) -> Iterator[list[list[PendingQuestion]]]:
        """Batches of groups on one view, `batch_size` questions in all; a larger group is a batch by itself."""
        groups: dict[PictureView, list[PendingQuestion]] = {}
        for pending in questions:
            groups.setdefault(pending.view, []).append(pending)
        batch: list[list[PendingQuestion]] = []
        for group in groups.values():
            if batch and sum(map(len, batch)) + len(group) > self.batch_size:
                yield batch
                batch = []
            batch.append(group)
        if batch:
            yield batch

    @torch.inference_mode()
    def _answer_batch(
        self, batch: Sequence[Sequence[PendingQuestion]], views: dict[PictureView, list[np.ndarray]]
    ) -> None:
        """Answer groups of questions, each on one view of a clip's pictures.

        group 1   [ prefix 0 | question a          A group without a common prefix (a question that puts words
                             | question b          in front of its first picture) has one for each question,
        group 2   [ prefix 1 | question c          all of its prompt but the last token.
        """
        # 1. what each group's prompts begin with, once
        prefixes: list[PromptPrefix] = []
        branches: list[_Branch] = []
        for group in batch:
            shared = count_shared_tokens([pending.prompt for pending in group], self.loaded.processor)
            for pending in group:
                if shared is None or pending is group[0]:
                    length = len(pending.prompt.ids) - 1 if shared is None else shared
                    ids, positions = pending.prompt.ids[:length], pending.prompt.positions[:, :length]
                    prefixes.append(PromptPrefix(ids, positions, views[pending.view]))
                branches.append(_Branch(pending, len(prefixes) - 1, len(prefixes[-1].ids)))
        # 2. one pass for the text that all prefixes of the run begin with, one for the prefixes
        self._leading = encode_leading_text(self.loaded, prefixes, self._leading)
        prefix = encode_prefixes(self.loaded, prefixes, self._leading)
        # 3. the questions behind them; more than one round only for a group larger than a batch
        for start in range(0, len(branches), self.batch_size):
            self._answer_branches(prefix, branches[start : start + self.batch_size])

    def _answer_branches(self, prefix: EncodedPrefix, branches: Sequence[_Branch]) -> None:
        """Answer questions that branch from a prefix: all are read, and closed ones compared, in one pass."""
        # 1. compared questions stand last: the keys of their answers can then be dropped from the end of the cache
        branches = sorted(branches, key=lambda branch: self._mode(branch.pending) == "choices")
        questions = [branch.pending for branch in branches]
        written = [pending for pending in questions if self._mode(pending) != "choices"]
        compared = questions[len(written) :]
        # 2. what each prompt has behind its prefix, and behind that, where answers are compared, the tree of them
        suffixes = [suffix_of(row, branch.pending.prompt, branch.length) for row, branch in enumerate(branches)]
        allowed = [self.decoding.allowed(pending.question, pending.sample.record["dataset"]) for pending in compared]
        trees = build_trees(self.loaded.processor.tokenizer, allowed)
        suffixes[len(written) :] = map(append_tree, suffixes[len(written) :], trees)
        # 3. one pass over all of it
        rows = Branches(self.loaded, prefix, [branch.prefix for branch in branches])
        hidden = rows.encode_suffixes(suffixes)
        # 4. compared questions are answered by now; the others write on from the state of their last token
        answers = score_choices(self.loaded, hidden[len(written) :], trees, allowed) if compared else []
        for pending, answer in zip(compared, answers, strict=True):
            pending.answers.append(answer)
        if written:
            rows.select(range(len(written)))
            rows.trim()
            self._write(rows, torch.stack([states[-1] for states in hidden[: len(written)]]), written)

    def _write(self, rows: Branches, hidden: torch.Tensor, questions: Sequence[PendingQuestion]) -> None:
        """Write the answers to `questions`; `hidden` (R, width): states of the last tokens of their prompts."""
        started = [
            answer
            for number, pending in enumerate(questions)
            for answer in start_answers(
                pending.sample.record["id"],
                number,
                pending.votes,
                self._mode(pending) == "sample",
                self._constraint(pending.question),
                self.decoding,
            )
        ]
        prompts = [pending.prompt for pending in questions]
        answers = write_answers(self.loaded, rows, hidden, prompts, started, self.decoding, self.ends)
        for partial, answer in zip(started, answers, strict=True):
            questions[partial.question].answers.append(answer)

    def _constraint(self, question: Question) -> UnitList | None:
        """What keeps the answer to a list of action units; each is made once a run, from hundreds of names."""
        if not self.decoding.constrain_units:
            return None
        key = (question.kind, question.many)
        if key not in self._unit_lists:
            self._unit_lists[key] = make_unit_list(question, self.loaded.processor.tokenizer, self.ends)
        return self._unit_lists[key]


def tokenize_prompts(
    processor: ProcessorMixin, samples: Sequence[Sample], grids: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The samples' prompts in tokens (L,), up to where the answer begins, with a picture token for each patch group.

    `grids` (n, 3) are the patch grids of each sample's pictures and videos: time, height, width. Raises ValueError for
    a text with a picture token.
    """
    texts = [
        processor.apply_chat_template(
            chat_messages(sample.record, with_answer=False), tokenize=False, add_generation_prompt=True
        )
        for sample in samples
    ]
    prompts = []
    for ids, grid in zip(processor.tokenizer(texts)["input_ids"], grids, strict=True):
        tokens = torch.tensor(ids)
        pictures = token_kinds(tokens, processor) != TEXT
        if pictures.sum() != len(grid):
            raise ValueError(f"{int(pictures.sum())} picture tokens for {len(grid)} pictures")
        # the template has one token a picture; the model expects one for each merged group of patches
        counts = torch.ones_like(tokens)
        counts[pictures] = grid.prod(dim=-1) // processor.image_processor.merge_size**2
        prompts.append(tokens.repeat_interleave(counts))
    return prompts


def find_end_tokens(loaded: LoadedCheckpoint) -> list[int]:
    """Tokens that end an answer: those of the checkpoint, else the tokenizer's."""
    ends = loaded.model.generation_config.eos_token_id
    ends = loaded.processor.tokenizer.eos_token_id if ends is None else ends
    return list(ends) if isinstance(ends, (list, tuple)) else [ends]
