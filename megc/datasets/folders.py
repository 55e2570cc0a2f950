"""Where a dataset's frames lie: the folder layouts in circulation, of which one is taken for the whole dataset."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from megc.clips import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from megc.files import resolve_inside
from megc.problems import DataError

_ENOUGH = 0.9  # of the clips that the fullest layout has: an earlier layout with so many is taken


@dataclass(frozen=True)
class ClipFolders:
    """The layout of a dataset's frames: `place`, a folder below `--frames`; and the folder of each clip, in the order
    asked for, None where it is not there."""

    place: Path
    folders: list[Path | None]

    @property
    def count(self) -> int:
        """How many clips have a folder."""
        return len(self.folders) - self.folders.count(None)


@dataclass
class FolderNames:
    """Folders by their names without regard to case, with the wildcards of a shell; each listing is read once."""

    _listings: dict[Path, set[str]] = field(default_factory=dict)

    def find(self, start: Path, path: str) -> Path | None:
        """The folder `path` (with `/`) below `start`; None where it is not there.

        Raises DataError where two folders have the name and neither is spelled exactly so.
        """
        folder = start
        for name in filter(None, path.split("/")):
            entries = self._list(folder)
            if name in entries and not glob.has_magic(name):
                folder /= name
                continue
            pattern = re.compile(fnmatch.translate(name.casefold()))
            fitting = [entry for entry in entries if pattern.match(entry.casefold())]
            if len(fitting) > 1:
                what = f"{' and '.join(sorted(fitting)[:2])} are both like {name}"
                raise DataError(folder, None, what, "rename one of the two folders")
            if not fitting:
                return None
            folder /= fitting[0]
        return folder

    def _list(self, folder: Path) -> set[str]:
        if folder not in self._listings:
            with os.scandir(folder) as entries:
                self._listings[folder] = {entry.name for entry in entries if entry.is_dir()}
        return self._listings[folder]


def find_clip_folders(
    frames: Path | str, layouts: Sequence[str], templates: Sequence[str], clips: Sequence[Sequence[Mapping[str, str]]]
) -> ClipFolders:
    """The folders of `clips` in the first layout that has about as many of them as any other has.

    A layout is a place below `frames` (`""`: itself) with a template of the clips' folders below it; `clips` are the
    values of the template's fields, of each clip the likeliest first. One layout is taken for all clips, so that
    crops and full frames never mix.
    Raises DataError that lists the places looked at, when no clip has a folder.
    """
    frames = Path(frames)
    if not frames.is_dir():
        raise DataError(frames, None, "the folder does not exist", "check --frames, or leave it out")
    names, candidates = FolderNames(), []
    for layout in layouts:
        if (start := names.find(frames, layout)) is None:
            continue
        by_template = [[_find(names, start, template, values) for values in clips] for template in templates]
        # the first of the fullest: below one place they are kinds of releases, of which no folder may be missed
        candidates.append(ClipFolders(start, min(by_template, key=lambda folders: folders.count(None))))
    most = max((layout.count for layout in candidates), default=0)
    if most:
        return next(layout for layout in candidates if layout.count >= _ENOUGH * most)
    places = ", ".join(repr(layout or ".") for layout in layouts)
    examples = " or ".join(template.format_map(_Fields(clips[0][0])) for template in templates) if clips else "?"
    what = f"no clip's folder (such as {examples}) in any of {places}"
    fix = "give the folder that holds the subjects' folders as --frames"
    if videos := sum(path.suffix.lower() in VIDEO_SUFFIXES for path in frames.rglob("*")):
        what += f", but {videos} video(s)"
        fix = "unpack the frames; this reader takes no videos"
    raise DataError(frames, None, what, fix)


class _Fields(dict):
    """Values of a template's fields as they stand in a path, without the meaning that a shell gives to letters."""

    def __getitem__(self, name: str) -> str:
        return glob.escape(super().__getitem__(name))


def _find(names: FolderNames, start: Path, template: str, values: Sequence[Mapping[str, str]]) -> Path | None:
    """The first folder that is there of those that the template names with each of the `values`."""
    fields = re.findall(r"{(\w+)", template)
    # an empty value is none: a clip without an emotion lies beside the folders of emotions
    safe = (v for v in values if all(not v[name] or is_folder_name(v[name]) for name in fields))
    paths = (names.find(start, template.format_map(_Fields(v))) for v in safe)
    return next((path for path in paths if path), None)


def is_folder_name(name: str) -> bool:
    """Whether a name can be that of a folder, here and on other systems, and no path to somewhere else."""
    try:
        resolve_inside("", name)
    except ValueError:
        return False
    return "/" not in name


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
    return _in_natural_order({path.parent for path in images} - {frames}, frames)


def list_videos(frames: Path) -> list[Path]:
    """Video files below `frames`, in the order of `list_clip_folders`."""
    return _in_natural_order({path for path in frames.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES}, frames)


def _in_natural_order(paths: Iterable[Path], root: Path) -> list[Path]:
    def natural(path: Path) -> list[tuple[int, str]]:  # numbers before words, and by value
        parts = re.findall(r"\d+|\D+", path.relative_to(root).as_posix())
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    return sorted(paths, key=natural)
