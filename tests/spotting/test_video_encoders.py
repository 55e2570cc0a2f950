"""VideoMAE and LGI-Former: sizes, checkpoint folders that come back as they were, tokens that windows share."""

import pytest
import torch

from megc.problems import DataError
from megc.spotting.video_config import LGI_FORMER, LGI_FORMER_TINY, VIDEOMAE_BASE, VIDEOMAE_TINY
from megc.spotting.video_encoders import (
    MaskedAutoencoder,
    VideoClassifier,
    build_autoencoder,
    build_classifier,
    load_classifier,
    save_checkpoint,
    start_from,
)


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
