"""Settings of the kinds of spotters: keys of their yaml files (train/README.md); nothing heavy is imported here.

`spotters.check_settings` holds values against these types. They are strict, as a yaml file that writes true for a
number, or a share of 7, is a slip of the pen.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from megc.command import option

HEADS = 4  # of attention in the networks of `region` and `recogniser`, which divide their width
Count = Annotated[int, Field(strict=True, ge=1, le=10**6)]
Size = Annotated[int, Field(strict=True, ge=1, le=4096)]  # of a network
NoneOrMore = Annotated[int, Field(strict=True, ge=0, le=10**6)]
Seed = Annotated[int, Field(strict=True, ge=0, le=4 * 10**6)]  # those of members are a thousand times as high
Flag = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Amount = Annotated[float, Field(strict=True, ge=0, le=10**6)]
Positive = Annotated[float, Field(strict=True, gt=0, le=10**6)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=3600)]
Window = Annotated[float, Field(strict=True, gt=0, le=3600)]  # seconds
Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]  # of what is dropped in training
ShareInside = Annotated[float, Field(strict=True, gt=0, lt=1)]
Folds = Annotated[int, Field(strict=True, ge=2, le=10**6)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=10**9)]


@dataclass(frozen=True)
class FusedSettings:
    """The spotter `fused`: whose proposals it joins. `members` have the keys of their own yaml files."""

    members: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] = option(
        ({"kind": "flow", "fit": False}, {"kind": "region"}), "spotters, each with its kind and settings"
    )
    signal: Flag = option(True, "also read the motion in and beside each proposal, by trees")
    folds: Folds = option(3, "inner folds by subject")
    overlap: Share = option(0.2, "largest IoU of two intervals")
    seed: Seed = option(0, "of trees and folds")


@dataclass(frozen=True)
class VlmSettings:
    """`kind: vlm`: a vision-language model looks at another spotter's intervals."""

    model: str = option("", "checkpoint that answers as it is; empty: the tiny one is trained")
    base: str = option("flow", "kind of the spotter that proposes")
    base_set: tuple[str, ...] = option((), "its settings, as those of the spotter whose intervals are refined")
    loose_set: tuple[str, ...] = option(
        ("fit=false",),
        "its settings where the model learns from its false alarms: of flow those that let more through",
    )
    images: Annotated[tuple[Literal["onset", "apex", "offset", "flow"], ...], Field(min_length=1)] = option(
        ("flow",), "pictures, in order"
    )
    jitter: NoneOrMore = option(3, "copies of each event with other ends")
    steps: Count = option(400, "optimiser steps")
    batch: Count = option(8, "intervals of a step")
    learning_rate: Positive = option(1.5e-3, "highest rate")
    max_pixels: Pixels = option(23520, "of a picture: half of an aligned crop")
    shift: NoneOrMore = option(4, "pixels by which pictures are moved in training")
    held_out: ShareInside = option(
        0.25, "share of the subjects that the threshold is chosen on; they are not trained on"
    )
    typed_by: Literal["duration", "model"] = option("duration", "what says micro or macro")
    threads: NoneOrMore = option(1, "of the CPU")
    seed: Seed = option(0, "of weights, order and jitter")


