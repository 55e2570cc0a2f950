"""Shared prefixes and compared answers give what each question would get alone, on every kind of question."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from answer_files import GREEDY, SAMPLED, answer, answer_plainly, texts, write_questions
from PIL import Image

from benchmarks.answers import Seen, build_inputs
from megc.answers.choices import build_tree
from megc.answers.engine import ModelAnswerer, tokenize_prompts
from megc.answers.settings import Decoding
from megc.facs import unit_name
from megc.model.checkpoint import load
from megc.model.packing import PositionIds, encode
from megc.model.samples import PictureStore, chat_messages, read_samples
from megc.problems import DataError
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import LONG_KINDS, TEMPLATES, allowed_answers, parse, split_units

STRUCTURED = PromptSettings(images=("apex", "flow"))
CLIP_TEMPLATES = {kind: texts for kind, texts in TEMPLATES.items() if kind not in LONG_KINDS}
EVERY_KIND = [
    text.format(unit="lip corner puller", seconds="0.40") for texts in CLIP_TEMPLATES.values() for text in texts
]


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Every kind of question about a clip, on three clips with pictures of different sizes."""
    return write_questions(tmp_path_factory.mktemp("questions"), questions=EVERY_KIND, prompt=STRUCTURED)


# ---- shared prefixes


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "votes"])
def test_branches_of_a_shared_prefix_answer_as_each_question_alone(checkpoint, questions, tmp_path, decoding):
    """Questions of different lengths and pictures of different sizes share the batches."""
    alone = answer_plainly(checkpoint, questions, decoding)
    assert len({text for text, _, _ in alone}) > len(alone) / 2  # a constant would be equal for no good reason
    for size in (1, 2, 8):
        rows, problems = answer(checkpoint, questions, tmp_path / str(size), decoding, batch_size=size)
        assert problems == [] and texts(rows) == alone
        assert {parse(row["question"]).kind for row in rows} == set(CLIP_TEMPLATES)


