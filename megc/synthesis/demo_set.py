"""Writes the synthetic demo set in the layouts of CASME II and SAMM, irregular cells included, with its true motion.

In the folder: `CASME2/CASME2-coding-20190701.xlsx` and `CASME2/Cropped/sub01/EP02_01f/reg_img46.jpg`;
`SAMM/SAMM_Micro_FACS_Codes_v2.xlsx` and `SAMM/006/006_1_2/006_05562.jpg`; `true_flow/<clip id>.npz`
(`read_true_flow`); `truth.jsonl` (`truth_row`); `demo.json`, the settings.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from megc.files import lock_folder, read_checked, write_bytes, write_json, write_jsonl
from megc.motion.parallel import process_pool, submit_task, use_one_thread
from megc.problems import DataError, Problems
from megc.records import Contract
from megc.synthesis.demo_sheets import Annotation, annotate_clips, casme2_workbook, samm_workbook
from megc.synthesis.layout_set import make_layouts
from megc.synthesis.render import ClipSpec, Rendering, pose_path
from megc.synthesis.scenes import plan_clips, samm_view
from megc.synthesis.settings import DemoSettings, MakeDemoSettings

_FLOW_UNIT = 64  # the true flow is kept in 1/64 px, which float16 holds exactly up to 32 px
_GENERATOR = 1  # raise it when the same settings give other bytes
_WRITTEN = ("CASME2", "SAMM", "true_flow", "truth.jsonl", ".partial")


def plan_demo(settings: DemoSettings) -> list[ClipSpec]:
    """The clips of a demo set, CASME II first, in the order of the spreadsheets."""
    common = {"seed": settings.seed, "difficulty": settings.difficulty, "others": settings.others}
    casme2 = plan_clips("casme2", settings.casme2_subjects, settings.clips, **common)
    view = samm_view(settings.samm_width)
    return casme2 + plan_clips("samm", settings.samm_subjects, settings.clips, view=view, **common)


def frame_folder(root: Path, spec: ClipSpec) -> Path:
    """Where the frames of a clip lie below the set's root."""
    dataset, subject, name = spec.id.split("/")
    return root / "CASME2" / "Cropped" / subject / name if dataset == "casme2" else root / "SAMM" / subject / name


def flow_file(root: Path, spec: ClipSpec) -> Path:
    """Where the true flow of a clip lies below the set's root."""
    return root / "true_flow" / f"{spec.id}.npz"


def frame_name(spec: ClipSpec, number: int) -> str:
    """File name of a frame: unpadded in CASME II; in SAMM four or five digits, the same within a clip."""
    dataset, subject, _ = spec.id.split("/")
    if dataset == "casme2":
        return f"reg_img{number}.jpg"
    digits = 5 if spec.seed % 4 == 0 or spec.offset > 9999 else 4
    return f"{subject}_{number:0{digits}d}.jpg"


def truth_row(spec: ClipSpec, annotation: Annotation) -> dict:
    """The line of `truth.jsonl` of a clip: the true values beside the cells of the spreadsheet.

    `onset`, `apex`, `offset` are true frame numbers, `annotated` the spreadsheet's cells; amplitudes are px on a face
    236 px wide; `drift_px` is how far the head's centre gets from its place at the onset (same pixels) and
    `turn_rad` how far it rolls; `blink` gives the frame number at which the lids meet and the frames it lasts.
    """
    dataset, subject, name = spec.id.split("/")
    away = pose_path(spec) - pose_path(spec)[0]
    blink = None
    if spec.blink:
        middle, length = (seconds * spec.fps for seconds in spec.blink)
        blink = {"frame": round(spec.onset + middle), "frames": round(length)}
    return {
        "id": spec.id,
        "dataset": dataset,
        "subject": subject,
        "name": name,
        "fps": spec.fps,
        "onset": spec.onset,
        "apex": spec.apex,
        "offset": spec.offset,
        "annotated": {"onset": annotation.onset, "apex": annotation.apex, "offset": annotation.offset},
        "action_units": [asdict(unit) for unit in spec.units],
        "fine": spec.emotion,
        "drift_px": round(float(np.hypot(away[:, 0], away[:, 1]).max()), 3),
        "turn_rad": round(float(np.abs(away[:, 2]).max()), 5),
        "blink": blink,
    }


