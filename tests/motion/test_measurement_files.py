"""Measurements of long videos on disk: damaged arrays, and arrays that do not agree with their record."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from region_series import BROWS, make_flow, write_series

from megc.clips import Video
from megc.motion.region_flow_files import read_region_flow
from megc.problems import DataError

VIDEO = Video("demo/s1/a", "demo", "s1", "a", 30.0, "", 60)


@pytest.fixture
def series(tmp_path) -> Path:
    """The .npz of a video's region flow, below `tmp_path`."""
    write_series(tmp_path, VIDEO, make_flow(np.arange(60) / 30, [(BROWS, (0.0, -3.0), (0.5, 1.0))]))
    return tmp_path / "region_flow" / f"{VIDEO.id}.npz"


def change(path: Path, name: str, values: np.ndarray) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, name: values})


def read(path: Path) -> None:
    read_region_flow(path.parents[2], VIDEO.id)


def test_a_whole_series_is_read(series):
    read(series)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("blink", np.zeros(60, np.int8), r"blink is int8 \(60,\), not bool \(60,\)"),
        ("times", np.full(60, np.nan), "times do not rise"),
        ("frame_numbers", np.arange(60)[::-1], "frame_numbers do not rise"),
        ("segments", np.r_[np.zeros(30, int), np.full(30, 2)], "segments do not follow each other"),
        ("segments", np.full(60, -1), "segments do not follow each other"),
        ("segments", np.r_[np.zeros(50, int), np.full(10, -1)], r"measured and segments are \(50, 1\), and \(60, 1\)"),
        ("flow", np.full((60, 18, 2), np.nan, np.float32), "flow has frames with a face and without motion"),
        ("references", np.zeros(59, int), r"references is int64 \(59,\), not int \(60,\)"),
    ],
)
def test_arrays_that_are_no_measurement_are_refused(series, name, values, words):
    change(series, name, values)
    with pytest.raises(DataError, match=rf"a\.npz, row demo/s1/a: {words}.*extract_region_flow"):
        read(series)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_archive_is_an_error_of_the_data(series, place):
    content = io.BytesIO()
    with np.load(series) as stored:
        np.savez_compressed(content, **stored)
    whole = content.getvalue()
    start = int(place * len(whole))
    series.write_bytes(whole[:start] + bytes(byte ^ 0x5A for byte in whole[start : start + 40]) + whole[start + 40 :])
    with pytest.raises(DataError, match="arrays cannot be read"):
        read(series)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("video", "demo/s2/a", "the record is that of the video 'demo/s2/a'"),
        ("regions", ["mouth"], "regions are not those that are measured now"),
        ("measured", 59, r"\(60, 1\), and \(59, 1\) in the record"),
    ],
)
def test_a_record_of_another_measurement_is_refused(series, key, value, words):
    path = series.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match=words):
        read(series)
