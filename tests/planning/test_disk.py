"""Sizes of checkpoints and schedules that a plan prints are those of real files and real runs."""

import pytest
import yaml
from sft_runs import arguments, settings
from test_plan import ROOT, TOTALS
from tiny_data import SMALL, write_instructions

from megc.planning.disk import checkpoint_size, count_saves, disk_lines
from megc.planning.fit import Parameters
from megc.training.sft import prepare
from megc.training.trainer import count_steps, run_training

TINY = Parameters({"all": 980_476}, {"all": 980_476}, 131_072)
# Bytes of weights and of states (two processes) of the tiny model in bfloat16, as written by DeepSpeed 0.19.8 on CPUs.
MEASURED = {"zero3": (1_969_336, 2 * 5_893_203 + 83_066), "zero2": (2_100_272, 11_793_638 + 1_985_813)}


@pytest.mark.parametrize("stage", MEASURED)
def test_sizes_are_those_of_files_that_deepspeed_wrote(stage):
    size = checkpoint_size(TINY, stage, half=True)
    for computed, measured in zip((size.weights, size.states), MEASURED[stage], strict=True):
        assert computed == pytest.approx(measured, rel=0.07)  # ZeRO-2 writes the tied head twice


@pytest.mark.parametrize("rank", [0, 16])
def test_sizes_and_number_of_checkpoints_are_those_of_a_run(tmp_path, rank):
    world = write_instructions(tmp_path, clips=4, size=SMALL), tmp_path / "tiny"
    steps = {"max_steps": -1, "num_train_epochs": 1.5, "per_device_train_batch_size": 1, "warmup_steps": 0.3}
    args = arguments(tmp_path / "out", **steps, save_strategy="steps", save_steps=4)
    run = prepare(settings(*world, lora_rank=rank), args)
    plan = count_steps(len(run.packed), 1, args)
    model = run.trainer.model
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    total = sum(value.numel() for name, value in model.named_parameters() if "lora_" not in name)
    run_training(run.trainer, run.beginning)
    assert (plan.epoch, plan.steps, plan.warmup) == (4, 6, 2)
    left = list((tmp_path / "out").glob("checkpoint-*"))
    assert count_saves(args, plan) == len(left) == 2
    size = checkpoint_size(Parameters({"all": total}, {"all": trained}, 0, bool(rank)), "none", half=False)
    weights = next(left[0].glob("*model*.safetensors")).stat().st_size
    assert size.weights == pytest.approx(weights, rel=0.05)
    assert size.states == pytest.approx((left[0] / "optimizer.pt").stat().st_size, rel=0.1)
    assert size.finished == pytest.approx((tmp_path / "out" / "model.safetensors").stat().st_size, rel=0.02)


def test_the_plan_says_what_states_cost_and_what_the_run_takes(tmp_path):
    total = TOTALS["Qwen/Qwen2.5-VL-7B-Instruct"]
    args = arguments(tmp_path, save_strategy="epoch", save_total_limit=1, num_train_epochs=5, max_steps=-1)
    args.save_only_model = args.bf16 = True
    lines = disk_lines(Parameters({"all": total}, {"all": total}, 0), "zero3", args, count_steps(450, 4, args))
    assert "16.6 GB with --save_only_model true, 116.1 GB with --save_only_model false" in lines[0]
    assert "5 checkpoint(s) (no states: a killed run begins anew), up to 2 at a time, 49.8 GB at most" in lines[1]
    args.save_only_model = False
    lines = disk_lines(Parameters({"all": total}, {"all": total}, 0), "zero3", args, count_steps(450, 4, args))
    assert "with states: a killed run can --resume" in lines[1] and "248.8 GB at most" in lines[1]


@pytest.mark.parametrize("name", ["qwen2_5_vl_7b", "qwen2_5_vl_3b", "qwen2_5_vl_7b_lora"])
def test_real_configurations_warm_up_in_a_tenth_of_the_steps_and_hold_nobody_back(tmp_path, name):
    values = yaml.safe_load((ROOT / "train" / f"{name}.yaml").read_text())
    keys = ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "warmup_steps")
    args = arguments(tmp_path, max_steps=-1, **{key: values[key] for key in keys})
    gpus = {"qwen2_5_vl_7b": 4, "qwen2_5_vl_3b": 2}.get(name, 1)
    for clips, steps, warmup in ((150, 95, 10), (450, 285, 29)):
        run = count_steps(clips, gpus, args)
        assert (run.steps, run.warmup, run.warning) == (steps, warmup, "")
    assert "validation_share" not in values and "load_best_model_at_end" not in values


def test_a_warm_up_that_takes_the_whole_run_is_named(tmp_path):
    args = arguments(tmp_path, max_steps=21, warmup_steps=20)
    assert "rises in 20 of 21 steps: give a share instead" in count_steps(56, 8, args).warning
