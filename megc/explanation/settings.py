"""Options of the commands that explain a video; nothing heavy is imported here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megc.answers.settings import Decoding, Endpoint, RunSettings
from megc.command import option

_CLIPS = Path("dataset/demo/clips.jsonl")
# of reasoning.settings.OPTIONS those that one clip can be reasoned over with: no training answers, no prose
REASONS = ("snap", "number", "shown", "joint", "compose")
LONGEST_CLIP = 4.0  # seconds; what is longer holds more than an expression, and is spotted first


@dataclass(frozen=True)
class ModelSettings:
    """What answers: a checkpoint in memory, or a server, and how."""

    model: str = option("checkpoints/tiny", "folder of a checkpoint, or a name on the hub")
    endpoint: Endpoint = field(default_factory=Endpoint)
    decoding: Decoding = field(default_factory=Decoding)
    device: str | None = option(None, "such as cpu, cuda:1 (default: a GPU if there is one)")
    threads: int = option(0, "CPU threads; 0: torch's choice (1 is best for tiny models)")

    def run_settings(self) -> RunSettings:
        """As a run over a test set has them."""
        return RunSettings(
            model=self.model, endpoint=self.endpoint, decoding=self.decoding, device=self.device, threads=self.threads
        )


@dataclass(frozen=True)
class PictureSettings:
    """What is drawn of a clip. Raises ValueError for numbers out of range."""

    magnify: float = option(6.0, "factor of the motion in the magnified animation")
    seconds: float = option(3.0, "length of the animation's loop; a longer clip plays at its own speed")
    control: bool = option(True, "answer once more with the flow picture blanked, to see what the answers rest on")

    def __post_init__(self) -> None:
        if not 0 <= self.magnify <= 100 or not 0.2 <= self.seconds <= 60:
            raise ValueError("--magnify must be 0 to 100, --seconds 0.2 to 60")


@dataclass(frozen=True)
class SpottingSettings:
    """How expressions are spotted in a long video. Raises ValueError for a number out of range."""

    spotter: tuple[Path, ...] = option(
        (), "folders of a trained spotter and its refiners (default: the optical-flow spotter, untrained)"
    )
    most: int = option(8, "events of a long video that are asked about, those of the highest scores")

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError("--most must be 1 or more")


@dataclass(frozen=True)
class AskSettings:
    """test/ask.py: the video, the moments that are known of it, the questions, and what answers."""

    video: str = option(
        "", "video, folder of frames, or the id of a clip in --clips", positional=True, metavar="VIDEO"
    )
    clips: Path = option(_CLIPS, "clips that an id is looked up in")
    onset_image: Path | None = option(None, "instead of a video: the picture before the movement")
    apex_image: Path | None = option(None, "and the picture of its peak")
    onset: int | None = option(None, "frame number of the onset (default: the first frame)")
    apex: int | None = option(None, "frame number of the apex (default: spotted)")
    offset: int | None = option(None, "frame number of the offset (default: the last frame)")
    fps: float = option(30.0, "frame rate of a folder of frames")
    question: tuple[str, ...] = option((), "more questions, in any words; those not of the challenge are marked free")
    reason: tuple[Literal[*REASONS], ...] = option((), "make a clip's answers agree, as test/reason_answers.py does")
    no_face: Literal["error", "centre"] = option(
        "error", "where no face is found: stop, or take the centre of the frame"
    )
    name: str = option("", "of the folder to write (default: that of the video)")
    out: Path = option(Path("result/ask"), "folder above it")
    answers: ModelSettings = field(default_factory=ModelSettings)
    pictures: PictureSettings = field(default_factory=PictureSettings)
    spotting: SpottingSettings = field(default_factory=SpottingSettings)

    def __post_init__(self) -> None:
        if bool(self.onset_image) != bool(self.apex_image):
            raise ValueError("--onset-image and --apex-image go together")
        if bool(self.video) == bool(self.onset_image):
            raise ValueError("give a video, a folder of frames or a clip's id; or --onset-image and --apex-image")
        if self.onset_image and not (self.onset is self.apex is self.offset is None):
            raise ValueError("two pictures have no frame numbers: leave out --onset, --apex and --offset")
        if not self.fps > 0:
            raise ValueError("--fps must be positive")


@dataclass(frozen=True)
class WebDemoSettings:
    """test/web_demo.py: the page, where it is served, and what answers. Raises ValueError for numbers out of range."""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 lets others in, who are not asked for a password")
    port: int = option(7860, "port; 0: any that is free")
    upload: int = option(200, "MB of the largest video that is taken")
    keep: Path | None = option(None, "folder to keep reports and answers in (default: nothing stays)")
    clips: Path = option(_CLIPS, "clips to choose from")
    answers: ModelSettings = field(default_factory=ModelSettings)
    pictures: PictureSettings = field(default_factory=PictureSettings)
    spotting: SpottingSettings = field(default_factory=SpottingSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535 or self.upload < 1:
            raise ValueError("--port must be 0 to 65535, --upload 1 or more")
