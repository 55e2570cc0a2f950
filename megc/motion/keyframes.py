"""From a clip to its aligned key frames: onset, apex and offset as 280×336 crops, and `align.json`, their record."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import cv2
import numpy as np
from pydantic import Field, model_validator

from megc.clips import Clip, clip_to_row, frames_folder, read_clips, write_clips
from megc.files import lock_folder, png_bytes, read_checked, resolve_inside, sha256_of, write_bytes, write_json
from megc.motion.apex import FEWEST_FRAMES, spot_apex
from megc.motion.crop import (
    CROP_HEIGHT,
    CROP_WIDTH,
    align_transform,
    centre_transform,
    crop_frame,
    mean_face,
    transform_points,
)
from megc.motion.faces import FaceFinder
from megc.motion.flow import compensate, optical_flow
from megc.motion.frames import LARGEST, SMALLEST, Frames, open_frames
from megc.motion.parallel import Finished, count_outcomes, format_counts, run_on_clips
from megc.motion.plausibility import check_faces
from megc.motion.region_motion import sample_numbers
from megc.motion.settings import MOMENTS, ExtractFramesSettings, KeyframeSettings, in_shard, lock_name
from megc.problems import DataError, Problems
from megc.records import Contract, FrameNumber

FURTHEST = 0.1  # of the clip's length: how far a substitute for a missing onset or apex frame may lie
POINTS = 68  # landmarks of dlib's predictor
VERSION = 5  # of what is written; a change makes every clip be done again


def clips_of_sources(sources: list[Path], fps: float, problems: Problems) -> tuple[list[Clip], Path]:
    """Clips of videos and frame folders that nobody annotated, and the file name that their paths are relative to.

    Onset is the first frame, offset the last, the apex to be spotted. `fps` is that of folders; a video knows its own.
    A source that cannot be read, and the second of two of one name, go to `problems`.
    """
    root = Path(os.path.commonpath([os.path.abspath(source.parent) for source in sources]))
    clips: dict[str, Clip] = {}
    for source in sources:
        with problems.collect():
            frames = open_frames(source)
            rate = getattr(frames, "fps", 0.0) or fps
            name, first, last = source.stem, frames.numbers[0], frames.numbers[-1]
            if name in clips:
                raise DataError(source, None, f"a second source named {name}", "rename one of the two")
            path = Path(os.path.relpath(os.path.abspath(source), root)).as_posix()
            middle = frames.numbers[len(frames.numbers) // 2]
            clips[name] = Clip(f"unknown/{name}/{name}", "unknown", name, name, rate, path, first, middle, last, True)
    return list(clips.values()), root / "clips.jsonl"


def write_source_clips(clips: list[Clip], clips_file: Path, out: Path) -> tuple[list[Clip], Path]:
    """Write the clips of sources to `out/clips.jsonl`, which other programs read; returns them and that file.

    Paths in the file stay below it: a source elsewhere is linked as `out/sources/<its name>`. Clips that stand in the
    file already and are not among these are kept. Raises DataError where something else has the name of a link.
    """
    linked = []
    for clip in clips:
        source = Path(os.path.abspath(frames_folder(clip, clips_file)))
        if source.is_relative_to(os.path.abspath(out)):
            frames = source.relative_to(os.path.abspath(out)).as_posix()
        else:
            link, frames = out / "sources" / source.name, f"sources/{source.name}"
            if link.is_symlink():
                link.unlink()
            if link.exists():
                raise DataError(link, clip.id, "stands where a link to the source should go", "move it away")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source, target_is_directory=source.is_dir())
        linked.append(replace(clip, frames=frames))
    file = out / "clips.jsonl"
    earlier = read_clips(file) if file.is_file() else []
    if linked:
        write_clips(file, ({clip.id: clip for clip in earlier} | {clip.id: clip for clip in linked}).values())
    return linked, file


def clip_folder(root: Path, clip_id: str) -> Path:
    """Folder of a clip below `root`. Raises DataError when the id leads out of it."""
    try:
        return resolve_inside(root, clip_id)
    except ValueError as error:
        raise DataError(root, clip_id, str(error), "rename the clip in clips.jsonl") from error


def clear_leftovers(folder: Path, name: str = "") -> None:
    """Delete what kills in the middle of a write left in `folder`: temporary files of `name` (empty: of any)."""
    for path in folder.glob(f".{name}*.*"):
        path.unlink(missing_ok=True)


class KeyFrame(Contract):
    """Where a key frame comes from: the number asked for, the one used, and its file."""

    wanted: FrameNumber
    used: FrameNumber
    file: str


Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class AlignRecord(Contract):
    """`align.json`: how the key frames beside it were cut. `landmarks`: 68 points (x, y) in pixels of the crop."""

    key: str
    frames: dict[Literal[MOMENTS], KeyFrame]
    apex_spotted: bool
    landmarks: Annotated[list[Point], Field(min_length=POINTS, max_length=POINTS)]
    transform: Annotated[list[Annotated[list[float], Field(min_length=3, max_length=3)]], Field(min_length=2)]
    notes: list[str]
    warnings: list[str]

    @model_validator(mode="after")
    def _all_moments(self) -> Self:
        if absent := [moment for moment in MOMENTS if moment not in self.frames]:
            raise ValueError(f"frames has no {', '.join(absent)}")
        return self


def check_align(folder: Path, clip_id: str) -> dict:
    """The `align.json` of a finished clip. Raises DataError where it is missing or damaged."""
    fix = "run data_process/extract_frames.py again"
    try:
        return read_checked(AlignRecord, folder / "align.json", fix=fix)
    except DataError as error:
        problem = error.problem
        raise DataError(problem.file, problem.row or clip_id, problem.what, fix) from error


def read_align(folder: Path) -> dict | None:
    """The `align.json` of a finished clip; None where there is none or it is damaged."""
    try:
        return check_align(folder, folder.name)
    except DataError:
        return None


def _interval(frames: Frames, clip: Clip) -> tuple[dict[str, int], list[str], list[str]]:
    """Frame numbers that exist for onset, apex and offset, notes and warnings. Raises DataError where none is near."""
    annotated = {moment: getattr(clip, moment) for moment in MOMENTS}
    used, notes = {moment: frames.nearest(number) for moment, number in annotated.items()}, []
    if not any(used["onset"] < number <= used["offset"] for number in frames.numbers):
        what = f"only frame {used['onset']} exists of {clip.onset} to {clip.offset} ({frames.extent()})"
        raise DataError(frames.source, clip.id, what, f"motion needs two frames or more: {frames.repair}")
    warnings = list(frames.faults)
    # a missing offset loses little, so it warns; a far onset or apex would be another motion
    reach = max(3, FURTHEST * (clip.offset - clip.onset))
    for moment, number in annotated.items():
        gap = abs(used[moment] - number)
        if gap > reach:
            what = f"{moment} frame {number} is missing and the nearest is {used[moment]} ({frames.extent()})"
            if moment != "offset":
                raise DataError(frames.source, clip.id, what, f"{frames.repair}, or leave it out with --skip-bad")
            warnings.append(what)
        elif gap:
            notes.append(f"{moment} frame {number} is missing: {used[moment]} taken")
    return used, notes, warnings


def _spot(
    frames: Frames,
    used: dict[str, int],
    clip: Clip,
    transform: np.ndarray,
    landmarks: np.ndarray,
    shape: tuple[int, ...],
) -> int | None:
    """Number of the spotted apex frame, or None where the clip has too few frames. `shape` is that of the onset."""
    numbers = [number for number in frames.numbers if used["onset"] <= number <= used["offset"]]
    if len(numbers) < FEWEST_FRAMES:
        return None
    numbers = sample_numbers(numbers, clip.fps)
    crops = []
    for number, image in frames.read_many(numbers):
        _check_size(image, shape, number, frames, clip)
        crops.append(crop_frame(image, transform))
    positions = [number - numbers[0] for number in numbers]
    return frames.nearest(numbers[0] + spot_apex(crops, landmarks, positions, clip.fps))


def _align(
    image: np.ndarray, frames: Frames, number: int, clip: Clip, settings: KeyframeSettings
) -> tuple[np.ndarray, np.ndarray, dict, list[str]]:
    """(transform, landmarks in the crop, record, notes) of the onset frame."""
    try:
        face = FaceFinder().find(image, frames.file(number), clip.id)
    except DataError:
        if settings.no_face != "centre":
            raise
        transform = centre_transform(image.shape)
        notes = ["no face found: centre of the frame, mean landmarks"]
        return transform, mean_face(), {"landmarks_from": "template"}, notes
    record = {"landmarks_from": "dlib", "landmarks_frame": face.landmarks.tolist(), "box": list(face.box)}
    transform = align_transform(face.landmarks, settings.roi == "box")
    return transform, transform_points(face.landmarks, transform), record, list(face.notes)


def _warn(onset: np.ndarray, images: dict[str, np.ndarray], transform: np.ndarray, clip: Clip) -> list[str]:
    """Warnings of the faces in the frames behind the onset, by moment; `onset` are the landmarks (68, 2) there."""
    faces: dict[str, np.ndarray | None] = {MOMENTS[0]: onset}
    for moment, image in images.items():
        try:
            faces[moment] = FaceFinder().find(image, clip.frames, clip.id).landmarks
        except DataError:
            faces[moment] = None
    return list(check_faces(faces, transform, image.shape))


def _cut(
    images: dict[str, np.ndarray], transform: np.ndarray, landmarks: np.ndarray, settings: KeyframeSettings
) -> dict[str, np.ndarray]:
    """The pictures to write, by name: the crop of each image, and the magnified apex if the settings have it."""
    pictures = {name: crop_frame(image, transform) for name, image in images.items()}
    if settings.magnify:
        field, _ = compensate(optical_flow(pictures["onset"], pictures["apex"]), landmarks)
        pictures["magnified"] = magnify_motion(pictures["onset"], field, settings.magnify)
    return pictures


def magnify_motion(onset: np.ndarray, field: np.ndarray, factor: float) -> np.ndarray:
    """The onset crop (uint8 RGB) moved along `factor` times the motion `field` (H, W, 2) from onset to apex.

    A Lagrangian magnifier (Liu et al. 2005), for ablations: no flow is computed on magnified frames. Factor 1 is the
    apex without the head's motion, 0 the onset. Raises ValueError for a negative factor.
    """
    if factor < 0:
        raise ValueError(f"the factor must not be negative: {factor}")
    smooth = cv2.GaussianBlur(field.astype(np.float32), (0, 0), 2) * factor
    grid = np.dstack(np.meshgrid(np.arange(field.shape[1]), np.arange(field.shape[0]))).astype(np.float32)
    source = grid - smooth
    # invert the motion by fixed-point iteration: `source` + motion(`source`) = pixel; six rounds settle to .01 px
    for _ in range(6):
        source = grid - cv2.remap(smooth, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.remap(onset, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _find_finished(folder: Path, key: str, settings: KeyframeSettings) -> Finished | None:
    """The outcome of an earlier run that wrote the same; None where there is none, or a picture of it is gone."""
    record = read_align(folder)
    complete = all((folder / f"{name}.png").is_file() for name in settings.names())
    if record and record.get("key") == key and complete:
        return Finished("kept", tuple(record["warnings"]))
    return None


def _read_images(
    frames: Frames, used: dict[str, int], clip: Clip, settings: KeyframeSettings, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Whole frames (uint8 RGB) by the name of their picture: onset, apex, offset, and samples between the ends."""
    spaced = np.linspace(used["onset"], used["offset"], settings.samples)
    numbers = used | {f"sample{n}": frames.nearest(round(number)) for n, number in enumerate(spaced, start=1)}
    images = dict(frames.read_many(sorted(set(numbers.values()))))  # each once, though several names may need it
    for number, image in images.items():
        _check_size(image, shape, number, frames, clip)
    return {name: images[number] for name, number in numbers.items()}


