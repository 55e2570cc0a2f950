"""A folder of clip folders without annotation, such as the challenge's `ME_VQA_MEGC_2025_Test` (`CAS-1`, `SAMM-1`)."""

import re
from pathlib import Path

from megc.clips import VIDEO_SUFFIXES, Clip, list_frames
from megc.datasets.dataset import Signs
from megc.datasets.folders import list_clip_folders, relative_to_root
from megc.problems import DataError, Problems

# Test clips of the challenge carry their dataset in the name: (dataset, frames a second).
_CHALLENGE = {"CAS": ("casme3", 30.0), "SAMM": ("samm", 200.0)}
_UNKNOWN_FPS = 30.0
SIGNS = Signs(folders=r"(?:CAS|SAMM)-\d+", without_sheet=True, title="test set of the challenge")


def read(
    annotations: Path | str | None,
    frames: Path | str | None,
    root: Path | str,
    problems: Problems,
    repairs: str = "",  # nothing of it could be repaired
) -> list[Clip]:
    """Clips of a folder of clip folders, at any depth: onset is the first frame, offset the last.

    The apex is the middle frame until it is spotted (`apex_estimated`). Clips named as in the challenge's test
    set belong to `casme3` or `samm`, others to `unknown`. A clip is its own subject, as in the rows that ask about
    it, save where an unknown clip lies deeper below `frames`: the folder above it is its subject then.
    A clip with fewer than three frames goes to `problems`. Raises DataError when annotations are given, when the
    folder is missing or not below `root`, or holds no clip.
    """
    if annotations is not None:
        raise DataError(annotations, None, "an unlabelled dataset has no annotations", "leave --annotations out")
    if frames is not None and Path(frames).suffix.lower() in VIDEO_SUFFIXES and not Path(frames).is_dir():
        what = "a video, not a folder of clips" if Path(frames).is_file() else "the video does not exist"
        fix = "give a folder of clip folders; videos go to data_process/extract_frames.py --source"
        raise DataError(frames, None, what, fix)
    if frames is None or not Path(frames).is_dir():
        raise DataError(frames or "--frames", None, "the folder of clips does not exist", "give it as --frames")
    folders = list_clip_folders(Path(frames))
    if not folders:
        videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in Path(frames).rglob("*"))
        what = f"no folder with images{f', but {videos} video(s)' if videos else ''}"
        fix = "give the folder that holds the clips' folders; videos go to data_process/extract_frames.py --source"
        raise DataError(frames, None, what, fix)
    relative_to_root(folders[0], root)  # once for all, rather than a problem a clip
    clips: dict[str, Clip] = {}
    for folder in folders:
        with problems.collect():
            clip = _clip_of(folder, Path(frames), root)
            if clip.id in clips:
                what = f"clip {clip.id} is already in {clips[clip.id].frames}, which is kept"
                raise DataError(folder, None, what, "keep one of the two folders")
            clips[clip.id] = clip
    return list(clips.values())


def _clip_of(folder: Path, frames: Path, root: Path | str) -> Clip:
    """The clip of one folder of frames. Raises DataError for fewer than three frames."""
    numbers = list(list_frames(folder))
    if len(numbers) < 3:
        raise DataError(folder, None, f"{len(numbers)} frame(s)", "a clip needs three or more: unpack it again")
    notes = ["onset, offset: the first and the last frame", "apex: the middle frame, not spotted yet"]
    challenge = re.fullmatch(r"(CAS|SAMM)-\d+", folder.name)
    if challenge:
        dataset, fps = _CHALLENGE[challenge[1]]
        subject = folder.name  # the organisers do not say who it is
    else:
        dataset, fps = "unknown", _UNKNOWN_FPS
        subject = folder.name if folder.parent == frames else folder.parent.name
        notes.append(f"frame rate unknown: {_UNKNOWN_FPS:g} a second is taken")
    return Clip(
        id=f"{dataset}/{subject}/{folder.name}",
        dataset=dataset,
        subject=subject,
        name=folder.name,
        fps=fps,
        frames=relative_to_root(folder, root),
        onset=numbers[0],
        apex=numbers[(len(numbers) - 1) // 2],
        offset=numbers[-1],
        apex_estimated=True,
        notes=tuple(notes),
    )
