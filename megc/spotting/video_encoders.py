"""VideoMAE and LGI-Former as classifiers of clips and as masked autoencoders, and the folders that keep them.

    model = build_classifier(VIDEOMAE_TINY)                  # or LGI_FORMER_TINY, or any VideoConfig
    model(pixel_values, labels)                              # {"loss", "logits"}

`pixel_values` are float (B, T, 3, H, W), as `masking.normalise_frames` writes them. A checkpoint folder holds
`video.json` (the VideoConfig), `model.safetensors`, and `megc.json`, whose `recipes["crop"]` says how its faces were
cut: other crops of the same faces cost 17 to 27 points of recall (github.com/sunlicai/MAE-DFER, issues 12, 14, 22).
"""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from megc.files import write_json
from megc.model.checkpoint import read_training_info
from megc.model.weight_checks import check_values
from megc.model.weights import INFO_NAME, WHOLE, check_files, check_names, weights_hash
from megc.motion.recipes import CROP
from megc.problems import DataError
from megc.spotting.lgi_former import LgiFormer
from megc.spotting.masking import reconstruction_targets
from megc.spotting.video_config import VideoConfig, read_video_config, write_video_config
from megc.spotting.videomae import NORM_EPS, JointEncoder, MaskDecoder, position_codes

HEAD_SCALE = 0.001  # of the first weights of a classifier's last layer, in both recipes


class _Checkpointed(nn.Module):
    """A model whose blocks can be computed again in the backward pass (--activation_checkpointing)."""

    def activation_checkpointing_enable(self, **_options: object) -> None:
        """Called by Trainer, with options that are for other models."""
        for module in self.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.gradient_checkpointing = True
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


