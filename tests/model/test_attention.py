"""No token sees a later one or another question, whichever attention computes it, in training and in answering."""

import json

import pytest
import torch
from answer_files import answer, write_questions
from sft_runs import arguments, settings
from tiny_data import SMALL, write_instructions

from megc.answers.prefix import Branches, PromptPrefix, TokenSpan, encode_prefixes
from megc.answers.settings import Decoding
from megc.model.attention import additive_mask
from megc.model.checkpoint import load
from megc.problems import DataError
from megc.training import sft
from megc.training.settings import ATTENTIONS

LANGUAGE_PAIRS = [
    *(("sdpa", "clip"), ("sdpa", "none"), ("eager", "clip"), ("eager", "none")),
]


@pytest.fixture(scope="module")
def train_file(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("data"), size=SMALL)


def training_batch(train_file, tmp_path, attention, packing):
    """Model of a run, its first two sequences, and the batch of them as the model gets it, logits at every place."""
    run = settings(train_file, train_file.parent / "base", attention=attention, packing=packing, shift=0)
    trainer = sft.prepare(run, arguments(tmp_path / "out")).trainer
    packed = trainer.train_dataset.packed[:2]
    batch = trainer._prepare_inputs(trainer.data_collator([(sequence, (0, 0)) for sequence in packed]))
    for name in ("labels", "shift_labels", "logits_to_keep"):
        del batch[name]
    return trainer.model.eval(), packed, batch


def logits_of(model, batch):
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.parametrize(("attention", "packing"), LANGUAGE_PAIRS)
def test_in_training_no_token_sees_a_later_one_or_another_question(train_file, tmp_path, attention, packing):
    model, packed, batch = training_batch(train_file, tmp_path, attention, packing)
    assert model.config.text_config._attn_implementation == attention
    logits = logits_of(model, batch)
    branch = packed[0].branch
    last_branch = int(branch.max())
    places = [len(branch) - 2]  # the last answer: what comes before must not know it
    if packing == "clip":
        places.append(int((branch == 1).nonzero()[-2]))  # the first answer: the other questions must not know it
    for place in places:
        changed = batch["input_ids"].clone()
        changed[0, place] = (changed[0, place] + 1) % 200
        after = logits_of(model, {**batch, "input_ids": changed})
        torch.testing.assert_close(after[0, :place], logits[0, :place], atol=1e-5, rtol=0)
        torch.testing.assert_close(after[1], logits[1], atol=1e-5, rtol=0)
        assert (after[0, place] - logits[0, place]).abs().max() > 0.01
        if packing == "clip" and branch[place] != last_branch:
            others = branch > branch[place]
            kept = slice(None, len(branch))
            torch.testing.assert_close(after[0, kept][others], logits[0, kept][others], atol=1e-5, rtol=0)


def test_all_attentions_give_the_same_logits(train_file, tmp_path):
    logits = {}
    for attention in ("sdpa", "eager"):
        model, packed, batch = training_batch(train_file, tmp_path, attention, "clip")
        logits[attention] = logits_of(model, batch)[0, : len(packed[0])]
    torch.testing.assert_close(logits["eager"], logits["sdpa"], atol=1e-4, rtol=0)


def test_an_additive_mask_masks_what_is_not_allowed():
    allowed = torch.tensor([[True, False], [True, True]])
    shares = torch.softmax(torch.zeros(2, 2) + additive_mask(allowed), dim=-1)
    assert shares.tolist() == [[1, 0], [0.5, 0.5]]


# ---- answering


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"), clips=2)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_in_answering_no_token_sees_a_later_one_or_another_question(checkpoint, attention):
    loaded = load(checkpoint, device="cpu", attn_implementation=attention)
    ids = torch.arange(10, 30)
    positions = torch.arange(100).expand(3, -1)
    prefix = PromptPrefix(ids, positions[:, :20], [])

    def states(first: list[int], second: list[int]) -> list[torch.Tensor]:
        rows = Branches(loaded, encode_prefixes(loaded, [prefix]), [0, 0])
        spans = [
            TokenSpan(row, torch.tensor(tokens), positions[:, 20 : 20 + len(tokens)], torch.ones(6, 6).tril().bool())
            for row, tokens in enumerate((first, second))
        ]
        return rows.encode_suffixes(spans)

    with torch.inference_mode():
        first, second = states([31, 32, 33, 34, 35, 36], [41, 42, 43, 44, 45, 46])
        same, changed = states([31, 32, 33, 34, 35, 36], [41, 42, 43, 44, 99, 46])
    torch.testing.assert_close(same, first, atol=1e-5, rtol=0)
    torch.testing.assert_close(changed[:4], second[:4], atol=1e-5, rtol=0)
    assert (changed[4:] - second[4:]).abs().max() > 0.01


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_answer_does_not_change_with_another_question_of_the_clip(checkpoint, questions, tmp_path, attention):
    lines = [json.loads(line) for line in questions.read_text().splitlines()]
    text = lines[2]["messages"][1]["content"]
    lines[2]["messages"][1]["content"] = text.replace("lip corner puller", "brow lowerer")
    assert lines[2]["messages"][1]["content"] != text
    lines[2]["row"]["question"] = lines[2]["row"]["question"].replace("lip corner puller", "brow lowerer")
    other = questions.parent / "other.jsonl"
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs = []
    for name, file in (("first", questions), ("second", other)):
        rows, problems = answer(checkpoint, file, tmp_path / name, Decoding(max_new_tokens=8), attention=attention)
        assert not problems
        runs.append(rows)
    for number, (row, again) in enumerate(zip(*runs, strict=True)):
        if number == 2:
            continue
        assert (row["answer"], row["choices"]) == (again["answer"], pytest.approx(again["choices"], abs=1e-4))


@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2", "paged|sdpa"])
def test_an_attention_that_cannot_be_right_is_refused_by_name_before_anything_is_loaded(
    questions, tmp_path, attention
):
    with pytest.raises(DataError, match=rf"--attention {attention.replace('|', '.')}.*sdpa"):
        answer(tmp_path / "gone", questions, tmp_path / "out", attention=attention)


def test_every_attention_that_training_offers_is_tested_here():
    without_gpu = {attention for attention, _ in LANGUAGE_PAIRS}
    assert set(ATTENTIONS) - without_gpu == {"flash_attention_2"}  # refused on a machine without it (test_sft)
