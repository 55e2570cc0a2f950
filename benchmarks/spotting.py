"""Region flow and the optical-flow spotter: how fast, against TV-L1 flow, and in how much memory over an hour.

    python benchmarks/spotting.py                 # about 75 minutes on one core: an hour of video, and TV-L1
    python benchmarks/spotting.py --minutes 2 --flow-seconds 4

Videos are drawn as CAS(ME)³'s in the long demo set (30 frames a second; talking, blinks, turns of the head), filmed at
640×480 with a face 250 px wide, and kept as JPEGs in memory. Times are CPU time of one thread, from JPEG to intervals,
without drawing; the landmark models are loaded before.

`realtime_factor` is the length of the long video over the time of extraction and spotting together; the long video
plays one of the drawn ones to and fro with new noise in each frame, and is spotted by trees learnt from the others.
`memory_growth` is the largest resident size of the process after it, over that after its first twentieth, `linear`
the time of a frame in its second half over that in its first.

`speed_over_tvl1` is the time of extraction with OpenCV's TV-L1 flow (dual, five scales, as published for
AUW-GCN and SOFTNet) over ours (Farnebäck's) on the same frames. `f1` and `f1_tvl1` are those of the published decoder
on either series, all types together, each with the factor on its thresholds that suits it best: with few videos, no
threshold could be learnt from others.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from tqdm import tqdm

from megc.clips import Video
from megc.command import run_command
from megc.motion.faces import face_models
from megc.motion.region_stream import RegionFlow, measure_video
from megc.motion.settings import RegionFlowSettings
from megc.scoring.str_metrics import ends_of
from megc.spotting.flow_spotter import FlowModel, FlowSpotter
from megc.spotting.interval_scorer import pooled_f1
from megc.spotting.kind_settings import FlowSpotterSettings
from megc.spotting.spotters import SpottingVideo, load_spotter, train_spotter
from megc.synthesis.long_set import true_video
from megc.synthesis.settings import LongSettings
from megc.synthesis.subjects import View
from megc.synthesis.video_rendering import VideoRendering
from megc.synthesis.video_scenes import CASME3, plan_videos

CAMERA = View(640, 480, 250.0, 319.5, 215.0)
FPS = CASME3.fps
FACTORS = (0.6, 0.8, 1.0, 1.3, 1.7, 2.2)
NOISE = 1.0  # grey levels, of frames that are shown again
MIB = 1024  # kibibytes, the unit of ru_maxrss on Linux


@dataclass(frozen=True)
class MeasuredVideo(SpottingVideo):
    """A video whose region flow is at hand, not on disk."""

    flow: RegionFlow

    def region_flow(self) -> RegionFlow:
        """Motion of its regions."""
        return self.flow


def draw_videos(count: int, seconds: float, seed: int) -> list[tuple[Video, list[bytes]]]:
    """Videos of different people with their frames as JPEGs."""
    settings = LongSettings(long_subjects=count, videos=1, casme3_seconds=seconds, micros=2, macros=2, turns=8)
    plans = [plan for plan in plan_videos(settings, seed) if plan.id.startswith(f"{CASME3.dataset}/")]
    videos = []
    for plan in tqdm(plans, desc="draw", unit="video"):
        rendering = VideoRendering(replace(plan, view=CAMERA))
        quality = [cv2.IMWRITE_JPEG_QUALITY, rendering.jpeg_quality]
        images = (rendering.image(number) for number in range(1, plan.length + 1))
        bgr = (cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image for image in images)
        videos.append((true_video(plan), [cv2.imencode(".jpg", image, quality)[1].tobytes() for image in bgr]))
    return videos


def decode(data: bytes) -> np.ndarray:
    """uint8 RGB of a JPEG."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def measure(jpegs: Sequence[bytes], method: str) -> tuple[RegionFlow, float]:
    """Region flow of a video, and the seconds that decoding and measuring took."""
    numbers = np.arange(1, len(jpegs) + 1)
    start = time.process_time()
    images = ((number, decode(data)) for number, data in zip(numbers, jpegs, strict=True))
    flow, faults, _ = measure_video(images, numbers, (numbers - 1) / FPS, RegionFlowSettings(method=method), "drawn")
    if faults:
        raise RuntimeError(faults[0])
    return flow, time.process_time() - start


def best_f1(videos: Sequence[Video], flows: Sequence[RegionFlow]) -> float:
    """F1 of the published decoder with the factor on its thresholds that is best for these videos."""
    truths, scores = [ends_of(video.events) for video in videos], []
    for factor in FACTORS:
        model = FlowModel(
            method="thresholds",
            factor=factor,
            shortest=0.2,
            longest=6.7,
            overlap=0.34,
            bridge_blinks=True,
            below_eyes=False,
            reference=3.0,
        )
        spotter = FlowSpotter(model)
        items = [MeasuredVideo(*pair[:1], Path(), Path(), pair[1]) for pair in zip(videos, flows, strict=True)]
        scores.append(pooled_f1(truths, [ends_of(spotter.spot(item)) for item in items]))
    return max(scores)


