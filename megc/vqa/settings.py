"""Settings of the commands that build, split, check and hand in question files; nothing heavy is imported here."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from megc.command import option
from megc.motion.settings import Encoding
from megc.splits import PROTOCOLS

DEFAULT_IMAGES = ("onset", "apex", "offset", "flow")
SAMPLES = tuple(f"sample{number}" for number in range(1, 17))  # equally spaced frames
VIDEO = "video"  # the samples as one video
IMAGES = (*DEFAULT_IMAGES, "magnified", *SAMPLES, VIDEO)
CLIP_KINDS = ("coarse", "fine", "units", "side", "shown", "long")  # of questions on a clip, in the organisers' order
INTERVAL_KIND = "interval_type"  # of questions on an interval of a long video: ours, for ME-STR
HIERARCHIES = ("coarse", "statistics")

_DEMO = Path("dataset/demo")
_TRAIN = Path("dataset/train_dataset.jsonl")
_TEST = Path("dataset/test_dataset.jsonl")


@dataclass(frozen=True)
class BuildSettings:
    """data_process/build_instructions.py: where rows and pictures come from, and how to ask."""

    clips: Path = option(_DEMO / "clips.jsonl", "from index_clips.py")
    out: Path = option(_DEMO / "instructions.jsonl", "file to write")
    rows: tuple[Path, ...] = option((), "ME-VQA JSONL files to ask as they are")
    videos: Path | None = option(
        None, "videos.jsonl from index_clips.py: ME-LVQA questions on long videos, without pictures"
    )
    frames: Path | None = option(None, "key frames (default: `frames` beside --out)")
    flow: Path | None = option(None, "flow pictures (default: `flow` beside --out)")
    flow_dir: tuple[Path, ...] = option(
        (), "flat folders of <image_id>.png flow pictures: one, or one for each file of --rows"
    )
    centre: bool = option(
        False, "draw min-max pictures of --flow-dir again without the motion of the whole head (uv-strain-centred)"
    )
    images: tuple[Literal[*IMAGES, "none"], ...] = option(
        DEFAULT_IMAGES, "pictures, in order; none: --motion-words alone"
    )
    video_frames: int = option(8, "frames of the video, as many as extract_frames.py --samples wrote")
    motion_words: bool = option(False, "say in words which regions of the face move, where to and how far")
    encoding: Encoding | None = option(None, "of the flow pictures (default: as compute_flow.py recorded)")
    scale: float | None = option(None, "pixels at full brightness (default: as recorded)")
    bare: bool = option(False, "ask without system prompt, legend and regions")
    legend: bool = option(True, "explain the flow colours in the prompt")
    kinds: tuple[Literal[*CLIP_KINDS, "analysis", INTERVAL_KIND], ...] = option(
        (),
        f"questions that are made of the clips' labels (default: {' '.join(CLIP_KINDS)}; MEGC 2026 has `analysis` in "
        "place of `long`, and `interval_type` is for intervals of long videos); of --rows the kinds that are kept "
        "(default: all)",
    )
    name_dataset: bool = option(False, "name each clip's dataset, and its fine classes, in the prompt")
    seed: int = option(0, "of the drawn questions")
    prompt: Path | None = option(
        None, "ask as this prompt.json of other questions, or megc.json of a checkpoint, says; for its flow pictures"
    )
    skip_bad: bool = option(False, "exit with 0 although rows were left out")

    def __post_init__(self) -> None:
        if self.images == ("none",):
            object.__setattr__(self, "images", ())
        if "none" in self.images or not (self.images or self.motion_words or self.videos):
            raise ValueError("--images none leaves the pictures out and goes with --motion-words alone")
        if self.video_frames < 2:
            raise ValueError(f"--video-frames {self.video_frames}: a video has two frames or more")
        if self.videos and self.motion_words:
            raise ValueError("--videos asks about long videos without pictures: leave out --motion-words")
        if self.videos and (self.rows or self.flow_dir or self.prompt or self.images != DEFAULT_IMAGES):
            raise ValueError("--videos has questions of its own: leave out --rows, --flow-dir, --prompt and --images")
        if len(self.flow_dir) not in (0, 1, len(self.rows)):
            raise ValueError("--flow-dir: give one folder, or one for each file of --rows, in their order")
        others = (self.images, self.bare, self.legend, self.encoding, self.scale, self.name_dataset)
        others += (self.motion_words, self.video_frames)
        if self.prompt and others != (DEFAULT_IMAGES, False, True, None, None, False, False, 8):
            flags = "--images, --bare, --no-legend, --encoding, --scale, --name-dataset, --motion-words"
            raise ValueError(f"--prompt says how to ask: leave out {flags}, --video-frames")


@dataclass(frozen=True)
class AugmentSettings:
    """data_process/augment_flow.py: `copies` of each clip beside the clip itself, every second one mirrored, and
    `mixed` pictures of two or three clips of one class, the fine one where there is one, equally many of each."""

    copies: int = option(8, "of each clip, half of them mirrored")
    mixed: int = option(0, "pictures that mix two or three clips of one class and ask for the classes only")
    kinds: tuple[Literal[*CLIP_KINDS, "analysis"], ...] = option(
        (), "questions that copies keep (default: all): fewer take less time to train on"
    )
    seed: int = option(0, "of the drawn changes")
    train: Path = option(_TRAIN, "training file to read")
    out: Path = option(Path("dataset/train_augmented.jsonl"), "file to write, in the same folder")


@dataclass(frozen=True)
class CheckSettings:
    """data_process/check_dataset.py: the files to check. With none given, those of the demo set."""

    clips: tuple[Path, ...] = option((), f"clips (default, with no file given: {_DEMO / 'clips.jsonl'})")
    videos: tuple[Path, ...] = option((), "long videos and their events, videos.jsonl")
    train: tuple[Path, ...] = option((), f"instructions to train on (default, with no file given: {_TRAIN})")
    test: tuple[Path, ...] = option((), f"instructions to answer (default, with no file given: {_TEST})")
    checkpoint: Path | None = option(None, "compare prompt, pictures and subjects with those it was trained on")
    all_frames: bool = option(False, "decode every frame of clips and videos, not only the key frames")
    strict: bool = option(False, "exit with 1 for warnings too")
    out: Path | None = option(None, "CSV to write, with every finding")
    limit: int = option(5, "findings of each check to print")
    report_first = True  # the table stands below the findings

    def __post_init__(self) -> None:
        if not (self.clips or self.videos or self.train or self.test):
            defaults = {"clips": (_DEMO / "clips.jsonl",), "train": (_TRAIN,), "test": (_TEST,)}
            for name, files in defaults.items():
                object.__setattr__(self, name, files)

    @property
    def report_limit(self) -> int:
        """How many findings of each check are printed."""
        return self.limit


@dataclass(frozen=True)
class SplitSettings:
    """train/set_train_dataset.py: instruction files and how subjects are split. A side of None is not written."""

    instructions: tuple[Path, ...] = option((_DEMO / "instructions.jsonl",), "files to split, put together")
    train: Path | None = option(_TRAIN, "training side to write")
    test: Path | None = option(_TEST, "test side to write")
    protocol: Literal[PROTOCOLS] = option("holdout", "how subjects are split")
    folds: int = option(5, "number of folds of kfold")
    fold: int = option(0, "which fold to write, from 0")
    test_fraction: float = option(0.25, "share of subjects that holdout keeps")
    seed: int = option(0, "of the draw of subjects")
    share: float = option(1.0, "share of the training subjects to keep, for learning curves")
    hierarchy: Literal[HIERARCHIES] | None = option(
        None,
        "two stages: training prompts name the clip's coarse class (statistics: and what training clips of that class "
        "look like), test prompts the model's own answer",
    )


@dataclass(frozen=True)
class AblationTrainSettings(SplitSettings):
    """ablation/set_train_dataset.py: the training side of a fold."""

    train: Path | None = option(Path("dataset/ablation_train.jsonl"), "training side to write")
    test: Path | None = option(None, "test side to write (default: not written)")
    protocol: Literal[PROTOCOLS] = option("kfold", "how subjects are split")


@dataclass(frozen=True)
class AblationTestSettings(SplitSettings):
    """ablation/set_test_dataset.py: the test side of a fold."""

    train: Path | None = option(None, "training side to write (default: not written)")
    test: Path | None = option(Path("dataset/ablation_test.jsonl"), "test side to write")
    protocol: Literal[PROTOCOLS] = option("kfold", "how subjects are split")


@dataclass(frozen=True)
class SubmissionSettings:
    """test/make_submission.py: predictions, the organisers' files, and the folder to hand in."""

    predictions: tuple[Path, ...] = option(MISSING, "rows with answers; one or several files")
    questions: tuple[Path, ...] = option(MISSING, "the organisers' files, NAME_to_answer.jsonl")
    out: Path = option(Path("result/submission"), "folder of the files")
    zip: Path | None = option(None, "also pack the files, when nothing is wrong with them")
    report_limit = 1000  # every missing answer is named