@dataclass(frozen=True)
class RegionSettings:
    """The spotter `region`: a temporal network on region flow, and how its curves become intervals."""

    reference: Seconds = option(6.0, "seconds of the running median that motion is measured against")
    window: Window = option(4.3, "seconds of a training window")
    width: Size = option(32, "channels of the network")
    depth: Size = option(5, "blocks of its trunk")
    dropout: Rate = option(0.1, "share of channels that are dropped in training")
    temporal: Literal["convolution", "attention"] = option("convolution", "what looks along time")
    frequency_gate: Flag = option(False, "a learnt gate over the spectrum of the series (FGSL's idea)")
    pyramid: Flag = option(False, "classify on a coarse level, localise on the fine one (FGSL's idea)")
    epochs: Count = option(30, "times that the training videos are seen")
    batch: Count = option(4, "windows of a step")
    rate: Positive = option(2e-3, "highest learning rate")
    weight_decay: Amount = option(0.05, "of AdamW")
    micro_weight: Amount = option(3.0, "of a frame in a micro-expression, in the loss of its curve")
    emotion_weight: Amount = option(0.5, "of the loss of emotions")
    unit_weight: Amount = option(0.5, "of the loss of action units")
    mirror: Flag = option(True, "augmentation: mirror half of the windows")
    gain: Amount = option(0.15, "augmentation: spread of the logarithm of a window's gain")
    noise: Amount = option(0.05, "augmentation: pixels of noise")
    paste: Amount = option(6.0, "augmentation: events pasted into a window, on average")
    members: Count = option(3, "networks, each trained without one part of the subjects; their curves are averaged")
    decoding: Literal["share", "prior_growth"] = option("share", "from curves to intervals")
    smoothing: Seconds = option(0.05, "seconds of the Gaussian over a curve")
    share: Share = option(0.55, "an interval ends where the curve falls to this share of its peak")
    overlap: Share = option(0.2, "largest IoU of two intervals")
    drop_neutral: Flag = option(False, "leave out intervals whose emotion is neutral")
    seed: Seed = option(0, "of weights, order and augmentation")

    def __post_init__(self) -> None:
        if self.temporal == "attention" and self.width % HEADS:
            raise ValueError(f"width must be a multiple of {HEADS}, the heads of temporal: attention")


@dataclass(frozen=True)
class WindowSettings:
    """The spotter `windows`: a video encoder on windows of face crops. Raises ValueError for sizes that do not fit."""

    lengths: tuple[Annotated[float, Field(strict=True, ge=0.1, le=60)], ...] = option(
        (0.3, 0.6, 1.4, 2.4), "seconds of the windows; they begin a quarter apart"
    )
    frames: Count = option(8, "frames that a window is resampled to: a multiple of 8")
    inputs: Literal["differences", "crops"] = option("differences", "what the encoder sees of a frame")
    inner: Flag = option(True, "only the inner face: without hair, contour and neck")
    least_iou: Share = option(0.5, "overlap with an event from which a window is one")
    negative_iou: Share = option(0.0, "overlap up to which it is none; in between it is left out")
    negatives: Positive = option(3.0, "windows without an event for one with, of each length")
    architecture: Literal["videomae", "lgi_former"] = option("videomae", "encoder")
    patch_size: Size = option(12, "pixels of a patch")
    dim: Size = option(64, "width of the encoder")
    depth: Size = option(3, "its blocks")
    heads: Size = option(4, "its attention heads")
    region: tuple[Count, Count, Count] = option(
        (2, 2, 4), "pairs of frames, rows and columns of a region of LGI-Former"
    )
    drop_path: Rate = option(0.1, "rate of the last block")
    pretrained: str = option("", "folder of a pretrained encoder of the same sizes to start from")
    pretrain_epochs: NoneOrMore = option(0, "pretrain it first on all windows of the training subjects; 0: not")
    mask_ratio: Share = option(0.75, "share of the patches that pretraining hides")
    epochs: Count = option(14, "epochs; one shows as many windows as there are without shifts in time")
    batch: Count = option(32, "windows of a step")
    rate: Positive = option(2e-3, "highest learning rate")
    weight_decay: Amount = option(0.05, "of AdamW")
    mirror: Flag = option(True, "augmentation: mirror half of the windows")
    members: Count = option(2, "networks, each trained without one part of the subjects; their scores are averaged")
    share: Share = option(0.7, "an interval ends where the curve of scores falls to this share of its peak")
    sigma: Positive = option(0.3, "of soft non-maximum suppression over the lengths; smaller: harder")
    allow_mismatch: Flag = option(False, "take crops of another recipe than those it was trained on, at a price")
    seed: Seed = option(0, "of weights, order and augmentation")

    def __post_init__(self) -> None:
        if self.frames < 8 or self.frames % 8:
            raise ValueError("frames must be a multiple of 8: windows then share whole pairs of frames")
        if not self.lengths or not all(0.1 <= length <= 60 for length in self.lengths):
            raise ValueError("lengths must be 0.1 to 60 seconds")


