"""Settings of the kinds of spotters: keys of their yaml files (train/README.md); nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Any, Literal

from megc.command import option


@dataclass(frozen=True)
class FusedSettings:
    """The spotter `fused`: whose proposals it joins. `members` have the keys of their own yaml files."""

    members: tuple[dict[str, Any], ...] = option(
        ({"kind": "flow", "fit": False}, {"kind": "region"}), "spotters, each with its kind and settings"
    )
    signal: bool = option(True, "also read the motion in and beside each proposal, by trees")
    folds: int = option(3, "inner folds by subject")
    overlap: float = option(0.2, "largest IoU of two intervals")
    seed: int = option(0, "of trees and folds")

    def __post_init__(self) -> None:
        if self.folds < 2 or not 0 <= self.overlap <= 1:
            raise ValueError("folds are 2 or more, overlap is 0 to 1")


@dataclass(frozen=True)
class VlmSettings:
    """`kind: vlm`: a vision-language model looks at another spotter's intervals.

    Raises ValueError for numbers out of range.
    """

    model: str = option("", "checkpoint that answers as it is; empty: the tiny one is trained")
    base: str = option("flow", "kind of the spotter that proposes")
    base_set: tuple[str, ...] = option((), "its settings, as those of the spotter whose intervals are refined")
    loose_set: tuple[str, ...] = option(
        ("fit=false",),
        "its settings where the model learns from its false alarms: of flow those that let more through",
    )
    images: tuple[Literal["onset", "apex", "offset", "flow"], ...] = option(("flow",), "pictures, in order")
    jitter: int = option(3, "copies of each event with other ends")
    steps: int = option(400, "optimiser steps")
    batch: int = option(8, "intervals of a step")
    learning_rate: float = option(1.5e-3, "highest rate")
    max_pixels: int = option(23520, "of a picture: half of an aligned crop")
    shift: int = option(4, "pixels by which pictures are moved in training")
    held_out: float = option(0.25, "share of the subjects that the threshold is chosen on; they are not trained on")
    typed_by: Literal["duration", "model"] = option("duration", "what says micro or macro")
    threads: int = option(1, "of the CPU")
    seed: int = option(0, "of weights, order and jitter")

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.jitter < 0 or not 0 < self.held_out < 1:
            raise ValueError("steps and batch are 1 or more, jitter 0 or more, held_out a share between 0 and 1")


@dataclass(frozen=True)
class RegionSettings:
    """The spotter `region`: a temporal network on region flow, and how its curves become intervals."""

    reference: float = option(6.0, "seconds of the running median that motion is measured against")
    window: float = option(4.3, "seconds of a training window")
    width: int = option(32, "channels of the network")
    depth: int = option(5, "blocks of its trunk")
    dropout: float = option(0.1, "share of channels that are dropped in training")
    temporal: Literal["convolution", "attention"] = option("convolution", "what looks along time")
    frequency_gate: bool = option(False, "a learnt gate over the spectrum of the series (FGSL's idea)")
    pyramid: bool = option(False, "classify on a coarse level, localise on the fine one (FGSL's idea)")
    epochs: int = option(30, "times that the training videos are seen")
    batch: int = option(4, "windows of a step")
    rate: float = option(2e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    micro_weight: float = option(3.0, "of a frame in a micro-expression, in the loss of its curve")
    emotion_weight: float = option(0.5, "of the loss of emotions")
    unit_weight: float = option(0.5, "of the loss of action units")
    mirror: bool = option(True, "augmentation: mirror half of the windows")
    gain: float = option(0.15, "augmentation: spread of the logarithm of a window's gain")
    noise: float = option(0.05, "augmentation: pixels of noise")
    paste: float = option(6.0, "augmentation: events pasted into a window, on average")
    members: int = option(3, "networks, each trained without one part of the subjects; their curves are averaged")
    decoding: Literal["share", "prior_growth"] = option("share", "from curves to intervals")
    smoothing: float = option(0.05, "seconds of the Gaussian over a curve")
    share: float = option(0.55, "an interval ends where the curve falls to this share of its peak")
    overlap: float = option(0.2, "largest IoU of two intervals")
    drop_neutral: bool = option(False, "leave out intervals whose emotion is neutral")
    seed: int = option(0, "of weights, order and augmentation")


@dataclass(frozen=True)
class WindowSettings:
    """The spotter `windows`: a video encoder on windows of face crops. Raises ValueError for sizes that do not fit."""

    lengths: tuple[float, ...] = option((0.3, 0.6, 1.4, 2.4), "seconds of the windows; they begin a quarter apart")
    frames: int = option(8, "frames that a window is resampled to: a multiple of 8")
    inputs: Literal["differences", "crops"] = option("differences", "what the encoder sees of a frame")
    inner: bool = option(True, "only the inner face: without hair, contour and neck")
    least_iou: float = option(0.5, "overlap with an event from which a window is one")
    negative_iou: float = option(0.0, "overlap up to which it is none; in between it is left out")
    negatives: float = option(3.0, "windows without an event for one with, of each length")
    architecture: Literal["videomae", "lgi_former"] = option("videomae", "encoder")
    patch_size: int = option(12, "pixels of a patch")
    dim: int = option(64, "width of the encoder")
    depth: int = option(3, "its blocks")
    heads: int = option(4, "its attention heads")
    region: tuple[int, int, int] = option((2, 2, 4), "pairs of frames, rows and columns of a region of LGI-Former")
    drop_path: float = option(0.1, "rate of the last block")
    pretrained: str = option("", "folder of a pretrained encoder of the same sizes to start from")
    pretrain_epochs: int = option(0, "pretrain it first on all windows of the training subjects; 0: not")
    mask_ratio: float = option(0.75, "share of the patches that pretraining hides")
    epochs: int = option(14, "epochs; one shows as many windows as there are without shifts in time")
    batch: int = option(32, "windows of a step")
    rate: float = option(2e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    mirror: bool = option(True, "augmentation: mirror half of the windows")
    members: int = option(2, "networks, each trained without one part of the subjects; their scores are averaged")
    share: float = option(0.7, "an interval ends where the curve of scores falls to this share of its peak")
    sigma: float = option(0.3, "of soft non-maximum suppression over the lengths; smaller: harder")
    allow_mismatch: bool = option(False, "take crops of another recipe than those it was trained on, at a price")
    seed: int = option(0, "of weights, order and augmentation")

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
    reference: float = option(3.0, "seconds of the running median that motion is measured from")


@dataclass(frozen=True)
class FlowSpotterSettings:
    """The optical-flow spotter (`kind: flow`), a yaml file's settings. Raises ValueError for one out of range."""

    method: Literal["trees", "thresholds"] = option("trees", "what judges motion: trees, or the published decoder")
    bridge_blinks: bool = option(True, "take motion around the eyes during a blink from before and after it")
    fit: bool = option(True, "learn; off: the published decoder with its thresholds for CAS(ME)²")
    reference: float = option(3.0, "thresholds: seconds of the running median as reference; 0: the window's start")
    below_eyes: bool = option(False, "thresholds: spot in the two regions below the eyes, too")
    trees: int = option(80, "trees: how many")
    leaf: int = option(4, "trees: least candidates of a leaf")
    by_type: bool = option(True, "trees: a threshold for micro- and one for macro-expressions, each of its best F1")
    seed: int = option(0, "trees: seed")

    def __post_init__(self) -> None:
        if not 0 <= self.reference <= 3600:
            raise ValueError("reference must be 0 to 3600 seconds")
        if self.trees < 1 or self.leaf < 1:
            raise ValueError("trees and leaf must be 1 or more")


