"""Supervised fine-tuning of a Qwen2.5-VL checkpoint on an instruction JSONL, from one CPU to many GPUs.

Order: settings → data (all of it checked) → model → table of what is trained → steps → checkpoint. Nothing is loaded
before the settings fit together, and no step is taken before every row is known to be good.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import EvalPrediction, PretrainedConfig, PreTrainedModel, ProcessorMixin, TrainingArguments

from megc.model import distributed, tiny
from megc.model.attention import Attention, choose_attention
from megc.model.checkpoint import (
    check_mismatch,
    check_tokens,
    inherited_budget,
    load_config,
    load_model,
    load_processor,
    pixel_budget,
    read_training_info,
    save_beside,
)
from megc.model.distributed import before_deepspeed, lock_output, print_main
from megc.model.packing import Packed
from megc.model.parts import ADAPTER_FOLDER, PARTS, add_adapters, count_values, load_adapters, part_of, save_adapters
from megc.model.samples import PictureStore, Sample
from megc.model.weight_checks import check_weights
from megc.training.collate import Clips, Collator, answer_loss, answer_weights, mark_answers, token_losses
from megc.training.data import TrainingData, question_kinds, read_training_data, subjects_of
from megc.training.resume import Beginning, find_beginning
from megc.training.settings import SftSettings, TrainingFlags, adapter_targets, check_settings
from megc.training.trainer import CheckpointTrainer, count_steps, run_training
from megc.training.training_info import training_info
from megc.vqa.instructions import read_prompts


class SftTrainer(CheckpointTrainer):
    """Trainer for packed clips: the loss is on answers, and evaluation counts right answers by kind of question.

    `processor` is written beside the weights of every checkpoint, so that each can be loaded; `dtype`: of the weights
    that adapters are merged into; `loss_per`: see `collate.answer_loss`; `kinds`: for each sequence of the evaluation
    data, the kind of each of its questions.
    """

    def __init__(
        self,
        *args: object,
        processor: ProcessorMixin,
        dtype: torch.dtype,
        loss_per: str = "token",
        kinds: Sequence[Sequence[str]] = (),
        **kwargs: object,
    ) -> None:
        self.processor, self.dtype, self.loss_per, self.kinds = processor, dtype, loss_per, kinds
        self.end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        super().__init__(
            *args,
            compute_loss_func=self.loss_of,
            compute_metrics=self.metrics_of,
            # logits (B, K, V) of a whole evaluation would not fit into memory: two numbers a place are kept
            preprocess_logits_for_metrics=lambda logits, labels: (logits.argmax(-1), token_losses(logits, labels)),
            **kwargs,
        )

    # ---- loss and metrics

    def weights_of(self, targets: torch.Tensor) -> torch.Tensor:
        """What each target (B, K) counts for, float (B, K)."""
        return answer_weights(targets, end=self.end, loss_per=self.loss_per)

    def loss_of(
        self, outputs: dict, targets: torch.Tensor, num_items_in_batch: torch.Tensor | float | None = None
    ) -> torch.Tensor:
        """Loss of a micro-batch, as Trainer calls it; `num_items_in_batch`: the sum of weights of the whole step."""
        return answer_loss(outputs, targets, num_items_in_batch, end=self.end, loss_per=self.loss_per)

    def metrics_of(self, prediction: EvalPrediction) -> dict[str, float]:
        """Loss and share of right answers over the whole evaluation data, however it is cut into batches.

        The loss replaces Trainer's, which is the mean of the batches' means.
        """
        predicted, losses = map(np.asarray, prediction.predictions)  # (N, K) each, K of the longest batch
        targets = np.asarray(prediction.label_ids)
        weights = self.weights_of(torch.from_numpy(targets)).numpy()
        marks = mark_answers(predicted, targets, self.end)
        marks_by_kind = defaultdict(list)
        for kinds, row in zip(self.kinds, marks, strict=True):
            for kind, mark in zip(kinds, row, strict=True):
                marks_by_kind[kind].append(mark)
        return {
            "loss": float((losses * weights).sum() / weights.sum()),
            "answers_right": float(np.mean([mark for row in marks for mark in row])),
            **{f"eval_right_{kind}": float(np.mean(row)) for kind, row in sorted(marks_by_kind.items())},
        }

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor | None:
        # Trainer counts tokens; with --loss_per question an answer counts as one, however long it is
        if not batch_samples:
            return None
        total = sum(self.weights_of(batch["labels"]).sum() for batch in batch_samples).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    # ---- checkpoints

    def part_of(self, name: str) -> str:
        return part_of(name)

    def write_beside(self, folder: Path) -> None:
        save_beside(folder, self.processor, self.info_now())

    def check_saved(self, folder: Path | str) -> None:
        check_weights(folder, read_training_info(folder).get("weights_hash"))

    def load_saved(self, model: nn.Module, folder: Path | str) -> None:
        if isinstance(model, PeftModel):
            load_adapters(model, folder)
            return
        saved = type(model).from_pretrained(folder, dtype=model.dtype, use_safetensors=True)
        model.load_state_dict(saved.state_dict(), strict=True)

    def write_final(self, folder: Path) -> None:
        """The checkpoint; with adapters, the merged one, and the adapters in a folder in it."""
        if not isinstance(self.model, PeftModel):
            super().write_final(folder)
            return
        adapters = folder / ADAPTER_FOLDER
        self.save_model(str(adapters))
        if self.args.should_save:
            # Merged from what was just written, in a model of its own: the trained one may be partitioned by ZeRO-3.
            with distributed.unpartitioned_models():
                load_model(adapters, self.dtype).save_pretrained(folder)
            self.write_beside(folder)

    def _save_weights(self, output_dir: str | None, state_dict: dict | None) -> None:
        if not isinstance(self.model, PeftModel):
            super()._save_weights(output_dir, state_dict)
        elif self.args.should_save:
            save_adapters(self.model, Path(output_dir or self.args.output_dir), state_dict)


def choose_dtype(args: TrainingArguments, adapters: bool = False) -> tuple[torch.dtype, str]:
    """Type of the weights in memory and the reason for it; `adapters`: the weights themselves are not trained."""
    if args.bf16 and distributed.uses_deepspeed(args):
        return torch.bfloat16, "DeepSpeed keeps 32-bit master weights"
    if args.bf16 and adapters:
        return torch.bfloat16, "they are frozen; the adapters keep 32 bits"
    if args.bf16:
        return torch.float32, "AdamW would lose small steps in 16 bits; the passes run in bfloat16"
    return torch.float32, "small enough, or asked for, without --bf16"


def select_trained(model: PreTrainedModel, settings: SftSettings, seed: int) -> PreTrainedModel:
    """`model` with adapters, which alone are trained, or with its frozen parts frozen."""
    targets = adapter_targets(settings)
    if targets:
        return add_adapters(model, targets, settings.lora_rank, settings.lora_alpha, settings.lora_dropout, seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not getattr(settings, f"freeze_{part_of(name)}"))
    return model


def part_table(model: PreTrainedModel, settings: SftSettings, rate: float) -> list[str]:
    """A line a part: parameters of the checkpoint, how many (of them, or of its adapters) are trained, rate."""
    lines = [f"  {'part':<16}{'parameters':>15}{'trained':>15}  learning rate"]
    for part in PARTS:
        members = [(name, parameter) for name, parameter in model.named_parameters() if part_of(name) == part]
        total = sum(count_values(parameter) for name, parameter in members if "lora_" not in name)
        trained = sum(count_values(parameter) for _, parameter in members if parameter.requires_grad)
        part_rate = getattr(settings, f"{part}_rate") or rate
        lines.append(f"  {part:<16}{total:>15,}{trained:>15,}  {f'{part_rate:g}' if trained else 'frozen'}")
    return lines


@dataclass(frozen=True)
class BaseCheckpoint:
    """The checkpoint to start from without its weights; `notes` say where prompt and pixel budget are from."""

    config: PretrainedConfig
    processor: ProcessorMixin
    notes: list[str]


@dataclass(frozen=True)
class CheckedRun:
    """A run whose settings, data and output folder are checked; no weight of it is loaded.

    `packed`, `packed_evaluated`: the sequences of `data`; `info`: the run's `megc.json` to be.
    """

    args: TrainingArguments
    attention: Attention
    data: TrainingData
    base: BaseCheckpoint
    pictures: PictureStore
    packed: list[Packed]
    packed_evaluated: list[Packed]
    info: dict
    beginning: Beginning


@dataclass(frozen=True)
class PreparedRun:
    """Everything that a run needs, ready for step 1."""

    trainer: SftTrainer
    packed: list[Packed]
    beginning: Beginning


def open_base(data: TrainingData, args: TrainingArguments) -> BaseCheckpoint:
    """Configuration and processor of the checkpoint to start from; the tiny one is built if the settings say so.

    Raises DataError for one of another prompt or pixel budget than the data and the settings.
    """
    settings = data.settings
    if settings.build_tiny:
        with args.main_process_first(desc="building the tiny checkpoint"):
            if args.local_process_index == 0 and tiny.ensure(settings.model, data.texts, args.seed):
                print_main(f"Built the tiny checkpoint {settings.model}")
    info = read_training_info(settings.model)
    notes = check_mismatch(
        settings.model,
        info,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        prompt_hash=data.samples[0].record["prompt"],
        prompts=read_prompts(Path(settings.train_file), data.samples[0].pictures),
        allow_mismatch=settings.allow_mismatch,
    )
    budget = inherited_budget(info, settings.min_pixels, settings.max_pixels)
    return BaseCheckpoint(load_config(settings.model), load_processor(settings.model, *budget), notes)


def check_run(settings: SftSettings, args: TrainingArguments) -> CheckedRun:
    """Check settings, data and output folder; what is to be replaced in the folder is deleted.

    Raises ValueError for settings that contradict each other and DataError for data, checkpoints or the folder.
    """
    # 1. settings
    distributed.take_one_gpu(args)
    check_settings(settings, args)
    attention = choose_attention(settings.attention, settings.packing)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # 2. data, down to tokens: a row that is too long ends the run here, not hours later
    data = read_training_data(settings, args.seed)
    base = open_base(data, args)
    pictures = PictureStore(base.processor)
    packed = data.pack(pictures, base.config)
    packed_evaluated = data.pack_evaluated(pictures, base.config)
    # 3. what the run is, against what lies in the output folder
    info = training_info(data, args, pixel_budget(base.processor))
    beginning = find_beginning(args, info, resume=settings.resume, overwrite=settings.overwrite)
    return CheckedRun(args, attention, data, base, pictures, packed, packed_evaluated, info, beginning)


def prepare(settings: SftSettings, args: TrainingArguments) -> PreparedRun:
    """Check everything, load the model, print what will be trained. Raises what `check_run` raises."""
    return load_run(check_run(settings, args))


def load_run(run: CheckedRun) -> PreparedRun:
    """Load the model of the run and print what will be trained."""
    settings, args = run.data.settings, run.args
    if distributed.uses_deepspeed(args):
        distributed.start_deepspeed()
    dtype, dtype_why = choose_dtype(args, bool(settings.lora_rank))
    model = load_model(settings.model, dtype, run.attention.implementation)
    check_tokens(settings.model, model, run.base.processor)
    model = select_trained(model, settings, args.seed)
    trainer = _build_trainer(run, model, dtype)
    _print_run(run, [f"weights {dtype} ({dtype_why}); attention {run.attention}"], model)
    return PreparedRun(trainer, run.packed, run.beginning)


def _build_trainer(run: CheckedRun, model: PreTrainedModel, dtype: torch.dtype) -> SftTrainer:
    """The trainer of the run: its data, its collator, and rates by part."""
    settings, processor = run.data.settings, run.base.processor
    kinds = question_kinds(run.data.evaluated)
    rates = {part: getattr(settings, f"{part}_rate") for part in PARTS}
    return SftTrainer(
        model=model,
        args=run.args,
        train_dataset=Clips(run.packed, settings.shift, run.args.seed),
        eval_dataset=Clips(run.packed_evaluated) if run.packed_evaluated else None,
        data_collator=Collator(
            run.pictures,
            processor.tokenizer.pad_token_id,
            packed_attention=settings.packing == "clip",
            additive=settings.attention == "eager",
        ),
        training_info=run.info,
        rates={part: rate for part, rate in rates.items() if rate is not None},
        processor=processor,
        dtype=dtype,
        loss_per=settings.loss_per,
        kinds=[[kinds[name] for name in sequence.ids] for sequence in run.packed_evaluated],
    )


def _print_run(run: CheckedRun, weights: list[str], model: PreTrainedModel) -> None:
    """Print what is trained on what, before the first step."""
    settings, data, args = run.data.settings, run.data, run.args
    steps = count_steps(len(run.packed), args.world_size, args)
    lines = [
        *run.base.notes,
        *run.beginning.lines,
        f"{len(data.samples)} questions in {len(run.packed)} sequences of up to {max(map(len, run.packed))} tokens"
        f" (packing: {settings.packing}, loss per {settings.loss_per})",
        str(steps),
        *([steps.warning] if steps.warning else []),
        *_evaluation_line(data.evaluated),
        *weights,
    ]
    print_main(
        f"Training {settings.model} on {settings.train_file}",
        *(f"  {line}" for line in lines),
        *part_table(model, settings, args.learning_rate),
    )


def _evaluation_line(evaluated: list[Sample]) -> list[str]:
    subjects = ", ".join(subjects_of(evaluated))
    return [f"evaluated on {len(evaluated)} questions of {subjects}"] if evaluated else []


def train(settings: SftSettings, args: TrainingArguments) -> dict[str, float]:
    """Train and write the checkpoint to `args.output_dir`; returns Trainer's metrics (train_loss, train_runtime, …).

    Where the same run is finished already, nothing is done and no metrics come back. Raises what `check_run` and
    `run_training` raise.
    """
    run = check_run(settings, args)
    if run.beginning.finished:
        steps = run.beginning.finished
        print_main(f"Checkpoint {args.output_dir} is already finished: {steps} with these settings and data")
        return {}
    prepared = load_run(run)
    return run_training(prepared.trainer, prepared.beginning)


def train_locked(flags: TrainingFlags) -> None:
    """`train` with the output folder held, by the flags of train.py."""
    if flags.values["deepspeed"] or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        before_deepspeed()
    with lock_output(flags.values["output_dir"]):  # before processes meet: a refusal leaves none waiting
        train(*flags.settings())
