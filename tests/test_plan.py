"""The plan's figures against what they estimate: DeepSpeed's estimators, torch's counters, tensors that are kept."""

import json
import runpy
import sys
import weakref
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from tiny_data import write_instructions
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, TrainingArguments

from megc.model import memory, plan, ways
from megc.model.memory import Batch
from megc.model.outline import on_meta, outline, public_architecture
from megc.model.settings import SftSettings, training_defaults
from megc.problems import DataError

ROOT = Path(__file__).parents[1]
TOTALS = {"Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976, "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656}
PICTURE, LENGTH, PREDICTED = 5, 200, 40
GRIDS = ((16, 12), (8, 20), (16, 12), (8, 20))  # two pictures a sequence, with whole and cut windows


def config_of(depth, vision, layers, hidden, heads):
    """A model with grouped keys and two kinds of vision blocks."""
    half = hidden // heads // 2
    return Qwen2_5_VLConfig(
        vision_config={
            "depth": depth,
            "hidden_size": vision,
            "intermediate_size": vision * 8 // 3,
            "num_heads": 4,
            "window_size": 112,
            "fullatt_block_indexes": [depth - 1],
            "out_hidden_size": hidden,
        },
        text_config={
            "vocab_size": 512,
            "hidden_size": hidden,
            "intermediate_size": hidden * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [half // 4, half // 2, half // 4]},
        },
        image_token_id=PICTURE,
        video_token_id=6,
        tie_word_embeddings=True,
    )


SIZES = {"narrow": config_of(3, 64, 3, 128, 4), "wide": config_of(4, 128, 4, 256, 8)}


def batch_and_inputs():
    """Two sequences of two pictures under a mask, as the packed collator makes them."""
    ids = torch.randint(10, 400, (2, LENGTH))
    ids[:, 10 : 10 + (16 * 12 + 8 * 20) // 4] = PICTURE
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().repeat(2, 1, 1, 1),
        "position_ids": torch.arange(LENGTH).expand(3, 2, LENGTH).contiguous(),
        "mm_token_type_ids": (ids == PICTURE).int(),
        "pixel_values": torch.randn(sum(rows * columns for rows, columns in GRIDS), 1176),
        "image_grid_thw": torch.tensor([[1, *grid] for grid in GRIDS]),
        "logits_to_keep": torch.arange(LENGTH - PREDICTED - 1, LENGTH - 1),
    }
    return Batch(2, LENGTH, PREDICTED, GRIDS), inputs


def loss_of(model, inputs):
    logits = model(**inputs, use_cache=False).logits.float()
    return cross_entropy(logits.flatten(0, 1), torch.zeros(2 * PREDICTED, dtype=torch.long))


def real_model(config, dtype, checkpointing):
    model = Qwen2_5_VLForConditionalGeneration(config).to(dtype).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return model, {tensor.untyped_storage()._cdata for tensor in owned(model)}


def owned(model):
    return [*model.buffers(), *(tensor for one in model.parameters() for tensor in (one, one.grad))]


class Peak(TorchDispatchMode):
    """Most bytes alive at once of the tensors made under it, other than those of the `known` storages."""

    def __init__(self, known):
        super().__init__()
        self.known, self.alive, self.now, self.most = known, set(), 0, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.known | self.alive:
                self.alive.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        return made

    def gone(self, which, size):
        self.alive.discard(which)
        self.now -= size


@pytest.mark.parametrize("name", TOTALS)
def test_public_models_have_their_exact_number_of_parameters(name):
    counted = plan.count_parameters(public_architecture(name), SftSettings())
    assert counted.all == counted.all_trained == TOTALS[name]
    frozen = plan.count_parameters(public_architecture(name), SftSettings(freeze_vision=True))
    assert frozen.trained == {**counted.trained, "vision": 0} and frozen.total == counted.total


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("name", TOTALS)
def test_states_are_those_of_deepspeeds_estimators(name, gpus):
    counted = plan.count_parameters(public_architecture(name), SftSettings())
    sizes, more = (counted.all, counted.all_trained, counted.largest), {"num_gpus_per_node": gpus}
    _, wanted = estimate_zero2_model_states_mem_needs(counted.all, **more, cpu_offload=False)
    assert memory.model_states(*sizes, "zero2", gpus).gpu == pytest.approx(wanted, abs=4)
    both = counted.all, counted.largest
    _, wanted, _ = estimate_zero3_model_states_mem_needs(*both, **more, cpu_offload=False, cpu_offload_params=False)
    assert memory.model_states(*sizes, "zero3", gpus).gpu == pytest.approx(wanted, abs=4)
    host, wanted, _ = estimate_zero3_model_states_mem_needs(*both, **more)
    states = memory.model_states(*sizes, "zero3_offload", gpus)
    assert (states.gpu, states.host) == (wanted, host)


@pytest.mark.parametrize("size", SIZES)
def test_operations_are_those_that_torch_counts(size):
    # torch's counter does not know the fused attention of the CPU
    model = Qwen2_5_VLForConditionalGeneration._from_config(deepcopy(SIZES[size]), attn_implementation="eager").train()
    batch, inputs = batch_and_inputs()
    wanted = memory.forward_flops(SIZES[size], batch)
    with FlopCounterMode(display=False) as counter:
        loss = loss_of(model, inputs)
    assert counter.get_total_flops() == sum(wanted.values())
    counts = counter.get_flop_counts()
    visual = sum(counts["Qwen2_5_VLForConditionalGeneration.model.visual"].values())
    assert visual == wanted["vision"] + wanted["merger"]
    everything = dict.fromkeys(wanted, True)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    both = counter.get_total_flops() + sum(wanted.values())
    no_gradient_of_pixels = 2 * batch.patches * 1176 * SIZES[size].vision_config.hidden_size
    assert memory.training_flops(wanted, everything, False, False) == both + no_gradient_of_pixels


def test_operations_of_frozen_parts():
    forward = {"vision": 100, "merger": 10, "language_model": 1000}
    everything = dict.fromkeys(forward, True)
    assert memory.training_flops(forward, everything, False, False) == 3 * 1110
    assert memory.training_flops(forward, everything, True, False) == 4 * 1110
    assert memory.training_flops(forward, everything, True, True) == 3 * 1110  # adapters: hardly any weights
    language = {"vision": False, "merger": False, "language_model": True}
    assert memory.training_flops(forward, language, True, False) == 110 + 4 * 1000
    merger = {"vision": False, "merger": True, "language_model": False}
    assert memory.training_flops(forward, merger, False, False) == 100 + 3 * 10 + 2 * 1000


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES)
def test_activations_are_those_that_autograd_keeps_and_that_live_at_the_peak(size, dtype, checkpointing):
    config = SIZES[size]
    model, known = real_model(config, dtype, checkpointing)
    batch, inputs = batch_and_inputs()
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    wanted = memory.activations(config, batch, checkpointing, dtype.itemsize)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_of(model, inputs)
    saved = sum(storage.nbytes() for storage in kept.values())
    logits_before_softmax = 2 * PREDICTED * 512 * (dtype.itemsize + 4)  # alive beside it, though not for autograd
    assert sum(wanted.values()) - wanted["working"] - logits_before_softmax == pytest.approx(saved, rel=0.02)
    kept.clear()
    with Peak(known) as peak:
        loss_of(model, inputs).backward()
    assert sum(wanted.values()) == pytest.approx(peak.most, rel=0.1)


