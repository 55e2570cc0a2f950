"""Weight files of a checkpoint's folder: whole ones only, and a hash of what they hold."""

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field
from safetensors import SafetensorError, safe_open

from megc.files import read_checked, sha256_of
from megc.problems import DataError, excerpt
from megc.records import Contract

WHOLE, INDEX, ADAPTERS = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
INFO_NAME = "megc.json"  # says what a checkpoint was trained on (see `checkpoint`)
ADAPTER_CONFIG = "adapter_config.json"
# Files of a checkpoint's folder that decide its answers; its records of when and where do not.
_DECIDING = ("*.safetensors", "*config.json", "tokenizer.json", "vocab.json", "merges.txt", "chat_template.*")
_SETTINGS = ("config.json", "preprocessor_config.json", "tokenizer*.json", "vocab.json", "merges.txt")
_SETTINGS += ("chat_template.*",)
_PICKLES = ("pytorch_model*.bin", "adapter_model.bin", "*.pth", "*.pt")
_FLOATS = ("F64", "F32", "F16", "BF16")  # types of weights, as safetensors names them
_POINTER = b"version https://git-lfs"


class ShardIndex(Contract):
    """`model.safetensors.index.json`: the file of each tensor."""

    weight_map: Annotated[dict[str, str], Field(min_length=1)]


class AdapterConfig(Contract):
    """`adapter_config.json` of PEFT, as far as it is read here: the checkpoint that the adapters belong to."""

    base_model_name_or_path: str


def is_checkpoint(path: Path | str) -> bool:
    """Whether the folder is one of a model or of adapters."""
    return any((Path(path) / name).is_file() for name in ("config.json", ADAPTER_CONFIG))


def holds_weights(folder: Path | str) -> bool:
    """Whether the folder has weights in any form, whole or not."""
    return any(any(Path(folder).glob(pattern)) for pattern in ("*.safetensors", INDEX, *_PICKLES))


def weight_files(folder: Path | str) -> list[Path]:
    """Safetensors files that hold the weights of a checkpoint's folder: of adapters, of one file, or of shards.

    Raises DataError where there are none, or where the index of the shards names files that are absent.
    """
    folder = Path(folder)
    for name in (ADAPTERS,) if (folder / ADAPTER_CONFIG).is_file() else (WHOLE,):
        if (folder / name).is_file():
            return [folder / name]
    index = folder / INDEX
    if not index.is_file():
        pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
        if pickles:
            what = f"holds weights as {pickles[0]} only, a pickle, which can run code of strangers when it is loaded"
            raise DataError(folder, None, what, "convert it: load it with transformers, save_pretrained() it again")
        fix = "download or copy the checkpoint again, or train it again"
        raise DataError(folder, None, "holds no weights (*.safetensors)", fix)
    fix = "download or copy the file again"
    weight_map = read_checked(ShardIndex, index, fix=fix)["weight_map"]
    for tensor, name in weight_map.items():
        if "/" in name or not name.endswith(".safetensors"):
            raise DataError(index, tensor, f"weight_map has {excerpt(name)}, which is no name of a shard", fix)
    names = sorted(set(weight_map.values()))
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        what = f"{len(absent)} of {len(names)} shards are absent: {shorten(absent)}"
        raise DataError(index, None, what, "download or copy them into the folder")
    return [folder / name for name in names]


def check_files(folder: Path | str) -> list[Path]:
    """`weight_files`, each of which is whole.

    Raises DataError for Git LFS pointers, damaged or truncated files, and quantised tensors.
    """
    files = weight_files(folder)
    for file in files:
        with file.open("rb") as content:
            beginning = content.read(len(_POINTER))
        if beginning == _POINTER:
            fix = "fetch the weights with `git lfs pull` in the folder that it was cloned to"
            raise DataError(file, None, "a Git LFS pointer, not the weights", fix)
        try:
            with safe_open(file, framework="numpy") as tensors:  # reads the header, which tells how long it must be
                types = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            what = f"damaged or truncated, {file.stat().st_size:,} bytes ({error})"
            raise DataError(
                file, None, what, "download or copy the file again, or train the checkpoint again"
            ) from error
        quantised = [f"{name}: {kind}" for name, kind in types.items() if kind not in _FLOATS]
        if quantised:  # transformers would cast their numbers to weights, without the scales that belong to them
            what = f"{len(quantised)} tensor(s) of another type than {', '.join(_FLOATS)} ({shorten(quantised)})"
            raise DataError(file, None, what, "take the checkpoint in 16 or 32 bits, not a quantised one")
    return files


def check_names(folder: Path | str, missing: Iterable[str], unexpected: Iterable[str], fix: str) -> None:
    """Raise DataError when tensors of the model are missing in `folder`, or it holds others."""
    kinds = (("missing", sorted(missing)), ("unexpected", sorted(unexpected)))
    parts = [f"{len(names)} tensor(s) {kind} ({shorten(names)})" for kind, names in kinds if names]
    if parts:
        raise DataError(folder, None, "; ".join(parts), fix)


def shorten(names: list[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" … and {len(names) - limit} more" if len(names) > limit else ""
    return f"{', '.join(names[:limit])}{more}"


@cache  # a file that was written again has another time
def _bytes_hash(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, computed once while its size and time stay: about a second a gigabyte."""
    status = path.stat()
    return _bytes_hash(os.path.realpath(path), status.st_size, status.st_mtime_ns)


def weights_hash(folder: Path | str) -> str | None:
    """Sixteen hex digits of all bytes of the folder's safetensors files; None where there are none.

    Samples of the bytes would be quicker, but would miss a changed tensor; all bytes take 15 s for 7B in 16 bits,
    less than it takes to load them.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    return sha256_of(*(part for file in files for part in (file.name, file_hash(file)))) if files else None


def settings_hashes(folder: Path | str) -> dict[str, str]:
    """Hash of each file of configuration, tokenizer and chat template, by its name: a changed one answers otherwise,
    though the weights are the same. How to generate (`generation_config.json`) may be changed."""
    files = sorted({file for pattern in _SETTINGS for file in Path(folder).glob(pattern) if file.is_file()})
    return {file.name: sha256_of(file_hash(file)) for file in files}


def content_hash(folder: Path | str) -> str:
    """Sixteen hex digits of what decides a checkpoint's answers: weights, configuration and tokenizer.

    Of adapters, the checkpoint that they belong to counts too, where it is a folder.
    """
    folder = Path(folder)
    # a checkpoint that was copied keeps its hash: names without folders, no times, no `megc.json`
    files = sorted({file for pattern in _DECIDING for file in folder.glob(pattern) if not file.name.startswith(".")})
    parts = [part for file in files for part in (file.name, file_hash(file))]
    base = base_of(folder)
    return sha256_of(*parts, *([content_hash(base)] if base and Path(base).is_dir() else []))


def base_of(folder: Path | str) -> str | None:
    """The checkpoint that adapters belong to; None where `folder` holds no adapters."""
    fix = "copy the adapters again, or train them again"
    return read_checked(AdapterConfig, Path(folder) / ADAPTER_CONFIG, missing={}, fix=fix).get(
        "base_model_name_or_path"
    )
