"""Features of the probe: cells by hand, centred pictures, files that are gone."""

import numpy as np
import pytest
from flow_set import clip_records
from PIL import Image

from megc.baselines.features import pool_cells, read_features
from megc.problems import DataError
from megc.vqa.labels import record_labels


def test_pooling_by_hand():
    field = np.arange(4 * 4 * 2, dtype=float).reshape(4, 4, 2)
    pooled = pool_cells(field, 2).reshape(2, 2, 2)
    for row in range(2):
        for column in range(2):
            cell = field[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert pooled[row, column] == pytest.approx(cell.mean(axis=(0, 1)))
    assert pool_cells(np.ones((28, 28, 3)), 7).shape == (147,)
    assert pool_cells(np.ones((336, 280, 2)), 8).shape == (128,)


def test_centred_pictures_do_not_depend_on_what_still_skin_looks_like(tmp_path):
    record = clip_records("sub01", "a", "disgust")[0]
    rng, path = np.random.default_rng(0), tmp_path / record["images"][0]
    path.parent.mkdir(parents=True)
    picture = np.full((28, 28, 3), 100, np.uint8)
    picture[4:8, 4:8] = rng.integers(50, 150, (4, 4, 3))
    found = []
    for shift in ((0, 0, 0), (40, -30, 7)):
        Image.fromarray((picture + np.array(shift)).astype(np.uint8)).save(path)
        found.append(read_features([record], tmp_path / "instructions.jsonl", "picture-centred")[record["clip"]])
    assert found[0] == pytest.approx(found[1], abs=1e-6) and found[0].any()
    assert not found[0].reshape(7, 7, 3)[2:].any()


def test_files_without_flow_are_named(tmp_path):
    records = clip_records("sub01", "a", "disgust")
    with pytest.raises(DataError, match="motion field does not exist"):
        read_features(records, tmp_path / "instructions.jsonl")
    with pytest.raises(DataError, match=r"is gone; run compute_flow\.py"):
        read_features(records, tmp_path / "instructions.jsonl", "picture")
    with pytest.raises(DataError, match="no flow picture"):
        read_features([{**records[0], "images": ["frames/casme2/sub01/a/apex.png"]}], tmp_path / "instructions.jsonl")
    with pytest.raises(ValueError, match="no features from 'video'"):
        read_features(records, tmp_path / "instructions.jsonl", "video")


def test_true_units_are_read_from_the_answers_and_no_picture(tmp_path):
    records = [*clip_records("sub01", "a", "disgust"), *clip_records("sub02", "b", "happiness")]
    truth = {label.clip: label.units for label in record_labels(records)}
    for mirrored in (False, True):
        features = read_features(records, tmp_path / "instructions.jsonl", "true-units", mirrored)
        assert features.keys() == truth.keys() and all(truth.values())
        for clip, units in truth.items():
            rows = np.atleast_2d(features[clip])
            assert len(rows) == 1 + mirrored and all(sorted(np.flatnonzero(row)) == sorted(units) for row in rows)
    blind = [{**record, "messages": record["messages"][:2]} for record in records[:7]]
    with pytest.raises(DataError, match=r"row casme2/sub01/a: 1 clip\(s\) without true action units"):
        read_features([*blind, *records[7:]], tmp_path / "instructions.jsonl", "true-units")
