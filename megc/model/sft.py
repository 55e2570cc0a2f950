"""Supervised fine-tuning of a Qwen2.5-VL checkpoint on an instruction JSONL, from one CPU to many GPUs.

Order of work: settings → data (all of it checked) → model → table of what is trained → steps → checkpoint. Nothing
is loaded before the settings fit together, and no step is taken before every row is known to be good.
"""

import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from megc.files import sha256_of
from megc.model import distributed, tiny
from megc.model.checkpoint import (
    check_mismatch,
    check_tokens,
    load_model,
    load_processor,
    pixel_budget,
    read_record,
    software,
)
from megc.model.collate import Clips, Collator
from megc.model.data import Pixels, Sample, read_samples, training_texts
from megc.model.distributed import say
from megc.model.packing import Packed, pack_samples
from megc.model.settings import SftSettings, check_settings
from megc.model.trainer import PARTS, SftTrainer, count, part_of
from megc.problems import DataError, Problems
from megc.vqa.splits import subject_key


def choose_attention(settings: SftSettings) -> tuple[str, str]:
    """Attention implementation and the reason for it."""
    if settings.attention:
        return settings.attention, "as asked"
    if settings.packing == "clip":
        return "sdpa", "packed clips need a 4-D mask"
    if torch.cuda.is_available() and find_spec("flash_attn"):
        return "flash_attention_2", "flash-attn is installed and clips are not packed"
    return "sdpa", "no GPU" if not torch.cuda.is_available() else "flash-attn is not installed"


def choose_dtype(args: TrainingArguments) -> tuple[torch.dtype, str]:
    """Type of the weights in memory and the reason for it."""
    if args.bf16 and args.deepspeed:
        return torch.bfloat16, "DeepSpeed keeps 32-bit master weights"
    if args.bf16:
        return torch.float32, "AdamW would lose small steps in 16 bits; the passes run in bfloat16"
    return torch.float32, "small enough, or asked for, without --bf16"


def freeze(model: PreTrainedModel, settings: SftSettings) -> None:
    """Take the frozen parts out of training."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not getattr(settings, f"freeze_{part_of(name)}"))


def part_table(model: PreTrainedModel, settings: SftSettings, rate: float) -> list[str]:
    """A line a part: parameters, how many are trained, learning rate."""
    lines = [f"  {'part':<16}{'parameters':>15}{'trained':>15}  learning rate"]
    for part in PARTS:
        own = [parameter for name, parameter in model.named_parameters() if part_of(name) == part]
        trained = sum(count(parameter) for parameter in own if parameter.requires_grad)
        own_rate = getattr(settings, f"{part}_rate") or rate
        shown = f"{own_rate:g}" if trained else "frozen"
        lines.append(f"  {part:<16}{sum(map(count, own)):>15,}{trained:>15,}  {shown}")
    return lines


def _read(path: str, settings: SftSettings) -> list[Sample]:
    problems = Problems() if settings.skip_bad else None
    samples = read_samples(path, problems=problems)
    if problems:
        problems.report()
    return samples


def _resume_from(args: TrainingArguments) -> str | None:
    if not args.resume_from_checkpoint:
        return None
    found = args.resume_from_checkpoint
    if found in ("last", "True", "true"):
        found = get_last_checkpoint(args.output_dir) if Path(args.output_dir).is_dir() else None
    if not found or not Path(found, "trainer_state.json").is_file():
        what = "no checkpoint to resume from"
        raise DataError(args.resume_from_checkpoint, None, what, f"name one of {args.output_dir}/checkpoint-*")
    return found


def _make_room(args: TrainingArguments, overwrite: bool) -> None:
    left = sorted(Path(args.output_dir).glob("checkpoint-*"))
    if left and not overwrite:
        fix = "go on with --resume_from_checkpoint last, or delete them with --overwrite"
        raise DataError(args.output_dir, None, f"holds {len(left)} checkpoint(s) of an earlier run", fix)
    if distributed.is_main():
        for folder in left:
            shutil.rmtree(folder)


def _record(settings: SftSettings, args: TrainingArguments, samples: list[Sample], budget: tuple[int, int]) -> dict:
    """`megc.json` of the checkpoint to be (see `checkpoint`)."""
    file = Path(settings.train_file)
    prompts = sorted({sample.record["prompt"] for sample in samples})
    if len(prompts) > 1:
        what = f"{len(prompts)} different prompts in one file"
        raise DataError(file, None, what, "build all of it with the same prompt settings")
    prompt = _json_beside(file.parent / "prompt.json")
    split = _json_beside(file.with_suffix(".split.json"))
    ids = sorted(sample.record["id"] for sample in samples)
    return {
        "kind": "trained",
        "base": settings.model,
        "prompt_hash": prompts[0],
        "prompt": prompt if prompt.get("hash") == prompts[0] else None,
        "min_pixels": budget[0],
        "max_pixels": budget[1],
        "data": {
            "file": str(file),
            "rows": len(samples),
            "rows_hash": sha256_of(*ids),
            "clips": len({sample.clip for sample in samples}),
            "subjects": sorted({subject_key(sample.record) for sample in samples}),
            "split": split["folds"][split["settings"]["fold"]]["hash"] if split else None,
        },
        "training": {**dataclasses.asdict(settings), **args.to_sanitized_dict()},
        **software(),
    }


def _json_beside(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs, ready for step 1."""

    trainer: SftTrainer
    packed: list[Packed]
    resume: str | None


