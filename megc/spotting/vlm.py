"""Spotting by the vision-language model: it looks at the intervals that another spotter proposes.

Each interval becomes onset, apex and offset frame and flow picture, made as those of ME-VQA's clips, and the model is
asked whether it holds a micro-expression, a macro-expression or none, and for the coarse class: both in one pass over
the pictures, by the likelihoods of the allowed answers. The score is the probability of an expression. This is the
pattern "flow proposes, the model verifies" of MEGC 2025's STM-LLM and MEWM-Agent, neither of which published code or
figures for it; all that is learnt here is ours.
"""

import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from megc.clips import Clip, write_clips
from megc.files import read_checked, write_json
from megc.motion.flow_files import compute_clip, compute_clips
from megc.motion.keyframes import extract_clip, extract_clips
from megc.motion.settings import FlowSettings, KeyframeSettings
from megc.problems import DataError, Problems
from megc.records import ClosedContract
from megc.scoring.interval_files import type_by_duration
from megc.scoring.str_metrics import PROFILES, SpottedInterval, count_videos, score_spotting
from megc.splits import make_folds
from megc.spotting.interval_clips import clips_to_answer, place_clips, training_clips
from megc.spotting.kind_settings import VlmSettings
from megc.spotting.spotters import (
    RECORD_NAME,
    Spotter,
    SpottingVideo,
    check_settings,
    load_spotter,
    read_changes,
    train_spotter,
)
from megc.vqa.build import build_files
from megc.vqa.clip_pictures import clip_source
from megc.vqa.instructions import make_record
from megc.vqa.prompts import PromptSettings
from megc.vqa.questions import NO_EXPRESSION, Question, interval_question, number_rows
from megc.vqa.settings import INTERVAL_KIND, BuildSettings

SETTINGS = VlmSettings
NEEDS = ("region_flow",)
VLM_RECORD = "vlm.json"
CHECKPOINT = "checkpoint"  # in the folder of the spotter, where it is trained here
_BASE, _LOOSE, _QUESTIONS, _TINY = "base", "loose", "questions", "tiny-base"
_FRAMES = KeyframeSettings(no_face="centre")  # a spotter's interval may begin where the face is hidden
_FIX = "train it again with train/train_spotter.py"


class VlmRecord(ClosedContract):
    """`vlm.json`: the checkpoint (empty: the one in the folder), the least probability of an expression that stays,
    the subjects it was chosen on, and what says micro or macro."""

    model: str
    threshold: Annotated[float, Field(ge=0, le=1)]
    chosen_on: list[str]
    typed_by: Literal["duration", "model"]


@dataclass(frozen=True)
class Verdict:
    """What the model says of an interval: probabilities of the types and of the coarse classes, by answer."""

    types: Mapping[str, float]
    emotions: Mapping[str, float]

    @property
    def expression(self) -> float:
        """Probability that the interval holds an expression."""
        return 1 - self.types[NO_EXPRESSION]

    @property
    def type(self) -> str:
        """`micro` or `macro`, the more probable one."""
        return max((name for name in self.types if name != NO_EXPRESSION), key=self.types.get).partition("-")[0]

    @property
    def emotion(self) -> str:
        """The most probable coarse class."""
        return max(self.emotions, key=self.emotions.get)


def probabilities(choices: Mapping[str, float]) -> dict[str, float]:
    """Probabilities of answers within their set, of their log-likelihoods."""
    top = max(choices.values())
    shares = {answer: math.exp(value - top) for answer, value in choices.items()}
    total = math.fsum(shares.values())
    return {answer: share / total for answer, share in shares.items()}


