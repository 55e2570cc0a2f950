"""Checkpoints by the original projects' names: the numbers of their code, and every tensor where it belongs."""

import zlib
from argparse import Namespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

from megc.model.checkpoint import read_training_info
from megc.problems import DataError, Problems
from megc.spotting.masking import normalise_values, reconstruction_targets
from megc.spotting.settings import ConvertVideoSettings
from megc.spotting.video_config import VideoConfig, read_video_config
from megc.spotting.video_conversion import convert_checkpoint, convert_weights
from megc.spotting.video_encoders import load_autoencoder, load_classifier

# The shape that github.com/sunlicai/MAE-DFER at 80b651d was run with, on weights and pictures that formulas fill.
ORACLE = VideoConfig(
    architecture="lgi_former",
    image_size=64,
    num_frames=8,
    dim=24,
    depth=2,
    heads=3,
    region=(2, 2, 4),
    num_labels=5,
    decoder_dim=16,
    decoder_depth=1,
    decoder_heads=2,
)
LOGITS = {
    "region": (-0.2268090477, -0.6741454520, -0.3335553217, 0.3984049234, 0.6678098832),
    "org": (-0.3160468178, -0.3109035203, 0.0638416524, 0.3722978997, 0.2482648063),
    "all": (-0.3182874326, -0.3304994949, 0.0494578652, 0.3796912731, 0.2689208211),
    "joint": (-0.0993680471, 0.0931110884, 0.1899119132, 0.0752360071, -0.1298202919),
}
REBUILT = (  # the first eight values of the flat output
    *(-0.0901421482, 0.009232252, -0.0259478323, 0.0823301683),
    *(0.0119050533, 0.0082280758, -0.0488126215, -0.0509493741),
)
TARGETS = (-0.0083153326, -1.3794724687, 0.7009475562, 0.1455591721, -1.4111776772, 0.5630906429)
DIFFERENCES = (-0.6189262928, 0.3027894407, 0.4664993371, -0.6309989069, 0.2382209886, 0.5109842646)


def attention_shapes(name, width, joint):
    """Names and shapes of an attention as the original code has them."""
    inner = (
        {"qkv.weight": (3 * width, width)} if joint else {"q.weight": (width, width), "kv.weight": (2 * width, width)}
    )
    shapes = {"q_bias": (width,), "v_bias": (width,), **inner, "proj.weight": (width, width), "proj.bias": (width,)}
    return {f"{name}.{key}": shape for key, shape in shapes.items()}


