"""transformers' Trainer with what Qwen2.5-VL needs: a resume that loads weights, rates by part, whole checkpoints."""

import csv
import io
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import EvalPrediction, ProcessorMixin, Trainer, TrainerCallback

from megc.files import write_text
from megc.model.checkpoint import save_beside
from megc.model.collate import Clips, answer_loss, answers_right

PARTS = ("vision", "merger", "language_model")
LOG_COLUMNS = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_answers_right", "seconds")


def part_of(name: str) -> str:
    """Part of the model that the parameter `name` belongs to; embeddings and output head are of the language model."""
    if "visual." not in name:
        return "language_model"
    return "merger" if "visual.merger." in name else "vision"


def count(parameter: nn.Parameter) -> int:
    """Number of values, also where ZeRO-3 holds only a share of them."""
    return getattr(parameter, "ds_numel", parameter.numel())


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether the parameter has two dimensions or more, also where ZeRO-3 holds only a share of it."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) > 1


class SftTrainer(Trainer):
    """Trainer for packed clips.

    `processor` and `record` are written beside the weights of every checkpoint, so that each can be loaded;
    `rates`: learning rate by part, for those that differ from the common one.
    """

    def __init__(self, *args, processor: ProcessorMixin, record: dict, rates: dict[str, float], **kwargs) -> None:
        self.processor, self.record, self.rates = processor, record, rates
        end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        super().__init__(
            *args,
            compute_loss_func=answer_loss,
            compute_metrics=lambda prediction: _metrics(prediction, end),
            preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
            **kwargs,
        )
        self.add_callback(_Epoch(self.train_dataset))
        self.add_callback(_LogFile())

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Groups of parameters by part (for its rate) and by whether weight decay applies: to matrices.

        The base class goes by names and would decay the vision tower's norms.
        """
        model = self.model if model is None else model
        if self.optimizer is None:
            groups = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((part_of(name), is_matrix(parameter)), []).append(parameter)
            made = [
                {
                    "params": parameters,
                    "weight_decay": self.args.weight_decay if decay else 0.0,
                    "lr": self.rates.get(part, self.args.learning_rate),
                }
                for (part, decay), parameters in groups.items()
            ]
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = kind(made, **settings)
        return self.optimizer

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        # The base class matches names with strict=False, and saved Qwen2.5-VL names differ from those in memory:
        # it would resume from the initial weights (huggingface/transformers#43701).
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        target = self.accelerator.unwrap_model(self.model if model is None else model)
        saved = type(target).from_pretrained(resume_from_checkpoint, dtype=target.dtype, use_safetensors=True)
        target.load_state_dict(saved.state_dict(), strict=True)

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            save_beside(folder, self.processor, self.record)
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; megc.json has the settings


def _metrics(prediction: EvalPrediction, end: int) -> dict[str, float]:
    right, total = answers_right(np.asarray(prediction.predictions), np.asarray(prediction.label_ids), end)
    return {"answers_right": right / total}


class _Epoch(TrainerCallback):
    """Tells the data which epoch begins, also after a resume in the middle of one."""

    def __init__(self, data: Clips) -> None:
        self.data = data

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.data.epoch = int((state.epoch or 0) + 1e-6)


class _LogFile(TrainerCallback):
    """Keeps `train_log.csv` beside the checkpoint; a resumed run goes on in it."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_log(self, args, state, control, **kwargs) -> None:
        state.log_history[-1].setdefault("seconds", round(time.monotonic() - self.started, 1))
        if state.is_world_process_zero:
            text = io.StringIO()
            writer = csv.DictWriter(text, LOG_COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for row in state.log_history if "loss" in row or "eval_loss" in row)
            write_text(Path(args.output_dir) / "train_log.csv", text.getvalue())
