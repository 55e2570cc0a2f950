"""The tiny checkpoint is a Qwen2.5-VL checkpoint like any other, and a function of its texts and seed."""

import json
import shutil

import pytest
import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from sft_runs import arguments, settings
from tiny_data import write_instructions
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from megc.model import checkpoint, tiny
from megc.model.samples import read_samples, training_texts
from megc.problems import DataError
from megc.training.sft import check_run


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = write_instructions(tmp_path_factory.mktemp("data"))
    return training_texts(sample.record for sample in read_samples(path))


@pytest.fixture(scope="module")
def built(tmp_path_factory, texts):
    return tiny.build(tmp_path_factory.mktemp("tiny") / "base", texts)


def test_stock_classes_load_it_and_answer(built):
    processor = AutoProcessor.from_pretrained(built)
    model = AutoModelForImageTextToText.from_pretrained(built)
    picture = Image.new("RGB", (140, 168), "red")
    messages = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "Yes?"}]}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    pictures, _ = process_vision_info(messages)
    inputs = processor(text=[text], images=pictures, return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 5 * 6
    assert "mm_token_type_ids" in inputs
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > inputs["input_ids"].shape[1]


def test_it_is_small_and_its_weights_are_large_enough_to_learn(built):
    model = checkpoint.load_model(built)
    assert 0.8e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.2e6
    assert model.model.language_model.layers[0].mlp.up_proj.weight.std() > 0.1


def test_same_texts_and_seed_same_weights_and_vocabulary(tmp_path, texts, built):
    again = tiny.build(tmp_path / "again", reversed(texts))
    other = tiny.build(tmp_path / "other", texts, seed=1)
    weights = [checkpoint.load_model(path).state_dict() for path in (built, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["lm_head.weight"], weights[2]["lm_head.weight"])
    assert (built / "tokenizer.json").read_bytes() == (again / "tokenizer.json").read_bytes()


def test_added_tokens_stand_in_the_order_of_the_real_vocabulary(built):
    tokenizer = AutoTokenizer.from_pretrained(built)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in tiny.ADDED_TOKENS]
    assert ids == list(range(ids[0], ids[0] + 22))
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"


def test_words_of_the_texts_are_single_tokens_and_any_text_survives(built):
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert len(tokenizer.tokenize(" expression class")) == 2
    strange = "Ünïcode, 表情 🙂\n\ttabs  and  spaces"
    assert tokenizer.decode(tokenizer.encode(strange)) == strange


def test_ensure_builds_once_replaces_other_texts_and_spares_other_checkpoints(tmp_path, texts):
    path = tmp_path / "base"
    assert tiny.ensure(path, texts)
    assert not tiny.ensure(path, texts)
    assert tiny.ensure(path, [*texts, "something new"])
    for damage, message in (
        ('{"kind": "trained"}', "something else than an untrained tiny checkpoint"),
        ('{"kind": ["tiny, untrained"]}', r"megc\.json: kind is .*, not text"),
        ("{", r"megc\.json.*not JSON"),
    ):
        (path / "megc.json").write_text(damage)
        with pytest.raises(DataError, match=f"{message}.*build_tiny false"):
            tiny.ensure(path, texts)


def test_layout_of_the_hub_loads_with_equal_weights_and_tokens(tmp_path, built, texts):
    """Flat config, rope_scaling of type mrope, vocab.json and merges.txt: the files of Qwen's own releases."""
    model, config = checkpoint.load_model(built), json.loads((built / "config.json").read_text())
    text, vision = config.pop("text_config"), config.pop("vision_config")
    rope = text.pop("rope_parameters")
    flat = {key: value for key, value in text.items() if key not in ("model_type", "layer_types", "dtype")}
    flat |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}}
    vision["in_chans"] = vision.pop("in_channels")
    del vision["model_type"]
    legacy = {**config, **flat, "vision_config": vision, "model_type": "qwen2_5_vl", "torch_dtype": "bfloat16"}
    legacy.pop("dtype", None)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(legacy))
    tokens = json.loads((built / "tokenizer.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(tokens["model"]["vocab"]))
    merges = "\n".join(" ".join(merge) for merge in tokens["model"]["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    added = {str(one["id"]): {k: v for k, v in one.items() if k != "id"} for one in tokens["added_tokens"]}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "unk_token": None}
    settings |= {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": tiny.CHAT_TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "preprocessor_config.json").write_text((built / "preprocessor_config.json").read_text())
    loaded = checkpoint.load(tmp_path, device="cpu")
    assert loaded.training_info == {} and loaded.model.dtype == torch.bfloat16
    same = model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in loaded.model.state_dict().items())
    mine = AutoTokenizer.from_pretrained(built)
    assert [loaded.processor.tokenizer.encode(one) for one in texts] == [mine.encode(one) for one in texts]


def test_a_mismatch_is_an_error_unless_asked_for(tmp_path, built, capsys):
    loaded = checkpoint.load(built, max_pixels=12544, device="cpu")
    record = {"kind": "trained", "prompt_hash": "aa", "min_pixels": 3136, "max_pixels": 12544}
    loaded.model.save_pretrained(tmp_path)
    checkpoint.save_beside(tmp_path, loaded.processor, record)
    assert checkpoint.pixel_budget(checkpoint.load(tmp_path, device="cpu").processor) == (3136, 12544)
    assert "max_pixels: 12544 (inherited" in capsys.readouterr().out
    with pytest.raises(DataError, match="max_pixels is 23520"):
        checkpoint.load(tmp_path, max_pixels=23520, device="cpu")
    with pytest.raises(DataError, match="prompt_hash is bb"):
        checkpoint.load(tmp_path, prompt_hash="bb", device="cpu")
    overridden = checkpoint.load(tmp_path, max_pixels=23520, prompt_hash="bb", allow_mismatch=True, device="cpu")
    assert checkpoint.pixel_budget(overridden.processor) == (3136, 23520)
    assert "overrides 12544" in capsys.readouterr().out


def test_other_folders_are_refused_with_a_word(tmp_path, built):
    with pytest.raises(DataError, match="does not exist"):
        checkpoint.load(tmp_path / "gone")
    with pytest.raises(DataError, match="cannot be loaded"):
        checkpoint.load(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path, built):
    other = tiny.build(tmp_path / "other", ["a few words", "and no more"])
    processor, model = checkpoint.load_processor(other), checkpoint.load_model(built)
    with pytest.raises(DataError, match="from one checkpoint"):
        checkpoint.check_tokens(other, model, processor)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda values: {**values, "model_type": "bert"}, "type bert, not qwen2_5_vl"),
        ("config.json", lambda values: [values], "cannot be loaded"),
        (
            "config.json",
            lambda values: {**values, "text_config": {**values["text_config"], "num_hidden_layers": 4}},
            "cannot be loaded",
        ),
        ("preprocessor_config.json", lambda values: [values], "cannot be loaded"),
        ("megc.json", lambda values: {**values, "max_pixels": "many"}, "max_pixels is 'many', not a whole number"),
        ("megc.json", lambda values: {**values, "data": "rows"}, "data is 'rows', not an object"),
    ],
)
def test_damaged_settings_of_a_checkpoint_are_named(name, change, message, built, tmp_path):
    folder = shutil.copytree(built, tmp_path / "copy")
    (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_text()))))
    with pytest.raises(DataError, match=message):
        checkpoint.load(folder)
    with pytest.raises(DataError, match=message):
        run = settings(write_instructions(tmp_path), folder, build_tiny=False, allow_mismatch=True)
        check_run(run, arguments(tmp_path / "out"))
