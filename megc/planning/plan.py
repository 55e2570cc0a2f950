"""What a run will take, before a weight is loaded: parameters, tokens, steps, operations, memory and disk.

Everything is computed from the configuration and the data (see `memory`); nothing of it was measured on a GPU.
"""

from dataclasses import replace

import torch
from transformers import PretrainedConfig, TrainingArguments

from megc.model.distributed import world_size
from megc.model.packing import IGNORED, Packed
from megc.model.parts import PARTS, part_of
from megc.planning import memory
from megc.planning.disk import disk_lines, disk_needed, gigabytes
from megc.planning.dry_run import DryRun, build_on_meta, dry_run
from megc.planning.fit import (
    COUNTS,
    GPUS,
    LORA_RANK,
    RESERVE,
    Gpu,
    Parameters,
    TrainingSetup,
    advice,
    hours_in_words,
    memory_needed,
    short_number,
    stage_of,
)
from megc.planning.memory import GIB, Batch
from megc.training.settings import SftSettings, check_settings
from megc.training.sft import select_trained
from megc.training.trainer import Schedule, count_steps

NAMES = {
    "none": "none (DDP)",
    "zero2": "ZeRO-2",
    "zero3": "ZeRO-3",
    "zero3_offload": "ZeRO-3, offloaded",
}
_EXAMPLES = (150, 450)  # clips of a dataset of micro-expressions, and of several together


def count_parameters(config: PretrainedConfig, settings: SftSettings) -> Parameters:
    """Parameters of the model of `config`, and which of them `settings` train. No memory is taken."""
    model = build_on_meta(config)
    # ZeRO-3 gathers module by module: the largest one's own parameters count, here those of the embedding
    largest = max(sum(value.numel() for value in module.parameters(recurse=False)) for module in model.modules())
    total, trained = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for name, parameter in select_trained(model, settings, seed=0).named_parameters():
        total[part_of(name)] += parameter.numel() * ("lora_" not in name)
        trained[part_of(name)] += parameter.numel() * parameter.requires_grad
    return Parameters(total, trained, largest, bool(settings.lora_rank))


def batch_of(packed: list[Packed], run: DryRun) -> Batch:
    """The micro-batch of these sequences."""
    # as the collator has it: logits at each place where any row predicts
    length = max(map(len, packed))
    answers = torch.zeros(length, dtype=torch.bool)
    for sequence in packed:
        answers[: len(sequence)] |= sequence.targets != IGNORED
    grids = tuple(grid for sequence in packed for grid in run.grids(sequence))
    return Batch(len(packed), length, int(answers.sum()), grids)


def part_lines(parameters: Parameters) -> list[str]:
    """Table of parameters by part."""
    lines = [f"  {'part':<16}{'parameters':>15}{'trained':>15}"]
    for part in PARTS:
        lines.append(f"  {part:<16}{parameters.total[part]:>15,}{parameters.trained[part]:>15,}")
    return [*lines, f"  {'all':<16}{parameters.all:>15,}{parameters.all_trained:>15,}"]


