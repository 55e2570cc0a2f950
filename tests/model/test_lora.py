"""LoRA: adapters on the parts asked for, exact resume, and a finished checkpoint that is an ordinary one."""

import shutil

import pytest
import torch
from sft_runs import arguments as sft_arguments
from sft_runs import log_of
from sft_runs import settings as sft_settings
from tiny_data import SMALL, write_instructions

from megc.model import checkpoint
from megc.model.parts import ADAPTER_FOLDER
from megc.problems import DataError
from megc.training.sft import prepare, train

RANK = {"lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.1}


@pytest.fixture(scope="module")
def train_file(tmp_path_factory):
    return write_instructions(tmp_path_factory.mktemp("data"), clips=4, size=SMALL)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("base") / "tiny"


def settings(train_file, base, **more):
    return sft_settings(train_file, base, **{**RANK, **more})


def arguments(out, **more):
    return sft_arguments(out, **{"learning_rate": 2e-3, **more})


def batch_of(run):
    data = run.trainer.train_dataset
    return run.trainer.data_collator([data[place] for place in range(len(data))])


def test_finished_checkpoint_is_an_ordinary_one_and_computes_what_was_trained(train_file, base, tmp_path):
    run = prepare(settings(train_file, base), arguments(tmp_path))
    run.trainer.train()
    run.trainer.save_final()
    inputs = {**batch_of(run)}
    loaded = checkpoint.load(tmp_path, device="cpu")
    adapters = checkpoint.load(tmp_path / ADAPTER_FOLDER, device="cpu")
    plain = checkpoint.load_model(base)
    assert set(loaded.model.state_dict()) == set(plain.state_dict())
    assert sorted(path.suffix for path in (tmp_path / ADAPTER_FOLDER).glob("adapter_*")) == [".json", ".safetensors"]
    with torch.no_grad():
        wanted = run.trainer.model.eval()(**inputs).logits
        torch.testing.assert_close(loaded.model(**inputs).logits, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(adapters.model(**inputs).logits, wanted, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(plain.eval()(**inputs).logits, wanted, atol=1e-2)
    assert loaded.training_info["training"]["lora_rank"] == 4 and not list(tmp_path.rglob("*.bin"))


def test_adapters_go_where_they_are_told_and_the_table_counts_them(train_file, base, tmp_path, capsys):
    more = {"lora_targets": ["merger", "q", "v"], "freeze_merger": True, "language_model_rate": 1e-4}
    run = prepare(settings(train_file, base, **more), arguments(tmp_path))
    trained = {name for name, value in run.trainer.model.named_parameters() if value.requires_grad}
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in trained} == {"q_proj", "v_proj"}
    assert {group["lr"] for group in run.trainer.create_optimizer().param_groups} == {1e-4}
    table = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert table["vision"][1:] == table["merger"][1:] == ["0", "frozen"]
    # q: 128 → 128, v: 128 → 64 (two key-value heads of 32), in each of three layers
    assert table["language_model"][1:] == [f"{3 * 4 * (128 + 128 + 128 + 64):,}", "0.0001"]


def test_default_targets_are_vision_merger_query_and_key(train_file, base, tmp_path):
    run = prepare(settings(train_file, base), arguments(tmp_path))
    names = [name for name, value in run.trainer.model.named_parameters() if value.requires_grad]
    modules = {name.split(".lora_")[0].removeprefix("base_model.model.model.") for name in names}
    vision = {f"visual.blocks.{n}.{m}" for n in range(3) for m in ("attn.qkv", "attn.proj")}
    vision |= {f"visual.blocks.{n}.mlp.{m}_proj" for n in range(3) for m in ("gate", "up", "down")}
    language = {f"language_model.layers.{n}.self_attn.{m}_proj" for n in range(3) for m in "qk"}
    assert modules == vision | language | {"visual.merger.mlp.0", "visual.merger.mlp.2"}


def test_resume_with_adapters_dropout_and_shift_is_exact(train_file, base, tmp_path):
    steps = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 1}
    train(settings(train_file, base), arguments(tmp_path / "whole", **steps))
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "part" / "checkpoint-3")
    train(settings(train_file, base, resume=True), arguments(tmp_path / "part", **steps))
    assert log_of(tmp_path / "part") == log_of(tmp_path / "whole")
    whole, part = (checkpoint.load_model(tmp_path / name).state_dict() for name in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    with pytest.raises(DataError, match="lora_rank is 2 now, and was 4"):
        prepare(settings(train_file, base, resume=True, lora_rank=2), arguments(tmp_path / "part", **steps))


def test_bf16_and_activation_checkpointing_run(train_file, base, tmp_path, capsys):
    more = {"bf16": True, "activation_checkpointing": True}
    run = prepare(settings(train_file, base, lora_dropout=0.0), arguments(tmp_path, **more))
    before = {name: value.clone() for name, value in run.trainer.model.named_parameters()}
    run.trainer.train()
    moved = {name for name, value in run.trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all("lora_" in name for name in moved)
    assert any("visual.blocks.0" in name for name in moved)
    assert "weights torch.bfloat16 (they are frozen; the adapters keep 32 bits)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lora_targets": ["merge"]}, "not merge"),
        ({"lora_targets": ["merger"], "freeze_merger": True}, "no part that is not frozen"),
        ({"lora_rank": -1}, "0 or more"),
    ],
)
def test_adapters_that_cannot_be_are_refused(train_file, base, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        prepare(settings(train_file, base, **more), arguments(tmp_path))
