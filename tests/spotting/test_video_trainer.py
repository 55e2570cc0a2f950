"""Training of clip classifiers and masked autoencoders: rates by layer, what is augmented, exact resume, a picture."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sft_runs import arguments, log_of

from megc.spotting.clip_dataset import (
    Augmentation,
    ClipCollator,
    ClipDataset,
    MaskSettings,
    crop_square,
    erase_rectangle,
    mix_clips,
)
from megc.spotting.video_config import LGI_FORMER, LGI_FORMER_TINY, VIDEOMAE_TINY
from megc.spotting.video_encoders import build_autoencoder, build_classifier, load_autoencoder, load_classifier
from megc.spotting.video_trainer import VideoTrainer, layer_of, layer_rates, mean_recall
from megc.training.resume import find_beginning
from megc.training.trainer import run_training

SMALL = {"image_size": 32, "num_frames": 4, "dim": 24, "depth": 2, "heads": 3, "region": (2, 1, 2)}
SMALL |= {"decoder_dim": 24, "decoder_heads": 2}
CONFIGS = [config.model_copy(update=SMALL) for config in (VIDEOMAE_TINY, LGI_FORMER_TINY)]
ALL = Augmentation(smallest_crop=0.66, flip=0.5, erase=0.5, mixup=0.8, cutmix=1.0)


class Squares:
    """Clips of a bright square on noise: it moves to the right in class 1, and stays in class 0."""

    def __init__(self, count=8):
        self.count = count

    def __len__(self):
        return self.count

    def label(self, index):
        return index % 2

    def frames(self, index, random):
        frames = np.random.default_rng(index).integers(0, 60, (4, 40, 48, 3), dtype=np.uint8)
        for time, frame in enumerate(frames):
            left = 8 + 6 * time * self.label(index)
            frame[12:24, left : left + 12] = 230
        return frames


def train(out, config, pretrain=False, resume=False, augmentation=ALL, **more):
    more = {"max_steps": 6, "num_train_epochs": 3, "per_device_train_batch_size": 4, "save_strategy": "steps"} | more
    args = arguments(out, **{"save_steps": 3, "learning_rate": 2e-3} | more)
    mask = MaskSettings("part_window", 0.5) if pretrain else None
    info = {"kind": "trained", "data": {}, "training": {}}
    trainer = VideoTrainer(
        model=(build_autoencoder if pretrain else build_classifier)(config),
        args=args,
        train_dataset=ClipDataset(Squares(), config, augmentation, mask),
        eval_dataset=None if pretrain else ClipDataset(Squares(4), config),
        data_collator=ClipCollator(config.num_labels, augmentation, smoothing=0.1),
        training_info=info,
        layer_decay=1.0 if pretrain else 0.75,
    )
    run_training(trainer, find_beginning(args, info, resume=resume, overwrite=False))
    return trainer


def folder_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".csv"}


@pytest.mark.parametrize("pretrain", [False, True], ids=["classify", "pretrain"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.architecture)
def test_a_resumed_run_ends_in_the_same_bytes(tmp_path, config, pretrain):
    config = config.model_copy(update={"drop_path": 0.0 if pretrain else 0.2})
    whole, part = tmp_path / "whole", tmp_path / "part"
    trainer = train(whole, config, pretrain)
    shutil.copytree(whole / "checkpoint-3", part / "checkpoint-3")
    train(part, config, pretrain, resume=True)
    assert folder_bytes(part) == folder_bytes(whole)
    assert log_of(part) == log_of(whole) and len(log_of(whole)) == 6
    loaded = (load_autoencoder if pretrain else load_classifier)(whole)
    trained = trainer.model.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in loaded.state_dict().items())
    if pretrain:  # two clips of three rows, four frames
        assert Image.open(whole / "reconstruction.png").size == (4 * 32, 2 * 3 * 32)


def test_a_classifier_learns_and_counts_recalls(tmp_path):
    trainer = train(
        tmp_path, CONFIGS[0], augmentation=Augmentation(), max_steps=40, learning_rate=1e-2, save_strategy="no"
    )
    metrics = trainer.evaluate()
    assert metrics["eval_war"] == metrics["eval_uar"] == 1


def test_recall_is_the_mean_over_the_classes_that_occur():
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1])
    assert mean_recall(labels, predicted) == pytest.approx((2 / 3 + 1) / 2)


def test_rates_fall_with_depth_and_region_tokens_keep_theirs():
    rates = layer_rates(LGI_FORMER, 1e-3, 0.75)
    with torch.device("meta"):
        names = [name for name, _ in build_classifier(LGI_FORMER_TINY).named_parameters()]
        names += [name for name, _ in build_classifier(VIDEOMAE_TINY).named_parameters()]
    layers = {name: layer_of(name, 4) for name in names}
    assert (
        layers["encoder.patch_embed.proj.weight"] == layers["encoder.embeddings.patch_embeddings.projection.bias"] == 0
    )
    assert layers["encoder.blocks.0.first_attn.q_bias"] == layers["encoder.encoder.layer.0.output.dense.weight"] == 1
    assert layers["encoder.lg_region_tokens"] == layers["head.weight"] == layers["fc_norm.bias"] == 5
    assert set(layers.values()) == {0, 1, 2, 3, 4, 5}
    assert rates["17"] == 1e-3 and rates["0"] == pytest.approx(1e-3 * 0.75**17) and len(rates) == 18


def test_only_matrices_but_region_tokens_decay(tmp_path):
    trainer = VideoTrainer(
        model=build_classifier(CONFIGS[1]), args=arguments(tmp_path, weight_decay=0.05), training_info={}
    )
    groups = trainer.create_optimizer().param_groups
    decayed = {id(value) for group in groups for value in group["params"] if group["weight_decay"]}
    names = {name for name, value in trainer.model.named_parameters() if id(value) in decayed}
    assert "encoder.patch_embed.proj.weight" in names and "encoder.blocks.0.first_attn.kv.weight" in names
    assert not any(name.endswith(("bias", "norm2.weight", "lg_region_tokens")) for name in names)


def test_augmentation_keeps_what_it_says():
    frames = np.arange(2 * 8 * 12 * 3, dtype=np.uint8).reshape(2, 8, 12, 3)
    assert np.array_equal(crop_square(frames, 8), frames[:, :, 2:10])
    assert np.array_equal(crop_square(frames, 8, (0, 1)), frames[:, :, 4:])
    random = np.random.default_rng(0)
    clip = torch.zeros(2, 3, 20, 30)
    changed = (erase_rectangle(clip, random) != 0)[:, 0]
    assert torch.equal(changed[0], changed[1]) and 0.02 < changed[0].float().mean() < 0.35
    clips = torch.stack([torch.zeros(2, 3, 20, 20), torch.ones(2, 3, 20, 20)])
    assert torch.allclose(mix_clips(clips, 0.7, None)[0][0], torch.tensor(0.3))
    mixed, kept = mix_clips(clips, 0.7, random)
    assert float(mixed[0].mean()) == pytest.approx(1 - kept) and float(mixed[1].mean()) == pytest.approx(kept)


def test_mixed_labels_are_shares_that_follow_the_clips():
    augmentation = Augmentation(mixup=0.8)
    data = ClipDataset(Squares(), CONFIGS[0], augmentation)
    collator = ClipCollator(2, augmentation, smoothing=0.1)
    batch = collator([data[0], data[1]])
    plain = torch.stack([data[0]["pixel_values"], data[1]["pixel_values"]])
    share = float(batch["labels"][0, 0])  # of class 0, smoothed: 0.05 + 0.9 kept
    kept = (share - 0.05) / 0.9
    assert torch.allclose(batch["pixel_values"][0], kept * plain[0] + (1 - kept) * plain[1], atol=1e-5)
    assert torch.allclose(batch["labels"].sum(1), torch.ones(2))
    assert torch.equal(collator([data[0], data[1]])["pixel_values"], batch["pixel_values"])
    evaluated = ClipDataset(Squares(), CONFIGS[0])
    assert collator([evaluated[0], evaluated[1]])["labels"].tolist() == [0, 1]
