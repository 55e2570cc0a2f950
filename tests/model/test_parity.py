"""A step on packed clips is the step on their questions one by one: every gradient, however the step is cut."""

import pytest
import torch
from sft_runs import arguments, settings
from tiny_data import SMALL, write_instructions
from transformers import TrainerCallback

from megc.files import read_jsonl, write_jsonl
from megc.training.sft import prepare

LEFT_OUT = {0: (), 1: (1, 4), 2: (0, 1, 2, 3, 4), 3: (5,)}  # clips of 6, 4, 1 and 5 questions: 16 in all
LORA = {"lora_rank": 4, "lora_targets": ["vision", "merger", "q", "k", "v", "o", "mlp"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    rows = [row for _, row in read_jsonl(write_instructions(root, clips=4, size=SMALL))]
    kept = [row for number, row in enumerate(rows) if number % 6 not in LEFT_OUT[number // 6]]
    path = root / "mixed.jsonl"
    write_jsonl(path, kept)
    return path, root / "tiny"


class Gradients(TrainerCallback):
    """Keeps the gradients of the first step."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = {
            name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad
        }


def step(world, out, packing, size, accumulated, adapters, loss_per):
    own = {**(LORA if adapters else {}), "packing": packing, "loss_per": loss_per, "shift": 0}
    cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulated, "max_steps": 1}
    run = prepare(settings(*world, **own), arguments(out, max_grad_norm=0, **cut))
    torch.manual_seed(0)
    for name, parameter in run.trainer.model.named_parameters():
        if "lora_B" in name:  # begins at 0, and then A gets no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    gradients = Gradients()
    run.trainer.add_callback(gradients)
    return run.trainer.train().training_loss, gradients.found


@pytest.mark.parametrize("loss_per", ["token", "question"])
@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
def test_packed_step_equals_one_by_one(world, tmp_path, adapters, loss_per):
    loss, wanted = step(world, tmp_path, "none", 1, 16, adapters, loss_per)
    assert len(wanted) == (76 if adapters else 80)
    for packing, size, accumulated in (("clip", 2, 2), ("none", 4, 4)):
        other, found = step(world, tmp_path, packing, size, accumulated, adapters, loss_per)
        assert other == pytest.approx(loss, rel=1e-5)
        for name, gradient in wanted.items():
            error = (found[name] - gradient).norm() / gradient.norm()
            assert error <= 1e-5, (name, packing, size, error)


def test_packed_words_equal_words_one_by_one(world, tmp_path):
    """Prompts without a picture: the vision tower gets no gradient, the language model the same one."""
    rows = [row for _, row in read_jsonl(world[0])]
    for row in rows:
        text = row["messages"][1]["content"].partition("Picture 2")[2].replace("<image>", "brows up")
        row["messages"][1]["content"], row["images"] = text, []
    words = tmp_path / "words.jsonl"
    write_jsonl(words, rows)
    losses = []
    for packing, size in (("none", 16), ("clip", 4)):
        cut = {"per_device_train_batch_size": size, "max_steps": 2}
        run = prepare(settings(words, tmp_path / "tiny", packing=packing), arguments(tmp_path, max_grad_norm=0, **cut))
        run.trainer.train()
        losses.append([row["loss"] for row in run.trainer.state.log_history if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0][1] < losses[0][0]


def test_the_two_weightings_differ(world, tmp_path):
    losses = [step(world, tmp_path, "clip", 4, 1, False, loss_per)[0] for loss_per in ("token", "question")]
    assert abs(losses[0] - losses[1]) > 0.01


@pytest.mark.parametrize("bf16", [False, True])
def test_activation_checkpointing_of_both_towers_changes_nothing(world, tmp_path, bf16):
    found = []
    for switched in (False, True):
        more = {"activation_checkpointing": switched, "bf16": bf16, "max_steps": 3}
        run = prepare(settings(*world), arguments(tmp_path, **more))
        layers = [run.trainer.model.model.visual.blocks[0], run.trainer.model.model.language_model.layers[0]]
        run.trainer.train()
        assert [layer.gradient_checkpointing for layer in layers] == [switched] * 2
        found.append([row["loss"] for row in run.trainer.state.log_history if "loss" in row])
    assert found[0] == found[1]
