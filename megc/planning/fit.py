"""Setups of a training (ZeRO stage, GPUs, batch), the memory that each needs, and which fit a GPU."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PretrainedConfig

from megc.files import read_json
from megc.parsing import parse_json
from megc.planning import memory
from megc.planning.memory import GIB, Batch
from megc.problems import DataError
from megc.records import Contract, check_record

RESERVE = 5.0  # GiB for CUDA, NCCL, buckets and fragmentation: an assumption
COUNTS = (1, 2, 4, 8, 16)
LORA_RANK = 16  # of the adapters that are proposed
SPEED_SHARE = 0.4  # of a GPU's peak that training reaches: an assumption


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: its name, GiB of memory, and 10^12 dense bfloat16 operations a second at its peak."""

    name: str
    memory: int
    tera: float

    def hours(self, operations: float) -> float:
        """Hours of so many operations, at the speed that training is assumed to reach."""
        return operations / (self.tera * 1e12 * SPEED_SHARE) / 3600


def hours_in_words(operations: float, gpu: Gpu, gpus: int, half: bool) -> str:
    """Estimated hours of a run of so many operations, and what the estimate stands on; `half`: --bf16."""
    if not half:
        return f"hours on {gpus} × {gpu.name}: estimated with --bf16 true alone"
    hours = gpu.hours(operations) / gpus
    time = f"{short_number(hours)} hours" if hours >= 1 else f"{short_number(60 * hours)} minutes"
    speed = f"{SPEED_SHARE:.0%} of {gpu.tera:g} TFLOP/s, an assumption"
    return f"{time} on {gpus} × {gpu.name} (operations at {speed}; without loading and saving)"


def short_number(value: float) -> str:
    """Two digits, or all in front of the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


# NVIDIA's data sheets and whitepapers, without sparsity (theirs double with it), sums in 32 bits; h100 and h200: SXM.
# Their GB are taken for GiB, of which the reserve makes up.
GPUS: dict[str, Gpu] = {
    "h100": Gpu("H100", 80, 989.4),
    "h200": Gpu("H200", 141, 989.4),
    "a100": Gpu("A100", 80, 312),
    "a100_40gb": Gpu("A100", 40, 312),
    "l40s": Gpu("L40S", 48, 362),
    "a40": Gpu("A40", 48, 149.7),
    "rtx4090": Gpu("RTX 4090", 24, 165.2),
    "rtx3090": Gpu("RTX 3090", 24, 71),
}


@dataclass(frozen=True)
class Parameters:
    """Parameters of a model by part, those that are trained, and those of its largest single layer.

    `adapters`: what is trained are adapters, which `total` does not count.
    """

    total: dict[str, int]
    trained: dict[str, int]
    largest: int
    adapters: bool = False

    @property
    def all(self) -> int:
        """Parameters of the checkpoint."""
        return sum(self.total.values())

    @property
    def all_trained(self) -> int:
        """Parameters that get gradients."""
        return sum(self.trained.values())


@dataclass(frozen=True)
class TrainingSetup:
    """ZeRO stage (of memory.STAGES), number of GPUs, whether blocks are computed again, whether in 16 bits."""

    stage: str
    gpus: int
    checkpointing: bool
    half: bool
    batch: Batch


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of a GPU that a setup needs for states and activations, and bytes of the machine's memory."""

    states: memory.States
    activations: int

    @property
    def gib(self) -> float:
        """GiB of one GPU, without the reserve."""
        return (self.states.gpu + self.activations) / GIB


class OffloadSection(Contract):
    """Where DeepSpeed keeps what does not stay on the GPU."""

    device: Literal["none", "cpu", "nvme"] = "none"


class ZeroSection(Contract):
    """The section `zero_optimization` of a DeepSpeed configuration, as far as the plan needs it."""

    stage: Literal[0, 2, 3] = 0
    offload_param: OffloadSection = OffloadSection()


class DeepSpeedFile(Contract):
    """A DeepSpeed configuration, as far as the plan needs it."""

    zero_optimization: ZeroSection = ZeroSection()


