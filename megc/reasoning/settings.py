"""Settings of reasoning and fusion over stored answers; nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megc.command import option

OPTIONS = {
    "snap": "an answer outside the allowed ones becomes the nearest of them",
    "number": "one action unit where the question speaks of one, several where it speaks of several",
    "shown": "yes/no answers and the list of action units agree; the surer of the two is kept",
    "joint": "fine and coarse class are chosen together, so that one implies the other",
    "compose": "the composed sentence, and an analysis that says next to nothing, repeat the clip's own answers",
    "analysis": "every analysis (MEGC 2026) is composed of the clip's own answers, also one that is prose already",
}
_PREDICTIONS = Path("result/demo/tiny/predictions.jsonl")


@dataclass(frozen=True)
class ReasonSettings:
    """test/reason_answers.py: stored answers, and what is applied to them."""

    predictions: Path = option(_PREDICTIONS, "rows with answers")
    reason: tuple[Literal[*OPTIONS], ...] = option(
        ("shown", "joint", "compose"),
        f"what to apply; always in this order: {'; '.join(f'{name}: {text}' for name, text in OPTIONS.items())}",
    )
    train: Path | None = option(None, "answered rows of training subjects, to learn from")
    out: Path = option(Path("result/demo/reasoned"), "folder of predictions.jsonl")


@dataclass(frozen=True)
class FuseSettings:
    """test/fuse_answers.py: the model's answers, the flow probe's evidence, and what the weights are fitted on."""

    predictions: Path = option(_PREDICTIONS, "the model's answers")
    evidence: Path = option(Path("dataset/evidence.jsonl"), "of answer_baselines.py --evidence")
    train: Path = option(Path("dataset/train_dataset.jsonl"), "answered, for frequencies and truth")
    out: Path = option(Path("result/demo/fused"), "folder of predictions.jsonl and run.json")
    fit: tuple[Path, ...] = option(
        (),
        "held-out predictions of training subjects: the model weighs as much as they show that it adds to the probe "
        "(default: equal weights)",
    )
    fit_evidence: Path | None = option(
        None, "evidence of the clips of --fit (default: the training part of --evidence)"
    )
