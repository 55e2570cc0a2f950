"""SMIC (Li et al., FG 2013): 164 clips of 16 subjects at 100 frames a second (HS), 71 of 8 at 25 (VIS and NIR).

It is released without a sheet: a clip's class is in its folder's name. Folders:
`SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/` (`reg_image036237.bmp`; VIS and NIR `reg_06524.bmp`) and the full
frames of `SMIC_all_raw` (`image036237.bmp`). The three cameras saw the same people, so the camera is a part of the
clip's name and not another dataset. Some wrote a sheet of their own (`subject, material, emotion, onset, offset`), of
the clips of HS. Layout, gaps and this sheet are as a public loader describes them (github.com/tvaranka/meb); no file
of the release was at hand.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from megc.clips import Clip, list_frames
from megc.datasets.annotated import read_annotations
from megc.datasets.dataset import Annotation, ClipNames, Dataset, Signs
from megc.datasets.folders import list_clip_folders, relative_to_root
from megc.datasets.intervals import Interval, fit_to_frames, repair_interval
from megc.datasets.spreadsheets import SheetForm
from megc.problems import DataError, Problem, Problems

FPS = {"HS": 100.0, "VIS": 25.0, "NIR": 25.0}
_COARSE = {"ne": "negative", "po": "positive", "sur": "surprise"}
_LAYOUTS = ("SMIC_all_cropped", "SMIC/SMIC_all_cropped", "SMIC_all_raw", "SMIC/SMIC_all_raw")
_CLIP = re.compile(r"s0*(?P<subject>[1-9]\d*)_(?P<code>ne|po|sur)_0*(?P<index>[1-9]\d*)", re.IGNORECASE)
_CAMERA = re.compile(r"(?<![a-z])(HS|VIS|NIR)(?![a-z])", re.IGNORECASE)
_LONG = re.compile(r"(HS|VIS|NIR)[-_ ]long|SMIC[-_ ]((HS|VIS|NIR)[-_ ])?E(?![a-z]).*", re.IGNORECASE)  # of SMIC-E
_MISSING = "frames missing: "

_Expression = tuple[re.Match[str], Annotation]  # of the name in a sheet, and its row

SMIC = Dataset(
    name="smic",
    clip_names=ClipNames("SMIC", _CLIP.pattern, "s1_ne_01"),
    fps=FPS["HS"],
    subject="s{:02d}",
    layouts=_LAYOUTS,
    forms=(
        SheetForm(
            columns=("subject", "filename", "onset", "offset", "emotion"),
            optional=("apex",),
            headers={"filename": ("material",)},
        ),
    ),
    coarse_only=True,
    signs=Signs(
        folders=r"micro/\w+/s\d+_(?:ne|po|sur)_\d+",  # without `micro` they are the long videos of SMIC-E
        frames=r"(?:reg_)?(?:image)?\d+\.bmp",
        without_sheet=True,
    ),
)


def read(
    annotations: Path | str | None, frames: Path | str | None, root: Path | str, problems: Problems, repairs: str = ""
) -> list[Clip]:
    """Clips of the folders below `frames`, with the names that the organisers' ME-VQA rows use (`s01_ne_01`).

    Onset is the first frame, offset the last, the apex the middle (`apex_estimated`); a sheet's numbers come before
    them for clips of HS, and without `frames` the sheet alone is read. A clip of the cameras VIS and NIR ends in
    `_vis` or `_nir`. Where both are there, crops are read and full frames are not. Folders that hold no
    micro-expression (`non_micro`, the long videos of SMIC-E), numbers that are passed over and clips with gaps are
    warnings; clips that cannot be read go to `problems`. Raises DataError when there is no clip at all.
    """
    expressions = {} if annotations is None else _expressions(annotations, problems, repairs)
    if annotations is not None and frames is None:
        return [_clip_of(match, "HS", e.interval, "", _notes(match, e)) for match, e in expressions.values()]
    if frames is None or not Path(frames).is_dir():
        raise DataError(frames or "--frames", None, "the folder of SMIC does not exist", "give it as --frames")
    base = next((path for layout in _LAYOUTS if (path := Path(frames, layout)).is_dir()), Path(frames))
    folders = _clip_folders(base, problems)
    relative_to_root(folders[0], root)  # this and the camera once for all, rather than a problem a clip
    _camera(folders[0])
    clips: dict[str, Clip] = {}
    for folder in folders:
        with problems.collect():
            clip = _clip_of_folder(folder, expressions, root)
            if clip.id in clips:
                what = f"clip {clip.id} is already in {clips[clip.id].frames}, which is kept"
                raise DataError(folder, None, what, "keep one of the two folders")
            clips[clip.id] = clip
    if expressions:
        _, first = next(iter(expressions.values()))
        what = (
            f"{len(expressions)} clip(s) have no folder in {base} (the first: {first.name} of row {first.row.number})"
        )
        problems.add(Problem(str(annotations), None, what, "unpack them, or delete their rows"))
    _warn_of_gaps(base, clips.values(), problems)
    return list(clips.values())


def _expressions(annotations: Path | str, problems: Problems, repairs: str) -> dict[str, _Expression]:
    """The rows of a sheet by the names of their clips; those with another name, or a name that was before, are
    problems."""
    expressions: dict[str, _Expression] = {}
    for expression in read_annotations(SMIC, annotations, problems, repairs):
        with problems.collect():
            row, match = expression.row, _CLIP.fullmatch(expression.filename)
            if match is None:
                fix = f"write the name as SMIC does, such as {SMIC.clip_names.example}, or delete the row"
                raise row.error(f"{expression.filename} is no clip of SMIC", fix)
            _, name = _names(match, "HS")
            if name in expressions:
                what = f"clip {name} is already in row {expressions[name][1].row.number}, which is kept"
                raise row.error(what, "delete one of the two rows")
            expressions[name] = match, expression
    return expressions


def _names(match: re.Match[str], camera: str) -> tuple[str, str]:
    """Subject and name of a clip as the organisers' rows write them, and the camera where it is another than HS."""
    subject = f"s{int(match['subject']):02d}"
    name = f"{subject}_{match['code'].lower()}_{int(match['index']):02d}"
    return subject, name if camera == "HS" else f"{name}_{camera.lower()}"


