"""CAS(ME)² (Qu et al., IEEE Trans. Affective Computing 2018): 57 micro- and 300 macro-expressions of 22 subjects in 98
videos at 30 frames a second.

Its sheet is `CAS(ME)^2code_final.xlsx`, or `…(Updated)`, which names other action units; both lack a header row. Two
more sheets of the workbook say what its numbers and names mean; they are given here, since spreadsheet programs take
the zero off the videos' codes. Emotions are coarse classes. The micro-expressions are clips; 44 macro-expressions have
the offset 0, for which casme_sq.csv has the rules of two published works. Frames: `selectedpic/s15/anger1_1/` or the
whole video, `rawpic/s15/15_0401girlcrashing/img001.jpg`, its faces in `rawpic_crop` or `cropped`.
"""

import re

from megc.clips import Video
from megc.datasets.dataset import Annotation, ClipNames, Dataset, Signs
from megc.datasets.long_videos import EventNames, LongDataset
from megc.datasets.spreadsheets import CLIP_COLUMNS, Row, SheetForm, subject_number, text_of

# naming rule 1: the sheet's subject, from 1, and the number in the names of the subject's folders
FOLDER_NUMBERS = dict(enumerate((15, 16, *range(19, 28), *range(29, 39), 40), start=1))
# naming rule 2: a video, named by what it shows, and its code in the folders' names (`s15/15_0401girlcrashing`)
VIDEO_CODES = {
    "disgust1": "0101",
    "disgust2": "0102",
    "anger1": "0401",
    "anger2": "0402",
    "happy1": "0502",
    "happy2": "0503",
    "happy3": "0505",
    "happy4": "0507",
    "happy5": "0508",
}


def video_code(filename: str) -> str:
    """Code of the video that holds an expression: 0401 of `anger1_1`, the first of the video `anger1`.

    Raises ValueError for a name of another kind, or of no video of CAS(ME)².
    """
    match = re.fullmatch(r"([a-z]+\d)_\d+", filename.strip().lower())
    if not match or match[1] not in VIDEO_CODES:
        raise ValueError(f"{filename!r} names no expression in a video of CAS(ME)², such as anger1_1")
    return VIDEO_CODES[match[1]]


def _folder_fields(clip: Annotation) -> dict[str, str]:
    """`15` and `0401` of the folder of the video, `s15/15_0401girlcrashing`."""
    try:
        code = video_code(clip.filename)
    except ValueError:  # noted on the clip, since its name is not like those of the dataset
        code = "unknown"
    return {"number": clip.subject.removeprefix("s"), "code": code}


_FOLDERS = ("selectedpic", "rawpic_crop", "cropped", "rawpic")  # frames of the clips, faces, full frames

CASME_SQ = Dataset(
    name="casme_sq",
    clip_names=ClipNames("CAS(ME)²", r"(anger|disgust|happy)\d_\d+", "anger1_1"),
    fps=30.0,
    subject="s{:02d}",
    subject_numbers=FOLDER_NUMBERS,
    layouts=(*(f"{above}{folder}" for folder in _FOLDERS for above in ("", "CASME_sq/", f"{folder}/")), ""),
    clip_folders=("{subject}/{filename}", "{subject}/{number}_{code}*"),
    forms=(SheetForm(columns=(*CLIP_COLUMNS, "type"), without_header=True),),
    coarse_only=True,
    folder_fields=_folder_fields,
    signs=Signs(
        sheets=r"(CAS\(ME\)\^?2)?code_final.*",
        folders=r"s\d+/(?:\d+_0\d{3}[a-z]+|(?:anger|disgust|happy)\d_\d+)",
        frames=r"(reg_)?img\d{3,}\.\w+",
    ),
)


def _names_of(row: Row) -> EventNames:
    """Event `anger1_1` of the sheet's subject 1 is of the video `s15_0401`."""
    number = subject_number(row.cells["subject"])
    if number not in FOLDER_NUMBERS:
        raise ValueError(f"CAS(ME)² has no subject {number}")
    subject, name = f"s{FOLDER_NUMBERS[number]:02d}", text_of(row.cells["filename"])
    return EventNames(subject, f"{subject}_{video_code(name)}", name)


def _video_fields(video: Video) -> dict[str, str]:
    """`15` and `0401` of the folder of `s15_0401`."""
    number, code = video.name.removeprefix("s").split("_")
    return {"number": number, "code": code}


CASME_SQ_VIDEOS = LongDataset(
    name=CASME_SQ.name,
    title=CASME_SQ.clip_names.title,
    fps=CASME_SQ.fps,
    forms=CASME_SQ.forms,
    names_of=_names_of,
    layouts=CASME_SQ.layouts,
    video_folders=("{subject}/{number}_{code}*",),
    folder_fields=_video_fields,
)
