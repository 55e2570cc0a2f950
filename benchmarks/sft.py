"""Training with a clip's questions in one pass (`--packing clip`) against one question a sample (`--packing none`).

    python benchmarks/sft.py                      # about four minutes on one core
    python benchmarks/sft.py --pixels 112 --clips 2 --rounds 1

The same clips (four pictures of noise, six questions each, prompts of the default settings), the same tiny model in
32 bits, the trainer's own collator and loss, forward, backward and optimiser, one step for all clips. Each arm runs
in its best batch form: several batch sizes are tried, for single questions also sorted by length. Then the arms
take turns, and medians of CPU time are compared, so that a busy machine does not matter. `gradient_error` is the
largest relative difference of the two arms' gradients over the optimiser's parameter groups. For the 7B model, at the
pixel budget of train/qwen2_5_vl_7b.yaml, tokens and operations are computed, not measured.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import PreTrainedModel

from megc.command import run_command
from megc.files import read_yaml, write_jsonl
from megc.model import tiny
from megc.model.checkpoint import load_model, load_processor
from megc.model.packing import IGNORED, Packed, pack_samples
from megc.model.parts import is_matrix, part_of
from megc.model.samples import PictureStore, Sample, read_samples, training_texts
from megc.planning.dry_run import dry_run
from megc.planning.example_clip import example_records
from megc.planning.plan import count_parameters, epoch_flops
from megc.training.collate import Collator, answer_loss
from megc.training.settings import SftSettings

LARGE = "Qwen2.5-VL-7B-Instruct"
LARGE_YAML = Path(__file__).resolve().parents[1] / "train" / "qwen2_5_vl_7b.yaml"


@dataclass(frozen=True)
class Form:
    """How sequences are batched: so many at a time, in the data's order or by length."""

    size: int
    by_length: bool = False

    def __str__(self) -> str:
        return f"{self.size} a batch{', by length' if self.by_length else ''}"

    def batches(self, packed: list[Packed]) -> list[list[Packed]]:
        """Micro-batches of the sequences."""
        ordered = sorted(packed, key=len) if self.by_length else packed
        return [ordered[at : at + self.size] for at in range(0, len(ordered), self.size)]


@dataclass(frozen=True)
class Bench:
    """Model, collators of both arms and optimiser; `end`: the token that ends an answer."""

    model: PreTrainedModel
    collators: dict[str, Collator]
    optimizer: torch.optim.Optimizer
    end: int

    def backward(self, packing: str, batches: list[list[Packed]]) -> None:
        """Gradients of all sequences' loss."""
        answers = sum(int((sequence.targets != IGNORED).sum()) for batch in batches for sequence in batch)
        for batch in batches:
            inputs = self.collators[packing]([(sequence, (0, 0)) for sequence in batch])
            targets = inputs.pop("labels")
            answer_loss(self.model(**inputs, use_cache=False), targets, answers, end=self.end).backward()

    def seconds(self, packing: str, batches: list[list[Packed]]) -> float:
        """CPU time of one step over all sequences."""
        start = time.process_time()
        self.backward(packing, batches)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - start

    def gradients(self, packing: str, batches: list[list[Packed]]) -> dict[tuple[str, bool], torch.Tensor]:
        """Gradients by part of the model and whether they are of matrices: the optimiser's groups."""
        self.optimizer.zero_grad()
        self.backward(packing, batches)
        groups: dict[tuple[str, bool], list[torch.Tensor]] = {}
        for name, parameter in self.model.named_parameters():
            groups.setdefault((part_of(name), is_matrix(parameter)), []).append(parameter.grad.flatten().clone())
        self.optimizer.zero_grad()
        return {group: torch.cat(values) for group, values in groups.items()}


def write_clips(root: Path, clips: int, size: tuple[int, int]) -> Path:
    """Instruction JSONL of clips with six questions and four pictures of noise, height × width."""
    records = []
    for number in range(clips):
        generator = np.random.default_rng(number)
        clip_records = example_records(number, f"{number}_")
        for image in clip_records[0]["images"]:  # the same four for all six questions
            Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / image)
        records += clip_records
    path = root / "clips.jsonl"
    write_jsonl(path, records)
    return path


def set_up(root: Path, samples: list[Sample]) -> tuple[Bench, PictureStore]:
    """The tiny model for the samples' texts; the pictures keep their size."""
    folder = tiny.build(root / "tiny", training_texts(sample.record for sample in samples))
    processor, model = load_processor(folder), load_model(folder, torch.float32, "sdpa").train()
    pixels = PictureStore(processor)
    pad = processor.tokenizer.pad_token_id
    collators = {packing: Collator(pixels, pad, packing == "clip") for packing in ("clip", "none")}
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    return Bench(model, collators, torch.optim.AdamW(model.parameters(), lr=1e-5), end), pixels