def prepare(settings: SftSettings, args: TrainingArguments) -> Prepared:
    """Check settings and data, load the model, print what will be trained.

    Raises ValueError for settings that contradict each other and DataError for data or checkpoints.
    """
    check_settings(settings, args)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    resume = _resume_from(args)
    samples = _read(settings.train_file, settings)
    evaluated = _read(settings.eval_file, settings) if settings.eval_file else []
    if not resume:
        _make_room(args, settings.overwrite)
    if settings.build_tiny:
        with args.main_process_first(desc="building the tiny checkpoint"):
            texts = training_texts(sample.record for sample in samples)
            if args.process_index == 0 and tiny.ensure(settings.model, texts, args.seed):
                say(f"Built the tiny checkpoint {settings.model}")
    if args.deepspeed:
        distributed.start_deepspeed()
    base = read_record(settings.model)
    pixels = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    prompt = samples[0].record["prompt"]
    lines = check_mismatch(settings.model, base, **pixels, prompt_hash=prompt, allow_mismatch=True)
    wanted = [base.get(name) if value is None else value for name, value in pixels.items()]
    processor = load_processor(settings.model, *wanted)
    (attention, why), (dtype, dtype_why) = choose_attention(settings), choose_dtype(args)
    model = load_model(settings.model, dtype, attention)
    check_tokens(settings.model, model, processor)
    freeze(model, settings)
    store = Pixels(processor, settings.cache_pictures)
    options = {"packing": settings.packing, "max_length": settings.max_length}
    packed = pack_samples(samples, store, model.config, **options, file=settings.train_file)
    packed_eval = pack_samples(evaluated, store, model.config, **options, file=settings.eval_file or "")
    rates = {part: rate for part in PARTS if (rate := getattr(settings, f"{part}_rate")) is not None}
    trainer = SftTrainer(
        model=model,
        args=args,
        train_dataset=Clips(packed, settings.shift, args.seed),
        eval_dataset=Clips(packed_eval) if packed_eval else None,
        data_collator=Collator(
            store, processor.tokenizer.pad_token_id, model.config.image_token_id, settings.packing == "clip"
        ),
        processor=processor,
        record=_record(settings, args, samples, pixel_budget(processor)),
        rates=rates,
    )
    say(
        f"Training {settings.model} on {settings.train_file}",
        *(f"  {line}" for line in lines),
        f"  {len(samples)} questions in {len(packed)} sequences of up to {max(map(len, packed))} tokens"
        f" (packing: {settings.packing})",
        f"  weights {dtype} ({dtype_why}); attention {attention} ({why})",
        *part_table(model, settings, args.learning_rate),
    )
    return Prepared(trainer, packed, resume)


def train(settings: SftSettings, args: TrainingArguments) -> dict[str, float]:
    """Train and write the checkpoint to `args.output_dir`; returns Trainer's metrics (train_loss, train_runtime, …).

    Raises what `prepare` raises.
    """
    started = time.monotonic()
    prepared = prepare(settings, args)
    result = prepared.trainer.train(resume_from_checkpoint=prepared.resume)
    prepared.trainer.save_model(args.output_dir)
    seconds = time.monotonic() - started
    say(f"Checkpoint {args.output_dir}: {result.global_step} steps, {seconds:.0f} s, log in train_log.csv")
    return result.metrics
