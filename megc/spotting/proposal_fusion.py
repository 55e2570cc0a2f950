"""The spotter `fused`: other spotters' proposals, joined by what the motion inside and beside each of them says.

Each member proposes intervals, also those below its own threshold. A proposal's features are whose it is, its score
and length, how far the other members agree, and the motion of face regions in and beside it (`candidates`).
Extremely randomised trees say how probable a hit is; a logistic curve over their answers on left-out training subjects
calibrates that, and the threshold is the best for F1 there. The members' proposals in training videos come from inner
folds by subject, or from the member's own `held_out.csv`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from megc.clips import Video
from megc.files import read_checked, resolve_inside, write_bytes, write_json
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError, Problems
from megc.records import ClosedContract
from megc.scoring.interval_files import VideoIndex, read_run, type_by_duration
from megc.scoring.interval_matching import interval_ious
from megc.scoring.str_metrics import SpottedInterval, ends_of
from megc.splits import make_folds
from megc.spotting.candidates import Candidates, MotionCurve, proposal_candidates
from megc.spotting.interval_scorer import best_threshold, keep_best
from megc.spotting.kind_settings import FusedSettings
from megc.spotting.spotters import (
    RECORD_NAME,
    Spotter,
    SpottingVideo,
    check_settings,
    load_spotter,
    read_spotter_record,
    train_spotter,
)
from megc.spotting.timeline import group_curves, region_excursions
from megc.spotting.tree_files import Trees, fit_trees, tree_arrays, trees_of_arrays

SETTINGS = FusedSettings
NEEDS = ("region_flow",)
_TREES, _RECORD, _HELD_OUT = "trees.safetensors", "fusion.json", "held_out.csv"
_FIX = "train it again with train/train_spotter.py"
_AGREES = 0.4  # IoU from which another member's interval is of the same expression
_LEAST_SHARE = 1e-3  # of trees, before the logit


class FusionRecord(ClosedContract):
    """`fusion.json`: folders of the members, the logistic curve over the trees' share, and the least probability."""

    members: list[str]
    slope: float
    offset: float
    threshold: Annotated[float, Field(ge=0)]


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


def video_candidates(item: SpottingVideo, proposals: Sequence[Sequence[SpottedInterval]]) -> Candidates:
    """Candidates of the members' proposals in a video, member after member."""
    flow = item.region_flow()
    length = max(item.video.length or 0, int(flow.frame_numbers[-1]))
    pairs = {}
    for number, rows in enumerate(proposals):
        scores = np.nan_to_num(np.array([row.score for row in rows], float), nan=1.0)
        pairs[str(number)] = (ends_of(rows), scores)
    return proposal_candidates(item.video, motion_curves(flow, length), pairs)


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
        run = read_run(folder / _HELD_OUT, VideoIndex(item.video for item in videos), Problems())
        return dict(run.predictions)
    proposals: dict[str, list[SpottedInterval]] = {}
    for number, subjects in enumerate(tqdm(folds, desc=f"inner folds, {kind}", unit="fold", leave=False)):
        inside = [item for item in videos if _subject(item.video) not in subjects]
        spotter = train_member(kind, settings, inside, folder.with_name(f"{folder.name}-inner{number}"))
        proposals |= {item.video.id: propose(spotter, item) for item in videos if _subject(item.video) in subjects}
    return proposals


