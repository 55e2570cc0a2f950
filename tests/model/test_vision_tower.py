"""The vision tower with equal windows together gives the features of the usual one."""

import torch

from benchmarks.answers import see
from megc.model.checkpoint import load
from megc.model.vision_tower import encode_visuals


def test_pictures_have_the_features_of_the_usual_tower(checkpoint):
    """Of several sizes in one pass: windows of several sizes, which are put in another order."""
    loaded = load(checkpoint, device="cpu")
    generator = torch.Generator().manual_seed(0)
    sizes = ((280, 336), (112, 112), (252, 140), (28, 28))
    pictures = [torch.randint(0, 256, (*size, 3), generator=generator, dtype=torch.uint8).numpy() for size in sizes]
    with torch.inference_mode():
        features = encode_visuals(loaded, pictures)
    for feature, usual in zip(features, see(loaded, pictures).features, strict=True):
        torch.testing.assert_close(feature, usual, rtol=1e-3, atol=1e-4)
    assert loaded.model.model.visual.config._attn_implementation == "sdpa"
