"""Lists of action units that are lists of action units: known names, none twice, as many as the question asks for."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from megc.facs import ME_VQA_UNITS, unit_name
from megc.vqa.questions import Question, join_units


class UnitList:
    """The tokens that may follow in a list of `least` to `most` different names, joined as an answer joins them.

    `ends` are the tokens that end an answer; the constraint offers the first of them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], least: int, most: int) -> None:
        names = [unit_name(number) for number in ME_VQA_UNITS]
        joint = join_units(list(ME_VQA_UNITS[:2])).removeprefix(names[0]).removesuffix(names[1])
        self.least, self.most, self.end = least, min(most, len(names)), ends[0]
        # a name that is not the first begins with the joint: `,` and the space are tokens of it
        self._first = [tuple(tokenizer.encode(name, add_special_tokens=False)) for name in names]
        self._later = [tuple(tokenizer.encode(joint + name, add_special_tokens=False)) for name in names]
        longest = [max(map(len, self._first)), *sorted(map(len, self._later), reverse=True)]
        self._room = longest[1]
        self.tokens = sum(longest[: self.least]) + 1  # that the shortest list may need, with the end token

    def allowed(self, written: Sequence[int], room: int) -> list[int]:
        """Tokens that may follow `written`, when `room` tokens may still be written, the end token included.

        A list that has no room for one more name ends, so that no name is ever cut off. `written` must have been
        written under this constraint.
        """
        used: list[int] = []
        rest = tuple(written)
        while True:
            names = self._later if used else self._first
            begun = [n for n, name in enumerate(names) if n not in used and name[: len(rest)] == rest]
            if begun:
                break
            used.append(next(n for n, name in enumerate(names) if n not in used and rest[: len(name)] == name))
            rest = rest[len(names[used[-1]]) :]
        following = {names[n][len(rest)] for n in begun if len(names[n]) > len(rest)}
        for n in begun:
            if names[n] == rest:  # a whole name
                following |= self._after([*used, n], room)
        return sorted(following)

    def _after(self, used: list[int], room: int) -> set[int]:
        following = {self.end} if len(used) >= self.least else set()
        if len(used) < self.most and (len(used) < self.least or room > self._room):
            following |= {name[0] for n, name in enumerate(self._later) if n not in used}
        return following


def unit_list(question: Question, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> UnitList | None:
    """The constraint of a question that asks for a list of action units; None for others."""
    if question.kind == "units":
        return UnitList(tokenizer, ends, 2, len(ME_VQA_UNITS)) if question.many else UnitList(tokenizer, ends, 1, 1)
    return UnitList(tokenizer, ends, 1, len(ME_VQA_UNITS)) if question.kind == "distinct_units" else None


def only(scores: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Scores (vocabulary,) with -inf for all tokens but some."""
    kept = torch.tensor(tokens, device=scores.device)
    return torch.full_like(scores, -torch.inf).scatter(-1, kept, scores[kept])


class Constrained(LogitsProcessor):
    """The constraints of a batch's sequences (None: none) for transformers' `generate`.

    `limits` are their longest lengths in tokens, `prompt` is the padded prompt's length.
    """

    def __init__(self, lists: Sequence[UnitList | None], limits: Sequence[int], prompt: int) -> None:
        self.lists, self.limits, self.prompt = lists, limits, prompt

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (sequences, vocabulary) with -inf for what would break a list."""
        scores = scores.clone()
        for place, constraint in enumerate(self.lists):
            written = input_ids[place, self.prompt :].tolist()
            if constraint and constraint.end not in written:
                scores[place] = only(scores[place], constraint.allowed(written, self.limits[place] - len(written)))
        return scores
