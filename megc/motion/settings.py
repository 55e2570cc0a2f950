"""Settings of the commands that make key frames, flow fields and their pictures; nothing heavy is imported here."""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from megc.command import option

MOMENTS = ("onset", "apex", "offset")
DEFAULT_METHOD = "dis"
DEFAULT_COMPENSATION = "stable"
DEFAULT_ENCODING = "uv-strain"  # keeps most of the field; a small model learns from it soonest
SCALE = 3.0  # pixels of motion at full colour, for a face 236 pixels wide (1.27 % of the face)

FlowMethod = Literal["dis", "dis-fast", "tvl1", "tvl1-original", "farneback"]
Compensation = Literal["stable", "nose", "none"]
# `minmax-blend` draws the onset frame below the flow, so that it takes a face
FieldEncoding = Literal["colour", "uv-strain", "uv-strain-minmax", "uv-strain-centred"]
Encoding = Literal[FieldEncoding, "minmax-blend"]

_DEMO = Path("dataset/demo")


@dataclass(frozen=True)
class KeyframeSettings:
    """What changes the key frames.

    `samples` are equally spaced frames from onset to offset, `sample1.png` and so on; `magnify` adds a fourth
    picture, `magnified.png`. Raises ValueError for negative numbers.
    """

    apex: Literal["annotated", "spotted"] = option("annotated", "spot it only where missing, or always")
    roi: Literal["aligned", "box"] = option("aligned", "eyes level, or upright as the cropped releases")
    no_face: Literal["error", "centre"] = option(
        "error", "where no face is found: leave the clip out, or take the centre of the frame"
    )
    magnify: float = option(0.0, "factor of motion in magnified.png; 0: none")
    samples: int = option(0, "equally spaced frames, sample1.png and so on, beside the key frames")

    def __post_init__(self) -> None:
        if not self.magnify >= 0 or self.samples < 0:
            raise ValueError("--magnify and --samples must not be negative")

    def record(self) -> dict:
        """The settings as `align.json` has them; without samples, as they were before there were any."""
        return {name: value for name, value in asdict(self).items() if name != "samples" or value}

    def names(self) -> tuple[str, ...]:
        """Names of the pictures that these settings write."""
        samples = (f"sample{number}" for number in range(1, self.samples + 1))
        return (*MOMENTS, *(["magnified"] if self.magnify else []), *samples)


@dataclass(frozen=True)
class FlowSettings:
    """What changes the fields and their pictures. Raises ValueError for a scale that is not positive."""

    method: FlowMethod = option(DEFAULT_METHOD, "optical flow")
    compensate: Compensation = option(DEFAULT_COMPENSATION, "removal of head motion")
    encoding: Encoding = option(DEFAULT_ENCODING, "picture of the field")
    scale: float = option(SCALE, "pixels of motion at full colour, for a face 236 pixels wide")
    # outside the face hair, background and borders only distract
    mask: Literal["face", "none"] = option("face", "draw the motion of the face only, or all")

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError("--scale must be positive")


_SHARD_HELP = "part I of N of the clips, as 2/8: several machines share the work; a run without it ends it"


def read_shard(shard: str) -> tuple[int, int]:
    """(I, N) of `I/N`, I from 1 to N. Raises ValueError for another text."""
    numbers = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise ValueError(f"--shard {shard} is no part I/N with I from 1 to N, such as 2/8")
    return int(numbers[1]), int(numbers[2])


def in_shard(clip_id: str, shard: str) -> bool:
    """Whether a clip belongs to the shard `I/N`, or there is none: by a hash of its id, whatever the other clips."""
    if not shard:
        return True
    index, count = read_shard(shard)
    return int(hashlib.sha256(clip_id.encode()).hexdigest(), 16) % count == index - 1


def lock_name(work: str, shard: str) -> str:
    """Name of the lock on the folder that is written: shards of one work may run at the same time."""
    return f"{work}.{shard.replace('/', '-of-')}" if shard else work


@dataclass(frozen=True)
class ExtractFramesSettings:
    """data_process/extract_frames.py: where clips come from, where key frames go, and how they are cut."""

    clips: Path = option(_DEMO / "clips.jsonl", "clips to read")
    source: tuple[Path, ...] = option((), "videos or frame folders without annotation, instead")
    fps: float = option(200.0, "frame rate of --source folders")
    out: Path = option(_DEMO / "frames", "folder to write")
    keyframes: KeyframeSettings = field(default_factory=KeyframeSettings)
    workers: int = option(1, "processes")
    shard: str = option("", _SHARD_HELP, metavar="I/N")
    overwrite: bool = option(False, "do finished clips again")
    skip_bad: bool = option(False, "exit with 0 even if some clips failed")

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise ValueError("--fps must be positive")
        if self.shard:
            read_shard(self.shard)


