"""Training: bad rows end it before step 1, frozen parts stay, resume is exact, checkpoints know their data."""

import csv
import json
import runpy
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image
from sft_runs import arguments, settings
from tiny_data import write_instructions
from transformers import AutoModelForImageTextToText, TrainingArguments

from megc.files import read_jsonl, write_json, write_jsonl
from megc.model import checkpoint
from megc.model.parts import part_of
from megc.model.samples import make_samples
from megc.problems import DataError, Problems
from megc.training.settings import SftSettings, TrainerOptions, read_config
from megc.training.sft import check_run, prepare, train
from megc.vqa.instructions import read_records
from megc.vqa.prompts import PromptSettings, prompt_record

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def train_file(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("data"), clips=4)


@pytest.fixture(scope="module")
def eval_file(train_file):
    return write_instructions(train_file.parent, clips=3, first=6, name="eval.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("base") / "tiny"


def test_it_learns_and_the_checkpoint_says_what_it_was_trained_on(train_file, eval_file, base, tmp_path):
    prompt = prompt_record(PromptSettings(images=("apex", "flow"), encoding="colour"))
    write_json(train_file.parent / "prompt.json", prompt | {"hash": "0123456789abcdef"})
    out = tmp_path / "out"
    more = {"max_steps": 50, "lr_scheduler_type": "constant", "logging_steps": 10, "eval_strategy": "steps"}
    run = settings(train_file, base, max_pixels=12544, eval_file=str(eval_file), shift=0)
    train(run, arguments(out, eval_steps=50, per_device_train_batch_size=4, **more))
    with (out / "train_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["eval_answers_right"]) > 0.6
    assert float(rows[-1]["eval_loss"]) < 0.5 < float(rows[0]["loss"])
    record = checkpoint.read_training_info(out)
    assert record["prompt_hash"] == "0123456789abcdef" and record["prompt"]["encoding"] == "colour"
    assert record["data"]["rows"] == 24 and record["data"]["subjects"][0] == "demo/sub00"
    assert record["max_pixels"] == json.loads((out / "preprocessor_config.json").read_text())["max_pixels"] == 12544
    assert (
        record["training"]["learning_rate"] == 1.5e-3
        and record["versions"]["torch"] == torch.__version__.split("+")[0]
    )
    assert not list(out.glob("*.bin"))
    loaded = checkpoint.load(out, device="cpu")
    assert checkpoint.pixel_budget(loaded.processor)[1] == 12544
    assert AutoModelForImageTextToText.from_pretrained(out).config.image_token_id == loaded.processor.image_token_id


@pytest.mark.parametrize(("every", "message"), [(1, "gradient is nan.*diverged"), (9, "NaN or infinity")])
def test_a_run_that_diverges_leaves_no_checkpoint(train_file, base, tmp_path, every, message):
    with pytest.raises(DataError, match=message):
        train(settings(train_file, base), arguments(tmp_path, learning_rate=1e9, max_steps=4, logging_steps=every))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_earlier_checkpoints_are_neither_mixed_in_nor_lost_silently(train_file, base, tmp_path):
    (tmp_path / "checkpoint-9").mkdir()
    with pytest.raises(DataError, match="--overwrite"):
        prepare(settings(train_file, base), arguments(tmp_path))
    prepare(settings(train_file, base, overwrite=True), arguments(tmp_path))
    assert not (tmp_path / "checkpoint-9").exists()
    with pytest.raises(DataError, match="no complete checkpoint"):
        prepare(settings(train_file, base), arguments(tmp_path, resume_from_checkpoint="last"))


@pytest.mark.parametrize("frozen", [("vision",), ("merger", "language_model")])
def test_frozen_parts_keep_their_weights_and_others_move(train_file, base, tmp_path, frozen, capsys):
    more = {f"freeze_{part}": True for part in frozen}
    run = prepare(settings(train_file, base, **more), arguments(tmp_path, warmup_steps=0))
    before = {name: value.clone() for name, value in run.trainer.model.named_parameters()}
    run.trainer.train()
    for name, value in run.trainer.model.named_parameters():
        assert torch.equal(value, before[name]) == (part_of(name) in frozen), name
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert all(row[2:] == ["0", "frozen"] for row in table if row and row[0] in frozen)


def test_each_part_has_its_rate_and_norms_no_weight_decay(train_file, base, tmp_path):
    run = prepare(settings(train_file, base, vision_rate=1e-4), arguments(tmp_path, weight_decay=0.1))
    rates = {}
    for group in run.trainer.create_optimizer().param_groups:
        for parameter in group["params"]:
            rates[parameter] = group["lr"], group["weight_decay"]
    for name, parameter in run.trainer.model.named_parameters():
        decay = 0.0 if "norm" in name or "ln_q" in name or name.endswith("bias") else 0.1
        assert rates[parameter] == (1e-4 if part_of(name) == "vision" else 1.5e-3, decay), name


def spoil(train_file, name, change):
    rows = [row for _, row in read_jsonl(train_file)]
    change(rows[7])
    path = train_file.with_name(f"{name}.jsonl")
    write_jsonl(path, rows)
    return path


BAD_ROWS = {
    "gone": (lambda row: row.update(images=["frames/none.png", row["images"][1]]), "is gone"),
    "outside": (lambda row: row.update(images=["../secret.png", row["images"][1]]), "leads out of"),
    "not_a_picture": (lambda row: row.update(images=["train.jsonl", row["images"][1]]), "is no image"),
    "tags": (lambda row: row.update(images=row["images"][:1]), "2 <image> tags for 1 pictures"),
    "unanswered": (lambda row: row["messages"].pop(), "no answer"),
    "two_prompts": (lambda row: row.update(prompt="other"), "2 different prompts"),
    "too_long": (lambda row: row["messages"][2].update(content="brow lowerer, " * 2000), "raise --max_length"),
    "end_token": (lambda row: row["messages"][2].update(content="yes<|im_end|> no"), "special tokens"),
    "too_thin": (lambda row: row.update(images=["thin.png", row["images"][1]]), "thin.png of 500 × 2 pixels is more"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_found_before_step_1(train_file, base, tmp_path, name):
    change, message = BAD_ROWS[name]
    Image.new("RGB", (500, 2)).save(train_file.parent / "thin.png")
    path = spoil(train_file, name, change)
    with pytest.raises(DataError, match=message) as error:
        prepare(settings(path, base), arguments(tmp_path))
    assert path.name in str(error.value)
    row = "demo/sub01/EP01" if name in ("gone", "outside", "not_a_picture", "too_thin") else "demo_sub01_EP01_1"
    assert name in ("two_prompts", "tags") or row in str(error.value)


def test_bad_rows_are_collected_for_who_goes_on_without_them(train_file):
    problems = Problems()
    path = spoil(train_file, "one_gone", BAD_ROWS["gone"][0])
    assert len(make_samples(path, read_records(path), problems)) == 23 and len(problems) == 1


def test_pictures_that_fill_the_sequence_are_refused_with_their_tokens(train_file, base, tmp_path):
    with pytest.raises(DataError, match=r"EP01_0: \d+ tokens, 32 of them pictures, more than max_length 40"):
        check_run(settings(train_file, base, max_length=40), arguments(tmp_path))


@pytest.fixture(scope="module")
def start(train_file, base, tmp_path_factory):
    """A checkpoint of one step, which knows its prompt and its pixel budget."""
    folder = tmp_path_factory.mktemp("start") / "checkpoint"
    train(settings(train_file, base), arguments(folder, max_steps=1))
    return folder


@pytest.mark.parametrize(
    ("name", "more"), [("prompt_hash", {}), ("max_pixels", {"max_pixels": 23520}), ("min_pixels", {"min_pixels": 784})]
)
def test_a_checkpoint_of_another_prompt_or_pixel_budget_is_not_trained_on(train_file, start, tmp_path, name, more):
    path = train_file
    if name == "prompt_hash":
        path = train_file.with_name("reworded.jsonl")
        write_jsonl(path, [{**row, "prompt": "fedcba9876543210"} for _, row in read_jsonl(train_file)])
    run = {"build_tiny": False, "max_pixels": None, **more}  # what is not given is inherited
    with pytest.raises(DataError, match=rf"{name} is .*--allow_mismatch"):
        check_run(settings(path, start, **run), arguments(tmp_path))
    assert check_run(settings(path, start, allow_mismatch=True, **run), arguments(tmp_path)).packed


def test_prompt_and_pixel_budget_of_the_checkpoint_are_inherited(train_file, start, tmp_path):
    run = check_run(settings(train_file, start, build_tiny=False, max_pixels=None), arguments(tmp_path))
    assert run.info["max_pixels"] == 12544 and "max_pixels: 12544 (inherited from the checkpoint)" in run.base.notes


@pytest.mark.parametrize(
    ("more", "args", "message"),
    [
        ({"packing": "all"}, {}, "clip or none"),
        ({"attention": "flash_attention_2"}, {}, "--packing none"),
        ({"freeze_vision": True, "freeze_merger": True, "freeze_language_model": True}, {}, "every part"),
        ({"loss_per": "clip"}, {}, "token or question"),
        ({"attention": "flex_attention"}, {}, "one of sdpa, eager, flash_attention_2"),
        ({"attention": "flash_attention_2", "packing": "none"}, {}, "leave the flag out"),
        ({}, {"eval_strategy": "steps", "eval_steps": 1}, "--validation_share"),
        ({"validation_share": 0.2}, {}, "need each other"),
        ({"validation_share": 0.2, "eval_file": "x"}, {"eval_strategy": "epoch"}, "not both"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(train_file, base, tmp_path, more, args, message):
    with pytest.raises(ValueError, match=message):
        prepare(settings(train_file, base, **more), arguments(tmp_path, **args))


def test_unknown_keys_of_a_config_are_an_error(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("max_pixel: 3\n")
    with pytest.raises(DataError, match="did you mean max_pixels"):
        read_config(path, {"max_pixels", "model"})
    path.write_text("output_dir: null\n")
    with pytest.raises(DataError, match="output_dir is None, not text"):
        read_config(path, {"output_dir"})


@pytest.mark.parametrize("door", ["train.py", "train/train.py"])
def test_both_doors_take_the_yaml_and_the_flags(train_file, base, tmp_path, monkeypatch, capsys, door):
    flags = ["--train_file", str(train_file), "--model", str(base), "--output_dir", str(tmp_path / "out")]
    flags += ["--max_steps", "1", "--disable_tqdm", "true", "--learning-rate", "1e-4"]
    monkeypatch.setattr(sys, "argv", [door, "--config", str(ROOT / "train/tiny.yaml"), *flags])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / door), run_name="__main__")
    assert end.value.code == 0
    training = checkpoint.read_training_info(tmp_path / "out")["training"]
    assert training["learning_rate"] == 1e-4 and training["max_steps"] == 1 and training["adam_beta2"] == 0.95
    assert "attention sdpa (packed clips need a 4-D mask)" in capsys.readouterr().out


def test_every_config_names_only_settings_that_exist():
    known = set(SftSettings.__dataclass_fields__) | set(TrainingArguments.__dataclass_fields__)
    found = [path for path in sorted((ROOT / "train").glob("*.yaml")) if "packing:" in path.read_text()]
    assert len(found) == 4
    for path in found:
        values = read_config(path, known)
        assert not values.get("deepspeed") or (ROOT / values["deepspeed"]).is_file()
        assert values.keys() <= {
            item.name for kind in (SftSettings, TrainerOptions) for item in fields(kind)
        }  # --help
