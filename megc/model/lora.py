"""Low-rank adapters (LoRA, Hu et al. 2021) through peft: which layers get them, and the way back to whole weights."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import SAFETENSORS_WEIGHTS_NAME, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from megc.model.weights import check_names
from megc.problems import DataError

FOLDER = "adapter"  # beside the merged weights of a finished checkpoint
_LAYER = r"model\.language_model\.layers\.\d+\."
# Layers of each target, as patterns of module names. The default ones are those of the MEGC baseline.
TARGETS = {
    "vision": r"model\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
    "merger": r"model\.visual\.merger\.mlp\.[02]",
    **{name: rf"{_LAYER}self_attn\.{name}_proj" for name in ("q", "k", "v", "o")},
    "mlp": rf"{_LAYER}mlp\.(gate|up|down)_proj",
}


def part_of_target(target: str) -> str:
    """The part (see `parts`) that a target lies in."""
    return target if target in ("vision", "merger") else "language_model"


def add_adapters(
    model: PreTrainedModel, targets: Sequence[str], rank: int, alpha: float, dropout: float, seed: int
) -> PeftModel:
    """`model` with adapters on the layers of `targets`, which alone are trained. The same seed, the same adapters."""
    pattern = "|".join(f"({TARGETS[target]})" for target in targets)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, bias="none")
    return _with_adapters(model, config, seed)


def _with_adapters(model: PreTrainedModel, config: LoraConfig, seed: int = 0) -> PeftModel:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)  # peft's
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def save_adapters(model: PeftModel, folder: Path | str, state_dict: dict | None = None) -> None:
    """Write the adapters (safetensors) and their configuration to `folder`."""
    model.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
    (Path(folder) / "README.md").unlink(missing_ok=True)  # peft's model card, with nothing filled in


def load_adapters(model: PeftModel, folder: Path | str) -> None:
    """Set the adapters of `model` to the saved ones, all of them. Raises DataError when they are of another shape."""
    fix = "take the --lora settings and the --model that the adapters were trained with"
    try:
        saved = load_file(Path(folder) / SAFETENSORS_WEIGHTS_NAME)
        result = set_peft_model_state_dict(model, saved)
    except (OSError, RuntimeError) as error:
        raise DataError(folder, None, f"adapters do not fit ({str(error).splitlines()[0]})", fix) from error
    check_names(folder, [name for name in result.missing_keys if "lora_" in name], result.unexpected_keys, fix)


def merge(base: PreTrainedModel, folder: Path | str) -> PreTrainedModel:
    """`base` with the saved adapters added to its weights: an ordinary model. Raises what `load_adapters` raises."""
    model = _with_adapters(base, LoraConfig.from_pretrained(folder))
    load_adapters(model, folder)
    return model.merge_and_unload()
