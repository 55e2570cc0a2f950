"""The doctor: clips, videos and instruction files checked before anything is trained on them.

Each finding has its file, its row and a remedy. A check that fails ends no other one: what can be read is checked.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megc.csv_tables import write_table
from megc.datasets.clip_checks import check_clips, check_videos
from megc.problems import DataError, Problem, Problems
from megc.splits import shared_subjects, subjects_in
from megc.vqa.instructions import read_split
from megc.vqa.picture_checks import PictureIndex, Recipes, check_pictures, compare_recipes
from megc.vqa.prompt_checks import check_checkpoint, check_prompts, compare_prompts
from megc.vqa.record_checks import check_rows
from megc.vqa.settings import CheckSettings

# Checks in the order of the table, with what each looks at.
CHECKS = {
    "form": "files, lines, keys and their types, roles",
    "frame order": "numbers of a clip's frames rise",
    "interval": "onset ≤ apex ≤ offset, within what can be",
    "frames": "frames of clips exist and decode",
    "events": "events of videos in order, inside the video, apart",
    "pictures": "pictures exist and decode",
    "tags": "one <image> tag a picture",
    "vocabulary": "questions, answers, emotions, action units",
    "answers": "a clip's answers agree",
    "duplicates": "rows, clips, identical pictures",
    "subjects": "nobody on both sides",
    "prompt": "prompt and legend: file, prompt.json, renderer",
    "recipe": "crop and flow settings",
}


@dataclass
class CheckedFile:
    """Records of an instruction file, as far as it can be read, and the recipes of its pictures."""

    records: list[dict] = field(default_factory=list)
    recipes: Recipes = field(default_factory=dict)


def check_records(path: Path | str, problems: Problems, index: PictureIndex | None = None) -> CheckedFile:
    """Check an instruction file on its own; `index` holds the pictures of other files.

    Raises DataError when the file cannot be read at all.
    """
    records = check_rows(path, problems)
    pictures = index or PictureIndex()
    recipes = check_pictures(path, records, problems, pictures)
    if index is None:
        pictures.report(problems)
    check_prompts(path, records, problems)
    with problems.collect("subjects"):
        _check_fold(path, records)
    return CheckedFile(records, recipes)


def _check_fold(path: Path | str, records: Sequence[dict]) -> None:
    """Raise DataError for a side of a frozen split with subjects of both."""
    fold = read_split(path)
    subjects = {subject for subject in subjects_in(records) if "/" in subject.strip("/")}
    if fold and not (subjects <= set(fold["train"]) or subjects <= set(fold["test"])):
        listed = ", ".join(sorted(subjects - set(fold["train"]))[:3])
        what = f"holds subjects that are not of one side of its split {fold['name']} ({listed})"
        raise DataError(path, None, what, "split again with train/set_train_dataset.py")


def check_splits(train: Sequence[dict], test: Sequence[dict], names: tuple[str, str], problems: Problems) -> None:
    """Report subjects on both sides, those in mixed pictures too, and a prompt that differs between them."""
    trained = subjects_in(train)
    for subject in shared_subjects(subjects_in(test), trained):
        if subject.strip("/"):
            what = f"the subject is in {names[0]} too"
            if subject not in trained:
                what = f"the same person is in {names[0]}, as {shared_subjects(trained, [subject])[0]}"
            problems.add(Problem(names[1], subject, what, "split by subject again", "subjects"))
    compare_prompts(names, train, test, problems)


def check_dataset(settings: CheckSettings, problems: Problems) -> str:
    """Check all files of the settings, each as far as it can be read, and what they have to do with one another.

    Returns a summary and a table of findings by check.
    """
    checked: list[str] = []
    index = PictureIndex()
    for path in settings.clips:
        with problems.collect("form"):
            checked.append(f"{check_clips(path, problems, settings.all_frames)} clips of {path}")
    for path in settings.videos:
        with problems.collect("form"):
            checked.append(f"{check_videos(path, problems, settings.all_frames)} videos of {path}")
    files: dict[Path, CheckedFile] = {}
    for path in dict.fromkeys((*settings.train, *settings.test)):
        with problems.collect("form"):
            files[path] = check_records(path, problems, index)
            checked.append(f"{len(files[path].records)} rows of {path}")
    index.report(problems)
    _compare_sides(settings, files, problems)
    if settings.checkpoint:
        with problems.collect("form"):
            pairs = {path: (file.records, file.recipes) for path, file in files.items()}
            check_checkpoint(settings.checkpoint, pairs, settings.test, problems)
    if settings.out:
        write_findings(settings.out, problems)
    count = f"{len(problems)} problem(s), {len(problems.warnings)} warning(s)"
    return f"{findings_table(problems)}\nchecked {', '.join(checked) or 'nothing'}: {count}"


def _compare_sides(settings: CheckSettings, files: dict[Path, CheckedFile], problems: Problems) -> None:
    """Compare every test file with every training file, as far as both could be read."""
    for train in settings.train:
        for test in settings.test:
            if train in files and test in files:
                names = (str(train), str(test))
                check_splits(files[train].records, files[test].records, names, problems)
                for problem in compare_recipes(test, files[test].recipes, files[train].recipes, str(train)):
                    problems.add(problem)


def findings_table(problems: Problems) -> str:
    """Lines of a table: each check, its errors and warnings, and what it looks at."""
    errors, warnings = (Counter(problem.check for problem in of) for of in (problems, problems.warnings))
    width = max(map(len, CHECKS))
    lines = [f"{'check':{width}}  errors  warnings"]
    lines += [f"{name:{width}}  {errors[name]:6}  {warnings[name]:8}  {text}" for name, text in CHECKS.items()]
    return "\n".join(lines)


def write_findings(path: Path | str, problems: Problems) -> None:
    """Write all findings as CSV: check, severity, file, row, what, fix."""
    rows = [_row(problem, severity) for severity, of in _by_severity(problems) for problem in of]
    write_table(path, rows, ["check", "severity", "file", "row", "what", "fix"])


def _by_severity(problems: Problems) -> Iterable[tuple[str, Iterable[Problem]]]:
    return (("error", problems), ("warning", problems.warnings))


def _row(problem: Problem, severity: str) -> dict:
    return {**vars(problem), "severity": severity}
