"""From clips, or ME-VQA rows, and pictures on disk to the instruction files: the work of build_instructions.py."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from megc.clips import read_clips
from megc.files import read_json, read_jsonl, write_json, write_jsonl
from megc.motion.centring import centre_folder
from megc.problems import DataError, Problems
from megc.vqa.instructions import (
    build_records,
    clip_picture,
    clip_rows,
    flat_picture,
    link_into,
    question_of,
    row_id,
    with_coarse,
    write_records,
)
from megc.vqa.labels import ClipLabels, coarse_statistics, read_labels
from megc.vqa.prompts import PromptSettings, prompt_hash, prompt_record
from megc.vqa.questions import parse

HIERARCHIES = ("coarse", "statistics")


@dataclass(frozen=True)
class BuildSettings:
    """Where rows and pictures come from, how to ask, and where the instructions go (see build_instructions.py)."""

    clips: Path
    out: Path
    rows: Path | None = None
    frames: Path | None = None
    flow: Path | None = None
    flow_dir: Path | None = None
    centre: bool = False
    images: tuple[str, ...] = ()
    encoding: str | None = None
    scale: float | None = None
    structured: bool = True
    legend: bool = True
    seed: int = 0
    hierarchy: str | None = None
    training: Path | None = None


def prompt_settings(
    settings: BuildSettings, flow: Path, training: Sequence[ClipLabels] | None = None
) -> PromptSettings:
    """How to ask: the look of the flow pictures is what compute_flow.py recorded, unless it is given.

    `training`: labels of the training subjects, for a hierarchy.
    """
    recorded = read_json(flow / "flow.json", missing={}, fix="run data_process/compute_flow.py again")
    return PromptSettings(
        images=settings.images or PromptSettings.images,
        structured=settings.structured,
        legend=settings.legend,
        encoding=settings.encoding or recorded.get("encoding", PromptSettings.encoding),
        scale=settings.scale if settings.scale is not None else recorded.get("scale", PromptSettings.scale),
        hierarchy=training is not None,
        statistics=coarse_statistics(training) if training and settings.hierarchy == "statistics" else (),
    )


def _training_labels(settings: BuildSettings) -> list[ClipLabels] | None:
    if not settings.hierarchy:
        return None
    if settings.hierarchy not in HIERARCHIES:
        raise ValueError(f"unknown hierarchy {settings.hierarchy!r}; choose one of {', '.join(HIERARCHIES)}")
    if settings.training is None:
        what = "a hierarchy tells training clips their true coarse class, so it must know which clips are to train on"
        fix = "split first, then build again with --training dataset/train_dataset.jsonl"
        raise DataError("--hierarchy", None, what, fix)
    return read_labels(settings.training)


def _tell_coarse(records: list[dict], labels: Sequence[ClipLabels], prompt: PromptSettings) -> list[dict]:
    """Records of training subjects with the true coarse class; all others without, to be asked in two stages."""
    known = {label.clip: label.coarse for label in labels}
    return [with_coarse(record, known.get(record["clip"], ""), prompt) for record in records]


def build_files(settings: BuildSettings, problems: Problems) -> str:
    """Write `instructions.jsonl`, `rows.jsonl` (ME-VQA format) and `prompt.json` beside it; returns a summary.

    Raises DataError for a clips or rows file that cannot be read; a row that cannot be asked is a problem.
    """
    root = settings.out.parent
    labels = _training_labels(settings)
    if settings.flow_dir:
        pictures = link_into(root, settings.flow_dir, "flow")
        prompt = prompt_settings(settings, pictures, labels)
        if prompt.encoding == "uv-strain-minmax" and settings.centre:
            pictures = root / "flow_centred"
            centre_folder(settings.flow_dir, pictures)
            prompt = replace(prompt, encoding="uv-strain-centred")
        find = flat_picture(pictures)
    else:
        frames, flow = settings.frames or root / "frames", settings.flow or root / "flow"
        prompt = prompt_settings(settings, flow, labels)
        find = clip_picture(link_into(root, frames, "frames"), link_into(root, flow, "flow"))
    if settings.rows:
        source, numbered = settings.rows, list(read_jsonl(settings.rows))
    else:
        source = settings.clips
        rows = clip_rows(read_clips(settings.clips), settings.seed, problems, settings.clips)
        numbered = [(row_id(row), row) for row in rows]
    records = build_records(numbered, source, find, root, prompt, problems)
    if labels is not None:
        records = _tell_coarse(records, labels, prompt)
    write_records(settings.out, records)
    write_jsonl(root / "rows.jsonl", (record["row"] for record in records))
    write_json(root / "prompt.json", prompt_record(prompt))
    kinds = Counter(parse(question_of(record)).kind for record in records)
    clips = len({record["clip"] for record in records})
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return f"{settings.out}: {len(records)} questions on {clips} clips ({listed}); prompt {prompt_hash(prompt)}"
