"""train/train_video.py: pretraining and fine-tuning of VideoMAE and LGI-Former on lists of clips.

Order: settings → lists (every path looked at) → output folder → model → steps → checkpoint.
"""

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainingArguments

from megc.commits import software
from megc.files import sha256_of
from megc.model import distributed
from megc.model.distributed import before_deepspeed, lock_output, print_main
from megc.model.parts import count_values
from megc.problems import DataError
from megc.records import check_record
from megc.spotting.clip_dataset import Augmentation, ClipCollator, ClipDataset, MaskSettings
from megc.spotting.clip_lists import ClipListSource, LabelledClip, crop_recipes, list_hash, read_clip_list
from megc.spotting.settings import VideoSettings
from megc.spotting.video_config import VideoConfig
from megc.spotting.video_encoders import build_autoencoder, build_classifier, check_crop, load_weights, start_from
from megc.spotting.video_trainer import VideoTrainer
from megc.training.resume import Beginning, find_beginning
from megc.training.settings import TrainingFlags
from megc.training.trainer import count_steps, run_training
from megc.training.training_info import OF_THE_CALL, base_hash

_SHAPE = ("architecture", "image_size", "num_frames", "dim", "depth", "heads", "class_token", "drop_path")
_SHAPE += ("decoder_dim", "decoder_depth", "decoder_heads")


@dataclass(frozen=True)
class CheckedVideoRun:
    """A run whose settings, clips and output folder are checked; `info`: its `megc.json` to be."""

    settings: VideoSettings
    args: TrainingArguments
    config: VideoConfig
    clips: list[LabelledClip]
    evaluated: list[LabelledClip]
    info: dict
    beginning: Beginning


def video_config(settings: VideoSettings, num_labels: int = 1) -> VideoConfig:
    """The shape that the settings ask for. Raises DataError for sizes that do not fit each other."""
    values = {name: getattr(settings, name) for name in _SHAPE}
    values |= {"region": tuple(settings.region), "differences": settings.targets == "differences"}
    values["num_labels"] = num_labels
    return check_record(VideoConfig, values, "settings of train_video.py", None, "change one of the sizes")


def check_settings(settings: VideoSettings, args: TrainingArguments) -> None:
    """Raise ValueError for settings that do not go together, with the flag to change."""
    if settings.overwrite and (settings.resume or args.resume_from_checkpoint):
        raise ValueError("--resume goes on with what is there, --overwrite deletes it: give one of them")
    if settings.start_from and Path(settings.start_from).resolve() == Path(args.output_dir).resolve():
        raise ValueError(f"--output_dir {args.output_dir} is the checkpoint to start from: give another folder")
    if (args.eval_strategy != "no") != bool(settings.eval_file):
        raise ValueError("--eval_file, and --eval_strategy epoch or steps, need each other")
    if settings.task == "pretrain":
        if settings.eval_file:
            raise ValueError("pretraining evaluates on nothing: leave out --eval_file")
        if settings.architecture == "lgi_former" and settings.mask != "part_window":
            raise ValueError("LGI-Former needs equally many visible patches in all regions: --mask part_window")
    if len(settings.region) != 3:
        raise ValueError(f"--region is three numbers (pairs of frames, rows, columns), not {settings.region}")
    for name in ("mask_ratio", "label_smoothing", "erase", "flip", "smallest_crop", "layer_decay"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"--{name} is a share from 0 to 1, not {getattr(settings, name)}")
    for name in ("mixup", "cutmix"):
        if getattr(settings, name) < 0:
            raise ValueError(f"--{name} is 0 or more, not {getattr(settings, name)}")
    if settings.stride < 1:
        raise ValueError(f"--stride is 1 or more, not {settings.stride}")


def check_run(settings: VideoSettings, args: TrainingArguments) -> CheckedVideoRun:
    """Check settings, lists and output folder; what is to be replaced in the folder is deleted.

    Raises ValueError for settings that contradict each other and DataError for lists, checkpoints or the folder.
    """
    distributed.take_one_gpu(args)
    check_settings(settings, args)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    clips = read_clip_list(settings.train_file)
    evaluated = read_clip_list(settings.eval_file) if settings.eval_file else []
    classes = 1 + max(clip.label for clip in clips)
    _check_lists(settings, clips, evaluated, classes)
    config = video_config(settings, classes if settings.task == "classify" else 1)
    recipes = crop_recipes(clips, settings.crop)
    if len(recipes) > 1:
        what = f"clips of {len(recipes)} different face crops: {recipes[0]}, {recipes[1]}"
        raise DataError(settings.train_file, None, what, "cut all faces alike, with the same settings")
    if settings.start_from:
        check_crop(Path(settings.start_from), recipes[0] if recipes else {}, any_crop=settings.any_crop)
    info = _training_info(settings, args, clips, evaluated, recipes)
    beginning = find_beginning(args, info, resume=settings.resume, overwrite=settings.overwrite)
    return CheckedVideoRun(settings, args, config, clips, evaluated, info, beginning)


