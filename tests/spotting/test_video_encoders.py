"""VideoMAE and LGI-Former: the numbers of the original code, and checkpoint folders that come back as they were."""

import zlib

import numpy as np
import pytest
import torch

from megc.problems import DataError
from megc.spotting.video_config import LGI_FORMER, LGI_FORMER_TINY, VIDEOMAE_BASE, VIDEOMAE_TINY, VideoConfig
from megc.spotting.video_encoders import (
    MaskedAutoencoder,
    VideoClassifier,
    build_autoencoder,
    build_classifier,
    load_classifier,
    save_checkpoint,
    start_from,
)

# The shape that the original code was run with, on weights that a formula fills (`fill_by_formula`).
ORACLE = VideoConfig(
    architecture="lgi_former",
    image_size=64,
    num_frames=8,
    dim=24,
    depth=2,
    heads=3,
    region=(2, 2, 4),
    num_labels=5,
)
# Logits that github.com/sunlicai/MAE-DFER at 80b651d answers on them.
ORACLE_LOGITS = {
    "region": (-0.2268090477, -0.6741454520, -0.3335553217, 0.3984049234, 0.6678098832),
    "org": (-0.3160468178, -0.3109035203, 0.0638416524, 0.3722978997, 0.2482648063),
    "all": (-0.3182874326, -0.3304994949, 0.0494578652, 0.3796912731, 0.2689208211),
}


def formula(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """0.05 sin(1 + j + crc32(name) mod 1000) at the flat index j; 1 more for the weights of norms."""
    index = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    values = 0.05 * torch.sin(1 + index + zlib.crc32(name.encode()) % 1000)
    return (values + (1 if "norm" in name and name.endswith("weight") else 0)).reshape(shape)


def oracle_clip(frames: int) -> torch.Tensor:
    """cos(0.37 j) at the flat index j of (1, 3, T, 64, 64), as (1, T, 3, 64, 64)."""
    count = 3 * frames * 64 * 64
    return torch.cos(0.37 * torch.arange(count, dtype=torch.float64)).reshape(1, 3, frames, 64, 64).transpose(1, 2)


@pytest.mark.parametrize("token", ORACLE_LOGITS)
def test_lgi_former_answers_as_the_original_code(token):
    model = build_classifier(ORACLE.model_copy(update={"class_token": token})).double().eval()
    weights = {name: formula(name.removeprefix("encoder."), value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    logits = model(oracle_clip(8))["logits"][0]
    assert logits.tolist() == pytest.approx(ORACLE_LOGITS[token], abs=1e-6)


def count_values(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_models_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        assert count_values(VideoClassifier(LGI_FORMER)) == 84_878_343
        assert count_values(VideoClassifier(VIDEOMAE_BASE)) == 86_228_738
        autoencoder = MaskedAutoencoder(LGI_FORMER)
    assert count_values(autoencoder) == 92_760_192
    assert count_values(autoencoder.encoder) == 84_874_752


@pytest.mark.parametrize("config", [VIDEOMAE_TINY, LGI_FORMER_TINY], ids=lambda config: config.architecture)
def test_a_folder_comes_back_and_another_crop_is_refused(tmp_path, config):
    model = build_classifier(config, seed=1).eval()
    save_checkpoint(tmp_path, model, {"kind": "trained", "recipes": {"crop": [{"size": [64, 64], "roi": "face"}]}})
    clip = torch.randn(2, 16, 3, 64, 64)
    again = load_classifier(tmp_path, {"size": [64, 64], "roi": "face"})
    assert torch.equal(again(clip)["logits"], model(clip)["logits"])
    with pytest.raises(DataError, match="faces that were cut otherwise"):
        load_classifier(tmp_path, {"size": [64, 64], "roi": "head"})
    load_classifier(tmp_path, {"size": [64, 64], "roi": "head"}, any_crop=True)


@pytest.mark.parametrize("config", [VIDEOMAE_TINY, LGI_FORMER_TINY], ids=lambda config: config.architecture)
def test_a_classifier_starts_from_a_pretrained_encoder(tmp_path, config):
    save_checkpoint(tmp_path, autoencoder := build_autoencoder(config, seed=1), {"kind": "trained"})
    model = build_classifier(config)
    start_from(model, tmp_path)
    pretrained = autoencoder.state_dict()
    assert all(torch.equal(value, pretrained[f"encoder.{name}"]) for name, value in model.encoder.state_dict().items())
    with pytest.raises(DataError, match="its depth is 4, not 2"):
        start_from(build_classifier(config.model_copy(update={"depth": 2})), tmp_path)


@pytest.mark.parametrize("config", [VIDEOMAE_TINY, LGI_FORMER_TINY], ids=lambda config: config.architecture)
def test_windows_share_the_tokens_of_their_patches(config):
    model = build_classifier(config).double().eval()
    frames = torch.randn(1, 20, 3, 64, 64, dtype=torch.float64)
    tokens = model.patch_tokens(frames)
    for start in (0, 2, 4):
        window = tokens[:, start // 2 * 16 :][:, : config.patches]
        logits = model(frames[:, start : start + 16])["logits"]
        assert torch.allclose(model.classify_tokens(window)["logits"], logits, atol=1e-12)


@pytest.mark.parametrize("architecture", ["videomae", "lgi_former"])
def test_drop_path_drops_in_training_only(architecture):
    torch.manual_seed(0)
    model = build_classifier(LGI_FORMER_TINY.model_copy(update={"architecture": architecture, "drop_path": 0.5}))
    clip = torch.randn(1, 16, 3, 64, 64).expand(8, -1, -1, -1, -1)
    logits = model(clip)["logits"]
    assert len(logits.unique(dim=0)) > 4
    logits = model.eval()(clip)["logits"]
    assert torch.allclose(logits, logits[:1].expand(8, -1), atol=1e-6)