def _clip_folders(base: Path, problems: Problems) -> list[Path]:
    """Folders of micro-expression clips; a line for each kind of folder that is passed over."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for folder in list_clip_folders(base):
        kinds[_kind(folder)].append(folder)
    if not kinds["clips"]:
        what = f"no folder of frames with a name such as {SMIC.clip_names.example}"
        raise DataError(base, None, what, "give the folder that holds HS, VIS or NIR as --frames")
    fixes = {
        "of no micro-expression": "nothing is to do",
        "of long videos": "they are those of SMIC-E, read with --dataset smic_long",
    }
    for kind, fix in fixes.items():
        if folders := kinds[kind]:
            what = f"{len(folders)} folder(s) {kind} are passed over (the first: {folders[0].relative_to(base)})"
            problems.warnings.append(Problem(str(base), None, what, fix))
    if others := kinds["others"]:
        what = (
            f"{len(others)} folder(s) of frames with a name unlike {SMIC.clip_names.example} (the first: {others[0]})"
        )
        problems.add(Problem(str(base), None, what, "name them as SMIC does, or move them away"))
    return kinds["clips"]


def _kind(folder: Path) -> str:
    """Which of the kinds of folders of `_clip_folders` a folder is."""
    if any(re.fullmatch(r"non[-_ ]?micro", part, re.IGNORECASE) for part in folder.absolute().parts):
        return "of no micro-expression"
    if any(_LONG.fullmatch(part) for part in folder.absolute().parts):
        return "of long videos"
    return "clips" if _CLIP.fullmatch(folder.name) else "others"


def _camera(folder: Path) -> str:
    """The camera of a clip's folder, from the nearest folder above it that names one."""
    for part in reversed(folder.absolute().parts):
        if cameras := _CAMERA.findall(part):
            return cameras[-1].upper()
    raise DataError(folder, None, "no folder above says which camera", "name the one that it is of HS, VIS or NIR")