@dataclass(frozen=True)
class MeanSettings:
    """MEAN (`kind: mean`): a shallow network on flow maps for each type of expression, and how its curve is read.

    Raises ValueError for numbers out of range.
    """

    expressions: tuple[Literal["micro", "macro"], ...] = option(("micro", "macro"), "types, a network for each")
    scale: Literal["pixels", "pair", "video"] = option("pixels", "of maps; as published: pair, its least and most")
    nose_subtract: bool = option(True, "take the nose's motion from the maps, as SOFTNet does; MEAN: no")
    eye_mask: bool = option(True, "no motion around the eyes, as in SOFTNet; MEAN: no")
    joint: bool = option(False, "train both heads together, as SFAMNet does; else emotions on the frozen stems")
    negatives: float = option(5.0, "maps outside expressions for each inside")
    epochs: int = option(5, "of spotting, or of both heads together; as published: 10")
    recognition_epochs: int = option(30, "of the recognition head; as published: 100")
    most: int = option(1000, "maps inside expressions, drawn by the seed, at most; as published 0: all")
    batch: int = option(32, "maps of a step")
    rate: float = option(3e-3, "learning rate of Adam; as published: 5e-4")
    penalty: float = option(1e-3, "of the spotting head's squared kernels; as published: .1")
    decoding: Literal["ours", "published"] = option("ours", "from a curve to intervals")
    share: float = option(0.55, "published decoding: threshold at mean + share · (maximum - mean) of the video")
    seed: int = option(0, "of weights, order and the choice of maps")

    def __post_init__(self) -> None:
        if not self.expressions or not self.negatives > 0 or not self.rate > 0 or not 0 <= self.share <= 1:
            raise ValueError("expressions must name a type, negatives and rate be positive, share 0 to 1")
        if min(self.epochs, self.recognition_epochs, self.batch) < 1 or self.most < 0:
            raise ValueError("epochs, recognition_epochs and batch must be 1 or more, most not negative")


@dataclass(frozen=True)
class RecogniserSettings:
    """The refiner `recogniser`: a transformer on the region flow of spotted intervals."""

    base: Literal["region", "flow"] = option("region", "kind of spotter whose false alarms it learns from")
    reference: float = option(6.0, "seconds of the running median that motion is measured against")
    width: int = option(48, "channels of the network")
    depth: int = option(2, "layers")
    dropout: float = option(0.2, "of the layers")
    epochs: int = option(20, "times that `samples` samples are drawn")
    samples: int = option(512, "samples of an epoch")
    batch: int = option(32, "samples of a step")
    rate: float = option(1e-3, "highest learning rate")
    weight_decay: float = option(0.05, "of AdamW")
    jitter: float = option(0.15, "spread of the ends of training intervals, in shares of their length")
    gain: float = option(0.15, "augmentation: spread of the logarithm of a sample's gain")
    noise: float = option(0.05, "augmentation: pixels of noise")
    members: int = option(3, "networks, each trained without one part of the subjects; their answers are averaged")
    move: bool = option(True, "move the ends of an interval to where they fit best")
    base_weight: float = option(0.5, "power of the base spotter's score in the score; 0: it does not count")
    overlap: float = option(0.2, "largest IoU of two intervals")
    seed: int = option(0, "of weights, order and augmentation")
