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
from megc.planning.disk import disk_lines
from megc.planning.dry_run import Outline, on_meta, outline
from megc.planning.fit import COUNTS, LORA_RANK, RESERVE, Parameters, Way, need, remedies, stage_of
from megc.planning.memory import GIB, Batch
from megc.training.schedule import Schedule, schedule
from megc.training.settings import SftSettings, check_settings
from megc.training.sft import what_is_trained

NAMES = {
    "none": "none (DDP)",
    "zero2": "ZeRO-2",
    "zero3": "ZeRO-3",
    "zero3_offload": "ZeRO-3, offloaded",
}
_EXAMPLES = (150, 450)  # clips of a dataset of micro-expressions, and of several together
_PEAK, _SHARE = 989e12, 0.4  # an H100's 16-bit operations a second, and the share of them that training reaches


def count_parameters(config: PretrainedConfig, settings: SftSettings) -> Parameters:
    """Parameters of the model of `config`, and which of them `settings` train. No memory is taken."""
    model = on_meta(config)
    largest = max(sum(own.numel() for own in module.parameters(recurse=False)) for module in model.modules())
    total, trained = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for name, parameter in what_is_trained(model, settings, seed=0).named_parameters():
        total[part_of(name)] += parameter.numel() * ("lora_" not in name)
        trained[part_of(name)] += parameter.numel() * parameter.requires_grad
    return Parameters(total, trained, largest, bool(settings.lora_rank))


def batch_of(packed: list[Packed], made: Outline) -> Batch:
    """The micro-batch of these sequences."""
    length = max(map(len, packed))
    answers = torch.zeros(length, dtype=torch.bool)
    for one in packed:
        answers[: len(one)] |= one.targets != IGNORED
    grids = tuple(grid for one in packed for grid in made.grids(one))
    return Batch(len(packed), length, int(answers.sum()), grids)


def part_lines(parameters: Parameters) -> list[str]:
    """Table of parameters by part."""
    lines = [f"  {'part':<16}{'parameters':>15}{'trained':>15}"]
    for part in PARTS:
        lines.append(f"  {part:<16}{parameters.total[part]:>15,}{parameters.trained[part]:>15,}")
    return [*lines, f"  {'all':<16}{parameters.all:>15,}{parameters.all_trained:>15,}"]


