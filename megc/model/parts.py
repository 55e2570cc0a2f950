"""Parts of a Qwen2.5-VL, by the names of its parameters, in memory, wrapped or partitioned."""

from torch import nn

PARTS = ("vision", "merger", "language_model")


def part_of(name: str) -> str:
    """Part of the model that the parameter `name` belongs to; embeddings and output head are of the language model."""
    if "visual." not in name:
        return "language_model"
    return "merger" if "visual.merger." in name else "vision"


def count(parameter: nn.Parameter) -> int:
    """Number of values, also where ZeRO-3 holds only a share of them."""
    return getattr(parameter, "ds_numel", parameter.numel())


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether the parameter has two dimensions or more, also where ZeRO-3 holds only a share of it."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) > 1
