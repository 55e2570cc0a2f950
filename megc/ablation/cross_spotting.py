"""Spotters side by side on long videos, each subject spotted in by spotters that never saw it.

An arm of `spotting.yaml` is a chain: a spotter and, where there are, refiners of its intervals. Each part is trained
on the training subjects of each fold and kept in a folder named by its settings and subjects, so that arms share
parts; the folder of a fold holds each arm's intervals in the videos of the unseen subjects.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from tqdm import tqdm

from megc.ablation.program_code import modules_hash
from megc.ablation.settings import CrossSpotSettings
from megc.ablation.spotting_report import write_spotting_report
from megc.clips import Video
from megc.csv_tables import write_table
from megc.files import lock_folder, read_json, read_yaml, sha256_of, write_json, write_text
from megc.motion.parallel import process_pool, submit_task
from megc.problems import DataError, Problems, did_you_mean
from megc.records import ClosedContract, check_record
from megc.scoring.interval_files import SpottingRun, read_written, type_by_duration, write_intervals
from megc.scoring.plots import file_slug
from megc.scoring.random_spotter import random_runs
from megc.scoring.str_evaluation import COLUMNS, OVERALL, evaluate_runs, format_difference, mean_rows
from megc.scoring.str_metrics import ANALYSED, PROFILES, SpottedInterval, emotion_class
from megc.scoring.tables import format_interval, format_markdown, format_share
from megc.splits import Fold, make_folds
from megc.spotting.proposal_fusion import read_members
from megc.spotting.spotters import (
    RECORD_NAME,
    SpottingVideo,
    needs_of,
    read_spotter_config,
    read_spotting_videos,
    spotter_module,
    train_spotter,
)
from megc.spotting.video_spotting import DRAWN, load_chain, measure_missing

_FIX = "see the comments of ablation/spotting.yaml"
PRIOR, RATE_PRIOR = "prior emotion", "prior rate"


class PartRow(ClosedContract):
    """A part of an arm: the yaml file of a spotter or refiner, and settings that go before the file's."""

    config: Annotated[str, Field(pattern=r"^[^\x00]+$")]  # a zero byte is in no path
    set: dict[str, Any] = Field(default_factory=dict)


class ArmsFile(ClosedContract):
    """`spotting.yaml`: arms by name, each a spotter and its refiners in order. Differences are to the first.

    `main` is the arm whose intervals get the prior emotion, and whose faces the report shows; empty: the first.
    """

    arms: dict[str, list[PartRow]]
    main: str = ""


@dataclass(frozen=True)
class Part:
    """A spotter or refiner to train: its kind and the settings dataclass of that kind."""

    kind: str
    settings: Any


def read_arms(file: Path, only: Sequence[str] = ()) -> tuple[dict[str, tuple[Part, ...]], str]:
    """The arms of a yaml file by name, those of `only` where it names some, in the file's order; and the main one.

    Raises DataError for an unknown key, kind, setting or arm, and for an arm without a part.
    """
    rows = check_record(ArmsFile, read_yaml(file, _FIX), file, None, _FIX)
    if not rows.arms:
        raise DataError(file, "arms", "there is no arm", _FIX)
    for name in filter(None, (*only, rows.main)):
        if name not in rows.arms:
            raise DataError(file, name, "there is no arm of this name", did_you_mean(name, rows.arms))
    arms = {}
    for name, parts in rows.arms.items():
        if only and name not in only:
            continue
        if not parts:
            raise DataError(file, name, "the arm has no spotter", _FIX)
        arms[name] = tuple(_read_part(row, file, name) for row in parts)
    return arms, rows.main if rows.main in arms else next(iter(arms))


def _read_part(row: PartRow, file: Path, name: str) -> Part:
    """The part of the arm `name`. Raises DataError, with the arm, for a yaml file or a setting of it that is none."""
    try:
        return Part(*read_spotter_config(Path(row.config), row.set))
    except DataError as error:
        inside = error.problem
        what = inside.what if inside.row is None else f"{inside.row}: {inside.what}"
        raise DataError(file, name, f"config {row.config[:200]!r}, {what}", inside.fix) from error