def data_lines(made: Outline, packings: dict[str, list[Packed]]) -> list[str]:
    """Pictures, sequences and tokens of the data, packed and not."""
    clips = len({sample.clip for sample in made.samples})
    pictures = [made.grids(one) for one in packings["clip"]]
    merge = made.config.vision_config.spatial_merge_size**2
    tokens = [rows * columns // merge for grids in pictures for rows, columns in grids]
    each = f"{min(tokens)} to {max(tokens)}" if min(tokens) < max(tokens) else f"{tokens[0]}"
    lines = [
        f"Data: {len(made.samples):,} questions of {clips:,} clips, {max(map(len, pictures))} picture(s) a clip"
        f" of {each} tokens",
        f"  {'packing':<10}{'sequences':>12}{'tokens a clip':>16}{'tokens':>14}{'longest':>10}",
    ]
    for packing, packed in packings.items():
        total = sum(map(len, packed))
        lines.append(
            f"  {packing:<10}{len(packed):>12,}{total / clips:>16,.0f}{total:>14,}{max(map(len, packed)):>10,}"
        )
    return lines


def epoch_flops(made: Outline, packed: list[Packed], parameters: Parameters, checkpointing: bool) -> int:
    """Operations of forward and backward passes over all sequences, one by one."""
    trained = {part: parameters.trained[part] > 0 for part in PARTS}
    forward = dict.fromkeys(PARTS, 0)
    for one in packed:
        for part, number in memory.forward_flops(made.config, batch_of([one], made)).items():
            forward[part] += number
    return memory.training_flops(forward, trained, checkpointing, parameters.adapters)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def schedules(made: Outline, packings: dict, args: TrainingArguments, gpus: int) -> dict[int, Schedule]:
    """Schedule of the run by its number of clips; of examples, the largest last, where the data is made up."""
    sequences = len(packings[made.settings.packing])
    clips = len({sample.clip for sample in made.samples})
    return {
        number: schedule(sequences * number // clips, gpus, args)
        for number in (_EXAMPLES if made.made_up else (clips,))
    }


def step_lines(made: Outline, packings: dict, parameters: Parameters, args: TrainingArguments, way: Way) -> list[str]:
    """Steps of an epoch and of the run, operations of a step, and hours at an assumed speed."""
    flops = {packing: epoch_flops(made, packed, parameters, way.checkpointing) for packing, packed in packings.items()}
    size, accumulated = args.per_device_train_batch_size, args.gradient_accumulation_steps
    batch = (
        f"{way.gpus} GPU(s) × {size} sequence(s) × {accumulated} accumulated = {way.gpus * size * accumulated} a step"
    )
    runs = schedules(made, packings, args, way.gpus)
    warnings = [f"  {run.warning}" for run in runs.values() if run.warning]
    if made.made_up:
        return [
            f"Steps: {batch}",
            *(f"  with {clips} clips: {run}" for clips, run in runs.items()),
            *warnings,
            *(f"  packing {packing}: {_short(number / 1e12)} TFLOP a clip" for packing, number in flops.items()),
        ]
    (run,) = runs.values()
    lines = [f"Steps: {batch}; {run}", *warnings]
    for packing, number in flops.items():
        lines.append(
            f"  packing {packing}: {_short(number / run.epoch / 1e12)} TFLOP for the questions of a step,"
            f" {_short(number * run.steps / run.epoch / _PEAK / _SHARE / 3600)} GPU hours in all"
        )
    return [*lines, f"  (hours at {_SHARE:.0%} of an H100's {_PEAK / 1e12:.0f} TFLOP/s: an assumption)"]


def memory_lines(config: PretrainedConfig, parameters: Parameters, way: Way, limit: float) -> list[str]:
    """Memory at each stage, in parts for the way's number of GPUs, in sum for others."""
    other = [gpus for gpus in COUNTS if gpus != way.gpus]
    heads = "".join(f"{f'at {gpus}':>8}" for gpus in other)
    lines = [
        f"Memory of each of {way.gpus} GPU(s) in GiB; fits: with {RESERVE:.0f} GiB to spare in {limit:.0f}",
        f"  {'stage':<19}{'weights':>9}{'gradients':>11}{'optimizer':>11}{'activations':>13}{'sum':>8}  fits"
        f"{'machine':>9}{heads}",
    ]
    for stage in memory.STAGES:
        wanted = need(config, parameters, replace(way, stage=stage))
        states = wanted.states
        parts = "".join(
            f"{value / GIB:>{width}.1f}"
            for value, width in (
                (states.weights, 9),
                (states.gradients, 11),
                (states.optimizer, 11),
                (wanted.activations, 13),
            )
        )
        fits = "yes" if wanted.gib + RESERVE <= limit else "no"
        sums = "".join(f"{need(config, parameters, replace(way, stage=stage, gpus=gpus)).gib:>8.1f}" for gpus in other)
        mark = "→" if stage == way.stage else " "
        machine = f"{states.host / GIB:>9.0f}" if states.host else f"{'':>9}"
        lines.append(f"{mark} {NAMES[stage]:<19}{parts}{wanted.gib:>8.1f}  {fits:<4}{machine}{sums}")
    size = 2 if way.half else 4
    kept = {again: memory.activations(config, way.batch, again, size) for again in (True, False)}
    everywhere = memory.activations(config, way.batch.with_logits_everywhere(), way.checkpointing, size)["logits"]
    bound = "at most " if parameters.all_trained < parameters.all else ""  # frozen parts keep less
    lines += [
        f"  activations of {way.batch.sequences} × {way.batch.length} tokens: {bound}"
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
    enough = [gpus for gpus, fit in fits.items() if fit]
    return (enough[0], "the fewest that it fits on") if enough else (COUNTS[-1], "and it does not fit")


def plan(settings: SftSettings, args: TrainingArguments, deepspeed: str | dict | None = None) -> str:
    """The plan of a run as text; `deepspeed` is its configuration, which `args` need not know of.

    Raises what `outline` raises.
    """
    check_settings(settings, args)
    made = outline(settings, args.seed, made_up=True)
    parameters = count_parameters(made.config, settings)
    packings = {packing: made.packed(packing) for packing in ("clip", "none")}
    size = args.per_device_train_batch_size
    longest = sorted(packings[settings.packing] * (size if made.made_up else 1), key=len)[-size:]
    way = Way(stage_of(deepspeed), 1, args.activation_checkpointing, args.bf16, batch_of(longest, made))
    limit = settings.gpu_memory

    def fits(gpus: int) -> bool:
        return need(made.config, parameters, replace(way, gpus=gpus)).gib + RESERVE <= limit

    gpus, why = choose_gpus(settings, {gpus: fits(gpus) for gpus in COUNTS})
    way = replace(way, gpus=gpus)
    lines = [
        f"Plan of training {settings.model} on {settings.train_file} (computed; no weight is loaded)",
        *(f"  {note}" for note in made.notes),
        *part_lines(parameters),
        *data_lines(made, packings),
        *step_lines(made, packings, parameters, args, way),
        *memory_lines(made.config, parameters, way, limit),
        *disk_lines(parameters, way.stage, args, list(schedules(made, packings, args, gpus).values())[-1]),
    ]
    if fits(gpus):
        verdict = f"It fits: {NAMES[way.stage]} on {gpus} GPU(s) ({why}) of {limit:.0f} GiB."
        return "\n".join([*lines, verdict])
    verdict = f"It does not fit: {NAMES[way.stage]} on {gpus} GPU(s) ({why}) of {limit:.0f} GiB. Enough would be:"
    adapters = None
    if not settings.lora_rank:
        adapters = count_parameters(made.config, replace(settings, lora_rank=LORA_RANK))
    return "\n".join([*lines, verdict, *remedies(made.config, parameters, way, limit, adapters)])
