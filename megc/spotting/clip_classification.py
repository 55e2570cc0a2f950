"""test/classify_clips.py: classes of the clips of a list, and how many are right: UAR and WAR."""

import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from megc.csv_tables import write_table
from megc.files import read_json, sha256_of
from megc.model.checkpoint import read_training_info
from megc.model.weights import weights_hash
from megc.parsing import parse_json
from megc.problems import DataError, Problems
from megc.records import Share, check_record
from megc.spotting.clip_dataset import crop_square
from megc.spotting.clip_lists import CLASSES_NAME, ClipListSource, crop_recipes, list_hash, read_clip_list
from megc.spotting.masking import normalise_frames
from megc.spotting.settings import ClassifyClipsSettings
from megc.spotting.video_encoders import VideoClassifier, check_crop, load_classifier
from megc.spotting.video_trainer import mean_recall

PART_NAME = "predictions.part.jsonl"
_LEVEL = (2.5, 97.5)  # percentiles of the bootstrap


def clip_views(source: ClipListSource, index: int, size: int, crops: int) -> torch.Tensor:
    """What the network sees of clip `index` of a list: (starts · crops, T, 3, size, size); a square picture has one
    crop."""
    views = []
    for start in range(source.starts):
        frames = source.frames(index * source.starts + start, None)
        number = 1 if frames.shape[1] == frames.shape[2] else crops
        shares = np.linspace(0, 1, number) if number > 1 else [0.5]
        views += [normalise_frames(crop_square(frames, size, (share, share))) for share in shares]
    return torch.stack(views)


@torch.no_grad()
def class_probabilities(model: VideoClassifier, views: torch.Tensor, batch: int) -> np.ndarray:
    """Mean over the views (V, T, 3, H, W) of the probabilities of the classes, (classes,)."""
    device = next(model.parameters()).device
    logits = torch.cat([model(part.to(device))["logits"] for part in views.split(batch)])
    return logits.float().softmax(-1).mean(0).cpu().numpy()


def classify_clips(settings: ClassifyClipsSettings, problems: Problems) -> str:
    """Write `predictions.csv`, `metrics.csv` and `confusion.csv` of a list; returns the metrics in words.

    Raises DataError for a bad list, a checkpoint that is not whole, and clips of other face crops than it learnt from.
    """
    clips = read_clip_list(settings.clips)
    recipes = crop_recipes(clips, settings.crop)
    for recipe in recipes or [{}]:
        check_crop(settings.model, recipe, any_crop=settings.any_crop)
    model = load_classifier(settings.model)
    config = model.video_config
    if (highest := max(clip.label for clip in clips)) >= config.num_labels:
        what = f"has the class {highest}, and the model has {config.num_labels} classes, from 0"
        raise DataError(settings.clips, None, what, "give the list of the classes that it was trained on")
    trained = (read_training_info(settings.model).get("training") or {}).get("stride", 1)
    stride = settings.stride or trained
    source = ClipListSource(clips, config.num_frames, stride, settings.starts)
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    key = sha256_of(
        str(weights_hash(settings.model)), list_hash(clips, settings.clips.parent), str((stride, settings.starts)),
        str(settings.crops),
    )  # fmt: skip
    part = settings.out / PART_NAME
    rows = _resume(part, key, config.num_labels)
    with tqdm(total=len(clips), initial=len(rows), unit="clip", desc="Clips") as bar, part.open("a") as out:
        for index in range(len(rows), len(clips)):
            views = clip_views(source, index, config.image_size, settings.crops)
            rows.append(class_probabilities(model, views, settings.batch).tolist())
            out.write(json.dumps(rows[-1]) + "\n")
            out.flush()
            bar.update()
    summary = _write_results(settings, clips, np.array(rows))
    part.unlink()
    return summary


def _resume(part: Path, key: str, classes: int) -> list[list[float]]:
    """Probabilities that a killed run with the same `key` left, after which the file goes on; else it begins anew.

    A line that is cut or damaged ends them: what is behind it is computed again. Raises DataError for a folder.
    """
    if part.is_dir():
        raise DataError(part, None, "a folder in the place of a file", "delete it, or choose another --out")
    part.parent.mkdir(parents=True, exist_ok=True)
    lines = part.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if part.is_file() else []
    head, rows = json.dumps(key), []
    for line in lines[1:] if lines[:1] == [head] else []:
        with suppress(ValueError, DataError):
            rows.append(check_record(_row_of(classes), parse_json(line), part, len(rows) + 2, ""))
            continue
        break
    part.write_text("".join(f"{line}\n" for line in (head, *map(json.dumps, rows))), encoding="utf-8")
    return rows


@cache
def _row_of(classes: int) -> Any:
    """The contract of a row of probabilities."""
    return Annotated[list[Share], Field(min_length=classes, max_length=classes)]


def recalls_with_intervals(
    labels: np.ndarray, predicted: np.ndarray, resamples: int, seed: int
) -> dict[str, tuple[float, float, float]]:
    """UAR and WAR with the ends of their 95 % intervals.

    Clips (N,) are drawn within their class, so that each resample has all classes.
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    draws = np.empty((resamples, 2))
    for draw in draws:
        chosen = np.concatenate([random.choice(group, len(group)) for group in members])
        draw[:] = mean_recall(labels[chosen], predicted[chosen]), (labels[chosen] == predicted[chosen]).mean()
    values = mean_recall(labels, predicted), float((labels == predicted).mean())
    ends = np.percentile(draws, _LEVEL, axis=0) if resamples else np.full((2, 2), np.nan)
    return {
        name: (value, float(low), float(high))
        for name, value, low, high in zip(("uar", "war"), values, *ends, strict=True)
    }


def _write_results(settings: ClassifyClipsSettings, clips: list, probabilities: np.ndarray) -> str:
    """Write the three tables; returns the metrics in words."""
    labels, predicted = np.array([clip.label for clip in clips]), probabilities.argmax(-1)
    names = [str(number) for number in range(probabilities.shape[1])]
    with suppress(DataError):  # the names of the classes are for people
        named = read_json(settings.clips.parent / CLASSES_NAME, list)
        names = [str(name) for name in named] if len(named) == len(names) else names
    write_table(
        settings.out / "predictions.csv",
        [
            {"clip": str(clip.path), "class": names[clip.label], "predicted": names[choice]}
            | {f"p_{name}": value for name, value in zip(names, row, strict=True)}
            for clip, choice, row in zip(clips, predicted, probabilities, strict=True)
        ],
    )
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, predicted), 1)
    confusion = [
        {"class": name} | dict(zip(names, map(int, row), strict=True)) for name, row in zip(names, counts, strict=True)
    ]
    write_table(settings.out / "confusion.csv", confusion)
    metrics = recalls_with_intervals(labels, predicted, settings.resamples, settings.seed)
    chance = 1 / len(np.unique(labels))
    write_table(
        settings.out / "metrics.csv",
        [
            {"metric": name, "value": value, "low": low, "high": high, "clips": len(clips)}
            for name, (value, low, high) in metrics.items()
        ],
    )
    words = ", ".join(
        f"{name.upper()} {value:.3f} [{low:.3f}, {high:.3f}]" for name, (value, low, high) in metrics.items()
    )
    return f"{len(clips)} clips: {words}; a constant answer has the UAR {chance:.3f}. Tables in {settings.out}"
