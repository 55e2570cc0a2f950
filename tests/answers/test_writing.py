"""Draws that depend on row, vote and seed alone; lists of action units kept to whole names."""

import random
from itertools import pairwise

import numpy as np
import torch
from answer_files import write_checkpoint

from megc.answers.settings import Decoding
from megc.answers.writing import UnitList, draw_tokens, make_warpers, uniform_numbers
from megc.facs import ME_VQA_UNITS, unit_name
from megc.model.checkpoint import load_processor


def test_a_row_has_its_own_numbers_whatever_else_is_asked():
    drawn = uniform_numbers("casme2_sub01_EP02_01f_1", 2, 0, 8)
    assert np.array_equal(drawn[:5], uniform_numbers("casme2_sub01_EP02_01f_1", 2, 0, 5))
    others = [("casme2_sub01_EP02_01f_2", 2, 0), ("casme2_sub01_EP02_01f_1", 3, 0), ("casme2_sub01_EP02_01f_1", 2, 1)]
    assert all(abs(uniform_numbers(*other, 8) - drawn).min() > 1e-9 for other in others)


def draw_shares(scores: torch.Tensor, count: int, **settings: float) -> np.ndarray:
    """Share of each token among `count` draws from the distribution of `scores`."""
    warpers = make_warpers(Decoding(**{"temperature": 1.0, "top_p": 1.0, **settings}))
    numbers = torch.tensor([uniform_numbers(str(row), 0, 0, 1)[0] for row in range(count)])
    tokens = draw_tokens(scores.expand(count, -1), numbers, warpers)
    return np.bincount(tokens.numpy(), minlength=scores.numel()) / count


def test_draws_follow_the_distribution_of_temperature_top_k_and_top_p():
    scores = torch.tensor([0.0, 2.0, 1.0, -1.0])
    assert np.allclose(draw_shares(scores, 4000), torch.softmax(scores, -1), atol=0.03)
    assert np.allclose(draw_shares(scores, 4000, temperature=0.5), torch.softmax(scores / 0.5, -1), atol=0.03)
    assert draw_shares(scores, 500, top_k=2)[[0, 3]].sum() == 0
    assert draw_shares(scores, 500, top_p=0.6)[1] == 1.0


def test_a_walk_through_the_constraint_writes_every_name_once_and_ends(tmp_path):
    tokenizer = load_processor(write_checkpoint(tmp_path / "tiny")).tokenizer
    names = {unit_name(number) for number in ME_VQA_UNITS}
    draw = random.Random(0)
    seen: set[str] = set()
    for room in (1, 30, 400):
        constraint = UnitList(tokenizer, [tokenizer.eos_token_id], 2, len(names))
        room = max(room, constraint.tokens)
        for _ in range(20):
            written: list[int] = []
            while constraint.end not in written:
                allowed = constraint.allowed(written, room - len(written))
                longer = [token for token in allowed if token != constraint.end]
                written.append(draw.choice(longer if longer and draw.random() < 0.97 else allowed))
            assert len(written) <= room
            listed = tokenizer.decode(written[:-1]).split(", ")
            assert len(set(listed)) == len(listed) >= 2
            assert set(listed) <= names
            seen |= set(listed)
    assert seen == names
    one = UnitList(tokenizer, [tokenizer.eos_token_id], 1, 1)
    begun = tokenizer.encode("lip corner puller")
    assert one.allowed(begun, 9) == [one.end]
    assert all(len(one.allowed(begun[:n], 9)) > 0 for n in range(len(begun)))
    assert not any(one.end in one.allowed(begun[:n], 9) for n, _ in enumerate(pairwise(begun)))