def _clip_of_folder(folder: Path, expressions: dict[str, _Expression], root: Path | str) -> Clip:
    """The clip of one folder of frames, with the numbers of `expressions`, out of which it is taken.

    Raises DataError for a folder without a camera or with fewer than three frames.
    """
    match, camera = _CLIP.fullmatch(folder.name), _camera(folder)
    frames = list_frames(folder)
    if len(frames) < 3:
        raise DataError(folder, None, f"{len(frames)} frame(s)", "a clip needs three or more: unpack it again")
    first, last = min(frames), max(frames)
    _, name = _names(match, camera)  # of HS where a sheet has it
    _, expression = expressions.pop(name, (match, None))
    notes = [] if expression is None else [*_notes(match, expression)]
    try:
        interval = fit_to_frames(expression.interval if expression else repair_interval(first, None, last), frames)
    except ValueError as error:
        raise DataError(folder, None, str(error), "correct the row of the sheet, or unpack the clip again") from error
    notes += [note for note in interval.notes if note not in notes]
    missing = [number for number in range(first, last + 1) if number not in frames]
    if missing:
        notes.append(f"{_MISSING}{len(missing)} of {last - first + 1} (the first: {missing[0]})")
    if folder.parent.name.lower() in _COARSE.values():
        notes += _notes_on_class(match, folder.parent.name)
    return _clip_of(match, camera, interval, relative_to_root(folder, root), tuple(notes))


def _notes(match: re.Match[str], expression: Annotation) -> tuple[str, ...]:
    """What a row of a sheet says of its clip."""
    return (*expression.notes, *(_notes_on_class(match, expression.coarse) if expression.coarse else ()))


def _notes_on_class(match: re.Match[str], emotion: str) -> list[str]:
    """A note where a folder or a sheet says another class than the clip's name."""
    if emotion.lower() == _COARSE[match["code"].lower()]:
        return []
    return [f"class {emotion} does not go with the name {match[0]}, which is taken"]


def _clip_of(match: re.Match[str], camera: str, interval: Interval, frames: str, notes: tuple[str, ...]) -> Clip:
    """The clip of a name."""
    subject, name = _names(match, camera)
    if camera != "HS":
        notes += (f"camera {camera}: the ME-VQA rows of the organisers are of HS alone",)
    return Clip(
        id=f"smic/{subject}/{name}",
        dataset="smic",
        subject=subject,
        name=name,
        fps=FPS[camera],
        frames=frames,
        onset=interval.onset,
        apex=interval.apex,
        offset=interval.offset,
        apex_estimated=interval.apex_estimated,
        coarse=_COARSE[match["code"].lower()],
        notes=notes,
    )


def _warn_of_gaps(base: Path, clips: Iterable[Clip], problems: Problems) -> None:
    """A warning that names the clips with frames missing, and another for those whose numbers are passed over, such as
    s18_sur_03 of the cropped release."""
    numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
    gappy = []
    for clip in clips:
        start, index, camera = re.fullmatch(r"(.*_)(\d+)((?:_vis|_nir)?)", clip.name).groups()
        numbers[start, camera].add(int(index))
        gappy += [clip.name for note in clip.notes if note.startswith(_MISSING)]
    absent = [
        name for (start, camera), indices in numbers.items() for name in _passed_over(start, sorted(indices), camera)
    ]
    fix = "unpack them again if your copy has them"
    if gappy:
        what = f"{len(gappy)} clip(s) have frames missing, as their notes say: {', '.join(gappy)}"
        problems.warnings.append(Problem(str(base), None, what, fix))
    if absent:
        what = f"no folder for clips whose numbers are passed over: {', '.join(absent)}"
        problems.warnings.append(Problem(str(base), None, what, fix))


def _passed_over(start: str, indices: list[int], camera: str) -> list[str]:
    """Names of the clips between those of rising `indices`, from 1: `s03_ne_03`, or `s03_ne_03 to 07`."""
    return [
        f"{start}{first:02d}{camera}" + ("" if first == last else f" to {last:02d}{camera}")
        for first, last in ((before + 1, index - 1) for before, index in pairwise([0, *indices]))
        if first <= last
    ]
