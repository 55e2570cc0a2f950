"""Ways to train a model, the memory that each takes, and which would fit."""

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
class Way:
    """One way to train: the ZeRO stage, GPUs, whether blocks are computed again, whether in 16 bits."""

    stage: str
    gpus: int
    checkpointing: bool
    half: bool
    batch: Batch


@dataclass(frozen=True)
class Need:
    """Bytes of a GPU for a way: states, activations, and bytes of the machine's memory."""

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


def need(config: PretrainedConfig, parameters: Parameters, way: Way) -> Need:
    """Memory of one GPU on that way."""
    trained = parameters.all_trained
    frozen = parameters.all if parameters.adapters else parameters.all - trained
    kinds = {"half": way.half, "adapters": parameters.adapters}
    states = memory.model_states(frozen + trained, trained, parameters.largest, way.stage, way.gpus, **kinds)
    kept = memory.activations(config, way.batch, way.checkpointing, 2 if way.half else 4)
    return Need(states, sum(kept.values()))


def changes(way: Way) -> Iterator[tuple[str, Way]]:
    """Ways that take less, the least intrusive first, each with the flags that lead there."""
    later = memory.STAGES[memory.STAGES.index(way.stage) :]
    also = ""
    if not way.checkpointing:
        way, also = replace(way, checkpointing=True), "--activation_checkpointing true"
        yield also, way
    if way.batch.sequences > 1:
        share = len(way.batch.grids) // way.batch.sequences
        way = replace(way, batch=replace(way.batch, sequences=1, grids=way.batch.grids[:share]))
        also = f"{also} --per_device_train_batch_size 1".strip()
        yield also, way
    yield f"{also} --max_pixels of half".strip(), replace(way, batch=way.batch.with_pictures_halved())
    for stage in later[1:]:
        yield f"{also} --deepspeed train/{stage}.json".strip(), replace(way, stage=stage)
    for stage in later:
        config = f"{also} --deepspeed train/{stage}.json".strip() if stage != way.stage else also
        for gpus in COUNTS:
            if gpus > way.gpus:
                yield f"{gpus} GPUs {config}".strip(), replace(way, stage=stage, gpus=gpus)


def remedies(
    config: PretrainedConfig, parameters: Parameters, way: Way, limit: float, adapters: Parameters | None = None
) -> list[str]:
    """What makes a run fit that does not: a line a change that is enough, more GPUs only as many as it takes.

    `adapters`: what --lora_rank would train, if it is not asked for yet.
    """
    lines, enough = [], set()  # stages that fit already on as many GPUs
    if adapters and (wanted := need(config, adapters, way)).gib + RESERVE <= limit:
        lines.append(f"  --lora_rank {LORA_RANK}: {wanted.gib:.1f} GiB a GPU")
    for flags, other in changes(way):
        wanted = need(config, parameters, other)
        if wanted.gib + RESERVE > limit or (other.gpus > way.gpus and other.stage in enough):
            continue
        if other.stage != way.stage or other.gpus > way.gpus:
            enough.add(other.stage)
        host = f", {wanted.states.host / GIB:.0f} GiB of the machine's memory" if wanted.states.host else ""
        lines.append(f"  {flags}: {wanted.gib:.1f} GiB a GPU{host}")
    return lines or ["  nothing known here is enough: take a smaller model"]
