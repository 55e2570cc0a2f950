"""Training of VideoMAE and LGI-Former under `CheckpointTrainer`: rates that fall with depth, UAR and WAR, a picture.

trainer = VideoTrainer(
    model=build_classifier(config), args=args, train_dataset=ClipDataset(source, config, augmentation),
    data_collator=ClipCollator(config.num_labels, augmentation), training_info=info, layer_decay=0.75,
)
run_training(trainer, find_beginning(args, info, resume=…, overwrite=…))
"""

import re
from copy import copy
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import recall_score
from torch import nn
from transformers import EvalPrediction

from megc.files import png_bytes, write_bytes
from megc.model import distributed
from megc.spotting.masking import rebuild_frames, unnormalise
from megc.spotting.video_config import VideoConfig, write_video_config
from megc.spotting.video_encoders import MaskedAutoencoder, load_autoencoder
from megc.training.trainer import CheckpointTrainer

PICTURE_NAME = "reconstruction.png"
_UNDECAYED = ("lg_region_tokens", "mask_token")
_SHOWN_CLIPS, _SHOWN_FRAMES = 2, 8


def layer_of(name: str, depth: int) -> int:
    """Layer of a parameter for its learning rate: 0 the patch embedding, i + 1 block i, depth + 1 all others.

    Region tokens are among the others, as in the original code.
    """
    if name.startswith(("encoder.patch_embed.", "encoder.embeddings.")):
        return 0
    block = re.match(r"encoder\.(?:blocks|encoder\.layer)\.(\d+)\.", name)
    return int(block[1]) + 1 if block else depth + 1


def layer_rates(config: VideoConfig, rate: float, decay: float) -> dict[str, float]:
    """Learning rate by layer (`VideoTrainer.part_of`): rate · decay^(depth + 1 - layer)."""
    last = config.depth + 1
    return {str(layer): rate * decay ** (last - layer) for layer in range(last + 1)}


def recall_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """UAR (mean recall of the classes that occur) and WAR (share of right clips), of logits (N, classes)."""
    labels, predicted = prediction.label_ids, np.asarray(prediction.predictions).argmax(-1)
    return {"uar": mean_recall(labels, predicted), "war": float((labels == predicted).mean())}


def mean_recall(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Unweighted average recall over the classes that occur in `labels` (N,)."""
    return float(recall_score(labels, predicted, labels=np.unique(labels), average="macro"))


class VideoTrainer(CheckpointTrainer):
    """Trainer of a `VideoClassifier` or a `MaskedAutoencoder`.

    `layer_decay`: factor of the learning rate from a layer to the one below it; 1 in pretraining.
    """

    def __init__(self, *args: object, layer_decay: float = 1.0, **kwargs: object) -> None:
        model, rate = kwargs["model"], kwargs["args"].learning_rate
        self.depth = model.video_config.depth
        rates = layer_rates(model.video_config, rate, layer_decay)
        metrics = None if isinstance(model, MaskedAutoencoder) else recall_metrics
        super().__init__(*args, rates=rates, compute_metrics=metrics, **kwargs)

    def part_of(self, name: str) -> str:
        return str(layer_of(name, self.depth))

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        return not name.endswith(_UNDECAYED) and super().decays(name, parameter)

    def write_beside(self, folder: Path) -> None:
        write_video_config(folder, self.model.video_config)
        super().write_beside(folder)

    def write_final(self, folder: Path) -> None:
        """The checkpoint; of an autoencoder, with a picture of rebuilt clips."""
        super().write_final(folder)
        if isinstance(self.model, MaskedAutoencoder) and self.args.should_save:
            with distributed.unpartitioned_models():  # the trained one may be partitioned by ZeRO-3
                model = load_autoencoder(folder)
            data = copy(self.train_dataset)
            data.epoch = 0  # the same picture after a resume that takes no step
            items = [data[index] for index in range(min(_SHOWN_CLIPS, len(data)))]
            write_bytes(folder / PICTURE_NAME, reconstruction_png(model, items))


def reconstruction_png(model: MaskedAutoencoder, items: list[dict]) -> bytes:
    """Each clip in three rows of frames: as it is, with its hidden patches grey, and with them rebuilt."""
    config = model.video_config
    clips = torch.stack([item["pixel_values"] for item in items])
    masked = torch.stack([item["masked"] for item in items])
    with torch.no_grad():
        rebuilt = rebuild_frames(clips, masked, model(clips, masked)["logits"], config)
    hidden = masked.unflatten(1, config.grid).repeat_interleave(config.tubelet_size, 1)
    hidden = hidden.repeat_interleave(config.patch_size, 2).repeat_interleave(config.patch_size, 3)
    original = unnormalise(clips).clamp(0, 1)
    grey = torch.where(hidden.unsqueeze(2), 0.5, original)
    frames = torch.linspace(0, config.num_frames - 1, min(_SHOWN_FRAMES, config.num_frames)).round().long()
    rows = torch.stack([original, grey, rebuilt], dim=1)[:, :, frames]  # (clips, 3, frames, 3, H, W)
    picture = rows.permute(0, 1, 4, 2, 5, 3)  # (clips, 3, H, frames, W, 3)
    picture = picture.reshape(len(items) * 3 * config.image_size, len(frames) * config.image_size, 3)
    return png_bytes((picture * 255).round().to(torch.uint8).numpy())