class VideoClassifier(_Checkpointed):
    """Encoder, mean of its tokens, norm, and a linear layer."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.video_config = config
        self.encoder = _build_encoder(config)
        self.fc_norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.head = nn.Linear(config.dim, config.num_labels)
        nn.init.trunc_normal_(self.head.weight, std=0.02 * HEAD_SCALE)
        nn.init.zeros_(self.head.bias)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Logits (B, classes) of frames (B, T, 3, H, W), and the cross-entropy where there are labels: numbers of
        classes (B,), or shares of them (B, classes)."""
        return self.classify_tokens(self.patch_tokens(pixel_values), labels)

    def patch_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, d) of frames (B, T, 3, H, W) before positions are added.

        T may be longer than a clip: windows that overlap by whole pairs of frames share these tokens, (T / 2) × rows ×
        columns of them in that order, and each is computed once.
        """
        return self.encoder.patch_tokens(pixel_values)

    def classify_tokens(self, tokens: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """What `forward` returns, of the patch tokens (B, N, d) of clips."""
        logits = self.head(self.fc_norm(self.encoder.encode(tokens).mean(1)))
        if labels is None:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


class MaskedAutoencoder(_Checkpointed):
    """Encoder of the visible patches, and a small decoder that rebuilds the hidden ones."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.video_config = config
        self.encoder = _build_encoder(config, final_norm=True)
        self.encoder_to_decoder = nn.Linear(config.dim, config.decoder_dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_dim))
        self.decoder = MaskDecoder(config)
        self.register_buffer("positions", position_codes(config, config.decoder_dim), persistent=False)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        for module in (self.encoder_to_decoder, *self.decoder.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pixel_values: torch.Tensor, masked: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and `logits` (B, M, patch values) of the M hidden patches, of frames (B, T, 3, H, W).

        `masked` (B, N) bool, M of each clip. The loss is the mean squared error to `masking.reconstruction_targets`.
        """
        visible = self.encoder_to_decoder(self.encoder.encode(self.encoder.patch_tokens(pixel_values), masked))
        clips, _, dim = visible.shape
        positions = self.positions.to(visible).expand(clips, -1, -1)
        # LGI-Former's visible patches come by region, their positions in flat order, as in the original code: the
        # published weights were trained so.
        visible = visible + positions[~masked].reshape(clips, -1, dim)
        hidden = self.mask_token + positions[masked].reshape(clips, -1, dim)
        logits = self.decoder(torch.cat([visible, hidden], dim=1), hidden.shape[1]).logits
        with torch.no_grad():
            targets = reconstruction_targets(pixel_values, self.video_config)[masked].reshape(logits.shape)
        return {"loss": functional.mse_loss(logits, targets), "logits": logits}


def _build_encoder(config: VideoConfig, final_norm: bool = False) -> LgiFormer | JointEncoder:
    return (LgiFormer if config.architecture == "lgi_former" else JointEncoder)(config, final_norm)


def build_classifier(config: VideoConfig, seed: int = 0) -> VideoClassifier:
    """A classifier with new weights, the same for the same seed; torch's own random state stays."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VideoClassifier(config)


def build_autoencoder(config: VideoConfig, seed: int = 0) -> MaskedAutoencoder:
    """A masked autoencoder with new weights, the same for the same seed; torch's own random state stays."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MaskedAutoencoder(config)


def save_checkpoint(folder: Path, model: VideoClassifier | MaskedAutoencoder, info: dict) -> None:
    """Write the folder of a model; `info` becomes its `megc.json`, with the hash of the weights, last."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WHOLE, metadata={"format": "pt"})
    write_video_config(folder, model.video_config)
    write_json(folder / INFO_NAME, {**info, "weights_hash": weights_hash(folder)})


def load_classifier(folder: Path, crop: dict | None = None, *, any_crop: bool = False) -> VideoClassifier:
    """The classifier of a folder, in evaluation mode. Raises DataError as `load_weights` and `check_crop` do."""
    check_crop(folder, crop, any_crop=any_crop)
    model = build_classifier(read_video_config(folder))
    model.load_state_dict(load_weights(folder, model))
    return model.eval()


def load_autoencoder(folder: Path) -> MaskedAutoencoder:
    """The masked autoencoder of a folder, in evaluation mode. Raises DataError as `load_weights` does."""
    model = build_autoencoder(read_video_config(folder))
    model.load_state_dict(load_weights(folder, model))
    return model.eval()


def load_weights(
    folder: Path, model: nn.Module, fix: str = "give the checkpoint its own video.json"
) -> dict[str, torch.Tensor]:
    """Weights of a checkpoint folder. Raises DataError for damaged ones, and, with the remedy `fix`, for names or
    shapes other than those of the model."""
    check_files(folder)
    check_values(folder, read_training_info(folder).get("weights_hash"))
    weights, expected = load_file(folder / WHOLE), model.state_dict()
    check_names(folder, expected.keys() - weights.keys(), weights.keys() - expected.keys(), fix)
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            what = f"{name} has the shape {tuple(value.shape)}, not {tuple(expected[name].shape)}"
            raise DataError(folder, None, what, fix)
    return weights


def start_from(model: VideoClassifier, folder: Path) -> None:
    """Take the encoder of a pretrained folder (or of another classifier) into a classifier, whose head stays new.

    Raises DataError for an encoder of another shape.
    """
    config = read_video_config(folder)
    names = ("architecture", "image_size", "num_frames", "patch_size", "tubelet_size", "dim", "depth", "heads")
    for name in (*names, "region") if config.architecture == "lgi_former" else names:
        if getattr(config, name) != getattr(model.video_config, name):
            what = f"its {name} is {getattr(config, name)}, not {getattr(model.video_config, name)}"
            raise DataError(folder, None, what, "train with the sizes of the checkpoint to start from")
    check_files(folder)
    check_values(folder, read_training_info(folder).get("weights_hash"))
    norms = ("encoder.norm.", "encoder.layernorm.")  # behind the encoder in pretraining; the classifier has fc_norm
    weights = {name: value for name, value in load_file(folder / WHOLE).items() if name.startswith("encoder.")}
    weights = {name: value for name, value in weights.items() if not name.startswith(norms)}
    expected = {name for name in model.state_dict() if name.startswith("encoder.")}
    check_names(folder, expected - weights.keys(), weights.keys() - expected, "give another checkpoint")
    model.load_state_dict(weights, strict=False)


def check_crop(folder: Path, crop: dict | None, *, any_crop: bool = False) -> None:
    """Raise DataError where the checkpoint was trained on other crops of faces than `crop`, unless `any_crop`.

    An empty `crop` stands for faces that do not say how they were cut: a checkpoint that does is then refused too.
    None, and a checkpoint without a recipe: nothing is compared.
    """
    recipes = (read_training_info(folder).get("recipes") or {}).get(CROP, [])
    if any_crop or crop is None or not recipes or crop in recipes:
        return
    if not crop:
        what = f"trained on faces that were cut as {recipes[0]}, and how these were is not recorded"
        raise DataError(folder, None, what, "name their crops, as --crop NAME, or allow any with --any_crop")
    names = sorted({name for recipe in recipes for name in {*recipe, *crop} if recipe.get(name) != crop.get(name)})
    what = f"trained on faces that were cut otherwise ({', '.join(names)}): {recipes[0]}, not {crop}"
    raise DataError(folder, None, what, "cut the faces as it was trained, or allow another crop: it costs accuracy")