class LongPlay:
    """A video shown to and fro with new noise, and what the process used on the way."""

    def __init__(self, jpegs: Sequence[bytes], count: int) -> None:
        self.jpegs, self.count = jpegs, count
        self.drawing = 0.0  # seconds of noise, which no camera's file needs
        self.first_size = 0.0
        self.times: list[float] = []

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number, image)."""
        rng, period = np.random.default_rng(0), 2 * len(self.jpegs) - 2
        for index in tqdm(range(self.count), desc="long video", unit="frame", mininterval=5):
            step = index % period
            image = decode(self.jpegs[min(step, period - step)])
            start = time.process_time()
            noise = rng.standard_normal(image.shape, np.float32) * NOISE
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
            self.drawing += time.process_time() - start
            if index == self.count // 20:
                self.first_size = resident_size()
            if index in (0, self.count // 2):
                self.times.append(time.process_time() - self.drawing)
            yield index + 1, image
        self.times.append(time.process_time() - self.drawing)


def resident_size() -> float:
    """The largest size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def play_long(jpegs: Sequence[bytes], minutes: float, train: Sequence[SpottingVideo]) -> dict[str, float]:
    """Extract and spot a long video; its figures."""
    count = round(minutes * 60 * FPS)
    numbers = np.arange(1, count + 1)
    with TemporaryDirectory() as folder:  # first: what training takes is no growth with the length of the video
        train_spotter("flow", FlowSpotterSettings(), train, Path(folder))
        spotter = load_spotter(Path(folder))
    play = LongPlay(jpegs, count)
    flow, faults, warnings = measure_video(play.frames(), numbers, (numbers - 1) / FPS, RegionFlowSettings(), "long")
    if faults:
        raise RuntimeError(faults[0])
    video = Video("casme3/long/long", "casme3", "long", "long", FPS, "", count)
    before = resident_size()
    start = time.process_time()
    spotted = spotter.spot(MeasuredVideo(video, Path(), Path(), flow))
    spotting = time.process_time() - start
    begin, middle, end = play.times
    print(
        f"{minutes:g} minutes: extraction {end - begin:.1f} s, spotting {spotting:.1f} s, {len(spotted)} intervals; "
        f"{play.first_size:.0f} MiB after a twentieth, {before:.0f} after extraction, {resident_size():.0f} after "
        f"spotting; {'; '.join(warnings) or 'no warnings'}"
    )
    return {
        "realtime_factor": minutes * 60 / (end - begin + spotting),
        "memory_growth": resident_size() / play.first_size,
        "linear": (end - middle) / (middle - begin),
    }


def main() -> int:
    """Measure, print, sum up."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="length of the long video")
    parser.add_argument("--videos", type=int, default=4, help="drawn videos, one of each person")
    parser.add_argument("--seconds", type=float, default=12, help="length of a drawn video")
    parser.add_argument("--flow-seconds", type=float, default=12, help="of each that TV-L1 measures; 0: leave it out")
    parser.add_argument("--seed", type=int, default=41)
    args = parser.parse_args()
    if args.videos < 2:
        parser.error("--videos must be 2 or more: one is played, the others are learnt from")
    cv2.setNumThreads(1)
    face_models()
    drawn = draw_videos(args.videos, args.seconds, args.seed)
    videos = [video for video, _ in drawn]
    ours = [measure(jpegs, "farneback") for _, jpegs in tqdm(drawn, desc="Farnebäck", unit="video")]
    flows = [flow for flow, _ in ours]
    train = [MeasuredVideo(video, Path(), Path(), flow) for video, flow in zip(videos[1:], flows[1:], strict=True)]
    result = play_long(drawn[0][1], args.minutes, train)
    if args.flow_seconds:
        count = round(args.flow_seconds * FPS)
        theirs = [measure(jpegs[:count], "tvl1") for _, jpegs in tqdm(drawn, desc="TV-L1", unit="video")]
        cut = [measure(jpegs[:count], "farneback") for _, jpegs in drawn] if count < len(drawn[0][1]) else ours
        ended = [replace(v, events=tuple(e for e in v.events if e.offset <= count)) for v in videos]
        result["speed_over_tvl1"] = sum(cpu for _, cpu in theirs) / sum(cpu for _, cpu in cut)
        result["f1"] = best_f1(ended, [flow for flow, _ in cut])
        result["f1_tvl1"] = best_f1(ended, [flow for flow, _ in theirs])
        print(f"{sum(len(video.events) for video in ended)} events in {len(ended)} videos of {args.flow_seconds:g} s")
    print("RESULT " + " ".join(f"{name}={value:.3f}" for name, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