def _check_lists(
    settings: VideoSettings, clips: list[LabelledClip], evaluated: list[LabelledClip], classes: int
) -> None:
    """Raise DataError for a single class to tell apart, and for clips to evaluate on that are trained on too, or have
    a class that no clip of the training has."""
    if settings.task == "pretrain":
        return
    if classes < 2:
        raise DataError(settings.train_file, None, "all clips are of class 0", "give clips of two classes or more")
    trained = {clip.path.resolve() for clip in clips}
    for clip in evaluated:
        if clip.path.resolve() in trained:
            raise DataError(settings.eval_file, None, f"{clip.path} is trained on too", "take it out of a list")
        if clip.label >= classes:
            what = f"{clip.path} has the class {clip.label}, which no clip of {settings.train_file} has"
            raise DataError(settings.eval_file, None, what, "correct the class")


def _training_info(
    settings: VideoSettings,
    args: TrainingArguments,
    clips: list[LabelledClip],
    evaluated: list[LabelledClip],
    recipes: list[dict],
) -> dict:
    """`megc.json` of the checkpoint to be."""
    file = Path(settings.train_file)
    training = {**dataclasses.asdict(settings), **args.to_sanitized_dict(), "processes": args.world_size}
    rows = [f"{clip.path.name} {clip.label}" for clip in [*clips, *evaluated]]
    return {
        "kind": "trained",
        "base": settings.start_from,
        "base_hash": base_hash(settings.start_from) if settings.start_from else None,
        "recipes": {"crop": recipes},
        "data": {
            "file": str(file),
            "rows": len(clips),
            "rows_hash": sha256_of(*rows),
            "content_hash": sha256_of(*(list_hash(part, file.parent) for part in (clips, evaluated))),
            "clips": len(clips),
        },
        "training": {name: value for name, value in training.items() if name not in OF_THE_CALL},
        **software(),
    }


def build_trainer(run: CheckedVideoRun) -> VideoTrainer:
    """The trainer of the run, with its model, clips and augmentation."""
    settings, args, config = run.settings, run.args, run.config
    if distributed.uses_deepspeed(args):
        distributed.start_deepspeed()
    pretrain = settings.task == "pretrain"
    model = (build_autoencoder if pretrain else build_classifier)(config, args.seed)
    if settings.start_from and pretrain:
        model.load_state_dict(load_weights(Path(settings.start_from), model))
    elif settings.start_from:
        start_from(model, Path(settings.start_from))
    names = ("smallest_crop", "flip", "erase", "mixup", "cutmix")
    augmentation = Augmentation(**{name: getattr(settings, name) for name in names})
    mask = MaskSettings(settings.mask, settings.mask_ratio) if pretrain else None
    source = ClipListSource(run.clips, config.num_frames, settings.stride)
    evaluated = ClipListSource(run.evaluated, config.num_frames, settings.stride) if run.evaluated else None
    data = ClipDataset(source, config, augmentation, mask, args.seed)
    data[0]  # a clip that cannot be read, and a mask that hides nothing, end the run here
    return VideoTrainer(
        model=model,
        args=args,
        train_dataset=data,
        eval_dataset=ClipDataset(evaluated, config) if evaluated else None,
        data_collator=ClipCollator(config.num_labels, augmentation, settings.label_smoothing),
        training_info=run.info,
        layer_decay=settings.layer_decay,
    )


def train(settings: VideoSettings, args: TrainingArguments) -> dict[str, float]:
    """Train and write the checkpoint to `args.output_dir`; returns Trainer's metrics.

    Where the same run is finished already, nothing is done and no metrics come back. Raises what `check_run` and
    `run_training` raise.
    """
    run = check_run(settings, args)
    if run.beginning.finished:
        steps = run.beginning.finished
        print_main(f"Checkpoint {args.output_dir} is already finished: {steps} with these settings and data")
        return {}
    trainer = build_trainer(run)
    print_main(*describe_run(run, trainer))
    return run_training(trainer, run.beginning)


def describe_run(run: CheckedVideoRun, trainer: VideoTrainer) -> list[str]:
    """What is trained on what, before the first step."""
    settings, config, args = run.settings, run.config, run.args
    steps = count_steps(len(run.clips), args.world_size, args)
    classes = Counter(clip.label for clip in run.clips)
    of_classes = ", ".join(f"{classes[label]} of class {label}" for label in sorted(classes))
    total = sum(count_values(parameter) for parameter in trainer.model.parameters())
    decay = f"{settings.layer_decay:g} a layer down" if settings.layer_decay < 1 else "the same for all layers"
    lines = [
        f"{config.architecture}, {config.dim} wide, {config.depth} layers, {total:,} parameters, "
        + (f"encoder of {settings.start_from}" if settings.start_from else "new weights"),
        *run.beginning.lines,
        f"{len(run.clips)} clips" + ("" if settings.task == "pretrain" else f": {of_classes}"),
        *([f"evaluated on {len(run.evaluated)} clips"] if run.evaluated else []),
        str(steps),
        *([steps.warning] if steps.warning else []),
        f"learning rate {args.learning_rate:g}, {decay}",
    ]
    verb = "Pretraining" if settings.task == "pretrain" else "Training"
    return [f"{verb} on {settings.train_file}", *(f"  {line}" for line in lines)]


def train_locked(flags: TrainingFlags) -> None:
    """`train` with the output folder held, by the flags of train_video.py."""
    if flags.values["deepspeed"] or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        before_deepspeed()
    with lock_output(flags.values["output_dir"]):  # before processes meet: a refusal leaves none waiting
        train(*flags.settings())
