"""From clips, or ME-VQA rows, and pictures on disk to the instruction files: the work of build_instructions.py."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from megc.clips import read_clips
from megc.files import lock_folder, read_json, read_jsonl, write_bytes, write_json, write_jsonl
from megc.motion.flow_pictures import centre_folder
from megc.problems import DataError, Problem, Problems
from megc.splits import make_folds, select, subject_key, write_folds
from megc.vqa.instructions import (
    build_records,
    clip_picture,
    clip_rows,
    flat_picture,
    group_by_clip,
    link_into,
    question_kind,
    read_records,
    rebase,
    row_id,
    row_key,
    with_coarse,
    write_records,
)
from megc.vqa.labels import ClipLabels, coarse_statistics, read_labels
from megc.vqa.prompts import PromptSettings, prompt_hash, prompt_record
from megc.vqa.settings import HIERARCHIES, BuildSettings, SplitSettings

LINKS = ("frames", "flow")  # to pictures elsewhere, beside the instructions


def prompt_settings(
    settings: BuildSettings, flow: Path, training: Sequence[ClipLabels] | None = None
) -> PromptSettings:
    """How to ask: the look of the flow pictures is what compute_flow.py recorded, unless it is given.

    `training`: labels of the training subjects, for a hierarchy.
    """
    recorded = read_json(flow / "flow.json", missing={}, fix="run data_process/compute_flow.py again")
    return PromptSettings(
        images=settings.images,
        structured=not settings.bare,
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


def _join_records(parts: dict[Path, list[dict]], problems: Problems) -> list[dict]:
    """Records of several sources, in order, a clip's adjacent; a question that two of them have is a problem."""
    records: dict[tuple[str, ...], dict] = {}
    for file, part in parts.items():
        for record in part:
            with problems.collect():
                if row_key(record["row"]) in records:
                    raise DataError(file, record["id"], "stands in another of the files too", "give it once")
                records[row_key(record["row"])] = record
    return group_by_clip(records.values())


def _tell_coarse(records: list[dict], labels: Sequence[ClipLabels], prompt: PromptSettings) -> list[dict]:
    """Records of training subjects with the true coarse class; all others without, to be asked in two stages."""
    known = {label.clip: label.coarse for label in labels}
    return [with_coarse(record, known.get(record["clip"], ""), prompt) for record in records]


def _numbered_rows(
    settings: BuildSettings, problems: Problems
) -> tuple[dict[Path, list[tuple[int | str, dict]]], str]:
    """Numbered rows by the file that they come from, and words on the clips that are left out.

    Raises DataError for a file without a row, and for clips without a question.
    """
    if settings.rows:
        sources = {file: list(read_jsonl(file)) for file in settings.rows}
        for file, numbered in sources.items():
            if not numbered:
                fix = "give an ME-VQA file, such as me_vqa_samm_test_to_answer.jsonl"
                raise DataError(file, None, "no row in the file", fix)
        return sources, ""
    clips = read_clips(settings.clips)
    rows = clip_rows(clips, settings.seed, problems, settings.clips)
    reasons = Counter(clip.left_out for clip in clips if not clip.coarse)
    listed = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
    words = f"{reasons.total()} of {len(clips)} clips are left out ({listed})"
    if not rows:
        fix = "give clips with labels, or their questions with --rows (the challenge's …_to_answer.jsonl)"
        raise DataError(settings.clips, None, f"no question to write: {words}", fix)
    return {settings.clips: [(row_id(row), row) for row in rows]}, f"\n{words}" if reasons else ""


@contextmanager
def _pictures_as_before(root: Path) -> Iterator[None]:
    """Where the block fails, put the links to pictures in `root` back as they were, and take new centred ones away:
    instructions that stand there go on to name the same pictures."""
    links = {root / name: os.readlink(root / name) if (root / name).is_symlink() else "" for name in LINKS}
    centred = root / "flow_centred"
    had_centred = centred.exists()
    try:
        yield
    except BaseException:
        for link, target in links.items():
            if link.is_symlink():
                link.unlink()
            if target:
                link.symlink_to(target, target_is_directory=True)
        if not had_centred:
            shutil.rmtree(centred, ignore_errors=True)
        raise


def build_files(settings: BuildSettings, problems: Problems) -> str:
    """Write `instructions.jsonl`, `rows.jsonl` (ME-VQA format) and `prompt.json` beside it; returns a summary.

    Raises DataError, and writes nothing, for a clips or rows file that cannot be read, where no question is left, and
    where another run builds in that folder; a row that cannot be asked is a problem.
    """
    with lock_folder(settings.out.parent, "instructions"), _pictures_as_before(settings.out.parent):
        return _build_files(settings, problems)


