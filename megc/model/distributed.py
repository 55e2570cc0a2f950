"""Several processes that train or answer together: ranks, shared values, DeepSpeed without a GPU, a clean end."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from transformers import TrainingArguments
from transformers.integrations import deepspeed as integration
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from megc.command import is_main
from megc.files import lock_folder
from megc.problems import Problems

Item = TypeVar("Item")
_PATIENCE = timedelta(days=7)  # the fastest process waits for the slowest, not for gloo's half an hour


def world_size() -> int:
    """Number of processes that the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """Number of this process, 0 for the main or only one."""
    return int(os.environ.get("RANK", "0"))


def process_device() -> str | None:
    """The GPU of this process where several share a machine; None: whatever there is."""
    if world_size() > 1 and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return None


def join_processes() -> None:
    """Join the other processes of `torchrun` or `accelerate launch`; nothing without such a launcher."""
    if world_size() > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=_PATIENCE)


def broadcast_from_main(value: Item) -> Item:
    """The main process's value, for all. No process gets it before the main one has come here."""
    if world_size() == 1:
        return value
    box = [value if is_main() else None]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def share_of_process(items: Sequence[Item]) -> list[Item]:
    """This process's part of the items, which are the same in all processes."""
    return list(items[process_rank() :: world_size()])


def gather_counts(count: int, problems: Problems, before: int) -> int:
    """Sum of all processes' counts; the main one's `problems` get what others added after their first `before`.

    No process leaves before all have come here.
    """
    if world_size() == 1:
        return count
    boxes: list = [None] * world_size()
    torch.distributed.all_gather_object(boxes, (count, list(problems)[before:]))
    if is_main():
        for _, added in boxes[1:]:
            for problem in added:
                problems.add(problem)
    return sum(process_count for process_count, _ in boxes)


def lock_output(folder: Path | str) -> AbstractContextManager:
    """Hold the output folder for this training; of several processes the main one does, and speaks for all.

    Raises DataError when another training is at work there.
    """
    return lock_folder(folder, "training") if is_main() else nullcontext()


def print_main(*lines: str) -> None:
    """Print on the main process only."""
    if is_main():
        print(*lines, sep="\n", flush=True)


def before_deepspeed() -> None:
    """Call before TrainingArguments are made with a DeepSpeed configuration.

    Without a GPU, DeepSpeed would compile a shared-memory operator at start-up (minutes, and a crash where there is
    no compiler); gloo does the same work. Alone, without a launcher, DeepSpeed would ask for MPI: a world of one
    is set up instead.
    """
    if not torch.cuda.is_available():
        from deepspeed.ops import __compatible_ops__

        __compatible_ops__["deepspeed_shm_comm"] = False  # DeepSpeed's own table, meant to be edited
    if "RANK" not in os.environ:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
        os.environ.update(alone)


def start_deepspeed() -> None:
    """Call after TrainingArguments, before a model is loaded: ZeRO-3 partitions while loading.

    On CPUs accelerate starts torch's process group but not DeepSpeed's own communication, on which ZeRO-3 relies.
    """
    import deepspeed

    if not torch.cuda.is_available() and not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(dist_backend="gloo", verbose=False)


def uses_deepspeed(args: TrainingArguments) -> bool:
    """Whether DeepSpeed runs the training: by --deepspeed, or by `accelerate launch --use_deepspeed`."""
    return args.deepspeed_plugin is not None


@contextmanager
def unpartitioned_models() -> Iterator[None]:
    """Models that the block makes are whole in this process, also in a ZeRO-3 run, which would partition them."""
    # transformers keeps a weak reference to the configuration, and has a setter but no getter for it
    reference = integration._hf_deepspeed_config_weak_ref
    configuration = reference() if reference else None
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if configuration is not None:
            set_hf_deepspeed_config(configuration)


def take_one_gpu(args: TrainingArguments) -> None:
    """Without a launcher, train on one of several GPUs: Trainer would wrap the model in DataParallel, which cuts
    `pixel_values` (patches of all pictures) as if each row were a sample."""
    if args.n_gpu > 1:
        print_main(
            f"{args.n_gpu} GPUs, but no launcher: training on one of them, as with CUDA_VISIBLE_DEVICES=0."
            f" On all: torchrun --nproc_per_node {args.n_gpu} train.py …, or deepspeed train.py …"
        )
        args._n_gpu = 1  # Trainer and the batch sizes of `args` go by it; there is no public way to set it


def wait_for_all() -> None:
    """Return once every process of the run is here; at once in a single process."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()