@dataclass(frozen=True)
class ComputeFlowSettings:
    """data_process/compute_flow.py: where key frames lie, where fields go, and how they are computed."""

    frames: Path = option(_DEMO / "frames", "key frames to read")
    out: Path = option(_DEMO / "flow", "folder to write")
    flow: FlowSettings = field(default_factory=FlowSettings)
    workers: int = option(1, "processes")
    shard: str = option("", _SHARD_HELP, metavar="I/N")
    overwrite: bool = option(False, "do finished clips again")
    skip_bad: bool = option(False, "exit with 0 even if some clips failed")

    def __post_init__(self) -> None:
        if self.shard:
            read_shard(self.shard)


@dataclass(frozen=True)
class RegionFlowSettings:
    """What changes the motion of regions over a video. Raises ValueError for a window or rate out of range."""

    method: FlowMethod = option("farneback", "optical flow")
    compensate: Compensation = option(DEFAULT_COMPENSATION, "removal of head motion")
    window: float = option(2.0, "seconds that are measured against one frame")
    rate: float = option(30.0, "frames a second that are measured at most; 0: all")
    eye_mask: bool = option(False, "leave eyes and lids out of the regions around them")

    def __post_init__(self) -> None:
        if not 0.1 <= self.window <= 3600 or not 0 <= self.rate <= 1e5:
            raise ValueError("--window must be 0.1 to 3600 seconds, --rate not negative")


@dataclass(frozen=True)
class LongVideoSettings:
    """What the programs that measure long videos share: the videos, the folder to write, how the work is parted."""

    videos: Path = option(Path("dataset/long/videos.jsonl"), "videos to read")
    source: tuple[Path, ...] = option((), "videos or frame folders without annotation, instead")
    fps: float = option(30.0, "frame rate of --source folders")
    out: Path = option(Path("dataset/long"), "folder to write")
    workers: int = option(1, "processes")
    shard: str = option("", _SHARD_HELP.replace("clips", "videos"), metavar="I/N")
    overwrite: bool = option(False, "do finished videos again")
    skip_bad: bool = option(False, "exit with 0 even if some videos failed or end early")

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise ValueError("--fps must be positive")
        if self.shard:
            read_shard(self.shard)


@dataclass(frozen=True)
class ExtractRegionFlowSettings(LongVideoSettings):
    """data_process/extract_region_flow.py: the videos, where their series go, and how they are measured."""

    out: Path = option(Path("dataset/long/region_flow"), "folder to write")
    region_flow: RegionFlowSettings = field(default_factory=RegionFlowSettings)


@dataclass(frozen=True)
class FaceCropSettings:
    """What changes the face crops of a video. Raises ValueError for a size or rate out of range."""

    size: int = option(160, "pixels a side")
    colour: bool = option(False, "RGB instead of grey")
    rate: float = option(30.0, "frames a second that are cropped at most; 0: all")
    window: float = option(2.0, "seconds that the head is followed from one frame's landmarks")

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024 or not 0 <= self.rate <= 1e5:
            raise ValueError("--size must be 16 to 1024 pixels, --rate not negative")
        if not 0.1 <= self.window <= 3600:
            raise ValueError("--window must be 0.1 to 3600 seconds")


@dataclass(frozen=True)
class ExtractFaceCropsSettings(LongVideoSettings):
    """data_process/extract_face_crops.py: the videos, where their crops go, and how they are cut."""

    out: Path = option(Path("dataset/long/face_crops"), "folder to write")
    face_crops: FaceCropSettings = field(default_factory=FaceCropSettings)


@dataclass(frozen=True)
class FlowMapSettings:
    """What changes the flow maps of a video. Raises ValueError for times or rates out of range."""

    # as published it is tvl1, at 60 times the cost
    method: FlowMethod = option("farneback", "optical flow; as published: tvl1")
    rate: float = option(30.0, "maps a second at most; 0: one of each frame, as published")
    interval: float = option(0.1, "seconds from a map's first frame to its second")
    look: float = option(1.0, "seconds after which the face is located again")

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1e5 or not 0.001 <= self.interval <= 10 or not 0.1 <= self.look <= 1e6:
            raise ValueError("--rate must not be negative, --interval be .001 to 10, --look .1 or more seconds")


@dataclass(frozen=True)
class ExtractFlowMapsSettings(LongVideoSettings):
    """data_process/extract_flow_maps.py: the videos, where their maps go, and how they are measured."""

    out: Path = option(Path("dataset/long/flow_maps"), "folder to write")
    flow_maps: FlowMapSettings = field(default_factory=FlowMapSettings)


@dataclass(frozen=True)
class PreviewSettings:
    """data_process/preview.py: the clip to draw, and where its pictures lie."""

    clip: str | None = option(None, "id of the clip (default: the first one)", positional=True)
    clips: Path = option(_DEMO / "clips.jsonl", "clips to read")
    frames: Path | None = option(None, "key frames (default: `frames` beside --clips, else its folder)")
    flow: Path | None = option(None, "flow pictures (default: `flow` beside --clips)")
    out: Path | None = option(None, "PNG to write (default: result/preview/<clip id>.png)")