def train(videos: Sequence[SpottingVideo], settings: FusedSettings, out: Path) -> None:
    """Train the members, the trees on their proposals, and the calibration and threshold on left-out subjects.

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
    candidates = {
        item.video.id: video_candidates(item, [rows.get(item.video.id, []) for rows in by_member]) for item in videos
    }
    # 2. scores of left-out subjects' proposals, which calibrate and choose the threshold  3. the trees of all
    shares: dict[str, np.ndarray] = {}
    for subjects in folds:
        inside = [candidates[item.video.id] for item in videos if _subject(item.video) not in subjects]
        trees = fit_hits(inside, settings.seed)
        for item in videos:
            if _subject(item.video) in subjects:
                shares[item.video.id] = trees.predict(candidates[item.video.id].features)
    slope, offset = calibrate(candidates, shares)
    kept = [
        keep_best(candidates[item.video.id], probabilities(shares[item.video.id], slope, offset), settings.overlap)
        for item in videos
    ]
    threshold = best_threshold([item.video for item in videos], kept)
    trees = fit_hits(list(candidates.values()), settings.seed)
    write_bytes(out / _TREES, save(tree_arrays(trees)))
    names = [folder.name for *_, folder in members]
    record = {"members": names, "slope": slope, "offset": offset, "threshold": min(threshold, 2.0)}
    write_json(out / _RECORD, record)


def calibrate(candidates: Mapping[str, Candidates], shares: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Slope and offset of the logistic curve from the logit of the trees' share to a probability (Platt 1999)."""
    hits = np.concatenate([candidates[name].hits for name in shares])
    if hits.all() or not hits.any():
        return 1.0, 0.0
    values = _logit(np.concatenate(list(shares.values())))
    model = LogisticRegression().fit(values[:, None], hits)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def probabilities(shares: np.ndarray, slope: float, offset: float) -> np.ndarray:
    """Calibrated probabilities (n,) of a hit."""
    return 1 / (1 + np.exp(-(slope * _logit(shares) + offset)))


def _logit(shares: np.ndarray) -> np.ndarray:
    inside = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(inside / (1 - inside))


def _subject(video: Video) -> str:
    return f"{video.dataset}/{video.subject}"


@dataclass(frozen=True)
class FusedSpotter:
    """Members, trees and calibration; the score of an interval is the probability that it is a hit."""

    members: tuple[Spotter, ...]
    trees: Trees
    record: FusionRecord
    overlap: float

    def spot(self, video: SpottingVideo) -> list[SpottedInterval]:
        """Intervals from the threshold up, in order of onset, micro up to half a second.

        The emotion is that of the members' intervals that agree.
        """
        by_member = [propose(member, video) for member in self.members]
        rows = [row for proposals in by_member for row in proposals]
        if not rows:
            return []
        candidates = video_candidates(video, by_member)
        scores = probabilities(self.trees.predict(candidates.features), self.record.slope, self.record.offset)
        ends, kept = keep_best(candidates, scores, self.overlap, self.record.threshold)
        spotted = [
            SpottedInterval(float(on), float(off), type_by_duration(on, off, video.video.fps), float(score))
            for (on, off), score in zip(ends, kept, strict=True)
        ]
        return sorted(row._replace(emotion=emotion_of(row, rows)) for row in spotted)


def emotion_of(interval: SpottedInterval, proposals: Sequence[SpottedInterval]) -> str:
    """The emotion of the proposals that agree with an interval, the one with the highest sum of scores; else none."""
    named = [row for row in proposals if row.emotion]
    if not named:
        return ""
    ious = interval_ious(ends_of([interval]), ends_of(named))[0]
    sums: dict[str, float] = {}
    for row, iou in zip(named, ious, strict=True):
        if iou >= _AGREES:
            sums[row.emotion] = sums.get(row.emotion, 0.0) + iou * float(np.nan_to_num(row.score, nan=1.0))
    if not sums:  # the nearest of the named ones: an event is analysed only with an emotion
        return named[int(ious.argmax())].emotion if ious.max() > 0 else ""
    return max(sums, key=sums.get)


def load(folder: Path) -> FusedSpotter:
    """The spotter of a folder that `train` filled. Raises DataError for one that is not whole."""
    settings = FusedSettings(**{**read_spotter_record(folder).settings, "members": ()})
    record = FusionRecord(**read_checked(FusionRecord, folder / _RECORD, fix=_FIX))
    members = tuple(load_spotter(resolve_inside(folder, name)) for name in record.members)
    try:
        trees = trees_of_arrays(load_arrays((folder / _TREES).read_bytes()))
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise DataError(folder / _TREES, None, f"the trees cannot be read ({error})", _FIX) from error
    return FusedSpotter(members, trees, record, settings.overlap)
