"""Clips' questions answered from shared prefixes, against one request at a time and two left-padded batches.

    python benchmarks/answers.py                  # minutes on one core
    python benchmarks/answers.py --hidden 128 --layers 3 --rounds 1

Prompts of the default settings with four pictures of noise in the size of aligned crops, a random Qwen2.5-VL in 32
bits on one thread. Answers are cut at --max-new-tokens, about the mean length of the challenge's answers; random
weights never end one and hardly ever agree, so that no arm gains by votes that are alike. The arms:

    single   one request a vote, as the original does: 30 times pictures, prompt and answer
    batch    left-padded batches, every vote a row from the prompt on, pictures encoded once (--share-prefix none)
    strong   left-padded batches sorted by length, each question prefilled once with scores of its last token only,
             then `Cache.batch_repeat_interleave` for its votes: what transformers offers to whom it matters
    shared   what the questions begin with encoded once, votes branching from it (--share-prefix clip)

each sampled and greedy; `choices` compares the allowed answers of the closed questions and writes the others. All
batches are of --batch-size questions. Arms take turns, and medians of CPU time are compared, so that a busy machine
hits all of them. `different` counts greedy answers of the batched arms that are not those of one request at a time.

The lead over `strong` has a limit. Both arms encode the pictures once and write the same tokens; only the prompts'
tokens differ. The table has them: with infinitely cheap attention and no overhead, a token of a picture counted as
the vision tower's share of the arithmetic, `strong` over `shared` would come out as the `limit` that is printed.
The measured lead can exceed it, since `strong` also copies the keys of a prompt to each vote and again at each step.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import ne
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from megc.answers.asked import by_clip, clip_portions, plain_portions
from megc.answers.decoding import Decoding, parse_decode
from megc.answers.engine import ModelAnswerer
from megc.answers.generate import Seen, build_inputs, end_tokens, generate, prompt_tokens, see
from megc.answers.pictures import Pictures
from megc.answers.sampling import draw, uniforms, warpers_of
from megc.command import run_command
from megc.files import write_jsonl
from megc.model import tiny
from megc.model.checkpoint import LoadedCheckpoint, load_processor
from megc.model.samples import Sample, read_samples, training_texts
from megc.planning.example_clip import example_records
from megc.problems import Problems

Arm = Callable[[Sequence[Sample]], list[list[str]]]


def write_clips(root: Path, clips: int, size: tuple[int, int]) -> list[Sample]:
    """Samples of clips with six questions and four pictures of noise, of (height, width) pixels."""
    records = []
    for number in range(clips):
        asked = example_records(number, f"{number}_")
        generator = np.random.default_rng(number)
        for image in asked[0]["images"]:
            Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / image)
        records += asked
    write_jsonl(root / "clips.jsonl", records)
    return read_samples(root / "clips.jsonl")


def build(root: Path, samples: Sequence[Sample], args: argparse.Namespace) -> LoadedCheckpoint:
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
    return LoadedCheckpoint(model, processor, {})


def one_at_a_time(loaded: LoadedCheckpoint, decoding: Decoding) -> Arm:
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


def batched(loaded: LoadedCheckpoint, decoding: Decoding, share: str, size: int) -> Arm:
    """Batches of questions by the answerer."""
    answerer = ModelAnswerer(loaded, Pictures(loaded.processor), decoding, share, size)

    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        answers: dict[str, list[str]] = {}
        groups = by_clip(samples)
        for portion in clip_portions(groups, size) if share == "clip" else plain_portions(groups, size, sort=True):
            votes = zip(portion, answerer.answer(portion, Problems()), strict=True)
            answers |= {sample.record["id"]: [vote.text for vote in some] for sample, some in votes}
        return [answers[sample.record["id"]] for sample in samples]

    return answer


def strong_batch(loaded: LoadedCheckpoint, decoding: Decoding, size: int) -> Arm:
    """Batches sorted by length, each question prefilled once and its keys and values copied to its votes."""
    pictures = Pictures(loaded.processor)

    @torch.inference_mode()
    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        groups = by_clip(samples)
        encoded = see(loaded, [pictures.of(group[0]) for group in groups])
        seen = {sample.record["id"]: one for group, one in zip(groups, encoded, strict=True) for sample in group}
        prompts = prompt_tokens(loaded.processor, samples, [seen[sample.record["id"]].grids for sample in samples])
        order = sorted(range(len(samples)), key=lambda place: len(prompts[place]))
        answers: dict[int, list[str]] = {}
        for start in range(0, len(order), size):
            places = order[start : start + size]
            batch = [samples[place] for place in places]
            found = _write_batch(loaded, decoding, batch, [seen[sample.record["id"]] for sample in batch])
            answers |= dict(zip(places, found, strict=True))
        return [answers[place] for place in range(len(samples))]

    return answer


def _write_batch(
    loaded: LoadedCheckpoint, decoding: Decoding, samples: Sequence[Sample], seen: Sequence[Seen]
) -> list[list[str]]:
    """The votes of one batch of the strong arm, with the random numbers that all arms draw with."""
    sampled = decoding.mode("long") == "sample"
    count, steps = decoding.votes if sampled else 1, decoding.max_new_tokens
    inputs = build_inputs(loaded.processor, samples, [one.grids for one in seen])
    features = tuple(picture for one in seen for picture in one.features)
    vision = {"image": BaseModelOutputWithPooling(pooler_output=features)}
    cache = DynamicCache(config=loaded.model.config.get_text_config())
    read = loaded.model(**inputs, mm_encoder_outputs=vision, past_key_values=cache, use_cache=True, logits_to_keep=1)
    if count > 1:
        cache.batch_repeat_interleave(count)
    scores = read.logits[:, -1].repeat_interleave(count, 0)
    mask = inputs["attention_mask"].repeat_interleave(count, 0)
    deltas = loaded.model.model.rope_deltas.repeat_interleave(count, 0)
    drawn = [uniforms(one.record["id"], vote, decoding.seed, steps) for one in samples for vote in range(count)]
    numbers, warpers = (
        torch.from_numpy(np.stack(drawn)),
        warpers_of(decoding.temperature, decoding.top_k, decoding.top_p),
    )
    ends, padding = torch.tensor(end_tokens(loaded)), loaded.processor.tokenizer.pad_token_id
    ended = torch.zeros(len(scores), dtype=torch.bool)
    written: list[torch.Tensor] = []
    while True:
        tokens = draw(scores, numbers[:, len(written)], warpers) if sampled else scores.argmax(dim=-1)
        written.append(torch.where(ended, padding, tokens))
        ended |= torch.isin(tokens, ends)
        if ended.all() or len(written) == steps:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = (mask.sum(1, keepdim=True) - 1 + deltas).expand(3, -1, -1)
        step = {"input_ids": tokens[:, None], "attention_mask": mask, "position_ids": positions}
        scores = loaded.model(**step, past_key_values=cache, use_cache=True).logits[:, -1]
    texts = loaded.processor.tokenizer.batch_decode(torch.stack(written, dim=1), skip_special_tokens=True)
    return [[text.strip() for text in texts[start : start + count]] for start in range(0, len(texts), count)]


def arms_of(loaded: LoadedCheckpoint, args: argparse.Namespace) -> dict[str, Arm]:
    """What is compared, by name."""
    common = {"max_new_tokens": args.max_new_tokens, "constrain_units": False, "temperature": 1.0, "top_p": 1.0}
    sampled = Decoding(votes=args.votes, decode=parse_decode(["sample"]), **common)
    greedy = Decoding(decode=parse_decode(["greedy"]), **common)
    arms = {}
    for name, decoding in (("votes", sampled), ("greedy", greedy)):
        arms[f"single {name}"] = one_at_a_time(loaded, decoding)
        arms[f"batch {name}"] = batched(loaded, decoding, "none", args.batch_size)
        arms[f"strong {name}"] = strong_batch(loaded, decoding, args.batch_size)
        arms[f"shared {name}"] = batched(loaded, decoding, "clip", args.batch_size)
    arms["shared choices"] = batched(loaded, replace(greedy, decode={}), "clip", args.batch_size)
    return arms


def different(arms: dict[str, Arm], samples: Sequence[Sample], kind: str) -> dict[str, int]:
    """Answers of each batched arm that are not those of one request at a time."""
    alone = arms[f"single {kind}"](samples)
    others = {way: arms[f"{way} {kind}"](samples) for way in ("batch", "strong", "shared")}
    return {way: sum(map(ne, alone, other)) for way, other in others.items()}


def count_work(loaded: LoadedCheckpoint, arm: Arm, samples: Sequence[Sample]) -> tuple[int, float]:
    """What an arm puts through the language model: tokens, padding included; and multiplications with the tower's."""
    model = loaded.model.model
    counted = {"tokens": 0, "patches": 0}

    def see_tokens(module: torch.nn.Module, arguments: tuple, named: dict) -> None:
        counted["tokens"] += named["inputs_embeds"].shape[:2].numel()

    def see_patches(module: torch.nn.Module, arguments: tuple, named: dict) -> None:
        counted["patches"] += len(arguments[0])

    hooks = [
        model.language_model.register_forward_pre_hook(see_tokens, with_kwargs=True),
        model.visual.register_forward_pre_hook(see_patches, with_kwargs=True),
    ]
    arm(samples)
    for hook in hooks:
        hook.remove()
    weights = [sum(one.numel() for one in part.parameters()) for part in (model.language_model.layers, model.visual)]
    return counted["tokens"], counted["tokens"] * weights[0] + counted["patches"] * weights[1]


