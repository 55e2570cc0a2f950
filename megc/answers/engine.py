"""A checkpoint in memory as an answerer: every kind of question in its way, with or without shared prefixes."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from megc.answers.answerer import Answer
from megc.answers.choices import score_choices, trees_of, with_tree
from megc.answers.constrain import UnitList, unit_list
from megc.answers.decoding import Decoding, question_in
from megc.answers.generate import Seen, end_tokens, generate, prompt_tokens, see
from megc.answers.pictures import Pictures
from megc.answers.prefix import (
    Beginning,
    Branches,
    Opening,
    Prefix,
    Prompt,
    common_length,
    encode_beginning,
    encode_openings,
    rest_of,
)
from megc.answers.writing import write, writings
from megc.model.attention import check_answering_attention
from megc.model.checkpoint import LoadedCheckpoint
from megc.model.packing import PositionIds
from megc.model.samples import Sample, shifted
from megc.problems import Problems
from megc.vqa.questions import Question

SHARING = ("clip", "none")
_KEPT = 64  # clips whose encoded pictures the plain way keeps: 230 MB for four crops and the 7B model in bfloat16

Shown = tuple[tuple[Path, ...], tuple[int, int]]  # a clip's pictures and by how much they are moved


@dataclass
class _Ask:
    """One question on pictures as they are shown, and the numbers of the votes on it."""

    sample: Sample
    question: Question
    shown: Shown
    votes: tuple[int, ...]
    place: int  # of the sample
    prompt: Prompt | None = None
    answers: list[Answer] = field(default_factory=list)


_Placed = tuple[_Ask, int, int]  # a question, its opening, and the length of that


class ModelAnswerer:
    """Answers by one checkpoint in memory.

    `share` "clip": what a clip's questions begin with goes through the model once, "none": each question by
    itself. Neither that nor `batch_size` (questions at once, each with all of its votes) changes an answer.
    `first_vote` numbers the votes, so that several answerers sample different ones.
    Raises DataError for an attention that would answer wrongly.
    """

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        pictures: Pictures,
        decoding: Decoding,
        share: str = "clip",
        batch_size: int = 16,
        first_vote: int = 0,
    ) -> None:
        if share not in SHARING:
            raise ValueError(f"unknown share {share!r}; known: {', '.join(SHARING)}")
        self.loaded, self.pictures, self.decoding = loaded, pictures, decoding
        self.share, self.batch_size, self.first_vote = share, batch_size, first_vote
        self.ends = end_tokens(loaded)
        self._positions = PositionIds(loaded.model.config)
        self._seen: OrderedDict[Shown, Seen] = OrderedDict()
        self._beginning: Beginning | None = None  # kept: all clips of a run begin with the same text
        self._lists: dict[tuple[str, bool | None], UnitList | None] = {}
        check_answering_attention(loaded.model.config._attn_implementation, masks=share == "clip" or decoding.compares)

    def answer(self, samples: Sequence[Sample], problems: Problems) -> list[list[Answer] | None]:
        """Votes of each sample; None for one whose pictures cannot be read."""
        asks, shown = self._read(samples, problems)
        self._make_prompts(asks, shown)
        plain = [ask for ask in asks if self.share == "none" and self._mode(ask) != "choices"]
        if plain:
            self._answer_plainly(plain, shown)
        rest = [ask for ask in asks if self.share == "clip" or self._mode(ask) == "choices"]
        for batch in self._batches(rest):
            self._answer_sharing(batch, shown)
        votes: list[list[Answer] | None] = [None] * len(samples)
        for ask in asks:
            votes[ask.place] = [*(votes[ask.place] or []), *ask.answers]
        return votes

    def _mode(self, ask: _Ask) -> str:
        return self.decoding.mode(ask.question.kind)

    def _read(self, samples: Sequence[Sample], problems: Problems) -> tuple[list[_Ask], dict[Shown, list[np.ndarray]]]:
        """What is to be asked, and the pictures of it."""
        asks: list[_Ask] = []
        still: dict[tuple[Path, ...], list[np.ndarray]] = {}
        shown: dict[Shown, list[np.ndarray]] = {}
        for place, sample in enumerate(samples):
            with problems.collect():
                if sample.pictures not in still:
                    still[sample.pictures] = self.pictures.of(sample)
                question = question_in(sample)
                count = self.decoding.votes_of(question.kind)
                numbers = tuple(range(self.first_vote, self.first_vote + count))
                for some in [(number,) for number in numbers] if self.decoding.jitter else [numbers]:
                    shift = self._shift(sample, some[0])
                    key = (sample.pictures, shift)
                    if key not in shown:
                        shown[key] = [shifted(picture, *shift) for picture in still[sample.pictures]]
                    asks.append(_Ask(sample, question, key, some, place))
        return asks, shown

    def _shift(self, sample: Sample, vote: int) -> tuple[int, int]:
        """By how much (down, right) a vote sees the pictures of a clip moved; the same for all questions on it."""
        most = self.decoding.jitter
        if not most or vote == self.first_vote:
            return 0, 0
        digest = hashlib.sha256(f"jitter\n{self.decoding.seed}\n{vote}\n{sample.clip}".encode()).digest()
        down, right = np.random.default_rng(list(digest)).integers(-most, most + 1, 2).tolist()
        return down, right

    def _make_prompts(self, asks: Sequence[_Ask], shown: dict[Shown, list[np.ndarray]]) -> None:
        if not asks:
            return
        patch = self.loaded.processor.image_processor.patch_size
        grids = [
            torch.tensor([(1, one.shape[0] // patch, one.shape[1] // patch) for one in shown[ask.shown]]).reshape(
                -1, 3
            )
            for ask in asks
        ]
        token_rows = prompt_tokens(self.loaded.processor, [ask.sample for ask in asks], grids)
        known: dict[bytes, torch.Tensor] = {}
        for ask, tokens, grid in zip(asks, token_rows, grids, strict=True):
            ask.prompt = Prompt(tokens, self._positions_of(tokens, grid, known))

    def _positions_of(
        self, tokens: torch.Tensor, grid: torch.Tensor, known: dict[bytes, torch.Tensor]
    ) -> torch.Tensor:
        """Position ids (3, L) of a prompt; `known` keeps those of beginnings with all pictures, as a clip shares."""
        pictures = (tokens == self.loaded.processor.image_token_id).nonzero()
        if not len(pictures):
            return self._positions(tokens, grid)
        begun = int(pictures[-1]) + 2  # with one token of text: behind it positions ascend by one
        key = tokens[:begun].numpy().tobytes() + grid.numpy().tobytes()
        if key not in known:
            known[key] = self._positions(tokens[:begun], grid)
        rest = known[key][:, -1:] + torch.arange(1, len(tokens) - begun + 1)
        return torch.cat([known[key], rest], dim=1)

    def _list(self, question: Question) -> UnitList | None:
        if not self.decoding.constrain_units:
            return None
        key = (question.kind, question.many)
        if key not in self._lists:
            self._lists[key] = unit_list(question, self.loaded.processor.tokenizer, self.ends)
        return self._lists[key]

    # ---- shared prefixes

    def _batches(self, asks: Sequence[_Ask]) -> Iterator[list[list[_Ask]]]:
        """Portions of `batch_size` questions: groups that are shown the same. A larger group is one portion."""
        groups: dict[Shown, list[_Ask]] = {}
        for ask in asks:
            groups.setdefault(ask.shown, []).append(ask)
        batch: list[list[_Ask]] = []
        for group in groups.values():
            if batch and sum(map(len, batch)) + len(group) > self.batch_size:
                yield batch
                batch = []
            batch.append(group)
        if batch:
            yield batch

    @torch.inference_mode()
    def _answer_sharing(self, batch: Sequence[Sequence[_Ask]], shown: dict[Shown, list[np.ndarray]]) -> None:
        openings: list[Opening] = []
        placed: list[_Placed] = []
        for group in batch:
            length = None
            if self.share == "clip":
                length = common_length([ask.prompt for ask in group], self.loaded.processor.image_token_id)
            for ask in group:
                if length is None or ask is group[0]:  # without a common opening, all but the last token is its own
                    own = len(ask.prompt.ids) - 1 if length is None else length
                    first = Prompt(ask.prompt.ids[:own], ask.prompt.positions[:, :own])
                    openings.append(Opening(first.ids, first.positions, shown[ask.shown]))
                placed.append((ask, len(openings) - 1, len(openings[-1].ids)))
        self._beginning = encode_beginning(self.loaded, openings, self._beginning)
        prefix = encode_openings(self.loaded, openings, self._beginning)
        for start in range(0, len(placed), self.batch_size):
            self._answer_branches(prefix, placed[start : start + self.batch_size])

    def _answer_branches(self, prefix: Prefix, placed: Sequence[_Placed]) -> None:
        """Answer questions that branch from a prefix: all of them are read, and answers compared, in one pass."""
        placed = sorted(placed, key=lambda one: self._mode(one[0]) == "choices")  # behind those that are to go on
        pieces = [rest_of(row, ask.prompt, length) for row, (ask, _, length) in enumerate(placed)]
        asks = [ask for ask, _, _ in placed]
        written = [ask for ask in asks if self._mode(ask) != "choices"]
        compared = asks[len(written) :]
        allowed = [self.decoding.allowed(ask.question, ask.sample.record["dataset"]) for ask in compared]
        trees = trees_of(self.loaded.processor.tokenizer, allowed)
        pieces[len(written) :] = map(with_tree, pieces[len(written) :], trees)
        branches = Branches(self.loaded, prefix, [row for _, row, _ in placed])
        hidden = branches.forward(pieces)
        if compared:
            mean = self.decoding.choice_score == "mean"
            answers = score_choices(self.loaded, hidden[len(written) :], trees, allowed, mean)
            for ask, answer in zip(compared, answers, strict=True):
                ask.answers.append(answer)
        if written:
            branches.select(range(len(written)))
            branches.trim()
            self._write(branches, torch.stack([states[-1] for states in hidden[: len(written)]]), written)

    def _write(self, branches: Branches, hidden: torch.Tensor, asks: Sequence[_Ask]) -> None:
        wanted = [
            one
            for number, ask in enumerate(asks)
            for one in writings(
                ask.sample.record["id"],
                number,
                ask.votes,
                self._mode(ask) == "sample",
                self._list(ask.question),
                self.decoding,
            )
        ]
        prompts = [ask.prompt for ask in asks]
        answers = write(self.loaded, branches, hidden, prompts, wanted, self.decoding, self.ends)
        for one, answer in zip(wanted, answers, strict=True):
            asks[one.asked].answers.append(answer)

    # ---- the plain way

    def _answer_plainly(self, asks: Sequence[_Ask], shown: dict[Shown, list[np.ndarray]]) -> None:
        for mode in ("greedy", "sample"):
            some = [ask for ask in asks if self._mode(ask) == mode]
            for start in range(0, len(some), self.batch_size):
                batch = some[start : start + self.batch_size]
                found = generate(
                    self.loaded,
                    [ask.sample for ask in batch],
                    self._views(batch, shown),
                    self.decoding,
                    [ask.votes for ask in batch] if mode == "sample" else None,
                    [self._list(ask.question) for ask in batch],
                )
                for ask, answers in zip(batch, found, strict=True):
                    ask.answers = answers

    def _views(self, asks: Sequence[_Ask], shown: dict[Shown, list[np.ndarray]]) -> list[Seen]:
        """Encoded pictures, each clip's once as long as it is among those that were asked for last."""
        new = dict.fromkeys(ask.shown for ask in asks if ask.shown not in self._seen)
        if new:
            self._seen.update(zip(new, see(self.loaded, [shown[key] for key in new]), strict=True))
        for ask in asks:
            self._seen.move_to_end(ask.shown)
        found = [self._seen[ask.shown] for ask in asks]
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return found