def _frame_record(frames: Frames, clip: Clip, moment: str, number: int) -> dict:
    """Which frame stands for a moment: its number as annotated, its own, and the name of its file."""
    return {"wanted": getattr(clip, moment), "used": number, "file": frames.name(number)}


def extract_clip(
    clip: Clip, clips_file: Path, out: Path, settings: KeyframeSettings, overwrite: bool = False
) -> Finished:
    """Write the key frames of one clip, or keep those that are there already, made the same way.

    One similarity transform, from the landmarks of the onset frame, serves all three. `align.json` is written last,
    so a folder that has it is complete. Raises DataError for a missing or unreadable frame and for no face.
    """
    folder = clip_folder(out, clip.id)
    frames = open_frames(frames_folder(clip, clips_file), clip.id)
    key = sha256_of(str(VERSION), json.dumps(settings.record()), json.dumps(clip_to_row(clip)), str(frames.numbers))
    finished = None if overwrite else _find_finished(folder, key, settings)
    if finished:
        return finished
    (folder / "align.json").unlink(missing_ok=True)
    clear_leftovers(folder)

    # 1. frame numbers that exist
    used, notes, warnings = _interval(frames, clip)
    onset = frames.read(used["onset"])
    _check_size(onset, onset.shape, used["onset"], frames, clip)
    # 2. the face of the onset, which places all crops
    transform, landmarks, record, face_notes = _align(onset, frames, used["onset"], clip, settings)
    notes += face_notes
    # 3. the apex, where it is to be spotted or is no frame of its own
    spotted = None
    if settings.apex == "spotted" or clip.apex_estimated or used["apex"] == used["onset"]:
        spotted = _spot(frames, used, clip, transform, landmarks, onset.shape)
        notes.append("too few frames to spot the apex" if spotted is None else f"apex spotted at frame {spotted}")
        used["apex"] = used["apex"] if spotted is None else spotted
    # 4. the frames behind all pictures; warnings of the faces in them
    images = _read_images(frames, used, clip, settings, onset.shape)
    if record["landmarks_from"] == "dlib":
        later = {moment: images[moment] for moment in MOMENTS[1:]}
        warnings += _warn(np.array(record["landmarks_frame"], np.float32), later, transform, clip)
    # 5. the pictures, and last the file that says they are whole
    pictures = _cut(images, transform, landmarks, settings)
    if not settings.magnify:
        (folder / "magnified.png").unlink(missing_ok=True)
    for name, picture in pictures.items():
        write_bytes(folder / f"{name}.png", png_bytes(picture, encoder="opencv"))
    write_json(
        folder / "align.json",
        {
            "clip": clip.id,
            "key": key,
            "settings": settings.record(),
            "size": [CROP_WIDTH, CROP_HEIGHT],
            "frames": {moment: _frame_record(frames, clip, moment, used[moment]) for moment in MOMENTS},
            "apex_spotted": spotted is not None,
            "transform": np.round(transform, 6).tolist(),
            "landmarks": np.round(landmarks.astype(float), 2).tolist(),
            **record,
            "notes": notes,
            "warnings": warnings,
        },
    )
    return Finished("done", tuple(warnings))


