"""Evaluation of runs: scores with intervals for each dataset and over all rows, and paired differences."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from megc.scoring.bootstrap import Sampling, bootstrap_intervals, paired_differences
from megc.scoring.consistency import count_consistent_clips
from megc.scoring.counts import RowCounts, count_rows
from megc.scoring.runs import Reference, Run
from megc.scoring.settings import RESAMPLES
from megc.scoring.vqa_metrics import (
    CLASS_KINDS,
    METRICS,
    MORE_METRICS,
    count_faults,
    get_profile,
    score_answers,
)

OVERALL = "overall"
ENDS = ("subject_low", "subject_high", "low", "high")  # by subjects, by clips
FEW = 5  # a class of fewer clips is named below the tables
COLUMNS = (
    *("run", "profile", "dataset", "clips", "subjects"),
    *METRICS,
    *(f"{metric}_{end}" for metric in METRICS for end in ENDS),
    *("invalid", "invalid_share", "missing"),
    *(column for more in MORE_METRICS for column in more.headings),
    *("consistent", "bleu_ceiling", "avg_ceiling"),
)


class PairedDifference(NamedTuple):
    """A difference of two runs over the same rows, with its interval by subjects and by clips."""

    value: float
    subject_low: float
    subject_high: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval by subjects leaves out zero; where there is none, that by clips."""
        low, high = (self.low, self.high) if np.isnan(self.subject_low) else (self.subject_low, self.subject_high)
        return low > 0 or high < 0


def rows_by_dataset(references: Sequence[Reference]) -> dict[str, list[int]]:
    """Row numbers of each dataset, in order of name, and of all rows together under `overall`."""
    datasets = sorted({reference.dataset for reference in references})
    rows = {name: [row for row, r in enumerate(references) if r.dataset == name] for name in datasets}
    return {**rows, OVERALL: list(range(len(references)))}


def read_clip_classes(
    references: Sequence[Reference], profile: str, kinds: Sequence[str] = CLASS_KINDS
) -> dict[str, str]:
    """Read the class of each clip: the answer to its first question of the first of `kinds` that it has."""
    read = get_profile(profile).read
    classes: dict[str, str] = {}
    for kind in kinds:
        for reference in references:
            if reference.kind == kind:
                classes.setdefault(reference.clip, read(reference.answer, kind))
    return classes


def make_samplings(references: Sequence[Reference], profile: str) -> dict[str, Sampling]:
    """Sampling of the bootstrap. By clips: within fine class and dataset, else within coarse class and dataset, else
    within the dataset. By subjects: within the dataset."""
    classes = read_clip_classes(references, profile, ("fine", "coarse"))
    strata = [f"{r.dataset}/{classes.get(r.clip, '')}" for r in references]
    subjects = [f"{r.dataset}/{r.subject}" for r in references]  # datasets may share names of subjects
    return {
        "subjects": Sampling(subjects, [r.dataset for r in references]),
        "clips": Sampling([r.clip for r in references], strata),
    }


def count_run(references: Sequence[Reference], run: Run, profile: str) -> list[RowCounts]:
    """Count the rows of a run's set of answers, or of each of the sets that it drew."""
    texts, kinds = [r.answer for r in references], [r.kind for r in references]
    return [count_rows(texts, answers, kinds, profile) for answers in run.answer_sets]


def score_run(
    references: Sequence[Reference], run: Run, profile: str, counts: Sequence[RowCounts] | None = None
) -> dict[str, float]:
    """Score a run: METRICS, `invalid` and `missing` answers, MORE_METRICS and `consistent`.

    The last is the share of clips whose answers agree with each other, NaN where none can be checked. Of a run that
    draws its answers: the mean over the sets. `counts` are those of `count_run`, where they are at hand.
    """
    texts, kinds = [r.answer for r in references], [r.kind for r in references]
    datasets, clips, questions = zip(*((r.dataset, r.clip, r.question) for r in references), strict=True)
    lines = []
    for answers, rows in zip(run.answer_sets, counts or count_run(references, run, profile), strict=True):
        values = rows.score() | count_faults(answers, kinds, profile, datasets)
        for more in MORE_METRICS:
            values |= more.compute(texts, answers, kinds)
        passed, checked = count_consistent_clips(clips, questions, answers, profile).get("all", (0, 0))
        lines.append({**values, "consistent": passed / checked if checked else float("nan")})
    # a single set keeps its counts whole numbers
    return lines[0] if len(lines) == 1 else {name: float(np.mean([line[name] for line in lines])) for name in lines[0]}


