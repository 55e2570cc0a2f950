"""transformers' Trainer with what Qwen2.5-VL needs: a resume that loads weights, rates by part, whole checkpoints."""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import EvalPrediction, ProcessorMixin, Trainer, TrainerCallback

from megc.model import distributed, lora
from megc.model.attention import block_mask
from megc.model.checkpoint import save_beside
from megc.model.parts import is_matrix, part_of
from megc.problems import DataError
from megc.training.collate import Clips, answer_loss, answer_weights, answers_marked, token_losses
from megc.training.log import KIND_PREFIX, LossLog
from megc.training.output_folder import full_disk_named, remove_checkpoint


class SftTrainer(Trainer):
    """Trainer for packed clips.

    `processor` and `record` are written beside the weights of every checkpoint, so that each can be loaded;
    `rates`: learning rate by part, for those that differ from the common one; `loss_per`: see `collate.answer_loss`;
    `kinds`: for each sequence of the evaluation data, the kind of each of its questions.
    """

    def __init__(
        self,
        *args,
        processor: ProcessorMixin,
        record: dict,
        rates: dict[str, float],
        loss_per: str = "token",
        kinds: Sequence[Sequence[str]] = (),
        **kwargs,
    ) -> None:
        self.processor, self.record, self.rates, self.kinds = processor, record, rates, kinds
        self.took_no_step = True
        end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.weigh = partial(answer_weights, end=end, loss_per=loss_per)
        super().__init__(
            *args,
            compute_loss_func=partial(answer_loss, **self.weigh.keywords),
            compute_metrics=self.metrics_of,
            preprocess_logits_for_metrics=lambda logits, labels: (logits.argmax(-1), token_losses(logits, labels)),
            **kwargs,
        )
        self.add_callback(_Epoch(self.train_dataset))
        self.add_callback(LossLog())

    def metrics_of(self, prediction: EvalPrediction) -> dict[str, float]:
        """Loss and share of right answers over the whole evaluation data, however it is cut into batches.

        The loss replaces Trainer's, which is the mean of the batches' means.
        """
        predicted, losses = map(np.asarray, prediction.predictions)
        targets = np.asarray(prediction.label_ids)
        weights = self.weigh(torch.from_numpy(targets)).numpy()
        marks = answers_marked(predicted, targets, self.weigh.keywords["end"])
        by_kind = defaultdict(list)
        for kinds, row in zip(self.kinds, marks, strict=True):
            for kind, mark in zip(kinds, row, strict=True):
                by_kind[kind].append(mark)
        return {
            "loss": float((losses * weights).sum() / weights.sum()),
            "answers_right": float(np.mean([mark for row in marks for mark in row])),
            **{f"{KIND_PREFIX}{kind}": float(np.mean(found)) for kind, found in sorted(by_kind.items())},
        }

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor | None:
        if not batch_samples:
            return None
        total = sum(self.weigh(batch["labels"]).sum() for batch in batch_samples).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def _prepare_inputs(self, inputs: dict) -> dict:
        inputs = super()._prepare_inputs(inputs)
        if self.data_collator.block_mask:  # made here, since its function holds tensors that must be on the device
            inputs["attention_mask"] = block_mask(inputs["attention_mask"])
        return inputs

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

    def _run_epoch(self, *args, **kwargs) -> None:
        # The base class looks for the end behind a step: resumed at the last one, it would take one more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        self.took_no_step = False
        super()._run_epoch(*args, **kwargs)

    def _save_checkpoint(self, *args, **kwargs) -> None:
        # What an earlier run left under this name goes first: beside its state, half-written files would seem whole.
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists():
            remove_checkpoint(folder)
        distributed.wait_for_all()
        with full_disk_named(folder, self.args.should_save):
            super()._save_checkpoint(*args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        distributed.wait_for_all()  # the state, which says that the checkpoint is whole, is written next

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """Log; stop a run whose weights are lost: AdamW makes NaN of them all, and the loss is then logged as 0.

        Raises DataError for a gradient that is not finite; float16 skips such steps, and goes on.
        """
        super().log(logs, *args, **kwargs)
        if not self.args.fp16 and not math.isfinite(logs.get("grad_norm", 0.0)):
            what = f"the gradient is {logs['grad_norm']} at step {self.state.global_step}: the training has diverged"
            raise DataError(self.args.output_dir, None, what, "lower --learning_rate, or take an earlier checkpoint")

    def record_now(self) -> dict:
        """`megc.json` of a checkpoint that is saved now: the record of the run with its number of steps."""
        return {**self.record, "steps": self.state.global_step}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        # The base class matches names with strict=False, and saved Qwen2.5-VL names differ from those in memory:
        # it would resume from the initial weights (huggingface/transformers#43701).
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        target = self.accelerator.unwrap_model(self.model if model is None else model)
        if isinstance(target, PeftModel):
            lora.load_adapters(target, resume_from_checkpoint)
            return
        saved = type(target).from_pretrained(resume_from_checkpoint, dtype=target.dtype, use_safetensors=True)
        target.load_state_dict(saved.state_dict(), strict=True)

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        if isinstance(self.model, PeftModel):
            if self.args.should_save:
                lora.save_adapters(self.model, folder, state_dict)
        else:
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            save_beside(folder, self.processor, self.record_now())
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; megc.json has the settings


class _Epoch(TrainerCallback):
    """Tells the data which epoch begins, also after a resume in the middle of one."""

    def __init__(self, data: Clips) -> None:
        self.data = data

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.data.epoch = int((state.epoch or 0) + 1e-6)
