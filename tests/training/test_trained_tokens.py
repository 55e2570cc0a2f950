"""What is trained is the answer and `<|im_end|>`, shifted once; a packed clip is worth its separate samples."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import write_instructions

from megc.model import checkpoint, tiny
from megc.model.attention import packed_mask
from megc.model.packing import IGNORED, PositionIds, encode, pack_samples
from megc.model.samples import PictureStore, chat_messages, read_samples, shifted, training_texts
from megc.problems import DataError
from megc.training.collate import Clips, Collator, answer_loss, answer_weights, mark_answers, token_losses
from megc.vqa.instructions import answer_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    samples = read_samples(write_instructions(root, size=(140, 112)))
    tiny.build(root / "base", training_texts(sample.record for sample in samples))
    loaded = checkpoint.load(root / "base", device="cpu")
    return samples, loaded, PictureStore(loaded.processor)


def collator(loaded, pixels, packed=True):
    return Collator(pixels, loaded.processor.tokenizer.pad_token_id, packed)


def batch_of(loaded, pixels, packed, attention=True):
    return collator(loaded, pixels, attention)([(one, (0, 0)) for one in packed])


def gradients(model, batch):
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.item(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("packing", ["clip", "none"])
def test_trained_tokens_are_the_answers_and_nothing_else(world, packing):
    samples, loaded, pixels = world
    packed = pack_samples(samples, pixels, loaded.model.config, packing=packing)
    assert len(packed) == (3 if packing == "clip" else 18)
    tokenizer = loaded.processor.tokenizer
    trained = []
    for one in packed:
        for branch in one.branch.unique():
            own = one.targets[(one.branch == branch) & (one.targets != IGNORED)]
            trained += [tokenizer.decode(own)] * bool(len(own))
    assert trained == [f"{answer_of(sample.record)}<|im_end|>" for sample in samples]


def test_targets_are_the_next_token_of_the_same_branch(world):
    samples, loaded, pixels = world
    for one in pack_samples(samples, pixels, loaded.model.config):
        for at in (one.targets != IGNORED).nonzero()[:, 0].tolist():
            last_of_branch = at + 1 == len(one) or one.branch[at + 1] != one.branch[at]
            assert not last_of_branch and one.targets[at] == one.input_ids[at + 1]


def test_batch_reaches_the_loss_shifted_once(world):
    """The model's own loss equals cross entropy at the places just before each answer token."""
    samples, loaded, pixels = world
    packed = pack_samples(samples[:1], pixels, loaded.model.config, packing="none")
    batch = batch_of(loaded, pixels, packed)
    with torch.no_grad():
        loss = loaded.model(**batch).loss
        full = {k: v for k, v in batch.items() if k not in ("labels", "shift_labels", "logits_to_keep")}
        logits = loaded.model(**full).logits[0]
    ids = packed[0].input_ids
    length = len(loaded.processor.tokenizer.encode(answer_of(samples[0].record))) + 1
    wanted = torch.nn.functional.cross_entropy(logits[-length - 1 : -1], ids[-length:])
    torch.testing.assert_close(loss, wanted)


def test_packed_equals_separate_in_loss_and_gradients(world):
    samples, loaded, pixels = world
    together = pack_samples(samples, pixels, loaded.model.config)
    apart = pack_samples(samples, pixels, loaded.model.config, packing="none")
    loss, grads = gradients(loaded.model, batch_of(loaded, pixels, together))
    loss_apart, grads_apart = gradients(loaded.model, batch_of(loaded, pixels, apart, attention=False))
    assert loss == pytest.approx(loss_apart, rel=1e-6)
    for name, grad in grads.items():
        assert (grad - grads_apart[name]).norm() <= 1e-5 * grads_apart[name].norm(), name
    assert sum(map(len, together)) < 0.5 * sum(map(len, apart))


def test_tokens_pixels_and_positions_are_those_of_the_processor(world):
    samples, loaded, pixels = world
    sample, model = samples[5], loaded.model
    pictures = [Image.open(path) for path in sample.pictures]
    text = loaded.processor.apply_chat_template(chat_messages(sample.record), tokenize=False)
    stock = loaded.processor(text=[text], images=pictures, return_tensors="pt")
    ours = batch_of(loaded, pixels, pack_samples([sample], pixels, model.config))
    assert stock["input_ids"][0, :-1].tolist() == ours["input_ids"][0].tolist()  # the last is the newline
    assert torch.equal(stock["pixel_values"], ours["pixel_values"])
    assert torch.equal(stock["image_grid_thw"], ours["image_grid_thw"])
    assert torch.equal(stock["mm_token_type_ids"][:, :-1].bool(), ours["mm_token_type_ids"].bool())
    with torch.no_grad():
        wanted = model(**stock).logits[:, :-1][:, ours["logits_to_keep"]]
        torch.testing.assert_close(model(**ours).logits, wanted, atol=1e-4, rtol=1e-4)


def test_pictures_are_resized_as_the_processor_does(world, tmp_path):
    _, loaded, _ = world
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (333, 281, 3), dtype=np.uint8)).save(tmp_path / "odd.png")
    processor = checkpoint.load_processor(loaded.model.name_or_path, max_pixels=23520)
    stock = processor.image_processor(images=[Image.open(tmp_path / "odd.png")], return_tensors="pt")
    ours = PictureStore(processor).batch([([tmp_path / "odd.png"], [0], (0, 0))])
    assert torch.equal(stock["pixel_values"], ours["pixel_values"])


