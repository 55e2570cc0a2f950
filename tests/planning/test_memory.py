"""The planner's arithmetic against DeepSpeed's estimators, torch's counter and the bytes that really live."""

import weakref
from copy import deepcopy

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from megc.planning import memory, plan
from megc.planning.dry_run import public_architecture
from megc.planning.memory import Batch
from megc.training.settings import SftSettings

PUBLIC = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct")
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


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("name", PUBLIC)
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
    assert sum(wanted.values()) == pytest.approx(peak.most, rel=0.08)


def test_windows_of_a_picture_are_cut_at_its_edges():
    config = public_architecture("Qwen2.5-VL-7B-Instruct")
    assert memory.windows(16, 16, config) == [64] * 4
    assert memory.windows(24, 20, config) == [64, 64, 32] * 3  # 336 × 280 pixels


def test_smaller_pictures_make_shorter_sequences():
    halved = Batch(1, 1000, 50, ((24, 24),) * 4).with_pictures_halved()
    assert halved.grids == ((16, 16),) * 4 and halved.length == 1000 - 4 * (144 - 64)