@dataclass(frozen=True)
class CrossSpotting:
    """What the steps of a table share: videos, and the folder of folds. Steps run in processes of their own."""

    videos_file: Path
    inputs: Path
    work: Path
    keep: bool

    def videos(self, subjects: Iterable[str]) -> list[SpottingVideo]:
        """The videos of these subjects (`dataset/subject`)."""
        chosen = set(subjects)
        items = read_spotting_videos(self.videos_file, self.inputs)
        return [item for item in items if f"{item.video.dataset}/{item.video.subject}" in chosen]

    def part_folder(self, fold: Fold, part: Part) -> Path:
        """Folder of a part, named by what it learns from and with."""
        events = self.videos_file.read_bytes()
        key = sha256_of(part.kind, json.dumps(asdict(part.settings), default=str), *fold.train, "|", events)
        return self.work / fold.name / f"{part.kind}-{key[:8]}"

    def train_part(self, fold: Fold, part: Part) -> str:
        """Train a part on the training subjects of a fold, unless it is done; returns `done` or `kept`."""
        folder = self.part_folder(fold, part)
        record = {"code": _code_of([part])}
        if self._is_kept(folder / "code.json", record) and (folder / RECORD_NAME).is_file():
            return "kept"
        (folder / RECORD_NAME).unlink(missing_ok=True)
        for member, target in _members_of(part, folder):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self.part_folder(fold, member), target)
        train_spotter(part.kind, part.settings, self.videos(fold.train), folder)
        write_json(folder / "code.json", record)
        return "done"

    def spot_fold(self, fold: Fold, name: str, parts: Sequence[Part]) -> str:
        """Spot in the videos of the unseen subjects and write the arm's intervals, unless they are there."""
        folders = [self.part_folder(fold, part) for part in parts]
        path = self.intervals_file(fold, name)
        record = {"code": _code_of(parts), "parts": [folder.name for folder in folders]}
        if self._is_kept(path.with_suffix(".json"), record) and path.is_file():
            return "kept"
        path.with_suffix(".json").unlink(missing_ok=True)
        chain = load_chain(folders)
        items = self.videos(fold.test)
        write_intervals(path, [item.video for item in items], {item.video.id: chain.spot(item) for item in items})
        write_json(path.with_suffix(".json"), record)
        return "done"

    def intervals_file(self, fold: Fold, name: str) -> Path:
        """File of an arm's intervals in the unseen videos of a fold."""
        return self.work / fold.name / f"{file_slug(name)}.csv"

    def _is_kept(self, path: Path, record: Mapping[str, Any]) -> bool:
        """Whether a file says what `record` does; with `keep`, the code may be another."""
        before = read_json(path, missing={})
        return bool(before) and before == {**record, "code": before.get("code") if self.keep else record["code"]}


def _members_of(part: Part, folder: Path) -> list[tuple[Part, Path]]:
    """The spotters that a part joins, and where it looks for them in its folder: each is trained once for all arms."""
    if part.kind != "fused":
        return []
    return [(Part(kind, settings), target) for kind, settings, target in read_members(part.settings, folder)]


def _code_of(parts: Sequence[Part]) -> str:
    """Hash of the code of the parts' kinds and of all that it imports."""
    return modules_hash(tuple(sorted({spotter_module(part.kind, part.kind).__name__ for part in parts})))


def _run_steps(steps: Mapping[str, Callable[[], str]], jobs: int, label: str) -> None:
    """Run steps, named for the progress bar, `jobs` at a time; the first that fails ends the run."""
    with tqdm(total=len(steps), desc=label, unit="step", mininterval=0.5) as bar:
        if jobs <= 1 or len(steps) <= 1:
            for name, step in steps.items():
                bar.set_postfix_str(name)
                step()
                bar.update()
            return
        with process_pool(jobs, wait_for_begun=False) as pool:
            futures = {submit_task(pool, step): name for name, step in steps.items()}
            for future in as_completed(futures):
                future.result()
                bar.set_postfix_str(futures[future])
                bar.update()