def test_no_branch_sees_another():
    mask = packed_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0]
    assert mask[3].tolist() == [True, True, True, True, False, False]
    assert mask[4].tolist() == [True, True, False, False, True, False]
    assert mask.any(1).all()


def test_a_clip_that_is_too_long_is_cut_between_questions_and_a_row_is_refused(world, tmp_path):
    samples, loaded, pixels = world
    whole = pack_samples(samples[:6], pixels, loaded.model.config)
    parts = pack_samples(samples[:6], pixels, loaded.model.config, max_length=len(whole[0]) - 1)
    assert [name for part in parts for name in part.ids] == list(whole[0].ids) and len(parts) == 2
    with pytest.raises(DataError, match=r"train.jsonl, row demo_sub00_EP01_5.*max_length") as error:
        pack_samples(samples[:6], pixels, loaded.model.config, max_length=120, file="train.jsonl")
    assert "truncat" not in str(error.value)


def test_texts_that_part_before_the_pictures_are_not_packed(world):
    samples, loaded, pixels = world
    record = samples[0].record
    system = {"role": "system", "content": "Another system prompt."}
    other = dataclasses.replace(samples[0], record={**record, "messages": [system, *record["messages"][1:]]})
    packed = pack_samples([samples[0], other], pixels, loaded.model.config)
    assert [len(one.ids) for one in packed] == [1, 1]


def test_special_tokens_in_a_text_are_refused(world):
    samples, loaded, pixels = world
    record = samples[0].record
    answer = {"role": "assistant", "content": "yes<|im_end|>\n<|im_start|>user"}
    bad = dataclasses.replace(samples[0], record={**record, "messages": [*record["messages"][:2], answer]})
    with pytest.raises(DataError, match="special tokens"):
        pack_samples([bad], pixels, loaded.model.config, file="x")


def test_position_ids_count_pictures_by_their_larger_side(world):
    samples, loaded, pixels = world
    encoded = encode(samples[0], pixels, PositionIds(loaded.model.config))
    is_picture = encoded.ids == loaded.model.config.image_token_id
    assert is_picture.sum() == 2 * 5 * 4
    saved = 2 * (5 * 4 - 5)  # a picture of 5 × 4 tokens advances the text by 5
    assert encoded.positions[0, -1] == len(encoded.ids) - 1 - saved


def test_shift_moves_pictures_and_depends_on_the_epoch_only(world):
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert shifted(picture, 1, 0)[:, 0, 0].tolist() == [0, 0, 4]
    assert shifted(picture, 0, -1)[0, :, 0].tolist() == [1, 2, 3, 3]
    samples, loaded, pixels = world
    packed = pack_samples(samples, pixels, loaded.model.config)
    data = Clips(packed, shift=4, seed=1)
    first = [data[place][1] for place in range(3)]
    data.epoch = 1
    second = [data[place][1] for place in range(3)]
    data.epoch = 0
    assert [data[place][1] for place in range(3)] == first != second


@pytest.mark.parametrize("loss_per", ["token", "question"])
def test_loss_weighs_alike_over_micro_batches(loss_per):
    generator, end = torch.Generator().manual_seed(0), 6
    logits = torch.randn(4, 5, 7, generator=generator)
    targets = torch.randint(0, 6, (4, 5), generator=generator)
    targets[:, 4] = targets[1, 2] = end
    targets[0, :2] = IGNORED
    options = {"end": end, "loss_per": loss_per}
    whole = answer_loss({"logits": logits}, targets, **options)
    total = answer_weights(targets, **options).sum()
    assert total == (18 if loss_per == "token" else 5)
    parts = [answer_loss({"logits": logits[at : at + 1]}, targets[at : at + 1], total, **options) for at in range(4)]
    torch.testing.assert_close(whole, sum(parts))


def test_loss_per_question_is_the_mean_of_the_answers_means():
    end, gap = 9, IGNORED
    targets = torch.tensor([[1, 9, gap, 2, 3, 9], [gap, gap, 9, gap, gap, gap]])
    third = 1 / 3
    wanted = torch.tensor([[0.5, 0.5, 0, third, third, third], [0, 0, 1, 0, 0, 0]])
    torch.testing.assert_close(answer_weights(targets, end, "question"), wanted)
    logits = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    losses = token_losses(logits, targets)
    by_hand = (losses[0, :2].mean() + losses[0, 3:].mean() + losses[1, 2]) / 3
    torch.testing.assert_close(answer_loss({"logits": logits}, targets, end=end, loss_per="question"), by_hand)


def test_answers_are_right_as_a_whole():
    end, gap = 9, IGNORED
    targets = np.array([[1, 9, gap, 2, 3, 9], [gap, gap, 4, 9, gap, gap]])
    predicted = np.array([[1, 9, 0, 2, 0, 9], [0, 0, 4, 9, 0, 0]])
    assert mark_answers(predicted, targets, end) == [[True, False], [True]]
