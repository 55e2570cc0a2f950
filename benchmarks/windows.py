"""Windows of a long video scored with shared frames and tokens, against each window from scratch.

    python benchmarks/windows.py                          # a minute on one core
    python benchmarks/windows.py --inputs crops --size 160 --patch 15 --dim 192 --depth 6 --heads 6 --seconds 4

Frames of noise, 640 × 480 pixels, as JPEG files; the transform from frame to crop is given, as no arm looks for faces.
Windows of the spotter's default lengths, a quarter of a length apart. The arms:

    scratch   each window by itself: its frames, and those they are compared with, decoded, cropped and embedded
    crops     each frame decoded and cropped once (data_process/extract_face_crops.py); each window embedded by itself
    shared    the same, and each pair of frames embedded once for all windows of a length: `score_windows`

Each arm is a process of its own, for its peak memory (without that of an arm that does nothing), and they take turns;
medians of CPU time are compared, so that a busy machine hits all of them. `difference`: the largest of a score between
`scratch` and `shared`. The attention of the encoder is that of every window in all arms: its tokens have positions
within the window, and attend to others of the window, so it cannot be shared.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from megc.command import run_command
from megc.motion.crop import crop_frame
from megc.motion.face_crops import FaceCrops
from megc.motion.flow import to_grey
from megc.motion.frames import Frames, open_frames
from megc.spotting.kind_settings import WindowSettings
from megc.spotting.masking import normalise_frames
from megc.spotting.video_encoders import build_classifier
from megc.spotting.window_dataset import encoder_config
from megc.spotting.window_spotter import score_windows
from megc.spotting.windows import WindowPictures, grid_windows

ARMS = ("nothing", "scratch", "crops", "shared")
FPS, WIDTH, HEIGHT = 30, 640, 480
BATCH = 64


class DecodedCrops:
    """Crops (frames, size, size) that are decoded and cut whenever they are looked at; indexed as an array is."""

    def __init__(self, frames: Frames, size: int) -> None:
        self.frames, self.size, self.decoded = frames, size, 0
        self.shape = (len(frames.numbers), size, size)
        scale = size / HEIGHT
        self.transform = np.array([[scale, 0, -(WIDTH - HEIGHT) / 2 * scale], [0, scale, 0]])

    def __getitem__(self, index: tuple) -> np.ndarray:
        rows, *slices = index
        crops = []
        for row in np.atleast_1d(rows):
            image = self.frames.read(self.frames.numbers[int(row)])
            crops.append(crop_frame(to_grey(image), self.transform, (self.size, self.size)))
            self.decoded += 1
        return np.stack(crops)[(slice(None), *slices)]


def write_frames(folder: Path, seconds: float) -> None:
    """Frames of smooth noise that changes a little from one to the next."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.float32)
    for number in range(1, round(seconds * FPS) + 1):
        picture = np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.float32)
        image = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), np.clip(image, 0, 255).astype(np.uint8))


def run_arm(arm: str, folder: Path, args: argparse.Namespace) -> dict:
    """Scores of all windows, CPU seconds, frames decoded and the peak memory of this process in MB."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = WindowSettings(
        inputs=args.inputs, patch_size=args.patch, dim=args.dim, depth=args.depth, heads=args.heads
    )
    network = build_classifier(encoder_config(settings, args.size)).eval()
    with torch.no_grad():
        network.head.weight *= 1000  # new weights answer .5 to everything
    decoded = DecodedCrops(open_frames(folder), args.size)
    count = len(decoded.frames.numbers)
    times, segments = np.arange(count) / FPS, np.zeros(count, np.int32)
    begun, scores = time.process_time(), []
    pixels = decoded
    if arm in ("crops", "shared"):  # as a memory map would be, where it fits into memory
        pixels = np.stack([decoded[row, :, :][0] for row in range(count)])
    crops = FaceCrops(pixels, np.array(decoded.frames.numbers), times, segments)
    differences = settings.inputs == "differences"
    for length in settings.lengths if arm != "nothing" else ():
        grid = grid_windows(times, segments, length, settings.frames)
        if arm == "scratch":
            for start in range(0, len(grid.firsts), BATCH):
                firsts = grid.firsts[start : start + BATCH].tolist()
                clips = [WindowPictures(crops, differences).read(grid, first, grid.frames) for first in firsts]
                with torch.inference_mode():
                    logits = network(normalise_frames(np.stack(clips)))["logits"]
                scores += torch.softmax(logits, 1)[:, 1].tolist()
        else:
            pictures = WindowPictures(crops, differences)
            scores += score_windows([network], pictures, grid, share_tokens=arm == "shared").tolist()
    seconds = time.process_time() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"scores": scores, "seconds": seconds, "memory": memory, "decoded": decoded.decoded}


def compare(args: argparse.Namespace) -> str:
    """Run the arms in turns; returns the table and the RESULT line."""
    results: dict[str, list[dict]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as name:
        write_frames(Path(name), args.seconds)
        flags = [f"--{key}={getattr(args, key)}" for key in ("inputs", "size", "patch", "dim", "depth", "heads")]
        for _ in tqdm(range(args.rounds), desc="rounds"):
            for arm in ARMS:
                command = [sys.executable, __file__, "--arm", arm, "--frames", name, *flags]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results[arm].append(json.loads(done.stdout.splitlines()[-1]))
    base = min(item["memory"] for item in results["nothing"])
    windows = len(results["shared"][0]["scores"])
    lines, rates, memory = [f"{windows} windows of {args.seconds} s"], {}, {}
    for arm in ARMS[1:]:
        seconds = statistics.median(item["seconds"] for item in results[arm])
        memory[arm] = statistics.median(item["memory"] for item in results[arm]) - base
        rates[arm] = windows / seconds
        decoded = results[arm][0]["decoded"]
        lines.append(f"{arm:8} {rates[arm]:8.1f} windows a second, {decoded} frames decoded, {memory[arm]:.0f} MB")
    alone, shared = (np.array(results[arm][0]["scores"]) for arm in ("scratch", "shared"))
    lines.append(
        f"RESULT windows_per_second={rates['shared']:.1f} speedup={rates['shared'] / rates['scratch']:.2f} "
        f"over_crops={rates['shared'] / rates['crops']:.2f} memory={memory['shared']:.0f} "
        f"memory_scratch={memory['scratch']:.0f} difference={np.abs(alone - shared).max():.1e}"
    )
    return "\n".join(lines)


def main() -> int:
    """Read the flags; a child process prints its arm's numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the video")
    parser.add_argument("--rounds", type=int, default=3, help="times that each arm runs")
    parser.add_argument("--inputs", choices=("differences", "crops"), default="differences", help="what it looks at")
    for name, default, text in (
        ("size", 64, "pixels of a crop"),
        ("patch", 12, "pixels of a patch"),
        ("dim", 64, "width of the encoder"),
        ("depth", 3, "its blocks"),
        ("heads", 4, "its attention heads"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(run_arm(args.arm, args.frames, args)))
    else:
        print(compare(args))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
