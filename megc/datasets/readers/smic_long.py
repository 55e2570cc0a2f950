"""SMIC-E-long (Li et al., IEEE Trans. Affective Computing 2018): 157 videos of 16 subjects at 100 frames a second, and
of the cameras VIS and NIR at 25, with micro-expressions only: macro-expressions are not annotated.

Its sheets are `SMIC-HS-E_annotation.xlsx` (`_2019`, `_orig`) and `SMIC_VIS_E_annotation.xlsx`, whose columns `OnsetF
NIR` are of the third camera. A row is a video with up to three micro-expressions; rows of words stand below them.
Frames: `SMIC-E_raw image/HS_long/SMIC-HS-E/s03/s3_ne_22/image443812.jpg`, numbered as in the sheet. The emotion is in
the file's name. No sheet of the release was at hand: columns and quirks are those of public loaders (tvaranka/meb).
"""

import re
from dataclasses import replace
from pathlib import Path

from megc.clips import Video
from megc.datasets.dataset import Signs
from megc.datasets.long_videos import EventNames, LongDataset, attach_frames, read_long
from megc.datasets.readers.smic import FPS
from megc.datasets.spreadsheets import Row, SheetForm, cell_excerpt, frame_of, is_empty, subject_number, text_of
from megc.problems import Problems

_FILE = re.compile(r"s0*(?P<subject>[1-9]\d*)_(?P<code>ne|po|sur)_0*(?P<index>[1-9]\d*)", re.IGNORECASE)
_COARSE = {"ne": "negative", "po": "positive", "sur": "surprise"}
_EVENTS = ("", "2", "3")  # of a row: OnsetF, Onset2F, Onset3F
_POINTS = ("onset", "apex", "offset")
_NIR = "nir"
_COLUMNS = {
    f"{point}{number}{camera}": (f"{point}{number}f{camera}",)
    for point in _POINTS
    for number in _EVENTS
    for camera in ("", _NIR)
}
_ENDS = {f"{end}{camera}": (f"{end}f{camera}",) for end in ("first", "last") for camera in ("", _NIR)}


def _event_rows(row: Row) -> list[Row]:
    """A row for each micro-expression of a video, with its number and camera in the cells `event` and `camera`."""
    rows = []
    for camera in ("", _NIR):
        for number, suffix in enumerate(_EVENTS, start=1):
            cells = {point: row.cells.get(f"{point}{suffix}{camera}") for point in _POINTS}
            # the first of a row must be there, and a number without its onset is a fault; 0 fills some sheets
            if any(map(_is_filled, cells.values())) or (number == 1 and not camera):
                ends = {end: row.cells.get(f"{end}{camera}") for end in ("first", "last")}
                match = _FILE.fullmatch(text_of(row.cells["filename"]))
                emotion = _COARSE[match["code"].lower()] if match else ""
                cells |= {"event": number, "camera": camera, "emotion": emotion, **ends}
                cells["notes"] = _emotion_note(row.cells["emotion"], emotion) if "emotion" in row.cells else ""
                rows.append(replace(row, cells={**row.cells, **cells}))
    return rows


def _is_filled(cell: object) -> bool:
    return not is_empty(cell) and text_of(cell) != "0"


def _emotion_note(cell: object, emotion: str) -> str:
    """A note on an emotion of the sheet that is not the file name's, be it written out or cut short (`ne`)."""
    if is_empty(cell):
        return f"no emotion in the sheet, {emotion} by the name"
    word = text_of(cell)
    # a number too, which some copies have in place of a word: how they count is not known
    is_short = emotion.startswith(word.casefold().rstrip(" .") or "?")
    return "" if is_short else f"emotion {word} in the sheet, {emotion} by the name"


def _names_of(row: Row) -> EventNames:
    """`s3_ne_22` is the video `s03_ne_22` of subject `s03`; the camera NIR ends its name."""
    match = _FILE.fullmatch(text_of(row.cells["filename"]))
    if not match:
        raise ValueError(f"{cell_excerpt(row.cells['filename'])} names no video, such as s3_ne_22")
    number = int(match["subject"])
    if subject_number(row.cells["subject"]) != number:
        raise ValueError(f"video {text_of(row.cells['filename'])} is of subject {number}")
    name = f"s{number:02d}_{match['code'].lower()}_{int(match['index']):02d}"
    name += f"_{row.cells['camera']}" if row.cells.get("camera") else ""
    return EventNames(f"s{number:02d}", name, f"{name}_{row.cells.get('event', 1)}")


def _is_remark(row: Row) -> bool:
    return not _FILE.fullmatch(text_of(row.cells["filename"])) and is_empty(row.cells["onset"])


def _extent(row: Row) -> tuple[int, int] | None:
    """First and last frame of the video; None where a cell holds words."""
    first, last = (frame_of(row.cells.get(end)) for end in ("first", "last"))
    return (first, last) if first is not None and last is not None and first <= last else None


def _video_fields(video: Video) -> dict[str, str]:
    """`s3_ne_22`, as folders are named too, of `s03_ne_22`."""
    match = _FILE.match(video.name)
    return {"file": f"s{int(match['subject'])}_{match['code']}_{int(match['index']):02d}"}


SMIC_LONG = LongDataset(
    name="smic_long",
    title="SMIC-E-long",
    fps=FPS["HS"],
    forms=(
        SheetForm(
            columns=("subject", "filename", "onset", "offset"),
            optional=("emotion", *(name for name in (*_COLUMNS, *_ENDS) if name not in ("onset", "offset"))),
            headers=_COLUMNS | _ENDS,
        ),
    ),
    names_of=_names_of,
    event_rows=_event_rows,
    type="micro",
    layouts=("", *(f"{above}SMIC-HS-E" for above in ("", "HS_long/", "SMIC-E_raw image/HS_long/"))),
    video_folders=("{subject}/{file}", "{subject}/{video}"),
    folder_fields=_video_fields,
    is_remark=_is_remark,
    extent=_extent,
    signs=Signs(
        sheets=r"SMIC[-_](HS|VIS)[-_]E_annotation.*",
        folders=r"s\d+/s\d+_(?:ne|po|sur)_\d+",
        frames=r"image\d+\.\w+",
    ),
)


def read(
    annotations: Path | str | None,
    frames: Path | str | None,
    root: Path | str,
    problems: Problems,
    repairs: str = "",
    labels: Path | str | None = None,
) -> list[Video]:
    """Videos of a sheet, of the camera that the file's name says (HS unless it has VIS in it); NIR ones beside VIS.

    The arguments are those of `long_videos.read_long`, and so is what it raises. Videos of VIS end in `_vis`.
    """
    if annotations is None or not re.search(r"(?<![a-z])VIS(?![a-z])", Path(annotations).name, re.IGNORECASE):
        return read_long(SMIC_LONG, annotations, frames, root, problems, repairs, labels)
    videos: dict[str, list[Video]] = {"VIS": [], "NIR": []}
    for video in read_long(replace(SMIC_LONG, fps=FPS["VIS"]), annotations, None, root, problems, repairs, labels):
        if video.name.endswith(f"_{_NIR}"):
            videos["NIR"].append(video)
        else:
            name = f"{video.name}_vis"
            videos["VIS"].append(replace(video, id=f"{video.dataset}/{video.subject}/{name}", name=name))
    if frames is not None:
        for camera, members in videos.items():
            if members:
                layouts = tuple(layout.replace("HS", camera) for layout in SMIC_LONG.layouts)
                videos[camera] = attach_frames(replace(SMIC_LONG, layouts=layouts), members, frames, root, problems)
    return videos["VIS"] + videos["NIR"]
