"""Which dataset files are of: by their sheet, by the names of their folders and frames, as the datasets' records say.

Nothing about a dataset stands here. A sheet speaks for a dataset when it has the columns of one of its forms and clip
names like its own; folders do when they are named as its record names those of clips.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from megc.clips import IMAGE_SUFFIXES
from megc.datasets.dataset import Dataset, Signs
from megc.datasets.readers import ANNOTATED, SIGNS
from megc.datasets.spreadsheets import read_sheet, subject_number, text_of
from megc.datasets.workbooks import SUFFIXES, SheetCells, read_workbook
from megc.problems import DataError, Problems

AUTO = "auto"  # the value of --dataset
_MOST_FOLDERS = 300  # folders with images that are looked at
_SHEET, _FOLDERS, _NAME = 4, 2, 1  # points: a sheet that fits, folders that fit, names of files and folders


@dataclass
class Candidate:
    """A dataset that files may be of, and what speaks for it."""

    dataset: str
    title: str
    points: int = 0
    evidence: list[str] = field(default_factory=list)
    sheet: Path | None = None

    def add(self, points: int, evidence: str) -> None:
        """Count a piece of evidence."""
        self.points += points
        self.evidence.append(evidence)

    def __str__(self) -> str:
        return f"{self.dataset} ({self.title}: {'; '.join(self.evidence)})"


def recognise(annotations: Path | None, frames: Path | None) -> Candidate:
    """The dataset that a sheet and a folder of frames are of (one of them may be None), with what speaks for it.

    Without `annotations`, a sheet beside or in the folder `frames` that is recognised counts (`Candidate.sheet`).
    Raises DataError, which names the candidates and what speaks for each, when none or several fit, and for a sheet
    that cannot be read.
    """
    given = annotations or frames
    if given is None:
        raise DataError(f"--dataset {AUTO}", None, "neither a sheet nor frames", "give --annotations or --frames")
    if frames is not None and not frames.is_dir():
        raise DataError(frames, None, "the folder does not exist", "check --frames, or leave it out")
    sheets = {annotations: read_workbook(annotations)} if annotations else _sheets_beside(frames)
    images = list(_images(frames)) if frames else []
    candidates, without_sheet, weak = [], [], []
    for name, signs in SIGNS.items():
        candidate = Candidate(name, signs.title)
        record = next((dataset for dataset in ANNOTATED if dataset.name == name), None)
        fits = _weigh_sheets(candidate, record, signs, sheets)
        _weigh_folders(candidate, record, signs, images)
        if candidate.points >= _FOLDERS:
            # a sheet of other columns or names could not be read
            (candidates if fits or not annotations else without_sheet).append(candidate)
        elif candidate.evidence:
            weak.append(candidate)
    if not candidates and without_sheet:
        what = f"looks like {' or '.join(map(str, without_sheet))}, but the sheet has other columns or file names"
        raise DataError(given, None, what, "give the sheet as its owners release it")
    if not candidates:
        names = ", ".join(f"{name} ({signs.title}, as {signs.example})" for name, signs in SIGNS.items())
        what = "is of no dataset that is known by its columns, folders and names"
        if weak:
            what += f"; too little speaks for {' and '.join(map(str, weak))}"
        raise DataError(given, None, what, f"name the dataset, --dataset NAME: {names}")
    return _choose(given, annotations, candidates)


def _choose(given: Path, annotations: Path | None, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate for which most speaks. Raises DataError where two are equal, and for frames without their
    sheet."""
    most = max(candidate.points for candidate in candidates)
    best, *equal = [candidate for candidate in candidates if candidate.points == most]
    if equal:
        what = f"may be of {1 + len(equal)} datasets: {' or '.join(map(str, (best, *equal)))}"
        choices = " or ".join(f"--dataset {candidate.dataset}" for candidate in (best, *equal))
        raise DataError(given, None, what, f"say which: {choices}")
    if not annotations and best.sheet is None and any(dataset.name == best.dataset for dataset in ANNOTATED):
        what = f"looks like frames of {best}, but no sheet of it lies beside them"
        raise DataError(given, None, what, "give its sheet as --annotations")
    return best


# ---- sheets


def _sheets_beside(frames: Path | None) -> dict[Path, dict[str, SheetCells]]:
    """The sheets in the folder of the frames, or else in the one above it, that can be read."""
    for folder in (frames, frames.absolute().parent) if frames else ():
        sheets = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                with Problems().collect():  # one that is damaged speaks for nothing
                    sheets[path] = read_workbook(path)
        if sheets:
            return sheets
    return {}


