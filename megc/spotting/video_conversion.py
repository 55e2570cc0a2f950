"""Published checkpoints of VideoMAE, MAE-DFER and MEGC2023's winner, and transformers' folders, as our folders.

The original projects save a pickle: a dictionary with the weights under `model` or `module`. It is read with
`weights_only`, so that nothing in it runs. Shapes tell architecture, width, depth and classes; what they do not tell
(pixels, frames, regions) is as the file's arguments say, else as in MAE-DFER.
"""

import pickle
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification

from megc.commits import software
from megc.files import read_json, sha256_of
from megc.model.weights import check_names, file_hash
from megc.motion.recipes import CROP
from megc.problems import DataError, Problems
from megc.records import check_record
from megc.spotting.settings import ConvertVideoSettings
from megc.spotting.video_config import VideoConfig
from megc.spotting.video_encoders import MaskedAutoencoder, VideoClassifier, save_checkpoint

Weights = dict[str, torch.Tensor]
HEAD_WIDTH = 64  # of an attention head, in every published checkpoint; the weights do not tell
# Names in a block with joint attention, and transformers' names for them.
_JOINT = {
    "attn.q_bias": "attention.attention.query.bias",
    "attn.v_bias": "attention.attention.value.bias",
    "attn.proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
# Arguments that the original training programs save, and our names for them.
_ARGUMENTS = {
    "input_size": "image_size",
    "num_frames": "num_frames",
    "lg_region_size": "region",
    "lg_classify_token_type": "class_token",
}
_SIZE_FLAGS = ("image_size", "num_frames", "region", "class_token", "heads", "decoder_heads")
_FIX = "give a checkpoint of VideoMAE or MAE-DFER (.pth), or a transformers folder of VideoMAE"


def convert_weights(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Weights by the original projects' names → by ours. Prefixes `module.` and `backbone.` are cut.

    A masked autoencoder has names that start with `decoder.`; what a classifier does not have stays out.
    """
    weights = {re.sub(r"^(module\.|backbone\.)+", "", name): value for name, value in weights.items()}
    pretrained = any(name.startswith("decoder.") for name in weights)
    converted: Weights = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part in ("decoder", "encoder"):
            name = rest
        elif pretrained or part in ("fc_norm", "head"):  # encoder_to_decoder and mask_token, or the classifier's
            converted[name] = value
            continue
        else:
            part = "encoder"
        for new_name, piece in _convert_name(name, value, part, weights):
            converted[f"{part}.{new_name}"] = piece
    return converted


def _convert_name(name: str, value: torch.Tensor, part: str, weights: Mapping) -> list[tuple[str, torch.Tensor]]:
    """New names in the encoder or decoder (`part`), with their tensors: queries, keys and values may be in one."""
    if part == "encoder" and any("first_attn" in other for other in weights):
        return [(name, value)]  # LGI-Former keeps its names
    block = re.match(r"blocks\.(\d+)\.(.*)", name)
    if not block:
        renamed = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        return [(re.sub(r"^norm\.", "layernorm.", renamed) if part == "encoder" else renamed, value)]
    layer = f"{'encoder.layer' if part == 'encoder' else 'decoder_layers'}.{block[1]}"
    if block[2] == "attn.qkv.weight":
        kinds = ("query", "key", "value")
        return [
            (f"{layer}.attention.attention.{kind}.weight", piece.contiguous())
            for kind, piece in zip(kinds, value.chunk(3), strict=True)
        ]
    inner = block[2]
    for before, after in _JOINT.items():
        if inner == before or inner.startswith(f"{before}."):
            inner = after + inner[len(before) :]
    return [(f"{layer}.{inner}", value)]


def config_of(weights: Weights, sizes: Mapping[str, Any], file: Path) -> VideoConfig:
    """The shape of a model with these weights (by our names); `sizes` are those that weights do not tell.

    Raises DataError for weights of another kind of model, and for sizes that do not fit them.
    """
    lgi_former = "encoder.lg_region_tokens" in weights
    embedding = (
        "encoder.patch_embed.proj.weight" if lgi_former else "encoder.embeddings.patch_embeddings.projection.weight"
    )
    if embedding not in weights or weights[embedding].dim() != 5:
        raise DataError(file, embedding, "no such weights: neither VideoMAE nor LGI-Former", _FIX)
    dim, _, tubelet, patch, _ = weights[embedding].shape
    values = {
        "architecture": "lgi_former" if lgi_former else "videomae",
        "dim": dim,
        "heads": dim // HEAD_WIDTH or 1,
        "depth": _count_layers(weights, r"encoder\.(?:blocks|encoder\.layer)\.(\d+)\."),
        "tubelet_size": tubelet,
        "patch_size": patch,
        "num_labels": len(weights["head.bias"]) if "head.bias" in weights else 1,
    }
    if "mask_token" in weights:
        width = weights["mask_token"].shape[-1]
        values |= {"decoder_dim": width, "decoder_heads": width // HEAD_WIDTH or 1}
        values["decoder_depth"] = _count_layers(weights, r"decoder\.decoder_layers\.(\d+)\.")
    values |= {name: value for name, value in sizes.items() if value is not None}
    config = check_record(VideoConfig, values, file, None, "set the size with a flag, as --image_size 160")
    if lgi_former:
        regions = len(weights["encoder.lg_region_tokens"])
        fits = config.patches // (config.region[0] * config.region[1] * config.region[2])
        if regions != fits:
            what = f"has {regions} region tokens, and regions of {config.region} in {config.image_size} px make {fits}"
            raise DataError(file, None, what, "give the sizes that it was trained with: --image_size, --region")
    return config


def _count_layers(weights: Weights, pattern: str) -> int:
    return 1 + max((int(match[1]) for name in weights if (match := re.match(pattern, name))), default=0)


def read_pickle(file: Path) -> tuple[Weights, dict[str, Any]]:
    """Weights of a .pth file by their original names, and the sizes that its arguments name.

    Raises DataError for a file that is no such checkpoint, or holds objects other than tensors and plain values.
    """
    try:
        with torch.serialization.safe_globals([Namespace]):  # the arguments of the program that wrote it
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(file, None, f"cannot be read as weights alone ({reason})", _FIX) from error
    if not isinstance(content, dict):
        raise DataError(file, None, f"holds {type(content).__name__}, not a dictionary of weights", _FIX)
    weights = next((content[key] for key in ("model", "module") if isinstance(content.get(key), dict)), content)
    weights = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    arguments = vars(content["args"]) if isinstance(content.get("args"), Namespace) else {}
    sizes = {ours: arguments[name] for name, ours in _ARGUMENTS.items() if arguments.get(name) is not None}
    return weights, sizes


def read_transformers(folder: Path) -> tuple[Weights, dict[str, Any]]:
    """Weights of a transformers folder of VideoMAE by our names, and its sizes. Raises DataError for another model."""
    values = read_json(folder / "config.json", fix=_FIX)
    if values.get("model_type") != "videomae":
        raise DataError(folder, "config.json", f"a model of type {values.get('model_type')!r}", _FIX)
    pretrained = "VideoMAEForPreTraining" in values.get("architectures", [])
    kind = VideoMAEForPreTraining if pretrained else VideoMAEForVideoClassification
    try:
        model, report = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(folder, None, f"cannot be loaded ({reason})", _FIX) from error
    check_names(folder, report["missing_keys"], report["unexpected_keys"], _FIX)
    names = {"videomae.": "encoder.", "classifier.": "head."}
    weights = {}
    for name, value in model.state_dict().items():
        prefix = next((prefix for prefix in names if name.startswith(prefix)), "")
        weights[names.get(prefix, "") + name[len(prefix) :]] = value
    config = model.config
    sizes = {"image_size": config.image_size, "num_frames": config.num_frames, "heads": config.num_attention_heads}
    if pretrained:
        sizes["decoder_heads"] = config.decoder_num_attention_heads
    return weights, sizes


def convert_checkpoint(settings: ConvertVideoSettings, problems: Problems) -> str:
    """Write the folder of a published checkpoint. Raises DataError as the readers, and for missing weights."""
    source = settings.source
    if source.is_dir():
        weights, sizes = read_transformers(source)
        origin = source / "model.safetensors"
    else:
        weights, sizes = read_pickle(source)
        weights, origin = convert_weights(weights), source
    chosen = {name: getattr(settings, name) for name in _SIZE_FLAGS}
    config = config_of(weights, sizes | {name: value for name, value in chosen.items() if value is not None}, source)
    pretrained = "mask_token" in weights
    with torch.device("meta"):
        model = (MaskedAutoencoder if pretrained else VideoClassifier)(config)
    expected = model.state_dict()
    # a classifier's file may carry the norm behind the encoder, which the mean replaces
    unused = {"encoder.norm.weight", "encoder.norm.bias", "encoder.layernorm.weight", "encoder.layernorm.bias"}
    check_names(source, expected.keys() - weights.keys(), weights.keys() - expected.keys() - unused, _FIX)
    model.load_state_dict({name: weights[name].float() for name in expected}, assign=True)
    info = {
        "kind": "converted",
        "base": source.name,
        "base_hash": sha256_of(file_hash(origin)) if origin.is_file() else None,
        "recipes": {CROP: [{"name": settings.crop}]} if settings.crop else None,
        **software(),
    }
    save_checkpoint(settings.output_dir, model, info)
    kind = "a masked autoencoder" if pretrained else f"a classifier of {config.num_labels} classes"
    return f"{settings.output_dir}: {config.architecture}, {kind}, {config.dim} wide, {config.depth} layers"
