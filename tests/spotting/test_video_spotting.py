"""Spotting in any video: files written, chains of spotters and refiners, what is kept, and faults in words."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from motion_scenes import render, tree, write_clip
from region_series import write_motion_set

from megc.clips import read_videos
from megc.problems import DataError, Problems
from megc.scoring.interval_files import VideoIndex, read_run
from megc.spotting import spotters
from megc.spotting.kind_settings import FlowSpotterSettings
from megc.spotting.settings import SpotExpressionsSettings
from megc.spotting.spotters import train_spotter
from megc.spotting.video_spotting import load_chain, measure_inputs, spot_expressions


@dataclass(frozen=True)
class NamerSettings:
    emotion: str = "surprise"


class Namer:
    """A refiner that drops macro-expressions and names the emotion of the others."""

    def refine(self, video, intervals):
        return [row._replace(emotion="surprise") for row in intervals if row.type == "micro"]


@pytest.fixture
def namer(monkeypatch) -> None:
    module = ModuleType("megc.spotting.namer_for_tests")
    module.SETTINGS, module.NEEDS = NamerSettings, ("region_flow", "face_crops")
    module.train, module.load = lambda videos, settings, out: None, lambda folder: Namer()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(spotters.KINDS, "namer", "namer_for_tests")


@pytest.fixture(scope="module")
def motion_set(tmp_path_factory):
    return write_motion_set(tmp_path_factory.mktemp("motion"), subjects=1)


def test_videos_of_a_dataset_get_intervals_and_timelines(motion_set, tmp_path):
    folder = motion_set[0].videos_file.parent
    settings = SpotExpressionsSettings(videos=folder / "videos.jsonl", inputs=folder, out=tmp_path)
    problems = Problems()
    summary = spot_expressions(settings, problems)
    assert not len(problems) and "2 of 2 videos, by flow" in summary
    videos = read_videos(folder / "videos.jsonl")
    run = read_run(tmp_path / "spotted.csv", VideoIndex(videos), problems)
    assert not len(problems) and run.predictions.keys() == {video.id for video in videos}
    for video in videos:
        each = read_run(tmp_path / video.id / "spotted.csv", VideoIndex(videos), problems)
        assert each.predictions[video.id] == run.predictions[video.id]
        assert (tmp_path / video.id / "timeline.png").is_file()
    before = tree(tmp_path)
    spot_expressions(settings, problems)
    assert tree(tmp_path) == before


def test_frames_are_measured_once_and_a_damaged_source_is_named(tmp_path):
    hill = np.concatenate([np.zeros(15), np.sin(np.linspace(0, np.pi, 30)), np.zeros(15)])
    write_clip(tmp_path, "face", [render(6 * height, noise=0.5, seed=i) for i, height in enumerate(hill)], first=1)
    (tmp_path / "empty").mkdir()
    settings = SpotExpressionsSettings(source=(tmp_path / "clips/face", tmp_path / "empty"), out=tmp_path / "out")
    problems = Problems()
    assert "1 of 2 videos" in spot_expressions(settings, problems)
    assert [Path(problem.file).name for problem in problems] == ["empty"]
    assert (tmp_path / "out/face/timeline.png").is_file() and (tmp_path / "out/face/spotted.csv").is_file()
    series = tmp_path / "out/inputs/region_flow/unknown/face/face.npz"
    before = series.stat().st_mtime_ns
    spot_expressions(settings, Problems())
    assert series.stat().st_mtime_ns == before


def test_a_chain_refines_what_its_spotter_finds(motion_set, namer, tmp_path):
    train_spotter("flow", FlowSpotterSettings(fit=False), [], tmp_path / "flow")
    train_spotter("namer", NamerSettings(), [], tmp_path / "namer")
    alone, chain = load_chain([tmp_path / "flow"]), load_chain([tmp_path / "flow", tmp_path / "namer"])
    assert chain.name == "flow + namer" and chain.needs == ("region_flow", "face_crops")
    for item in motion_set:
        micro = [row for row in alone.spot(item) if row.type == "micro"]
        assert chain.spot(item) == [row._replace(emotion="surprise") for row in micro]


def test_chains_in_a_wrong_order_and_unknown_needs_are_refused(motion_set, namer, tmp_path):
    train_spotter("flow", FlowSpotterSettings(fit=False), [], tmp_path / "flow")
    train_spotter("namer", NamerSettings(), [], tmp_path / "namer")
    with pytest.raises(DataError, match="namer refines intervals"):
        load_chain([tmp_path / "namer"])
    with pytest.raises(DataError, match="flow is a spotter"):
        load_chain([tmp_path / "flow", tmp_path / "flow"])
    with pytest.raises(ValueError, match="'heat'"):
        measure_inputs(motion_set, ["heat"], 1, Problems())