def select_rows(run: Run, rows: Sequence[int]) -> Run:
    """The run with its answers to some of the references only."""
    draws = tuple(tuple(answers[row] for row in rows) for answers in run.draws)
    details = tuple(run.details[row] for row in rows)
    return Run(run.name, tuple(run.answers[row] for row in rows), details, run.settings, draws)


def evaluate_run(
    references: Sequence[Reference],
    run: Run,
    profile: str = "megc2025",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict]:
    """Rows of `metrics.csv` for one run: each dataset, then all rows pooled, with 95 % bootstrap intervals."""
    table = []
    for dataset, rows in rows_by_dataset(references).items():
        if dataset == OVERALL and len(table) == 1:
            table.append({**table[0], "dataset": OVERALL})  # one dataset only: the same rows
            continue
        # 1. the rows of the dataset, counted once; 2. scores; 3. intervals by subjects, then by clips
        chosen, answered = [references[row] for row in rows], select_rows(run, rows)
        counts = count_run(chosen, answered, profile)
        values = score_run(chosen, answered, profile, counts)
        line = {"run": run.name, "profile": profile, "dataset": dataset}
        line["clips"] = len({r.clip for r in chosen})
        line["subjects"] = len({(r.dataset, r.subject) for r in chosen})
        line |= values
        for ends, sampling in zip((ENDS[:2], ENDS[2:]), make_samplings(chosen, profile).values(), strict=True):
            for metric, interval in bootstrap_intervals(counts, sampling, resamples, seed).items():
                line |= {f"{metric}_{end}": value for end, value in zip(ends, interval, strict=True)}
        line["invalid_share"] = values["invalid"] / len(chosen)
        line |= {f"{metric}_ceiling": top for metric, top in score_ceiling(chosen, profile).items()}
        table.append(line)
    return table


def compare_runs(
    references: Sequence[Reference],
    first: Run,
    second: Run,
    profile: str = "megc2025",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """Paired difference second - first over all rows of each metric."""
    counts = [count_run(references, run, profile) for run in (first, second)]
    by_subjects, by_clips = (
        paired_differences(*counts, sampling, resamples, seed)
        for sampling in make_samplings(references, profile).values()
    )
    return {metric: PairedDifference(*by_subjects[metric], *by_clips[metric][1:]) for metric in METRICS}


def score_ceiling(references: Sequence[Reference], profile: str) -> dict[str, float]:
    """`bleu` and `avg` that the references themselves get: smoothed sentence BLEU gives a right word .178."""
    texts = [r.answer for r in references]
    values = score_answers(texts, texts, [r.kind for r in references], profile)
    return {metric: values[metric] for metric in ("bleu", "avg")}


def find_rare_classes(
    references: Sequence[Reference], profile: str = "megc2025"
) -> dict[str, dict[str, tuple[int, int]]]:
    """Classes of fewer than FEW clips, by dataset and over all rows: how many clips of how many subjects show them."""
    rare: dict[str, dict[str, tuple[int, int]]] = {}
    for dataset, rows in rows_by_dataset(references).items():
        chosen = [references[row] for row in rows]
        subjects = {r.clip: (r.dataset, r.subject) for r in chosen}
        for kind in CLASS_KINDS:
            clips = defaultdict(set)  # of each class
            for clip, name in read_clip_classes(chosen, profile, (kind,)).items():
                clips[name].add(clip)
            few = {name: (len(c), len({subjects[clip] for clip in c})) for name, c in clips.items() if len(c) < FEW}
            for name, numbers in sorted(few.items()):
                rare.setdefault(dataset, {})[f"{kind} {name}"] = numbers
    return rare
