"""Writes the datasets' layouts: small sets of synthetic clips and videos as the owners release theirs, with the truth.

In the folder: `<layout>/…` sheets and frames; `<layout>/truth.jsonl` (`truth_rows`); `<layout>/layout.json`, the
settings.
"""

import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from megc.files import lock_folder, read_json, write_bytes, write_json, write_jsonl
from megc.motion.parallel import process_pool, submit_task, use_one_thread
from megc.problems import DataError
from megc.synthesis.layout_rows import LabelledRow
from megc.synthesis.layout_sheets import xls_bytes, xlsx_bytes
from megc.synthesis.layouts import Layout, SheetFile, form_cells, layout_rows, load_layouts
from megc.synthesis.render import ClipSpec, Rendering, UnitMotion
from megc.synthesis.settings import MakeDemoSettings
from megc.synthesis.unit_fields import ANCHORS

Pictures = Literal["drawn", "blank", "none"]  # of the frames: synthetic faces, plain grey, or no frames at all
_GENERATOR = 1  # raise it when the same settings give other bytes
_AROUND = 12  # frames of a whole video between two that are written, times `every`
_AMPLITUDE = 1.7  # px on a face 236 px wide


@dataclass(frozen=True)
class FrameFolder:
    """A folder of frames: the movements that its frames show, and the frame numbers to write."""

    path: str
    layout: Layout
    rows: tuple[LabelledRow, ...]
    numbers: tuple[int, ...]


