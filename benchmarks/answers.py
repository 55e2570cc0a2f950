"""A clip's six questions answered from one shared prefix, against one request at a time and a left-padded batch.

    python benchmarks/answers.py                  # about four minutes on one core
    python benchmarks/answers.py --hidden 128 --layers 3 --rounds 1

Prompts of the default settings with four pictures of noise, a random Qwen2.5-VL in 32 bits on one thread. Answers
are cut at --max-new-tokens, about the mean length of the challenge's answers. The arms:

    single   one request a vote, as the original does: 30 times pictures, prompt and answer
    batch    one left-padded batch of six, five votes each, pictures encoded once (--share-prefix none)
    shared   what the questions begin with encoded once, votes branching from it (--share-prefix clip)

each sampled and greedy; `choices` compares the allowed answers of the closed questions and writes the others. Arms
take turns, and medians of CPU time are compared, so that a busy machine does not matter. `different` counts greedy
answers of the batched arms, over several clips, that are not those of one request at a time.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import Qwen2_5_VLForConditionalGeneration

from megc.answers.blank import Pictures
from megc.answers.decoding import Decoding, parse_decode
from megc.answers.engine import ModelAnswerer
from megc.answers.generate import generate, see
from megc.command import run_command
from megc.files import write_jsonl
from megc.model import tiny
from megc.model.checkpoint import Loaded, load_processor
from megc.model.data import Sample, read_samples, training_texts
from megc.model.typical import typical_records
from megc.problems import Problems

Arm = Callable[[Sequence[Sample]], list[list[str]]]


def write_clips(root: Path, clips: int, pixels: int) -> list[Sample]:
    """Samples of clips with six questions and four pictures of noise."""
    records = []
    for number in range(clips):
        own = typical_records(number, f"{number}_")
        generator = np.random.default_rng(number)
        for image in own[0]["images"]:
            Image.fromarray(generator.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)).save(root / image)
        records += own
    write_jsonl(root / "clips.jsonl", records)
    return read_samples(root / "clips.jsonl")


def build(root: Path, samples: Sequence[Sample], args: argparse.Namespace) -> Loaded:
    """A random model with a vocabulary of the samples' texts, larger than the tiny one."""
    folder = tiny.build(root / "tiny", training_texts(sample.record for sample in samples))
    processor = load_processor(folder)
    config = tiny.tiny_config(processor.tokenizer)
    for part in (config.text_config, config.vision_config):
        part.initializer_range = 0.2 * (128 / args.hidden) ** 0.5
    config.text_config.update({"hidden_size": args.hidden, "intermediate_size": 3 * args.hidden})
    config.text_config.update({"num_attention_heads": args.hidden // 32, "num_key_value_heads": args.hidden // 64})
    config.text_config.update({"num_hidden_layers": args.layers, "layer_types": ["full_attention"] * args.layers})
    config.text_config.update({"max_window_layers": args.layers})
    config.vision_config.update({"hidden_size": args.hidden // 2, "intermediate_size": 3 * args.hidden // 2})
    config.vision_config.update({"depth": args.layers, "fullatt_block_indexes": [args.layers - 1]})
    config.vision_config.update({"out_hidden_size": args.hidden, "num_heads": args.hidden // 32})
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    tiny.soften_attention(model)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return Loaded(model, processor, {})


def one_at_a_time(loaded: Loaded, decoding: Decoding) -> Arm:
    """One call of `generate` a vote, with everything computed anew."""
    pictures = Pictures(loaded.processor)

    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        found = []
        for sample in samples:
            votes = [[vote] for vote in range(decoding.votes)] if decoding.mode("long") == "sample" else [None]
            calls = [
                generate(loaded, [sample], see(loaded, [pictures.of(sample)]), decoding, vote and [vote])
                for vote in votes
            ]
            found.append([call[0][0].text for call in calls])
        return found

    return answer


def together(loaded: Loaded, decoding: Decoding, share: str) -> Arm:
    """A clip's questions in one call of the answerer."""

    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        answerer = ModelAnswerer(loaded, Pictures(loaded.processor), decoding, share)
        return [[vote.text for vote in votes] for votes in answerer.answer(samples, Problems())]

    return answer


def arms_of(loaded: Loaded, args: argparse.Namespace) -> dict[str, Arm]:
    """What is compared, by name."""
    common = {"max_new_tokens": args.max_new_tokens, "constrain_units": False, "temperature": 1.0, "top_p": 1.0}
    sampled = Decoding(votes=args.votes, decode=parse_decode(["sample"]), **common)
    greedy = Decoding(decode=parse_decode(["greedy"]), **common)
    arms = {}
    for name, decoding in (("votes", sampled), ("greedy", greedy)):
        arms[f"single {name}"] = one_at_a_time(loaded, decoding)
        arms[f"batch {name}"] = together(loaded, decoding, "none")
        arms[f"shared {name}"] = together(loaded, decoding, "clip")
    arms["shared choices"] = together(loaded, replace(greedy, decode={}), "clip")
    return arms


def different(arms: dict[str, Arm], samples: Sequence[Sample], kind: str) -> int:
    """Answers of the batched arms that are not those of one request at a time."""
    alone = arms[f"single {kind}"](samples)
    others = [arms[f"{way} {kind}"](samples) for way in ("batch", "shared")]
    return sum(one != two for other in others for one, two in zip(alone, other, strict=True))


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--pixels", type=int, default=224, help="width and height of a picture")
    add("--hidden", type=int, default=256, help="width of the language model, a multiple of 64")
    add("--layers", type=int, default=6, help="of language model and vision tower")
    add("--votes", type=int, default=5, help="on each question")
    add("--max-new-tokens", type=int, default=10, help="of an answer")
    add("--clips", type=int, default=4, help="whose greedy answers are compared")
    add("--rounds", type=int, default=3, help="in which all arms take turns")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        samples = write_clips(root, args.clips, args.pixels)
        loaded = build(root, samples, args)
        arms = arms_of(loaded, args)
        clip = [sample for sample in samples if sample.clip == samples[0].clip]
        greedy = different(arms, samples, "greedy")
        votes = different(arms, clip, "votes")
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for _ in tqdm(range(args.rounds), desc="Rounds", disable=None):
            for name, arm in arms.items():
                start = time.process_time()
                arm(clip)
                seconds[name].append(time.process_time() - start)
    taken = {name: statistics.median(some) for name, some in seconds.items()}
    millions = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    print(f"{millions:.1f} million parameters, four pictures of {args.pixels} px, {len(clip)} questions a clip")
    print(f"{'arm':16}{'s a clip':>10}{'answers/s':>11}{'against single':>16}{'against batch':>15}")
    for name, second in taken.items():
        kind = name.split()[1].replace("choices", "greedy")
        single, batch = taken[f"single {kind}"] / second, taken[f"batch {kind}"] / second
        print(f"{name:16}{second:10.3f}{len(clip) / second:11.2f}{single:15.1f}x{batch:14.1f}x")
    print(f"different from one request at a time: {greedy} greedy answers, {votes} rows of votes")
    over = [taken[f"{way} votes"] / taken["shared votes"] for way in ("single", "batch")]
    print(f"RESULT over_single={over[0]:.1f} over_batch={over[1]:.1f} different={greedy}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
