"""Where a dataset's frames lie: the folder layouts in circulation, tried in order, one for the whole dataset."""

import os
import re
from pathlib import Path

from megc.clips import IMAGE_SUFFIXES
from megc.problems import DataError


def find_layout(frames: Path | str, layouts: tuple[str, ...], subjects: set[str]) -> Path:
    """The first of `layouts` (sub-folders of `frames`, `""` for itself) that holds a folder of one of `subjects`.

    One layout is taken for all clips, so that crops and full frames never mix. Raises DataError that lists the
    places looked at.
    """
    frames = Path(frames)
    if not frames.is_dir():
        raise DataError(frames, None, "the folder does not exist", "check --frames, or leave it out")
    for layout in layouts:
        if any((frames / layout / subject).is_dir() for subject in subjects):
            return frames / layout
    places = ", ".join(repr(layout or ".") for layout in layouts)
    what = f"no subject's folder (such as {min(subjects, default='?')}) in any of {places}"
    raise DataError(frames, None, what, "give the folder that holds the subjects' folders as --frames")


def relative_to_root(folder: Path, root: Path | str) -> str:
    """`folder` as `clips.jsonl` in `root` writes it: relative, with `/`, judged by its text (links are kept).

    Raises DataError when the folder is not below `root`.
    """
    # not Path.resolve, which would follow a link to the data out of the root
    relative = os.path.relpath(os.path.abspath(folder), os.path.abspath(root))
    if relative.split(os.sep)[0] == os.pardir:
        link = os.path.join(root, Path(os.path.abspath(folder)).name)
        fix = f"write --out above the frames, or link them (ln -s {os.path.abspath(folder)} {link}) and give the link"
        raise DataError(folder, None, f"the frames are not below {root}", fix)
    return Path(relative).as_posix()


def list_clip_folders(frames: Path) -> list[Path]:
    """Folders below `frames` that hold images, in the order a reader expects: CAS-2 before CAS-10."""
    images = (path for path in frames.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    folders = {path.parent for path in images} - {frames}

    def natural(folder: Path) -> list[tuple[int, str]]:  # numbers before words, and by value
        parts = re.findall(r"\d+|\D+", folder.relative_to(frames).as_posix())
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    return sorted(folders, key=natural)