def plan_folders(layout: Layout, rows: Iterable[LabelledRow], every: int) -> list[FrameFolder]:
    """The folders of a layout's frames: onset, apex, offset of each movement, each n-th frame between them, and a few
    around them where the folder holds the whole video; frames that are `missing` are left out."""
    members: dict[str, list[LabelledRow]] = {}
    for row in rows:
        if row.kind != "blink":
            members.setdefault(layout.format(layout.folder, row), []).append(row)
    folders = []
    for path, group in members.items():
        numbers: set[int] = set()
        for row in group:
            middle = max(row.onset + 1, (row.onset + row.offset) // 2)
            numbers |= {*range(row.onset, row.offset + 1, every), middle, row.apex or middle, row.offset}
            # the first that follows a missing onset, which is taken for it
            numbers |= {next(n for n in range(row.onset, row.offset + 1) if n not in row.missing)}
        if layout.whole:
            last = max(numbers) + 30
            first = layout.first if layout.first >= 0 else min(numbers) + layout.first
            numbers |= {*range(first, last + 1, _AROUND * every), last}
        missing = frozenset[int]().union(*(row.missing for row in group))
        folders.append(FrameFolder(path, layout, tuple(group), tuple(sorted(numbers - missing))))
    return folders


def _spec_of(layout: Layout, row: LabelledRow, seed: int) -> ClipSpec:
    """What is drawn of a movement: the units that can be, at one amplitude."""
    units = tuple(UnitMotion(number, side, _AMPLITUDE) for number, side in row.units if number in ANCHORS)
    offset = max(row.offset, row.onset + 2)
    apex = row.apex if row.apex and row.onset < row.apex < offset else (row.onset + offset) // 2
    person = 1000 * seed + row.subject
    return ClipSpec(row.name, person, person, layout.camera, row.onset, apex, offset, units, row.emotion, layout.fps)


def _draw_frames(folder: FrameFolder, seed: int) -> Iterator[np.ndarray]:
    """The pictures of a folder; outside all movements, the nearest end of the nearest one."""
    drawn = [Rendering(_spec_of(folder.layout, row, seed)) for row in folder.rows]
    for number in folder.numbers:
        inside = [min(max(number, view.spec.onset), view.spec.offset) for view in drawn]
        nearest = int(np.argmin([abs(number - other) for other in inside]))
        yield drawn[nearest].image(inside[nearest])


def write_folder(root: Path, folder: FrameFolder, seed: int, pictures: Pictures) -> int:
    """Write the frames of a folder that is not there yet; it appears, by a rename, when all are written.

    Returns the number of frames.
    """
    layout, target = folder.layout, root / folder.path
    if target.is_dir():
        return 0
    frames = _draw_frames(folder, seed) if pictures == "drawn" else repeat(np.full((9, 12), 128, np.uint8))
    partial_folder = root / ".partial" / folder.path.replace("/", "_")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    for number, frame in zip(folder.numbers, frames, strict=False):
        name = layout.format(layout.file, folder.rows[0], number=number)
        _write_picture(partial_folder / name, frame)
        if layout.beside:
            beside = root / layout.format(layout.beside, folder.rows[0], number=number)
            beside.parent.mkdir(parents=True, exist_ok=True)
            _write_picture(beside, np.full((9, 12), 1000 + number % 1000, np.uint16))
    for name in layout.junk:
        (partial_folder / name).write_bytes(b"not a frame\n")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_folder.rename(target)
    return len(folder.numbers)


def _write_picture(path: Path, picture: np.ndarray) -> None:
    _, data = cv2.imencode(path.suffix, picture)
    path.write_bytes(data.tobytes())


def truth_rows(layout: Layout, rows: list[LabelledRow]) -> Iterator[dict]:
    """Lines of `truth.jsonl`: one for each clip or event that a reader should give, from each sheet or the folders.

    `onset`, `apex`, `offset` are frame numbers (apex null: not annotated or not usable) and `annotated` the cells of
    the sheet; `repaired` names the points whose cells mean another number, `missing` the frames without a file;
    `fine` is the annotated word in the field's spelling, `why` what is irregular.
    """
    for sheet in layout.sheets or (SheetFile("", ()),):
        for row in rows:
            if sheet.forms and not any(row.kind in form.kinds for form in sheet.forms if form.columns):
                continue
            for kind in sheet.gives:
                if row.kind == "micro" or (row.kind == "macro" and kind == "event"):
                    yield _truth_row(layout, row, kind) | {"annotations": sheet.path or None}


def _truth_row(layout: Layout, row: LabelledRow, kind: str) -> dict:
    subject = layout.format(layout.subject, row)
    name = layout.format(layout.video if kind == "event" else layout.clip, row)
    return {
        "kind": kind,
        "source": layout.source,
        "id": f"{layout.dataset}/{subject}/{name}",
        "dataset": layout.dataset,
        "subject": subject,
        "name": name,
        "event": row.name,
        "fps": layout.fps,
        "onset": row.onset,
        "apex": row.apex,
        "offset": row.offset,
        "annotated": {point: row.cells[point] for point in ("onset", "apex", "offset", "units", "emotion")},
        "type": row.kind,
        "action_units": [{"number": number, "side": side} for number, side in row.units],
        "fine": row.emotion,
        "repaired": list(row.repaired),
        "missing": sorted(row.missing),
        "why": row.why,
    }


def write_sheets(root: Path, layout: Layout, rows: list[LabelledRow]) -> None:
    """The spreadsheets of a layout."""
    for sheet in layout.sheets:
        cells = [(form.title, form_cells(layout, form, rows)) for form in sheet.forms]
        writer = xls_bytes if sheet.path.endswith(".xls") else xlsx_bytes
        write_bytes(root / sheet.path, writer(cells))


def _prepare(root: Path, description: dict, overwrite: bool) -> None:
    """Raises DataError where the folder holds another set, or files that this program did not write."""
    record = root / "layout.json"
    if not record.is_file() and any(path.name != "layout.lock" for path in root.iterdir() if path.name[0] != "."):
        fix = "choose another folder: this one may hold licensed data"
        raise DataError(root, None, "has files but no layout.json, so it is not a synthetic layout", fix)
    if record.is_file() and overwrite:
        for path in root.iterdir():
            if path.name[0] != ".":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif record.is_file() and read_json(record, fix="use --overwrite or another --out") != description:
        what = "the layout was made with other settings, or by another version"
        raise DataError(record, None, what, "use --overwrite or another --out")
    write_json(record, description)


def write_layout(
    root: Path | str,
    name: str,
    seed: int = 2,
    every: int = 4,
    workers: int = 1,
    overwrite: bool = False,
    pictures: Pictures = "drawn",
) -> int:
    """Write one layout of `layouts.yaml` below `root`; folders of frames that an earlier run finished are kept.

    The bytes depend on seed, `every` and `pictures` alone. Returns the number of frames written. Raises DataError
    where the folder holds another set and `overwrite` is not given, or files that are no layout, and where another run
    writes there; ValueError for `every` below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, not {every}")
    root = Path(root)
    description = {"generator": _GENERATOR, "layout": name, "seed": seed, "every": every, "pictures": pictures}
    with lock_folder(root, "layout"):
        _prepare(root, description, overwrite)
        truth, folders = [], []
        for layout in load_layouts()[name]:
            rows = layout_rows(layout, seed)
            write_sheets(root, layout, rows)
            truth += truth_rows(layout, rows)
            folders += plan_folders(layout, rows, every) if pictures != "none" else []
            for extra in layout.extra if pictures != "none" else ():
                (root / extra).parent.mkdir(parents=True, exist_ok=True)
                _write_picture(root / extra, np.full((9, 12), 128, np.uint8))
        write_jsonl(root / "truth.jsonl", truth)
        drawn = _write_folders(folders, partial(write_folder, root, seed=seed, pictures=pictures), workers, name)
        shutil.rmtree(root / ".partial", ignore_errors=True)
    return drawn


def _write_folders(folders: list[FrameFolder], write: Callable[[FrameFolder], int], workers: int, name: str) -> int:
    """Write all folders, several at a time; returns the number of frames."""
    frames = 0
    with tqdm(total=len(folders), desc=f"layout {name}", unit="folder", disable=not folders) as bar:
        if workers <= 1:
            use_one_thread()
            for folder in folders:
                frames += write(folder)
                bar.update()
            return frames
        with process_pool(workers) as pool:
            for task in as_completed([submit_task(pool, partial(write, folder)) for folder in folders]):
                frames += task.result()
                bar.update()
    return frames


def make_layouts(settings: MakeDemoSettings) -> str:
    """`write_layout` of each layout that the settings name, below `<out>/layouts`; returns how to read them."""
    names = list(load_layouts()) if "all" in settings.layout else list(dict.fromkeys(settings.layout))
    lines = []
    for name in names:
        root, demo = settings.out / "layouts" / name, settings.demo
        frames = write_layout(root, name, demo.seed, demo.every, settings.workers, settings.overwrite)
        layouts = load_layouts()[name]
        sheets = sorted({sheet.path for layout in layouts for sheet in layout.sheets if sheet.gives})
        lines.append(f"{root}: {frames} frames drawn; read it with")
        for sheet in sheets or [""]:
            annotations = f" --annotations {shlex.quote(str(root / sheet))}" if sheet else ""
            out = shlex.quote(str(root / "clips.jsonl"))
            lines.append(
                f"  python data_process/index_clips.py --dataset {layouts[0].source}{annotations} "
                f"--frames {shlex.quote(str(root))} --out {out}"
            )
    return "\n".join(lines)