def block_shapes(width, joint):
    """Those of a block: joint attention, or LGI-Former's three."""
    attentions = ("attn",) if joint else ("first_attn", "second_attn", "third_attn")
    norms = ["norm2", "norm1"] if joint else ["norm2", *(f"{name}_norm0" for name in attentions), "third_attn_norm1"]
    shapes = {f"{norm}.{kind}": (width,) for norm in norms for kind in ("weight", "bias")}
    for name in attentions:
        shapes |= attention_shapes(name, width, joint)
    shapes |= {"mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,)}
    return shapes | {"mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,)}


def encoder_shapes(config):
    joint = config.architecture == "videomae"
    shapes = {"patch_embed.proj.weight": (config.dim, 3, 2, 16, 16), "patch_embed.proj.bias": (config.dim,)}
    if not joint:
        regions = config.patches // int(np.prod(config.region))
        shapes["lg_region_tokens"] = (regions, config.dim)
    for number in range(config.depth):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block_shapes(config.dim, joint).items()}
    return shapes


def original_weights(config, pretrained=False):
    """A state dict by the original names; parameter s has 0.05 sin(1 + j + crc32(s) mod 1000) at its flat index j,
    and 1 more where it is the weight of a norm."""
    if pretrained:
        width = config.decoder_dim
        shapes = {"mask_token": (1, 1, width), "encoder_to_decoder.weight": (width, config.dim)}
        shapes |= {f"encoder.{name}": shape for name, shape in encoder_shapes(config).items()}
        shapes |= {f"encoder.norm.{kind}": (config.dim,) for kind in ("weight", "bias")}
        for number in range(config.decoder_depth):
            named = {f"decoder.blocks.{number}.{name}": shape for name, shape in block_shapes(width, True).items()}
            shapes |= named
        shapes |= {"decoder.norm.weight": (width,), "decoder.norm.bias": (width,)}
        shapes |= {"decoder.head.weight": (config.patch_values, width), "decoder.head.bias": (config.patch_values,)}
    else:
        shapes = encoder_shapes(config) | {"fc_norm.weight": (config.dim,), "fc_norm.bias": (config.dim,)}
        shapes |= {"head.weight": (config.num_labels, config.dim), "head.bias": (config.num_labels,)}
    weights = {}
    for name, shape in shapes.items():
        index = torch.arange(int(np.prod(shape)), dtype=torch.float64)
        values = 0.05 * torch.sin(1 + index + zlib.crc32(name.encode()) % 1000)
        weights[name] = (values + (1 if "norm" in name and name.endswith("weight") else 0)).reshape(shape)
    return weights


def oracle_clip(frames):
    """cos(0.37 j) at the flat index j of (1, 3, T, 64, 64), as (1, T, 3, 64, 64)."""
    values = torch.cos(0.37 * torch.arange(3 * frames * 64 * 64, dtype=torch.float64))
    return values.reshape(1, 3, frames, 64, 64).transpose(1, 2)


def convert(folder, content, config):
    """The folder of a pickle with this content; heads are given, since they are narrower than published ones."""
    torch.save(content, folder / "weights.pth")
    heads = {"heads": config.heads, "decoder_heads": config.decoder_heads}
    convert_checkpoint(ConvertVideoSettings(folder / "weights.pth", folder / "converted", **heads), Problems())
    return folder / "converted"


def arguments_of(config):
    """What the original programs save of their command line."""
    token = config.class_token
    return Namespace(
        input_size=64, num_frames=config.num_frames, lg_region_size=(2, 2, 4), lg_classify_token_type=token, lr=0.1
    )


@pytest.mark.parametrize("token", LOGITS)
def test_classifiers_answer_as_the_original_code(tmp_path, token):
    change = {"architecture": "videomae"} if token == "joint" else {"class_token": token}
    config = ORACLE.model_copy(update=change)
    folder = convert(tmp_path, {"model": original_weights(config), "args": arguments_of(config)}, config)
    logits = load_classifier(folder).double()(oracle_clip(8))["logits"][0]
    assert logits.tolist() == pytest.approx(LOGITS[token], abs=1e-5)


def test_pretraining_rebuilds_as_the_original_code(tmp_path):
    config = ORACLE.model_copy(update={"num_frames": 16})
    weights = original_weights(config, pretrained=True)
    model = load_autoencoder(convert(tmp_path, {"model": weights, "args": arguments_of(config)}, config)).double()
    masked = torch.tensor([1, 0, 1, 1, 1, 1, 0, 1], dtype=torch.bool).repeat(16).unsqueeze(0)
    logits = model(oracle_clip(16), masked)["logits"]
    assert logits.shape == (1, 96, 1536)
    assert logits.flatten()[:8].tolist() == pytest.approx(REBUILT, abs=1e-5)
    last = (-0.0147911594, -0.0454044338, -0.0436338702, 0.0200726457)
    assert logits.flatten()[-4:].tolist() == pytest.approx(last, abs=1e-5)
    assert logits.sum().item() == pytest.approx(-10.09775325, abs=1e-3)  # 147,456 values of 32-bit weights


def test_difference_targets_are_those_of_the_original_code():
    config = VideoConfig(image_size=32, num_frames=4, differences=True)
    wave = torch.sin(0.11 * torch.arange(3 * 4 * 32 * 32, dtype=torch.float64)).reshape(1, 3, 4, 32, 32)
    frames = (0.5 + 0.5 * wave.transpose(1, 2)).movedim(2, -1)
    targets = reconstruction_targets(normalise_values(frames), config)
    assert targets.shape == (1, 8, 1536)
    assert targets[0, 0, :6].tolist() == pytest.approx(TARGETS, abs=1e-9)
    assert targets[0, 0, 768:774].tolist() == pytest.approx(DIFFERENCES, abs=1e-9)
    assert float(targets.abs().sum()) == pytest.approx(8033.77812138, abs=1e-6)


@pytest.mark.parametrize("pretrained", [False, True], ids=["classifier", "autoencoder"])
@pytest.mark.parametrize("architecture", ["videomae", "lgi_former"])
def test_every_tensor_comes_back_from_the_folder(tmp_path, architecture, pretrained):
    config = ORACLE.model_copy(update={"architecture": architecture})
    original = original_weights(config, pretrained)
    wrapped = {f"module.{name}": value for name, value in original.items()}
    folder = convert(tmp_path, {"module": wrapped, "args": arguments_of(config)}, config)
    saved = load_file(folder / "model.safetensors")
    for name, value in original.items():
        converted = convert_weights({**dict.fromkeys(original, torch.zeros(3)), name: value})
        pieces = [saved[new] for new, piece in converted.items() if piece.any()]  # the others are zeros
        assert torch.equal(torch.cat(pieces) if "qkv" in name else pieces[0], value.float()), name
    names = ("architecture", "image_size", "num_frames", "patch_size", "dim", "depth", "heads", "region")
    assert [getattr(read_video_config(folder), name) for name in names] == [getattr(config, name) for name in names]


@pytest.mark.parametrize("kind", [VideoMAEForPreTraining, VideoMAEForVideoClassification])
def test_a_folder_of_transformers_answers_the_same(tmp_path, kind):
    torch.manual_seed(0)
    settings = VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
        decoder_hidden_size=24, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=96,
        layer_norm_eps=1e-6, num_labels=3, use_mean_pooling=kind is VideoMAEForVideoClassification,
    )  # fmt: skip
    model = kind(settings).eval()
    model.save_pretrained(tmp_path / "stored")
    convert_checkpoint(ConvertVideoSettings(tmp_path / "stored", tmp_path / "converted"), Problems())
    clip = torch.randn(2, 4, 3, 32, 32)
    if kind is VideoMAEForVideoClassification:
        logits = load_classifier(tmp_path / "converted")(clip)["logits"]
        assert torch.allclose(logits, model(clip).logits, atol=1e-5)
    else:
        masked = torch.tensor([True, False, True, True]).repeat(2, 2)
        logits = load_autoencoder(tmp_path / "converted")(clip, masked)
        expected = model(clip, bool_masked_pos=masked)
        assert torch.allclose(logits["logits"], expected.logits, atol=1e-5)
        assert logits["loss"].item() == pytest.approx(expected.loss.item(), rel=1e-5)


