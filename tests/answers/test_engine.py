"""Shared prefixes and compared answers give what each question would get alone, on every kind of question."""

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from answer_files import GREEDY, SAMPLED, answer, write_checkpoint, write_questions
from PIL import Image

from megc.answers.choices import tree_of
from megc.answers.constrain import UnitList
from megc.answers.decoding import Decoding, parse_decode
from megc.facs import ME_VQA_UNITS, unit_name
from megc.model.checkpoint import load
from megc.model.samples import chat_messages, read_samples
from megc.problems import DataError
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import TEMPLATES, allowed_answers, parse, split_units

STRUCTURED = PromptSettings(images=("apex", "flow"))
EVERY_KIND = [text.format(unit="lip corner puller", n=2) for texts in TEMPLATES.values() for text in texts]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Every kind of question on three clips with pictures of different sizes."""
    return write_questions(tmp_path_factory.mktemp("questions"), questions=EVERY_KIND, prompt=STRUCTURED)


def texts(rows):
    return [(row["answer"], row["votes"], row["agreement"]) for row in rows]


# ---- shared prefixes


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "votes"])
def test_branches_of_a_shared_prefix_answer_as_each_question_alone(checkpoint, questions, tmp_path, decoding):
    alone, problems = answer(checkpoint, questions, tmp_path / "1", decoding, batch_size=1, share_prefix="none")
    assert problems == []
    assert {parse(row["question"]).kind for row in alone} == set(TEMPLATES)
    assert len({row["answer"] for row in alone}) > len(alone) / 2  # a constant would be equal for no good reason
    for size in (1, 2, 8):
        assert answer(checkpoint, questions, tmp_path / str(size), decoding, batch_size=size)[0] == alone


def test_the_repetition_penalty_is_that_of_transformers(checkpoint, questions, tmp_path):
    decoding = replace(SAMPLED, repetition_penalty=1.7)
    alone, _ = answer(checkpoint, questions, tmp_path / "1", decoding, batch_size=1, share_prefix="none")
    assert answer(checkpoint, questions, tmp_path / "8", decoding, batch_size=8)[0] == alone


def test_a_clips_opening_goes_through_the_model_once(checkpoint, questions, tmp_path, monkeypatch):
    from megc.answers import engine

    encoded, encode = [], engine.encode_openings
    monkeypatch.setattr(
        engine, "encode_openings", lambda loaded, some, begun: encoded.extend(some) or encode(loaded, some, begun)
    )
    answer(checkpoint, questions, tmp_path / "small", batch_size=3)
    assert len(encoded) == 3
    end = "Question:"
    tokenizer = load(checkpoint, device="cpu").processor.tokenizer
    assert all(tokenizer.decode(one.ids).rstrip().endswith(end) or end in tokenizer.decode(one.ids) for one in encoded)


def test_a_question_with_other_pictures_or_another_beginning_is_answered_all_the_same(checkpoint, questions, tmp_path):
    """One question of a clip gets swapped pictures, another one words in front of its first picture."""
    lines = [json.loads(line) for line in questions.read_text().splitlines()]
    lines[1]["images"].reverse()
    lines[3]["messages"][1]["content"] = "Look. " + lines[3]["messages"][1]["content"]
    mixed = questions.parent / "mixed.jsonl"
    mixed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    alone, _ = answer(checkpoint, mixed, tmp_path / "1", batch_size=1, share_prefix="none")
    usual, _ = answer(checkpoint, questions, tmp_path / "usual", batch_size=16)
    for size in (2, 30):
        assert answer(checkpoint, mixed, tmp_path / str(size), batch_size=size)[0] == alone
    pairs = zip(alone, usual, strict=True)
    assert [place for place, (one, other) in enumerate(pairs) if texts([one]) != texts([other])] == [1, 3]


def test_an_attention_that_takes_no_masks_is_refused(checkpoint, questions, tmp_path, monkeypatch):
    from megc.answers import engine

    loaded = load(checkpoint, device="cpu")
    monkeypatch.setattr(loaded.model.config, "_attn_implementation", "flash_attention_2")
    with pytest.raises(DataError, match="--attention sdpa"):
        engine.ModelAnswerer(loaded, None, GREEDY)


# ---- compared answers


def test_log_likelihoods_are_those_of_separate_passes(checkpoint, questions, tmp_path):
    """Each allowed answer behind the whole prompt, with everything by the stock processor and forward."""
    rows, _ = answer(checkpoint, questions, tmp_path, Decoding(max_new_tokens=4), batch_size=7)
    loaded = load(checkpoint, device="cpu")
    closed = 0
    for row, sample in zip(rows, read_samples(questions), strict=True):
        allowed = allowed_answers(parse(row["question"]), row["dataset"])
        assert (row["choices"] is None) == (allowed is None)
        if allowed:
            closed += 1
            assert list(row["choices"]) == list(allowed)
            for text, found in row["choices"].items():
                assert abs(found - separately(loaded, sample, text)) < 1e-6 * max(10, abs(found))
            assert row["answer"] == max(row["choices"], key=row["choices"].get)
            shares = torch.softmax(torch.tensor(list(row["choices"].values()), dtype=torch.float64), 0).sort().values
            assert row["margin"] == pytest.approx(float(shares[-1] - shares[-2]))
    assert closed == 3 * 5
    other, _ = answer(checkpoint, questions, tmp_path / "none", Decoding(max_new_tokens=4), share_prefix="none")
    assert texts(other) == texts(rows)


def separately(loaded, sample, text):
    """Log-likelihood of an answer and the end token, from one pass over prompt and answer."""
    chat = loaded.processor.apply_chat_template(
        chat_messages(sample.record, with_answer=False), add_generation_prompt=True
    )
    images = [Image.open(path).convert("RGB") for path in sample.pictures]
    inputs = loaded.processor(text=[chat + text + "<|im_end|>"], images=images, return_tensors="pt")
    count = len(loaded.processor.tokenizer.encode(text)) + 1
    with torch.inference_mode():
        chances = torch.log_softmax(loaded.model(**inputs).logits[0, :-1].double(), dim=-1)
    wanted = inputs["input_ids"][0, 1:]
    return float(chances.gather(-1, wanted[:, None])[-count:].sum())


def test_answers_that_begin_alike_share_their_beginning():
    tree = tree_of([(5, 6), (5,), (7, 6, 8)], end=9)
    assert tree.tokens == (5, 6, 7, 6, 8)
    assert tree.parents == (0, 1, 0, 3, 4)
    assert tree.depths == (1, 2, 1, 2, 3)
    assert tree.paths == (((0, 5), (1, 6), (2, 9)), ((0, 5), (1, 9)), ((0, 7), (3, 6), (4, 8), (5, 9)))
    with pytest.raises(ValueError, match="empty"):
        tree_of([()], end=9)


def test_mean_scores_and_own_allowed_answers(checkpoint, questions, tmp_path):
    coarse = ("yes", "lip corner puller, brow lowerer, negative, positive, surprise")  # few tokens, and many
    found = {}
    for score in ("sum", "mean"):
        decoding = Decoding(max_new_tokens=4, coarse=coarse, fine=("no",), choice_score=score)
        rows, _ = answer(checkpoint, questions, tmp_path / score, decoding)
        found[score] = [row for row in rows if parse(row["question"]).kind in ("coarse", "fine")]
    assert [row["choices"] for row in found["sum"]] == [row["choices"] for row in found["mean"]]
    assert [row["answer"] for row in found["sum"]] == ["yes", "no"] * 3
    tokenizer = load(checkpoint, device="cpu").processor.tokenizer
    for row in found["mean"][::2]:
        scores = {text: value / (len(tokenizer.encode(text)) + 1) for text, value in row["choices"].items()}
        assert row["answer"] == max(scores, key=scores.get)
    assert {row["margin"] for row in found["mean"][1::2]} == {1.0}


def test_a_way_for_each_kind():
    decoding = Decoding(votes=3, decode=parse_decode(["greedy", "fine=choices", "long=sample"]))
    assert [decoding.mode(kind) for kind in ("coarse", "fine", "units", "long")] == [
        "greedy",
        "choices",
        "greedy",
        "sample",
    ]
    assert [decoding.votes_of(kind) for kind in ("fine", "units", "long")] == [1, 1, 3]
    assert [Decoding(votes=3).mode(kind) for kind in ("coarse", "units")] == ["choices", "sample"]
    assert Decoding(decode=parse_decode(["choices"])).mode("long") == "greedy"
    assert Decoding(temperature=0.1).record() == Decoding(seed=7).record()
    assert Decoding(votes=2, seed=1).record() != Decoding(votes=2).record()
    for word in ("guess", "mood=greedy", "coarse=guess"):
        with pytest.raises(ValueError, match=word):
            parse_decode([word])


# ---- lists of action units


@pytest.mark.parametrize("share", ["clip", "none"])
def test_a_random_model_lists_action_units_as_many_as_it_is_asked_for(checkpoint, questions, tmp_path, share):
    """Also where the list gets no room: a name is never cut off."""
    for decoding in (
        Decoding(max_new_tokens=2, votes=4, temperature=2.0, top_p=1.0),
        Decoding(max_new_tokens=24, votes=4, temperature=2.0, top_p=1.0),
    ):
        rows, _ = answer(checkpoint, questions, tmp_path / share, decoding, share_prefix=share)
        asked = [(parse(row["question"]), row) for row in rows]
        lists = [(question, text) for question, row in asked for text in row["votes"] if "units" in question.kind]
        assert len(lists) == 3 * 3 * 4
        for question, text in lists:
            units = split_units(text)
            assert None not in units
            assert ", ".join(unit_name(unit) for unit in units) == text
            assert question.kind == "distinct_units" or (len(units) > 1) == question.many
    assert len({text for _, text in lists}) > 20


def test_both_ways_write_the_same_lists(checkpoint, questions, tmp_path):
    for decoding in (Decoding(max_new_tokens=12), Decoding(max_new_tokens=12, votes=3, temperature=1.5)):
        plain, _ = answer(checkpoint, questions, tmp_path / "none", decoding, share_prefix="none", batch_size=5)
        assert texts(plain) == texts(answer(checkpoint, questions, tmp_path / "clip", decoding, batch_size=9)[0])


def test_a_walk_through_the_constraint_writes_every_name_once_and_ends(checkpoint):
    tokenizer = load(checkpoint, device="cpu").processor.tokenizer
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