def run_folds(cross: CrossSpotting, arms: Mapping[str, tuple[Part, ...]], folds: Sequence[Fold], jobs: int) -> None:
    """Train what the arms need in each fold, each part once, and spot in the unseen videos."""
    members, training, spotting = {}, {}, {}
    for fold in folds:
        for name, parts in arms.items():
            for part in parts:
                joined = [member for member, _ in _members_of(part, cross.work)]
                for each, steps in [
                    *((member, members) for member in joined),
                    (part, training if joined else members),
                ]:
                    steps[f"{fold.name}/{cross.part_folder(fold, each).name}"] = partial(cross.train_part, fold, each)
            spotting[f"{fold.name}/{name}"] = partial(cross.spot_fold, fold, name, parts)
    for steps, label in ((members, "training"), (training, "training of joined spotters"), (spotting, "spotting")):
        if steps:
            _run_steps(steps, jobs, label)


def prior_emotion(videos: Iterable[Video]) -> str:
    """The most frequent analysed emotion of the events; empty where none has one."""
    counts = Counter(emotion_class(event.emotion, ANALYSED) for video in videos for event in video.events)
    return max(ANALYSED, key=lambda name: counts[name]) if any(counts[name] for name in ANALYSED) else ""


def with_prior_emotion(
    run: SpottingRun, videos: Sequence[Video], folds: Sequence[Fold], name: str = PRIOR
) -> SpottingRun:
    """A run's intervals, all with the most frequent emotion of the training subjects."""
    predictions: dict[str, list[SpottedInterval]] = {}
    for fold in folds:
        emotion = prior_emotion(_of_subjects(videos, fold.train))
        for video in _of_subjects(videos, fold.test):
            predictions[video.id] = [row._replace(emotion=emotion) for row in run.predictions.get(video.id, ())]
    return SpottingRun(name, predictions, set(run.datasets))


def rate_prior(videos: Sequence[Video], folds: Sequence[Fold], name: str = RATE_PRIOR) -> SpottingRun:
    """Equal intervals at equal distances: as many a second as the training subjects of the dataset have events, of
    these events' median duration, with their most frequent emotion. Raises ValueError for a video without a length."""
    predictions: dict[str, list[SpottedInterval]] = {}
    for fold in folds:
        train, test = _of_subjects(videos, fold.train), _of_subjects(videos, fold.test)
        for video in test:
            same = [other for other in train if other.dataset == video.dataset] or train
            events = [(event.offset - event.onset) / other.fps for other in same for event in other.events]
            if any(other.length is None for other in (*same, video)):
                raise ValueError("the length of a video is unknown: there are no rates of events")
            seconds = sum(other.length / other.fps for other in same)
            count = round(len(events) / seconds * video.length / video.fps)
            half = float(np.median(events)) * video.fps / 2 if events else 0.0
            rows = []
            for centre in (np.arange(count) + 0.5) / max(count, 1) * video.length:
                onset, offset = (float(np.clip(round(centre + end), 1, video.length)) for end in (-half, half))
                kind = type_by_duration(onset, offset, video.fps)
                rows.append(SpottedInterval(onset, offset, kind, emotion=prior_emotion(train)))
            predictions[video.id] = rows
    return SpottingRun(name, predictions, {video.dataset for video in videos})


def _of_subjects(videos: Iterable[Video], subjects: Iterable[str]) -> list[Video]:
    chosen = set(subjects)
    return [video for video in videos if f"{video.dataset}/{video.subject}" in chosen]


def gather_runs(
    cross: CrossSpotting, names: Sequence[str], folds: Sequence[Fold], videos: Sequence[Video], out: Path
) -> list[SpottingRun]:
    """Each arm's intervals of all folds as one run, also written to `<out>/<arm>.csv`."""
    datasets, runs = {video.dataset for video in videos}, []
    for name in names:
        predictions: dict[str, list[SpottedInterval]] = {}
        for fold in folds:
            predictions |= read_written(cross.intervals_file(fold, name), videos)
        write_intervals(out / f"{file_slug(name)}.csv", videos, predictions)
        runs.append(SpottingRun(name, predictions, datasets))
    return runs


