"""Clips' questions answered from shared prefixes, against one request at a time and two left-padded batches.

    python benchmarks/answers.py                  # minutes on one core
    python benchmarks/answers.py --hidden 128 --layers 3 --rounds 1

Prompts of the default settings with four pictures of noise in the size of aligned crops, a random Qwen2.5-VL in 32
bits on one thread. Answers are cut at --max-new-tokens, about the mean length of the challenge's answers; random
weights never end one and hardly ever agree, so that no arm gains by votes that are alike. The arms:

    single   one request a vote, as the original does: 30 times pictures, prompt and answer
    batch    left-padded batches sorted by length, every vote a row from the prompt on, pictures encoded once
    strong   the same, but each question prefilled once with scores of its last token only, then
             `Cache.batch_repeat_interleave` for its votes: what transformers offers to whom it matters
    shared   what the questions begin with encoded once, votes branching from it: megc/answers

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
from dataclasses import dataclass, replace
from operator import ne
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from megc.answers.answerer import Answer, parse_question
from megc.answers.engine import ModelAnswerer, find_end_tokens, tokenize_prompts
from megc.answers.pictures import Pictures
from megc.answers.run import batches_of_clips, group_by_pictures
from megc.answers.settings import Decoding
from megc.answers.writing import (
    PartialAnswer,
    draw_tokens,
    log_probabilities,
    make_unit_list,
    make_warpers,
    mask_scores,
    start_answers,
)
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
        clip_records = example_records(number, f"{number}_")
        generator = np.random.default_rng(number)
        for image in clip_records[0]["images"]:
            Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / image)
        records += clip_records
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


# ---- the plain reference, with which the tests compare


@dataclass(frozen=True)
class Seen:
    """A clip's pictures behind the vision tower: `grids` (n, 3) of patches, and of each picture (tokens, width)."""

    grids: torch.Tensor
    features: tuple[torch.Tensor, ...]


@torch.inference_mode()
def see(loaded: LoadedCheckpoint, pictures: Sequence[np.ndarray]) -> Seen:
    """Pictures (uint8, already resized to the pixel budget) through the vision tower of transformers."""
    inputs = loaded.processor.image_processor(images=list(pictures), do_resize=False, return_tensors="pt")
    grids = inputs["image_grid_thw"]
    return Seen(grids, tuple(loaded.model.get_image_features(**inputs, return_dict=True).pooler_output))


def build_inputs(loaded: LoadedCheckpoint, samples: Sequence[Sample], seen: Sequence[Seen]) -> dict[str, torch.Tensor]:
    """Prompts of samples, padded on the left, as the processor makes them.

    Without `mm_token_type_ids` the model's positions are silently wrong.
    """
    grids = [clip.grids for clip in seen]
    ids = [tokens.tolist() for tokens in tokenize_prompts(loaded.processor, samples, grids)]
    inputs = loaded.processor.tokenizer.pad({"input_ids": ids}, padding=True, padding_side="left", return_tensors="pt")
    types = (inputs["input_ids"] == loaded.processor.image_token_id).int()
    return {**inputs, "mm_token_type_ids": types, "image_grid_thw": torch.cat(grids)}


