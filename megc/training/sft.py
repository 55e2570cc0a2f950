"""Supervised fine-tuning of a Qwen2.5-VL checkpoint on an instruction JSONL, from one CPU to many GPUs.

Order of work: settings → data (all of it checked) → model → table of what is trained → steps → checkpoint. Nothing
is loaded before the settings fit together, and no step is taken before every row is known to be good.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PretrainedConfig, PreTrainedModel, TrainingArguments

from megc.model import distributed, lora, tiny
from megc.model.attention import Attention, choose_attention
from megc.model.checkpoint import (
    check_mismatch,
    check_tokens,
    load_config,
    load_model,
    load_processor,
    pixel_budget,
    read_training_info,
    save_beside,
)
from megc.model.distributed import print_main
from megc.model.packing import Packed, pack_samples
from megc.model.parts import PARTS, count, part_of
from megc.model.samples import PictureStore, Sample, training_texts, vocabulary_beside
from megc.model.weight_checks import check_weights
from megc.problems import DataError, Problems
from megc.training.collate import Clips, Collator
from megc.training.output_folder import PART, empty_part, finished_record, full_disk_named, publish
from megc.training.resume import Beginning, find_beginning
from megc.training.schedule import schedule
from megc.training.settings import SftSettings, check_settings, lora_targets
from megc.training.trainer import SftTrainer
from megc.training.training_info import training_record
from megc.training.validation import question_kinds, read_training_samples, subjects_of
from megc.vqa.instructions import read_prompts


def choose_dtype(args: TrainingArguments, adapters: bool = False) -> tuple[torch.dtype, str]:
    """Type of the weights in memory and the reason for it; `adapters`: the weights themselves are not trained."""
    if args.bf16 and distributed.uses_deepspeed(args):
        return torch.bfloat16, "DeepSpeed keeps 32-bit master weights"
    if args.bf16 and adapters:
        return torch.bfloat16, "they are frozen; the adapters keep 32 bits"
    if args.bf16:
        return torch.float32, "AdamW would lose small steps in 16 bits; the passes run in bfloat16"
    return torch.float32, "small enough, or asked for, without --bf16"


def freeze(model: PreTrainedModel, settings: SftSettings) -> None:
    """Take the frozen parts out of training."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not getattr(settings, f"freeze_{part_of(name)}"))


def what_is_trained(model: PreTrainedModel, settings: SftSettings, seed: int) -> PreTrainedModel:
    """`model` with adapters, which alone are trained, or with its frozen parts frozen."""
    targets = lora_targets(settings)
    if targets:
        return lora.add_adapters(model, targets, settings.lora_rank, settings.lora_alpha, settings.lora_dropout, seed)
    freeze(model, settings)
    return model


def part_table(model: PreTrainedModel, settings: SftSettings, rate: float) -> list[str]:
    """A line a part: parameters of the checkpoint, how many (of them, or of its adapters) are trained, rate."""
    lines = [f"  {'part':<16}{'parameters':>15}{'trained':>15}  learning rate"]
    for part in PARTS:
        own = [(name, parameter) for name, parameter in model.named_parameters() if part_of(name) == part]
        total = sum(count(parameter) for name, parameter in own if "lora_" not in name)
        trained = sum(count(parameter) for _, parameter in own if parameter.requires_grad)
        own_rate = getattr(settings, f"{part}_rate") or rate
        lines.append(f"  {part:<16}{total:>15,}{trained:>15,}  {f'{own_rate:g}' if trained else 'frozen'}")
    return lines


