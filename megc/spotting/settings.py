"""Settings of the commands on spotting; nothing heavy is imported here."""

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Literal

from megc.command import option
from megc.training.settings import GpuName, TrainerOptions

TrackName = Literal["signal", "proposals"]


@dataclass(frozen=True)
class TrackSettings:
    """ablation/spotting_tracks.py: real data of spotting without faces, and what to do with them."""

    data: Path = option(
        Path("../shared/real/spotting"), "folder of events, videos, curves of motion and published predictions"
    )
    tracks: tuple[TrackName, ...] = option(("signal", "proposals"), "what to run")
    datasets: tuple[Literal["casme_sq", "samm_lv"], ...] = option(("casme_sq", "samm_lv"), "datasets to run on")
    out: Path = option(Path("result/spotting_tracks"), "folder of tracks.csv, tracks.md and the spotted intervals")
    draws: int = option(20, "draws of the row of random intervals")
    resamples: int = option(1000, "bootstrap resamples")
    seed: int = option(0, "seed of models, draws and bootstrap")


@dataclass(frozen=True)
class SpotExpressionsSettings:
    """test/spot_expressions.py: videos, the spotter, and the folder to write."""

    source: tuple[Path, ...] = option((), "video files or folders of frames", positional=True)
    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "without VIDEO: the videos of a dataset")
    fps: float = option(30.0, "frame rate of folders of frames")
    spotter: tuple[Path, ...] = option(
        (), "folders of a trained spotter and of its refiners, in order; default: the optical-flow spotter, untrained"
    )
    inputs: Path | None = option(None, "folder of what is measured on the videos (default: `inputs` below --out)")
    out: Path = option(Path("result/spotted"), "folder to write")
    timeline: bool = option(True, "draw a timeline of each video")
    workers: int = option(1, "processes that measure")
    skip_bad: bool = option(False, "exit with 0 even if some videos failed or end early")

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise ValueError("--fps must be positive")


@dataclass(frozen=True)
class TrainSpotterSettings:
    """train/train_spotter.py: a kind of spotter, and the videos that it learns from."""

    config: Path = option(MISSING, "yaml file: `kind`, and the settings of that spotter")
    output_dir: Path = option(MISSING, "folder to write: spotter.json, weights, log")
    set: tuple[str, ...] = option((), "settings that go before the file's, as epochs=2")
    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "long videos with their events")
    inputs: Path = option(Path("dataset/demo/long"), "folder above region_flow and what else was measured on them")
    subjects: tuple[str, ...] = option((), "learn from these alone, as samm_lv/006; default: all of them")
    leave_out: tuple[str, ...] = option((), "subjects that it must not see, as samm_lv/006")
    overwrite: bool = option(False, "replace a spotter of other settings or subjects in --output_dir")


@dataclass(frozen=True)
class IndexIntervalsSettings:
    """data_process/index_intervals.py: annotated long videos, proposals in them, and the clips to write."""

    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "long videos with their events")
    proposals: tuple[Path, ...] = option((), "intervals of spotters on these videos, as score_spotting.py takes them")
    inputs: Path | None = option(
        None, "folder above region_flow, by which apexes are spotted (default: when the key frames are cut)"
    )
    jitter: int = option(3, "copies of each event with other ends")
    seed: int = option(0, "of the copies' ends")
    out: Path = option(Path("dataset/demo/long/intervals/clips.jsonl"), "file to write")
    skip_bad: bool = option(False, "exit with 0 although rows of proposals were left out")


@dataclass(frozen=True)
class ConvertVideoSettings:
    """train/convert_video_checkpoint.py: a published checkpoint, and sizes that its weights do not tell."""

    source: Path = option(
        MISSING, "a .pth file of VideoMAE, MAE-DFER or MEGC2023, or a transformers folder of VideoMAE"
    )
    output_dir: Path = option(MISSING, "folder to write: video.json, model.safetensors, megc.json")
    image_size: int | None = option(None, "pixels of a side; default: as the file says, else 160")
    num_frames: int | None = option(None, "frames of a clip; default: as the file says, else 16")
    region: tuple[int, ...] | None = option(None, "pairs of frames, rows and columns of a region; default: 2 5 10")
    class_token: Literal["region", "org", "all"] | None = option(
        None, "what LGI-Former's classifier averages; default: as the file says, else region"
    )
    heads: int | None = option(None, "attention heads; default: one for 64 values")
    decoder_heads: int | None = option(None, "attention heads of the decoder; default: one for 64 values")
    crop: str = option("", "name of the face crops that it was trained on, as dfew_jpg_256; others are refused then")


@dataclass(frozen=True)
class AnswerSpottedSettings:
    """test/answer_spotted.py: questions on long videos, the intervals that answer them, and what is learnt."""

    questions: Path = option(Path("dataset/demo/long/instructions.jsonl"), "instructions of ME-LVQA, to answer")
    videos: Path = option(Path("dataset/demo/long/videos.jsonl"), "the videos (videos.jsonl, or a table of them)")
    events: Path | None = option(None, "table of their events, where --videos is a table")
    intervals: Path | None = option(
        None, "spotted intervals, as score_spotting.py takes them (default: the annotated events, an upper bound)"
    )
    least_score: float = option(0.0, "intervals with a lower score do not count")
    inputs: Path | None = option(None, "folder above region_flow, by which action units are told")
    leave_one_subject_out: bool = option(
        False, "learn from each subject's others: counts by counts of intervals, types, and action units"
    )
    train_videos: Path | None = option(None, "learn from these annotated videos (videos.jsonl) instead")
    train_intervals: Path | None = option(None, "intervals in them, of the same spotter, trained on other subjects")
    out: Path = option(Path("result/long/spotted/predictions.jsonl"), "predictions to write")

    def __post_init__(self) -> None:
        if bool(self.train_videos) != bool(self.train_intervals):
            raise ValueError("--train-videos and --train-intervals need each other")
        if self.train_videos and self.leave_one_subject_out:
            raise ValueError("--leave-one-subject-out learns from the questions' own videos: leave out --train-videos")
        if self.inputs and not (self.train_videos or self.leave_one_subject_out):
            raise ValueError("--inputs is for what is learnt: add --leave-one-subject-out or --train-videos")