@torch.inference_mode()
def write_plainly(
    loaded: LoadedCheckpoint,
    decoding: Decoding,
    samples: Sequence[Sample],
    seen: Sequence[Seen],
    votes: Sequence[int],
    repeat_keys: bool = False,
) -> list[list[Answer]]:
    """Answers of each sample by whole prompts, as transformers does it: nothing is shared but the pictures.

    `votes` are the numbers of the votes, which stand as rows one behind the other: from the prompt on, or, with
    `repeat_keys`, as copies of the keys and values of one prefilled prompt. Modes are those of `decoding`, all
    greedy or all sampled; lists of action units are constrained.
    """
    inputs = build_inputs(loaded, samples, seen)
    features = tuple(picture for clip in seen for picture in clip.features)
    sampled = decoding.mode(parse_question(samples[0]).kind) == "sample"
    # 1. one row a vote; a constrained list may need more room than --max-new-tokens
    ends, rows = find_end_tokens(loaded), []
    for sample in samples:
        question = parse_question(sample)
        constraint = make_unit_list(question, loaded.processor.tokenizer, ends) if decoding.constrain_units else None
        rows += start_answers(sample.record["id"], 0, votes, sampled, constraint, decoding)
    # 2. prefill
    if not repeat_keys:
        pictures = inputs.pop("image_grid_thw").split([len(clip.grids) for clip in seen])
        inputs = {name: rows_of.repeat_interleave(len(votes), 0) for name, rows_of in inputs.items()}
        inputs["image_grid_thw"] = torch.cat([grids for grids in pictures for _ in votes])
        features = tuple(picture for clip in seen for _ in votes for picture in clip.features)
    vision = {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}
    cache = DynamicCache(config=loaded.model.config.get_text_config())
    read = loaded.model(**inputs, **vision, past_key_values=cache, use_cache=True, logits_to_keep=1)
    scores, mask, deltas = read.logits[:, -1].float(), inputs["attention_mask"], loaded.model.model.rope_deltas
    if repeat_keys and len(votes) > 1:
        cache.batch_repeat_interleave(len(votes))
        scores, mask, deltas = (part.repeat_interleave(len(votes), 0) for part in (scores, mask, deltas))
    # 3. a token a step for all rows, also for those that have ended
    warpers, step = make_warpers(decoding) if sampled else None, 0
    while True:
        tokens = _choose_tokens(rows, scores, step, warpers, ends)
        if not any(row.unfinished for row in rows):
            break
        step += 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = (mask.sum(1, keepdim=True) - 1 + deltas).expand(3, -1, -1)
        inputs = {"input_ids": tokens[:, None], "attention_mask": mask, "position_ids": positions}
        scores = loaded.model(**inputs, past_key_values=cache, use_cache=True).logits[:, -1].float()
    # 4. tokens to texts, votes of a sample together
    texts = loaded.processor.tokenizer.batch_decode([row.tokens for row in rows], skip_special_tokens=True)
    answers = [Answer(text.strip(), row.log_probability, not row.ended) for text, row in zip(texts, rows, strict=True)]
    return [answers[start : start + len(votes)] for start in range(0, len(answers), len(votes))]


def _choose_tokens(
    rows: Sequence[PartialAnswer], scores: torch.Tensor, step: int, warpers: Sequence | None, ends: Sequence[int]
) -> torch.Tensor:
    """Add the next token to each unfinished row; tokens (rows,) to read, from scores (rows, vocabulary).

    `warpers`: of sampled answers; None: greedy. What ended rows read does not matter.
    """
    for number, row in enumerate(rows):
        if row.constraint and row.unfinished:
            allowed = row.constraint.allowed(row.tokens, row.limit - len(row.tokens))
            scores[number] = mask_scores(scores[number], allowed)
    tokens = scores.argmax(dim=-1)
    if warpers is not None:
        numbers = torch.tensor([row.numbers[min(step, row.limit - 1)] for row in rows])
        tokens = draw_tokens(scores, numbers, warpers)
    chances = log_probabilities(scores, tokens).tolist()
    for row, token, chance in zip(rows, tokens.tolist(), chances, strict=True):
        if row.unfinished:
            row.tokens.append(token)
            row.log_probability += chance
            row.ended = token in ends
    return tokens


# ---- arms


def one_at_a_time(loaded: LoadedCheckpoint, decoding: Decoding) -> Arm:
    """One request a vote, with everything computed anew."""
    pictures = Pictures(loaded.processor)

    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        answers = []
        for sample in samples:
            requests = [
                write_plainly(loaded, decoding, [sample], [see(loaded, pictures.read(sample))], [vote])
                for vote in range(decoding.count_votes("long"))
            ]
            answers.append([votes[0][0].text for votes in requests])
        return answers

    return answer


def plain_batches(loaded: LoadedCheckpoint, decoding: Decoding, size: int, repeat_keys: bool) -> Arm:
    """Left-padded batches sorted by length, so that they need little padding; each clip's pictures encoded once.

    `repeat_keys`: each question is prefilled once and its keys and values copied to its votes.
    """
    pictures = Pictures(loaded.processor)

    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        groups = group_by_pictures(samples)
        seen = {group[0].pictures: see(loaded, pictures.read(group[0])) for group in groups}
        grids = [seen[sample.pictures].grids for sample in samples]
        prompts = tokenize_prompts(loaded.processor, samples, grids)
        order = sorted(range(len(samples)), key=lambda number: len(prompts[number]))
        votes = range(decoding.count_votes("long"))
        answers: dict[int, list[str]] = {}
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            batch = [samples[number] for number in numbers]
            clips = [seen[sample.pictures] for sample in batch]
            batch_votes = write_plainly(loaded, decoding, batch, clips, votes, repeat_keys)
            answers |= {n: [vote.text for vote in row] for n, row in zip(numbers, batch_votes, strict=True)}
        return [answers[number] for number in range(len(samples))]

    return answer


