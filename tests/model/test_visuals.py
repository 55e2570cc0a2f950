"""A clip's frames as one video: patches, positions and features as transformers has them, packed and shared."""

import numpy as np
import pytest
import torch
from answer_files import GREEDY, answer
from sft_runs import arguments, settings
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from video_questions import write_video_questions

from megc.answers.settings import Decoding
from megc.model.checkpoint import load
from megc.model.packing import PositionIds, encode, pack_samples
from megc.model.samples import PictureStore, chat_messages, read_samples, shifted
from megc.model.vision_tower import encode_visuals
from megc.model.visuals import group_frames, patch_inputs, token_kinds, visual_grid
from megc.training.sft import prepare
from megc.vqa.questions import allowed_answers, parse

BOTH = [("flow", "video"), ("video",), ("video", "flow")]


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_frames_are_grouped_by_tag():
    assert group_frames("abcd", (0, 2, 0)) == ["a", ["b", "c"], "d"]
    assert group_frames((), ()) == []
    with pytest.raises(ValueError, match="4 files for tags of 3"):
        group_frames("abcd", (0, 2))


@pytest.mark.parametrize("frames", [2, 5, 8])
def test_patches_of_a_video_are_those_of_transformers_own_processor(checkpoint, frames):
    """Frames two by two, the last of an odd number with itself."""
    processor, video = load(checkpoint, device="cpu").processor, noise(frames, 56, 84)
    ours = patch_inputs(processor.image_processor, [noise(28, 28), video])
    own = Qwen2VLVideoProcessor(do_resize=False, do_sample_frames=False)
    theirs = own([torch.from_numpy(video).permute(0, 3, 1, 2)], return_tensors="pt")
    assert ours["video_grid_thw"].tolist() == theirs["video_grid_thw"].tolist() == [[(frames + 1) // 2, 4, 6]]
    torch.testing.assert_close(ours["pixel_values_videos"], theirs["pixel_values_videos"])
    assert ours["image_grid_thw"].tolist() == [[1, 2, 2]]


def test_features_of_a_video_are_those_of_transformers_own_tower(checkpoint):
    """The fast tower takes each time of a video as a picture; videos and pictures in any order."""
    loaded = load(checkpoint, device="cpu")
    visuals = [noise(4, 140, 168), noise(112, 112), noise(5, 56, 28)]
    inputs = patch_inputs(loaded.processor.image_processor, visuals)
    with torch.inference_mode():
        first, picture, second = encode_visuals(loaded, visuals)
        videos = loaded.model.model.get_video_features(
            inputs["pixel_values_videos"], inputs["video_grid_thw"], return_dict=True
        ).pooler_output
        pictures = loaded.model.model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        ).pooler_output
    for ours, theirs in zip((first, second, picture), (*videos, *pictures), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("images", BOTH)
def test_positions_are_those_of_get_rope_index(checkpoint, tmp_path, images):
    """Tokens by transformers' own processor, positions by the model's own `get_rope_index` at two frames a second."""
    loaded = load(checkpoint, device="cpu")
    store = PictureStore(loaded.processor)
    for sample in read_samples(write_video_questions(tmp_path, images, answered=True)):
        encoded = encode(sample, store, PositionIds(loaded.model.config))
        inputs = plain_inputs(loaded, sample, with_answer=True)
        length = len(encoded.ids)  # the template's last line break is not trained
        assert encoded.ids.tolist() == inputs["input_ids"][0, :length].tolist()
        positions, _ = loaded.model.model.get_rope_index(
            inputs["input_ids"],
            inputs["mm_token_type_ids"],
            inputs.get("image_grid_thw"),
            inputs["video_grid_thw"],
            second_per_grid_ts=torch.tensor([1.0]),
        )
        assert torch.equal(encoded.positions, positions[:, 0, :length])
        video = token_kinds(encoded.ids, loaded.model.config) == 2
        times = encoded.positions[0, video].unique()
        assert (times - times[0]).tolist() == [0, 2, 4]  # five frames, two by two


def plain_inputs(loaded, sample, with_answer=False, answer=""):
    """Inputs of a sample by transformers' own processor and template; the video processor cuts the frames."""
    record = sample.record
    if answer:
        messages = [*record["messages"][:2], {"role": "assistant", "content": answer}]
        record, with_answer = {**record, "messages": messages}, True
    text = loaded.processor.apply_chat_template(
        chat_messages(record, with_answer=with_answer), tokenize=False, add_generation_prompt=not with_answer
    )
    visuals = PictureStore(loaded.processor).visuals(sample.pictures, sample.lengths)
    tokens = iter([int(np.prod(visual_grid(loaded.processor.image_processor, each.shape))) // 4 for each in visuals])
    for mark in (loaded.processor.image_token, loaded.processor.video_token):
        assert text.count(mark) <= 1  # of each one at most: the order of the two does not matter below
    for part in sorted((text.find(mark), mark) for mark in ("<|image_pad|>", "<|video_pad|>") if mark in text):
        text = text.replace(part[1], part[1] * next(tokens))
    ids = loaded.processor.tokenizer(text, return_tensors="pt")
    inputs = patch_inputs(loaded.processor.image_processor, visuals)
    return {**ids, **inputs, "mm_token_type_ids": token_kinds(ids["input_ids"], loaded.model.config)}


@pytest.mark.parametrize("images", BOTH)
def test_packed_loss_is_that_of_questions_one_by_one(checkpoint, tmp_path, images):
    file = write_video_questions(tmp_path, images, answered=True)
    losses = []
    for packing, size in (("none", 9), ("clip", 3)):
        more = {"per_device_train_batch_size": size, "max_steps": 2}
        run = prepare(
            settings(file, tmp_path / "tiny", packing=packing, shift=0), arguments(tmp_path, max_grad_norm=0, **more)
        )
        assert len(run.trainer.train_dataset) == (9 if packing == "none" else 3)
        run.trainer.train()
        losses.append([row["loss"] for row in run.trainer.state.log_history if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_loss_of_a_packed_video_is_that_of_the_models_plain_forward(checkpoint, tmp_path):
    """Without positions, masks or packing of ours."""
    loaded = load(checkpoint, device="cpu")
    samples = read_samples(write_video_questions(tmp_path, answered=True))[:3]  # of one clip
    (packed,) = pack_samples(samples, PictureStore(loaded.processor), loaded.model.config)
    assert packed.lengths == (0, 5) and len(packed.pictures) == 6
    for sample, number in zip(samples, range(1, 4), strict=True):
        inputs = plain_inputs(loaded, sample, with_answer=True)
        branch = packed.input_ids[(packed.branch == 0) | (packed.branch == number)]
        assert branch.tolist() == inputs["input_ids"][0, : len(branch)].tolist()


@pytest.mark.parametrize("images", BOTH)
def test_likelihoods_behind_a_shared_prefix_are_those_of_plain_passes(checkpoint, tmp_path, images):
    file = write_video_questions(tmp_path, images)
    rows, problems = answer(checkpoint, file, tmp_path / "out", Decoding(max_new_tokens=4), batch_size=4)
    assert problems == []
    loaded, compared = load(checkpoint, device="cpu"), set()
    for row, sample in zip(rows, read_samples(file, answered=False), strict=True):
        if row["choices"] is None:
            continue
        for text in allowed_answers(parse(row["question"]), "casme2"):
            likelihood = plain_likelihood(loaded, sample, text)
            assert row["choices"][text] == pytest.approx(likelihood, abs=1e-4 * max(10, abs(likelihood)))
            compared.add(round(likelihood, 3))
    assert len(compared) == 3 * 5  # they depend on the clip


@torch.inference_mode()
def plain_likelihood(loaded, sample, text):
    """Log-likelihood of an answer and the end token in one pass of the stock model, which computes the positions."""
    inputs = plain_inputs(loaded, sample, answer=text)
    start = plain_inputs(loaded, sample)["input_ids"].shape[1]
    ids = inputs["input_ids"][0]
    end = start + int((ids[start:] == loaded.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")).nonzero()[0]) + 1
    logits = loaded.model(**inputs, second_per_grid_ts=torch.tensor([1.0])).logits[0].log_softmax(-1)
    return float(logits[torch.arange(start - 1, end - 1), ids[start:end]].sum())


def test_a_video_can_be_moved_and_a_blank_one_is_grey(checkpoint, tmp_path):
    file = write_video_questions(tmp_path / "data")
    usual, _ = answer(checkpoint, file, tmp_path / "usual", Decoding(max_new_tokens=4))
    blank, problems = answer(checkpoint, file, tmp_path / "blank", Decoding(max_new_tokens=4), blank="frames")
    assert problems == []
    pairs = [(row["choices"], other["choices"]) for row, other in zip(usual, blank, strict=True) if row["choices"]]
    assert all(one != other for one, other in pairs)
    video = noise(3, 28, 28)
    assert np.array_equal(shifted(video, 2, -1), np.stack([shifted(frame, 2, -1) for frame in video]))
    rows, problems = answer(checkpoint, file, tmp_path / "greedy", GREEDY)
    assert problems == [] and len(rows) == 9