@dataclass(frozen=True)
class WindowFusionSettings:
    """The refiner `window_fusion`: another spotter's intervals and those of the spotter `windows`."""

    base: str = option("flow", "kind of the spotter on whose intervals the thresholds are learnt")
    windows: dict | None = option(None, "settings of the spotter `windows` that is trained; default: its own")
    trained: str = option("", "folder of a spotter `windows` of the same subjects, instead of training it")
    reference: Seconds = option(3.0, "seconds of the running median that motion is measured from")


@dataclass(frozen=True)
class FlowSpotterSettings:
    """The optical-flow spotter (`kind: flow`), a yaml file's settings."""

    method: Literal["trees", "thresholds"] = option("trees", "what judges motion: trees, or the published decoder")
    bridge_blinks: Flag = option(True, "take motion around the eyes during a blink from before and after it")
    fit: Flag = option(True, "learn; off: the published decoder with its thresholds for CAS(ME)²")
    reference: Seconds = option(3.0, "thresholds: seconds of the running median as reference; 0: the window's start")
    below_eyes: Flag = option(False, "thresholds: spot in the two regions below the eyes, too")
    trees: Count = option(80, "trees: how many")
    leaf: Count = option(4, "trees: least candidates of a leaf")
    by_type: Flag = option(True, "trees: a threshold for micro- and one for macro-expressions, each of its best F1")
    seed: Seed = option(0, "trees: seed")


@dataclass(frozen=True)
class MeanSettings:
    """MEAN (`kind: mean`): a shallow network on flow maps for each type of expression, and how its curve is read."""

    expressions: Annotated[tuple[Literal["micro", "macro"], ...], Field(min_length=1)] = option(
        ("micro", "macro"), "types, a network for each"
    )
    scale: Literal["pixels", "pair", "video"] = option("pixels", "of maps; as published: pair, its least and most")
    nose_subtract: Flag = option(True, "take the nose's motion from the maps, as SOFTNet does; MEAN: no")
    eye_mask: Flag = option(True, "no motion around the eyes, as in SOFTNet; MEAN: no")
    joint: Flag = option(False, "train both heads together, as SFAMNet does; else emotions on the frozen stems")
    negatives: Positive = option(5.0, "maps outside expressions for each inside")
    epochs: Count = option(5, "of spotting, or of both heads together; as published: 10")
    recognition_epochs: Count = option(30, "of the recognition head; as published: 100")
    most: NoneOrMore = option(1000, "maps inside expressions, drawn by the seed, at most; as published 0: all")
    batch: Count = option(32, "maps of a step")
    rate: Positive = option(3e-3, "learning rate of Adam; as published: 5e-4")
    penalty: Amount = option(1e-3, "of the spotting head's squared kernels; as published: .1")
    decoding: Literal["ours", "published"] = option("ours", "from a curve to intervals")
    share: Share = option(0.55, "published decoding: threshold at mean + share · (maximum - mean) of the video")
    seed: Seed = option(0, "of weights, order and the choice of maps")


@dataclass(frozen=True)
class RecogniserSettings:
    """The refiner `recogniser`: a transformer on the region flow of spotted intervals."""

    base: Literal["region", "flow"] = option("region", "kind of spotter whose false alarms it learns from")
    reference: Seconds = option(6.0, "seconds of the running median that motion is measured against")
    width: Annotated[Size, Field(multiple_of=HEADS)] = option(48, "channels of the network")
    depth: Size = option(2, "layers")
    dropout: Rate = option(0.2, "of the layers")
    epochs: Count = option(20, "times that `samples` samples are drawn")
    samples: Count = option(512, "samples of an epoch")
    batch: Count = option(32, "samples of a step")
    rate: Positive = option(1e-3, "highest learning rate")
    weight_decay: Amount = option(0.05, "of AdamW")
    jitter: Amount = option(0.15, "spread of the ends of training intervals, in shares of their length")
    gain: Amount = option(0.15, "augmentation: spread of the logarithm of a sample's gain")
    noise: Amount = option(0.05, "augmentation: pixels of noise")
    members: Count = option(3, "networks, each trained without one part of the subjects; their answers are averaged")
    move: Flag = option(True, "move the ends of an interval to where they fit best")
    base_weight: Amount = option(0.5, "power of the base spotter's score in the score; 0: it does not count")
    overlap: Share = option(0.2, "largest IoU of two intervals")
    seed: Seed = option(0, "of weights, order and augmentation")