def shared_batches(loaded: LoadedCheckpoint, decoding: Decoding, size: int) -> Arm:
    """Batches of whole clips by the answerer."""
    answerer = ModelAnswerer(loaded, Pictures(loaded.processor), decoding, size)

    def answer(samples: Sequence[Sample]) -> list[list[str]]:
        answers: dict[str, list[str]] = {}
        for batch in batches_of_clips(group_by_pictures(samples), size):
            votes = zip(batch, answerer.answer(batch, Problems()), strict=True)
            answers |= {sample.record["id"]: [vote.text for vote in row] for sample, row in votes}
        return [answers[sample.record["id"]] for sample in samples]

    return answer


def arms_of(loaded: LoadedCheckpoint, args: argparse.Namespace) -> dict[str, Arm]:
    """What is compared, by name."""
    common = {"max_new_tokens": args.max_new_tokens, "constrain_units": False, "temperature": 1.0, "top_p": 1.0}
    sampled = Decoding(votes=args.votes, decode=("sample",), **common)
    greedy = Decoding(decode=("greedy",), **common)
    arms = {}
    for name, decoding in (("votes", sampled), ("greedy", greedy)):
        arms[f"single {name}"] = one_at_a_time(loaded, decoding)
        arms[f"batch {name}"] = plain_batches(loaded, decoding, args.batch_size, repeat_keys=False)
        arms[f"strong {name}"] = plain_batches(loaded, decoding, args.batch_size, repeat_keys=True)
        arms[f"shared {name}"] = shared_batches(loaded, decoding, args.batch_size)
    arms["shared choices"] = shared_batches(loaded, replace(greedy, decode=()), args.batch_size)
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
    language, tower = (
        sum(weight.numel() for weight in part.parameters()) for part in (model.language_model.layers, model.visual)
    )
    return counted["tokens"], counted["tokens"] * language + counted["patches"] * tower


def measure(arms: dict[str, Arm], samples: Sequence[Sample], rounds: int) -> dict[str, float]:
    """Median seconds of CPU time a clip, arms taking turns; single and batch answer the first clip alone."""
    first = group_by_pictures(samples)[0]
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in tqdm(range(rounds), desc="Rounds", disable=None):
        for name, arm in arms.items():
            measured = first if name.startswith(("single", "batch")) else samples  # the slow arms: one clip
            start = time.process_time()
            arm(measured)
            seconds[name].append((time.process_time() - start) * len(first) / len(measured))
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
        votes = different(arms, group_by_pictures(samples)[0], "votes")
        work = {name: count_work(loaded, arms[name], samples) for name in ("strong votes", "shared votes")}
        seconds = measure(arms, samples, args.rounds)
    questions = len(samples) // args.clips
    millions = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    height, width = args.size
    print(f"{millions:.1f} million parameters; clips of {questions} questions and 4 pictures of {height} × {width}")
    baselines = ("single", "batch", "strong")
    print(f"{'arm':16}{'s a clip':>10}{'answers/s':>11}" + "".join(f"{'over ' + way:>13}" for way in baselines))
    for name, second in seconds.items():
        kind = name.split()[1].replace("choices", "greedy")
        ratios = "".join(f"{seconds[f'{way} {kind}'] / second:12.1f}x" for way in baselines)
        print(f"{name:16}{second:10.3f}{questions / second:11.2f}{ratios}")
    for name, (tokens, _) in work.items():
        print(f"{name}: {tokens / args.clips:.0f} tokens a clip through the language model, padding included")
    print(f"limit of strong over shared by arithmetic alone: {work['strong votes'][1] / work['shared votes'][1]:.1f}x")
    print(f"different from one request at a time: greedy answers {greedy}, questions with another vote {votes}")
    over = [seconds[f"{way} votes"] / seconds["shared votes"] for way in baselines]
    print(
        f"RESULT over_single={over[0]:.1f} over_batch={over[1]:.1f} over_strong_batch={over[2]:.2f} "
        f"different={sum(greedy.values())}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
