"""Clips without annotation, as folders of frames or videos, such as the challenge's `ME_VQA_MEGC_2025_Test`."""

import re
from pathlib import Path

from megc.clips import Clip
from megc.datasets.dataset import Signs
from megc.datasets.folders import list_clip_folders, list_videos, relative_to_root
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
    """Clips of a folder of clip folders and videos, at any depth, or of one video, from first to last frame.

    The apex is the middle frame until it is spotted (`apex_estimated`). Clips named as in the challenge's test
    set belong to `casme3` or `samm`, others to `unknown`. A clip is its own subject, as in the rows that ask about
    it, save where an unknown clip lies deeper below `frames`: the folder above it is its subject then.
    A clip with fewer than three frames, and a video that cannot be read, go to `problems`. Raises DataError when
    annotations are given, when the folder is missing or not below `root`, or holds no clip.
    """
    if annotations is not None:
        raise DataError(annotations, None, "an unlabelled dataset has no annotations", "leave --annotations out")
    if frames is None or not Path(frames).exists():
        raise DataError(frames or "--frames", None, "the folder of clips does not exist", "give it as --frames")
    top = Path(frames)
    if top.is_file():
        sources, top = [top], top.parent
    else:
        sources = [*list_clip_folders(top), *list_videos(top)]
    if not sources:
        what = "no folder with images and no video"
        raise DataError(frames, None, what, "give the folder that holds the clips' folders or videos")
    relative_to_root(sources[0], root)  # once for all, rather than a problem a clip
    clips: dict[str, Clip] = {}
    for source in sources:
        with problems.collect():
            clip = _clip_of(source, top, root)
            if clip.id in clips:
                what = f"clip {clip.id} is already in {clips[clip.id].frames}, which is kept"
                raise DataError(source, None, what, "keep one of the two")
            clips[clip.id] = clip
    return list(clips.values())


def _clip_of(source: Path, top: Path, root: Path | str) -> Clip:
    """The clip of a folder of frames or a video below `top`. Raises DataError for fewer than three frames."""
    from megc.motion.frames import open_frames  # here: programs that list the readers in --help wait for no OpenCV

    frames = open_frames(source)
    numbers, name = frames.numbers, source.stem if source.is_file() else source.name
    if len(numbers) < 3:
        raise DataError(source, None, f"{len(numbers)} frame(s)", "a clip needs three or more: unpack it again")
    notes = ["onset, offset: the first and the last frame", "apex: the middle frame, not spotted yet"]
    rate = getattr(frames, "fps", 0.0)  # a video knows its own
    challenge = re.fullmatch(r"(CAS|SAMM)-\d+", name)
    if challenge:
        dataset, fps = _CHALLENGE[challenge[1]]
        subject = name  # the organisers do not say who it is
    else:
        dataset, fps = "unknown", rate or _UNKNOWN_FPS
        subject = name if source.parent == top else source.parent.name
        if not rate:
            notes.append(f"frame rate unknown: {_UNKNOWN_FPS:g} a second is taken")
    return Clip(
        id=f"{dataset}/{subject}/{name}",
        dataset=dataset,
        subject=subject,
        name=name,
        fps=fps,
        frames=relative_to_root(source, root),
        onset=numbers[0],
        apex=numbers[(len(numbers) - 1) // 2],
        offset=numbers[-1],
        apex_estimated=True,
        notes=(*notes, *frames.faults),
    )
