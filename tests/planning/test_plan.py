"""The plan of a run: parameters, tokens, steps, what fits, what to change; without weights and without network."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import get_args

import pytest
from tiny_data import write_instructions
from transformers import Qwen2_5_VLForConditionalGeneration, TrainingArguments

from megc.planning import fit, plan
from megc.planning.dry_run import build_on_meta, dry_run, public_architecture
from megc.planning.memory import Batch
from megc.problems import DataError
from megc.training.settings import GpuName, SftSettings, training_defaults

ROOT = Path(__file__).parents[2]
TOTALS = {"Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976, "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656}


@pytest.mark.parametrize("name", TOTALS)
def test_public_models_have_their_exact_number_of_parameters(name):
    counted = plan.count_parameters(public_architecture(name), SftSettings())
    assert counted.all == counted.all_trained == TOTALS[name]
    frozen = plan.count_parameters(public_architecture(name), SftSettings(freeze_vision=True))
    assert frozen.trained == {**counted.trained, "vision": 0} and frozen.total == counted.total


def test_adapters_are_counted_as_peft_makes_them():
    """Queries and keys of the 7B: 28 layers, rank 8, of 3584 to 3584 and to 512."""
    config = public_architecture("Qwen2.5-VL-7B-Instruct")
    counted = plan.count_parameters(config, SftSettings(lora_rank=8, lora_targets=["q", "k"]))
    assert counted.all == TOTALS["Qwen/Qwen2.5-VL-7B-Instruct"]
    assert counted.trained == {"vision": 0, "merger": 0, "language_model": 28 * 8 * (2 * 3584 + 3584 + 512)}
    way = fit.TrainingSetup("none", 1, True, True, Batch(1, 500, 50, ((24, 20),)))
    weights = fit.memory_needed(config, counted, way).states.weights
    assert weights == 2 * counted.all + 6 * counted.all_trained  # 16 bits, and 32 for adapters with their copies
    large = plan.count_parameters(config, SftSettings())
    lines = fit.advice(config, large, way, 80.0, counted)
    assert lines[0].startswith("  --lora_rank 16: ")


def test_zero_stage_is_read_from_the_configurations():
    found = {path.stem: fit.stage_of(str(path)) for path in (ROOT / "train").glob("zero*.json")}
    assert found == {"zero2": "zero2", "zero3": "zero3", "zero3_offload": "zero3_offload"}
    assert fit.stage_of(None) == fit.stage_of({}) == "none"
    assert fit.stage_of('{"zero_optimization": {"stage": 2}}') == "zero2"
    with pytest.raises(DataError, match="the file does not exist"):
        fit.stage_of("train/gone.json")
    with pytest.raises(DataError, match="stage is 1, not one of 0, 2, 3"):
        fit.stage_of({"zero_optimization": {"stage": 1}})


def test_every_remedy_fits_and_says_how():
    config = public_architecture("Qwen2.5-VL-7B-Instruct")
    counted = plan.count_parameters(config, SftSettings())
    way = fit.TrainingSetup("zero2", 2, False, True, Batch(4, 2000, 100, ((24, 20),) * 16))
    assert fit.memory_needed(config, counted, way).gib > 80
    for flags, other in fit.smaller_setups(way):
        assert fit.memory_needed(config, counted, other).gib < fit.memory_needed(config, counted, way).gib, flags
    lines = fit.advice(config, counted, way, 80.0)
    assert any("--deepspeed train/zero3.json" in line for line in lines)
    assert any(line.strip().startswith("4 GPUs --activation_checkpointing true") for line in lines)
    assert all(float(line.split(": ")[1].split()[0]) + fit.RESERVE <= 80 for line in lines)
    assert fit.advice(config, counted, way, 6.0) == ["  nothing known here is enough: take a smaller model"]


@pytest.fixture(scope="module")
def train_file(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("data"), clips=5)


def test_plan_of_a_run_counts_what_the_run_has(train_file, tmp_path):
    """5 clips of 6 questions in batches of 2, accumulated twice, on 2 GPUs: 2 batches, 1 step an epoch."""
    args = TrainingArguments(
        **{**training_defaults(), "output_dir": str(tmp_path), "per_device_train_batch_size": 2},
        gradient_accumulation_steps=2,
        num_train_epochs=7,
    )
    settings = SftSettings(model=str(tmp_path / "base"), build_tiny=True, train_file=str(train_file), gpus=2)
    text = plan.plan(settings, args, {"zero_optimization": {"stage": 3}})
    assert "30 questions of 5 clips, 2 picture(s) a clip of 16 tokens" in text
    assert "2 GPU(s) × 2 sequence(s) × 2 accumulated = 8 a step\n  5 clips: 1 steps an epoch, 7 in all" in text
    made = dry_run(settings)
    for packing, sequences in (("clip", 5), ("none", 30)):
        line = next(line for line in text.splitlines() if line.strip().startswith(packing))
        packed = made.pack(packing)
        assert len(packed) == sequences
        assert line.split()[1:] == [
            str(sequences),
            f"{sum(map(len, packed)) / 5:,.0f}",
            f"{sum(map(len, packed)):,}",
            str(max(map(len, packed))),
        ]
    assert "→ ZeRO-3 " in text and "It fits: ZeRO-3 on 2 GPU(s) (as asked)" in text
    assert not (tmp_path / "base").exists()


def test_without_data_a_made_up_clip_is_planned_with(tmp_path):
    args = TrainingArguments(**{**training_defaults(), "output_dir": str(tmp_path)})
    settings = SftSettings(model="Qwen/Qwen2.5-VL-7B-Instruct", train_file=str(tmp_path / "none.jsonl"), gpus=8)
    text = plan.plan(settings, args, {"zero_optimization": {"stage": 3}})
    assert "none.jsonl is missing; one made-up clip of six questions" in text
    assert "6 questions of 1 clips, 4 picture(s) a clip of 120 tokens" in text
    assert "  450 clips: 8 steps an epoch, 24 in all, 0 of them warm-up" in text


def test_cost_of_a_number_of_clips_is_that_of_arithmetic(train_file, tmp_path):
    """The 7B for 5 epochs of 278 clips of 992 tokens and 1,920 patches: 2 operations a weight and token, 4 a pair of
    tokens and value in attention, and with checkpointing four times that of the forward pass."""
    file = training_defaults() | {"output_dir": str(tmp_path), "per_device_train_batch_size": 1}
    rest = {"num_train_epochs": 5, "save_strategy": "epoch", "save_only_model": True, "save_total_limit": 1}
    args = TrainingArguments(**file, **rest, gradient_accumulation_steps=2)
    args.bf16 = args.activation_checkpointing = True  # a machine without a GPU refuses the former in the constructor
    settings = SftSettings(
        model="Qwen/Qwen2.5-VL-7B-Instruct", train_file=str(train_file), gpus=4, clips=278, gpu="a100",
        max_pixels=100_352,
    )  # fmt: skip
    text = plan.plan(settings, args, {"zero_optimization": {"stage": 3}})
    assert "6 questions of 1 clips, 4 picture(s) a clip of 120 tokens" in text and "  278 clips: 35 steps" in text
    tokens, patches, layers, hidden, vocabulary = 992, 4 * 24 * 20, 28, 3584, 152_064
    weights = 7_615_616_512 - 2 * vocabulary * hidden  # in front of and behind the layers stand the vocabulary's
    forward = 2 * weights * tokens + layers * 4 * tokens**2 * hidden + 2 * 631_975_680 * patches
    hours = 278 * 5 * 4 * forward / (0.4 * 312e12) / 3600 / 4
    line = next(line for line in text.splitlines() if line.startswith("Estimate for 278 clips: "))
    assert float(re.search(r"([\d.]+) minutes on 4 × A100", line)[1]) == pytest.approx(60 * hours, rel=0.05)
    # a quarter of the 16 bytes of states, and weights of 2 bytes: two of five checkpoints on the way, and the last
    assert 16 * 8.292 / 4 * 1e9 / 2**30 < float(re.search(r": ([\d.]+) GiB of 80 a GPU", line)[1]) < 45
    assert f"{3 * 2 * 8.292166656:.1f} GB of disk at most" in line


def test_kinds_of_gpu_are_those_of_the_flag():
    assert set(fit.GPUS) == set(get_args(GpuName))
    hour = fit.GPUS["rtx3090"].hours(0.4 * 71e12 * 3600)
    assert hour == pytest.approx(1) and fit.GPUS["h100"].hours(0.4 * 989.4e12 * 1800) == pytest.approx(0.5)


def test_the_number_of_parameters_is_that_of_the_real_model(train_file):
    settings = SftSettings(model="nowhere", build_tiny=True, train_file=str(train_file))
    config = dry_run(settings).config
    real = sum(parameter.numel() for parameter in Qwen2_5_VLForConditionalGeneration(config).parameters())
    assert plan.count_parameters(config, settings).all == real
    assert all(parameter.is_meta for parameter in build_on_meta(config).parameters())


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (["--gpus", "4"], "It fits: ZeRO-3 on 4 GPU(s) (as asked) of 80 GiB."),
        (["--gpus", "4", "--gpu", "rtx4090"], "It does not fit: ZeRO-3 on 4 GPU(s) (as asked) of 24 GiB."),
        ([], "It fits: ZeRO-3 on 2 GPU(s) (the fewest that it fits on) of 80 GiB."),
    ],
)
def test_plan_of_the_large_model_needs_nothing_but_its_yaml(train_file, monkeypatch, capsys, tmp_path, flags, verdict):
    command = ["train.py", "--config", str(ROOT / "train/qwen2_5_vl_7b.yaml"), "--plan", *flags]
    monkeypatch.setattr(sys, "argv", [*command, "--train_file", str(train_file), "--output_dir", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert end.value.code == 0 and verdict in printed
    assert "8,292,166,656" in printed and "a word counts as one token" in printed


def test_a_folders_configuration_wins_and_unknown_models_are_refused(train_file, tmp_path):
    folder = tmp_path / "Qwen2.5-VL-7B-Instruct"
    settings = SftSettings(model=str(folder), train_file=str(train_file))
    assert dry_run(settings).config.text_config.num_hidden_layers == 28
    folder.mkdir()
    own = public_architecture(folder.name).to_dict()
    own["text_config"].update(num_hidden_layers=3, layer_types=None)
    (folder / "config.json").write_text(json.dumps(own))
    assert dry_run(settings).config.text_config.num_hidden_layers == 3
    with pytest.raises(DataError, match="no configuration at hand"):
        dry_run(SftSettings(model="somebody/else", train_file=str(train_file)))