@dataclass(frozen=True)
class Data:
    """Rows to train on and to evaluate on, checked and packed; `lines` say where prompt and pixel budget are from."""

    samples: list[Sample]
    evaluated: list[Sample]
    packed: list[Packed]
    packed_eval: list[Packed]
    store: PictureStore
    config: PretrainedConfig
    lines: list[str]


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs, ready for step 1."""

    trainer: SftTrainer
    packed: list[Packed]
    resume: str | None
    dtype: torch.dtype


@dataclass(frozen=True)
class Examined:
    """A run whose settings and data are checked; no weight of it is loaded. `record`: its `megc.json` to be."""

    settings: SftSettings
    args: TrainingArguments
    attention: Attention
    data: Data
    record: dict
    beginning: Beginning


def read_data(settings: SftSettings, args: TrainingArguments) -> Data:
    """Read, check and pack the rows; weights are not needed for it. The tiny checkpoint is built if asked for.

    Raises DataError for bad rows and for a checkpoint of another prompt or pixel budget.
    """
    samples, evaluated = read_training_samples(settings, args.seed)
    if settings.build_tiny:
        with args.main_process_first(desc="building the tiny checkpoint"):
            texts = training_texts(sample.record for sample in samples) + vocabulary_beside(settings.train_file)
            if args.local_process_index == 0 and tiny.ensure(settings.model, texts, args.seed):
                print_main(f"Built the tiny checkpoint {settings.model}")
    base = read_training_info(settings.model)
    pixels = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    asked = {**pixels, "prompt_hash": samples[0].record["prompt"]}
    prompts = read_prompts(Path(settings.train_file), samples[0].pictures)
    lines = check_mismatch(settings.model, base, **asked, prompts=prompts, allow_mismatch=settings.allow_mismatch)
    wanted = [base.get(name) if value is None else value for name, value in pixels.items()]
    config = load_config(settings.model)
    store = PictureStore(load_processor(settings.model, *wanted), settings.cache_pictures)
    problems = Problems() if settings.skip_bad else None
    options = {"packing": settings.packing, "max_length": settings.max_length, "problems": problems}
    packed = pack_samples(samples, store, config, **options, file=settings.train_file)
    held = settings.eval_file or settings.train_file
    packed_eval = pack_samples(evaluated, store, config, **options, file=held) if evaluated else []
    if problems:
        problems.report()
        used = {name for one in [*packed, *packed_eval] for name in one.ids}
        samples, evaluated = ([one for one in side if one.record["id"] in used] for side in (samples, evaluated))
    return Data(samples, evaluated, packed, packed_eval, store, config, lines)


def examine(settings: SftSettings, args: TrainingArguments) -> Examined:
    """Check settings, data and output folder; what is to be replaced in the folder is deleted.

    Raises ValueError for settings that contradict each other and DataError for data, checkpoints or the folder.
    """
    distributed.take_one_gpu(args)
    check_settings(settings, args)
    attention = choose_attention(settings.attention, settings.packing)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    data = read_data(settings, args)
    record = training_record(settings, args, data.samples, data.evaluated, pixel_budget(data.store.processor))
    return Examined(settings, args, attention, data, record, find_beginning(settings, args, record))


def prepare(settings: SftSettings, args: TrainingArguments) -> Prepared:
    """Check everything, load the model, print what will be trained. Raises what `examine` raises."""
    return load(examine(settings, args))


def load(run: Examined) -> Prepared:
    """Load the model of the run and print what will be trained."""
    settings, args, data, attention = run.settings, run.args, run.data, run.attention
    processor = data.store.processor
    if distributed.uses_deepspeed(args):
        distributed.start_deepspeed()
    dtype, dtype_why = choose_dtype(args, bool(settings.lora_rank))
    model = load_model(settings.model, dtype, attention.implementation)
    attention.settle(model)
    check_tokens(settings.model, model, processor)
    model = what_is_trained(model, settings, args.seed)
    trainer = _trainer(model, settings, args, data, run.record)
    run_steps = schedule(len(data.packed), args.world_size, args)
    print_main(
        f"Training {settings.model} on {settings.train_file}",
        *(f"  {line}" for line in [*data.lines, *run.beginning.lines]),
        f"  {len(data.samples)} questions in {len(data.packed)} sequences of up to {max(map(len, data.packed))} tokens"
        f" (packing: {settings.packing}, loss per {settings.loss_per})",
        f"  {run_steps}",
        *([f"  {run_steps.warning}"] if run_steps.warning else []),
        *_validation_line(data.evaluated),
        f"  weights {dtype} ({dtype_why}); attention {attention}",
        *part_table(model, settings, args.learning_rate),
    )
    return Prepared(trainer, data.packed, run.beginning.checkpoint, dtype)


def _validation_line(evaluated: list[Sample]) -> list[str]:
    subjects = ", ".join(subjects_of(evaluated))
    return [f"  evaluated on {len(evaluated)} questions of {subjects}"] if evaluated else []


def _trainer(
    model: PreTrainedModel, settings: SftSettings, args: TrainingArguments, data: Data, record: dict
) -> SftTrainer:
    kinds = question_kinds(data.evaluated)
    processor, packed = data.store.processor, settings.packing == "clip"
    masks = {"block_mask": settings.attention == "flex_attention", "additive": settings.attention == "eager"}
    return SftTrainer(
        model=model,
        args=args,
        train_dataset=Clips(data.packed, settings.shift, args.seed),
        eval_dataset=Clips(data.packed_eval) if data.packed_eval else None,
        data_collator=Collator(
            data.store, processor.tokenizer.pad_token_id, data.config.image_token_id, packed, **masks
        ),
        processor=processor,
        record=record,
        rates={part: rate for part in PARTS if (rate := getattr(settings, f"{part}_rate")) is not None},
        loss_per=settings.loss_per,
        kinds=[[kinds[name] for name in one.ids] for one in data.packed_eval],
    )


def save(prepared: Prepared, folder: Path | str) -> None:
    """Write the trained checkpoint to `folder`; with adapters, merged, and the adapters beside it. Call everywhere.

    A kill at any moment leaves the folder without the checkpoint or with all of it (see `output_folder`). Raises
    DataError, and leaves none, where the weights are not finite.
    """
    trainer = prepared.trainer
    part = Path(folder) / PART
    if trainer.args.should_save:
        empty_part(folder)
    distributed.wait_for_all()
    with full_disk_named(part, trainer.args.should_save):
        if isinstance(trainer.model, PeftModel):
            _save_merged(prepared, part)
        else:
            trainer.save_model(str(part))
    distributed.wait_for_all()
    if trainer.args.should_save:
        try:
            check_weights(part)
        except DataError:
            shutil.rmtree(part)
            raise
        publish(folder)


def _save_merged(prepared: Prepared, folder: Path) -> None:
    trainer = prepared.trainer
    adapters = folder / lora.FOLDER
    trainer.save_model(str(adapters))
    if trainer.args.should_save:
        with distributed.unpartitioned_models():
            load_model(adapters, prepared.dtype).save_pretrained(folder)
        save_beside(folder, trainer.processor, trainer.record_now())


def train(settings: SftSettings, args: TrainingArguments) -> dict[str, float]:
    """Train and write the checkpoint to `args.output_dir`; returns Trainer's metrics (train_loss, train_runtime, …).

    Where the same run is finished already, nothing is done and no metrics come back. Raises what `examine` raises.
    """
    started = time.monotonic()
    run = examine(settings, args)
    if run.beginning.finished:
        print_main(
            f"Checkpoint {args.output_dir} is already finished: {run.beginning.finished} with these settings and data"
        )
        return {}
    prepared = load(run)
    if prepared.resume and not distributed.uses_deepspeed(args):  # whose states lie in files of its own
        check_weights(prepared.resume, read_training_info(prepared.resume).get("weights_hash"))
    result = prepared.trainer.train(resume_from_checkpoint=prepared.resume)
    if prepared.trainer.took_no_step and finished_record(args.output_dir):
        print_main(
            f"Checkpoint {args.output_dir} is already finished: {result.global_step} steps, and none is left to take"
        )
        return result.metrics
    save(prepared, args.output_dir)
    seconds = time.monotonic() - started
    print_main(
        f"Checkpoint {args.output_dir}: {result.global_step} steps, {seconds:.0f} s, log in train_log.csv and loss.png"
    )
    return result.metrics
