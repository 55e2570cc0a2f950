"""What each reasoning option does to stored predictions: the six metrics beside those of the plain answers, paired.

This is no grid: the answers are stored already, from whatever made them, and half of the table would fit no other arm:
how many answers an option changed, and in how many clips the answers agree with each other.
"""

from collections.abc import Mapping, Sequence

from megc.ablation.settings import CompareReasoningSettings
from megc.commits import answer_commits
from megc.csv_tables import write_table
from megc.files import write_text
from megc.problems import DataError, Problem, Problems
from megc.reasoning.agreement import reason_over_rows
from megc.reasoning.knowledge import Knowledge
from megc.scoring.consistency import CHECKS, count_consistent_clips
from megc.scoring.evaluation import ENDS, PairedDifference, compare_runs
from megc.scoring.runs import Reference, ReferenceIndex, Run, read_reference_files, refuse_other_questions
from megc.scoring.tables import (
    BOTH,
    SCORE_HEADS,
    difference_table,
    format_interval,
    format_markdown,
    format_share,
    reference_notes,
)
from megc.scoring.vqa_metrics import METRICS, score_answers
from megc.vqa.labels import read_answers

NONE = "none"
COLUMNS = ("reason", "clips", "subjects", "changed", "invalid", *(f"agree_{check}" for check in (*CHECKS, "all")))
COLUMNS += METRICS
COLUMNS += tuple(f"paired_{metric}{end}" for metric in METRICS for end in ("", *(f"_{end}" for end in ENDS)))


def compare_reasoning(settings: CompareReasoningSettings, problems: Problems) -> str:
    """Apply each arm, score, and write the table; returns a text of the paired differences to the plain answers.

    Rows with a reference but no prediction are left out and told to `problems`. Raises DataError for files that
    do not fit together and ValueError for an arm that needs training rows where there are none.
    """
    folds = [read_answers(path, "run test/generate_answers.py first") for path in settings.predictions]
    knowledge = [Knowledge.from_file(path) for path in settings.train] or [None]
    knowledge = knowledge if len(knowledge) == len(folds) else knowledge * len(folds)
    references = _answered(settings, folds, problems)
    runs, lines, differences = {}, [], {}
    for arm in ((), *settings.arms):
        name = "+".join(arm) or NONE
        rows = [
            row for fold, rules in zip(folds, knowledge, strict=True) for row in reason_over_rows(fold, arm, rules)
        ]
        runs[name] = _run(name, rows, references)
        draws = (settings.profile, settings.resamples, settings.seed)
        differences[name] = compare_runs(references, runs[NONE], runs[name], *draws)
        lines.append(_line(settings, name, rows, references, runs[name]) | _paired(differences[name]))
    commits = set().union(*(answer_commits(path) for path in settings.predictions))
    write_table(settings.table, lines, COLUMNS, commits)
    notes = reference_notes(references, settings.profile)
    page = settings.table.with_suffix(".md")
    write_text(page, "\n\n".join([markdown_table(lines, differences), *notes]) + "\n")
    others = {name: by_metric for name, by_metric in differences.items() if name != NONE}
    counts = ", ".join(f"{line['reason']} {format_share(line.get('agree_all', float('nan')))}" for line in lines)
    texts = [difference_table(NONE, others), *notes, f"clips whose answers all agree: {counts}"]
    return "\n".join([*texts, f"{settings.table}, {page}"])


def _paired(differences: Mapping[str, PairedDifference]) -> dict[str, float]:
    return {
        f"paired_{metric}{end}": value
        for metric, difference in differences.items()
        for end, value in zip(("", *(f"_{end}" for end in ENDS)), difference, strict=True)
    }


def markdown_table(lines: Sequence[Mapping], differences: Mapping[str, Mapping[str, PairedDifference]]) -> str:
    """The table as the README shows it: the plain scores, then differences to them; `*` where the interval by subjects
    leaves out zero, both intervals for `avg`."""
    table = [["option", *SCORE_HEADS, f"avg {BOTH}", "clips agreeing"]]
    for line in lines:
        if line["reason"] == NONE:
            texts = {metric: format_share(line[metric]) for metric in METRICS}
        else:
            by_metric = differences[line["reason"]]
            texts = {metric: f"{signed(by_metric[metric].value)}{'*' * by_metric[metric].clear}" for metric in METRICS}
            texts["avg"] += f" {format_interval(by_metric['avg'][1:3])} {format_interval(by_metric['avg'][3:5])}"
        cells = [f"{texts[f'uf1_{kind}']} / {texts[f'uar_{kind}']}" for kind in ("coarse", "fine")]
        name = "(plain)" if line["reason"] == NONE else f"`{line['reason'].replace('+', ' ')}`"
        table.append([name, *cells, texts["bleu"], texts["rouge1"], texts["avg"]])
        table[-1].append(format_share(line.get("agree_all", float("nan"))))
    return format_markdown(table)


def signed(value: float) -> str:
    """A difference: `+.021`, `-.031`, `0`."""
    text = format_share(value)
    return "0" if text in (".000", "-.000") else text if value < 0 else f"+{text}"


def _answered(
    settings: CompareReasoningSettings, folds: Sequence[Sequence[dict]], problems: Problems
) -> list[Reference]:
    references = read_reference_files(settings.references, problems)
    index, answered_keys = ReferenceIndex(references), []
    for path, fold in zip(settings.predictions, folds, strict=True):
        if not fold:
            raise DataError(path, None, "no answers in the file", "run test/generate_answers.py first")
        pairs = [(reference, row) for row in fold if (reference := index.find(path, None, row))]
        refuse_other_questions(path, pairs)
        answered_keys += [reference.key for reference, _ in pairs]
    if len(set(answered_keys)) < len(answered_keys):
        what = "a row is answered twice"
        raise DataError(settings.predictions[0], None, what, "give folds that do not overlap, or one run only")
    kept = set(answered_keys)
    answered = [reference for reference in references if reference.key in kept]
    if not answered:
        raise DataError(settings.predictions[0], None, "no row has a reference", "give the --references of this set")
    if len(answered) < len(references):
        what = f"{len(references) - len(answered)} references have no prediction and are left out"
        problems.add(Problem(str(settings.references[0]), None, what, "give the predictions of all folds"))
    return answered


def _run(name: str, rows: Sequence[dict], references: Sequence[Reference]) -> Run:
    index = ReferenceIndex(references)
    pairs = [(index.find("--predictions", None, row), row) for row in rows]
    answers = {reference.key: row["answer"] for reference, row in pairs if reference}
    return Run(name, tuple(answers[reference.key] or None for reference in references), ({},) * len(references), {})


def _line(
    settings: CompareReasoningSettings, name: str, rows: Sequence[dict], references: Sequence[Reference], run: Run
) -> dict:
    kinds, datasets = [reference.kind for reference in references], [reference.dataset for reference in references]
    values = score_answers(
        [reference.answer for reference in references], run.answers, kinds, settings.profile, datasets
    )
    line = {"reason": name, **{metric: values[metric] for metric in METRICS}, "invalid": values["invalid"]}
    line["clips"] = len({reference.clip for reference in references})
    line["subjects"] = len({(reference.dataset, reference.subject) for reference in references})
    line["changed"] = sum(row["answer"] != row["raw"] for row in rows)
    clips, questions = [reference.clip for reference in references], [reference.question for reference in references]
    for check, (held, applicable) in count_consistent_clips(clips, questions, run.answers, settings.profile).items():
        line[f"agree_{check}"] = held / applicable
    return line
