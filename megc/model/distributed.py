"""What several processes need on any machine: DeepSpeed over gloo without a GPU, printing once, a clean end."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from megc.files import lock_folder


def world_size() -> int:
    """Number of processes that the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process prints and writes: rank 0, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def lock_output(folder: Path | str) -> AbstractContextManager:
    """Hold the output folder for this training; of several processes the main one does, and speaks for all.

    Raises DataError when another training is at work there.
    """
    return lock_folder(folder, "training") if is_main() else nullcontext()


def say(*lines: str) -> None:
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

    for name in ("all_gather_into_tensor", "reduce_scatter_tensor"):  # torch has renamed what DeepSpeed calls
        warnings.filterwarnings("ignore", message=f".*{name}", category=FutureWarning)
    if not torch.cuda.is_available() and not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(dist_backend="gloo", verbose=False)


def uses_deepspeed(args: TrainingArguments) -> bool:
    """Whether DeepSpeed runs the training: by --deepspeed, or by `accelerate launch --use_deepspeed`."""
    return args.deepspeed_plugin is not None


@contextmanager
def whole_models(args: TrainingArguments) -> Iterator[None]:
    """Models that the block loads are whole in this process, also in a ZeRO-3 run, which would partition them."""
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if uses_deepspeed(args):
            set_hf_deepspeed_config(args.deepspeed_plugin.hf_ds_config)


def take_one_gpu(args: TrainingArguments) -> None:
    """Without a launcher, train on one of several GPUs: Trainer would wrap the model in DataParallel, which cuts
    `pixel_values` (patches of all pictures) as if each row were a sample."""
    if args.n_gpu > 1:
        say(
            f"{args.n_gpu} GPUs, but no launcher: training on one of them, as with CUDA_VISIBLE_DEVICES=0."
            f" On all: torchrun --nproc_per_node {args.n_gpu} train.py …, or deepspeed train.py …"
        )
        args._n_gpu = 1  # Trainer and the batch sizes of `args` go by it; there is no public way to set it


def wait_for_all() -> None:
    """Return once every process of the run is here; at once in a single process."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()


def finish(exit_code: int = 0) -> None:
    """End of a program that several processes ran; returns in a single process.

    gloo's threads sometimes abort the interpreter's shutdown, after everything is saved, and the launcher then
    reports a failure; leaving without the shutdown avoids it. A process that failed waits for nobody: the others may
    be in another operation, and the launcher ends them.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        if not exit_code:
            torch.distributed.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
