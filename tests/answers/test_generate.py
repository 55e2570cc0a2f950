"""Answers of a tiny random checkpoint do not depend on the batch, and are those of plain transformers."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from answer_files import GREEDY, SAMPLED, answer, write_checkpoint, write_questions
from PIL import Image
from transformers import AutoConfig

from megc.answers import engine
from megc.answers.generate import build_inputs
from megc.model.checkpoint import load, load_processor
from megc.model.packing import PositionIds, encode
from megc.model.samples import PictureStore, chat_messages, read_samples
from megc.vqa.instructions import read_records


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "votes"])
def test_answers_are_the_same_in_batches_of_1_2_and_8(checkpoint, questions, tmp_path, decoding):
    """Questions of different lengths and pictures of different sizes share the batches."""
    alone, problems = answer(checkpoint, questions, tmp_path / "1", decoding, batch_size=1, share_prefix="none")
    assert problems == []
    assert len({row["answer"] for row in alone}) > len(alone) / 2  # a constant would be equal for no good reason
    for size, sort in ((2, True), (8, True), (8, False)):
        settings = {"batch_size": size, "sort": sort, "share_prefix": "none"}
        batched, _ = answer(checkpoint, questions, tmp_path / f"{size}{sort}", decoding, **settings)
        assert batched == alone


def test_rows_come_out_as_they_went_in_with_the_answer_replaced(checkpoint, questions, tmp_path):
    rows, _ = answer(checkpoint, questions, tmp_path, batch_size=8)
    asked = [record["row"] for record in read_records(questions)]
    for key in ("id", "dataset", "image_id", "subject", "filename", "question"):
        assert [row[key] for row in rows] == [row[key] for row in asked]
    assert "the truth" not in {row["answer"] for row in rows}
    assert all(row["votes"] == [row["answer"]] and row["agreement"] is None for row in rows)


def test_the_true_answer_does_not_reach_the_model(checkpoint, questions, tmp_path):
    rows, _ = answer(checkpoint, questions, tmp_path / "answered", batch_size=8)
    bare = tmp_path / "questions"
    shutil.copytree(questions.parent, bare)
    records = [{**record, "messages": record["messages"][:2]} for record in read_records(questions)]
    (bare / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    unanswered, _ = answer(checkpoint, bare / "test.jsonl", tmp_path / "bare", batch_size=8)
    assert unanswered == rows


def test_votes_depend_on_the_seed_and_on_nothing_else(checkpoint, questions, tmp_path):
    first, _ = answer(checkpoint, questions, tmp_path / "a", SAMPLED)
    torch.manual_seed(123)
    again, _ = answer(checkpoint, questions, tmp_path / "b", SAMPLED)
    assert again == first
    other, _ = answer(checkpoint, questions, tmp_path / "c", replace(SAMPLED, seed=1))
    assert [row["votes"] for row in other] != [row["votes"] for row in first]


def test_votes_differ_although_the_checkpoint_has_temperature_zero_as_default(checkpoint, questions, tmp_path):
    defaults = json.loads((checkpoint / "generation_config.json").read_text())
    assert defaults["temperature"] < 1e-5
    rows, _ = answer(checkpoint, questions, tmp_path, SAMPLED)
    assert all(len(row["votes"]) == 3 for row in rows)
    assert any(len(set(row["votes"])) == 3 for row in rows)
    cold, _ = answer(checkpoint, questions, tmp_path, replace(SAMPLED, temperature=1e-4))
    greedy, _ = answer(checkpoint, questions, tmp_path, GREEDY)
    assert [row["answer"] for row in cold] == [row["answer"] for row in greedy]
    assert {row["agreement"] for row in cold} == {1.0}


def test_the_repetition_penalty_of_the_checkpoint_is_not_inherited(checkpoint, questions, tmp_path):
    plain, _ = answer(checkpoint, questions, tmp_path, GREEDY)
    changed = shutil.copytree(checkpoint, tmp_path / "changed")
    defaults = json.loads((changed / "generation_config.json").read_text())
    (changed / "generation_config.json").write_text(json.dumps({**defaults, "repetition_penalty": 9.0}))
    assert [row["answer"] for row in answer(changed, questions, tmp_path)[0]] == [row["answer"] for row in plain]
    asked, _ = answer(checkpoint, questions, tmp_path, replace(GREEDY, repetition_penalty=9.0))
    assert [row["answer"] for row in asked] != [row["answer"] for row in plain]


def test_the_model_is_asked_as_it_is_trained_and_as_the_processor_does(checkpoint, questions):
    """Tokens of a question are those that training packs; a padded batch is the processor's own, key by key."""
    processor = load_processor(checkpoint)
    pixels, positions = PictureStore(processor), PositionIds(AutoConfig.from_pretrained(checkpoint))
    samples = read_samples(questions)
    grids = [torch.tensor([pixels.grid(*size) for size in sample.sizes]) for sample in samples]
    for sample, grid in zip(samples, grids, strict=True):
        encoded = encode(sample, pixels, positions)
        ids = build_inputs(processor, [sample], [grid])["input_ids"][0]
        assert ids.tolist() == encoded.ids[: encoded.answer].tolist()
    ours = build_inputs(processor, samples, grids)
    theirs = by_processor(processor, samples)
    assert ours.keys() | {"pixel_values"} == theirs.keys()
    assert all(torch.equal(ours[name].long(), theirs[name].long()) for name in ours)


def by_processor(processor, samples):
    """What the stock processor makes of prompts and pictures."""
    chats = [chat_messages(sample.record, with_answer=False) for sample in samples]
    texts = [processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats]
    images = [Image.open(path).convert("RGB") for sample in samples for path in sample.pictures]
    return processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")


def test_greedy_answers_are_those_of_plain_transformers(checkpoint, questions, tmp_path):
    """Pictures encoded once a clip change nothing against encoding them with every question."""
    rows, _ = answer(checkpoint, questions, tmp_path, batch_size=5)
    loaded = load(checkpoint, device="cpu")
    for row, sample in zip(rows, read_samples(questions), strict=True):
        inputs = by_processor(loaded.processor, [sample])
        written = loaded.model.generate(**inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=10)
        text = loaded.processor.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row["answer"] == text.strip()


def test_each_clips_pictures_are_encoded_once(checkpoint, questions, tmp_path, monkeypatch):
    encoded, see = [], engine.see
    monkeypatch.setattr(engine, "see", lambda loaded, groups: encoded.extend(groups) or see(loaded, groups))
    whole, _ = answer(checkpoint, questions, tmp_path / "whole", batch_size=2, share_prefix="none")
    assert len(encoded) == 3
    monkeypatch.setattr(engine, "_KEPT", 1)
    small, _ = answer(checkpoint, questions, tmp_path / "small", batch_size=3, share_prefix="none")
    assert small == whole
    assert 3 + 3 < len(encoded) < 3 + 12