def markdown_table(rows: Sequence[Mapping]) -> str:
    """The rows over all videos: F1 by type, of analysis, and STRS, with intervals by subjects and differences."""
    datasets = {row["dataset"] for row in rows}
    by_run: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        if row["dataset"] == (OVERALL if OVERALL in datasets else row["dataset"]):
            by_run.setdefault(row["run"], {})[row["type"]] = row
    heads = ["intervals by", "predicted", "hits", "F1 micro", "F1 macro", "F1 all [by subjects]", "minus first"]
    lines = [[*heads, "analysed", "F1 analysis", "STRS [by subjects]", "minus first"]]
    for name, by_type in by_run.items():
        pooled = by_type["all"]
        shares = {kind: format_share(row["f1"]) for kind, row in by_type.items()}
        counts = [f"{pooled[column]:.0f}" for column in ("predicted", "tp")]
        scores = [f"**{shares['all']}**{_ends(pooled, 'f1')}", format_difference(pooled)]
        analysed = f"{pooled['analysed']:.0f}" if "analysed" in pooled else "–"
        analysis = [analysed, format_share(pooled.get("f1_analysis", np.nan))]
        strs = f"{format_share(pooled.get('strs', np.nan))}{_ends(pooled, 'strs')}"
        cells = [name, *counts, shares["micro"], shares["macro"], *scores, *analysis]
        lines.append([*cells, strs, format_difference(pooled, "strs")])
    return format_markdown(lines)


def _ends(row: Mapping, metric: str) -> str:
    ends = [row.get(f"{metric}_subject_{end}", np.nan) for end in ("low", "high")]
    return "" if np.isnan(ends).any() else f" {format_interval(ends)}"


def cross_spot(settings: CrossSpotSettings, problems: Problems) -> str:
    """Train and spot in all folds; write `spotting.csv`, `spotting.md`, `report.html` and each arm's intervals.

    Returns the table.
    """
    arms, main = read_arms(settings.arms, settings.only)
    cross = CrossSpotting(settings.videos, settings.inputs, settings.work or settings.out / "folds", settings.keep)
    items = read_spotting_videos(settings.videos, settings.inputs)
    videos = [item.video for item in items]
    people = [{"dataset": video.dataset, "subject": video.subject} for video in videos]
    folds = make_folds(people, settings.protocol, settings.folds, seed=settings.seed)
    needs = [need for parts in arms.values() for part in parts for need in needs_of(part.kind, part.settings)]
    with lock_folder(cross.work, "spotting"):
        measure_missing(items, tuple(dict.fromkeys([DRAWN, *needs])), settings.jobs, problems)
        run_folds(cross, arms, folds, settings.jobs)
    runs = gather_runs(cross, list(arms), folds, videos, settings.out)
    main_run = runs[list(arms).index(main)]
    priors = [with_prior_emotion(main_run, videos, folds, f"{main}, {PRIOR}"), rate_prior(videos, folds)]
    rows = evaluate_runs(videos, [*runs, *priors], PROFILES["strict"], resamples=settings.resamples)
    rows += mean_rows(videos, random_runs(videos, settings.draws, settings.seed, emotions=True))
    write_table(settings.out / "spotting.csv", rows, COLUMNS)
    table = markdown_table(rows)
    about = (
        f"{len(videos)} videos of {len({(video.dataset, video.subject) for video in videos})} subjects, {len(folds)} "
        f"folds by subject ({settings.protocol}), seed {settings.seed}; 95 % intervals by {settings.resamples} "
        "resamples of subjects; * the paired interval leaves out zero."
    )
    write_text(settings.out / "spotting.md", f"{table}\n\n{about}\n")
    if settings.report:
        write_spotting_report(
            settings.out / "report.html", rows, items, [main_run, *(run for run in runs if run is not main_run)], about
        )
    return f"{table}\n\n{about}\nwrote {settings.out / 'spotting.csv'}"