class IntervalJudge:
    """Asks a checkpoint about intervals; the prompt and the look of the flow are those that it was trained with.

    Raises DataError for a checkpoint without a prompt, and for one that looks at other pictures than key frames and
    flow.
    """

    def __init__(self, model: Path | str, batch_size: int = 32) -> None:
        from megc.answers.engine import ModelAnswerer
        from megc.answers.pictures import Pictures
        from megc.answers.settings import Decoding
        from megc.model.checkpoint import load

        loaded = load(model)
        record = loaded.training_info.get("prompt")
        if not record:
            raise DataError(model, "prompt", "its megc.json holds no prompt", "train it with train.py")
        self.prompt = PromptSettings.from_record(record).single_stage
        if others := set(self.prompt.images) - {"onset", "apex", "offset", "flow"}:
            what = f"looks at {', '.join(sorted(others))}, which are not made of intervals"
            raise DataError(model, "prompt", what, "give a checkpoint of key frames and flow")
        self._answerer = ModelAnswerer(loaded, Pictures(loaded.processor), Decoding(), batch_size)

    def judge(
        self, item: SpottingVideo, intervals: Sequence[SpottedInterval], problems: Problems
    ) -> list[Verdict | None]:
        """What the model says of each interval; None where its frames cannot be read, which `problems` names."""
        from megc.model.samples import make_samples

        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            clips = place_clips(root, clips_to_answer(item, intervals, item.region_flow()), item.videos_file)
            records = []
            for clip in {clip.id: clip for clip in clips}.values():  # two intervals may be one, rounded to frames
                with problems.collect():
                    records += self._records(clip, root, problems)
            samples = make_samples(root / "instructions.jsonl", records, problems, answered=False)
            votes = self._answerer.answer(samples, problems)
        answers: dict[str, list[dict[str, float]]] = {}
        for sample, vote in zip(samples, votes, strict=True):
            if vote is not None:
                answers.setdefault(sample.clip, []).append(probabilities(vote[0].choices))
        verdicts = {clip: Verdict(*pair) for clip, pair in answers.items() if len(pair) == 2}
        return [verdicts.get(clip.id) for clip in clips]

    def _records(self, clip: Clip, root: Path, problems: Problems) -> list[dict]:
        """Instruction records of both questions on a clip, with its pictures below `root`."""
        frames, flow = root / "frames", root / "flow"
        extract_clip(clip, root / "clips.jsonl", frames, _FRAMES)
        compute_clip(clip.id, frames, flow, _flow_settings(self.prompt))
        source = clip_source(frames, flow)
        rows = number_rows(clip, [(interval_question(clip), ""), (Question("coarse"), "")])
        records = []
        for row in rows:
            pictures = [source.picture(row, name).relative_to(root).as_posix() for name in self.prompt.images]
            words = source.motion(row) if self.prompt.motion_words else ""
            records.append(make_record(row, pictures, self.prompt, words))
        return records


def _flow_settings(prompt: PromptSettings) -> FlowSettings:
    return FlowSettings(encoding=prompt.encoding, scale=prompt.scale)


class VlmRefiner:
    """Drops the intervals that the model takes for no expression, and gives the others scores and emotions."""

    def __init__(self, judge: IntervalJudge, threshold: float, typed_by: str) -> None:
        self._judge, self.threshold, self.typed_by = judge, threshold, typed_by

    def refine(self, video: SpottingVideo, intervals: Sequence[SpottedInterval]) -> list[SpottedInterval]:
        """The intervals that are expressions to the model; those whose frames cannot be read are named and dropped."""
        problems = Problems()
        verdicts = self._judge.judge(video, intervals, problems)
        problems.report()
        judged = [
            give_verdict(interval, verdict, video.video.fps, self.typed_by)
            for interval, verdict in zip(intervals, verdicts, strict=True)
            if verdict
        ]
        return [interval for interval in judged if interval.score >= self.threshold]


def give_verdict(interval: SpottedInterval, verdict: Verdict, fps: float, typed_by: str) -> SpottedInterval:
    """The interval with the model's score, emotion and, unless its duration says it, type."""
    kind = verdict.type if typed_by == "model" else type_by_duration(interval.onset, interval.offset, fps)
    return interval._replace(type=kind, score=verdict.expression, emotion=verdict.emotion)


def load(folder: Path) -> VlmRefiner:
    """The refiner of a folder. Raises DataError for a record or a checkpoint that is missing or damaged."""
    record = VlmRecord(**read_checked(VlmRecord, folder / VLM_RECORD, fix=_FIX))
    return VlmRefiner(IntervalJudge(record.model or folder / CHECKPOINT), record.threshold, record.typed_by)


# ---- training


def train(videos: Sequence[SpottingVideo], settings: VlmSettings, out: Path) -> None:
    """Train the tiny model on intervals of these videos, or take `settings.model`; choose the threshold.

    Neither model nor base spotter learns from the subjects that are held out: both are sure of what they were trained
    on, and the threshold is chosen on what they say of the others. A killed run goes on.
    """
    held = _hold_out(videos, settings)
    trained = [item for item in videos if item not in held]
    if not settings.model:
        loose = _train_base(trained, settings.base, settings.loose_set, out / _LOOSE)
        _train_checkpoint(trained, {item.video.id: loose.spot(item) for item in trained}, settings, out)
    base = _train_base(trained, settings.base, settings.base_set, out / _BASE)
    judge = IntervalJudge(settings.model or out / CHECKPOINT)
    threshold = choose_threshold(held, {item.video.id: base.spot(item) for item in held}, judge, settings.typed_by)
    subjects = sorted({f"{item.video.dataset}/{item.video.subject}" for item in held})
    record = {"model": settings.model, "threshold": threshold, "chosen_on": subjects, "typed_by": settings.typed_by}
    write_json(out / VLM_RECORD, record)
    shutil.rmtree(out / _QUESTIONS, ignore_errors=True)  # half a megabyte an interval


