"""Small clips with known motion for the tests: a public-domain portrait, warped."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from megc.clips import Clip, write_clips
from megc.motion.flow_files import compute_clips
from megc.motion.keyframes import extract_clips
from megc.motion.settings import FlowSettings, KeyframeSettings
from megc.problems import Problems

# Landmarks of the portrait below as dlib finds them, kept here so that scenes need no detector:
# inner brows, lip corners and eyes of the 420×460 frame.
BROW_INNER = ((188.0, 146.0), (244.0, 142.0))
LIP_CORNERS = ((176.0, 287.0), (266.0, 281.0))
EYES = ((165.0, 177.0), (272.0, 170.0))


@lru_cache(maxsize=1)
def portrait() -> np.ndarray:
    """uint8 RGB 460×420: Grace Hopper (official US Navy portrait, shipped with matplotlib), face about 240 px wide."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(path) as image:
        face = image.convert("RGB").crop((95, 60, 418, 414))
    return np.asarray(face.resize((420, 460), Image.Resampling.BICUBIC))


def bump(shape: tuple[int, int], centre: tuple[float, float], vector: tuple[float, float], sigma: float) -> np.ndarray:
    """Gaussian displacement (H, W, 2) with its peak `vector` at `centre`."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    hill = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return hill[..., None] * np.array(vector, np.float32)


def expression(amplitude: float) -> np.ndarray:
    """Inner brows up and lip corners up and out, peak `amplitude` px: float32 (H, W, 2) of the portrait."""
    shape = portrait().shape[:2]
    field = sum(bump(shape, centre, (0, -amplitude), 16) for centre in BROW_INNER)
    side = amplitude * np.sqrt(0.5)
    return field + sum(
        bump(shape, centre, (direction * side, -side), 16)
        for centre, direction in zip(LIP_CORNERS, (-1, 1), strict=True)
    )


def pose(x: float, y: float, degrees: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """2×3 similarity about the middle of the face."""
    matrix = cv2.getRotationMatrix2D((221, 230), -degrees, scale)
    matrix[:, 2] += (x, y)
    return matrix


STILL = pose(0, 0)


def render(amplitude: float, head: np.ndarray = STILL, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """The portrait after the expression and then the head's motion: uint8 RGB."""
    image = portrait()
    grid = np.dstack(np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))).astype(np.float32)
    back = cv2.invertAffineTransform(head)
    resting = (grid @ back[:, :2].T + back[:, 2]).astype(np.float32)
    field = expression(amplitude).astype(np.float32)
    moved = cv2.remap(field, resting, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # bicubic: bilinear blurs more at half pixels than at whole ones, which would tell the amount of motion
    out = cv2.remap(image, resting - moved, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if noise:
        out += np.random.default_rng(seed).normal(0, noise, out.shape)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def true_flow(amplitude: float, head: np.ndarray = STILL) -> tuple[np.ndarray, np.ndarray]:
    """(expression alone, expression and head) of `render` against the portrait: float32 (H, W, 2) each."""
    shape = portrait().shape
    start = np.dstack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))).astype(np.float32)
    field, place = expression(amplitude).astype(np.float32), start.copy()
    for _ in range(8):
        place = start + cv2.remap(field, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    whole = place @ head[:, :2].T + head[:, 2]
    return (place - start).astype(np.float32), (whole - start).astype(np.float32)


def amplitudes(count: int, apex: int, peak: float) -> np.ndarray:
    """Smooth rise to `peak` at `apex` and fall to nothing at the last of `count` frames."""
    time = np.arange(count)
    part = np.where(time <= apex, time / apex, (count - 1 - time) / (count - 1 - apex))
    return peak * (10 * part**3 - 15 * part**4 + 6 * part**5)


def write_clip(root: Path, name: str, images: list[np.ndarray], first: int = 9, prefix: str = "img") -> Path:
    """Frames as unpadded `img9.png`, …; returns the folder."""
    folder = root / "clips" / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start=first):
        Image.fromarray(image).save(folder / f"{prefix}{number}.png", compress_level=1)
    return folder


def write_video(path: Path, images: list[np.ndarray], codec: str) -> None:
    """A video of 50 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 50.0, (width, height))
    assert video.isOpened()
    for image in images:
        video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    video.release()


def write_long_video(path: Path, starts: Sequence[int], codec: str = "MJPG") -> None:
    """Five seconds of a face at half size, with expressions of half a second behind the frames `starts`."""
    moves = np.zeros(250)
    for start in starts:
        moves[start : start + 25] = amplitudes(25, 12, 5.0)
    frames = {move: cv2.resize(render(move), (210, 230), interpolation=cv2.INTER_AREA) for move in moves}
    write_video(path, [frames[move] for move in moves], codec)


def clip_of(root: Path, name: str, onset: int, apex: int, offset: int, **more) -> Clip:
    """The Clip of frames written by `write_clip`."""
    return Clip(f"demo/s1/{name}", "demo", "s1", name, 200.0, f"clips/{name}", onset, apex, offset, **more)


def write_set(root: Path, clips: list[Clip]) -> Path:
    """`clips.jsonl` in `root`."""
    write_clips(root / "clips.jsonl", clips)
    return root / "clips.jsonl"


def drifting_frames() -> list[np.ndarray]:
    """12 frames, apex at position 6, head drifting."""
    return [
        render(amplitude, pose(0.1 * index, -0.05 * index), noise=1.5, seed=index)
        for index, amplitude in enumerate(amplitudes(12, 6, 2.5))
    ]


def extract_set(root: Path, clips, workers=1, **settings) -> tuple[dict, list]:
    problems = Problems()
    counts = extract_clips(
        clips, write_set(root, clips), root / "frames", KeyframeSettings(**settings), problems, workers
    )
    return counts, list(problems)


def compute_set(root: Path, workers=1, out="flow", **settings) -> tuple[dict, list]:
    problems = Problems()
    counts = compute_clips(root / "frames", root / out, FlowSettings(**settings), problems, workers)
    return counts, list(problems)


def align_of(root: Path, name: str) -> dict:
    return json.loads((root / "frames/demo/s1" / name / "align.json").read_text())


def tree(*folders: Path) -> dict[str, bytes]:
    return {
        f"{folder.name}/{path.relative_to(folder)}": path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