def test_a_clips_prefix_goes_through_the_model_once(checkpoint, questions, tmp_path, monkeypatch):
    from megc.answers import engine

    encoded, encode = [], engine.encode_prefixes
    monkeypatch.setattr(
        engine, "encode_prefixes", lambda loaded, some, begun: encoded.extend(some) or encode(loaded, some, begun)
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
    alone = answer_plainly(checkpoint, mixed, GREEDY)
    usual, _ = answer(checkpoint, questions, tmp_path / "usual", batch_size=16)
    for size in (2, 30):
        assert texts(answer(checkpoint, mixed, tmp_path / str(size), batch_size=size)[0]) == alone
    pairs = zip(alone, texts(usual), strict=True)
    assert [number for number, (result, other) in enumerate(pairs) if result != other] == [1, 3]


def test_an_attention_that_takes_no_masks_is_refused(checkpoint, monkeypatch):
    loaded = load(checkpoint, device="cpu")
    monkeypatch.setattr(loaded.model.config, "_attn_implementation", "flash_attention_2")
    with pytest.raises(DataError, match=r"--attention flash_attention_2.*compared answers; use sdpa"):
        ModelAnswerer(loaded, None, GREEDY)


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
    tree = build_tree([(5, 6), (5,), (7, 6, 8)], end=9)
    assert tree.tokens == (5, 6, 7, 6, 8)
    assert tree.parents == (0, 1, 0, 3, 4)
    assert tree.depths == (1, 2, 1, 2, 3)
    assert tree.paths == (((0, 5), (1, 6), (2, 9)), ((0, 5), (1, 9)), ((0, 7), (3, 6), (4, 8), (5, 9)))
    with pytest.raises(ValueError, match="empty"):
        build_tree([()], end=9)


def test_allowed_answers_of_the_users_own(checkpoint, questions, tmp_path):
    coarse = ("yes", "lip corner puller, brow lowerer, negative, positive, surprise")  # few tokens, and many
    rows, _ = answer(checkpoint, questions, tmp_path, Decoding(max_new_tokens=4, coarse=coarse, fine=("no",)))
    rows = [row for row in rows if parse(row["question"]).kind in ("coarse", "fine")]
    assert [row["answer"] for row in rows] == ["yes", "no"] * 3
    assert [tuple(row["choices"]) for row in rows] == [coarse, ("no",)] * 3
    assert {row["margin"] for row in rows[1::2]} == {1.0}


# ---- lists of action units


def test_a_random_model_lists_action_units_as_many_as_it_is_asked_for(checkpoint, questions, tmp_path):
    """Also where the list gets no room: a name is never cut off."""
    for decoding in (
        Decoding(max_new_tokens=2, votes=4, temperature=2.0, top_p=1.0),
        Decoding(max_new_tokens=24, votes=4, temperature=2.0, top_p=1.0),
    ):
        rows, _ = answer(checkpoint, questions, tmp_path, decoding)
        asked = [(parse(row["question"]), row) for row in rows]
        lists = [(question, text) for question, row in asked for text in row["votes"] if "units" in question.kind]
        assert len(lists) == 3 * 2 * 4
        for question, text in lists:
            units = split_units(text)
            assert None not in units
            assert ", ".join(unit_name(unit) for unit in units) == text
            assert (len(units) > 1) == question.many
    assert len({text for _, text in lists}) > 15


@pytest.mark.parametrize("sampling", [{}, {"votes": 3, "temperature": 1.5}], ids=["greedy", "votes"])
def test_lists_are_those_of_each_question_alone(checkpoint, questions, tmp_path, sampling):
    decoding = Decoding(max_new_tokens=12, **sampling)
    rows, _ = answer(checkpoint, questions, tmp_path, decoding, batch_size=9)
    alone = answer_plainly(checkpoint, questions, decoding)
    written = [number for number, result in enumerate(alone) if result]
    assert len(written) > len(rows) / 2
    assert [texts(rows)[number] for number in written] == [alone[number] for number in written]


# ---- prompts


def test_the_model_gets_the_tokens_of_training_and_of_the_processor(checkpoint, questions):
    """Tokens of a question are those that training packs; a padded batch is the processor's own, key by key."""
    loaded = load(checkpoint, device="cpu")
    processor, positions = loaded.processor, PositionIds(loaded.model.config)
    pixels, samples = PictureStore(processor), read_samples(questions)
    grids = [torch.tensor([pixels.grid(*size) for size in sample.sizes]) for sample in samples]
    for sample, tokens in zip(samples, tokenize_prompts(processor, samples, grids), strict=True):
        encoded = encode(sample, pixels, positions)
        assert tokens.tolist() == encoded.ids[: encoded.answer].tolist()
    inputs = build_inputs(loaded, samples, [Seen(grid, ()) for grid in grids])
    stock = by_processor(processor, samples)
    assert inputs.keys() | {"pixel_values"} == stock.keys()
    assert all(torch.equal(inputs[name].long(), stock[name].long()) for name in inputs)


def by_processor(processor, samples):
    """What the stock processor makes of prompts and pictures."""
    chats = [chat_messages(sample.record, with_answer=False) for sample in samples]
    texts = [processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats]
    images = [Image.open(path).convert("RGB") for sample in samples for path in sample.pictures]
    return processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")


def test_greedy_answers_are_those_of_plain_transformers(checkpoint, questions, tmp_path):
    """Of every third question: by the stock processor and `generate`, with pictures of its own."""
    rows, _ = answer(checkpoint, questions, tmp_path, batch_size=5)
    loaded = load(checkpoint, device="cpu")
    for row, sample in list(zip(rows, read_samples(questions), strict=True))[::3]:
        inputs = by_processor(loaded.processor, [sample])
        written = loaded.model.generate(**inputs, do_sample=False, repetition_penalty=1.0, max_new_tokens=10)
        text = loaded.processor.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row["answer"] == text.strip()


# ---- votes


def test_votes_depend_on_the_seed_and_on_nothing_else(checkpoint, questions, tmp_path):
    first, _ = answer(checkpoint, questions, tmp_path / "a", SAMPLED)
    torch.manual_seed(123)
    again, _ = answer(checkpoint, questions, tmp_path / "b", SAMPLED)
    assert again == first
    other, _ = answer(checkpoint, questions, tmp_path / "c", replace(SAMPLED, seed=1))
    assert [row["votes"] for row in other] != [row["votes"] for row in first]


def test_the_checkpoints_temperature_of_zero_and_its_penalty_are_not_inherited(checkpoint, questions, tmp_path):
    changed = shutil.copytree(checkpoint, tmp_path / "changed")
    defaults = json.loads((changed / "generation_config.json").read_text())
    assert defaults["temperature"] < 1e-5
    (changed / "generation_config.json").write_text(json.dumps({**defaults, "repetition_penalty": 9.0}))
    rows, _ = answer(changed, questions, tmp_path / "votes", SAMPLED)
    assert all(len(row["votes"]) == 3 for row in rows)
    assert any(len(set(row["votes"])) == 3 for row in rows)
    cold, _ = answer(changed, questions, tmp_path / "cold", replace(SAMPLED, temperature=1e-4))
    assert {row["agreement"] for row in cold} == {1.0}
    plain, _ = answer(checkpoint, questions, tmp_path / "plain", GREEDY)
    assert [row["answer"] for row in cold] == [row["answer"] for row in plain]