def _weigh_sheets(
    candidate: Candidate, record: Dataset | None, signs: Signs, sheets: dict[Path, dict[str, SheetCells]]
) -> bool:
    """Count the sheet that fits a dataset best, if any does; returns whether one does."""
    fits = []
    for path, sheet in sheets.items() if record else ():
        try:
            rows = read_sheet(path, Problems(), record.forms, sheet)
        except DataError:  # no form of this dataset
            continue
        names = [name for row in rows if (name := text_of(row.cells.get("filename")))]
        like = sum(bool(record.clip_names.match(name)) for name in names)
        if names and 2 * like < len(names):
            continue
        words = f"{like} of {len(names)} file names are like {record.clip_names.example}"
        if not names:
            words = f"the sheet has the columns {', '.join(rows[0].columns)}"
        fits.append((_is_like(signs.sheets, path.name), like, path, words))
    if not fits:
        if names := [path.name for path in sheets if _is_like(signs.sheets, path.name)]:
            candidate.add(_NAME, f"the sheet is named {names[0]}")
        return False
    is_named, _, candidate.sheet, words = max(fits, key=lambda fit: fit[:2])
    candidate.add(_SHEET, words)
    if is_named:
        candidate.add(_NAME, f"the sheet is named {candidate.sheet.name}")
    return True


# ---- folders


def _images(frames: Path) -> Iterator[str]:
    """An image of each of the first folders below `frames` that hold any: its whole path, with `/`."""
    count = 0
    for folder, subfolders, files in os.walk(frames, followlinks=True):
        subfolders.sort()
        image = min((name for name in files if name.lower().endswith(IMAGE_SUFFIXES)), default=None)
        if image is not None:
            yield (Path(folder).absolute() / image).as_posix()
            count += 1
        if count >= _MOST_FOLDERS:
            return


def _weigh_folders(candidate: Candidate, record: Dataset | None, signs: Signs, images: Sequence[str]) -> None:
    """Count folders of frames that are named as a dataset's, and their place."""
    patterns = [signs.folders] if signs.folders else []
    patterns += folder_patterns(record) if record else []
    for pattern in patterns:
        matches = [re.search(rf"(?:^|/)({pattern})/([^/]+)$", image, re.IGNORECASE) for image in images]
        fitting = [match for match in matches if match]
        if not fitting:
            continue
        are_most = 2 * len(fitting) >= len(images)
        words = f"{len(fitting)} of {len(images)} folders with images are like {fitting[0][1]}"
        candidate.add(_FOLDERS if are_most else 0, words)
        if not are_most:
            continue
        if 2 * sum(_is_like(signs.frames, match[match.lastindex]) for match in fitting) >= len(fitting):
            candidate.add(_NAME, f"frames are named like {fitting[0][fitting[0].lastindex]}")
        layouts = [layout for layout in (record.layouts if record else signs.layouts) if layout]
        if layout := next((each for each in layouts if f"/{each}/".casefold() in images[0].casefold()), None):
            candidate.add(_NAME, f"they lie in {layout}")
        return


def _is_like(pattern: str, name: str) -> bool:
    return bool(pattern and re.fullmatch(pattern, name, re.IGNORECASE))


def folder_patterns(record: Dataset) -> list[str]:
    """Regular expressions of a clip's folder, from the templates of a dataset's record."""
    subject = re.sub(r"\\\{[^}]*\\\}", r"\\d+", re.escape(record.subject))
    name = re.sub(r"\(\?P<\w+>", "(?:", record.clip_names.pattern)
    parts = {"subject": subject, "filename": f"(?:{name})", "onset": r"\d+", "nth": r"\d*"}
    parts["name"] = re.sub(r"\{(\w+)\}", lambda match: parts.get(match[1], "[^/]+"), record.clip_name)
    patterns = []
    for template in record.clip_folders:
        if not {"{subject}", "{name}", "{filename}"} & set(re.findall(r"\{\w+\}", template)):
            continue  # nothing in it tells it from any other folder
        pieces = re.split(r"(\{\w+[^}]*\}|[*?])", template)
        texts = {"*": "[^/]*", "?": "[^/]"}
        patterns.append(
            "".join(
                parts.get(piece.strip("{}"), "[^/]+") if piece.startswith("{") else texts.get(piece, re.escape(piece))
                for piece in pieces
            )
        )
    return patterns


def origin_of_picture(path: str) -> dict[str, str] | None:
    """Clip id, dataset and subject of a frame by its folders, as `…/sub01/EP02_01f/reg_img46.jpg`; None where no
    dataset has such folders."""
    folders = PurePosixPath(path.replace("\\", "/")).parts[:-1]
    # from the file upwards: folders above a dataset may have any name
    for index in range(len(folders) - 1, 0, -1):
        subject, clip = folders[index - 1], folders[index]
        for dataset in ANNOTATED:
            if dataset.clip_names.match(clip) and _is_subject(subject, dataset.subject):
                return {"clip": f"{dataset.name}/{subject}/{clip}", "dataset": dataset.name, "subject": subject}
    return None


def _is_subject(folder: str, pattern: str) -> bool:
    """Whether a folder is named as a dataset names those of its subjects (`sub{:02d}`)."""
    try:
        return pattern.format(subject_number(folder)) == folder
    except ValueError:
        return False
