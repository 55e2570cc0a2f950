"""The spotter `fused`: other spotters' proposals, joined by how their scores agree.

Each member proposes intervals, also those below its own threshold. A logistic regression says how probable a hit is:
by each member's score at that interval, by whose it is, and by its type. With `signal` it also reads the answer of
extremely randomised trees, which look at the motion of face regions in and beside the interval (`candidates`). The
threshold of each type is the best for F1 on left-out training subjects. The members' proposals in training videos come
from inner folds by subject, or from the member's own `held_out.csv`.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import model_validator
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from megc.clips import Video
from megc.files import read_checked, resolve_inside, write_bytes, write_json
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError
from megc.records import ClosedContract
from megc.scoring.interval_files import read_written
from megc.scoring.interval_matching import interval_ious
from megc.scoring.lvqa_metrics import EVENT_TYPES
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.splits import make_folds
from megc.spotting.candidates import Candidates, MotionCurve, proposal_candidates
from megc.spotting.interval_scorer import TypeThresholds, type_threshold
from megc.spotting.kind_settings import FusedSettings
from megc.spotting.spotted_intervals import suppress_overlaps
from megc.spotting.spotters import (
    RECORD_NAME,
    Spotter,
    SpottingVideo,
    check_settings,
    load_spotter,
    read_spotter_record,
    read_spotter_settings,
    train_spotter,
)
from megc.spotting.timeline import group_curves, region_excursions
from megc.spotting.tree_files import Trees, array_bytes, fit_trees, read_arrays, tree_arrays, trees_of_arrays

SETTINGS = FusedSettings
NEEDS = ("region_flow",)
_TREES, _RECORD, _HELD_OUT = "trees.safetensors", "fusion.json", "held_out.csv"
_FIX = "train it again with train/train_spotter.py"
_AGREES = 0.4  # IoU from which another member's interval is of the same expression
_LEAST_SHARE = 1e-3  # of a score or of trees, before the logit


class FusionRecord(ClosedContract):
    """`fusion.json`: folders of the members, weights of `score_columns` (with `signal` also of the trees' logit) and
    offset of the regression, and the least probability of each type."""

    members: list[str]
    signal: bool
    weights: list[float]
    offset: float
    thresholds: TypeThresholds

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        expected = 3 * len(self.members) + self.signal
        if len(self.weights) != expected:
            raise ValueError(f"{len(self.weights)} weights, not the {expected} of {len(self.members)} members")
        return self


@dataclass(frozen=True)
class Joined:
    """All members' proposals in a video, member after member: `rows` with the types that `class_of` gives them,
    `columns` (n, m) for the regression, and `candidates` for the trees and for what hits."""

    rows: tuple[SpottedInterval, ...]
    columns: np.ndarray
    candidates: Candidates


def fit_hits(items: Sequence[Candidates], seed: int) -> Trees:
    """Trees that predict which candidates are hits, as shares (0 to 1)."""
    features = np.concatenate([candidates.features for candidates in items])
    hits = np.concatenate([candidates.hits for candidates in items]).astype(float)
    return fit_trees(features, hits, np.ones(len(hits)), count=100, leaf=5, seed=seed)


def motion_curves(flow: RegionFlow, length: int) -> dict[str, MotionCurve]:
    """Curves over all frames of a video, whose numbers begin at 1: `macro`, the farthest that any region is from its
    rest; `micro`, the same from a rest of a second; each group of regions, its sides apart; blinks."""
    numbers = np.arange(1, length + 1)
    far, near = region_excursions(flow), region_excursions(flow, 1.0)
    curves = {"macro": far.max(axis=1), "micro": near.max(axis=1), "blink": flow.blink.astype(float)}
    for group, by_side in group_curves(near).items():
        curves |= {f"{group}, {side}": curve for side, curve in by_side.items()}
    return {
        name: MotionCurve(np.interp(numbers, flow.frame_numbers, np.nan_to_num(curve)), 0)
        for name, curve in curves.items()
    }


def propose(spotter: Spotter, item: SpottingVideo) -> list[SpottedInterval]:
    """All intervals that a spotter proposes, also those below its threshold where it can tell these."""
    return getattr(spotter, "propose", spotter.spot)(item)


def join_proposals(item: SpottingVideo, proposals: Sequence[Sequence[SpottedInterval]]) -> Joined:
    """The members' proposals in a video with what the regression and the trees read."""
    flow = item.region_flow()
    length = max(item.video.length or 0, int(flow.frame_numbers[-1]))
    pairs = {str(number): (ends_of(rows), _scores(rows)) for number, rows in enumerate(proposals)}
    whole = [row for rows in proposals for row in rows]
    typed = []
    for row in whole:
        kind, emotion = class_of(row, whole)
        typed.append(row._replace(type=kind, emotion=emotion))
    candidates = proposal_candidates(item.video, motion_curves(flow, length), pairs)
    return Joined(tuple(typed), score_columns(proposals, [row.type == "micro" for row in typed]), candidates)


def score_columns(proposals: Sequence[Sequence[SpottedInterval]], micro: Sequence[bool]) -> np.ndarray:
    """Columns (n, 3 · members) on n proposals, member after member; `micro` (n,): which are micro-expressions.

    For each member the logit of its score there (that of its best interval with an IoU of .4, none: the least); the
    same for micro-expressions only; for each member but the first, whether the proposal is its; `micro`.
    """
    ends = np.concatenate([ends_of(rows) for rows in proposals]).reshape(-1, 2)
    owners = np.repeat(np.arange(len(proposals)), [len(rows) for rows in proposals])
    logits = []
    for index, rows in enumerate(proposals):
        agreeing = (interval_ious(ends, ends_of(rows)) >= _AGREES) * _scores(rows)
        scores = agreeing.max(axis=1, initial=0)
        scores[owners == index] = _scores(rows)
        logits.append(_logit(scores))
    of_micro = np.array(micro, float)
    owned = [owners == index for index in range(1, len(proposals))]
    return np.array([*logits, *(values * of_micro for values in logits), *owned, of_micro], float).T


def _scores(rows: Sequence[SpottedInterval]) -> np.ndarray:
    """Scores (n,) of intervals; 1 for none."""
    return np.nan_to_num(np.array([row.score for row in rows], float), nan=1.0)


def train_member(kind: str, settings: Any, videos: Sequence[SpottingVideo], folder: Path) -> Spotter:
    """The spotter of a folder, trained where that is not done yet with these settings and subjects."""
    subjects = sorted({f"{item.video.dataset}/{item.video.subject}" for item in videos})
    if (folder / RECORD_NAME).is_file():
        record = read_spotter_record(folder)
        as_stored = json.loads(json.dumps(asdict(settings)))  # tuples are lists there
        if (record.kind, record.settings, record.subjects) == (kind, as_stored, subjects):
            return load_spotter(folder)
        shutil.rmtree(folder)
    train_spotter(kind, settings, videos, folder)
    return load_spotter(folder)


def read_members(settings: FusedSettings, out: Path) -> list[tuple[str, Any, Path]]:
    """Kind, settings and folder below `out` of each member. Raises DataError for a kind or setting that is unknown."""
    members = []
    for number, values in enumerate(settings.members):
        kind = str(values.get("kind", ""))
        rest = {key: value for key, value in values.items() if key != "kind"}
        members.append((kind, check_settings(kind, rest, "members"), out / f"member{number}-{kind}"))
    return members


def unseen_proposals(
    kind: str, settings: Any, videos: Sequence[SpottingVideo], folder: Path, folds: Sequence[Sequence[str]]
) -> dict[str, list[SpottedInterval]]:
    """A member's proposals in its own training videos, by spotters that did not see the subject: its `held_out.csv`,
    else one spotter for each of `folds` (lists of subjects)."""
    if (folder / _HELD_OUT).is_file():
        return read_written(folder / _HELD_OUT, [item.video for item in videos])
    proposals: dict[str, list[SpottedInterval]] = {}
    for number, subjects in enumerate(tqdm(folds, desc=f"inner folds, {kind}", unit="fold", leave=False)):
        inside = [item for item in videos if _subject(item.video) not in subjects]
        spotter = train_member(kind, settings, inside, folder.with_name(f"{folder.name}-inner{number}"))
        proposals |= {item.video.id: propose(spotter, item) for item in videos if _subject(item.video) in subjects}
    return proposals


def train(videos: Sequence[SpottingVideo], settings: FusedSettings, out: Path) -> None:
    """Train the members, the regression on their proposals, and the thresholds on left-out subjects.

    Raises DataError where there are fewer than two subjects.
    """
    people = [{"dataset": item.video.dataset, "subject": item.video.subject} for item in videos]
    count = min(settings.folds, len({_subject(item.video) for item in videos}))
    if count < 2:
        raise DataError(out, None, "one subject alone cannot be left out", "train on two subjects or more")
    folds = [fold.test for fold in make_folds(people, "kfold", folds=count, seed=settings.seed)]
    # 1. the members, and what each proposes to people whom it has not seen
    members, by_member = read_members(settings, out), []
    for kind, values, folder in members:
        train_member(kind, values, videos, folder)
        by_member.append(unseen_proposals(kind, values, videos, folder, folds))
    joined = {
        item.video.id: join_proposals(item, [rows.get(item.video.id, []) for rows in by_member]) for item in videos
    }
    parts = [{item.video.id for item in videos if _subject(item.video) in subjects} for subjects in folds]
    # 2. the trees, and their answers to left-out subjects
    if settings.signal:
        trees = fit_hits([part.candidates for part in joined.values()], settings.seed)
        write_bytes(out / _TREES, array_bytes(tree_arrays(trees)))
        joined = _with_signal(joined, parts, settings.seed)
    # 3. probabilities of left-out subjects' proposals, which choose the thresholds  4. the regression on all
    kept: dict[str, list[SpottedInterval]] = {}
    for part in parts:
        weights, offset = fit_regression([joined[name] for name in joined if name not in part])
        kept |= {name: keep_likely(joined[name], weights, offset, settings.overlap) for name in part}
    annotated = [item.video for item in videos]
    weights, offset = fit_regression(list(joined.values()))
    record = FusionRecord(
        members=[folder.name for *_, folder in members],
        signal=settings.signal,
        weights=weights.tolist(),
        offset=offset,
        thresholds={kind: type_threshold(annotated, kept, kind) for kind in EVENT_TYPES},
    )
    write_json(out / _RECORD, record.model_dump())


def _with_signal(joined: Mapping[str, Joined], parts: Sequence[set[str]], seed: int) -> dict[str, Joined]:
    """The videos' proposals with one more column, the logit of the share of trees that did not see the subject."""
    with_signal = {}
    for part in parts:
        trees = fit_hits([joined[name].candidates for name in joined if name not in part], seed)
        with_signal |= {name: _add_signal(joined[name], trees) for name in part}
    return {name: with_signal[name] for name in joined}


def _add_signal(joined: Joined, trees: Trees) -> Joined:
    shares = trees.predict(joined.candidates.features)
    return replace(joined, columns=np.column_stack([joined.columns, _logit(shares)]))


def fit_regression(items: Sequence[Joined]) -> tuple[np.ndarray, float]:
    """Weights (m,) and offset of a logistic regression on the columns; its penalty is on columns of equal spread.

    Where all proposals hit, or none, the weights are 0.
    """
    columns = np.concatenate([joined.columns for joined in items])
    hits = np.concatenate([joined.candidates.hits for joined in items])
    if hits.all() or not hits.any():
        return np.zeros(columns.shape[1]), float(_logit(np.array([float(hits.any())]))[0])
    scaler = StandardScaler().fit(columns)
    model = LogisticRegression().fit(scaler.transform(columns), hits)
    weights = model.coef_[0] / scaler.scale_
    return weights, float(model.intercept_[0] - weights @ scaler.mean_)


def keep_likely(joined: Joined, weights: np.ndarray, offset: float, overlap: float) -> list[SpottedInterval]:
    """The proposals with their probabilities as scores, in order of onset; of those that overlap, the likelier one."""
    if not joined.rows:
        return []
    scores = expit(joined.columns @ weights + offset)
    kept = suppress_overlaps(ends_of(joined.rows), scores, overlap)
    return sorted(joined.rows[index]._replace(score=float(scores[index])) for index in kept)


def _logit(shares: np.ndarray) -> np.ndarray:
    inside = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(inside / (1 - inside))


def _subject(video: Video) -> str:
    return f"{video.dataset}/{video.subject}"


@dataclass(frozen=True)
class FusedSpotter:
    """Members, regression and thresholds; the score of an interval is the probability that it is a hit."""

    members: tuple[Spotter, ...]
    trees: Trees | None
    record: FusionRecord
    overlap: float

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals of at least the threshold of their type, with type, score and emotion, in order of onset."""
        joined = join_proposals(video, [propose(member, video) for member in self.members])
        if self.trees is not None:
            joined = _add_signal(joined, self.trees)
        rows = keep_likely(joined, np.array(self.record.weights), self.record.offset, self.overlap)
        return self.record.thresholds.select(rows)


def class_of(interval: SpottedInterval, proposals: Sequence[SpottedInterval]) -> tuple[str, str]:
    """Type and emotion of an interval, by the proposals that name an emotion: other spotters know a duration only.

    Those that agree with it (IoU of .4) vote by score and IoU. Where none does, the type is the interval's, and the
    emotion that of the nearest one: an event is analysed only with an emotion.
    """
    named = [row for row in proposals if row.emotion]
    if not named:
        return interval.type, ""
    ious = interval_ious(ends_of([interval]), ends_of(named))[0]
    types: dict[str, float] = defaultdict(float)
    emotions: dict[str, float] = defaultdict(float)
    for row, vote in zip(named, ious * _scores(named) * (ious >= _AGREES), strict=True):
        types[row.type] += vote
        emotions[row.emotion] += vote
    if ious.max() >= _AGREES:
        return max(types, key=types.__getitem__), max(emotions, key=emotions.__getitem__)
    return interval.type, named[int(ious.argmax())].emotion if ious.max() > 0 else ""


def load(folder: Path) -> FusedSpotter:
    """The spotter of a folder that `train` filled. Raises DataError for one that is not whole."""
    settings = read_spotter_settings(folder)
    record = FusionRecord(**read_checked(FusionRecord, folder / _RECORD, fix=_FIX))
    try:
        folders = [resolve_inside(folder, name) for name in record.members]
    except ValueError as error:
        raise DataError(folder / _RECORD, "members", str(error), _FIX) from error
    for name, member in zip(record.members, folders, strict=True):
        if not (member / RECORD_NAME).is_file():
            raise DataError(folder / _RECORD, "members", f"there is no spotter in {name!r}", _FIX)
    members = tuple(load_spotter(member) for member in folders)
    trees = read_arrays(folder / _TREES, trees_of_arrays, _FIX) if record.signal else None
    return FusedSpotter(members, trees, record, settings.overlap)
