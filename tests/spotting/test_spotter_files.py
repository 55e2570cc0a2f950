"""Files of trained spotters and their settings: what is damaged, of another type or of another spotter is said."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from region_series import write_motion_set
from safetensors.numpy import load, save
from safetensors.torch import save_file

from megc.clips import Event, Video
from megc.files import write_json
from megc.model.weights import INFO_NAME, WHOLE, weights_hash
from megc.problems import DataError, Problems
from megc.scoring.interval_files import write_intervals
from megc.scoring.str_metrics import SpottedInterval
from megc.spotting.kind_settings import FusedSettings, MeanSettings, RegionSettings
from megc.spotting.proposal_fusion import FusionRecord
from megc.spotting.recogniser import base_proposals
from megc.spotting.region_network import RegionNetwork
from megc.spotting.region_spotter import _new_network
from megc.spotting.settings import TrainSpotterSettings
from megc.spotting.spotters import RECORD_NAME, SpottingVideo, load_spotter, read_spotter_config, train_from_file
from megc.spotting.tree_files import array_bytes, fit_trees, read_arrays, tree_arrays, trees_of_arrays

TINY = RegionSettings(width=4, depth=1, members=1)


def write_settings(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text)
    return path


def write_region_spotter(folder: Path, settings: dict, thresholds: dict) -> Path:
    """A spotter with new weights of the size of TINY."""
    network: RegionNetwork = _new_network(TINY, 0)
    (folder / "member0").mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "member0" / WHOLE)
    write_json(folder / "member0" / INFO_NAME, {"weights_hash": weights_hash(folder / "member0")})
    write_json(folder / "decoding.json", {"members": 1, "thresholds": thresholds})
    record = {"kind": "region", "settings": {**asdict(TINY), **settings}, "subjects": [], "software": {}}
    write_json(folder / RECORD_NAME, record)
    return folder


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: region\nepochs: true\n", r"a\.yaml.*epochs is True, not a whole number"),
        ("kind: region\nepochs: '5'\n", r"epochs is '5', not a whole number"),
        ("kind: region\nshare: 7\n", r"share is 7.*less than or equal to 1"),
        ("kind: region\nrate: .nan\n", r"rate is nan"),
        ("kind: flow\nfit: 1\n", r"fit is 1, not true or false"),
        ("kind: mean\nexpressions: []\n", r"expressions has 0 entries"),
        ("kind: fused\nmembers: [{kind: flow}, {kind: region, epoch: 3}]\n", r"members\[1\], epoch.*mean epochs"),
        ("kind: fused\nmembers: [{kind: flaw}]\n", r"members\[0\], kind.*mean flow"),
        ("kind: window_fusion\nwindows: {depth: x}\n", r"windows.*depth is 'x'"),
        ("kind: vlm\nbase_set: [fit=maybe]\n", r"base_set.*fit is 'maybe'"),
        ("kind: vlm\nbase: flo\n", r"base, kind.*mean flow"),
    ],
)
def test_a_setting_of_another_type_or_out_of_range_is_refused(text, words, tmp_path):
    with pytest.raises(DataError, match=words):
        read_spotter_config(write_settings(tmp_path, text))


def test_numbers_are_taken_as_yaml_may_write_them(tmp_path):
    path = write_settings(tmp_path, "kind: region\nrate: 1e-3\nwindow: 5\n")
    _, settings = read_spotter_config(path, ["weight_decay=2e-2"])
    assert (settings.rate, settings.window, settings.weight_decay) == (1e-3, 5.0, 0.02)


def test_a_spotter_of_settings_with_lists_is_known_again(tmp_path):
    write_motion_set(tmp_path, subjects=1)
    record = {"kind": "mean", "settings": asdict(MeanSettings()), "subjects": ["fast/s0", "slow/s0"], "software": {}}
    write_json(tmp_path / "out" / RECORD_NAME, record)
    path = write_settings(tmp_path, "kind: mean\n")
    settings = TrainSpotterSettings(path, tmp_path / "out", videos=tmp_path / "videos.jsonl", inputs=tmp_path)
    assert "finished already" in train_from_file(settings, Problems())


@pytest.mark.parametrize(
    ("settings", "thresholds", "words"),
    [
        ({}, {"micro": 0.5}, r"decoding\.json.*thresholds has no macro"),
        ({}, {"micro": 0.5, "macro": 0.5, "none": 1.0}, r"decoding\.json.*no key 'thresholds\.none'"),
        ({"width": 0}, {"micro": 0.5, "macro": 0.5}, r"spotter\.json.*width is 0"),
        ({"colour": 1}, {"micro": 0.5, "macro": 0.5}, r"spotter\.json, row settings, colour.*no such setting"),
        ({"width": 8}, {"micro": 0.5, "macro": 0.5}, r"member0.*has the shape.*train the spotter again"),
    ],
)
def test_a_spotter_whose_files_do_not_fit_is_refused(settings, thresholds, words, tmp_path):
    with pytest.raises(DataError, match=words):
        load_spotter(write_region_spotter(tmp_path / "spotter", settings, thresholds))


def test_a_whole_spotter_is_loaded(tmp_path):
    folder = write_region_spotter(tmp_path / "spotter", {}, {"micro": 0.25, "macro": 0.5})
    assert load_spotter(folder).thresholds.model_dump() == {"micro": 0.25, "macro": 0.5}


def test_a_changed_byte_of_trees_is_found_and_older_files_are_read(tmp_path):
    rows = np.random.default_rng(0).random((40, 3))
    trees = fit_trees(rows, rows[:, 0], np.ones(40), count=3, leaf=4, seed=0)
    path, content = tmp_path / "trees.safetensors", array_bytes(tree_arrays(trees))
    path.write_bytes(content)
    assert np.array_equal(read_arrays(path, trees_of_arrays, "x").predict(rows), trees.predict(rows))
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(DataError, match="not those that were trained"):
        read_arrays(path, trees_of_arrays, "train it again")
    path.write_bytes(save(load(content)))  # as they were written without a hash
    assert np.array_equal(read_arrays(path, trees_of_arrays, "x").values, trees.values)


def test_weights_of_a_fusion_are_as_many_as_its_members_need():
    thresholds = {"micro": 0.5, "macro": 0.5}
    record = {"members": ["a", "b"], "signal": True, "offset": 0.0, "thresholds": thresholds}
    assert FusionRecord(weights=[0.5] * 7, **record).signal
    with pytest.raises(ValueError, match="6 weights, not the 7 of 2 members"):
        FusionRecord(weights=[0.5] * 6, **record)


def test_a_member_outside_of_the_folder_is_refused(tmp_path):
    record = {"kind": "fused", "settings": asdict(FusedSettings()), "subjects": [], "software": {}}
    write_json(tmp_path / RECORD_NAME, record)
    fusion = {"members": ["../up"], "signal": False, "weights": [0.5] * 3, "offset": 0.0}
    write_json(tmp_path / "fusion.json", {**fusion, "thresholds": {"micro": 0.5, "macro": 0.5}})
    with pytest.raises(DataError, match=r"fusion\.json, row members.*leads out"):
        load_spotter(tmp_path)


def test_intervals_that_a_spotter_kept_are_read_whole_or_not_at_all(tmp_path):
    video = Video("demo/s1/s1_a", "demo", "s1", "s1_a", 30.0, "", 100, (Event(10, None, 20, "micro"),))
    item = SpottingVideo(video, tmp_path / "videos.jsonl", tmp_path)
    rows = [SpottedInterval(10, 20, "micro", 0.5, "negative"), SpottedInterval(40, 80, "macro", 0.25, "positive")]
    write_intervals(tmp_path / "held_out.csv", [video], {video.id: rows})
    assert base_proposals([item], tmp_path)[video.id] == rows
    path = tmp_path / "held_out.csv"
    path.write_text(path.read_text().replace("40,80", "40,x0"))
    with pytest.raises(DataError, match=r"held_out\.csv, row 3: left out: the offset is 'x0'"):
        base_proposals([item], tmp_path)


def test_a_record_that_is_no_json_is_named(tmp_path):
    folder = write_region_spotter(tmp_path / "spotter", {}, {"micro": 0.25, "macro": 0.5})
    record = json.loads((folder / RECORD_NAME).read_text())
    (folder / RECORD_NAME).write_text(json.dumps(record)[:-9])
    with pytest.raises(DataError, match=r"spotter\.json.*not JSON"):
        load_spotter(folder)


def test_a_refiner_that_says_nothing_known_of_types_is_refused(tmp_path):
    record = {"kind": "vlm", "settings": {}, "subjects": [], "software": {}}
    write_json(tmp_path / RECORD_NAME, record)
    write_json(tmp_path / "vlm.json", {"model": "a", "threshold": 0.5, "chosen_on": [], "typed_by": "duraton"})
    with pytest.raises(DataError, match=r"vlm\.json.*typed_by is 'duraton', not one of 'duration', 'model'"):
        load_spotter(tmp_path)
