"""Spotted intervals as the challenges take them: `cas_pred.csv` and `samm_pred.csv`, checked.

The form `str` is that of ME-STR (2024, 2025): `subject,video,onset,offset,emotion` of micro-expressions with one of
the three emotions. The form `spotting` is that of 2022 and 2023: `vid,pred_onset,pred_offset,type`, `me` or `mae`.
"""

import io
import zipfile
from collections import defaultdict
from collections.abc import Sequence

from megc.clips import Video
from megc.files import write_bytes, write_text
from megc.problems import Problem, Problems
from megc.scoring.interval_files import VideoIndex, plain_name, read_run, read_video_list
from megc.scoring.settings import SpottingSubmissionSettings
from megc.scoring.str_metrics import ANALYSED, SpottedInterval, emotion_class

HEADS = {"str": "subject,video,onset,offset,emotion", "spotting": "vid,pred_onset,pred_offset,type"}
_TYPES = {"micro": "me", "macro": "mae"}


def file_name(dataset: str) -> str:
    """The organisers' name of the file of a dataset: `samm_pred.csv`, `cas_pred.csv`."""
    short = next((name for name in ("samm", "cas") if dataset.startswith(name)), dataset)
    return f"{short}_pred.csv"


def submission_row(video: Video, interval: SpottedInterval, form: str) -> tuple[str, str]:
    """The line of an interval and, where it is left out, why; one of the two is empty.

    Frames become whole; ME-STR takes micro-expressions with an analysed emotion only.
    """
    onset, offset = round(interval.onset), round(interval.offset)
    if form == "spotting":
        return f"{video.name},{onset},{offset},{_TYPES[interval.type]}", ""
    emotion = emotion_class(interval.emotion, ANALYSED)
    if interval.type != "micro":
        return "", "are macro-expressions"
    if emotion not in ANALYSED:
        return "", f"have the emotion {emotion}" if emotion else "have no emotion"
    return f"{plain_name(video.subject)},{video.name},{onset},{offset},{emotion}", ""


def _span_fault(video: Video, interval: SpottedInterval) -> str:
    """What is wrong with the place of an interval in its video; empty where nothing is."""
    if round(interval.onset) < 0:
        return f"begins at frame {interval.onset:g} of {video.id}"
    if video.length is not None and round(interval.offset) > video.length:
        return f"ends at frame {interval.offset:g}, but {video.id} has {video.length}"
    return ""


def submission_lines(
    videos: Sequence[Video], predictions: dict[str, list[SpottedInterval]], form: str, problems: Problems
) -> tuple[dict[str, list[str]], list[str]]:
    """Lines of each file by its name, and sentences on what was left out.

    Intervals that do not lie in their video are reported in `problems` and left out; one that comes twice counts once.
    """
    files: dict[str, list[str]] = {file_name(video.dataset): [HEADS[form]] for video in videos}
    left_out: dict[str, int] = defaultdict(int)
    for video in videos:
        lines = files[file_name(video.dataset)]
        for interval in predictions.get(video.id, ()):
            line, why = submission_row(video, interval, form)
            if fault := _span_fault(video, interval):
                fix = "check the frame rate it was spotted at"
                problems.add(Problem(file_name(video.dataset), None, f"an interval {fault}", fix))
            elif why or line in lines:
                left_out[why or "come twice"] += 1
            else:
                lines.append(line)
    return files, [f"{count} intervals left out that {why}" for why, count in sorted(left_out.items())]


def write_spotting_submission(settings: SpottingSubmissionSettings, problems: Problems) -> str:
    """Write the submission of intervals in any form that `read_run` reads; with nothing wrong, pack it as well."""
    videos = read_video_list(settings.videos, settings.dataset, settings.fps)
    index, predictions = VideoIndex(videos), defaultdict(list)
    for path in settings.predictions:
        for video_id, rows in read_run(path, index, problems, settings.dataset).predictions.items():
            predictions[video_id] += rows
    files, notes = submission_lines(videos, predictions, settings.form, problems)
    for name, lines in files.items():
        write_text(settings.out / name, "\n".join(lines) + "\n")
        empty = sum(file_name(v.dataset) == name and not predictions.get(v.id) for v in videos)
        notes.append(f"{settings.out / name}: {len(lines) - 1} intervals, {empty} videos without any")
    if settings.zip and not len(problems):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in files:
                archive.write(settings.out / name, name)
        write_bytes(settings.zip, packed.getvalue())
        notes.append(f"wrote {settings.zip}")
    return "\n".join(notes)