def test_what_is_no_such_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match="neither VideoMAE nor LGI-Former"):
        convert(tmp_path, {"model": {"conv1.weight": torch.zeros(2)}}, ORACLE)
    with pytest.raises(DataError, match="cannot be read as weights alone"):
        convert(tmp_path, {"model": {}, "callback": pytest.approx}, ORACLE)
    incomplete = original_weights(ORACLE)
    del incomplete["blocks.1.norm2.bias"]
    with pytest.raises(DataError, match=r"missing \(encoder.blocks.1.norm2.bias\)"):
        convert(tmp_path, {"model": incomplete, "args": arguments_of(ORACLE)}, ORACLE)
    with pytest.raises(DataError, match="has 4 region tokens, and regions of"):
        convert(tmp_path, {"model": original_weights(ORACLE)}, ORACLE)


def test_the_crop_of_a_converted_checkpoint_is_recorded(tmp_path):
    torch.save({"model": original_weights(ORACLE), "args": arguments_of(ORACLE)}, tmp_path / "weights.pth")
    settings = ConvertVideoSettings(tmp_path / "weights.pth", tmp_path / "out", heads=3, crop="dfew_jpg_256")
    convert_checkpoint(settings, Problems())
    assert read_training_info(tmp_path / "out")["recipes"] == {"crop": [{"name": "dfew_jpg_256"}]}
    with pytest.raises(DataError, match="faces that were cut otherwise"):
        load_classifier(tmp_path / "out", {"name": "own"})
