"""Training log and loss plot beside the checkpoint: `train_log.csv` and `loss.png`."""

import csv
import io
import time
from pathlib import Path

from matplotlib.figure import Figure
from transformers import TrainerCallback, TrainerState, TrainingArguments

from megc.files import figure_png, write_bytes, write_text

COLUMNS = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_answers_right", "seconds")
_SPEED = ("_runtime", "_per_second", "_time")  # ends of metrics that Trainer adds: no results


_STEEP = 0.1  # the lowest loss as a share of the highest, from which on the axis is logarithmic


def log_csv(history: list[dict]) -> str:
    """Trainer's log history as CSV: COLUMNS, and one more for each other metric of the evaluation data."""
    metrics = {name for row in history for name in row if name.startswith("eval_") and not name.endswith(_SPEED)}
    text = io.StringIO()
    columns = (*COLUMNS, *sorted(metrics.difference(COLUMNS)))
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    # Trainer's last row, a summary of the run, has neither
    writer.writerows(row for row in history if "loss" in row or "eval_loss" in row)
    return text.getvalue()


def loss_png(history: list[dict]) -> bytes:
    """PNG of `loss_figure`."""
    return figure_png(loss_figure(history))


def loss_figure(history: list[dict]) -> Figure:
    """The training loss by step and, where there was an evaluation, validation loss and right answers.

    The axis of a loss that falls to a tenth or less is logarithmic: on another one it would look flat from there on.
    """
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for name, label, style in (("loss", "training", "-"), ("eval_loss", "validation", "o-")):
        points = [(row["step"], row[name]) for row in history if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    losses = [row[name] for row in history for name in ("loss", "eval_loss") if name in row]
    axes.set(xlabel="step", ylabel="loss")
    if losses and 0 < min(losses) <= _STEEP * max(losses):
        axes.set_yscale("log")
        axes.grid(axis="y", which="both", color="#e3e6ea", linewidth=0.6)
    else:
        axes.set_ylim(0, None)
    axes.xaxis.get_major_locator().set_params(integer=True)
    right = [(row["step"], row["eval_answers_right"]) for row in history if "eval_answers_right" in row]
    if right:
        other = axes.twinx()
        other.plot(*zip(*right, strict=True), "s--", color="tab:green", label="answers right", markersize=4)
        other.set(ylabel="share of validation answers right", ylim=(0, 1))
        other.legend(loc="lower left")
    axes.legend(loc="upper right")
    return figure


class LossLog(TrainerCallback):
    """Keeps both files up to date: the CSV with every log line, the picture with every evaluation and save.

    A resumed run goes on in them, in seconds too.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        # seconds of a resumed run go on from the last logged ones: the time between the runs does not count
        spent = [row["seconds"] for row in state.log_history if "seconds" in row]
        self.started = time.monotonic() - max(spent, default=0.0)

    def on_log(self, args, state, control, **kwargs) -> None:
        state.log_history[-1].setdefault("seconds", round(time.monotonic() - self.started, 1))
        if state.is_world_process_zero:
            write_text(Path(args.output_dir) / "train_log.csv", log_csv(state.log_history))

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        self._write_plot(args, state)

    def on_save(self, args, state, control, **kwargs) -> None:
        self._write_plot(args, state)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self._write_plot(args, state)

    def _write_plot(self, args: TrainingArguments, state: TrainerState) -> None:
        if state.is_world_process_zero and any("loss" in row for row in state.log_history):
            write_bytes(Path(args.output_dir) / "loss.png", loss_png(state.log_history))