def _check_size(image: np.ndarray, shape: tuple[int, ...], number: int, frames: Frames, clip: Clip) -> None:
    """Raise DataError for a frame of another shape than the onset's, and for one too small or too large to work on."""
    (height, width), fix = image.shape[:2], "all frames of a clip must have one size: unpack it again"
    if image.shape != shape:
        what = f"frame {number} is {width}×{height}, the onset {shape[1]}×{shape[0]}"
        raise DataError(frames.file(number), clip.id, what, fix)
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        what = f"frame {number} is {width}×{height} pixels; a side must have {SMALLEST} to {LARGEST:,}"
        raise DataError(frames.file(number), clip.id, what, "export the clip again in its own size")


def extract_clips(
    clips: list[Clip],
    clips_file: Path,
    out: Path,
    settings: KeyframeSettings,
    problems: Problems,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, int]:
    """`extract_clip` of every clip; failures and warnings go to `problems`.

    Returns how many were `done`, `kept` and `failed`.
    """
    work = partial(extract_clip, clips_file=clips_file, out=out, settings=settings, overwrite=overwrite)
    names = [clip.id for clip in clips]
    return count_outcomes(run_on_clips(work, clips, names, problems, workers, "key frames"), names, str(out), problems)


def extract_frames(settings: ExtractFramesSettings, problems: Problems) -> str:
    """Key frames of every clip of a file, or of sources without annotation; returns a summary.

    Raises DataError where the file of the clips is missing.
    """
    clips_file = settings.clips
    if settings.source:
        clips, clips_file = clips_of_sources(list(settings.source), settings.fps, problems)
    else:
        clips = read_clips(clips_file)
    with lock_folder(settings.out, lock_name("frames", settings.shard)):
        if settings.source:
            clips, clips_file = write_source_clips(clips, clips_file, settings.out)
        clips = [clip for clip in clips if in_shard(clip.id, settings.shard)]
        counts = extract_clips(
            clips, clips_file, settings.out, settings.keyframes, problems, settings.workers, settings.overwrite
        )
    counts["with warnings"] = len(problems.warnings)
    listed = f", listed in {clips_file}" if settings.source and clips else ""
    return f"{format_counts(counts)} of {len(clips)} clips; in {settings.out}{listed}"