def relative_error(bench: Bench, sequences: dict[str, list[Packed]]) -> float:
    """Largest relative difference of the arms' gradients over groups of parameters."""
    packed, single = (bench.gradients(packing, Form(1).batches(sequences[packing])) for packing in ("clip", "none"))
    return max(float((packed[group] - single[group]).norm() / single[group].norm()) for group in single)


def measure(pixels: int, args: argparse.Namespace) -> tuple[float, float, float]:
    """Speed-up, ratio of tokens and gradient error at pictures of `pixels` × `pixels`; prints a line an arm."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # 1. The same clips in both arms, and their gradients, which must be the same.
        file = write_clips(root, args.clips, (pixels, pixels))
        samples = read_samples(file)
        bench, store = set_up(root, samples)
        config = bench.model.config
        sequences = {
            packing: pack_samples(samples, store, config, packing=packing, file=file) for packing in ("clip", "none")
        }
        error = relative_error(bench, sequences)
        # 2. Each arm in its best batch form, so that neither is handicapped.
        forms = {
            "clip": [Form(size) for size in args.clip_batches if size <= args.clips],
            "none": [Form(size, order) for size in args.batches for order in (False, True) if size > 1 or not order],
        }
        best = {}
        tried = [(packing, form) for packing, kinds in forms.items() for form in kinds]
        times = {
            (packing, form): bench.seconds(packing, form.batches(sequences[packing]))
            for packing, form in tqdm(tried, desc=f"{pixels} px, batch forms", disable=None)
        }
        for packing in forms:
            best[packing] = min(forms[packing], key=lambda form, arm=packing: times[arm, form])
        # 3. The arms take turns, so that a machine that gets busy slows both.
        runs: dict[str, list[float]] = {"clip": [], "none": []}
        for _ in tqdm(range(args.rounds), desc=f"{pixels} px, rounds", disable=None):
            for packing, form in best.items():
                runs[packing].append(bench.seconds(packing, form.batches(sequences[packing])))
    tokens = {packing: sum(map(len, packed)) for packing, packed in sequences.items()}
    for packing in ("none", "clip"):
        middle = statistics.median(runs[packing])
        speed, length = len(samples) / middle, tokens[packing] / args.clips
        line = f"{speed:>8.2f} questions/s{length:>9,.0f} tokens a clip   {best[packing]}"
        print(f"{pixels:>5} px  {packing:<5}{line}", flush=True)
    ratio = statistics.median(runs["none"]) / statistics.median(runs["clip"])
    print(f"          speed-up {ratio:.2f}, tokens {tokens['none'] / tokens['clip']:.2f}, gradients {error:.1e}")
    return ratio, tokens["none"] / tokens["clip"], error


def on_paper() -> None:
    """Tokens and operations of a clip for the 7B model at its pixel budget, in both arms, by the planner."""
    budget = read_yaml(LARGE_YAML)["max_pixels"]
    large = dry_run(SftSettings(model=LARGE, train_file="none.jsonl", max_pixels=budget), allow_example=True)
    parameters = count_parameters(large.config, large.settings)
    packed = {packing: large.pack(packing) for packing in ("none", "clip")}
    tokens = {packing: sum(map(len, sequences)) for packing, sequences in packed.items()}
    flops = {packing: epoch_flops(large, packed[packing], parameters, checkpointing=True) for packing in packed}
    print(f"On paper, {LARGE}, four aligned crops, six questions, --max_pixels {budget}, activation checkpointing:")
    for packing, number in tokens.items():
        print(f"  {packing:<5}{number:>8,.0f} tokens{flops[packing] / 1e12:>8.1f} TFLOP a clip")
    print(f"  ratio of tokens {tokens['none'] / tokens['clip']:.2f}, of TFLOP {flops['none'] / flops['clip']:.2f}")


def main() -> int:
    """Measure, print the table and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--pixels", type=int, nargs="+", default=[112, 224, 336], help="sides of the square pictures, multiples of 28")
    add("--clips", type=int, default=4, help="clips of six questions; all of them make one step")
    add("--rounds", type=int, default=5, help="times that the arms take turns")
    add("--batches", type=int, nargs="+", default=[1, 3, 6, 12], help="batch sizes to try with --packing none")
    add("--clip-batches", type=int, nargs="+", default=[1, 2, 4], help="batch sizes to try with --packing clip")
    add("--threads", type=int, default=1, help="CPU threads of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.clips} clips, {args.threads} thread(s), CPU time, the tiny model in 32 bits", flush=True)
    results = {pixels: measure(pixels, args) for pixels in args.pixels}
    on_paper()
    values = {f"speedup_{pixels}": f"{result[0]:.2f}" for pixels, result in results.items()}
    size = 224 if 224 in results else args.pixels[0]
    values[f"token_ratio_{size}"] = f"{results[size][1]:.2f}"
    values["gradient_error"] = f"{max(result[2] for result in results.values()):.1e}"
    print("RESULT", *(f"{name}={value}" for name, value in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
