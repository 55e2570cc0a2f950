"""Parts of a Qwen2.5-VL by the names of its parameters, and low-rank adapters on them (LoRA, Hu et al. 2021).

The names are wanted where nothing is computed (settings, help texts), so that torch and peft are imported where
adapters are made.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megc.model.weights import check_names
from megc.problems import DataError

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from torch import Tensor, nn
    from transformers import PreTrainedModel

PARTS = ("vision", "merger", "language_model")
ADAPTER_FOLDER = "adapter"  # beside the merged weights of a finished checkpoint
_LAYER = r"model\.language_model\.layers\.\d+\."
# Layers of each target of adapters, as patterns of module names. The default ones are those of the MEGC baseline.
LORA_TARGETS = {
    "vision": r"model\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
    "merger": r"model\.visual\.merger\.mlp\.[02]",
    **{name: rf"{_LAYER}self_attn\.{name}_proj" for name in ("q", "k", "v", "o")},
    "mlp": rf"{_LAYER}mlp\.(gate|up|down)_proj",
}


def part_of(name: str) -> str:
    """Part of the model that the parameter `name` belongs to; embeddings and output head are of the language model."""
    if "visual." not in name:
        return "language_model"
    return "merger" if "visual.merger." in name else "vision"


def part_of_target(target: str) -> str:
    """The part that a target of adapters lies in."""
    return target if target in ("vision", "merger") else "language_model"


def count_values(parameter: "nn.Parameter") -> int:
    """Number of values, also where ZeRO-3 holds only a share of them."""
    return getattr(parameter, "ds_numel", parameter.numel())


def is_matrix(parameter: "nn.Parameter") -> bool:
    """Whether the parameter has two dimensions or more, also where ZeRO-3 holds only a share of it."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) > 1


# ---- adapters


def add_adapters(
    model: "PreTrainedModel", targets: Sequence[str], rank: int, alpha: float, dropout: float, seed: int
) -> "PeftModel":
    """`model` with adapters on the layers of `targets`, which alone are trained. The same seed, the same adapters."""
    from peft import LoraConfig

    pattern = "|".join(f"({LORA_TARGETS[target]})" for target in targets)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, bias="none")
    return _with_adapters(model, config, seed)


def _with_adapters(model: "PreTrainedModel", config: "LoraConfig", seed: int = 0) -> "PeftModel":
    import torch
    from peft import get_peft_model

    # peft draws A from torch's generator: on the global one, adapters would depend on what was drawn before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def save_adapters(model: "PeftModel", folder: Path | str, state_dict: "dict[str, Tensor] | None" = None) -> None:
    """Write the adapters (safetensors) and their configuration to `folder`."""
    model.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
    (Path(folder) / "README.md").unlink(missing_ok=True)  # peft's model card, with nothing filled in


def load_adapters(model: "PeftModel", folder: Path | str) -> None:
    """Set the adapters of `model` to the saved ones, all of them. Raises DataError when they are of another shape."""
    from peft.utils import SAFETENSORS_WEIGHTS_NAME, set_peft_model_state_dict
    from safetensors.torch import load_file

    fix = "take the --lora settings and the --model that the adapters were trained with"
    try:
        saved = load_file(Path(folder) / SAFETENSORS_WEIGHTS_NAME)
        result = set_peft_model_state_dict(model, saved)
    except (OSError, RuntimeError) as error:
        raise DataError(folder, None, f"adapters do not fit ({str(error).splitlines()[0]})", fix) from error
    # the base weights are always missing here: only adapters are saved
    check_names(folder, [name for name in result.missing_keys if "lora_" in name], result.unexpected_keys, fix)


def merge_adapters(base: "PreTrainedModel", folder: Path | str) -> "PreTrainedModel":
    """`base` with the saved adapters added to its weights: an ordinary model. Raises what `load_adapters` raises."""
    from peft import LoraConfig

    model = _with_adapters(base, LoraConfig.from_pretrained(folder))
    load_adapters(model, folder)
    return model.merge_and_unload()
