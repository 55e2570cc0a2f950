"""Whole files of the spotting programs, without training: measurements of a video, and trained spotters' folders."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from answer_files import write_checkpoint
from flow_map_set import write_maps
from region_series import BROWS, MOUTH, make_flow, write_series
from safetensors.torch import save_file
from torch import nn

from megc.clips import Event, Video, write_videos
from megc.commits import software
from megc.files import read_json, write_bytes, write_json
from megc.model.weights import INFO_NAME, WHOLE, weights_hash
from megc.motion.face_crops import crop_recipe
from megc.motion.flow_maps import SIZE
from megc.motion.settings import FaceCropSettings
from megc.motion.video_measurements import write_arrays
from megc.scoring.interval_files import write_intervals
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting import kind_settings, mean_spotter, proposal_fusion, recogniser, region_spotter, window_spotter
from megc.spotting.flow_candidates import fit_whitening
from megc.spotting.flow_scorer import FlowScorer, read_candidates
from megc.spotting.flow_spotter import FlowModel
from megc.spotting.region_segments import split_segments
from megc.spotting.spotters import RECORD_NAME, SpottingVideo
from megc.spotting.tree_files import Trees, array_bytes, fit_trees, tree_arrays
from megc.vqa.prompts import PromptSettings, prompt_record

FRAMES, FPS, CROP = 90, 30.0, 32
EVENTS = (Event(20, 25, 31, "micro", "negative"), Event(45, 60, 75, "macro", "positive"))
VIDEO = Video("demo/s1/a", "demo", "s1", "a", FPS, "", FRAMES, EVENTS)
THRESHOLDS = {"micro": 0.25, "macro": 0.5}
FLOW = kind_settings.FlowSpotterSettings(method="thresholds", fit=False)
TREES = kind_settings.FlowSpotterSettings(trees=3)
REGION = kind_settings.RegionSettings(width=4, depth=1, members=1)
MEAN = kind_settings.MeanSettings(expressions=("micro",))
RECOGNISER = kind_settings.RecogniserSettings(base="flow", width=4, depth=1, members=1)
WINDOWS = kind_settings.WindowSettings(
    lengths=(0.6,), inner=False, patch_size=8, dim=8, depth=1, heads=2, region=(2, 2, 2), members=1
)
FUSION = kind_settings.WindowFusionSettings(windows={"patch_size": 8, "heads": 2})
FUSED = kind_settings.FusedSettings(members=({"kind": "flow", "fit": False}, {"kind": "region", "width": 4}))


def item_of(root: Path) -> SpottingVideo:
    """The video whose measurements stand below `root`."""
    return SpottingVideo(VIDEO, root / "videos.jsonl", root)


# ---- measurements


def write_region_flow(root: Path) -> None:
    moves = [(BROWS, (0.0, -3.0), (0.6, 1.0)), (MOUTH, (2.0, -5.0), (1.5, 2.5))]
    flow = make_flow(np.arange(FRAMES) / FPS, moves)
    flow.flow[40:43], flow.segments[40:43], flow.references[40:43] = np.nan, -1, -1
    flow.segments[43:], flow.references[43:] = 1, 44
    write_series(root, VIDEO, flow)


def write_flow_maps(root: Path, count: int = 30) -> None:
    maps = np.random.default_rng(0).normal(0, 0.5, (count, SIZE, SIZE, 3))
    maps[-3:] = 0
    segments = np.where(np.arange(count) < count - 3, 0, -1)
    write_maps(root, VIDEO, maps, 1 + 3 * np.arange(count), segments)


def write_face_crops(root: Path) -> None:
    path = root / "face_crops" / f"{VIDEO.id}.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.random.default_rng(0).integers(0, 256, (FRAMES, CROP, CROP), np.uint8))
    numbers = np.arange(1, FRAMES + 1)
    arrays = {"frame_numbers": numbers, "times": (numbers - 1) / FPS, "segments": np.zeros(FRAMES, np.int32)}
    write_arrays(path.with_suffix(".npz"), arrays)
    recipe = crop_recipe(FaceCropSettings(size=CROP)).model_dump()
    record = {"key": "test", "video": VIDEO.id, "fps": FPS, "recipe": recipe, "frames": FRAMES, "measured": FRAMES}
    write_json(path.with_suffix(".json"), {**record, "segments": 1, "faults": [], "warnings": []})


# ---- trained spotters


def _finish(folder: Path, kind: str, settings: object) -> None:
    record = {"kind": kind, "settings": asdict(settings), "subjects": ["demo/s1"], "software": software()}
    write_json(folder / RECORD_NAME, record)


def _write_network(folder: Path, network: nn.Module) -> None:
    folder.mkdir(parents=True)
    weights = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WHOLE, metadata={"format": "pt"})
    write_json(folder / INFO_NAME, {"kind": "trained", "weights_hash": weights_hash(folder)})


def write_flow_spotter(folder: Path, settings: kind_settings.FlowSpotterSettings = FLOW) -> None:
    """The published thresholds, which need no training."""
    model = FlowModel(method=settings.method, factor=1.0, shortest=0.2, longest=6.0, overlap=0.1, bridge_blinks=True,
                      below_eyes=False, reference=3.0)  # fmt: skip
    write_json(folder / "flow_spotter.json", model.model_dump())
    _finish(folder, "flow", settings)


def write_tree_spotter(root: Path, folder: Path) -> None:
    """Few trees, which learn noise."""
    write_region_flow(root)
    segments = split_segments(item_of(root).region_flow(), True)
    whitening = fit_whitening([segment.motion for segment in segments])
    candidates = read_candidates(VIDEO, segments, whitening)
    scorer = FlowScorer(whitening, _noise_trees(candidates.values), 0.2, THRESHOLDS, (1.5, -0.5))
    write_flow_spotter(folder, TREES)
    write_bytes(folder / "flow_scorer.safetensors", array_bytes(scorer.arrays()))


def _noise_trees(rows: np.ndarray) -> Trees:
    targets = np.random.default_rng(0).random(len(rows))
    return fit_trees(rows, targets, np.ones(len(rows)), count=2, leaf=max(1, len(rows) // 8), seed=0)


def write_region_spotter(folder: Path) -> None:
    _write_network(folder / "member0", region_spotter._new_network(REGION, 0))
    write_json(folder / "decoding.json", {"members": 1, "thresholds": THRESHOLDS})
    _finish(folder, "region", REGION)


def write_mean_spotter(folder: Path) -> None:
    _write_network(folder / "micro/recognition", mean_spotter._new_network("recognition", 2, MEAN))
    decoding = mean_spotter.MeanDecoding(smoothing=0.3, share=0.5, threshold=0.1)
    emotions = ["negative", "positive"]
    part = {"folder": "micro/recognition", "stage": "recognition", "half": 0.2, "emotions": emotions}
    write_json(folder / "mean.json", {"parts": {"micro": {**part, "decoding": decoding.model_dump()}}})
    _finish(folder, "mean", MEAN)


def write_recogniser(folder: Path) -> None:
    _write_network(folder / "member0", recogniser._new_network(RECOGNISER, 0))
    write_json(folder / "threshold.json", {"members": 1, "threshold": 0.25})
    write_flow_spotter(folder / "base")
    _finish(folder, "recogniser", RECOGNISER)


def write_window_spotter(folder: Path) -> None:
    _write_network(folder / "member0", window_spotter._new_network(WINDOWS, CROP, 0))
    crop = crop_recipe(FaceCropSettings(size=CROP)).model_dump()
    write_json(folder / "windows.json", {"members": 1, "thresholds": THRESHOLDS, "crop": crop})
    _finish(folder, "windows", WINDOWS)


def write_window_fusion(folder: Path) -> None:
    write_window_spotter(folder / "windows")
    write_json(folder / "window_fusion.json", {"keep": 0.25, "add": 0.5, "gap": 1.0})
    _finish(folder, "window_fusion", FUSION)


def write_fused_spotter(root: Path, folder: Path) -> None:
    write_flow_spotter(folder / "member0-flow")
    write_region_spotter(folder / "member1-region")
    members = [folder.name for folder in sorted(folder.glob("member*"))]
    proposals = [[SpottedInterval(20, 31, "micro", 0.5)], [SpottedInterval(45, 75, "macro", 0.6)]]
    joined = proposal_fusion.join_proposals(item_of(root), proposals)
    trees = _noise_trees(np.repeat(joined.candidates.features, 10, axis=0))
    write_bytes(folder / "trees.safetensors", array_bytes(tree_arrays(trees)))
    record = proposal_fusion.FusionRecord(
        members=members, signal=True, weights=[0.5, 0.25, 0.1, 0.2, 0.3, 0.4, 0.6], offset=-0.5, thresholds=THRESHOLDS
    )
    write_json(folder / "fusion.json", record.model_dump())
    _finish(folder, "fused", FUSED)


def write_held_out(folder: Path) -> None:
    """Intervals of a region spotter in the video that it was trained on."""
    rows = [SpottedInterval(20, 31, "micro", 0.5, "negative"), SpottedInterval(45, 75, "macro", 0.75, "positive")]
    write_intervals(folder / "held_out.csv", [VIDEO], {VIDEO.id: rows})


def write_vlm(root: Path) -> None:
    """The record of a refiner, and the tiny checkpoint that it asks."""
    write_checkpoint(root / "tiny")
    info = read_json(root / "tiny" / INFO_NAME)
    write_json(root / "tiny" / INFO_NAME, {**info, "prompt": prompt_record(PromptSettings(images=("flow",)))})
    record = {"model": str(root / "tiny"), "threshold": 0.5, "chosen_on": ["demo/s1"], "typed_by": "duration"}
    write_json(root / "spotter/vlm.json", record)
    _finish(root / "spotter", "vlm", kind_settings.VlmSettings())


def write_spotter(kind: str) -> Callable[[Path], None]:
    """A writer of a spotter of a kind in `spotter`, with what it reads of a video beside it."""
    writers = {
        "flow": write_flow_spotter,
        "mean": write_mean_spotter,
        "region": write_region_spotter,
        "recogniser": write_recogniser,
        "windows": write_window_spotter,
        "window_fusion": write_window_fusion,
    }

    def write(root: Path) -> None:
        write_videos(root / "videos.jsonl", [VIDEO])
        write_region_flow(root)
        if kind == "mean":
            write_flow_maps(root)
        if kind.startswith("window"):
            write_face_crops(root)
        if kind in ("recogniser", "window_fusion"):  # a refiner of these intervals
            write_flow_spotter(root / "first")
        if kind in ("fused", "trees"):
            (write_fused_spotter if kind == "fused" else write_tree_spotter)(root, root / "spotter")
        else:
            writers[kind](root / "spotter")

    return write
