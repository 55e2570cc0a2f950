"""Which attention a run uses, and why: packed clips need a mask of their own, and only some kernels take one."""

from dataclasses import dataclass
from importlib.util import find_spec

import torch

from megc.problems import DataError

ANSWERING = ("sdpa", "eager")


@dataclass(frozen=True)
class Attention:
    """Kernels of the language model and of the vision tower, and the reason for them."""

    language: str
    vision: str
    reason: str

    @property
    def implementation(self) -> dict[str, str]:
        """`attn_implementation` of transformers' from_pretrained."""
        return {"": self.language, "text_config": self.language, "vision_config": self.vision}

    def __str__(self) -> str:
        vision = "" if self.vision == self.language else f", of the vision tower {self.vision}"
        return f"{self.language}{vision} ({self.reason})"


def _missing_for_flash() -> str:
    """Why flash attention cannot run on this machine; empty where it can."""
    if not torch.cuda.is_available():
        return "no GPU"
    return "" if find_spec("flash_attn") else "flash-attn is not installed"


def choose_attention(requested: str | None, packing: str) -> Attention:
    """The `requested` kernels (--attention), or the fastest ones that fit `packing` and this machine.

    Raises ValueError for what this machine cannot run.
    """
    missing = _missing_for_flash()
    if requested == "flash_attention_2" and missing:
        raise ValueError(f"--attention flash_attention_2: {missing}; leave the flag out, or take sdpa")
    if requested:
        return Attention(requested, requested, "as asked")
    # the tower's windows are sequences of their own, never packed: flash attention takes them in any case
    vision = "sdpa" if missing else "flash_attention_2"
    if packing == "clip":
        return Attention("sdpa", vision, "packed clips need a 4-D mask")
    if missing:
        return Attention("sdpa", vision, missing)
    return Attention("flash_attention_2", vision, "flash-attn is installed and clips are not packed")


def check_answering_attention(attention: str | None) -> None:
    """Raise DataError for an attention that would answer wrongly; None is transformers' choice, sdpa.

    Answering needs kernels that take 4-D masks: for shared prefixes, and for trees of compared answers.
    """
    if attention not in (None, *ANSWERING):
        what = "is not for answering: it takes no masks of shared prefixes and compared answers"
        raise DataError(f"--attention {attention}", None, what, f"use {' or '.join(ANSWERING)}")


def additive_mask(allowed: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Mask to add to attention scores, 0 where `allowed` (bool, any shape) is True, else the lowest of `dtype`.

    Eager attention adds whatever mask it gets: of a bool one it would add True as 1, and mask nothing. A float32
    mask suits weights of 16 bits too, since the sum takes the wider type.
    """
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(
        ~allowed, torch.finfo(dtype).min
    )


def packed_mask(branch: torch.Tensor) -> torch.Tensor:
    """Who sees whom, bool (B, 1, L, L), True: may look. `branch` (B, L) as in packing.Packed, -1 where padded.

    Padding looks at itself, so that no row of the mask is empty (its softmax would be NaN).
    """
    length = branch.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()  # (L, L)
    same = branch[:, :, None] == branch[:, None, :]  # (B, L, L): query and key in one branch; padding with padding
    prefix = (branch == 0)[:, None, :]  # (B, 1, L): keys that every branch sees
    return (before & (same | prefix))[:, None]
