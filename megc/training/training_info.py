"""`megc.json` of a training run: what is trained on what, and whether two runs are the same."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from transformers import TrainingArguments

from megc.commits import software
from megc.files import sha256_of
from megc.model.checkpoint import read_training_info
from megc.model.samples import Sample
from megc.model.weights import file_hash
from megc.motion.recipes import recipes_of
from megc.problems import DataError
from megc.training.data import TrainingData, subjects_of
from megc.vqa.instructions import read_prompt, read_split

# Settings of one call of the program, which say nothing about what it trains.
OF_THE_CALL = ("resume", "resume_from_checkpoint", "overwrite", "plan", "clips", "gpus", "gpu", "show_sample")
# Settings that change where a run writes and how fast it is, not what it computes. The files that they name count by
# their content.
_NEUTRAL = frozenset(
    (
        *("output_dir", "logging_dir", "run_name", "train_file", "eval_file", "model", "build_tiny", "allow_mismatch"),
        *("start_from", "any_crop"),
        *("save_strategy", "save_steps", "save_total_limit", "save_only_model", "report_to", "disable_tqdm"),
        *("log_level", "log_level_replica", "log_on_each_node", "logging_first_step", "skip_memory_metrics"),
        *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor"),
        *("dataloader_persistent_workers", "local_rank", "ddp_timeout", "push_to_hub", "hub_token"),
    )
)
_OF_THE_RUN = ("base", "base_hash", "prompt_hash", "min_pixels", "max_pixels")
_OF_THE_DATA = ("content_hash", "rows_hash", "validation_subjects", "split")


def training_info(data: TrainingData, args: TrainingArguments, budget: tuple[int, int]) -> dict:
    """`megc.json` of the checkpoint to be (see `checkpoint`); `budget`: fewest and most pixels of a picture.

    Raises DataError when the rows have different prompts.
    """
    settings, samples, evaluated = data.settings, data.samples, data.evaluated
    file = Path(settings.train_file)
    prompts = sorted({sample.record["prompt"] for sample in [*samples, *evaluated]})
    if len(prompts) > 1:
        what = f"{len(prompts)} different prompts in one file"
        raise DataError(file, None, what, "build all of it with the same prompt settings")
    prompt = read_prompt(file)
    training = {**dataclasses.asdict(settings), **args.to_sanitized_dict(), "processes": args.world_size}
    return {
        "kind": "trained",
        "base": settings.model,
        "base_hash": base_hash(settings.model),
        "prompt_hash": prompts[0],
        "prompt": prompt if prompt.get("hash") == prompts[0] else None,
        "recipes": picture_recipes(picture for sample in samples for picture in sample.pictures),
        "min_pixels": budget[0],
        "max_pixels": budget[1],
        "data": {
            "file": str(file),
            "rows": len(samples),
            "rows_hash": sha256_of(*sorted(sample.record["id"] for sample in samples)),
            "content_hash": samples_hash([*samples, *evaluated]),
            "clips": len({sample.clip for sample in samples}),
            "subjects": subjects_of(samples),
            "validation_subjects": subjects_of(evaluated),
            "split": read_split(file).get("hash"),
        },
        "training": {name: value for name, value in training.items() if name not in OF_THE_CALL},
        **software(),
    }


def picture_recipes(pictures: Iterable[Path | str]) -> dict[str, list[dict]]:
    """Settings of crops and flow pictures by kind (see `motion.recipes`), the usual ones first."""
    recipes = recipes_of(map(Path, pictures))
    return {
        kind: [json.loads(recipe) for recipe in sorted(paths, key=lambda recipe: -len(paths[recipe]))]
        for kind, paths in recipes.items()
    }


def samples_hash(samples: Iterable[Sample]) -> str:
    """Hash of the records and of the bytes of their pictures: the same ids may stand for other answers."""
    samples = list(samples)
    records = [json.dumps(sample.record, sort_keys=True) for sample in samples]
    pictures = sorted({picture for sample in samples for picture in sample.pictures})
    return sha256_of(*records, *(file_hash(picture) for picture in pictures))


def differences(saved: dict, info: dict) -> list[str]:
    """What `info` would train otherwise than the run of `saved` did, a phrase each; empty for the same run.

    Versions of libraries do not count, nor settings that only one of two releases has.
    """
    saved, info = (json.loads(json.dumps(value)) for value in (saved, info))  # as both are in a file: no tuples
    pairs = [(name, saved.get(name), info.get(name)) for name in _OF_THE_RUN]
    pairs += [(name, saved.get("data", {}).get(name), info.get("data", {}).get(name)) for name in _OF_THE_DATA]
    before, now = saved.get("training", {}), info.get("training", {})
    pairs += [(name, before[name], now[name]) for name in now if name in before and name not in _NEUTRAL]
    return [_phrase(name, before, now) for name, before, now in pairs if before != now]


def _phrase(name: str, before: object, now: object) -> str:
    if name in ("content_hash", "rows_hash"):
        return "the rows or their pictures differ" if before else "its rows and pictures are not recorded"
    if name == "base_hash":
        return "the checkpoint to start from differs"
    return f"{name} is {now} now, and was {before}"


def base_hash(model: str) -> str | None:
    """Hash of the `megc.json` of the checkpoint to start from, which knows its weights; None where it has none."""
    base = {key: value for key, value in read_training_info(model).items() if key not in ("versions", "git")}
    return sha256_of(json.dumps(base, sort_keys=True)) if base else None