@dataclass(frozen=True)
class ExportClipListsSettings:
    """data_process/export_clip_lists.py: clips, what their classes are, and the shares of the subjects."""

    clips: Path = option(Path("dataset/demo/clips.jsonl"), "clips of data_process/index_clips.py, with frames")
    out: Path = option(Path("dataset/clips"), "folder of train.csv, val.csv, test.csv, classes.json and split.json")
    classes: Literal["coarse", "fine"] = option("coarse", "what is told apart: coarse classes, or annotated emotions")
    test_share: float = option(0.25, "share of each dataset's people in test.csv")
    val_share: float = option(0.2, "share of the others in val.csv")
    seed: int = option(0, "seed of the draw")


@dataclass(frozen=True)
class ClassifyClipsSettings:
    """test/classify_clips.py: a trained classifier, and the clips that it names."""

    model: Path = option(MISSING, "checkpoint folder of train/train_video.py or convert_video_checkpoint.py")
    clips: Path = option(Path("dataset/clips/test.csv"), "path and class of a clip in each line")
    out: Path = option(Path("result/clips"), "folder of predictions.csv, metrics.csv and confusion.csv")
    stride: int | None = option(None, "frames of the video from one of the clip to the next; default: as trained")
    starts: int = option(2, "clips of a video, from its first frame to its last, whose probabilities are averaged")
    crops: int = option(2, "squares of a picture that is not square, along its longer side")
    batch: int = option(8, "clips in a pass")
    device: str = option("", "cpu, cuda, …; default: a GPU where there is one")
    crop: str = option("", "name of the face crops, where the frames do not come with their recipe")
    any_crop: bool = option(False, "classify other face crops than the model was trained on: it costs accuracy")
    resamples: int = option(1000, "bootstrap resamples")
    seed: int = option(0, "seed of the bootstrap")


@dataclass
class VideoSettings:
    """train/train_video.py: what is trained, on what; how long and how fast is for TrainingArguments to say."""

    task: Literal["pretrain", "classify"] = option(
        "classify", "rebuild hidden patches, or tell classes of clips apart"
    )
    train_file: str = option("dataset/clips/train.csv", "path and class of a clip in each line; see train/README.md")
    eval_file: str | None = option(None, "the same of other clips, to evaluate on (--eval_strategy)")
    start_from: str | None = option(None, "checkpoint folder whose encoder is the start; default: new weights")
    architecture: Literal["videomae", "lgi_former"] = option("videomae", "encoder")
    image_size: int = option(160, "pixels of a side")
    num_frames: int = option(16, "frames of a clip")
    stride: int = option(4, "frames of the video from one of the clip to the next; a short video is spread evenly")
    dim: int = option(768, "width of the encoder")
    depth: int = option(12, "its layers")
    heads: int = option(12, "its attention heads")
    region: list[int] = field(
        default_factory=lambda: [2, 5, 10],
        metadata={
            "help": "pairs of frames, rows and columns of patches in a region of LGI-Former, and of part_window"
        },
    )
    class_token: Literal["region", "org", "all"] = option("region", "what LGI-Former's classifier averages")
    drop_path: float = option(0.0, "rate at which the last layer's branches are dropped; less in earlier layers")
    decoder_dim: int = option(384, "width of the decoder of pretraining")
    decoder_depth: int = option(4, "its layers")
    decoder_heads: int = option(6, "its attention heads")
    mask: Literal["tube", "part_window"] = option("tube", "hidden patches: anywhere, or equally many in each region")
    mask_ratio: float = option(0.9, "share of hidden patches")
    targets: Literal["pixels", "differences"] = option(
        "pixels", "what is rebuilt: both frames of a pair, or the first and its difference to the second"
    )
    layer_decay: float = option(1.0, "factor of the learning rate from a layer to the one below it")
    label_smoothing: float = option(0.0, "share of a label that goes to all classes alike")
    mixup: float = option(0.0, "beta parameter of averages of two clips; 0: none")
    cutmix: float = option(0.0, "beta parameter of clips with a rectangle of another; 0: none")
    erase: float = option(0.0, "probability of a rectangle of noise")
    flip: float = option(0.0, "probability of mirroring")
    smallest_crop: float = option(1.0, "least share of the shorter side in a random crop; 1: the centre")
    crop: str = option("", "name of the face crops, where the frames do not come with their recipe")
    any_crop: bool = option(False, "start from a checkpoint of other face crops")
    threads: int = option(0, "CPU threads a process; 0: torch's choice")
    resume: bool = option(False, "go on where an earlier run into --output_dir stopped")
    overwrite: bool = option(False, "delete what an earlier run left in --output_dir; on the command line only")
    plan: bool = option(False, "print parameters, clips, steps, memory and disk, and stop before a model is built")
    gpu: GpuName = option("h100", "kind of GPU, for --plan")
    gpus: int = option(1, "number of GPUs, for --plan")


@dataclass
class VideoHelp:
    """What the short --help of train_video.py lists."""

    config: str = option("train/videomae_tiny.yaml", "yaml file of settings; its values are the defaults below")
    training: VideoSettings = field(default_factory=VideoSettings)
    hugging_face: TrainerOptions = field(default_factory=TrainerOptions)
    help_all: bool = option(False, "every option of Hugging Face's TrainingArguments too")
