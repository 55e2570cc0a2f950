"""What several processes need on any machine: DeepSpeed over gloo without a GPU, printing once, a clean end."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import TrainingArguments
from transformers.integrations import deepspeed as integration
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config


def world_size() -> int:
    """Number of processes that the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process prints and writes: rank 0, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


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


@contextmanager
def whole_models(args: TrainingArguments) -> Iterator[None]:
    """Models that the block loads are whole in this process, also in a ZeRO-3 run, which would partition them."""
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if uses_deepspeed(args):
            set_hf_deepspeed_config(args.deepspeed_plugin.hf_ds_config)


def finish(exit_code: int = 0) -> None:
    """End of a program that several processes ran; returns in a single process.

    gloo's threads sometimes abort the interpreter's shutdown, after everything is saved, and the launcher then
    reports a failure; leaving without the shutdown avoids it.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
