"""Settings of a run over a test set, and what of them its predictions depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megc.answers.decoding import Decoding
from megc.answers.endpoint import Endpoint
from megc.commits import software
from megc.files import sha256_of
from megc.model.checkpoint import LoadedCheckpoint, pixel_budget
from megc.model.weights import content_hash


@dataclass(frozen=True)
class RunSettings:
    """What to answer, with what, and where to (see test/generate_answers.py).

    `models`, if there are any, vote together in place of `model`. With `endpoint`, a server answers, and `model`
    gives prompt and pixel budget. `reason`: options of `megc.reasoning.agreement`, applied to the finished answers
    into `out/reasoned`, with what the answered rows of `train` teach.
    """

    model: Path | str
    questions: tuple[Path, ...]
    out: Path
    decoding: Decoding = field(default_factory=Decoding)
    models: tuple[Path | str, ...] = ()
    vote_prompts: tuple[str, ...] = ()
    share_prefix: str = "clip"
    batch_size: int = 16
    blank: str = "none"
    sort: bool = True
    min_pixels: int | None = None
    max_pixels: int | None = None
    allow_mismatch: bool = False
    dtype: str = "auto"
    device: str | None = None
    attention: str | None = None
    threads: int = 0
    overwrite: bool = False
    endpoint: Endpoint | None = None
    reason: tuple[str, ...] = ()
    train: Path | None = None

    @property
    def voters(self) -> tuple[Path | str, ...]:
        """The checkpoints that answer."""
        return self.models or (self.model,)


def hashed_settings(settings: RunSettings, loaded: Sequence[LoadedCheckpoint], prompt: str) -> dict:
    """Everything that decides an answer, for the run's hash.

    Batch size, sharing of prefixes and number of processes do not: a rerun may change them.
    """
    versions = software()["versions"]
    budgets = [pixel_budget(one.processor) for one in loaded]
    return {
        "checkpoints": [checkpoint_hash(path, one) for path, one in zip(settings.voters, loaded, strict=True)],
        "prompt": prompt,
        "vote_prompts": list(settings.vote_prompts),
        "min_pixels": [low for low, _ in budgets],
        "max_pixels": [high for _, high in budgets],
        "dtype": [str(one.model.dtype).removeprefix("torch.") for one in loaded],
        "decoding": settings.decoding.record(),
        "blank": settings.blank,
        "torch": versions["torch"],
        "transformers": versions["transformers"],
    }


def about(settings: RunSettings, loaded: Sequence[LoadedCheckpoint]) -> dict:
    """What is written beside the settings without being compared."""
    return {
        "model": [str(path) for path in settings.voters] if settings.models else str(settings.model),
        "trained": [one.training_info for one in loaded] if settings.models else loaded[0].training_info,
        "questions": [str(file) for file in settings.questions],
        "batch_size": settings.batch_size,
        "share_prefix": settings.share_prefix,
        "device": str(loaded[0].model.device),
        "software": software(),
    }


def checkpoint_hash(model: Path | str, loaded: LoadedCheckpoint) -> str:
    """Hash of a checkpoint: of the content of its folder's files, or the hub's commit of a model by name."""
    if not Path(model).is_dir():
        return sha256_of(str(model), loaded.model.config._commit_hash or "")
    return content_hash(model)
