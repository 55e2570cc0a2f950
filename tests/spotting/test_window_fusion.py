"""Fusion of windows with another spotter: what stays, what is added and where it ends, and thresholds that suit F1."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_windows import TINY, crops_of, write_crops

from megc.clips import Event, Video
from megc.motion.region_stream import RegionFlow
from megc.problems import DataError
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.interval_scorer import NEVER
from megc.spotting.kind_settings import WindowFusionSettings
from megc.spotting.spotters import SpottingVideo, load_spotter, train_spotter
from megc.spotting.window_fusion import FusionEvidence, FusionModel, choose_model, fuse, motion_in

FLOW = [SpottedInterval(10, 25, "micro", 0.6), SpottedInterval(100, 140, "macro", 0.5)]
WINDOWS = [
    SpottedInterval(12, 24, "micro", 0.9),
    SpottedInterval(200, 212, "micro", 0.8),
    SpottedInterval(205, 218, "micro", 0.7),
    SpottedInterval(300, 340, "macro", 0.75),
]
EVIDENCE = FusionEvidence(
    FLOW,
    np.array([0.9, 0.1]),
    WINDOWS,
    np.array([3.0, 2.0, 2.0, 0.4]),
    np.array([[11, 26], [198, 214], [205, 218], [300, 340]], float),
)


def test_unsupported_intervals_go_and_moving_windows_come() -> None:
    rows = fuse(EVIDENCE, FusionModel(keep=0.3, add=0.6, gap=1.0), 30.0)
    assert [(row.onset, row.offset, row.type) for row in rows] == [(10, 25, "micro"), (198, 214, "macro")]
    assert rows[0].score == pytest.approx(0.75) and rows[1].score == 0.8
    assert fuse(EVIDENCE, FusionModel(keep=0, add=NEVER, gap=0), 30.0) == [
        FLOW[0]._replace(score=0.75),
        FLOW[1]._replace(score=0.3),
    ]
    still = fuse(EVIDENCE, FusionModel(keep=NEVER, add=0.6, gap=0.0), 30.0)
    assert [row.onset for row in still] == [11, 198, 300]  # the gap lets the unmoved one in; 205 overlaps 198


def test_thresholds_are_those_of_the_best_f1_and_else_change_nothing() -> None:
    video = Video("demo/s1/a", "demo", "s1", "a", 30.0, "", 400, (Event(10, None, 25, "micro"),))
    item = SpottingVideo(replace(video, events=(*video.events, Event(199, None, 214, "micro"))), Path("v"), Path("i"))
    model = choose_model([item], [EVIDENCE])
    assert [row.onset for row in fuse(EVIDENCE, model, 30.0)] == [10, 198]
    both = tuple(Event(int(row.onset), None, int(row.offset), "macro") for row in FLOW)
    model = choose_model([SpottingVideo(replace(video, events=both), Path("v"), Path("i"))], [EVIDENCE])
    assert (model.keep, model.add) == (0, NEVER)


def region_flow(spans: list[tuple[int, int, float]], count: int = 180) -> RegionFlow:
    """Motion of one region, pixels up at the middle of each span."""
    flow = np.zeros((count, 18, 2), np.float32)
    for first, last, peak in spans:
        flow[first : last + 1, 4, 1] = peak * np.sin(np.linspace(0, np.pi, last - first + 1))
    segments = np.zeros(count, np.int32)
    return RegionFlow(
        flow, np.arange(1, count + 1), np.arange(count) / 30, segments > 0, segments, segments.astype(int)
    )


def test_motion_gives_its_size_and_its_ends() -> None:
    flow = region_flow([(60, 76, 3.0)])
    motion, moved = motion_in(flow, np.array([[58.0, 74.0], [120.0, 140.0]]), 3.0)
    assert motion[0] == pytest.approx(3, abs=0.05) and motion[1] == 0
    # a third of the peak: asin(1/3) of pi is .108 of the 16 frames
    assert moved[0] == pytest.approx([61 + 1.7, 77 - 1.7], abs=1.0) and moved[1].tolist() == [120, 140]
    _, moved = motion_in(flow, np.array([[40.0, 110.0]]), 3.0)
    assert moved[0].tolist() == [40, 110], "less than half as long: the ends stay"


def write_inputs(root: Path, number: int) -> SpottingVideo:
    spans = [(40 + 5 * number, 53 + 5 * number), (110, 140)]
    events = tuple(Event(first + 1, None, last + 1, "micro" if last < 100 else "macro") for first, last in spans)
    video = Video(f"demo/s{number}/a", "demo", f"s{number}", "a", 30.0, "", 180, events)
    write_crops(root, video, crops_of(180, seed=number, moved=tuple(spans)))
    return SpottingVideo(video, root / "videos.jsonl", root)


class FlowOf(SpottingVideo):
    """A video whose region flow is made up."""

    def region_flow(self) -> RegionFlow:
        return region_flow([(event.onset - 1, event.offset - 1, 4.0) for event in self.video.events])


def test_it_is_trained_loaded_and_refuses_spotters_of_other_subjects(tmp_path: Path) -> None:
    items = [FlowOf(**vars(write_inputs(tmp_path, number))) for number in range(3)]
    train_spotter("windows", replace(TINY, epochs=1), items[:2], tmp_path / "windows")
    trained = WindowFusionSettings(trained=str(tmp_path / "windows"))
    train_spotter("window_fusion", trained, items[:2], tmp_path / "fused")
    refiner = load_spotter(tmp_path / "fused")
    rows = refiner.refine(items[2], [SpottedInterval(51, 64, "micro", 0.5)])
    assert len(rows) == 1 and rows[0].onset == 51, "what training subjects do not need, windows do not change"
    with pytest.raises(DataError, match="no spotter `windows` of these 3 subjects"):
        train_spotter("window_fusion", trained, items, tmp_path / "other")