def _train_base(videos: Sequence[SpottingVideo], kind: str, changes: Sequence[str], folder: Path) -> Spotter:
    """The spotter that proposes, trained on these videos, unless it is already. Raises DataError for a refiner."""
    if not (folder / RECORD_NAME).is_file():
        train_spotter(kind, check_settings(kind, read_changes(changes, folder), folder), videos, folder)
    spotter = load_spotter(folder)
    if not hasattr(spotter, "spot"):
        raise DataError(folder, "base", f"{kind} does not propose intervals", "give base: flow")
    return spotter


def _hold_out(videos: Sequence[SpottingVideo], settings: VlmSettings) -> list[SpottingVideo]:
    """Videos of the subjects that the threshold is chosen on, of each dataset its share."""
    origins = [{"dataset": item.video.dataset, "subject": item.video.subject} for item in videos]
    (fold,) = make_folds(origins, "holdout", test_fraction=settings.held_out, seed=settings.seed)
    return [item for item in videos if f"{item.video.dataset}/{item.video.subject}" in fold.test]


def _train_checkpoint(
    videos: Sequence[SpottingVideo],
    proposals: Mapping[str, Sequence[SpottedInterval]],
    settings: VlmSettings,
    out: Path,
) -> None:
    """Rows, pictures and fine-tuning: what index_intervals.py to train.py do, in one folder."""
    root, problems = out / _QUESTIONS, Problems()
    clips = []
    for item in videos:
        cut = training_clips(item, proposals[item.video.id], item.region_flow(), settings.jitter, settings.seed)
        clips += place_clips(root, cut, item.videos_file)
    write_clips(root / "clips.jsonl", clips)
    extract_clips(clips, root / "clips.jsonl", root / "frames", _FRAMES, problems)
    compute_clips(root / "frames", root / "flow", FlowSettings(), problems)
    kinds = (INTERVAL_KIND, "coarse")
    build = BuildSettings(
        clips=root / "clips.jsonl", out=root / "instructions.jsonl", images=settings.images, kinds=kinds
    )
    print(build_files(build, problems))
    problems.report()
    _fine_tune(root / "instructions.jsonl", settings, out)


def _fine_tune(questions: Path, settings: VlmSettings, out: Path) -> None:
    from transformers import TrainingArguments

    from megc.model.distributed import lock_output
    from megc.training.settings import SftSettings, training_defaults
    from megc.training.sft import train as train_on_questions

    sft = SftSettings(
        model=str(out / _TINY),
        build_tiny=True,
        train_file=str(questions),
        max_pixels=settings.max_pixels,
        shift=settings.shift,
        threads=settings.threads,
        resume=True,
    )
    arguments = training_defaults() | {
        "output_dir": str(out / CHECKPOINT),
        "use_cpu": True,
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(30, settings.steps // 10),
        "weight_decay": 0.01,
        "adam_beta2": 0.95,
        "logging_steps": 10,
        "save_strategy": "no",
        "seed": settings.seed,
    }
    with lock_output(out / CHECKPOINT):
        train_on_questions(sft, TrainingArguments(**arguments))


def choose_threshold(
    videos: Sequence[SpottingVideo],
    proposals: Mapping[str, Sequence[SpottedInterval]],
    judge: IntervalJudge,
    typed_by: str,
) -> float:
    """The probability of an expression at which F1 over all types is best in these videos; of equals the middle."""
    problems = Problems()
    judged = {}
    for item in videos:
        intervals = proposals[item.video.id]
        verdicts = judge.judge(item, intervals, problems)
        judged[item.video.id] = [
            give_verdict(interval, verdict, item.video.fps, typed_by)
            for interval, verdict in zip(intervals, verdicts, strict=True)
            if verdict
        ]
    problems.report()
    return best_threshold(videos, judged)


def best_threshold(videos: Iterable[SpottingVideo], judged: Mapping[str, Sequence[SpottedInterval]]) -> float:
    """As `choose_threshold`, of intervals with their scores."""
    annotated = [item.video for item in videos]
    scores = np.unique([interval.score for intervals in judged.values() for interval in intervals])
    levels = np.concatenate([[0.0], (scores[1:] + scores[:-1]) / 2])
    values = []
    for level in levels:
        kept = {name: [row for row in intervals if row.score >= level] for name, intervals in judged.items()}
        table = count_videos(annotated, kept, PROFILES["strict"]).table
        values.append(float(score_spotting(table.sum(axis=0, keepdims=True))["f1"][0]))
    best = levels[np.isclose(values, max(values))]
    return float(best[len(best) // 2])