def measure(arms: dict[str, Arm], samples: Sequence[Sample], rounds: int) -> dict[str, float]:
    """Median seconds of CPU time a clip, arms taking turns; single and batch answer the first clip alone."""
    first = by_clip(samples)[0]
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in tqdm(range(rounds), desc="Rounds", disable=None):
        for name, arm in arms.items():
            asked = first if name.startswith(("single", "batch")) else samples
            start = time.process_time()
            arm(asked)
            seconds[name].append((time.process_time() - start) * len(first) / len(asked))
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=(336, 280), help="height and width of a picture; an aligned crop's")
    add("--hidden", type=int, default=256, help="width of the language model, a multiple of 64")
    add("--layers", type=int, default=6, help="of language model and vision tower")
    add("--votes", type=int, default=5, help="on each question")
    add("--max-new-tokens", type=int, default=10, help="of an answer")
    add("--clips", type=int, default=4, help="that are answered")
    add("--batch-size", type=int, default=16, help="questions at once, as generate_answers.py has it")
    add("--rounds", type=int, default=3, help="in which all arms take turns")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        samples = write_clips(Path(folder), args.clips, tuple(args.size))
        loaded = build(Path(folder), samples, args)
        arms = arms_of(loaded, args)
        greedy = different(arms, samples, "greedy")
        votes = different(arms, by_clip(samples)[0], "votes")
        work = {name: count_work(loaded, arms[name], samples) for name in ("strong votes", "shared votes")}
        seconds = measure(arms, samples, args.rounds)
    questions = len(samples) // args.clips
    millions = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    height, width = args.size
    print(f"{millions:.1f} million parameters; clips of {questions} questions and 4 pictures of {height} × {width}")
    ways = ("single", "batch", "strong")
    print(f"{'arm':16}{'s a clip':>10}{'answers/s':>11}" + "".join(f"{'over ' + way:>13}" for way in ways))
    for name, second in seconds.items():
        kind = name.split()[1].replace("choices", "greedy")
        ratios = "".join(f"{seconds[f'{way} {kind}'] / second:12.1f}x" for way in ways)
        print(f"{name:16}{second:10.3f}{questions / second:11.2f}{ratios}")
    for name, (tokens, _) in work.items():
        print(f"{name}: {tokens / args.clips:.0f} tokens a clip through the language model, padding included")
    print(f"limit of strong over shared by arithmetic alone: {work['strong votes'][1] / work['shared votes'][1]:.1f}x")
    print(f"different from one request at a time: greedy answers {greedy}, questions with another vote {votes}")
    over = [seconds[f"{way} votes"] / seconds["shared votes"] for way in ways]
    print(
        f"RESULT over_single={over[0]:.1f} over_batch={over[1]:.1f} over_strong_batch={over[2]:.2f} "
        f"different={sum(greedy.values())}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