def data_lines(run: DryRun, packings: dict[str, list[Packed]]) -> list[str]:
    """Pictures, sequences and tokens of the data, packed and not."""
    clips = len(run.clips)
    pictures = [run.grids(sequence) for sequence in packings["clip"]]
    merge = run.config.vision_config.spatial_merge_size**2
    tokens = [rows * columns // merge for grids in pictures for rows, columns in grids]
    each = f"{min(tokens)} to {max(tokens)}" if min(tokens) < max(tokens) else f"{tokens[0]}"
    lines = [
        f"Data: {len(run.data.samples):,} questions of {clips:,} clips, {max(map(len, pictures))} picture(s) a clip"
        f" of {each} tokens",
        f"  {'packing':<10}{'sequences':>12}{'tokens a clip':>16}{'tokens':>14}{'longest':>10}",
    ]
    for packing, packed in packings.items():
        total = sum(map(len, packed))
        lines.append(
            f"  {packing:<10}{len(packed):>12,}{total / clips:>16,.0f}{total:>14,}{max(map(len, packed)):>10,}"
        )
    return lines


def epoch_flops(run: DryRun, packed: list[Packed], parameters: Parameters, checkpointing: bool) -> int:
    """Operations of forward and backward passes over all sequences, one by one."""
    # any adapter in a part makes gradients flow through it
    trained = {part: parameters.trained[part] > 0 for part in PARTS}
    forward = dict.fromkeys(PARTS, 0)
    for sequence in packed:
        for part, number in memory.forward_flops(run.config, batch_of([sequence], run)).items():
            forward[part] += number
    return memory.training_flops(forward, trained, checkpointing, parameters.adapters)


def schedules(run: DryRun, packings: dict, args: TrainingArguments, gpus: int) -> dict[int, Schedule]:
    """Schedule of the run by its number of clips; of examples, the largest last, where nobody says how many."""
    sequences, clips = len(packings[run.settings.packing]), len(run.clips)
    numbers = (clips,)
    if run.is_example:
        numbers = (run.settings.clips,) if run.settings.clips else _EXAMPLES
    return {number: count_steps(sequences * number // clips, gpus, args) for number in numbers}


def step_lines(
    run: DryRun, operations: dict[str, float], runs: dict[int, Schedule], args: TrainingArguments, setup: TrainingSetup
) -> list[str]:
    """Steps of an epoch and of the run, by its number of clips; `operations` are those of a clip, by packing."""
    size, accumulated = args.per_device_train_batch_size, args.gradient_accumulation_steps
    sequences = setup.gpus * size * accumulated
    lines = [f"Steps: {setup.gpus} GPU(s) × {size} sequence(s) × {accumulated} accumulated = {sequences} a step"]
    for clips, steps in runs.items():
        lines.append(f"  {clips:,} clips: {steps}")
        lines += [f"  {steps.warning}"] if steps.warning else []
        for packing, number in operations.items():
            each = f"{short_number(number * clips / steps.epoch / 1e12)} TFLOP for the questions of a step"
            hours = GPUS[run.settings.gpu].hours(number * clips * steps.steps / steps.epoch)
            of_all = f", {short_number(hours)} GPU hours in all" if setup.half else ""
            lines.append(f"    packing {packing}: {each}{of_all}")
    return lines


def memory_lines(config: PretrainedConfig, parameters: Parameters, setup: TrainingSetup, limit: float) -> list[str]:
    """Memory at each stage, in parts for the setup's number of GPUs, in sum for others."""
    other = [gpus for gpus in COUNTS if gpus != setup.gpus]
    heads = "".join(f"{f'at {gpus}':>8}" for gpus in other)
    lines = [
        f"Memory of each of {setup.gpus} GPU(s) in GiB; fits: with {RESERVE:.0f} GiB to spare in {limit:.0f}",
        f"  {'stage':<19}{'weights':>9}{'gradients':>11}{'optimizer':>11}{'activations':>13}{'sum':>8}  fits"
        f"{'machine':>9}{heads}",
    ]
    for stage in memory.STAGES:
        need = memory_needed(config, parameters, replace(setup, stage=stage))
        states = need.states
        parts = "".join(
            f"{value / GIB:>{width}.1f}"
            for value, width in (
                (states.weights, 9),
                (states.gradients, 11),
                (states.optimizer, 11),
                (need.activations, 13),
            )
        )
        fits = "yes" if need.gib + RESERVE <= limit else "no"
        setups = (replace(setup, stage=stage, gpus=gpus) for gpus in other)
        sums = "".join(f"{memory_needed(config, parameters, another).gib:>8.1f}" for another in setups)
        mark = "→" if stage == setup.stage else " "
        machine = f"{states.host / GIB:>9.0f}" if states.host else f"{'':>9}"
        lines.append(f"{mark} {NAMES[stage]:<19}{parts}{need.gib:>8.1f}  {fits:<4}{machine}{sums}")
    size = 2 if setup.half else 4
    kept = {again: memory.activations(config, setup.batch, again, size) for again in (True, False)}
    everywhere = memory.activations(config, setup.batch.with_logits_everywhere(), setup.checkpointing, size)["logits"]
    bound = "at most " if parameters.all_trained < parameters.all else ""  # frozen parts keep less
    lines += [
        f"  activations of {setup.batch.sequences} × {setup.batch.length} tokens: {bound}"
        f"{sum(kept[True].values()) / GIB:.2f}"
        f" with activation checkpointing, {sum(kept[False].values()) / GIB:.2f} without",
        f"  logits of the answers only: {kept[True]['logits'] / GIB:.2f}; at every token they were"
        f" {everywhere / GIB:.2f}",
    ]
    return lines


def choose_gpus(settings: SftSettings, fits: dict[int, bool]) -> tuple[int, str]:
    """Number of GPUs to plan for, and why."""
    if settings.gpus:
        return settings.gpus, "as asked"
    if world_size() > 1:
        return world_size(), "as the launcher started"
    if torch.cuda.device_count():
        return torch.cuda.device_count(), "of this machine"
    enough = [gpus for gpus, fit in fits.items() if fit]  # in rising order
    return (enough[0], "the fewest that it fits on") if enough else (COUNTS[-1], "and it does not fit")


def estimate_lines(
    runs: dict[int, Schedule], operations: float, gib: float, disk: str, gpu: Gpu, setup: TrainingSetup
) -> list[str]:
    """Hours, memory and disk, a line for each number of clips; `operations` of a clip, `gib` of a GPU."""
    lines = []
    for clips, steps in runs.items():
        hours = hours_in_words(operations * clips * steps.steps / steps.epoch, gpu, setup.gpus, setup.half)
        lines.append(
            f"Estimate for {clips:,} clips: {gib:.1f} GiB of {gpu.memory} a GPU, {disk} of disk at most, {hours}"
        )
    return lines


def plan(settings: SftSettings, args: TrainingArguments, deepspeed: str | dict | None = None) -> str:
    """The plan of a run as text; `deepspeed` is its configuration, which `args` need not know of.

    Raises what `dry_run` raises.
    """
    check_settings(settings, args)
    run = dry_run(settings, args.seed, allow_example=True)
    parameters = count_parameters(run.config, settings)
    packings = {packing: run.pack(packing) for packing in ("clip", "none")}
    size = args.per_device_train_batch_size
    # the largest micro-batch that a step may meet; of a single example clip, copies of it
    longest = sorted(packings[settings.packing] * (size if run.is_example else 1), key=len)[-size:]
    setup = TrainingSetup(stage_of(deepspeed), 1, args.activation_checkpointing, args.bf16, batch_of(longest, run))
    gpu = GPUS[settings.gpu]
    limit = gpu.memory

    def need(gpus: int) -> float:
        return memory_needed(run.config, parameters, replace(setup, gpus=gpus)).gib

    gpus, why = choose_gpus(settings, {gpus: need(gpus) + RESERVE <= limit for gpus in COUNTS})
    setup = replace(setup, gpus=gpus)
    operations = {
        packing: epoch_flops(run, packed, parameters, setup.checkpointing) / len(run.clips)
        for packing, packed in packings.items()
    }
    runs = schedules(run, packings, args, gpus)
    longest_run = list(runs.values())[-1]
    disk = gigabytes(disk_needed(parameters, setup.stage, args, longest_run))
    lines = [
        f"Plan of training {settings.model} on {settings.train_file} (computed; no weight is loaded)",
        *(f"  {note}" for note in run.notes),
        *part_lines(parameters),
        *data_lines(run, packings),
        *step_lines(run, operations, runs, args, setup),
        *memory_lines(run.config, parameters, setup, limit),
        *disk_lines(parameters, setup.stage, args, longest_run),
        *estimate_lines(runs, operations[settings.packing], need(gpus), disk, gpu, setup),
    ]
    if need(gpus) + RESERVE <= limit:
        verdict = f"It fits: {NAMES[setup.stage]} on {gpus} GPU(s) ({why}) of {limit} GiB."
        return "\n".join([*lines, verdict])
    verdict = f"It does not fit: {NAMES[setup.stage]} on {gpus} GPU(s) ({why}) of {limit} GiB. Enough would be:"
    adapters = None
    if not settings.lora_rank:
        adapters = count_parameters(run.config, replace(settings, lora_rank=LORA_RANK))
    return "\n".join([*lines, verdict, *advice(run.config, parameters, setup, limit, adapters)])
