"""A Qwen2.5-VL of about one million parameters, to run every step of the chain on a CPU in minutes.

Same classes, files and chat template as the real checkpoints; random weights; its own byte-level BPE vocabulary,
trained on the texts that it will read. What differs from the real model is only size.
"""

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from megc.files import lock_folder, read_json, sha256_of, write_json
from megc.model.checkpoint import read_training_info
from megc.model.distributed import unpartitioned_models
from megc.model.weight_checks import check_weights
from megc.model.weights import INFO_NAME, settings_hashes, weights_hash
from megc.problems import DataError

VERSION = 2  # raise it when a change here changes the weights or the vocabulary
UNTRAINED = "tiny, untrained"  # kind of checkpoint in its megc.json
VOCABULARY = 1024  # BPE tokens, before the added ones

# The 22 added tokens of Qwen2.5-VL in the order of their ids; True: special.
ADDED_TOKENS = {
    "<|endoftext|>": True,
    "<|im_start|>": True,
    "<|im_end|>": True,
    "<|object_ref_start|>": True,
    "<|object_ref_end|>": True,
    "<|box_start|>": True,
    "<|box_end|>": True,
    "<|quad_start|>": True,
    "<|quad_end|>": True,
    "<|vision_start|>": True,
    "<|vision_end|>": True,
    "<|vision_pad|>": True,
    "<|image_pad|>": True,
    "<|video_pad|>": True,
    "<tool_call>": False,
    "</tool_call>": False,
    "<|fim_prefix|>": False,
    "<|fim_middle|>": False,
    "<|fim_suffix|>": False,
    "<|fim_pad|>": False,
    "<|repo_name|>": False,
    "<|file_sep|>": False,
}

# The template of Qwen/Qwen2.5-VL-*-Instruct (Apache 2.0): images stand where the message's content has them.
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

PREPROCESSOR = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Qwen2Tokenizer:
    """Byte-level BPE of at most `vocabulary` tokens from `texts`, with Qwen2's splitting rule and added tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    trained = json.loads(bpe.to_str())["model"]
    base = len(trained["vocab"])
    added = {
        base + number: AddedToken(token, special=special, normalized=False)
        for number, (token, special) in enumerate(ADDED_TOKENS.items())
    }
    return Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(merge) for merge in trained["merges"]],
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        added_tokens_decoder=added,  # without it the constructor puts <|im_end|> first
        additional_special_tokens=[token for token, special in ADDED_TOKENS.items() if special][1:],
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
    )


def tiny_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """Configuration for the vocabulary of `tokenizer`; no token id is fixed beforehand.

    `initializer_range` 0.2: with the usual 0.02 a model this narrow stays at the prior.
    """
    token_id = tokenizer.convert_tokens_to_ids
    vision = {
        "depth": 3,
        "hidden_size": 64,
        "intermediate_size": 170,
        "num_heads": 4,
        "window_size": 112,
        "fullatt_block_indexes": [2],
        "out_hidden_size": 128,
        "tokens_per_second": 2,
        "initializer_range": 0.2,
    }
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,  # rounded up, as that of the real model
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
        "bos_token_id": token_id("<|endoftext|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "initializer_range": 0.2,
    }
    return Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def soften_attention(model: Qwen2_5_VLForConditionalGeneration, factor: float = 0.5) -> None:
    """Shrink the language model's query and key weights.

    At the range that the rest needs, attention scores start so far apart that each word looks at a few others at
    random; in a prompt of hundreds of words the few dozen picture tokens then get hardly any gradient.
    """
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj.weight.mul_(factor)
            layer.self_attn.k_proj.weight.mul_(factor)


def recipe_hash(texts: Iterable[str], seed: int) -> str:
    """Hash of what decides the tiny checkpoint: texts, seed and the version of this file."""
    return sha256_of(str(VERSION), str(seed), *texts)


def build(path: Path | str, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a tiny checkpoint to the folder `path`, in the layout of the hub; returns the folder.

    `texts`: what the vocabulary is trained on (`data.training_texts` of the training file). Same texts and seed
    give the same vocabulary and weights, also in a ZeRO-3 run. A folder that is there is replaced; a kill leaves
    the old folder or the new one, and several processes at once leave the first one's, which is the same.
    """
    path, texts = Path(path), sorted(set(texts))
    tokenizer = train_tokenizer(texts)
    config = tiny_config(tokenizer)
    # the global generator stays as it was: a run that builds the checkpoint and one that finds it draw the same
    with unpartitioned_models(), torch.random.fork_rng(devices=[]), _folder_in_place(path) as folder:
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
        soften_attention(model)
        model.generation_config = GenerationConfig(
            do_sample=True,
            temperature=1e-6,
            repetition_penalty=1.05,  # both as the real checkpoints have them: whoever generates must set them
            bos_token_id=config.text_config.bos_token_id,
            eos_token_id=[config.text_config.eos_token_id, config.text_config.bos_token_id],
            pad_token_id=tokenizer.pad_token_id,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / "preprocessor_config.json", PREPROCESSOR)
        info = {"kind": UNTRAINED, "recipe": recipe_hash(texts, seed), "seed": seed}
        hashes = {"weights_hash": weights_hash(folder), "settings_hashes": settings_hashes(folder)}
        write_json(folder / INFO_NAME, {**info, **hashes})
    return path


