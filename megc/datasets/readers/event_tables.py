"""Tables of events of any long videos: `events.csv`, and `videos.csv` beside it.

`events.csv` has the columns `dataset, subject, video, onset, offset, type` and, where they are known, `event, apex,
action_units, emotion, repair`; `videos.csv` has `dataset, subject, video, frames, fps`, also of videos without events.
The names stay as they are. Without `videos.csv`, lengths are unknown and frame rates are those of the datasets that
have a reader. Frames: a folder a video, `<video>` or `<subject>/<video>`, with or without the dataset's name above.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from megc.clips import Video
from megc.datasets.dataset import Signs
from megc.datasets.folders import is_folder_name
from megc.datasets.long_videos import (
    EventNames,
    LongDataset,
    attach_frames,
    check_extent,
    group_events,
    read_events,
)
from megc.datasets.readers.casme3 import CASME3_VIDEOS
from megc.datasets.readers.casme3_c import CASME3_C_VIDEOS
from megc.datasets.readers.casme_sq import CASME_SQ_VIDEOS
from megc.datasets.readers.samm_lv import SAMM_LV
from megc.datasets.spreadsheets import Row, SheetForm, cell_excerpt, frame_of, read_sheet, text_of
from megc.problems import DataError, Problems, excerpt

_FRAME_RATES = {
    dataset.name: dataset.fps
    for dataset in (SAMM_LV, CASME_SQ_VIDEOS, CASME3_VIDEOS, CASME3_C_VIDEOS)  # that of SMIC is the camera's
}
_FASTEST = 1e5  # frames a second
_VIDEO_FORM = SheetForm(
    columns=("dataset", "subject", "filename", "frames", "fps"),
    headers={"dataset": ("dataset",), "filename": ("video",), "frames": ("frames",), "fps": ("fps",)},
)
_FOLDERS = ("{dataset}/{subject}/{video}", "{subject}/{video}", "{dataset}/{video}", "{video}")


def _names_of(row: Row) -> EventNames:
    subject, video = (text_of(row.cells[column]) for column in ("subject", "filename"))
    if not subject or not video:
        raise ValueError("no subject or no video")
    return EventNames(subject, video, text_of(row.cells.get("event")))


EVENT_TABLE = LongDataset(
    name="events",
    title="a table of events",
    fps=0.0,  # of each video
    forms=(
        SheetForm(
            columns=("dataset", "subject", "filename", "onset", "offset", "type"),
            optional=("event", "apex", "units", "emotion", "notes"),
            headers={
                "dataset": ("dataset",),
                "filename": ("video",),
                "event": ("event",),
                "notes": ("notes", "repair"),
            },
        ),
    ),
    names_of=_names_of,
    layouts=("",),
    video_folders=_FOLDERS,
    folder_fields=lambda video: {"dataset": video.dataset},
    signs=Signs(sheets=r"events.*\.csv"),
)


def read_event_tables(
    annotations: Path | str | None,
    frames: Path | str | None,
    root: Path | str,
    problems: Problems,
    repairs: str = "",
    labels: Path | str | None = None,
) -> list[Video]:
    """Videos of `events.csv` and of `videos.csv` beside it, in the latter's order; bad rows go to `problems`.

    The arguments are those of `long_videos.read_long`. Raises DataError when the whole is unusable.
    """
    if annotations is None:
        raise DataError(EVENT_TABLE.name, None, "no table", "give events.csv as --annotations")
    if labels is not None:
        raise DataError(labels, None, "a table of events has its own emotions", "leave --emotions out")
    rows = read_sheet(annotations, problems, EVENT_TABLE.forms)
    beside = Path(annotations).with_name("videos.csv")
    videos = _read_videos(beside, problems) if beside.is_file() else {}
    by_dataset = defaultdict(list)
    for row in rows:
        by_dataset[text_of(row.cells["dataset"])].append(row)
    for dataset, of_dataset in by_dataset.items():
        events = read_events(EVENT_TABLE, of_dataset, problems)
        for video in group_events(dataset, _FRAME_RATES.get(dataset, 0.0), events):
            with problems.collect():
                videos[video.id] = _joined(video, videos.get(video.id), beside, problems)
    if frames is None:
        return list(videos.values())
    return attach_frames(EVENT_TABLE, list(videos.values()), frames, root, problems)


def _joined(video: Video, listed: Video | None, file: Path, problems: Problems) -> Video:
    """The events of a video with its length and frame rate. Raises DataError for a rate that is not known."""
    if not is_folder_name(video.dataset):
        raise DataError(file.parent, video.id, f"{excerpt(video.dataset)} is no dataset's name", "write a word")
    if listed is None:
        if not video.fps:
            what = f"no frame rate of the video, and no reader knows the dataset {excerpt(video.dataset)}"
            raise DataError(file, video.id, what, "write a line for it, with dataset, subject, video, frames and fps")
        return video
    video = replace(listed, events=video.events)
    return video if listed.length is None else check_extent(video, 1, listed.length, problems)


def _read_videos(file: Path, problems: Problems) -> dict[str, Video]:
    """Videos without events, by id, in the order of `videos.csv`; bad rows go to `problems`."""
    videos: dict[str, Video] = {}
    for row in read_sheet(file, problems, (_VIDEO_FORM,)):
        with problems.collect():
            dataset, subject, name = (text_of(row.cells[column]) for column in ("dataset", "subject", "filename"))
            if not all(map(is_folder_name, (dataset, subject, name))):
                raise row.error("dataset, subject or video is no name", "fill the cells with words")
            try:
                length, fps = frame_of(row.cells["frames"]), float(text_of(row.cells["fps"]))
            except ValueError as error:
                raise row.error(str(error), "write the number of frames, and frames a second") from error
            if not 0 < fps <= _FASTEST or length == 0:
                what = f"{cell_excerpt(row.cells['frames'])} frames, {cell_excerpt(row.cells['fps'])} a second"
                raise row.error(what, "write the number of frames (empty: unknown), and frames a second")
            video = Video(f"{dataset}/{subject}/{name}", dataset, subject, name, fps, length=length)
            if video.id in videos:
                raise row.error(f"video {video.id} stands above already", "delete one of the two rows")
            videos[video.id] = video
    return videos