def read_true_flow(path: Path | str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True onset→apex motion of a clip: `total` and `expression` float32 (H, W, 2), `valid` bool (H, W).

    At the pixels of the onset frame, in pixels, x right, y down, in steps of 1/64 px. `total` is all motion;
    `expression` is with the head held in its pose at the onset, so that a head tilt (unit 56) is not in it; `valid`
    is False around the eyes where a blink covers or uncovers skin. Raises DataError for a missing or foreign file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["total"].astype(np.float32), arrays["expression"].astype(np.float32), arrays["valid"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(path, None, f"no true flow ({error})", "run data_process/make_demo_dataset.py") from error


def _write_flow(path: Path, rendering: Rendering) -> None:
    total, expression, valid = rendering.flow(rendering.spec.onset, rendering.spec.apex)
    buffer = BytesIO()
    halves = {"total": total, "expression": expression}
    steps = {
        name: (np.round(flow * _FLOW_UNIT) / _FLOW_UNIT + 0.0).astype(np.float16) for name, flow in halves.items()
    }
    np.savez_compressed(buffer, **steps, valid=valid)
    write_bytes(path, buffer.getvalue())


def write_clip(root: Path, spec: ClipSpec, every: int, note: bool = False) -> None:
    """Frames and true flow of a clip. The folder appears, by a rename, when all of it is written.

    `note` adds a text file among the frames, as the real folders have.
    """
    folder, partial = frame_folder(root, spec), root / ".partial" / spec.id.replace("/", "_")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # the three annotated frames are always there, whatever the step
    rendering = Rendering(spec)
    numbers = sorted({*range(spec.onset, spec.offset + 1, every), spec.apex, spec.offset})
    for number in numbers:
        quality = [cv2.IMWRITE_JPEG_QUALITY, rendering.jpeg_quality]
        _, data = cv2.imencode(".jpg", rendering.image(number), quality)
        (partial / frame_name(spec, number)).write_bytes(data.tobytes())
    if note:
        (partial / "note.txt").write_text("Synthetic frames, see truth.jsonl.\n")
    _write_flow(flow_file(root, spec), rendering)
    # a whole clip appears at once: a folder that is there is finished
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, folder)


def _write_subject(root: Path, specs: list[ClipSpec], every: int, note: bool) -> int:
    for index, spec in enumerate(specs):
        write_clip(root, spec, every, note and index == 0)
    return len(specs)


class DemoRecord(Contract):
    """`demo.json`: the version of the generator, and the settings that decide the bytes of the set."""

    generator: int
    settings: dict[str, int | float | str | dict[str, int | float]]


def write_demo_record(root: Path, settings: Mapping, overwrite: bool, written: Sequence[str] = _WRITTEN) -> None:
    """Write `demo.json`, unless that of the same set is there; `overwrite` deletes an earlier set first.

    `written` are the names of all that a set has beside it. Raises DataError where the folder holds another set, or
    data that this program did not write.
    """
    record, fix = root / "demo.json", "use --overwrite or another --out"
    is_demo = record.is_file()  # never delete what another program wrote: it may be licensed data
    if not is_demo and any((root / name).exists() for name in (*written, record.name)):
        what = "has data but no file demo.json, so it is not a demo set"
        raise DataError(root, None, what, "choose another folder: this one may hold licensed data")
    if is_demo and not overwrite:
        earlier, values = read_checked(DemoRecord, record, fix=fix), dict(settings)
        if earlier["generator"] != _GENERATOR:
            what = f"generator {earlier['generator']} made the set, and this one is {_GENERATOR}"
            raise DataError(record, None, what, fix)
        names = values.keys() | earlier["settings"].keys()
        other = [name for name in sorted(names) if values.get(name) != earlier["settings"].get(name)]
        if other:
            raise DataError(record, None, f"the set was made with other settings ({', '.join(other)})", fix)
        return
    for name in written if is_demo else ():
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    write_json(record, {"generator": _GENERATOR, "settings": dict(settings)})


def _subjects_to_write(root: Path, specs: list[ClipSpec]) -> Iterator[tuple[list[ClipSpec], bool]]:
    """Unfinished clips by subject, and whether the subject is the first of its dataset."""
    seen: set[str] = set()
    for key, group in groupby(specs, key=lambda spec: spec.id.split("/")[:2]):
        first = key[0] not in seen
        seen.add(key[0])
        group = list(group)
        missing = [
            spec for spec in group if not (frame_folder(root, spec).is_dir() and flow_file(root, spec).is_file())
        ]
        if missing:
            yield missing, first and missing[0] is group[0]


def _write_tables(root: Path, specs: list[ClipSpec]) -> None:
    """Both spreadsheets and `truth.jsonl`."""
    annotations = annotate_clips(specs)
    for folder, workbook in (("CASME2/CASME2-coding-20190701.xlsx", casme2_workbook),
                             ("SAMM/SAMM_Micro_FACS_Codes_v2.xlsx", samm_workbook)):  # fmt: skip
        dataset = folder.split("/")[0].lower()
        rows = [row for spec, row in zip(specs, annotations, strict=True) if spec.id.startswith(dataset)]
        if rows:
            write_bytes(root / folder, workbook(rows))
    write_jsonl(root / "truth.jsonl", (truth_row(*pair) for pair in zip(specs, annotations, strict=True)))


def _write_clips(root: Path, specs: list[ClipSpec], every: int, workers: int) -> None:
    """Frames and true flow of the clips that are not finished."""
    jobs = [(root, group, every, first) for group, first in _subjects_to_write(root, specs)]
    # a job is a subject, so that its texture is made once
    with tqdm(total=sum(len(group) for _, group, *_ in jobs), desc="synthetic clips", unit="clip") as bar:
        if workers <= 1:
            use_one_thread()
            for job in jobs:
                bar.update(_write_subject(*job))
        else:
            with process_pool(workers) as pool:
                for done in as_completed([submit_task(pool, partial(_write_subject, *job)) for job in jobs]):
                    bar.update(done.result())
    shutil.rmtree(root / ".partial", ignore_errors=True)


def write_demo(root: Path | str, settings: DemoSettings, workers: int = 1, overwrite: bool = False) -> list[ClipSpec]:
    """Write a demo set; clips that an earlier run with the same settings finished are kept.

    The bytes depend on the settings alone, not on `workers`. Returns the clips. Raises DataError where the folder
    holds another set and `overwrite` is not given, or data that is no demo set at all, and where another run writes
    there; ValueError for settings that no set can have.
    """
    if settings.every < 1:
        raise ValueError(f"every must be at least 1, not {settings.every}")
    root, specs = Path(root), plan_demo(settings)
    if not specs:
        raise ValueError("no clip to draw: ask for one subject and one clip at least")
    with lock_folder(root, "demo"):
        write_demo_record(root, asdict(settings), overwrite)
        _write_tables(root, specs)
        _write_clips(root, specs, settings.every, workers)
    return specs


def make_demo(settings: MakeDemoSettings, _problems: Problems) -> str:
    """`write_demo` into the settings' folder, or the layouts or long videos that they ask for; returns a summary."""
    if settings.layout and settings.long:
        raise ValueError("--layout and --long write different sets: give one of them")
    if settings.long:
        from megc.synthesis.long_set import make_long_set  # here: it needs this module

        return make_long_set(settings)
    if settings.layout:
        return make_layouts(settings)
    specs = write_demo(settings.out, settings.demo, settings.workers, settings.overwrite)
    subjects = {spec.id.rsplit("/", 1)[0] for spec in specs}
    return f"{len(specs)} clips of {len(subjects)} synthetic subjects in {settings.out}"
