"""A run whose model sits behind an endpoint: what answers, and what its predictions depend on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megc.answers.answerer import Answerer
from megc.answers.pictures import Pictures
from megc.answers.server import ServedAnswerer
from megc.answers.settings import RunSettings
from megc.answers.two_stage import TwoStage
from megc.commits import software
from megc.model.checkpoint import check_mismatch, load_processor, pixel_budget, read_training_info
from megc.model.distributed import print_main
from megc.model.weights import content_hash
from megc.problems import DataError
from megc.vqa.prompts import PromptSettings


@dataclass(frozen=True)
class Ready:
    """What answers a run's questions; what its predictions depend on (`hashed`); what is noted beside that."""

    answerer: Answerer
    hashed: dict
    about: dict


def served(settings: RunSettings, prompt: str, prompts: Sequence[dict], parts: PromptSettings | None) -> Ready:
    """The served model of `settings.endpoint`. Prompt and pixel budget are those of `settings.model`, a checkpoint's
    folder (its weights may be absent) or a name on the hub, as in a local run.

    The predictions depend on the model's name and its folder, not on the address: what is served there is the
    user's to know. Raises DataError for a mismatch with the checkpoint and for settings that need it in memory.
    """
    local = {
        "--models": settings.models,
        "--vote-prompts": settings.vote_prompts,
        "--jitter": settings.decoding.jitter,
    }
    if asked := [flag for flag, value in local.items() if value]:
        fix = "leave it out, or run without --endpoint"
        raise DataError("--endpoint", None, f"{', '.join(asked)} needs the model in memory", fix)
    record = read_training_info(settings.model)
    wanted = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    asked = {**wanted, "prompt_hash": prompt, "prompts": prompts}
    lines = check_mismatch(settings.model, record, **asked, allow_mismatch=settings.allow_mismatch)
    budget = {name: record.get(name) if value is None else value for name, value in wanted.items()}
    processor = load_processor(settings.model, **budget)
    print_main(f"Asking {settings.endpoint.address}", *(f"  {line}" for line in lines))
    pictures = Pictures(processor, settings.blank, parts)
    answerer = ServedAnswerer(settings.endpoint, pictures.of, settings.decoding, str(settings.model), processor)
    if parts and parts.hierarchy:
        answerer = TwoStage(answerer, parts)
    low, high = pixel_budget(processor)
    hashed = {
        "served": settings.endpoint.name or str(settings.model),
        "checkpoint": content_hash(settings.model) if Path(settings.model).is_dir() else str(settings.model),
        "prompt": prompt,
        "min_pixels": low,
        "max_pixels": high,
        "decoding": settings.decoding.record(),
        "blank": settings.blank,
    }
    about = {
        "endpoint": settings.endpoint.address,
        "model": str(settings.model),
        "trained": record,
        "questions": [str(file) for file in settings.questions],
        "software": software(),
    }
    return Ready(answerer, hashed, about)