def test_windows_of_a_picture_are_cut_at_its_edges():
    config = public_architecture("Qwen2.5-VL-7B-Instruct")
    assert memory.windows(16, 16, config) == [64] * 4
    assert memory.windows(24, 20, config) == [64, 64, 32] * 3  # 336 × 280 pixels


def test_zero_stage_is_read_from_the_configurations():
    found = {path.stem: ways.stage_of(str(path)) for path in (ROOT / "train").glob("zero*.json")}
    assert found == {"zero2": "zero2", "zero3": "zero3", "zero3_offload": "zero3_offload"}
    assert ways.stage_of(None) == ways.stage_of({}) == "none"
    assert ways.stage_of('{"zero_optimization": {"stage": 2}}') == "zero2"


def test_every_remedy_fits_and_says_how():
    config = public_architecture("Qwen2.5-VL-7B-Instruct")
    counted = plan.count_parameters(config, SftSettings())
    way = ways.Way("zero2", 2, False, True, Batch(4, 2000, 100, ((24, 20),) * 16))
    assert ways.need(config, counted, way).gib > 80
    for flags, other in ways.changes(way):
        assert ways.need(config, counted, other).gib < ways.need(config, counted, way).gib, flags
    lines = ways.remedies(config, counted, way, 80.0)
    assert any("--deepspeed train/zero3.json" in line for line in lines)
    assert any(line.strip().startswith("4 GPUs --activation_checkpointing true") for line in lines)
    assert all(float(line.split(": ")[1].split()[0]) + ways.RESERVE <= 80 for line in lines)
    assert ways.remedies(config, counted, way, 6.0) == ["  nothing known here is enough: take a smaller model"]


def test_smaller_pictures_make_shorter_sequences():
    halved = Batch(1, 1000, 50, ((24, 24),) * 4).with_pictures_halved()
    assert halved.grids == ((16, 16),) * 4 and halved.length == 1000 - 4 * (144 - 64)


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
    assert "2 GPU(s) × 2 sequence(s) × 2 accumulated = 8 a step; 1 steps an epoch, 7 in all" in text
    made = outline(settings)
    for packing, sequences in (("clip", 5), ("none", 30)):
        line = next(line for line in text.splitlines() if line.strip().startswith(packing))
        packed = made.packed(packing)
        assert len(packed) == sequences
        assert line.split()[1:] == [
            str(sequences),
            f"{sum(map(len, packed)) / 5:,.0f}",
            f"{sum(map(len, packed)):,}",
            str(max(map(len, packed))),
        ]
    assert "→ ZeRO-3 " in text and "It fits: ZeRO-3 on 2 GPU(s) (as asked)" in text
    assert not (tmp_path / "base").exists()


def test_the_number_of_parameters_is_that_of_the_real_model(train_file):
    settings = SftSettings(model="nowhere", build_tiny=True, train_file=str(train_file))
    config = outline(settings).config
    real = sum(parameter.numel() for parameter in Qwen2_5_VLForConditionalGeneration(config).parameters())
    assert plan.count_parameters(config, settings).all == real
    assert all(parameter.is_meta for parameter in on_meta(config).parameters())


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (["--gpus", "4"], "It fits: ZeRO-3 on 4 GPU(s) (as asked) of 80 GiB."),
        (["--gpus", "4", "--gpu-memory", "24"], "It does not fit: ZeRO-3 on 4 GPU(s) (as asked) of 24 GiB."),
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
    assert outline(settings).config.text_config.num_hidden_layers == 28
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SIZES["narrow"].to_dict()))
    assert outline(settings).config.text_config.num_hidden_layers == 3
    with pytest.raises(DataError, match="no configuration at hand"):
        outline(SftSettings(model="somebody/else", train_file=str(train_file)))
