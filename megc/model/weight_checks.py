"""Whether a checkpoint's weights are whole: transformers fills what is missing with random numbers and goes on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from megc.model.distributed import unpartitioned_models
from megc.model.weights import INFO_NAME, base_of, check_files, check_names, shorten, weight_files, weights_hash
from megc.problems import DataError

_LONGEST = 200  # characters of what a library says of a file that it does not load


def check_weights(path: Path | str, recorded: str | None = None, *, values: bool = True) -> None:
    """Check the weights of a checkpoint, a folder or a name on the hub, before they are loaded.

    Raises DataError for missing, unexpected and misshapen tensors, damaged, truncated and absent files, Git LFS
    pointers, and (`values`, which reads all bytes) NaN, infinity and a hash other than `recorded`, which is that in
    `megc.json`.
    """
    folder = local_folder(path)
    if folder:
        check_files(folder)
    if not base_of(path):
        _check_tensors(path)  # of a name on the hub, this downloads the files
    folder = folder or local_folder(path)
    if folder and values:
        check_values(folder, recorded)


def local_folder(path: Path | str) -> Path | None:
    """Folder of a checkpoint, itself or its place in the hub's cache; None where it is not on this machine."""
    if Path(path).is_dir():
        return Path(path)
    if not is_hub_name(path):
        return None
    cached = try_to_load_from_cache(str(path), "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def _check_tensors(path: Path | str) -> None:
    """Compare names and shapes of the tensors in the files with those of the model; no value is read."""
    fix = "download or copy the checkpoint again, or take its own config.json"
    with loading_checkpoint(path), _quiet(), unpartitioned_models():
        # on the meta device tensors have shapes and no values, and loading reports names and shapes that differ
        _, report = AutoModelForImageTextToText.from_pretrained(
            path, device_map="meta", output_loading_info=True, use_safetensors=True, ignore_mismatched_sizes=True
        )
    check_names(path, report["missing_keys"], report["unexpected_keys"], fix)
    if report["mismatched_keys"]:
        name, saved, shape = min(report["mismatched_keys"])
        what = (
            f"{len(report['mismatched_keys'])} tensor(s) of another shape ({name}: {tuple(saved)}, not {tuple(shape)})"
        )
        raise DataError(path, None, what, fix)


def check_values(folder: Path | str, recorded: str | None = None) -> None:
    """Raise DataError for tensors with NaN or infinity, and for weights of another hash than `recorded`.

    All bytes of the folder's safetensors files are read: seconds for a model of 7B parameters.
    """
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            names = [name for name in tensors.keys() if not _is_finite(tensors.get_tensor(name))]  # noqa: SIM118
        if names:
            what = f"{len(names)} tensor(s) with NaN or infinity ({shorten(names)})"
            raise DataError(file, None, what, "take an earlier checkpoint, or train again with a lower learning rate")
    if recorded and recorded != weights_hash(folder):
        what = f"the weights have the hash {weights_hash(folder)}, and {INFO_NAME} says {recorded}"
        fix = f"copy the checkpoint again; delete weights_hash in {INFO_NAME} if the weights were changed on purpose"
        raise DataError(folder, None, what, fix)


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    return all(value.isfinite() for value in tensor.aminmax())  # NaN comes through; ten times as quick as isfinite


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and no progress bars of transformers."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def is_hub_name(path: Path | str) -> bool:
    """Whether `path` is a name on the hub, such as Qwen/Qwen2.5-VL-7B-Instruct, rather than a folder."""
    owner = Path(path).parent
    hub_name = re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and owner.name not in ("..", "checkpoints")
    return bool(hub_name) and not owner.is_dir()


@contextmanager
def loading_checkpoint(path: Path | str) -> Iterator[None]:
    """Whatever a damaged or foreign file of a checkpoint makes transformers and tokenizers raise, as a DataError.

    They check no shapes, so it may be any exception. What says nothing of the files passes: no memory, a library that
    is missing, and a DataError that is one already.
    """
    try:
        yield
    except (DataError, MemoryError, ImportError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        lines = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {lines[:_LONGEST]}" if lines else type(error).__name__
        fix = "give the folder of a Qwen2.5-VL checkpoint with safetensors weights, or train one with train.py"
        raise DataError(path, None, f"cannot be loaded ({reason})", fix) from error