@contextmanager
def _folder_in_place(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which takes its place when the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    name = secrets.token_hex(4)
    folder, old = (path.with_name(f".{path.name}.{kind}-{name}") for kind in ("new", "old"))
    with lock_folder(path.parent, folder.name[1:]):  # before the folder is there: see `_remove_leftovers`
        folder.mkdir()
        try:
            yield folder
            _replace_folder(path, folder, old)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _replace_folder(path: Path, folder: Path, old: Path) -> None:
    """Rename `folder` to `path`; what lies there is renamed to `old` and deleted, unless it is the same."""
    while True:  # until this process or another one has put a checkpoint there
        try:
            folder.rename(path)  # also over an empty folder
            return
        except OSError:
            if not path.is_dir():
                raise
        # another process may be quicker: what lies at `path` is gone then while it is compared or renamed
        with suppress(FileNotFoundError):
            same_weights = weights_hash(path) == weights_hash(folder)
            if same_weights and read_json(path / INFO_NAME, missing={}) == read_json(folder / INFO_NAME):
                return  # another process has built it, and may read it already
        with suppress(FileNotFoundError):
            path.rename(old)
            shutil.rmtree(old)


def _remove_leftovers(path: Path) -> None:
    """Delete what killed builds of `path` left beside it; the folder of a build at work is locked, and stays."""
    for folder in path.parent.glob(f".{path.name}.new-*"):
        if folder.is_dir():
            with suppress(DataError), lock_folder(path.parent, folder.name[1:]):
                shutil.rmtree(folder, ignore_errors=True)
    for old in path.parent.glob(f".{path.name}.old-*"):
        shutil.rmtree(old, ignore_errors=True)


def ensure(path: Path | str, texts: Iterable[str], seed: int = 0) -> bool:
    """Build the tiny checkpoint at `path` unless the same one is there; returns whether it was built.

    An untrained tiny checkpoint of other texts is replaced. Raises DataError for anything else in the folder, such
    as what a run left that was stopped while it wrote.
    """
    path, texts = Path(path), sorted(set(texts))
    if not path.exists() or not any(path.iterdir()):
        build(path, texts, seed)
        return True
    fix = (
        "name another folder with --model, set --build_tiny false to start from this checkpoint, or delete the "
        "folder if a run left it unfinished"
    )
    info = read_training_info(path, fix)
    if info.get("kind") != UNTRAINED:
        raise DataError(path, None, "the folder holds something else than an untrained tiny checkpoint", fix)
    if info.get("recipe") != recipe_hash(texts, seed):
        build(path, texts, seed)
        return True
    try:
        check_weights(path, info.get("weights_hash"))
    except DataError as error:
        fix = f"delete the folder {path}, and the next run builds it again"
        raise DataError(path, None, f"the tiny checkpoint is not whole: {error.problem.what}", fix) from error
    return False
