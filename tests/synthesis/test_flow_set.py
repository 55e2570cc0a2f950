"""Synthetic flow fields to pretrain on: motion where the labels say, the same for the same seed, askable."""

import numpy as np
import pytest
from PIL import Image

from megc.facs import ActionUnit
from megc.model.samples import vocabulary_beside
from megc.motion.colour import centre_picture, draw_flow
from megc.motion.flow_pictures import centre_folder
from megc.problems import DataError
from megc.synthesis.flow_set import DRAWN_UNITS, draw_units, sample_field, write_flow_set
from megc.synthesis.settings import FlowSetSettings
from megc.vqa.instructions import answer_of, question_of, read_records
from megc.vqa.questions import Question, parse, question_text, split_units


def mean_field(units, count=60, size=28):
    return np.mean([sample_field(units, size, np.random.default_rng(seed)) for seed in range(count)], axis=0)


def test_motion_is_where_the_action_unit_is():
    smile = mean_field((ActionUnit(12),))
    smile -= np.median(smile, axis=(0, 1))
    brow = mean_field((ActionUnit(1),))
    brow -= np.median(brow, axis=(0, 1))
    assert np.abs(smile[14:]).sum() > 3 * np.abs(smile[:10]).sum()
    assert np.abs(brow[:10]).sum() > 3 * np.abs(brow[16:]).sum()
    assert brow[:6, 8:20, 1].mean() < -0.1  # upwards
    assert smile[18:, :10, 0].mean() < -0.05 < 0.05 < smile[18:, 18:, 0].mean()  # outwards


def test_one_sided_unit_moves_the_subjects_own_half():
    left = mean_field((ActionUnit(12, "left"),))
    left = np.abs(left - np.median(left, axis=(0, 1))).sum(-1)
    assert left[:, 14:].sum() > 2 * left[:, :14].sum()  # the subject's left is on the picture's right


def test_units_are_drawn_evenly():
    rng = np.random.default_rng(0)
    drawn = [unit.number for _ in range(4000) for unit in draw_units(rng)]
    shares = np.array([drawn.count(unit) for unit in DRAWN_UNITS]) / len(drawn)
    assert shares.min() > 0.7 / len(DRAWN_UNITS) and shares.max() < 1.3 / len(DRAWN_UNITS)


def test_set_is_askable_and_repeatable(tmp_path):
    settings = FlowSetSettings(clips=5, pairs=2)
    write_flow_set(tmp_path / "a", settings)
    write_flow_set(tmp_path / "b", FlowSetSettings(clips=7, pairs=2))
    records, more = read_records(tmp_path / "a/instructions.jsonl"), read_records(tmp_path / "b/instructions.jsonl")
    assert records == more[: len(records)]
    for record in records:
        kind = parse(question_of(record)).kind
        assert kind in ("units", "side", "shown")
        if kind == "units":
            assert None not in split_units(answer_of(record))
        picture = record["images"][0]
        assert (tmp_path / "a" / picture).read_bytes() == (tmp_path / "b" / picture).read_bytes()
        assert Image.open(tmp_path / "a" / picture).size == (28, 28)


def test_centring_undoes_head_motion_and_stretching():
    rng = np.random.default_rng(3)
    field = sample_field((ActionUnit(4), ActionUnit(12, "left")), 28, rng)
    shifted = 2.5 * field + (3.0, -1.0)
    assert (
        draw_flow(field, "uv-strain-centred") == draw_flow(shifted.astype(np.float32), "uv-strain-centred")
    ).mean() > 0.97
    once = draw_flow(field, "uv-strain-centred")[..., :2].astype(int)
    again = centre_picture(draw_flow(shifted, "uv-strain-minmax"))[..., :2].astype(int)
    assert np.abs(once - again).max() <= 3  # eight bits, twice
    still = np.full((8, 8, 3), 77, np.uint8)
    assert (centre_picture(still)[..., :2] == 128).all()


def test_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no \.png"):
        centre_folder(tmp_path, tmp_path / "out")
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=r"a\.png"):
        centre_folder(tmp_path, tmp_path / "out")


def test_vocabulary_covers_the_words_of_real_questions(tmp_path):
    write_flow_set(tmp_path, FlowSetSettings(clips=2))
    known = set(vocabulary_beside(tmp_path / "instructions.jsonl"))
    assert {"happiness", "brow lowerer", "yes", "left"} <= known
    assert any(question_text(Question("fine")) in text for text in known)
    assert vocabulary_beside(tmp_path / "elsewhere" / "instructions.jsonl") == []
