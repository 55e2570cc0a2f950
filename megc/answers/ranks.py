"""Several processes that answer one test set: who answers which clips, and how the main process hears of it."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from megc.model.distributed import is_main, world_size
from megc.problems import Problems

Item = TypeVar("Item")
_PATIENCE = timedelta(days=7)  # the fastest process waits for the slowest, not for gloo's half an hour


def start() -> None:
    """Join the other processes of `torchrun` or `accelerate launch`; nothing without such a launcher."""
    if world_size() > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=_PATIENCE)


def rank() -> int:
    """Number of this process, 0 for the main or only one."""
    return int(os.environ.get("RANK", "0"))


def own_device() -> str | None:
    """The GPU of this process where several share a machine; None: whatever there is."""
    if world_size() > 1 and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return None


def from_main(value: Item) -> Item:
    """The main process's value, for all. No process gets it before the main one has come here."""
    if world_size() == 1:
        return value
    box = [value if is_main() else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def share(items: Sequence[Item]) -> list[Item]:
    """This process's part of the items, which are the same in all processes."""
    return list(items[rank() :: world_size()])


def gather(count: int, problems: Problems, known: int) -> int:
    """Sum of all processes' counts; the main one's `problems` get what others found after the first `known`.

    No process leaves before all have come here.
    """
    if world_size() == 1:
        return count
    boxes: list = [None] * world_size()
    distributed.all_gather_object(boxes, (count, list(problems)[known:]))
    if is_main():
        for _, found in boxes[1:]:
            for problem in found:
                problems.add(problem)
    return sum(one for one, _ in boxes)