def _build_files(settings: BuildSettings, problems: Problems) -> str:
    root = settings.out.parent
    labels = _training_labels(settings)
    sources, left_out = _numbered_rows(settings, problems)
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
    records = _join_records(
        {file: build_records(numbered, file, find, root, prompt, problems) for file, numbered in sources.items()},
        problems,
    )
    if not records:
        file, count = next(iter(sources)), sum(map(len, sources.values()))
        raise DataError(file, None, f"none of {count} rows can be asked", "mend the other problems")
    if labels is not None:
        classless = sum(not label.coarse for label in labels)
        if classless:
            what = f"{classless} of {len(labels)} training clips have no coarse class and are asked like test clips"
            problems.add(Problem(str(settings.training), None, what, "give their rows with the coarse question"))
        records = _tell_coarse(records, labels, prompt)
    write_records(settings.out, records)
    write_jsonl(root / "rows.jsonl", (record["row"] for record in records))
    write_json(root / "prompt.json", prompt_record(prompt))
    kinds = Counter(question_kind(record) for record in records)
    clips = len({record["clip"] for record in records})
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    prompt_words = f"prompt {prompt_hash(prompt)}"
    return f"{settings.out}: {len(records)} questions on {clips} clips ({listed}); {prompt_words}{left_out}"


def write_sides(
    instructions: list[Path],
    train: Path | None,
    test: Path | None,
    protocol: str = "holdout",
    fold: int = 0,
    **settings: int | float,
) -> str:
    """Split instruction files by subject and write the training side, the test side, or both; returns a summary.

    The folds are frozen beside each file written, as `<name>.split.json`. `settings` are those of `make_folds`.
    A mixed picture of subjects of both sides is on neither.
    Nothing is written before all of it is known. Raises DataError for files that cannot be read or hold no question,
    for a picture that does not lie below the folder of the file to write, and while another run writes the same file;
    ValueError for a fold that does not exist, a side without a question, and a file to write that is to be read.
    """
    outputs = [path for path in (train, test) if path]
    if not outputs:
        raise ValueError("name a file for the training side or for the test side")
    places = [path.resolve() for path in outputs]
    if len(set(places)) < len(places) or {path.resolve() for path in instructions} & set(places):
        raise ValueError("the instructions, the training side and the test side must be different files")
    files = {path: read_records(path) for path in instructions}
    everything = [record for records in files.values() for record in records]
    folds = make_folds(everything, protocol, **settings)
    if not 0 <= fold < len(folds):
        raise ValueError(f"fold {fold} does not exist: {protocol} gives folds 0 to {len(folds) - 1}")
    chosen = folds[fold]
    sides = {
        path: _side_of(files, path, subjects, f"{name} side of {chosen.name} ({protocol})")
        for name, path, subjects in (("training", train, chosen.train), ("test", test, chosen.test))
        if path
    }
    lines = []
    with ExitStack() as locks:
        for path in sides:  # two splits at once would leave one side of each
            locks.enter_context(lock_folder(path.parent, f"split.{path.stem}"))
        for path, side in sides.items():
            write_records(path, side)
            for record in {file.with_name("prompt.json") for file in files if file.parent != path.parent}:
                if record.is_file():  # what the prompt was made of goes with the data, and on into the checkpoint
                    write_bytes(path.with_name("prompt.json"), record.read_bytes())
            write_folds(path.with_suffix(".split.json"), folds, {"protocol": protocol, "fold": fold, **settings})
            clips, subjects = ({key(record) for record in side} for key in (itemgetter("clip"), subject_key))
            lines.append(f"{path}: {len(side)} questions on {len(clips)} clips of {len(subjects)} subjects")
    apart = len(everything) - len(select(everything, chosen.train)) - len(select(everything, chosen.test))
    if apart:
        lines.append(f"{apart} questions on mixed pictures of subjects of both sides are on neither side")
    return "\n".join([*lines, f"split {chosen.name} ({protocol}), hash {chosen.hash}"])


def _side_of(files: dict[Path, list[dict]], path: Path, subjects: tuple[str, ...], name: str) -> list[dict]:
    """Records of the subjects, with picture paths relative to the folder of `path`. Raises ValueError for none."""
    side: list[dict] = []
    for file, records in files.items():
        side += rebase(select(records, subjects), file, path.parent)
    if not side:
        what = f"the {name} would be empty, with {len(subjects)} subjects, so nothing is written"
        raise ValueError(f"{path}: {what}; choose other folds or another share, or give more subjects")
    return side


def split_dataset(settings: SplitSettings, _problems: Problems) -> str:
    """Write the sides that the settings name; returns a summary. See `write_sides`."""
    return write_sides(
        list(settings.instructions),
        settings.train,
        settings.test,
        settings.protocol,
        settings.fold,
        folds=settings.folds,
        test_fraction=settings.test_fraction,
        seed=settings.seed,
    )
