"""Synthetic flow fields to pretrain on: motion where the labels say, the same for the same seed, askable."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from megc.facs import ActionUnit
from megc.model.samples import vocabulary_beside
from megc.motion.colour import centre_picture, draw_flow
from megc.motion.flow_pictures import centre_folder
from megc.problems import DataError
from megc.synthesis.flow_set import DRAWN_UNITS, draw_field, draw_units, sample_field, write_flow_set
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
    assert np.abs(smile[12:22]).sum() > 3 * np.abs(smile[:10]).sum()
    assert np.abs(brow[:10]).sum() > 3 * np.abs(brow[16:]).sum()
    assert brow[:6, 8:20, 1].mean() < -0.1  # upwards
    assert smile[16:22, :10, 0].mean() < -0.05 < 0.05 < smile[16:22, 18:, 0].mean()  # outwards


def test_one_sided_unit_moves_the_subjects_own_half():
    left = mean_field((ActionUnit(12, "left"),))
    left = np.abs(left - np.median(left, axis=(0, 1))).sum(-1)
    assert left[:, 14:].sum() > 2 * left[:, :14].sum()  # the subject's left is on the picture's right


def test_both_halves_of_the_face_are_drawn_alike_and_evenly():
    rng = np.random.default_rng(0)
    drawn = [unit.number for _ in range(6000) for unit in draw_units(rng)]
    upper = [unit for unit in DRAWN_UNITS if unit <= 9]
    for half in (upper, [unit for unit in DRAWN_UNITS if unit > 9]):
        shares = np.array([drawn.count(unit) for unit in half]) / len(drawn)
        assert 0.45 < shares.sum() < 0.55
        assert shares.min() > 0.35 / len(half) and shares.max() < 0.65 / len(half)


def test_strain_gathers_at_few_places():
    rng = np.random.default_rng(0)
    field = sample_field((ActionUnit(4),), 28, rng)
    plain = draw_flow(field, "uv-strain-centred")
    picture = draw_field(field, "uv-strain-centred", rng)
    assert (picture[..., :2] == plain[..., :2]).all() and picture[..., 2].max() == 255
    assert picture[..., 2].mean() < 0.8 * plain[..., 2].mean()
    assert (draw_field(field, "colour", rng) == draw_flow(field, "colour")).all()


def test_a_wave_is_found_in_its_band(tmp_path):
    """A real picture that is one wave of three cycles has all of its energy in k3."""
    wave = np.rint(128 + 100 * np.cos(2 * np.pi * 3 * np.arange(28) / 28)).astype(np.uint8)
    picture = np.dstack([np.tile(wave, (28, 1)), np.tile(wave[:, None], (1, 28)), np.zeros((28, 28), np.uint8)])
    Image.fromarray(picture).save(tmp_path / "wave.png")
    command = [sys.executable, "benchmarks/synthetic_pictures.py", "--real", str(tmp_path), "--count", "3"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    real, synthetic = (line for line in done.stdout.splitlines() if "pictures" in line)
    assert real.startswith("real: 1 pictures") and "k3=1.000" in real and "k3=1.000" not in synthetic


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