def stage_of(deepspeed: str | dict | None) -> str:
    """The stage of memory.STAGES that a DeepSpeed configuration (a file, JSON or a dictionary) asks for.

    Raises DataError where it is none, or asks for a stage that the plan does not know.
    """
    if not deepspeed:
        return "none"
    fix, source = "give one of train/zero*.json as --deepspeed; the plan knows stages 0, 2 and 3", "--deepspeed"
    if isinstance(deepspeed, str):
        if not deepspeed.lstrip().startswith("{"):
            source, deepspeed = deepspeed, read_json(deepspeed, fix=fix)
        else:
            try:
                deepspeed = parse_json(deepspeed)
            except ValueError as error:
                raise DataError("--deepspeed", None, str(error), fix) from error
    check_record(DeepSpeedFile, deepspeed, source, None, fix)
    zero = deepspeed.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    if stage == 3:
        return "zero3_offload" if zero.get("offload_param", {}).get("device", "none") != "none" else "zero3"
    return "zero2" if stage == 2 else "none"


def memory_needed(config: PretrainedConfig, parameters: Parameters, setup: TrainingSetup) -> MemoryNeed:
    """Memory of one GPU in that setup."""
    trained = parameters.all_trained
    # adapters come on top of the checkpoint, which is frozen as a whole
    frozen = parameters.all if parameters.adapters else parameters.all - trained
    kinds = {"half": setup.half, "adapters": parameters.adapters}
    states = memory.model_states(frozen + trained, trained, parameters.largest, setup.stage, setup.gpus, **kinds)
    kept = memory.activations(config, setup.batch, setup.checkpointing, 2 if setup.half else 4)
    return MemoryNeed(states, sum(kept.values()))


def smaller_setups(setup: TrainingSetup) -> Iterator[tuple[str, TrainingSetup]]:
    """Setups that need less, the least intrusive first, each with the flags that lead there."""
    later = memory.STAGES[memory.STAGES.index(setup.stage) :]
    flags = ""
    # 1. The same steps, only slower: what was done stays in all later setups.
    if not setup.checkpointing:
        setup, flags = replace(setup, checkpointing=True), "--activation_checkpointing true"
        yield flags, setup
    if setup.batch.sequences > 1:
        pictures = len(setup.batch.grids) // setup.batch.sequences  # of one sequence
        setup = replace(setup, batch=replace(setup.batch, sequences=1, grids=setup.batch.grids[:pictures]))
        flags = f"{flags} --per_device_train_batch_size 1".strip()
        yield flags, setup
    # 2. Smaller pictures alone, which the model sees.
    yield f"{flags} --max_pixels of half".strip(), replace(setup, batch=setup.batch.with_pictures_halved())
    # 3. Stages that share more, then more GPUs.
    for stage in later[1:]:
        yield f"{flags} --deepspeed train/{stage}.json".strip(), replace(setup, stage=stage)
    for stage in later:
        config = f"{flags} --deepspeed train/{stage}.json".strip() if stage != setup.stage else flags
        for gpus in COUNTS:
            if gpus > setup.gpus:
                yield f"{gpus} GPUs {config}".strip(), replace(setup, stage=stage, gpus=gpus)


def advice(
    config: PretrainedConfig,
    parameters: Parameters,
    setup: TrainingSetup,
    limit: float,
    adapters: Parameters | None = None,
) -> list[str]:
    """What makes a run fit that does not: a line a change that is enough, more GPUs only as many as it takes.

    `limit`: GiB of a GPU; `adapters`: what --lora_rank would train, if the run has none yet.
    """
    lines, enough = [], set()  # stages that fit already on as many GPUs
    if adapters and (need := memory_needed(config, adapters, setup)).gib + RESERVE <= limit:
        lines.append(f"  --lora_rank {LORA_RANK}: {need.gib:.1f} GiB a GPU")
    for flags, smaller in smaller_setups(setup):
        need = memory_needed(config, parameters, smaller)
        if need.gib + RESERVE > limit or (smaller.gpus > setup.gpus and smaller.stage in enough):
            continue
        if smaller.stage != setup.stage or smaller.gpus > setup.gpus:
            enough.add(smaller.stage)
        host = f", {need.states.host / GIB:.0f} GiB of the machine's memory" if need.states.host else ""
        lines.append(f"  {flags}: {need.gib:.1f} GiB a GPU{host}")
    return lines or ["  nothing known here is enough: take a smaller model"]
