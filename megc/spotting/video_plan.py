"""train_video.py --plan: parameters, clips, steps, operations, memory and disk of a run, before its model is built.

Weights, gradients and optimiser are computed as for train.py (`planning.memory`). What autograd keeps, and operations,
are counted on this machine in a pass of one clip through encoders of one and of two layers: the rest is linear in
layers and clips.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainingArguments

from megc.planning.disk import disk_lines
from megc.planning.fit import GPUS, RESERVE, Parameters, hours_in_words, stage_of
from megc.planning.memory import GIB, STAGES, model_states
from megc.planning.plan import NAMES
from megc.spotting.clip_lists import read_clip_list
from megc.spotting.masking import draw_mask
from megc.spotting.settings import VideoSettings
from megc.spotting.video_config import VideoConfig
from megc.spotting.video_encoders import MaskedAutoencoder, VideoClassifier
from megc.spotting.video_training import check_settings, video_config
from megc.training.trainer import count_steps

_EXAMPLE_CLIPS = 10_000  # where the list is missing


@dataclass(frozen=True)
class ClipCost:
    """Bytes that autograd keeps of one clip, and operations of a forward pass."""

    kept: int
    operations: int


def count_parameters(config: VideoConfig, pretrain: bool) -> Parameters:
    """Parameters by part; no memory is taken."""
    with torch.device("meta"):
        model = (MaskedAutoencoder if pretrain else VideoClassifier)(config)
    total = {"encoder": 0, "decoder": 0, "head": 0}
    for name, parameter in model.named_parameters():
        part = "encoder" if name.startswith("encoder.") else "decoder" if pretrain else "head"
        total[part] += parameter.numel()
    total = {part: number for part, number in total.items() if number}
    largest = max(sum(value.numel() for value in module.parameters(recurse=False)) for module in model.modules())
    return Parameters(total, dict(total), largest)


def _kept_bytes(model: torch.nn.Module, call: Callable[[], object]) -> int:
    """Bytes of the tensors that autograd keeps of `call`, weights not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}
    kept = []  # so that no address is given out twice

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights and storage.data_ptr() not in sizes:
            sizes[storage.data_ptr()] = storage.nbytes()
            kept.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        call()
    return sum(sizes.values())


def _run_pass(model: torch.nn.Module, clip: torch.Tensor, target: torch.Tensor, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        model(clip, target)


def count_clip_cost(config: VideoConfig, mask: tuple[str, float] | None, half: bool, checkpointing: bool) -> ClipCost:
    """What a clip costs in training; `mask`: kind and ratio of pretraining; `half`: --bf16."""
    counts = []
    for depth in (1, 2):
        shallow = config.model_copy(update={"depth": depth, "drop_path": 0.0})
        model = (MaskedAutoencoder if mask else VideoClassifier)(shallow).train()
        clip = torch.randn(1, config.num_frames, 3, config.image_size, config.image_size)
        target = torch.zeros(1, dtype=torch.long)
        if mask:
            target = torch.from_numpy(draw_mask(mask[0], shallow, mask[1], np.random.default_rng(0))).unsqueeze(0)
        run = partial(_run_pass, model, clip, target, half)
        plain = _kept_bytes(model, run)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        if checkpointing:
            model.activation_checkpointing_enable()
        counts.append((plain, _kept_bytes(model, run), counter.get_total_flops()))
    (plain, kept, flops), (plain_two, kept_two, flops_two) = counts
    more = config.depth - 1
    again = plain_two - plain if checkpointing else 0  # one layer at a time is computed again
    return ClipCost(kept + more * (kept_two - kept) + again, flops + more * (flops_two - flops))


def plan_video(settings: VideoSettings, args: TrainingArguments, deepspeed: str | dict | None = None) -> str:
    """The plan of a run as text; `deepspeed` is its configuration. Raises what `check_settings` raises, and DataError
    for a bad list."""
    check_settings(settings, args)
    listed = Path(settings.train_file).is_file()
    clips = read_clip_list(settings.train_file) if listed else []
    pretrain = settings.task == "pretrain"
    classes = 1 + max((clip.label for clip in clips), default=1)
    config = video_config(settings, 1 if pretrain else classes)
    parameters = count_parameters(config, pretrain)
    mask = (settings.mask, settings.mask_ratio) if pretrain else None
    cost = count_clip_cost(config, mask, args.bf16, args.activation_checkpointing)
    gpus, size = settings.gpus, args.per_device_train_batch_size
    number = len(clips) or _EXAMPLE_CLIPS
    steps = count_steps(number, gpus, args)
    trained = (4 if args.activation_checkpointing else 3) * cost.operations  # backward costs two forward passes
    lines = [
        f"Plan of {'pretraining' if pretrain else 'training'} {config.architecture} on {settings.train_file}"
        " (nothing of it was measured on a GPU)",
        *(f"  {part:<10}{count:>15,} parameters" for part, count in parameters.total.items()),
        f"Data: {len(clips):,} clips of {config.num_frames} × {config.image_size} px, {config.patches} patches"
        if listed
        else f"Data: {settings.train_file} is missing; {_EXAMPLE_CLIPS:,} clips stand for it",
        f"Steps: {gpus} GPU(s) × {size} clip(s) × {args.gradient_accumulation_steps} accumulated; {steps}",
        *([f"  {steps.warning}"] if steps.warning else []),
        f"  {cost.operations / 1e9:,.1f} GFLOP forward a clip, {number * trained / 1e15:,.2g} PFLOP an epoch",
        f"  {hours_in_words(trained * number * steps.steps / steps.epoch, GPUS[settings.gpu], gpus, args.bf16)}",
        *_memory_lines(parameters, cost, settings, args, stage_of(deepspeed)),
        *disk_lines(parameters, stage_of(deepspeed), args, steps),
    ]
    return "\n".join(lines)


def _memory_lines(
    parameters: Parameters, cost: ClipCost, settings: VideoSettings, args: TrainingArguments, chosen: str
) -> list[str]:
    """Memory of each GPU at each stage; an arrow marks the run's."""
    gpus, clips = settings.gpus, args.per_device_train_batch_size
    kept, limit = cost.kept * clips, GPUS[settings.gpu].memory
    lines = [
        f"Memory of each of {gpus} GPU(s) in GiB; fits: with {RESERVE:.0f} GiB to spare in {limit}",
        f"  {'stage':<19}{'weights':>9}{'gradients':>11}{'optimizer':>11}{'activations':>13}{'sum':>8}  fits",
    ]
    for stage in STAGES:
        states = model_states(parameters.all, parameters.all, parameters.largest, stage, gpus, args.bf16)
        total = (states.gpu + kept) / GIB
        parts = (states.weights, states.gradients, states.optimizer, kept)
        cells = "".join(f"{value / GIB:>{width}.2f}" for value, width in zip(parts, (9, 11, 11, 13), strict=True))
        fits = "yes" if total + RESERVE <= limit else "no"
        lines.append(f"{'→' if stage == chosen else ' '} {NAMES[stage]:<19}{cells}{total:>8.2f}  {fits}")
    again = "with" if args.activation_checkpointing else "without"
    return [
        *lines,
        f"  activations of {clips} clip(s), {cost.kept / GIB:.2f} GiB each, {again} activation checkpointing",
    ]
